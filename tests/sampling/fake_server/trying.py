"""Tries the openai teacher on a fake server, in a loop whose clock jumps over every wait.

Client and server share one loop. Where nothing is left to do but to wait for a timer, its clock jumps there: a wait of
six minutes passes at once, and whoever named it and whoever obeyed it see the same six minutes.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeVar

import pytest

from stillroom.common.records import Attempt, Outcome, SamplingParams, Task, user
from stillroom.errors import StillroomError
from stillroom.sampling.core import Core
from stillroom.sampling.counts import Counts
from stillroom.sampling.fake_server.server import FakeServer
from stillroom.sampling.ledger import Ledger
from stillroom.sampling.policy import Until
from stillroom.sampling.scorers.none import FinishedScorer
from stillroom.sampling.teachers.base import RetrySettings
from stillroom.sampling.teachers.openai import OpenAISettings
from stillroom.sampling.teachers.openai import teacher as the_teacher
from stillroom.sampling.teachers.openai.teacher import OpenAITeacher
from stillroom.traces.trace import Trace, traces_in

T = TypeVar("T")
NOW = 1_700_000_000.0
TASKS = 12
# Bytes on loopback may take a moment; only then is the loop idle.
_GRACE_S = 0.002


class _Jumping(selectors.DefaultSelector):
    """Waits for no timer: the clock of its loop jumps to it."""

    jumped_s = 0.0

    def select(self, timeout: float | None = None) -> Any:
        if timeout is None or timeout <= 0:
            return super().select(timeout)
        if found := super().select(min(timeout, _GRACE_S)):
            return found
        self.jumped_s += timeout
        return []


class JumpingLoop(asyncio.SelectorEventLoop):
    """A loop with its own time."""

    def __init__(self) -> None:
        self._jumping = _Jumping()
        super().__init__(self._jumping)

    @property
    def jumped_s(self) -> float:
        """Seconds that were jumped over."""
        return self._jumping.jumped_s

    def time(self) -> float:
        """Seconds, those that were jumped over included."""
        return super().time() + self.jumped_s


def run_jumping(body: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """The result of `body` in a loop whose clock jumps."""
    with asyncio.Runner(loop_factory=JumpingLoop) as runner:
        return runner.run(body())


@dataclass(frozen=True)
class Tried:
    """What came of 12 tasks. `requests`: for answers, as the server counts them; `early`: those that came before the
    time that the server had named. `took_s`: on the clock that jumps;
    `jumped_s`: of those, what it jumped over, which no busy machine makes longer."""

    counts: Counts
    outcomes: list[Outcome]
    error: StillroomError | None
    requests: int
    early: int
    took_s: float
    jumped_s: float

    @property
    def satisfied(self) -> int:
        """Tasks with an accepted answer."""
        return self.counts.satisfied

    @property
    def attempts(self) -> list[Attempt]:
        """All attempts on record, by task."""
        found = [scored.attempt for outcome in self.outcomes for scored in outcome.attempts]
        return sorted(found, key=lambda attempt: int(attempt.task_id))

    @property
    def traces(self) -> list[Trace]:
        """What goes into rows: the attempts that are kept, by task."""
        kept = [t for o in self.outcomes for t in traces_in(o) if t.attempt.index in o.kept]
        return sorted(kept, key=lambda trace: int(trace.task.id))

    @property
    def said(self) -> str:
        """What ended the run, or its last failure or refusal."""
        return str(self.error or "") or self.counts.last_failure or self.counts.last_refusal


def try_habits(
    folder: Path,
    patch: pytest.MonkeyPatch,
    *habits: str,
    tasks: int = TASKS,
    sampling: Mapping[str, Any] | None = None,
    text: str | None = None,
    **settings: Any,
) -> Tried:
    """Runs `tasks` sums against a server with these habits."""

    async def body() -> Tried:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, JumpingLoop)
        started = loop.time()

        def clock() -> float:
            return NOW + loop.time() - started

        patch.setattr(the_teacher, "time", SimpleNamespace(time=clock))
        server = FakeServer(habits, clock=clock, text=text)
        await server.start()
        given = {"kind": "openai", "model": "fake", "base_url": server.url, "concurrency": 4, **settings}
        teacher = OpenAITeacher(OpenAISettings.model_validate(given))
        error, outcomes = None, list[Outcome]()
        with Ledger.open(folder) as ledger:
            core = Core(
                teacher,
                FinishedScorer(),
                Until(per_task=1, max_attempts=1),
                ledger,
                sampling=SamplingParams.model_validate(sampling or {}),
                seed=0,
                retry=RetrySettings(attempts=3, base_s=0),
            )
            asked = (Task(str(i), user(f"What is {i} + 40?"), None, "test") for i in range(tasks))
            try:
                await core.run(asked, outcomes.append)
            except StillroomError as failed:
                error = failed
            finally:
                await teacher.close()
                await server.close()
        return Tried(core.counts, outcomes, error, server.asked, server.early, loop.time() - started, loop.jumped_s)

    return run_jumping(body)
