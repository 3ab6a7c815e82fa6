"""The sampling core: what is kept, what is paid for, and how it ends."""

from __future__ import annotations

import asyncio
import random
import sqlite3
import tempfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stillroom.common.records import (
    Attempt,
    Completion,
    Outcome,
    Request,
    SamplingParams,
    State,
    StopReason,
    Task,
    Usage,
    Verdict,
    user,
)
from stillroom.errors import Interrupted, LedgerError, RequestFailed, RunError, TeacherDown
from stillroom.sampling.core import Core
from stillroom.sampling.draws import MAX_FAILED_DRAWS
from stillroom.sampling.ledger import Ledger
from stillroom.sampling.limits import Limits, Meter
from stillroom.sampling.policy import Budget, Fixed, Policy, Until
from stillroom.sampling.requests import FAILURES_IN_A_ROW
from stillroom.sampling.teachers.base import OutOfAttempts, RetrySettings, Teacher
from stillroom.sampling.teachers.scripted import Fault, ScriptedTeacher

AT_ONCE = RetrySettings(attempts=2, base_s=0)


class Exact:
    """Accepts `right`, rejects `wrong`, anything else is unscored; counts what it was asked."""

    def __init__(self, identity: str = "exact") -> None:
        self.identity = identity
        self.asked = 0

    async def score(self, task: Task, attempt: Attempt) -> Verdict:
        self.asked += 1
        await asyncio.sleep(0)
        state = {"right": State.ACCEPTED, "wrong": State.REJECTED}.get(attempt.text, State.UNSCORED)
        return Verdict(state, attempt.text)

    async def close(self) -> None:
        """Nothing to free."""


def tasks(n: int) -> list[Task]:
    return [Task(str(i), user(f"question {i}"), "1", f"test:{i}") for i in range(n)]


def coin(share: float) -> Callable[[Request], str]:
    """Right with probability `share`, decided by the draw's own seed."""
    return lambda request: "right" if random.Random(request.seed).random() < share else "wrong"


async def run(
    folder: Path,
    teacher: Teacher,
    policy: Policy,
    n: int = 20,
    *,
    scorer: Exact | None = None,
    sampling: SamplingParams | None = None,
    seed: int = 0,
    meter: Meter | None = None,
    ahead: bool | int = True,
) -> tuple[Core, dict[str, Outcome]]:
    outcomes: dict[str, Outcome] = {}
    with Ledger.open(folder) as ledger:
        core = Core(
            teacher,
            scorer or Exact(),
            policy,
            ledger,
            sampling=sampling or SamplingParams(),
            seed=seed,
            retry=AT_ONCE,
            meter=meter,
            ahead=ahead,
        )
        await core.run(tasks(n), lambda outcome: outcomes.update({outcome.task.id: outcome}))
    return core, outcomes


def summary(outcomes: dict[str, Outcome]) -> dict[str, object]:
    return {
        i: (o.kept, o.stop, [(s.attempt.index, s.attempt.text) for s in o.attempts])
        for i, o in sorted(outcomes.items())
    }


async def test_keeps_the_first_accepted_in_draw_order_not_in_order_of_arrival(tmp_path: Path) -> None:
    # Draw 0 is right but by far the slowest; draws 1 and 2 are right and fast.
    teacher = ScriptedTeacher(lambda r: "right", latency_s=lambda r: 0.05 if r.index == 0 else 0.0, concurrency=8)
    _, outcomes = await run(tmp_path, teacher, Until(per_task=1, max_attempts=8), 1)
    assert outcomes["0"].kept == (0,)
    assert [s.attempt.index for s in outcomes["0"].attempts] == [0]


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.05, 0.95), st.integers(1, 4), st.integers(1, 16))
def test_timing_never_decides_what_is_kept(
    tmp_path_factory: pytest.TempPathFactory, salt: int, share: float, per_task: int, concurrency: int
) -> None:
    """Law: outcomes depend on the draws alone, not on latencies or the number of slots."""
    policy = Until(per_task=per_task, max_attempts=8, give_up_after=5)

    def latency(request: Request) -> float:
        return random.Random(f"{salt}{request.task_id}{request.index}").random() * 1e-3

    async def both() -> None:
        timed = ScriptedTeacher(coin(share), latency_s=latency, concurrency=concurrency)
        one_by_one = ScriptedTeacher(coin(share), concurrency=1)
        _, a = await run(tmp_path_factory.mktemp("a"), timed, policy, 6)
        _, b = await run(tmp_path_factory.mktemp("b"), one_by_one, policy, 6)
        assert summary(a) == summary(b)

    asyncio.run(both())


