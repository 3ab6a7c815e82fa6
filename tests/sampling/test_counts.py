"""Counts of a sampling run: sums that add up, and no estimate before there is anything to go by."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stillroom.common.records import Outcome, State, StopReason, Task, Verdict
from stillroom.sampling.counts import Counts


@given(st.lists(st.sampled_from(State)))
def test_every_verdict_is_counted_once(states: list[State]) -> None:
    counts = Counts()
    for state in states:
        counts.add(Verdict(state, ""))
    assert counts.scored == len(states)
    assert (counts.accepted, counts.rejected, counts.unscored) == tuple(states.count(state) for state in State)
    assert 0 < counts.run_rate < 1


@given(st.lists(st.tuples(st.sampled_from(StopReason), st.integers(0, 5))))
def test_every_task_is_closed_once(stops: list[tuple[StopReason, int]]) -> None:
    counts = Counts(open=len(stops))
    for stop, surplus in stops:
        counts.close(Outcome(Task("t", (), None, "s"), (), (), stop), surplus)
    assert counts.open == 0
    assert counts.finished == len(stops)
    assert counts.surplus == sum(surplus for _, surplus in stops)


@pytest.mark.parametrize(("accepted", "rejected", "rate"), [(0, 0, 0.5), (1, 0, 2 / 3), (0, 8, 0.1), (3, 1, 4 / 6)])
def test_run_rate_starts_from_one_success_and_one_failure(accepted: int, rejected: int, rate: float) -> None:
    assert Counts(accepted=accepted, rejected=rejected).run_rate == pytest.approx(rate)


def test_time_left_is_at_the_pace_so_far(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.monotonic", lambda: 130.0)
    assert Counts(tasks_total=40, satisfied=8, gave_up=1, exhausted=1, started=100.0).eta_s == pytest.approx(90.0)


@pytest.mark.parametrize("counts", [Counts(), Counts(tasks_total=10), Counts(satisfied=3), Counts(tasks_total=0)])
def test_says_nothing_of_the_time_left_before_it_can(counts: Counts) -> None:
    assert counts.eta_s is None


def test_what_is_written_has_no_clock_and_is_json() -> None:
    written = Counts(tasks_total=3, satisfied=2, last_failure="HTTP 500").as_dict()
    assert "started" not in written
    assert "open" not in written
    assert json.loads(json.dumps(written))["satisfied"] == 2
