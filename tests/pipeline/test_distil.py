"""A run whose student is trained with `method: distil`: by a recipe, once, and again when its teacher is another."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from stillroom.common.models.resolve import load_model
from stillroom.common.records import State
from stillroom.pipeline.planning.status import IN_TRAINING, status
from stillroom.pipeline.run.progress import Display
from stillroom.sampling.ledger import Ledger
from tests.conftest import stillroom, write_sums
from tests.pipeline.runs import run

QUIET = Display(quiet=True)


def asking(student: Path, teacher: Path) -> list[str]:
    objectives = "[{kind: soft, temperature: 2}, {kind: base_kl, weight: 0.1}]"
    return [
        f"student={{model: '{student}', method: distil, teacher: '{teacher}', objectives: {objectives}, epochs: 1}}"
    ]


@pytest.mark.slow
def test_a_run_trains_once_and_again_for_another_teacher(small_student: Path, tmp_path: Path) -> None:
    recipe, teacher = write_sums(tmp_path / "recipe"), tmp_path / "teacher"
    shutil.copytree(small_student, teacher)
    record = tmp_path / "run" / "student" / "training.json"
    written = []
    for _ in range(2):
        run(recipe, out=tmp_path / "run", set=asking(small_student, teacher), display=QUIET)
        written.append(record.stat().st_mtime_ns)
    told = json.loads(record.read_text(encoding="utf-8"))
    assert told["settings"]["method"] == "distil"
    assert [len(means) for means in told["objectives"]] == [2] * told["steps"]
    assert written[0] == written[1]
    model = load_model(str(teacher), "float32", "cpu")
    model.get_output_embeddings().weight.data.mul_(1.1)
    model.save_pretrained(teacher)
    run(recipe, out=tmp_path / "run", set=asking(small_student, teacher), display=QUIET)
    assert record.stat().st_mtime_ns != written[0]
    assert json.loads(record.read_text(encoding="utf-8"))["teacher"] != told["teacher"]


def test_a_teacher_that_is_missing_is_said_before_anything_is_asked(small_student: Path, tmp_path: Path) -> None:
    student = f"student={{model: '{small_student}', method: distil}}"
    told = stillroom("run", write_sums(tmp_path), "--out", tmp_path / "run", "--set", student)
    assert told.returncode == 2
    assert "the objective soft needs a teacher" in told.stderr
    assert not (tmp_path / "run" / "ledger.sqlite").exists()


@pytest.mark.slow
def test_the_scorer_of_the_recipe_decides_what_a_student_learns_of_its_own_answers(
    small_student: Path, tmp_path: Path
) -> None:
    """The base, shown the answer, teaches itself on what the scorer accepted; another scorer, another student. About
    half of what it says is accepted, whatever a machine makes of a model that adds up by chance."""
    recipe, out = write_sums(tmp_path / "recipe"), tmp_path / "run"
    (recipe.parent / "mine.py").write_text(
        'def score(task, attempt):\n    return attempt.text.strip()[-1:] in "02468"\n'
    )
    own = "on_policy: {keep: accepted, sampling: {max_tokens: 48}}"
    student = f"student={{model: '{small_student}', method: distil, preset: sdft, epochs: 1, dtype: float32, {own}}}"
    scorer = "scorer={kind: python, path: 'mine.py:score'"
    run(recipe, out=out, set=[student, f"{scorer}}}"], trust=True, display=QUIET)
    told = json.loads((out / "student" / "training.json").read_text(encoding="utf-8"))["on_policy"]
    assert told["answers"] == told["learned_from"] + sum(told[f"not_kept_{state}"] for state in State)
    assert told["learned_from"] > 0
    assert told["not_kept_rejected"] > 0
    with Ledger.read(out) as ledger:
        states = [row["state"] for row in ledger.rows() if row["teacher"].startswith("student:")]
    assert states.count("accepted") == told["learned_from"]
    assert [cost.requests for cost in status(out).costs if cost.stage == IN_TRAINING] == [told["answers"]]
    written = (out / "student" / "training.json").stat().st_mtime_ns
    run(recipe, out=out, set=[student, f"{scorer}, timeout_s: 6}}"], trust=True, display=QUIET)
    assert (out / "student" / "training.json").stat().st_mtime_ns != written