async def test_stops_each_task_for_its_reason(tmp_path: Path) -> None:
    def answer(request: Request) -> str:
        return {"0": "right", "1": "wrong"}.get(request.task_id, "gibberish")

    _, outcomes = await run(tmp_path, ScriptedTeacher(answer), Until(per_task=2, max_attempts=6, give_up_after=4), 3)
    assert {i: o.stop for i, o in outcomes.items()} == {
        "0": StopReason.SATISFIED,
        "1": StopReason.GAVE_UP,
        "2": StopReason.EXHAUSTED,
    }
    assert len(outcomes["0"].attempts) == 2
    assert [s.verdict.state for s in outcomes["2"].attempts] == [State.UNSCORED] * 6


async def test_never_more_than_max_attempts_nor_more_in_flight_than_slots(tmp_path: Path) -> None:
    teacher = ScriptedTeacher(coin(0.1), concurrency=7)
    _, outcomes = await run(tmp_path, teacher, Until(per_task=3, max_attempts=5), 30)
    drawn = [sum(r.task_id == i for r in teacher.calls) for i in outcomes]
    assert max(drawn) == 5
    assert 1 < teacher.peak <= 7


async def test_slots_stay_full_while_there_is_work(tmp_path: Path) -> None:
    """No batch barrier: one slow draw does not hold back the other slots."""
    slow = asyncio.Event()
    done: list[str] = []

    class OneSlow(ScriptedTeacher):
        async def sample(self, request, usage):  # type: ignore[no-untyped-def]
            if request.task_id == "0":
                await slow.wait()
            else:
                done.append(request.task_id)
                if len(done) == 19:
                    slow.set()
            return await super().sample(request, usage)

    _, outcomes = await run(tmp_path, OneSlow(lambda r: "right", concurrency=2), Until(max_attempts=1), 20)
    assert len(outcomes) == 20


async def test_satisfied_tasks_cancel_their_siblings_and_count_what_they_cost(tmp_path: Path) -> None:
    teacher = ScriptedTeacher(lambda r: "right", latency_s=lambda r: 0.0 if r.index == 0 else 60.0, concurrency=8)
    core, outcomes = await run(tmp_path, teacher, Until(per_task=1, max_attempts=8), 1)
    assert outcomes["0"].stop is StopReason.SATISFIED
    assert core.counts.cancelled == len(teacher.cancelled) > 0
    with Ledger.read(tmp_path) as ledger:
        totals = ledger.totals()
    assert totals.cancelled == core.counts.cancelled
    assert totals.cancelled_tokens > 0


async def test_a_finished_run_asks_for_nothing_again(tmp_path: Path) -> None:
    policy = Until(per_task=2, max_attempts=8)
    _, first = await run(tmp_path, ScriptedTeacher(coin(0.3)), policy)
    again, scorer = ScriptedTeacher(coin(0.3)), Exact()
    core, second = await run(tmp_path, again, policy, scorer=scorer)
    assert again.calls == []
    assert scorer.asked == 0
    assert core.counts.reused > 0
    assert summary(first) == summary(second)


@pytest.mark.parametrize(
    ("change", "asks", "scores"),
    [
        ({"policy": Until(per_task=1, max_attempts=8)}, False, False),
        ({"n": 5}, False, False),
        ({"scorer": Exact("another scorer")}, False, True),
        ({"sampling": SamplingParams(max_tokens=2048)}, False, False),
        ({"sampling": SamplingParams(temperature=0.5)}, True, True),
        ({"seed": 1}, True, True),
    ],
)
async def test_only_a_changed_request_is_paid_for_again(
    tmp_path: Path, change: dict[str, object], asks: bool, scores: bool
) -> None:
    arguments: dict[str, object] = {"policy": Until(per_task=2, max_attempts=8)}
    await run(tmp_path, ScriptedTeacher(coin(0.4)), **arguments)  # type: ignore[arg-type]
    teacher = ScriptedTeacher(coin(0.4))
    scorer = change.get("scorer") or Exact()
    assert isinstance(scorer, Exact)
    await run(tmp_path, teacher, **{**arguments, "scorer": scorer, **change})  # type: ignore[arg-type]
    assert bool(teacher.calls) is asks
    assert bool(scorer.asked) is scores


