"""Outcomes live in the ledger: read back they are what the core had said, in the order of the tasks, however a run
ended before; and no stage of a recipe holds them."""

from __future__ import annotations

import asyncio
import gc
import random
from pathlib import Path
from typing import Any

import pytest

from stillroom.common.hashing import digest
from stillroom.common.records import (
    Attempt,
    Completion,
    Outcome,
    Prompt,
    Request,
    SamplingParams,
    State,
    Task,
    Verdict,
    user,
)
from stillroom.errors import LedgerError, RequestFailed, TeacherDown
from stillroom.pipeline.flows import traces as runner
from stillroom.pipeline.flows.traces import RunResult
from stillroom.pipeline.run.progress import Display
from stillroom.pipeline.stages import filter as distil
from stillroom.pipeline.stages.filter import Asked, Outcomes
from stillroom.pipeline.stages.sample import run_core
from stillroom.sampling.core import Core
from stillroom.sampling.ledger import Ledger, StoredOutcome
from stillroom.sampling.policy import Fixed, Policy, Until
from stillroom.sampling.teachers.base import RetrySettings
from stillroom.sampling.teachers.recorded import RecordedTeacher
from stillroom.sampling.teachers.scripted import Fault, ScriptedTeacher
from stillroom.traces.controls import unfiltered
from stillroom.traces.filters import Screen
from stillroom.traces.rows import sft_row
from stillroom.traces.trace import Trace, traces_in
from tests.conftest import write_sums
from tests.pipeline.runs import run

QUIET = Display(quiet=True)
PROMPT = Prompt(system="Count well.")
TASKS = [Task(f"t{n}", user(f"question {n}"), "1", f"test:{n}", {"n": n}) for n in range(30)]


class Exact:
    """Accepts `right`; a cut off text is unscored."""

    identity = "exact"

    async def score(self, task: Task, attempt: Attempt) -> Verdict:
        await asyncio.sleep(0)
        state = State.ACCEPTED if attempt.text == "right" else State.REJECTED
        state = State.UNSCORED if attempt.finish_reason == "length" else state
        return Verdict(state, attempt.text, 0.25, "read: 1", 0.5)

    async def close(self) -> None:
        """Nothing to free."""


def answer(request: Request) -> Completion:
    """Right for one seed in two; long for one in three, and cut off under 100 tokens then."""
    luck = random.Random(request.seed).random()
    if luck < 1 / 3 and request.sampling.max_tokens < 100:
        return Completion("and then", "length", 5, request.sampling.max_tokens)
    return Completion("right" if luck < 0.5 else "wrong", "stop", 5, 60 if luck < 1 / 3 else 20, "so")


def core_of(teacher: ScriptedTeacher, policy: Policy, ledger: Ledger, sampling: SamplingParams) -> Core:
    return Core(
        teacher,
        Exact(),
        policy,
        ledger,
        sampling=sampling,
        seed=3,
        prompt=PROMPT,
        retry=RetrySettings(attempts=1, base_s=0),
    )


def asked(teacher: ScriptedTeacher, policy: Policy, sampling: SamplingParams) -> Asked:
    """How `core_of` asks."""
    limits = policy.escalate or (sampling.max_tokens,)
    return Asked(teacher.identity, Exact.identity, PROMPT, sampling, limits, 3)


def late(request: Request) -> float:
    """Tasks finish in another order than theirs."""
    return 0.0 if int(request.task_id[1:]) % 3 else 0.002


