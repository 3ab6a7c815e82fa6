"""The scripted judge has the faults that it is given, and no others."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from itertools import pairwise
from statistics import fmean

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stillroom.common.records import Attempt, Task
from stillroom.errors import InputError
from stillroom.judges.records import JudgeState, Preference
from stillroom.judges.scripted import Noise, ScriptedJudge
from tests.judges._asking import TASK, answered

QUIET = Noise(error=0, spread=0)


def by_length(attempt: Attempt) -> float:
    return len(attempt.text) / 10 - 1


def judge(noise: Noise = QUIET, **options: object) -> ScriptedJudge:
    return ScriptedJudge(by_length, "length", noise, **options)  # type: ignore[arg-type]


async def test_without_noise_it_knows_the_truth() -> None:
    for expected in (True, False):
        ratings = [await judge(expected=expected).rate(TASK, answered("x" * n)) for n in (10, 20, 30)]
        assert [rating.score for rating in ratings] == [3.0, 4.0, 5.0]
    assert (await judge().compare(TASK, answered("x" * 9), answered("x"))).winner == "a"


async def test_a_single_draw_is_a_point_and_the_expected_rating_its_mean() -> None:
    noise = Noise(error=0, spread=0.7)
    answer = answered("x" * 12)
    draws = [(await judge(noise, expected=False, seed=n).rate(TASK, answer)).score or 0 for n in range(400)]
    assert set(draws) <= {1.0, 2.0, 3.0, 4.0, 5.0}
    assert len(set(draws)) > 2
    assert fmean(draws) == pytest.approx((await judge(noise).rate(TASK, answer)).score, abs=0.15)


async def test_errors_are_the_judges_own_and_shared_ones_everybodys() -> None:
    answer = answered("x" * 10)

    async def spread(shared: float) -> float:
        scores = [(await judge(Noise(1.0, 0.7, shared), seed=n).rate(TASK, answer)).score or 0 for n in range(50)]
        return max(scores) - min(scores)

    assert await spread(0.0) > 1
    assert await spread(1.0) == 0


async def _states(noise: Noise) -> list[Preference]:
    answers = [answered("x" * n + str(n)) for n in range(40)]
    return [await judge(noise).compare(TASK, a, b) for a, b in pairwise(answers)]


async def test_position_bias_makes_conflicts_and_a_tie_width_ties() -> None:
    biased = await _states(replace(QUIET, position_bias=5.0))
    assert {preference.state for preference in biased} == {JudgeState.ORDER_CONFLICT}
    assert {order.winner for preference in biased for order in preference.orders} == {"first"}
    assert {preference.state for preference in await _states(replace(QUIET, tie_width=5.0))} == {JudgeState.TIE}


async def test_failures_come_as_often_as_asked_for() -> None:
    noise = replace(QUIET, failures=0.25)
    ratings = [await judge(noise).rate(TASK, answered(str(n))) for n in range(400)]
    assert sum(rating.failed for rating in ratings) == pytest.approx(100, abs=35)
    assert any(preference.failed for preference in await _states(noise))


@given(st.text(max_size=12), st.text(max_size=12), st.integers(0, 3), st.text(max_size=5))
def test_a_swap_mirrors_and_ids_change_nothing(one: str, other: str, seed: int, task_id: str) -> None:
    noisy = judge(Noise(0.5, 0.7, 0.3, 0.4, 0.3, 0.1), seed=seed)
    a, b = answered(one), answered(other, index=5)
    there, back = asyncio.run(noisy.compare(TASK, a, b)), asyncio.run(noisy.compare(TASK, b, a))
    assert (there.state, there.winner) == (back.state, {"a": "b", "b": "a", None: None}[back.winner])
    renamed = Task(task_id, TASK.messages, None, "elsewhere")
    assert asyncio.run(noisy.rate(renamed, replace(a, index=9, teacher=task_id))) == asyncio.run(noisy.rate(TASK, a))


def test_the_identity_names_all_that_decides() -> None:
    made = [judge(), judge(Noise()), judge(seed=1), judge(scale=(0, 9)), judge(slope=2.0), judge(expected=False)]
    assert len({each.identity for each in made}) == len(made)
    assert judge(scale=(0, 9)).scale == (0.0, 9.0)


@pytest.mark.parametrize("wrong", [{"error": -1.0}, {"shared": 1.5}, {"failures": -0.1}])
def test_noise_that_is_none_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(InputError, match="must"):
        Noise(**wrong)