async def test_nothing_is_drawn_that_is_not_needed_while_other_tasks_wait(tmp_path: Path) -> None:
    """Law: with tasks enough for all slots, no draw is cancelled and none is answered in vain."""
    teacher = ScriptedTeacher(coin(0.6), concurrency=4)
    core, outcomes = await run(tmp_path, teacher, Until(per_task=2, max_attempts=8), 200)
    needed = sum(max((s.attempt.index for s in o.attempts), default=-1) + 1 for o in outcomes.values())
    assert len(teacher.calls) - needed <= 4 + core.counts.cancelled + core.counts.surplus
    assert core.counts.cancelled + core.counts.surplus <= 8  # of the last tasks, when slots stand idle


async def test_cut_off_answers_are_drawn_again_under_the_next_limit_only(tmp_path: Path) -> None:
    def answer(request: Request) -> Completion:
        length = {"0": 8, "1": 30, "2": 300}[request.task_id]
        cut = length > request.sampling.max_tokens
        return Completion("right", "length" if cut else "stop", 1, min(length, request.sampling.max_tokens))

    policy = Until(per_task=1, max_attempts=1, escalate=(16, 64))
    teacher = ScriptedTeacher(answer)
    core, outcomes = await run(tmp_path, teacher, policy, 3, sampling=SamplingParams(max_tokens=16))
    asked = {i: [r.sampling.max_tokens for r in teacher.calls if r.task_id == i] for i in "012"}
    assert asked == {"0": [16], "1": [16, 64], "2": [16, 64]}
    assert [outcomes[i].attempts[0].attempt.completion_tokens for i in "012"] == [8, 30, 64]
    assert (core.counts.escalated, core.counts.truncated) == (2, 1)
    again = ScriptedTeacher(answer)
    await run(tmp_path, again, policy, 3, sampling=SamplingParams(max_tokens=16))
    assert again.calls == []


async def test_a_cut_off_answer_on_record_is_not_asked_for_again(tmp_path: Path) -> None:
    def cut(request: Request) -> Completion:
        return Completion("right", "length", 1, request.sampling.max_tokens)

    await run(tmp_path, ScriptedTeacher(cut), Until(max_attempts=1), 2, sampling=SamplingParams(max_tokens=16))
    again = ScriptedTeacher(cut)
    policy = Until(max_attempts=1, escalate=(16, 64))
    await run(tmp_path, again, policy, 2, sampling=SamplingParams(max_tokens=16))
    assert [r.sampling.max_tokens for r in again.calls] == [64, 64]


@pytest.mark.parametrize(("order", "kept"), [("draw", (0, 1)), ("arrival", (2, 3))])
async def test_which_accepted_are_kept(tmp_path: Path, order: str, kept: tuple[int, ...]) -> None:
    """Of four draws in flight the later come back first."""
    teacher = ScriptedTeacher(lambda r: "right", latency_s=lambda r: 0.01 if r.index < 2 else 0.0, concurrency=4)
    policy = Fixed(policy="fixed", attempts=4, per_task=2, order=order)
    _, outcomes = await run(tmp_path, teacher, policy, 1)
    assert sorted(outcomes["0"].kept) == sorted(kept)
    assert [s.attempt.index for s in outcomes["0"].attempts] == [0, 1, 2, 3]


async def test_a_limit_of_tokens_stops_the_run_and_a_higher_one_goes_on(tmp_path: Path) -> None:
    policy = Until(per_task=1, max_attempts=1)
    first = ScriptedTeacher(lambda r: "right", concurrency=2)
    with pytest.raises(Interrupted, match=r"limits.tokens is 20.*same command again"):
        await run(tmp_path, first, policy, 50, meter=Meter(Limits(tokens=20)))
    assert 4 <= len(first.calls) < 20
    again = ScriptedTeacher(lambda r: "right")
    _, outcomes = await run(tmp_path, again, policy, 50)
    assert len(outcomes) == 50
    assert len(again.calls) == 50 - len(first.calls)


