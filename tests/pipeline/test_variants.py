"""Variants of a student: the same rows and steps with other settings, from every seed, compared with it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from stillroom.errors import RecipeError
from stillroom.pipeline.run.progress import Display
from tests.conftest import write_sums
from tests.pipeline.runs import run

QUIET = Display(quiet=True)


def asking(student: Path, variants: str, seeds: int = 1) -> list[str]:
    return [
        f"student={{model: '{student}', epochs: 1, learning_rate: 1.0e-3}}",
        f"evaluate={{baselines: [], seeds: {seeds}, variants: {variants}, plots: false, max_tokens: 24}}",
        "tasks={source: jsonl, path: tasks.jsonl, test: 4}",
    ]


@pytest.mark.slow
def test_variants_are_trained_on_the_same_rows_from_every_seed(small_student: Path, tmp_path: Path) -> None:
    recipe, out = write_sums(tmp_path / "recipe"), tmp_path / "run"
    wanted = asking(small_student, "{hard: {method: distil, objectives: [{kind: hard}], learning_rate: 1.0e-5}}", 2)
    run(recipe, out=out, set=wanted, display=QUIET)

    def record(*parts: str) -> Any:
        return json.loads(out.joinpath(*parts, "training.json").read_text(encoding="utf-8"))

    own = record("student")
    first, second = record("variants", "hard"), record("variants", f"hard_{own['seed'] + 1}")
    assert first["data"] == second["data"] == own["data"]
    assert first["steps"] == own["steps"]
    assert (first["seed"], second["seed"]) == (own["seed"], own["seed"] + 1)
    assert (first["settings"]["method"], first["settings"]["learning_rate"]) == ("distil", 1e-5)
    assert first["losses"][0] == pytest.approx(own["losses"][0], rel=1e-3)
    found = json.loads((out / "eval.json").read_text(encoding="utf-8"))
    assert "student_hard" in {row["who"] for row in found["results"]}
    assert [(c["a"], c["b"]) for c in found["comparisons"]] == [("student_after", "student_hard")]
    over = [row for row in found["results"] if row["metric"] == "difference_over_seeds"]
    assert [row["against"] for row in over] == ["student_hard"]
    assert (out / "answers" / "student_hard.jsonl").is_file()

    written = (out / "variants" / "hard" / "training.json").stat().st_mtime_ns
    run(recipe, out=out, set=wanted, display=QUIET)
    assert (out / "variants" / "hard" / "training.json").stat().st_mtime_ns == written


@pytest.mark.parametrize(
    ("variants", "told"),
    [
        ("{x: {epochs: 1, learning_rate: 1.0e-3}}", "evaluate.variants.x changes nothing"),
        ("{x: {epohcs: 2}}", "epohcs"),
        ("{x: {model: other}}", "variants.x changes model"),
        ("{before: {epochs: 2}}", "would be called student_before"),
        ("{x: {method: dpo}}", "learns from pairs"),
    ],
)
def test_a_variant_that_is_none_is_refused(variants: str, told: str, small_student: Path, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=told):
        run(write_sums(tmp_path), out=tmp_path / "run", set=asking(small_student, variants), display=QUIET)
