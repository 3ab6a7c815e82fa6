"""A core on several workers: the outcomes of one process, nothing paid twice, limits and deaths.

The workers are in this process here; that of Ray is tested in tests/pipeline/test_shards.py."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, Literal

import pytest

from stillroom.common.records import (
    Attempt,
    Completion,
    Outcome,
    Request,
    SamplingParams,
    State,
    Task,
    Verdict,
    user,
)
from stillroom.errors import Interrupted, RecipeError, RequestFailed, RunError, TeacherDown
from stillroom.sampling.core import Core
from stillroom.sampling.ledger import FILE, Ledger
from stillroom.sampling.ledger.copying import SHARDS
from stillroom.sampling.limits import Limits, Meter
from stillroom.sampling.policy import Budget, Policy, Until
from stillroom.sampling.scorers.base import Place, Scorer, ScorerBase
from stillroom.sampling.shards import core as sharded
from stillroom.sampling.shards import ray_workers
from stillroom.sampling.shards.core import ShardedCore
from stillroom.sampling.shards.plan import Job, Shards
from stillroom.sampling.shards.ray_workers import WorkerDied
from stillroom.sampling.shards.worker import Ended, Seen, ShardWorker
from stillroom.sampling.teachers.base import RetrySettings, Teacher, TeacherBase
from stillroom.sampling.teachers.scripted import ScriptedTeacher

POLICY = Until(per_task=1, max_attempts=4)


class Exact:
    """Accepts `right`."""

    identity = "exact"

    async def score(self, task: Task, attempt: Attempt) -> Verdict:
        return Verdict(State.ACCEPTED if attempt.text == "right" else State.REJECTED, attempt.text)

    async def close(self) -> None:
        """Nothing to free."""


class ExactSettings(ScorerBase):
    kind: str = "exact"

    def make(self, place: Place) -> Scorer:
        return Exact()


class Scripted(TeacherBase):
    """Teachers that are made one after another, and what they were asked."""

    made: ClassVar[list[ScriptedTeacher]] = []
    answer: ClassVar[Callable[[Request], str | Completion]]
    latency_s: ClassVar[float] = 0.0

    kind: Literal["scripted"] = "scripted"
    model: str = "scripted"
    concurrency: int = 6
    retry: RetrySettings = RetrySettings(attempts=1, base_s=0)

    def make(self, base: Path) -> Teacher:
        teacher = ScriptedTeacher(
            type(self).answer, latency_s=lambda _: type(self).latency_s, concurrency=self.concurrency
        )
        self.made.append(teacher)
        return teacher

    @classmethod
    def asked(cls) -> Counter[tuple[str, int]]:
        """How often each draw was answered: what was cancelled is not among them."""
        lost = {id(request) for teacher in cls.made for request in teacher.cancelled}
        return Counter((r.task_id, r.index) for teacher in cls.made for r in teacher.calls if id(r) not in lost)


def coin(request: Request) -> str:
    """Right in two of five cases, decided by the draw."""
    return "right" if random.Random(request.seed).random() < 0.4 else "wrong"


class Here:
    """A worker in this process. `dies`: after how many looks at it, by the times it was started."""

    started: ClassVar[Counter[str]] = Counter()
    dies: ClassVar[Callable[[str, int], bool]] = lambda folder, start: False

    def __init__(self, job: Job, folder: Path, slots: int) -> None:
        self.started[folder.name] += 1
        self.name, self.start = folder.name, self.started[folder.name]
        self.worker, self.slots = ShardWorker(job, folder, slots), [slots]
        self.task: asyncio.Task[Ended] | None = None

    async def run(self, tasks: Sequence[Task]) -> Ended:
        self.task = asyncio.create_task(self.worker.run(tasks))
        try:
            return await self.task
        except asyncio.CancelledError:
            if self.task.cancelled() and (now := asyncio.current_task()) is not None and not now.cancelling():
                raise WorkerDied("killed") from None
            raise

    async def seen(self) -> Seen:
        found = self.worker.seen()
        answered = self.task is not None and found.counts and found.counts[0][0].scored
        if answered and self.task is not None and not self.task.done() and type(self).dies(self.name, self.start):
            self.task.cancel()
            raise WorkerDied("killed")
        return found

    async def use(self, slots: int) -> None:
        self.slots.append(slots)
        self.worker.use(slots)

    async def stop(self) -> None:
        self.worker.stop()

    def kill(self) -> None:
        """Whatever is left of it."""
        if self.task is not None:
            self.task.cancel()


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    Scripted.made.clear()
    Scripted.answer, Scripted.latency_s = coin, 0.0
    Here.started.clear()
    Here.dies = lambda folder, start: False

    @contextmanager
    def cluster(address: str | None) -> Iterator[None]:
        yield

    monkeypatch.setattr(ray_workers, "cluster", cluster)
    monkeypatch.setattr(ray_workers, "send", lambda job: job)
    monkeypatch.setattr(ray_workers, "start", lambda job, folder, slots, *, gpu: Here(job, folder, slots))
    monkeypatch.setattr(sharded, "POLL_S", 0.001)


def tasks(n: int) -> list[Task]:
    return [Task(f"t{i}", user(f"question {i}"), "1", f"test:{i}") for i in range(n)]


def job(**changes: Any) -> Job:
    values: dict[str, Any] = {
        "teacher": Scripted(),
        "scorer": ExactSettings(),
        "policy": POLICY,
        "sampling": SamplingParams(),
        "seed": 0,
        "base": Path(),
        "prices": None,
        "ahead": False,
        "admits": None,
        "trusted": frozenset(),
        "again": False,
    }
    return Job(**(values | changes))


def over(ledger: Ledger, policy: Policy = POLICY) -> Core:
    teacher = Scripted().make(Path())
    Scripted.made.pop()  # who is only asked what is on record
    return Core(teacher, Exact(), policy, ledger, sampling=SamplingParams(), seed=0, ahead=False)


async def run(
    folder: Path, shards: int | None, n: int = 40, **changes: Any
) -> tuple[ShardedCore | Core, dict[str, Outcome]]:
    """`shards`: None for one process."""
    found: dict[str, Outcome] = {}
    meter, tell = changes.pop("meter", None), changes.pop("tell", lambda text: None)
    with Ledger.open(folder) as ledger:
        core: ShardedCore | Core
        if shards is None:
            core = Core(
                Scripted().make(Path()), Exact(), POLICY, ledger, sampling=SamplingParams(), seed=0, ahead=False
            )
        else:
            core = ShardedCore(
                Shards(shards),
                job(**changes),
                ledger,
                lambda: over(ledger),
                identity="scripted",
                meter=meter,
                tell=tell,
            )
        await core.run(tasks(n), lambda outcome: found.__setitem__(outcome.task.id, outcome))
    return core, found


def told(outcomes: dict[str, Outcome]) -> dict[str, Any]:
    """What rows depend on."""
    return {
        name: (o.stop, o.kept, o.failed, [(a.attempt.index, a.attempt.text, a.verdict.state) for a in o.attempts])
        for name, o in outcomes.items()
    }


async def test_the_outcomes_are_those_of_one_process(tmp_path: Path) -> None:
    _, one = await run(tmp_path / "one", None)
    alone = Scripted.asked()
    Scripted.made.clear()
    core, several = await run(tmp_path / "several", 3)
    assert told(several) == told(one)
    assert list(several) == [task.id for task in tasks(40)]
    assert Scripted.asked() == alone
    assert set(alone.values()) == {1}
    assert len(Scripted.made) == 3
    assert core.counts.scored == sum(alone.values())
    assert (core.counts.finished, core.counts.tasks_total) == (40, 40)
    assert core.counts.reused == 0
    assert core.counts.completion_tokens == sum(alone.values())
    assert not (tmp_path / "several" / SHARDS).exists()


@pytest.mark.parametrize("again", [None, 1, 2, 5])
async def test_another_number_of_shards_pays_for_nothing_again(again: int | None, tmp_path: Path) -> None:
    _, first = await run(tmp_path, 3)
    Scripted.made.clear()
    _, second = await run(tmp_path, again)
    assert told(second) == told(first)
    assert not Scripted.asked()


async def test_more_tasks_ask_only_for_those(tmp_path: Path) -> None:
    await run(tmp_path, 3, n=20)
    Scripted.made.clear()
    await run(tmp_path, 4, n=40)
    assert {task for task, _ in Scripted.asked()} == {f"t{n}" for n in range(20, 40)}


async def test_a_worker_that_dies_is_started_again_and_pays_only_for_what_was_in_flight(tmp_path: Path) -> None:
    Scripted.latency_s = 0.002
    _, one = await run(tmp_path / "one", None)
    alone = Scripted.asked()
    Scripted.made.clear()
    Here.dies, said = lambda folder, start: folder == "0001" and start <= 2, list[str]()
    core, several = await run(tmp_path / "several", 3, tell=said.append)
    assert told(several) == told(one)
    assert Here.started == {"0000": 1, "0001": 3, "0002": 1}
    assert [text.split(":")[0] for text in said] == ["the worker of shard 1 died (killed)"] * 2
    assert set(Scripted.asked()) == set(alone)
    assert sum(Scripted.asked().values()) == sum(alone.values())  # what was in flight was not answered
    assert core.counts.completion_tokens == sum(alone.values())
    assert core.counts.reused == 0


async def test_workers_that_keep_dying_end_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sharded, "DEATHS", 3)
    Scripted.latency_s = 0.002
    Here.dies = lambda folder, start: folder == "0001"
    with pytest.raises(RunError, match=r"workers died 4 times \(the last: killed\)"):
        await run(tmp_path, 3)
    kept = len(Scripted.asked())
    Here.dies = lambda folder, start: False
    await run(tmp_path, 3)
    assert kept > 0
    assert max(Scripted.asked().values()) == 1
    assert not (tmp_path / SHARDS).exists()


async def test_limits_are_those_of_all_together(tmp_path: Path) -> None:
    Scripted.latency_s = 0.005
    core_meter = Meter(Limits(tokens=90))  # 3 for each request
    with pytest.raises(Interrupted, match=r"tokens used, limits\.tokens is 90"):
        await run(tmp_path, 3, meter=core_meter)
    asked = sum(Scripted.asked().values())
    assert 30 <= asked <= 60
    await run(tmp_path, 2)
    assert max(Scripted.asked().values()) == 1


async def test_stopped_it_ends_with_what_was_in_flight_and_goes_on_later(tmp_path: Path) -> None:
    Scripted.latency_s = 0.005
    with Ledger.open(tmp_path) as ledger:
        core = ShardedCore(Shards(3), job(), ledger, lambda: over(ledger), identity="scripted")

        def soon(_: Request) -> str:
            if len(Scripted.asked()) > 10:
                core.stop_drawing()
            return coin(_)

        Scripted.answer = soon
        with pytest.raises(Interrupted, match="run the same command again to go on"):
            await core.run(tasks(40), lambda _: None)
        assert not any(teacher.cancelled for teacher in Scripted.made)
        assert ledger.count() == sum(Scripted.asked().values()) < 60
    Scripted.answer = coin
    await run(tmp_path, 3)
    assert max(Scripted.asked().values()) == 1


async def test_what_ends_one_worker_ends_all_and_is_told(tmp_path: Path) -> None:
    Scripted.latency_s = 0.001

    def down(request: Request) -> str:
        raise RequestFailed("connection refused", retryable=False)

    Scripted.answer = down
    with pytest.raises(TeacherDown, match="connection refused"):
        await run(tmp_path, 2, n=60)
    assert not (tmp_path / SHARDS).exists()


async def test_what_a_killed_driver_left_is_taken_over(tmp_path: Path) -> None:
    """Its workers' ledgers lie in `shards/`, of another number of shards."""
    await run(tmp_path / "other", 2, n=25)
    left = tmp_path / "run" / SHARDS / "0007"
    left.mkdir(parents=True)
    (tmp_path / "other" / FILE).rename(left / FILE)
    Scripted.made.clear()
    _, found = await run(tmp_path / "run", 3, n=40)
    assert len(found) == 40
    assert {task for task, _ in Scripted.asked()} == {f"t{n}" for n in range(25, 40)}