async def test_a_budget_goes_where_a_trace_is_cheapest(tmp_path: Path) -> None:
    def answer(request: Request) -> Completion:
        right = request.task_id < "5" or (request.index == 0 and request.task_id == "9")
        return Completion("right" if right else "wrong", "stop", 1, 10)

    policy = Budget(policy="budget", tokens=300, per_task=4, max_attempts=8)
    teacher = ScriptedTeacher(answer, concurrency=1)
    core, outcomes = await run(tmp_path, teacher, policy, 10)
    assert len(outcomes) == 10
    assert 300 <= core.counts.completion_tokens <= 310
    easy = sum(r.task_id < "5" for r in teacher.calls)
    assert easy >= 18
    assert {o.stop for o in outcomes.values()} == {StopReason.SATISFIED, StopReason.EXHAUSTED}


async def test_a_longer_limit_asks_again_only_for_what_was_cut(tmp_path: Path) -> None:
    def cut_odd(request: Request) -> Completion:
        cut = int(request.task_id) % 2 == 1 and request.sampling.max_tokens == 16
        return Completion("wrong", "length" if cut else "stop", 1, 16 if cut else 3)

    policy = Until(per_task=1, max_attempts=1)
    await run(tmp_path, ScriptedTeacher(cut_odd), policy, 10, sampling=SamplingParams(max_tokens=16))
    again = ScriptedTeacher(cut_odd)
    await run(tmp_path, again, policy, 10, sampling=SamplingParams(max_tokens=64))
    assert sorted(r.task_id for r in again.calls) == ["1", "3", "5", "7", "9"]


async def test_interrupted_run_resumes_to_the_same_outcomes(tmp_path: Path) -> None:
    policy = Until(per_task=2, max_attempts=8)
    _, whole = await run(tmp_path / "whole", ScriptedTeacher(coin(0.3)), policy)
    teacher = ScriptedTeacher(coin(0.3), latency_s=lambda r: 1e-4)
    with Ledger.open(tmp_path / "cut") as ledger:
        core = Core(teacher, Exact(), policy, ledger, sampling=SamplingParams(), seed=0, retry=AT_ONCE)

        def stop_after_five(outcome: Outcome) -> None:
            if core.counts.finished == 5:
                core.stop_drawing()

        with pytest.raises(Interrupted, match="run the same command again"):
            await core.run(tasks(20), stop_after_five)
    paid = {(r.task_id, r.index) for r in teacher.calls} - {(r.task_id, r.index) for r in teacher.cancelled}
    again = ScriptedTeacher(coin(0.3))
    _, resumed = await run(tmp_path / "cut", again, policy)
    assert paid & {(r.task_id, r.index) for r in again.calls} == set()
    assert summary(resumed) == summary(whole)


async def test_a_teacher_that_dies_while_the_run_is_stopping_is_told_of(tmp_path: Path) -> None:
    """Ctrl-C while an engine starts may take the engine along: the run was stopped, it did not fail."""
    core: Core

    class Dies(ScriptedTeacher):
        async def sample(self, request: Request, usage: Usage) -> Completion:
            core.stop_drawing()
            raise RunError("the engine died")

    with Ledger.open(tmp_path) as ledger:
        core = Core(Dies(coin(1)), Exact(), Until(), ledger, sampling=SamplingParams(), seed=0, retry=AT_ONCE)
        with pytest.raises(Interrupted, match=r"requests in flight were lost: the engine died.*same command again"):
            await core.run(tasks(3), lambda outcome: None)


async def test_cancelling_at_once_keeps_what_was_answered(tmp_path: Path) -> None:
    teacher = ScriptedTeacher(lambda r: "right", latency_s=lambda r: 0.0 if r.task_id == "0" else 60.0, concurrency=4)
    job = asyncio.create_task(run(tmp_path, teacher, Until(max_attempts=1), 4))
    while True:
        await asyncio.sleep(0)
        if len(teacher.calls) == 4 and (tmp_path / "ledger.sqlite").exists():
            with Ledger.read(tmp_path) as ledger:
                if ledger.totals().attempts == 1:
                    break
    job.cancel()
    with pytest.raises(asyncio.CancelledError):
        await job
    with Ledger.read(tmp_path) as ledger:
        assert ledger.totals().attempts == 1
        assert ledger.totals().cancelled == 3


