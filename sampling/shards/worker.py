"""What works on a shard: the ordinary core, on the shard's tasks and ledger. It knows nothing of Ray.

    worker = ShardWorker(job, folder, slots=16)
    ended = await worker.run(tasks)           # `seen`, `use` and `stop` may be called meanwhile

Whatever ends it early is returned, not raised: an error need not survive the way to another process.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from stillroom.common.records import Outcome, Task
from stillroom.errors import Interrupted, RunError, StillroomError
from stillroom.sampling.again import Again
from stillroom.sampling.core import Core
from stillroom.sampling.counts import Counts
from stillroom.sampling.ledger import FILE, Ledger
from stillroom.sampling.limits import Meter, Prices
from stillroom.sampling.plugins import trust
from stillroom.sampling.scorers.base import Place
from stillroom.sampling.shards.plan import Job
from stillroom.sampling.teachers.base import Teacher, dtype_of


class Ended(NamedTuple):
    """How a worker's run ended. `error`: the name of a class of `stillroom.errors`, "" for a run that came to its
    end. `dtype`: what its model computed in, as of `dtype_of`."""

    error: str
    message: str
    dtype: str | None


class Seen(NamedTuple):
    """What a worker has done so far: counts of its draws first, then of whoever else asks (a judge), with prices."""

    counts: list[tuple[Counts, Prices | None]]
    in_flight: int


class Slots:
    """A teacher of which not all slots may be used; how many may change at any time."""

    def __init__(self, teacher: Teacher, slots: int) -> None:
        self._teacher, self.slots = teacher, slots

    @property
    def concurrency(self) -> int:
        """Requests in flight, at most."""
        return min(self.slots, self._teacher.concurrency)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._teacher, name)


class ShardWorker:
    """`folder`: of the shard, with a ledger that was made for it. `slots`: requests in flight."""

    def __init__(self, job: Job, folder: Path, slots: int) -> None:
        self._job, self._folder, self._slots = job, folder, slots
        self._teacher: Slots | None = None
        self._core: Core | None = None
        self._meter, self._stopping = Meter(), False

    async def run(self, tasks: Sequence[Task]) -> Ended:
        """Draws until every task has stopped, or somebody stops it."""
        try:
            await self._run(tasks)
        except Interrupted as error:
            return self._ended("Interrupted", error)
        except StillroomError as error:
            return self._ended(type(error).__name__, error)
        return self._ended("", "")

    async def _run(self, tasks: Sequence[Task]) -> None:
        job = self._job
        if not (self._folder / FILE).is_file():
            raise RunError(
                f"{socket.gethostname()} does not see {self._folder}: all machines must see the run's folder under "
                "the same path, so give --out a folder that they share"
            )
        trust(job.trusted)
        with Ledger.open(self._folder) as ledger:
            again = Again() if job.again else None
            place = Place(ledger, job.base, job.seed, self._meter, job.prices, again=again)
            scorer, teacher = job.scorer.make(place), job.teacher.make(job.base)
            self._teacher = Slots(teacher, self._slots)
            try:
                self._core = Core(
                    self._teacher,
                    scorer,
                    job.policy,
                    ledger,
                    sampling=job.sampling,
                    seed=job.seed,
                    prompt=job.teacher.teacher_prompt,
                    retry=job.teacher.retry,
                    meter=self._meter,
                    prices=job.prices,
                    ahead=job.ahead,
                    admits=None if job.admits is None else job.admits(),
                    again=again,
                )
                if self._stopping:
                    self._core.stop_drawing()
                await self._core.run(tasks, _forget)
            finally:
                await teacher.close()
                await scorer.close()
                ledger.sync()

    def seen(self) -> Seen:
        """Counts so far, on a clock that any process can read: `started` is the age of the counts."""
        if self._core is None:
            return Seen([], 0)
        # The draws' counts first, whoever was watched first.
        own = self._core.counts
        watched = sorted(self._meter.watched, key=lambda each: each[0] is not own)
        found = [(replace(counts, started=counts.elapsed_s), prices) for counts, prices in watched]
        return Seen(found, self._core.in_flight)

    def use(self, slots: int) -> None:
        """From now on this many requests may be in flight."""
        self._slots = slots
        if self._teacher is not None:
            self._teacher.slots = slots

    def stop(self) -> None:
        """Starts no more draws; `run` ends when what is in flight is answered and kept."""
        self._stopping = True
        if self._core is not None:
            self._core.stop_drawing()

    def _ended(self, kind: str, message: object) -> Ended:
        return Ended(kind, str(message), None if self._teacher is None else dtype_of(self._teacher))


def _forget(_: Outcome) -> None:
    """The ledger has it."""
