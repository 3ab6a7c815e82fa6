"""Pacing: whose turn it is, where to, and when, on a clock that a test turns."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from stillroom.sampling.limits import REMEMBERED, Costs
from stillroom.sampling.rate_limit import (
    FAILURES_TO_TAKE_OUT,
    FIRST_PAUSE_S,
    LONGEST_PAUSE_S,
    MAX_RETRY_AFTER_S,
    OVERLOADED_LEAST,
    WARM_UP_ROUNDS,
    Bucket,
    End,
    Limit,
    Pace,
    RateLimits,
    Turn,
)


@dataclass
class Timer:
    when: float
    callback: Callable[[], None]
    cancelled: bool = False

    def cancel(self) -> None:
        self.cancelled = True


@dataclass
class Hand:
    """A clock that stands still until a test turns it; timers go off on the way."""

    now: float = 0.0
    timers: list[Timer] = field(default_factory=list)

    def time(self) -> float:
        return self.now

    def call_at(self, when: float, callback: Callable[[], None]) -> Timer:
        timer = Timer(when, callback)
        self.timers.append(timer)
        return timer

    def due(self) -> list[Timer]:
        """Timers that are set."""
        self.timers = [timer for timer in self.timers if not timer.cancelled]
        return sorted(self.timers, key=lambda timer: timer.when)

    def turn_to(self, now: float) -> None:
        while (due := self.due()) and due[0].when <= now:
            self.timers.remove(due[0])
            self.now = max(self.now, due[0].when)
            due[0].callback()
        self.now = now


def pace(
    clock: Hand, endpoints: int = 1, concurrency: int = 4, requests: float | None = None, tokens: float | None = None
) -> Pace:
    limits = RateLimits(requests_per_minute=requests, tokens_per_minute=tokens)
    return Pace(endpoints, concurrency, limits, cast(Any, clock))


async def settle() -> None:
    """Lets every task that can go on do so."""
    for _ in range(5):
        await asyncio.sleep(0)


async def in_line(pace: Pace, number: int, got: list[int]) -> list[asyncio.Task[Turn]]:
    """Queues `number` requests; their numbers are added to `got` as they get their turn."""

    async def one(i: int) -> Turn:
        turn = await pace.turn()
        got.append(i)
        return turn

    tasks = [asyncio.create_task(one(i)) for i in range(number)]
    await settle()
    return tasks


async def turn_at_once(pace: Pace) -> Turn:
    """A turn that comes without waiting: one that waits would never come, since the clock stands still."""
    task = asyncio.create_task(pace.turn())
    await settle()
    assert task.done(), "it has to wait"
    return task.result()


async def drop_all(tasks: list[asyncio.Task[Turn]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


# -- one line ----------------------------------------------------------------------------------------------------


async def test_first_come_first_served_and_woken_by_the_one_that_ends() -> None:
    clock, got = Hand(), list[int]()
    one = pace(clock, concurrency=2)
    tasks = await in_line(one, 5, got)
    assert got == [0, 1]
    assert clock.due() == []  # nothing polls: only an end can help
    tasks[1].result().end(End.ANSWERED)
    await settle()
    assert got == [0, 1, 2]
    tasks[0].result().drop()
    tasks[2].result().drop()
    await settle()
    assert got == [0, 1, 2, 3, 4]
    await drop_all(tasks)


async def test_one_that_is_cancelled_in_line_loses_no_place_for_others() -> None:
    clock, got = Hand(), list[int]()
    one = pace(clock, concurrency=1)
    tasks = await in_line(one, 3, got)
    tasks[1].cancel()
    tasks[0].result().end(End.ANSWERED)
    await settle()
    assert got == [0, 2]
    await drop_all(tasks)


async def test_one_that_is_cancelled_as_it_gets_its_turn_hands_it_on() -> None:
    clock, got = Hand(), list[int]()
    one = pace(clock, concurrency=1)
    tasks = await in_line(one, 3, got)
    tasks[0].result().end(End.ANSWERED)  # the turn is 1's now, which has not run since
    tasks[1].cancel()
    await settle()
    assert got == [0, 2]
    await drop_all(tasks)


async def test_a_turn_ends_once() -> None:
    one = pace(Hand(), concurrency=1)
    turn = await one.turn()
    turn.end(End.ANSWERED)
    turn.end(End.ANSWERED)
    turn.drop()
    assert one.endpoints[0].in_flight == 0
    held = await one.turn()
    late = asyncio.create_task(one.turn())
    await settle()
    assert not late.done()
    held.drop()
    (await late).drop()


# -- rates -------------------------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(
    per_minute=st.floats(1, 6000),
    steps=st.lists(st.tuples(st.floats(0, 20), st.floats(0.1, 300)), min_size=1, max_size=60),
)
def test_no_minute_takes_more_than_its_limit_and_what_is_at_hand(
    per_minute: float, steps: list[tuple[float, float]]
) -> None:
    """The law of the token bucket, for amounts that it can hold."""
    bucket, now, taken = Bucket(per_minute), 0.0, list[tuple[float, float]]()
    capacity = max(1.0, per_minute / 60)
    for gap, amount in steps:
        spent = min(amount, capacity)
        now += gap
        now += bucket.wait_s(spent, now)
        bucket.take(spent, now)
        taken.append((now, spent))
    for start, _ in taken:
        in_minute = sum(amount for at, amount in taken if start <= at <= start + 60)
        assert in_minute <= (per_minute + capacity) * (1 + 1e-6)


def test_what_is_dearer_than_the_bucket_is_let_through_and_paid_off() -> None:
    bucket = Bucket(per_minute=60)
    assert bucket.wait_s(100, 0.0) == 0
    bucket.take(100, 0.0)
    assert bucket.wait_s(1, 0.0) == pytest.approx(100)


def test_an_estimate_is_settled() -> None:
    bucket = Bucket(per_minute=600)
    bucket.take(10, 0.0)
    bucket.settle(10, 4)
    assert bucket.wait_s(6, 0.0) == 0
    bucket.settle(0, 10)  # it cost more than was thought
    assert bucket.wait_s(6, 0.0) == pytest.approx(1.0)
    bucket.settle(1e9, 0)
    assert bucket.wait_s(10, 0.0) == 0
    bucket.take(10, 0.0)
    assert bucket.wait_s(1, 0.0) > 0  # no more than it holds was given back


async def test_requests_go_out_at_the_rate() -> None:
    clock, got = Hand(), list[int]()
    one = pace(clock, concurrency=100, requests=60)
    tasks = await in_line(one, 10, got)
    assert got == [0]
    assert [timer.when for timer in clock.due()] == [pytest.approx(1.0)]  # one timer, for all that wait
    for second in range(1, 10):
        clock.turn_to(second - 0.01)
        await settle()
        assert len(got) == second
        clock.turn_to(second + 1e-6)
        await settle()
        assert len(got) == second + 1
    await drop_all(tasks)


async def test_tokens_are_taken_as_estimated_and_settled_after() -> None:
    clock = Hand()
    one = pace(clock, tokens=6000)
    first = await one.turn(tokens=100)
    second = asyncio.create_task(one.turn(tokens=100))
    await settle()
    assert not second.done()
    first.end(End.ANSWERED, tokens=10)
    clock.turn_to(0.05)
    await settle()
    assert not second.done()
    clock.turn_to(0.11)
    (await second).drop()


async def test_a_refused_request_costs_no_tokens() -> None:
    one = pace(Hand(), tokens=6000)
    (await one.turn(tokens=100)).end(End.REFUSED)
    turn = asyncio.create_task(one.turn(tokens=100))
    await settle()
    assert turn.done()


@pytest.mark.parametrize("limits", [{"requests_per_minute": 0}, {"tokens_per_minute": -1}, {"requests": 1}])
def test_impossible_limits_are_refused(limits: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        RateLimits.model_validate(limits)


# -- Retry-After -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 0, 2)])
async def test_refusals_in_a_row_hold_back_all(order: tuple[int, int, int]) -> None:
    clock, got = Hand(), list[int]()
    one = pace(clock, concurrency=40)  # so many that three refusals lower no limit
    turns = [await one.turn() for _ in range(4)]
    for i in order:
        assert one.endpoints[0].held_until < clock.now
        turns[i].end(End.REFUSED if i else End.OVERLOADED, retry_after_s=7)
    turns[3].end(End.ANSWERED)  # it was let in before
    tasks = await in_line(one, 3, got)
    clock.turn_to(6.9)
    await settle()
    assert got == []
    clock.turn_to(7.0)
    await settle()
    assert got == [0, 1, 2]
    await drop_all(tasks)


async def test_a_refusal_among_answers_holds_back_nobody_else() -> None:
    one = pace(Hand(), concurrency=40)
    for _ in range(3):
        turns = [await turn_at_once(one) for _ in range(3)]
        turns.pop(1).end(End.REFUSED, retry_after_s=7)
        for turn in turns[1:]:
            turn.end(End.ANSWERED)
    (await turn_at_once(one)).drop()


async def test_no_patience_is_had_where_too_much_was_asked_for() -> None:
    one = pace(Hand(), concurrency=2)
    for _ in range(5):
        (await turn_at_once(one)).end(End.REFUSED, retry_after_s=MAX_RETRY_AFTER_S + 1)
    (await turn_at_once(one)).drop()


async def test_refusals_that_name_no_time_hold_back_all_for_growing_pauses() -> None:
    clock = Hand()
    one, holds = pace(clock, concurrency=2), list[float]()
    for end in [End.REFUSED] * 8 + [End.ANSWERED] * 5 + [End.REFUSED] * 4:
        clock.turn_to(max(clock.now, one.endpoints[0].held_until))
        before = one.endpoints[0].held_until
        (await turn_at_once(one)).end(end)
        if one.endpoints[0].held_until != before:
            holds.append(one.endpoints[0].held_until - clock.now)
    # The third in a row is the first to hold back; five answers are one sign that the last pause was long enough.
    assert holds == [1, 2, 4, 8, 16, 32, 30, 60]


async def test_a_second_endpoint_goes_on_while_one_is_held_back() -> None:
    clock = Hand()
    two = pace(clock, endpoints=2, concurrency=12)
    turns = [await two.turn() for _ in range(6)]
    for turn in turns:
        turn.end(*((End.REFUSED,) if turn.endpoint == 0 else (End.ANSWERED,)), retry_after_s=5)
    assert {(await two.turn()).endpoint for _ in range(4)} == {1}
    clock.turn_to(5)
    assert {(await two.turn()).endpoint for _ in range(4)} == {0}


# -- how much an endpoint bears ----------------------------------------------------------------------------------


def round_of(limit: Limit, overloaded: int, answers: int, seconds: float = 1.0) -> None:
    epoch = limit.epoch
    for i in range(answers):
        limit.note(overloaded=i < overloaded, epoch=epoch, busy=True, seconds=seconds, tokens=100)


def test_overload_halves_the_limit_and_answers_raise_it_again() -> None:
    limit = Limit(64)
    round_of(limit, overloaded=64, answers=64)
    assert limit.value == 32  # once: what was sent before says nothing of the limit now
    for _ in range(8):
        round_of(limit, overloaded=0, answers=64)
    assert limit.value == 64


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 300), st.lists(st.booleans(), max_size=400))
def test_the_limit_stays_between_one_and_its_ceiling(ceiling: int, ends: list[bool]) -> None:
    limit = Limit(ceiling)
    for overloaded in ends:
        limit.note(overloaded=overloaded, epoch=limit.epoch, busy=True)
        assert 1 <= limit.value <= ceiling


def test_it_comes_back_from_the_bottom() -> None:
    limit = Limit(64)
    while limit.value > 1:
        limit.note(overloaded=True, epoch=limit.epoch, busy=True)
    for _ in range(600):
        limit.note(overloaded=False, epoch=limit.epoch, busy=True)
    assert limit.value == 64


@pytest.mark.parametrize("overloaded", [0, 3, 6, 12])
def test_a_few_refusals_at_any_load_lower_nothing(overloaded: int) -> None:
    """Up to a fifth of a round: of 64 answers, 5 % are 3."""
    limit = Limit(64)
    for _ in range(20):
        round_of(limit, overloaded, 64)
    assert limit.value == 64


def test_a_limit_that_is_not_reached_is_not_raised() -> None:
    limit = Limit(64)
    round_of(limit, overloaded=64, answers=64)
    for _ in range(500):
        limit.note(overloaded=False, epoch=limit.epoch, busy=False)
    assert limit.value == 32


def test_a_server_that_slows_gets_less_and_in_the_end_as_much_as_before() -> None:
    limit = Limit(32)
    for _ in range(WARM_UP_ROUNDS + 3):
        round_of(limit, 0, 32, seconds=1)
    round_of(limit, 0, 32, seconds=3)
    assert limit.value == 32  # answers differ that much
    round_of(limit, 0, 32, seconds=30)
    assert limit.value == 16
    for _ in range(100):
        round_of(limit, 0, 32, seconds=30)
    assert limit.value == 32


async def test_overload_lowers_what_is_in_flight_but_never_to_nothing() -> None:
    clock, got = Hand(), list[int]()
    one = pace(clock, concurrency=8)
    for _ in range(10):
        turns = [await one.turn() for _ in range(one.endpoints[0].limit.value)]
        for turn in turns * OVERLOADED_LEAST:
            turn.end(End.TIMED_OUT)
    tasks = await in_line(one, 4, got)
    assert got == [0]
    tasks[0].result().end(End.ANSWERED)
    await settle()
    assert got == [0, 1]
    await drop_all(tasks)


# -- several endpoints -------------------------------------------------------------------------------------------


async def test_the_one_with_least_in_flight_is_asked() -> None:
    three = pace(Hand(), endpoints=3, concurrency=30)
    turns = [await three.turn() for _ in range(9)]
    assert [e.in_flight for e in three.endpoints] == [3, 3, 3]
    for turn in turns:
        if turn.endpoint == 1:
            turn.end(End.ANSWERED)
    assert [(await three.turn()).endpoint for _ in range(3)] == [1, 1, 1]


async def test_all_endpoints_together_get_no_more_than_the_concurrency() -> None:
    clock, got = Hand(), list[int]()
    two = pace(clock, endpoints=2, concurrency=4)
    tasks = await in_line(two, 9, got)
    assert len(got) == 4
    await drop_all(tasks)


async def ends(pace: Pace, end: End, number: int) -> list[int]:
    """Sends `number` requests, one at a time; endpoint 0 ends them so, the others answer. Where they went."""
    went = []
    for _ in range(number):
        turn = await pace.turn()
        went.append(turn.endpoint)
        turn.end(end if turn.endpoint == 0 else End.ANSWERED)
    return went


@pytest.mark.parametrize(
    ("end", "times"),
    [
        (End.UNREACHED, 1),
        (End.BROKEN, FAILURES_TO_TAKE_OUT),
        (End.TIMED_OUT, FAILURES_TO_TAKE_OUT),
        (End.OVERLOADED, FAILURES_TO_TAKE_OUT),
    ],
)
async def test_a_dead_one_is_taken_out(end: End, times: int) -> None:
    assert (await ends(pace(Hand(), endpoints=2), end, 40)).count(0) == times


async def test_a_living_one_is_not() -> None:
    assert (await ends(pace(Hand(), endpoints=2), End.ANSWERED, 40)).count(0) == 20


async def test_one_that_refuses_is_held_back_and_not_taken_out() -> None:
    two = pace(Hand(), endpoints=2)
    assert (await ends(two, End.REFUSED, 40)).count(0) == 3
    assert not two.endpoints[0].out


async def test_a_dead_one_is_tried_with_one_request_after_growing_pauses() -> None:
    clock = Hand()
    two = pace(clock, endpoints=2, concurrency=8)
    await ends(two, End.UNREACHED, 2)
    pause, at = FIRST_PAUSE_S, 0.0
    for _ in range(9):
        at += pause
        clock.turn_to(at - 0.001)
        assert 0 not in await ends(two, End.UNREACHED, 4)
        clock.turn_to(at)
        trying = await two.turn()
        assert trying.endpoint == 0
        others = [await two.turn() for _ in range(3)]
        assert {turn.endpoint for turn in others} == {1}  # one request is enough to find out
        for turn in others:
            turn.end(End.ANSWERED)
        trying.end(End.UNREACHED)
        pause = min(LONGEST_PAUSE_S, pause * 2)
    assert pause == LONGEST_PAUSE_S
    clock.turn_to(at + pause)
    assert 0 in await ends(two, End.ANSWERED, 1)
    assert (await ends(two, End.ANSWERED, 10)).count(0) == 5  # back in use


async def test_all_that_break_at_once_are_one_sign_and_the_try_stays_one() -> None:
    clock = Hand()
    two = pace(clock, endpoints=2, concurrency=64)
    turns = [turn for _ in range(40) if (turn := await two.turn()).endpoint == 0]
    late = turns.pop()
    for turn in turns:
        turn.end(End.BROKEN)
    clock.turn_to(FIRST_PAUSE_S)
    late.end(End.TIMED_OUT)  # sent long before
    clock.turn_to(3 * FIRST_PAUSE_S)
    assert 0 in [(await two.turn()).endpoint for _ in range(2)]


async def test_a_late_end_leaves_the_try_the_only_one() -> None:
    clock = Hand()
    two = pace(clock, endpoints=2, concurrency=64)
    turns = [turn for _ in range(4) if (turn := await two.turn()).endpoint == 0]
    two.take_out(0)
    clock.turn_to(FIRST_PAUSE_S)
    while (await two.turn()).endpoint != 0:
        pass
    turns[0].drop()
    assert 0 not in [(await two.turn()).endpoint for _ in range(20)]


async def test_a_try_that_is_cancelled_leaves_it_to_the_next() -> None:
    clock = Hand()
    two = pace(clock, endpoints=2)
    await ends(two, End.UNREACHED, 2)
    clock.turn_to(FIRST_PAUSE_S)
    trying = await two.turn()
    assert trying.endpoint == 0
    trying.drop()
    assert (await two.turn()).endpoint == 0


async def test_where_all_are_dead_requests_go_out_at_once_to_the_next_to_be_tried() -> None:
    clock = Hand()
    two = pace(clock, endpoints=2)
    two.take_out(1)
    clock.turn_to(0.5)
    two.take_out(0)
    assert [(await two.turn()).endpoint for _ in range(2)] == [1, 1]


# -- what a request will cost ------------------------------------------------------------------------------------


def test_estimates_follow_what_was_counted() -> None:
    costs = Costs()
    assert costs.estimate("a", 400, 1000) == 1100
    costs.note("a", 80, 20)
    costs.note("b", 10, 40)
    costs.note("b", 0, 0)  # a server that counts nothing
    assert costs.estimate("a", 400, 1000) == 80 + 30
    assert costs.estimate("b", 400, 5) == 10 + 5
    assert costs.estimate("new", 400, 1000) == 100 + 30
    assert (costs.prompt_tokens("a"), costs.prompt_tokens("new")) == (80, None)


def test_a_million_tasks_are_not_remembered() -> None:
    costs = Costs()
    for i in range(REMEMBERED + 10):
        costs.note(str(i), 1, 1)
    assert costs.prompt_tokens("9") is None
    assert costs.prompt_tokens("10") == 1