async def test_a_gap_left_by_a_kill_is_filled(tmp_path: Path) -> None:
    """Draws 1 and 2 are on record, 0 was in flight: the task is not stuck, and 0 is asked for."""
    policy = Until(per_task=2, max_attempts=4)
    await run(tmp_path, ScriptedTeacher(lambda r: "right", concurrency=8), policy, 1)
    with Ledger.open(tmp_path) as ledger:
        ledger._db.execute("DELETE FROM verdicts WHERE attempt IN (SELECT id FROM attempts WHERE draw = 0)")
        ledger._db.execute("DELETE FROM attempts WHERE draw = 0")
    again = ScriptedTeacher(lambda r: "right")
    _, outcomes = await run(tmp_path, again, policy, 1)
    assert [r.index for r in again.calls] == [0]
    assert outcomes["0"].kept == (0, 1)


async def test_an_attempt_without_a_verdict_is_scored_not_asked_again(tmp_path: Path) -> None:
    await run(tmp_path, ScriptedTeacher(coin(0.5)), Until(max_attempts=3))
    with Ledger.open(tmp_path) as ledger:
        ledger._db.execute("DELETE FROM verdicts")
    again, scorer = ScriptedTeacher(coin(0.5)), Exact()
    await run(tmp_path, again, Until(max_attempts=3), scorer=scorer)
    assert again.calls == []
    assert scorer.asked > 0


async def test_a_passing_failure_is_retried_and_costs_no_attempt(tmp_path: Path) -> None:
    fault = Fault(every=3, error=RequestFailed("HTTP 500", retryable=True))
    core, outcomes = await run(tmp_path, ScriptedTeacher(coin(0.0), faults=[fault]), Until(max_attempts=4), 10)
    assert {len(o.attempts) for o in outcomes.values()} == {4}
    assert all(o.stop is StopReason.EXHAUSTED for o in outcomes.values())
    assert core.counts.scored == 40


async def test_a_refused_request_is_recorded_and_the_run_goes_on(tmp_path: Path) -> None:
    class RefusesOne(ScriptedTeacher):
        async def sample(self, request, usage):  # type: ignore[no-untyped-def]
            if request.task_id == "3":
                raise RequestFailed("HTTP 400: prompt too long", retryable=False)
            return await super().sample(request, usage)

    core, outcomes = await run(tmp_path, RefusesOne(lambda r: "right"), Until(), 10)
    assert len(outcomes) == 10
    assert outcomes["3"].stop is StopReason.GAVE_UP
    assert outcomes["3"].failed == core.counts.failed >= MAX_FAILED_DRAWS
    assert "prompt too long" in core.counts.last_failure


async def test_a_teacher_that_answers_nobody_ends_the_run(tmp_path: Path) -> None:
    dead = ScriptedTeacher(coin(1.0), faults=[Fault(1, RequestFailed("connection refused", retryable=True))])
    with pytest.raises(TeacherDown, match="connection refused"):
        await run(tmp_path, dead, Until(), 100)
    assert len(dead.calls) <= (FAILURES_IN_A_ROW + dead.concurrency) * AT_ONCE.attempts
    # and when it is back, the same run goes on as if nothing had been
    _, outcomes = await run(tmp_path, ScriptedTeacher(coin(1.0)), Until(), 100)
    assert {o.stop for o in outcomes.values()} == {StopReason.SATISFIED}


async def test_out_of_attempts_ends_a_task_not_the_run(tmp_path: Path) -> None:
    class TwoEach(ScriptedTeacher):
        async def sample(self, request, usage):  # type: ignore[no-untyped-def]
            if request.index >= 2:
                raise OutOfAttempts
            return await super().sample(request, usage)

    core, outcomes = await run(tmp_path, TwoEach(lambda r: "wrong"), Until(max_attempts=8), 5)
    assert {(len(o.attempts), o.stop) for o in outcomes.values()} == {(2, StopReason.EXHAUSTED)}
    assert core.counts.failed == 0


