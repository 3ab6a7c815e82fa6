"""Recorded grades as verdicts: which recording, which grade, and of which answers."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from stillroom.common.records import Attempt, Task, Verdict, user
from stillroom.errors import InputError
from stillroom.sampling.scorers.base import Place, Scorer
from stillroom.sampling.scorers.recorded import RecordedScorerSettings
from stillroom.sampling.teachers.recorded import RecordedSettings

TASK = Task("t1", user("2 + 2?"), None, "")


def write(folder: Path, *rows: Any, name: str = "r.jsonl") -> None:
    (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows))


def settings(grade: str | None = "ok", *, recording: Any = None, **given: Any) -> RecordedScorerSettings:
    teacher = RecordedSettings.model_validate(
        {"kind": "recorded", "path": "r.jsonl", "prompt": "prompt", "grade": grade, **(recording or {})}
    )
    return RecordedScorerSettings(kind="recorded", recording=teacher, **given)


def opened(folder: Path, **given: Any) -> Scorer:
    return settings(**given).make(Place(None, folder))


def score(scorer: Scorer, text: str, index: int = 0, finish: Any = "stop") -> Verdict:
    return asyncio.run(scorer.score(TASK, Attempt("t1", index, text, None, finish, 0, 0, None, 0.0, "t")))


def row(text: str, grade: Any) -> dict[str, Any]:
    return {"prompt": "2 + 2?", "text": text, "ok": grade}


def test_an_answer_is_found_by_its_number_and_by_its_text(tmp_path: Path) -> None:
    write(tmp_path, row("4", True), row("5", False), row("4", False))
    scorer = opened(tmp_path)
    assert [score(scorer, text, n).state.value for text, n in (("4", 0), ("5", 1), ("4", 2), ("5", 9))] == [
        "accepted",
        "rejected",
        "rejected",
        "rejected",
    ]
    assert score(scorer, "6").reason == "not_recorded"


@pytest.mark.parametrize(
    ("grade", "finish", "reason", "detail"),
    [
        (None, "stop", "no_grade", "the recording holds no grade of it"),
        ("maybe", "stop", "unknown_grade", "maybe"),
        (False, "length", "truncated", ""),
        (False, "content_filter", "filtered", ""),
    ],
)
def test_what_decides_nothing_is_unscored_with_its_reason(
    tmp_path: Path, grade: Any, finish: str, reason: str, detail: str
) -> None:
    write(tmp_path, row("4", grade), row("5", True))
    verdict = score(opened(tmp_path), "4", finish=finish)
    assert (verdict.state.value, verdict.reason, verdict.detail) == ("unscored", reason, detail)


def test_thinking_that_the_teacher_splits_off_does_not_hide_an_answer(tmp_path: Path) -> None:
    write(tmp_path, row("[T]two[/T]4", True))
    marks = {"sampling": {"thinking": {"open": "[T]", "close": "[/T]"}}}
    assert score(opened(tmp_path, recording=marks), "4").state.value == "accepted"


def test_which_grade_is_meant_has_to_be_clear(tmp_path: Path) -> None:
    log = {"doc": {"question": "2 + 2?"}, "arguments": [["2 + 2?"]], "resps": [["4"]], "acc": 1, "f1": 0.5}
    write(tmp_path, log)

    def lm(grade: str | None = None) -> RecordedScorerSettings:
        return settings(None, recording={"prompt": None}).model_copy(update={"grade": grade})

    with pytest.raises(InputError, match=r"r\.jsonl have several grades: name one in scorer\.grade \(acc, f1\)"):
        lm().make(Place(None, tmp_path))
    with pytest.raises(InputError, match="has the grade 'ac': did you mean 'acc'"):
        lm("ac").make(Place(None, tmp_path))
    assert score(lm("acc,none").make(Place(None, tmp_path)), "4").state.value == "accepted"


def test_a_recording_without_a_grade_is_refused(tmp_path: Path) -> None:
    write(tmp_path, row("4", True))
    with pytest.raises(InputError, match=r"no answer of r\.jsonl has a grade.* name the field .* in teacher\.grade"):
        opened(tmp_path, grade=None)


def test_what_decides_a_verdict_is_in_the_identity(tmp_path: Path) -> None:
    write(tmp_path, row("4", 0.5))
    found = [
        settings(**given).identity(tmp_path)
        for given in ({}, {"accept": 0.5}, {"grades": {"0.5": "accepted"}}, {"grade": "text"})
    ]
    write(tmp_path, row("4", 0.6))
    found.append(settings().identity(tmp_path))
    assert len(set(found)) == len(found)
