"""The best and the worst by comparisons: how many it takes, and what ties and failures do to them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stillroom.common.records import Attempt, Task
from stillroom.judges.records import JudgeState, OrderVerdict, Preference
from stillroom.judges.tournament import Tournament, tournament
from tests.judges._asking import TASK, answered

STATES = (JudgeState.TIE, JudgeState.ORDER_CONFLICT, JudgeState.PARSE_FAILED)


class Ranked:
    """Prefers the longer text, but ends otherwise where `state` says so of the two lengths."""

    identity = "ranked"

    def __init__(self, state: Callable[[int, int], JudgeState] = lambda *_: JudgeState.OK) -> None:
        self._state = state
        self.asked: list[frozenset[int]] = []

    async def compare(self, task: Task, a: Attempt, b: Attempt) -> Preference:
        lengths = len(a.text), len(b.text)
        self.asked.append(frozenset(lengths))
        state = self._state(min(lengths), max(lengths))
        winner: Literal["a", "b"] | None = None
        if state is JudgeState.OK:
            winner = "a" if lengths[0] > lengths[1] else "b"
        return Preference(state, winner, (OrderVerdict(JudgeState.TIE, None),) * 2)

    async def close(self) -> None: ...


def field(n: int) -> list[Attempt]:
    return [answered("x" * (i + 1), index=i) for i in range(n)]


def play(judge: Ranked, answers: list[Attempt], seed: int = 0) -> Tournament:
    return asyncio.run(tournament(judge, TASK, answers, seed))


@pytest.mark.parametrize("n", range(2, 18))
def test_a_sound_judge_finds_both_in_about_one_and_a_half_n_comparisons(n: int) -> None:
    found = play(Ranked(), field(n), seed=n)
    assert (found.best, found.worst, found.out) == (n - 1, 0, ())
    assert len(found.comparisons) <= 3 * n / 2 - (2 if n % 2 == 0 else 1)
    assert found.calls == 2 * len(found.comparisons)


@pytest.mark.parametrize("n", [0, 1])
def test_fewer_than_two_have_neither(n: int) -> None:
    assert play(Ranked(), field(n))[:3] == (None, None, 0)


@given(st.permutations(range(7)), st.integers(0, 5), st.lists(st.sampled_from([JudgeState.OK, *STATES]), min_size=5))
def test_order_and_ids_change_nothing(order: list[int], seed: int, states: list[JudgeState]) -> None:
    def state(low: int, high: int) -> JudgeState:
        return states[(3 * low + high) % len(states)]

    answers = field(7)
    shuffled = [answered(answers[i].text, index=90 + i) for i in order]
    one, other = play(Ranked(state), answers, seed), play(Ranked(state), shuffled, seed)
    assert one.best == (None if other.best is None else order[other.best])
    assert one.worst == (None if other.worst is None else order[other.worst])
    assert one.calls == other.calls


@given(st.integers(2, 9), st.integers(0, 3), st.randoms(use_true_random=False))
def test_whatever_fails_no_pair_is_asked_twice_and_no_failure_decides(n: int, seed: int, random: object) -> None:
    states = {
        (low, high): random.choice([JudgeState.OK, *STATES])  # type: ignore[attr-defined]
        for high in range(1, n + 1)
        for low in range(1, high)
    }
    judge = Ranked(lambda low, high: states[low, high])
    found = play(judge, field(n), seed)
    assert len(set(judge.asked)) == len(judge.asked)
    won = {m.a if m.preference.winner == "a" else m.b for m in found.comparisons if m.preference.winner}
    lost = {m.b if m.preference.winner == "a" else m.a for m in found.comparisons if m.preference.winner}
    assert found.best in won | {None}
    assert found.worst in lost | {None}
    assert found.best is None or found.best != found.worst
    assert not {found.best, found.worst} & set(found.out)


@pytest.mark.parametrize("state", [JudgeState.PARSE_FAILED, JudgeState.API_ERROR])
def test_a_judge_that_always_fails_finds_nobody_and_is_not_asked_for_ever(state: JudgeState) -> None:
    found = play(Ranked(lambda *_: state), field(8))
    assert (found.best, found.worst, found.out) == (None, None, tuple(range(8)))
    assert all(match.preference.failed for match in found.comparisons)
    assert len(found.comparisons) <= 16


@pytest.mark.parametrize("state", [JudgeState.TIE, JudgeState.ORDER_CONFLICT])
def test_coins_alone_name_nobody(state: JudgeState) -> None:
    found = play(Ranked(lambda *_: state), field(6))
    assert (found.best, found.worst) == (None, None)
    undecided = {JudgeState.TIE, JudgeState.ORDER_CONFLICT}
    assert {match.preference.state for match in found.comparisons} <= undecided


def test_one_answer_that_always_fails_is_out_and_the_rest_are_ranked() -> None:
    found = play(Ranked(lambda low, high: JudgeState.PARSE_FAILED if 4 in (low, high) else JudgeState.OK), field(8))
    assert (found.best, found.worst, found.out) == (7, 0, (3,))


def test_the_best_is_out_where_it_cannot_be_judged() -> None:
    found = play(Ranked(lambda low, high: JudgeState.REFUSED if high == 8 else JudgeState.OK), field(8))
    assert (found.best, found.worst, found.out) == (6, 0, (7,))


def test_the_coin_is_the_seeds() -> None:
    def tied(low: int, high: int) -> JudgeState:
        return JudgeState.TIE if low > 2 else JudgeState.OK

    found = {play(Ranked(tied), field(6), seed).best for seed in range(20)}
    assert len(found) > 1
    assert play(Ranked(tied), field(6), 3) == play(Ranked(tied), field(6), 3)


def test_a_pair_that_failed_is_not_counted_twice() -> None:
    """These two meet again before others are left to meet; their one failure must not put both out."""
    failing = {(1, 5), (2, 4), (2, 6), (3, 4), (3, 5), (3, 6)}
    found = play(Ranked(lambda *pair: JudgeState.PARSE_FAILED if pair in failing else JudgeState.OK), field(6))
    assert (found.best, found.worst) == (5, 0)


class Circular(Ranked):
    """Prefers each answer to the one before it, and the first to the last."""

    async def compare(self, task: Task, a: Attempt, b: Attempt) -> Preference:
        ahead = (len(a.text) - len(b.text)) % 3 == 1
        return Preference(JudgeState.OK, "a" if ahead else "b", (OrderVerdict(JudgeState.TIE, None),) * 2)


def test_nobody_is_both_the_best_and_the_worst() -> None:
    for seed in range(10):
        found = play(Circular(), field(3), seed)
        assert found.best is None or found.best != found.worst
        assert (found.best is None) is (found.worst is None)