@pytest.mark.parametrize(
    ("policy", "max_tokens"),
    [
        (Until(per_task=2, max_attempts=5), 50),
        (Until(per_task=2, max_attempts=5, order="arrival"), 200),
        (Until(per_task=1, max_attempts=4, escalate=(30, 50, 200)), 30),
        (Fixed(policy="fixed", attempts=3), 200),
    ],
    ids=str,
)
async def test_they_are_read_back_as_the_core_gave_them(tmp_path: Path, policy: Policy, max_tokens: int) -> None:
    sampling = SamplingParams(max_tokens=max_tokens)
    fault = Fault(every=7, error=RequestFailed("HTTP 400: too long", retryable=False))
    teacher = ScriptedTeacher(answer, latency_s=late, faults=[fault])
    given: dict[int, Outcome] = {}
    with Ledger.open(tmp_path) as ledger:
        core = core_of(teacher, policy, ledger, sampling)
        outcomes = Outcomes(ledger, TASKS, asked(teacher, policy, sampling))

        def take(place: int, outcome: Outcome) -> None:
            given[place] = outcome
            outcomes.add(place, outcome)

        await run_core(core, TASKS, "sampling", QUIET, take)
        assert list(given) != sorted(given)  # or the order is not put to the test
        assert list(outcomes) == [given[place] for place in range(30)] == list(outcomes)
        assert {s.attempt.finish_reason for o in outcomes for s in o.attempts} >= {"stop"}
    assert len(outcomes) == 30
    assert outcomes.attempts == sum(len(o.attempts) for o in given.values()) > 30
    assert outcomes.kept == sum(len(o.kept) for o in given.values())
    assert outcomes.failed == sum(o.failed for o in given.values()) > 0
    assert outcomes.stops["satisfied"] == sum(o.stop == "satisfied" for o in given.values())


async def test_each_outcome_comes_with_the_place_of_its_task(tmp_path: Path) -> None:
    with Ledger.open(tmp_path) as ledger:
        core = core_of(
            ScriptedTeacher(answer, latency_s=late), Fixed(policy="fixed", attempts=2), ledger, SamplingParams()
        )
        found: dict[int, Outcome] = {}
        await run_core(core, TASKS, "sampling", QUIET, found.__setitem__)
    assert [found[place].task for place in range(30)] == TASKS


@pytest.mark.parametrize("lost", ["outcome", "verdict", "all"])
async def test_a_ledger_that_lost_something_is_refused(tmp_path: Path, lost: str) -> None:
    statement = {
        "outcome": "DELETE FROM outcomes WHERE position = 4",
        "verdict": "DELETE FROM verdicts WHERE attempt = (SELECT id FROM attempts WHERE task_id = 't4' AND draw = 0)",
        "all": "DELETE FROM outcomes",
    }[lost]
    policy, sampling, teacher = Fixed(policy="fixed", attempts=2), SamplingParams(), ScriptedTeacher(answer)
    with Ledger.open(tmp_path) as ledger:
        outcomes = Outcomes(ledger, TASKS, asked(teacher, policy, sampling))
        await run_core(core_of(teacher, policy, ledger, sampling), TASKS, "x", QUIET, outcomes.add)
        assert len(list(outcomes)) == 30
        ledger._write(statement, ())
        with pytest.raises(LedgerError, match=rf"how task '{'t0' if lost == 'all' else 't4'}' ended"):
            list(outcomes)


# -- whole runs --------------------------------------------------------------------------------------------------


def start(recipe: Path, out: Path, **more: Any) -> RunResult:
    result: RunResult = run(recipe, out=out, display=QUIET, **more)
    return result


def on_record(folder: Path) -> list[StoredOutcome]:
    with Ledger.read(folder) as ledger:
        return list(ledger.outcomes())


def written(folder: Path) -> dict[str, bytes]:
    return {
        str(p.relative_to(folder)): p.read_bytes()
        for part in ("sft", "rejects")
        for p in sorted((folder / part).glob("*"))
    }


FILTERS = ["finished", "one_final_answer", {"max_tokens": 26}, {"dedup": {"near": 0.6}}]


@pytest.mark.parametrize("answers", [0, 1, 37])
def test_outcomes_and_rows_of_a_resumed_run_are_those_of_an_uninterrupted_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answers: int
) -> None:
    recipe = write_sums(tmp_path, tasks=24, filters=FILTERS, keep={"per_task": 2, "max_attempts": 4})
    straight = start(recipe, tmp_path / "straight")
    real, asked = RecordedTeacher.sample, 0

    async def dying(self: RecordedTeacher, request: Any, usage: Any) -> Any:
        nonlocal asked
        asked += 1
        if asked > answers:
            raise TeacherDown("gone")
        return await real(self, request, usage)

    with monkeypatch.context() as patched:
        patched.setattr(RecordedTeacher, "sample", dying)
        with pytest.raises(TeacherDown):
            start(recipe, tmp_path / "run")
    assert len(on_record(tmp_path / "run")) < 24
    resumed = start(recipe, tmp_path / "run")
    assert (resumed.attempts, resumed.rows) == (straight.attempts, straight.rows)
    assert on_record(tmp_path / "run") == on_record(tmp_path / "straight")
    assert [stored.position for stored in on_record(tmp_path / "run")] == list(range(24))
    assert written(tmp_path / "run") == written(tmp_path / "straight")
    assert any(name.startswith("rejects/") for name in written(tmp_path / "run"))