async def test_a_reader_sees_the_shards_as_one(tmp_path: Path) -> None:
    """While a run is under way, or after its driver was killed."""
    await run(tmp_path / "run", 1, n=10)
    for number, tasks_of in (("0000", 25), ("0001", 15)):
        await run(tmp_path / number, 2, n=tasks_of)
        (folder := tmp_path / "run" / SHARDS / number).mkdir(parents=True)
        (tmp_path / number / FILE).rename(folder / FILE)
    with Ledger.read(tmp_path / "run") as ledger:
        assert {row["task_id"] for row in ledger.rows()} == {f"t{n}" for n in range(25)}
        assert "none" not in ledger.verdict_counts()
        assert ledger.path == tmp_path / "run" / FILE
        assert ledger.count() == len({(r["request"], r["draw"]) for r in ledger.rows()})
    with Ledger.read(tmp_path / "run" / SHARDS / "0001") as shard:
        assert {row["task_id"] for row in shard.rows()} == {f"t{n}" for n in range(15)}


async def test_slots_are_shared_out_and_go_to_those_that_are_left(tmp_path: Path, monkeypatch: Any) -> None:
    workers: list[Here] = []

    def start(job: Job, folder: Path, slots: int, *, gpu: bool) -> Here:
        workers.append(Here(job, folder, slots))
        return workers[-1]

    monkeypatch.setattr(ray_workers, "start", start)
    Scripted.latency_s = 0.002
    await run(tmp_path, 3, n=41)
    assert [worker.slots[0] for worker in workers] == [2, 2, 2]
    assert max(slots for worker in workers for slots in worker.slots) in (3, 6)
    assert all(teacher.peak <= 6 for teacher in Scripted.made)


async def test_a_model_in_the_workers_process_has_all_slots_there(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(Scripted, "local", True)
    monkeypatch.setattr(ray_workers, "gpus", lambda: 0)
    await run(tmp_path, 2)
    assert all(teacher.concurrency == 6 for teacher in Scripted.made)


async def test_a_budget_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="leave shards out"):
        await run(tmp_path, 2, policy=Budget(policy="budget", per_task=1, max_attempts=4, tokens=100))


async def test_a_worker_that_does_not_see_the_folder_says_so(tmp_path: Path) -> None:
    ended = await ShardWorker(job(), tmp_path / "nowhere", 1).run(tasks(2))
    assert ended.error == "RunError"
    assert "under the same path" in ended.message
