"""Comparing by scores: the better score wins, in both orders alike; failures stay failures."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stillroom.errors import InputError
from stillroom.judges.by_score import ByScore, preference
from stillroom.judges.readability import ReadabilityJudge
from stillroom.judges.records import FAILURES, JudgeState, Rating
from stillroom.sampling.records import Attempt, Task, user

TASK = Task("t1", user("Say hello."), None, "by hand")
SCORES = st.floats(0, 5)


def rated(score: float) -> Rating:
    return Rating(JudgeState.OK, score, calls=1)


@pytest.mark.parametrize(
    ("a", "b", "tie", "state", "winner"),
    [
        (4, 3, 0, JudgeState.OK, "a"),
        (3, 4, 0, JudgeState.OK, "b"),
        (3, 3, 0, JudgeState.TIE, None),
        (3.4, 3, 0.5, JudgeState.TIE, None),
        (3.6, 3, 0.5, JudgeState.OK, "a"),
    ],
)
def test_the_better_score_wins(a: float, b: float, tie: float, state: JudgeState, winner: str | None) -> None:
    found = preference(rated(a), rated(b), tie)
    assert (found.state, found.winner, found.calls) == (state, winner, 2)


@given(SCORES, SCORES, st.floats(0, 2))
def test_exchanging_the_answers_mirrors_the_verdict(a: float, b: float, tie: float) -> None:
    one, other = preference(rated(a), rated(b), tie), preference(rated(b), rated(a), tie)
    assert one.points is not None
    assert other.points is not None
    assert one.points + other.points == 1
    shown_first = [verdict.winner for verdict in one.orders]
    assert shown_first in ([None, None], ["first", "second"], ["second", "first"])


@pytest.mark.parametrize("state", sorted(FAILURES))
def test_a_failed_rating_is_a_failed_comparison(state: JudgeState) -> None:
    failed = Rating(state, None, detail="why")
    for found in (preference(failed, rated(5)), preference(rated(5), failed)):
        assert found.failed
        assert (found.state, found.points) == (state, None)


async def test_it_compares_with_a_real_judge() -> None:
    judge = ByScore(ReadabilityJudge(), tie=1.0)
    easy, hard = (
        Attempt("t1", i, text, None, "stop", 1, 1, None, 0.0, "fake")
        for i, text in enumerate(
            ["We met him at the lake.", "Organizational heterogeneity necessitates deliberation."]
        )
    )
    assert (await judge.compare(TASK, easy, hard)).winner == "a"
    assert (await judge.compare(TASK, hard, easy)).winner == "b"
    assert (await judge.compare(TASK, easy, easy)).state == JudgeState.TIE
    assert judge.identity == "by-score:1:readability:1"
    await judge.close()


@pytest.mark.parametrize("tie", [-0.1, float("nan")])
def test_a_negative_width_is_refused(tie: float) -> None:
    with pytest.raises(InputError, match="tie is"):
        ByScore(ReadabilityJudge(), tie)