def test_outcomes_of_tasks_that_are_no_longer_the_runs_are_forgotten(tmp_path: Path) -> None:
    recipe = write_sums(tmp_path, tasks=24)
    start(recipe, tmp_path / "run")
    assert len(on_record(tmp_path / "run")) == 24
    start(recipe, tmp_path / "run", set=["tasks.limit=7"])
    assert [stored.position for stored in on_record(tmp_path / "run")] == list(range(7))


def test_a_run_whose_rows_are_all_dropped_leaves_the_earlier_rows_alone(tmp_path: Path) -> None:
    recipe = write_sums(tmp_path, tasks=8)
    start(recipe, tmp_path / "run")
    before = written(tmp_path / "run")
    with pytest.raises(Exception, match="no trace is left"):
        start(recipe, tmp_path / "run", set=["filters=[{min_tokens: 10000}]"])
    after = written(tmp_path / "run")
    assert after.pop("rejects/min_tokens.jsonl")
    assert {name: text for name, text in after.items() if name.startswith("sft/")} == {
        name: text for name, text in before.items() if name.startswith("sft/")
    }


class Seen:
    """The most records of a kind that were alive at any time, beyond those that were before (other tests' own)."""

    def __init__(self, kind: type) -> None:
        self.kind, self.most, self.before, self.calls = kind, 0, 0, 0
        gc.collect()
        self.before = self.alive()

    def alive(self) -> int:
        return sum(type(each) is self.kind for each in gc.get_objects()) - self.before

    def look(self) -> None:
        self.calls += 1
        if self.calls % 7 == 0:  # going over all objects takes its time
            self.most = max(self.most, self.alive())


def test_no_stage_of_a_recipe_holds_outcomes_or_traces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = write_sums(tmp_path, tasks=30, filters=FILTERS)
    outcomes, traces = Seen(Outcome), Seen(Trace)
    add, look, read = Outcomes.add, Screen.look, Outcomes._read

    def adding(self: Outcomes, position: int, outcome: Outcome) -> None:
        add(self, position, outcome)
        outcomes.look()

    def looking(self: Screen, trace: Trace) -> Any:
        found = look(self, trace)
        traces.look()
        return found

    def reading(self: Outcomes, task: Task, stored: StoredOutcome) -> Outcome:
        found = read(self, task, stored)
        outcomes.look()
        return found

    monkeypatch.setattr(Outcomes, "add", adding)
    monkeypatch.setattr(Outcomes, "_read", reading)
    monkeypatch.setattr(Screen, "look", looking)
    result = start(recipe, tmp_path / "run")
    assert result.rows > 10
    assert outcomes.most <= 3
    assert traces.most <= 3


def test_the_control_is_the_one_of_a_run_that_held_everything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As many rows as the student's, by draw and then by hash; and the rows are read back as they were written."""
    kept: list[Any] = []
    real = distil.distil

    def watched(*args: Any) -> Any:
        found = real(*args)
        kept.append((found, found.rows, list(args[2]), unfiltered(found.outcomes, found.written)))
        return found

    monkeypatch.setattr(runner, "distil", watched)
    result = start(write_sums(tmp_path, filters=FILTERS), tmp_path / "run")
    [(found, rows, outcomes, control)] = kept
    assert found.written == result.rows == len(rows)
    everything = [trace for o in outcomes for trace in traces_in(o)]
    everything.sort(key=lambda t: (t.attempt.index, digest(["control", t.task.id]), t.task.id))
    assert control == unfiltered(outcomes, len(rows)) == everything[: len(rows)]
    kept_keys = {(t.task.id, t.attempt.index): sft_row(t) for t in everything}
    assert rows == [kept_keys[row["task_id"], row["index"]] for row in rows]
