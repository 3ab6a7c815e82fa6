"""A core whose draws are made by several workers.

    core = ShardedCore(Shards(3), job, ledger, meter=meter, tell=print)
    await core.run(tasks, outcomes.append)

What a run that was ended left in `shards/` is added to the run's ledger first, so nothing is paid for again, whatever
the number of shards is now. A worker that dies is started again on its ledger and asks only what it had in flight.
Limits and the number of slots are those of all workers together. It refuses the policy `budget`, which decides on all
tasks at once.
"""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import fields
from pathlib import Path

from stillroom import errors
from stillroom.common.records import Outcome, Task
from stillroom.common.secrets import revealed
from stillroom.errors import Interrupted, RecipeError, RunError
from stillroom.sampling.core import Core
from stillroom.sampling.counts import Counts
from stillroom.sampling.ledger import FILE, Ledger, request_key
from stillroom.sampling.ledger.copying import SHARDS, Wanted, hand_over
from stillroom.sampling.limits import Meter
from stillroom.sampling.policy import Budget
from stillroom.sampling.shards import ray_workers
from stillroom.sampling.shards.plan import Job, Shards, in_shards, slots_of, with_its_share
from stillroom.sampling.shards.ray_workers import RayWorker, WorkerDied
from stillroom.sampling.shards.worker import Ended, Seen

POLL_S = 0.25
"""Seconds between two looks at the workers."""
DEATHS = 20
"""Deaths of workers, in all, before a run gives up: something kills whatever is started."""
_NOBODY = "\0"
"""No task's name begins with it."""
# Of the counts of one process that goes over all answers at the end; the rest is what the workers count.
_OF_OUTCOMES = ("tasks_total", "satisfied", "gave_up", "exhausted", "kept", "kept_tokens", "accepted_tokens")


