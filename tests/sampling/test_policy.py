"""The stopping rule and how many draws it wants in flight."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from stillroom.sampling.policy import Until
from stillroom.sampling.records import State, StopReason

A, R, U = State.ACCEPTED, State.REJECTED, State.UNSCORED


@pytest.mark.parametrize(
    ("states", "stop"),
    [
        ([], None),
        ([A], None),
        ([A, R, A], StopReason.SATISFIED),
        ([R, R, R], StopReason.GAVE_UP),
        ([U, U, U], StopReason.GAVE_UP),
        ([R, A, R], None),
        ([R, A, R, R, R, R], StopReason.EXHAUSTED),
    ],
)
def test_stop(states: list[State], stop: StopReason | None) -> None:
    assert Until(per_task=2, max_attempts=6, give_up_after=3).stop(states) is stop


def test_impossible_numbers_are_refused_with_both_values() -> None:
    with pytest.raises(ValidationError, match="max_attempts is 2, below per_task 3"):
        Until(per_task=3, max_attempts=2)


@given(st.integers(1, 8), st.integers(0, 56), st.integers(0, 64), st.integers(0, 64), st.floats(0.001, 0.999))
def test_wanted_is_bounded(per_task: int, more: int, accepted: int, resolved: int, rate: float) -> None:
    """Law: what is wanted never breaks max_attempts, and an open task that may draw always wants something."""
    policy = Until(per_task=per_task, max_attempts=per_task + more)
    accepted = min(accepted, resolved)
    wanted = policy.wanted(accepted, resolved, rate)
    assert 0 <= wanted <= max(0, policy.max_attempts - resolved)
    if accepted < per_task and resolved < policy.max_attempts:
        assert wanted >= 1


def test_a_rate_that_falls_wants_more() -> None:
    policy = Until(per_task=4, max_attempts=64)
    assert policy.wanted(0, 0, 0.9) < policy.wanted(0, 0, 0.5) < policy.wanted(0, 8, 0.5)
