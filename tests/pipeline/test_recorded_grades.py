"""Recipes whose verdicts are the grades of a recording: which recording, what scores new answers, a whole run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from stillroom.pipeline.config.loop import LoopRecipe
from stillroom.pipeline.config.recipe import Recipe
from stillroom.sampling.scorers.recorded import RecordedScorerSettings
from tests.pipeline.runs import run


def write(folder: Path, *rows: Any, name: str = "r.jsonl") -> None:
    (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows))


def recipe(**given: Any) -> dict[str, Any]:
    return {
        "name": "graded",
        "tasks": {"source": "jsonl", "path": "t.jsonl", "prompt": "prompt", "reference": None},
        "teacher": {"kind": "recorded", "path": "r.jsonl", "prompt": "prompt", "grade": "ok"},
        "scorer": {"kind": "recorded"},
        "filters": [],
        **given,
    }


def test_the_recording_is_the_teachers_unless_another_is_named() -> None:
    made = Recipe.model_validate(recipe()).scorer
    assert isinstance(made, RecordedScorerSettings)
    assert made.recording is not None
    assert made.recording.path == "r.jsonl"
    other = {"kind": "openai", "model": "m", "base_url": "http://localhost:1/v1"}
    with pytest.raises(ValidationError, match=r"teacher\.kind 'openai' holds no grades: name the recording"):
        Recipe.model_validate(recipe(teacher=other))
    graded = {"kind": "recorded", "recording": {"kind": "recorded", "path": "people.csv", "grade": "ok"}}
    assert Recipe.model_validate(recipe(teacher=other, scorer=graded)).files == ("t.jsonl", "people.csv")


def test_new_answers_are_scored_by_what_reads_references() -> None:
    tasks = {"source": "jsonl", "path": "t.jsonl", "reference": "a", "test": 1}
    more = {"student": {"model": "m", "method": "sft"}, "evaluate": {}}
    assert Recipe.model_validate(recipe(tasks=tasks, **more)).measuring.kind == "answer"
    with pytest.raises(
        ValidationError, match=r"evaluate scores held-out answers with answer, which needs a reference"
    ):
        Recipe.model_validate(recipe(tasks={**tasks, "reference": None}, **more))
    own = {"kind": "recorded", "measure": {"kind": "none"}}
    assert (
        Recipe.model_validate(recipe(tasks={**tasks, "reference": None}, scorer=own, **more)).measuring.kind == "none"
    )


def test_a_loop_gives_answers_that_no_recording_grades() -> None:
    tasks = {"source": "jsonl", "path": "t.jsonl", "reference": "a", "test": 1, "limit": 2}
    loop = {"student": {"model": "m", "method": "sft"}, "evaluate": {}, "loop": {"rounds": 2}}
    with pytest.raises(ValidationError, match=r"the rounds of a loop give new ones: take a scorer that reads them"):
        LoopRecipe.model_validate(recipe(tasks=tasks, **loop))


def test_a_run_takes_the_grades_and_says_what_they_are(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    grades = {"1 + 1?": "C", "2 + 2?": "I", "3 + 3?": "P", "4 + 4?": "odd", "5 + 5?": None}
    write(tmp_path, *({"prompt": prompt} for prompt in grades), name="t.jsonl")
    write(tmp_path, *({"prompt": prompt, "text": "it is", "ok": grade} for prompt, grade in grades.items()))
    (tmp_path / "r.yaml").write_text(json.dumps(recipe()))
    result = run(tmp_path / "r.yaml", out=tmp_path / "out")
    assert (result.accepted, result.rows, result.agreement) == (1, 1, None)
    told = " ".join(capsys.readouterr().err.split())
    assert "grades by grade: 1 accepted, 1 rejected, 1 partial, 1 unknown grade, 1 no grade" in told
    counts = json.loads((tmp_path / "out" / "run.json").read_text())
    assert (counts["sampling"]["rejected"], counts["sampling"]["unscored"]) == (1, 3)
    assert counts["grades"] == {"accepted": 1, "rejected": 1, "partial": 1, "unknown_grade": 1, "no_grade": 1}
