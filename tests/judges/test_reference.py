"""chrF against the task's reference: values worked out by hand, and its laws."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stillroom.common.records import Attempt, Task, user
from stillroom.judges.records import JudgeState
from stillroom.judges.reference import ReferenceJudge, chrf


def attempt(text: str) -> Attempt:
    return Attempt("t1", 0, text, None, "stop", 1, 1, None, 0.0, "fake")


def task(reference: str | None) -> Task:
    return Task("t1", user("Say hello."), reference, "by hand")


@pytest.mark.parametrize(
    ("text", "reference", "value"),
    [
        ("abc", "abc", 100),
        ("a b c", "abc", 100),
        ("abc", "xyz", 0),
        ("", "abc", 0),
        ("abc", "", 0),
        # n = 1: 2 of 2 and 2 of 4; n = 2: 1 of 1 and 1 of 3; longer: none in "ab". P = 1, R = 5/12.
        ("ab", "abcd", 100 * 5 * (5 / 12) / (4 + 5 / 12)),
    ],
)
def test_chrf(text: str, reference: str, value: float) -> None:
    assert chrf(text, reference) == pytest.approx(value)


@given(st.text(max_size=80), st.text(max_size=80))
def test_it_stays_on_the_scale_and_knows_its_own(text: str, reference: str) -> None:
    assert 0 <= chrf(text, reference) <= 100 + 1e-9
    if text.strip():
        assert chrf(text, text) == pytest.approx(100)


async def test_a_task_without_a_reference_gets_no_judgement() -> None:
    judge = ReferenceJudge()
    for missing in (None, "", "  "):
        rating = await judge.rate(task(missing), attempt("Hello!"))
        assert (rating.state, rating.score) == (JudgeState.REFUSED, None)
    assert (await judge.rate(task("Hello!"), attempt("Hello!"))).score == pytest.approx(100)
    await judge.close()
