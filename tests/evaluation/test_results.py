from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from stillroom.errors import InputError, MissingFile, RunError
from stillroom.evaluation.evaluate import evaluate_answers
from stillroom.evaluation.results import Evaluation, Result, read_eval, write_eval


@pytest.fixture
def evaluation(scored: Any) -> Evaluation:
    return evaluate_answers(
        {
            "student_before": scored([1], range(2, 40), [40]),
            "student_after": scored(range(1, 25), range(25, 41)),
            "teacher": scored(range(5), range(5, 39)),
            "control_unfiltered": scored([7], range(8, 40)),
        }
    )


def test_the_file_has_the_promised_keys(evaluation: Evaluation, tmp_path: Path) -> None:
    write_eval(evaluation, tmp_path / "eval.json")
    found = json.loads((tmp_path / "eval.json").read_text())
    assert {"results", "comparisons"} <= found.keys()
    for result in found["results"]:
        assert {"who", "metric", "value", "low", "high", "n"} <= result.keys()
    accuracy = [r["who"] for r in found["results"] if r["metric"] == "accuracy"]
    assert accuracy == ["student_before", "student_after", "teacher", "control_unfiltered"]
    for comparison in found["comparisons"]:
        assert {"a", "b", "test", "difference", "low", "high", "p"} <= comparison.keys()
    assert len(found["comparisons"]) == 3


def test_what_is_written_is_read_again(evaluation: Evaluation, tmp_path: Path) -> None:
    write_eval(evaluation, tmp_path / "deep" / "eval.json")
    assert read_eval(tmp_path / "deep" / "eval.json") == evaluation


def test_keys_of_later_versions_are_kept(evaluation: Evaluation, tmp_path: Path) -> None:
    more = json.loads(evaluation.model_dump_json()) | {"seeds": [1, 2]}
    (tmp_path / "eval.json").write_text(json.dumps(more))
    write_eval(read_eval(tmp_path / "eval.json"), tmp_path / "again.json")
    assert json.loads((tmp_path / "again.json").read_text())["seeds"] == [1, 2]


def test_an_earlier_file_is_replaced_whole(evaluation: Evaluation, tmp_path: Path) -> None:
    (tmp_path / "eval.json").write_text("x" * 100_000)
    write_eval(evaluation, tmp_path / "eval.json")
    assert read_eval(tmp_path / "eval.json") == evaluation
    assert [path.name for path in tmp_path.iterdir()] == ["eval.json"]


def test_a_write_that_fails_leaves_the_earlier_file(
    evaluation: Evaluation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_eval(evaluation, tmp_path / "eval.json")

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", full)
        with pytest.raises(RunError, match=r"cannot write .*eval.json: No space left"):
            write_eval(Evaluation(results=()), tmp_path / "eval.json")
    assert read_eval(tmp_path / "eval.json") == evaluation
    assert [path.name for path in tmp_path.iterdir()] == ["eval.json"]


def test_a_folder_that_cannot_be_made(evaluation: Evaluation, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="cannot write"):
        write_eval(evaluation, tmp_path / "file" / "eval.json")


def test_reading_what_is_not_there_or_not_an_evaluation(tmp_path: Path) -> None:
    with pytest.raises(MissingFile, match=r"eval\.json does not exist"):
        read_eval(tmp_path / "eval.json")
    for text in ("{", "[]", '{"results": [{"who": "teacher"}]}'):
        (tmp_path / "eval.json").write_text(text)
        with pytest.raises(InputError, match=r"eval\.json is not an evaluation"):
            read_eval(tmp_path / "eval.json")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_number_that_is_none_is_refused(value: float) -> None:
    with pytest.raises(ValidationError):
        Result(who="teacher", metric="accuracy", value=value, low=0, high=1, n=1)
