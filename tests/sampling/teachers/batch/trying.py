"""Runs tasks through the core with the batch teacher, against the fake server's batch API."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stillroom.common.records import Attempt, Outcome, SamplingParams, State, Task, Verdict, user
from stillroom.errors import StillroomError
from stillroom.sampling.core import Core
from stillroom.sampling.counts import Counts
from stillroom.sampling.fake_server.batches import Batches, BatchFaults
from stillroom.sampling.fake_server.server import FakeServer
from stillroom.sampling.ledger import Ledger
from stillroom.sampling.limits import Limits, Meter, Prices
from stillroom.sampling.policy import Policy, Until
from stillroom.sampling.teachers.base import RetrySettings, Teacher
from stillroom.sampling.teachers.openai import OpenAISettings

TASKS = 40


class Accepts:
    """Accepts the draws that it is told to; all of them, where it is told of none."""

    identity = "accepts"

    def __init__(self, wanted: Callable[[Attempt], bool] = lambda attempt: True) -> None:
        self._wanted = wanted

    async def score(self, task: Task, attempt: Attempt) -> Verdict:
        """Accepted, or rejected."""
        good = self._wanted(attempt)
        return Verdict(State.ACCEPTED if good else State.REJECTED, "ok" if good else "wrong")

    async def close(self) -> None:
        """Holds nothing."""


@dataclass
class Tried:
    """What came of the tasks in one call."""

    outcomes: list[Outcome]
    counts: Counts
    error: StillroomError | None
    texts: dict[str, str] = field(default_factory=dict)


def tasks(number: int = TASKS) -> list[Task]:
    """Sums."""
    return [Task(str(i), user(f"What is {i} + 40?"), None, "test") for i in range(number)]


def settings(url: str | None, batch: Mapping[str, Any] | bool = True, **more: Any) -> OpenAISettings:
    """A teacher that asks in batches, and is not slow about it."""
    quick = {"poll_s": 0.001, "gather_s": 0.02}
    asked = {**quick, **batch} if isinstance(batch, Mapping) else (quick if batch else False)
    given = {"kind": "openai", "model": "fake", "base_url": url, "retry": {"base_s": 0.001}, "batch": asked, **more}
    return OpenAISettings.model_validate(given)


async def run_core(
    folder: Path,
    teacher: Teacher,
    *,
    given: list[Task] | None = None,
    policy: Policy | None = None,
    scorer: Accepts | None = None,
    limits: Limits | None = None,
    prices: Prices | None = None,
    ahead: bool | int = False,
    watch: Callable[[Core], Awaitable[None]] | None = None,
) -> Tried:
    """One call of a run. `watch`: what else happens meanwhile."""
    outcomes, error = list[Outcome](), None
    with Ledger.open(folder) as ledger:
        core = Core(
            teacher,
            scorer or Accepts(),
            policy or Until(per_task=1, max_attempts=4),
            ledger,
            sampling=SamplingParams(max_tokens=100),
            seed=0,
            retry=RetrySettings(base_s=0),
            meter=Meter(limits),
            prices=prices,
            ahead=ahead,
        )
        watching = asyncio.ensure_future(watch(core)) if watch is not None else None
        try:
            await core.run(given or tasks(), outcomes.append)
        except StillroomError as failed:
            error = failed
        finally:
            if watching is not None:
                watching.cancel()
            await teacher.close()
        texts = {f"{row['task_id']}/{row['draw']}": row["text"] for row in ledger.rows()}
    return Tried(outcomes, core.counts, error, texts)


class Desk:
    """A fake server with a batch API, for the length of a block."""

    def __init__(self, faults: BatchFaults | None = None, habits: tuple[str, ...] = ()) -> None:
        self.server = FakeServer(habits, batches=faults)

    async def __aenter__(self) -> Desk:
        await self.server.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.server.close()

    @property
    def url(self) -> str:
        """For `base_url`."""
        return self.server.url

    @property
    def batches(self) -> Batches:
        """What the server knows of files and batches."""
        return self.server.batches

    @property
    def paid_twice(self) -> list[str]:
        """Requests with more than one answer."""
        return [name for name, times in self.batches.paid.items() if times > 1]

    def asked(self, method: str, path: str) -> int:
        """How often a path was asked for."""
        return sum(seen.method == method and path in seen.path for seen in self.server.seen)