@pytest.mark.parametrize(
    "error", [ZeroDivisionError("a bug"), MemoryError(), RecursionError(), OverflowError("9" * 999)]
)
async def test_what_a_scorer_raises_costs_one_verdict_and_not_the_run(tmp_path: Path, error: Exception) -> None:
    class Broken(Exact):
        async def score(self, task: Task, attempt: Attempt) -> Verdict:
            if attempt.task_id == "1":
                raise error
            return await super().score(task, attempt)

    core, outcomes = await run(
        tmp_path, ScriptedTeacher(lambda r: "right"), Fixed(policy="fixed", attempts=2), 3, scorer=Broken()
    )
    verdicts = {name: [each.verdict for each in o.attempts] for name, o in outcomes.items()}
    assert {v.state for name in ("0", "2") for v in verdicts[name]} == {State.ACCEPTED}
    assert {(v.state, v.reason) for v in verdicts["1"]} == {(State.UNSCORED, "over_limit")}
    assert all(type(error).__name__ in v.detail and len(v.detail) < 300 for v in verdicts["1"])
    assert core.counts.unscored == 2


@pytest.mark.parametrize("error", [KeyboardInterrupt(), RunError("the judge is gone")])
async def test_what_is_raised_to_end_a_run_ends_it(tmp_path: Path, error: BaseException) -> None:
    class Gone(Exact):
        async def score(self, task: Task, attempt: Attempt) -> Verdict:
            raise error

    with pytest.raises(type(error)):
        await run(tmp_path, ScriptedTeacher(lambda r: "right"), Until(), 3, scorer=Gone())
    with Ledger.read(tmp_path) as ledger:
        assert ledger.totals().attempts > 0


async def test_a_full_disk_says_so_and_loses_nothing_written_before(tmp_path: Path) -> None:
    with Ledger.open(tmp_path) as ledger:
        core = Core(
            ScriptedTeacher(lambda r: "right", concurrency=1),
            Exact(),
            Until(max_attempts=1),
            ledger,
            sampling=SamplingParams(),
            seed=0,
        )
        # SQLite itself refuses to grow the file, with the error that a full disk gives.
        pages = ledger._db.execute("PRAGMA page_count").fetchone()[0]
        ledger._db.execute(f"PRAGMA max_page_count = {pages + 3}")
        with pytest.raises(LedgerError, match="free some space"):
            await core.run(tasks(10_000), lambda outcome: None)
        kept = ledger.totals().attempts
    assert kept > 0
    again = ScriptedTeacher(lambda r: "right")
    await run(tmp_path, again, Until(max_attempts=1), 1_000)
    assert len(again.calls) == 1_000 - kept


async def test_lone_surrogates_and_nul_are_stored(tmp_path: Path) -> None:
    _, outcomes = await run(tmp_path, ScriptedTeacher(lambda r: "a\ud800b\x00c"), Until(max_attempts=1), 1)
    assert outcomes["0"].attempts[0].attempt.text == "a\ufffdb\x00c"
    _, again = await run(tmp_path, ScriptedTeacher(lambda r: "never asked"), Until(max_attempts=1), 1)
    assert summary(again) == summary(outcomes)


# -- drawing ahead -----------------------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 10_000),
    st.sampled_from([Until(per_task=2, max_attempts=6), Until(per_task=3, max_attempts=8, max_unscored=1)]),
    st.integers(1, 16),
    st.floats(0, 1),
)
def test_off_starts_no_request_that_is_not_needed(luck: int, policy: Policy, slots: int, lost: float) -> None:
    """Neither in a new run, nor in one that goes on after a part of its draws was lost."""

    def answer(request: Request) -> str:
        return random.Random(request.seed + luck).choice(["right", "wrong", "wrong", "unreadable"])

    def latency(request: Request) -> float:
        return random.Random(request.seed + luck).random() / 2_000

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for killed in (False, True):
            if killed:
                with Ledger.open(folder) as ledger, closing(sqlite3.connect(ledger.path)) as db:
                    rows = [row for (row,) in db.execute("SELECT id FROM attempts")]
                    gone = [(row,) for row in rows if random.Random(row + luck).random() < lost]
                    db.executemany("DELETE FROM verdicts WHERE attempt = ?", gone)
                    db.executemany("DELETE FROM attempts WHERE id = ?", gone)
                    db.commit()
            teacher = ScriptedTeacher(answer, latency_s=latency, concurrency=slots)
            core, outcomes = asyncio.run(run(folder, teacher, policy, 4, ahead=False))
            counted = {(o.task.id, s.attempt.index) for o in outcomes.values() for s in o.attempts}
            assert core.counts.cancelled == 0
            assert {(call.task_id, call.index) for call in teacher.calls} <= counted


