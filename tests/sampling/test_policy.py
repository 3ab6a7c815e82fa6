"""The stopping rule and how many draws it wants in flight."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from stillroom.common.records import State, StopReason
from stillroom.sampling.policy import Budget, Fixed, Policy, Tally, Until, chance_of, upper_bound

A, R, U = State.ACCEPTED, State.REJECTED, State.UNSCORED


def tally(states: list[State]) -> Tally:
    found = Tally()
    for state in states:
        found = found.plus(state)
    return found


@pytest.mark.parametrize(
    ("states", "stop"),
    [
        ([], None),
        ([A], None),
        ([A, R, A], StopReason.SATISFIED),
        ([R, R, R], StopReason.GAVE_UP),
        ([U, U, U], None),
        ([U] * 6, StopReason.EXHAUSTED),
        ([R, A, R], None),
        ([R, A, R, R, R, R], StopReason.EXHAUSTED),
        ([R, A, U, U, U, R, R, R], None),
    ],
)
def test_until_stops(states: list[State], stop: StopReason | None) -> None:
    assert Until(per_task=2, max_attempts=6, give_up_after=3).stop(tally(states)) is stop


def test_until_gives_up_where_it_is_hopeless_and_not_before() -> None:
    patient, cautious = Until(per_task=4, max_attempts=16), Until(per_task=4, max_attempts=16, give_up_below=0.05)
    assert [patient.stop(Tally(rejected=n)) for n in (8, 15)] == [None, None]
    assert cautious.stop(Tally(rejected=8)) is None
    assert cautious.stop(Tally(rejected=11)) is StopReason.GAVE_UP
    assert cautious.stop(Tally(accepted=3, rejected=11)) is None


def test_no_more_is_in_flight_than_would_make_it_hopeless() -> None:
    """Were all of them rejected, the task would end: none of those in flight is drawn in vain."""
    policy = Until(per_task=4, max_attempts=16, give_up_below=0.05)
    wanted = [policy.needed(Tally(rejected=n)) for n in range(11)]
    assert wanted[0] == 4
    assert wanted[-1] == 1
    assert wanted == sorted(wanted, reverse=True)


def test_fixed_draws_all_of_its_attempts() -> None:
    policy = Fixed(policy="fixed", attempts=3)
    assert policy.stop(Tally(accepted=2)) is None
    assert policy.needed(Tally(accepted=1)) == 2
    assert policy.stop(Tally(accepted=1, rejected=2)) is StopReason.SATISFIED
    assert policy.stop(Tally(rejected=3)) is StopReason.EXHAUSTED


def test_a_budget_prefers_what_is_cheap_or_what_is_hard() -> None:
    cheapest = Budget(policy="budget", tokens=1000)
    assert cheapest.price(Tally(3, 1), 100, 0.5) < cheapest.price(Tally(1, 3), 100, 0.5)
    assert cheapest.price(Tally(1, 1), 50, 0.5) < cheapest.price(Tally(1, 1), 100, 0.5)
    hard = Budget(policy="budget", tokens=1000, spend="difficulty", per_task=8, max_attempts=32)
    assert hard.share(Tally(8, 0)) < hard.share(Tally(4, 4)) <= hard.share(Tally(0, 8)) == 8


def test_a_budget_needs_a_total() -> None:
    with pytest.raises(ValidationError, match="tokens, or usd"):
        Budget(policy="budget")


def test_the_policy_is_chosen_by_name_and_is_until_without_one() -> None:
    adapter: TypeAdapter[Policy] = TypeAdapter(Policy)
    assert isinstance(adapter.validate_python({"per_task": 2}), Until)
    assert isinstance(adapter.validate_python({"policy": "fixed", "attempts": 2}), Fixed)
    with pytest.raises(ValidationError, match="sometimes"):
        adapter.validate_python({"policy": "sometimes"})


@pytest.mark.parametrize("limits", [[4096, 1024], [1024, 1024]])
def test_escalation_must_rise(limits: list[int]) -> None:
    with pytest.raises(ValidationError, match="each limit must be above"):
        Until(escalate=limits)


def test_impossible_numbers_are_refused_with_both_values() -> None:
    with pytest.raises(ValidationError, match="max_attempts is 2, below per_task 3"):
        Until(per_task=3, max_attempts=2)


@given(st.integers(1, 8), st.integers(0, 56), st.integers(0, 64), st.integers(0, 64), st.floats(0.001, 0.999))
def test_what_is_wanted_is_bounded(per_task: int, more: int, accepted: int, spent: int, rate: float) -> None:
    """Law: what is wanted never breaks max_attempts, an open task that may draw always wants something, and what is
    needed in any case is never more than what is expected."""
    policy = Until(per_task=per_task, max_attempts=per_task + more)
    accepted = min(accepted, spent)
    found = Tally(accepted, spent - accepted)
    needed, expected = policy.needed(found), policy.expected(found, rate)
    assert 0 <= needed <= expected <= max(0, policy.max_attempts - spent)
    if policy.stop(found) is None:
        assert needed >= 1


def test_a_rate_that_falls_expects_more() -> None:
    policy = Until(per_task=4, max_attempts=64)
    at = [policy.expected(Tally(), 0.9), policy.expected(Tally(), 0.5), policy.expected(Tally(rejected=8), 0.5)]
    assert at == sorted(set(at))


@pytest.mark.parametrize(("accepted", "rejected", "bound"), [(0, 0, 0.95), (0, 10, 0.2384), (5, 5, 0.7287)])
def test_upper_bounds_of_pass_rates(accepted: int, rejected: int, bound: float) -> None:
    """0 of n: 1 - 0.05^(1/(n+1)), in closed form; 5 of 10: the quantile of Beta(6, 6), in tables."""
    assert upper_bound(accepted, rejected) == pytest.approx(bound, abs=2e-3)


@given(st.integers(0, 12), st.integers(0, 12), st.floats(0, 1))
def test_chances_are_chances(successes: int, draws: int, rate: float) -> None:
    assert 0 <= chance_of(successes, draws, rate) <= 1
    assert chance_of(successes + 1, draws, rate) <= chance_of(successes, draws, rate) + 1e-12