class ShardedCore:
    """Drawn, scored and stopped as by a Core; see there. `over`: makes the core that goes over all answers at the
    end. `tell`: hears what a person should know."""

    def __init__(
        self,
        shards: Shards,
        job: Job,
        ledger: Ledger,
        over: Callable[[], Core],
        *,
        identity: str,
        meter: Meter | None = None,
        tell: Callable[[str], object] = lambda text: None,
    ) -> None:
        if isinstance(job.policy, Budget):
            raise RecipeError(
                "keep.policy is budget, which decides on all tasks at once: leave shards out, or set `limits`, which "
                "all shards share"
            )
        if job.teacher.gathers:
            raise RecipeError(
                "the teacher answers in batches, which one process sends and fetches: leave shards out, or batch"
            )
        self.counts = Counts()
        self._shards, self._job, self._ledger, self._over = shards, job, ledger, over
        self._identity, self._tell = identity, tell
        self._meter = meter or Meter()
        self._meter.watch(self.counts, job.prices)
        self._others: dict[tuple[int, int], Counts] = {}  # of those that ask besides, by shard and place
        self._before: dict[int, Counts] = {}  # what a shard's ledger held at the start
        self._lost: dict[int, Counts] = {}  # what workers that died had paid
        self._seen: dict[int, Seen] = {}
        self._workers: dict[int, RayWorker] = {}
        self._open: set[int] = set()
        self._deaths, self._stopping, self._because = 0, False, ""
        self.dtypes: set[str] = set()

    @property
    def in_flight(self) -> int:
        """Requests that no teacher has answered yet, when the workers were last looked at."""
        return sum(seen.in_flight for n, seen in self._seen.items() if n in self._open)

    @property
    def leaves(self) -> bool:
        """As of a Core: what is in flight is waited for."""
        return False

    def stop_drawing(self) -> None:
        """As of a Core."""
        self._stopping = True

    def failures(self, tasks: Iterable[Task]) -> int:
        """As of a Core."""
        return self._over().failures(tasks)

    async def run(self, tasks: Iterable[Task], on_outcome: Callable[[Outcome], object]) -> None:
        """As of a Core; also raises RunError where workers keep dying."""
        given = list(tasks)
        self._absorb()
        try:
            if not self._stopping:
                with ray_workers.cluster(self._shards.address):
                    await self._draw(given)
        finally:
            self._absorb()
        if self._stopping:
            raise Interrupted(
                f"stopped after {self.counts.finished:,} tasks{self._because}; run the same command again to go on"
            )
        core = self._over()
        core.counts.tasks_total = len(given)
        await core.run(given, on_outcome)
        for name in _OF_OUTCOMES:
            setattr(self.counts, name, getattr(core.counts, name))

    # -- the workers ---------------------------------------------------------------------------------------

    async def _draw(self, tasks: list[Task]) -> None:
        shards = {n: each for n, each in enumerate(in_shards(tasks, self._shards.number)) if each}
        self._hand_over(shards)
        own = self._job._replace(teacher=with_its_share(self._job.teacher, len(shards)))
        job, slots = ray_workers.send(own), self._slots(len(shards))
        gpu = self._job.teacher.local and ray_workers.gpus() >= 1

        def started(n: int) -> RayWorker:
            self._workers[n] = ray_workers.start(job, self._folder(n), slots[n], gpu=gpu)
            return self._workers[n]

        async def drawn(n: int) -> Ended:
            while True:
                try:
                    return await started(n).run(shards[n])
                except WorkerDied as error:
                    self._deaths += 1
                    self._seen.pop(n, None)
                    self._lost[n] = _paid(self._before[n], self._on_record(n))
                    if self._deaths > DEATHS:
                        raise RunError(
                            f"workers died {self._deaths} times (the last: {error}); what was answered is kept. Look "
                            "for what kills them: memory, or a machine that is gone; then run the same command again"
                        ) from error
                    if self._stopping:
                        return Ended("Interrupted", str(error), None)
                    self._tell(f"the worker of shard {n} died ({error}): started again, what it had answered is kept")

        self._open = set(shards)
        jobs = {asyncio.create_task(drawn(n)): n for n in shards}
        try:
            await self._watch(jobs)
        finally:
            for job_of in jobs:
                job_of.cancel()
            await asyncio.gather(*jobs, return_exceptions=True)
            for worker in self._workers.values():
                with suppress(Exception):
                    worker.kill()

    async def _watch(self, jobs: dict[asyncio.Task[Ended], int]) -> None:
        """Until all have ended: counts, limits, and slots for those that are left. Raises what ended the first."""
        waiting, told = set(jobs), False
        failed: Ended | None = None
        while waiting:
            done, waiting = await asyncio.wait(waiting, timeout=POLL_S, return_when=asyncio.FIRST_COMPLETED)
            await self._look()
            for job in done:
                self._open.discard(jobs[job])
                ended = job.result()
                self.dtypes |= {ended.dtype} if ended.dtype else set()
                if ended.error == "Interrupted":
                    self._stopping = True
                elif ended.error:
                    failed = failed or ended
            if not self._stopping and (reached := self._meter.reached()):
                self._stopping, self._because = True, f" ({reached})"
            if (failed or self._stopping) and not told:
                told = True
                await self._all("stop")
            elif done and waiting and not told:
                slots = self._slots(len(waiting))
                await self._all("use", dict(zip(sorted(self._open), slots, strict=False)))
        if failed is not None and not self._stopping:
            raise getattr(errors, failed.error, RunError)(failed.message)

    async def _look(self) -> None:
        """What the workers have counted, added up."""

        async def seen(n: int) -> None:
            with suppress(WorkerDied):
                self._seen[n] = await self._workers[n].seen()

        await asyncio.gather(*(seen(n) for n in self._open if n in self._workers))
        now, own = time.monotonic(), list[Counts]()
        for n, each in self._seen.items():
            for place, (counts, prices) in enumerate(each.counts):
                if counts.refused_since is not None:
                    counts.refused_since = now
                if place == 0:
                    own.append(counts)
                    continue
                if (n, place) not in self._others:
                    self._others[n, place] = self._meter.watch(Counts(), prices)
                _take(self._others[n, place], [counts])
        _take(self.counts, [*own, *self._lost.values()])

    async def _all(self, what: str, given: dict[int, int] | None = None) -> None:
        async def call(n: int) -> None:
            with suppress(WorkerDied):
                await getattr(self._workers[n], what)(*(() if given is None else (given[n],)))

        await asyncio.gather(*(call(n) for n in self._open if n in self._workers))

    def _slots(self, workers: int) -> list[int]:
        """A model in the worker's process has all slots there, a server's are shared."""
        total = self._job.teacher.concurrency
        return [total] * workers if self._job.teacher.local else slots_of(total, workers)

    # -- their ledgers ---------------------------------------------------------------------------------------

    def _folder(self, shard: int) -> Path:
        return self._ledger.path.parent / SHARDS / f"{shard:04}"

    def _hand_over(self, shards: dict[int, list[Task]]) -> None:
        job, wanted = self._job, dict[Path, Wanted]()
        for n, tasks in shards.items():
            folder = self._folder(n)
            folder.mkdir(parents=True, exist_ok=True)
            keys = (
                request_key(job.teacher.teacher_prompt.messages(task), job.sampling, self._identity, job.seed)
                for task in tasks
            )
            wanted[folder / FILE] = Wanted(frozenset(keys), frozenset(task.id for task in tasks))
        hand_over(self._ledger.path, wanted)
        self._before = {n: self._on_record(n) for n in shards}

    def _on_record(self, shard: int) -> Counts:
        """What the teacher was asked by the workers of a shard. `scored`: as rejected, whatever the verdict."""
        with Ledger.read(self._folder(shard)) as ledger:
            who = revealed(self._identity)
            spent = next((each for each in ledger.spent_by(_NOBODY) if revealed(each.teacher) == who), None)
            scored = sum(n for state, n in ledger.verdict_counts().items() if state != "none")
        if spent is None:
            return Counts()
        return Counts(
            rejected=scored,
            prompt_tokens=spent.prompt_tokens,
            completion_tokens=spent.completion_tokens,
            cancelled_tokens=spent.cancelled_tokens,
        )

    def _absorb(self) -> None:
        """Adds the ledgers of shards to the run's, and removes each when all of it is there."""
        root = self._ledger.path.parent / SHARDS
        if not root.is_dir():
            return
        for folder in sorted(root.iterdir()):
            if (folder / FILE).is_file():
                with Ledger.open(folder):  # its lock: a worker that is still there would write on
                    self._ledger.absorb(folder)
                self._ledger.sync()
            shutil.rmtree(folder)
        root.rmdir()


def _paid(before: Counts, now: Counts) -> Counts:
    """What workers that died had paid. Their answers are on record: the next worker counts them as found there."""
    return Counts(
        reused=before.scored - now.scored,
        prompt_tokens=now.prompt_tokens - before.prompt_tokens,
        completion_tokens=now.completion_tokens - before.completion_tokens,
        cancelled_tokens=now.cancelled_tokens - before.cancelled_tokens,
        refused_since=0.0,
    )


def _take(total: Counts, parts: list[Counts]) -> None:
    """Makes `total` the sum of the parts. Of words, the last that anybody had; its own clock stays."""
    for each in fields(Counts):
        if each.name in ("started", "tasks_total"):
            continue
        values = [getattr(part, each.name) for part in parts]
        if each.name == "refused_since":
            # Waiting is worth telling where all wait.
            summed = None if any(value is None for value in values) else max(values, default=None)
        elif values and isinstance(values[0], str):
            summed = next((value for value in values if value), "")
        else:
            summed = sum(values)
        setattr(total, each.name, summed)