class Billing(ScriptedTeacher):
    """Loses draws 0 to 2 for good; draw 3 has begun and is answered when `answer_now` is set, draw 4 waits in line."""

    def __init__(self, *, answered: bool = True) -> None:
        super().__init__(lambda _: "right", concurrency=5)
        self.answer_now = asyncio.Event()
        self._well = answered

    async def sample(self, request: Request, usage: Usage) -> Completion:
        if request.index < MAX_FAILED_DRAWS:
            await asyncio.sleep(0)
            self.calls.append(request)
            raise RequestFailed("HTTP 400: too long", retryable=False)
        usage.begun = request.index == 3
        try:
            await self.answer_now.wait()
        except asyncio.CancelledError:
            self.cancelled.append(request)
            raise
        self.calls.append(request)
        if not self._well:
            raise RequestFailed("HTTP 500: oh", retryable=True)
        return Completion("right", "stop", 1, 1)


async def given_up(folder: Path, teacher: Billing, *, ahead: bool) -> tuple[Core, Exact]:
    """A task that is given up while draws 3 and 4 are under way; draw 3 is answered then."""
    scorer = Exact()
    with Ledger.open(folder) as ledger:
        core = Core(
            teacher,
            scorer,
            Until(per_task=5, max_attempts=5),
            ledger,
            sampling=SamplingParams(),
            seed=0,
            retry=AT_ONCE,
            ahead=ahead,
        )
        found: list[Outcome] = []

        def take(outcome: Outcome) -> None:
            found.append(outcome)
            teacher.answer_now.set()

        await core.run(tasks(1), take)
        assert [outcome.stop for outcome in found] == [StopReason.GAVE_UP]
    return core, scorer


@pytest.mark.parametrize(("ahead", "cancelled", "kept"), [(False, [4], 1), (True, [3, 4], 0)])
async def test_off_lets_what_has_begun_be_answered_though_its_task_is_given_up(
    tmp_path: Path, ahead: bool, cancelled: list[int], kept: int
) -> None:
    """It is on record, costs no scoring, and counts as surplus; what has not left yet is not sent."""
    teacher = Billing()
    core, scorer = await given_up(tmp_path, teacher, ahead=ahead)
    assert sorted(request.index for request in teacher.cancelled) == cancelled
    assert (core.counts.surplus, core.counts.cancelled, scorer.asked) == (kept, len(cancelled), 0)
    with Ledger.open(tmp_path) as ledger, closing(sqlite3.connect(ledger.path)) as db:
        assert db.execute("SELECT count(*) FROM attempts").fetchone() == (kept,)


async def test_what_has_begun_is_not_asked_again_once_its_task_is_given_up(tmp_path: Path) -> None:
    teacher = Billing(answered=False)
    core, _ = await given_up(tmp_path, teacher, ahead=False)
    assert [request.index for request in teacher.calls].count(3) == 1
    assert core.counts.failed == MAX_FAILED_DRAWS + 1


@pytest.mark.parametrize("ahead", [0, 1, 3, 8])
async def test_no_more_is_drawn_ahead_than_was_allowed(tmp_path: Path, ahead: int) -> None:
    """One task whose draws are all wrong: one is needed at a time, and more and more are expected to be."""
    teacher = ScriptedTeacher(lambda _: "wrong", concurrency=16)
    await run(tmp_path, teacher, Until(per_task=1, max_attempts=40), 1, ahead=ahead)
    assert len(teacher.calls) == 40
    assert teacher.peak == 1 + ahead
