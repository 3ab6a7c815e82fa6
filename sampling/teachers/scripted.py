"""A documented fake: answers from a function, with latencies and faults that a script decides.

For tests and demonstrations of everything that surrounds a teacher: what a slow, flaky or dying one does to a run.
Time is the event loop's: a test that wants no waiting hands over latencies of 0.

    def answer(request): return "#### 4"
    teacher = ScriptedTeacher(answer, faults=[Fault(every=5, error=RequestFailed("HTTP 500", retryable=True))])
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from stillroom.common.records import Completion, Messages, Request, Usage


@dataclass(frozen=True, slots=True)
class Fault:
    """Every `every`-th call (counted from 1 over the teacher's life) raises `error` instead of an answer."""

    every: int
    error: Exception


class ScriptedTeacher:
    """Answers with `answer(request)`: a text, or a whole Completion (with `choices`, say). `latency_s(request)`:
    seconds to wait first. `context`: tokens (words) that it says it can take, and is not held to; None:
    it does not say.

    `calls` holds every request that reached it, in order; `cancelled` those that were cancelled while waiting;
    `peak` the most that were in flight at once.
    """

    def __init__(
        self,
        answer: Callable[[Request], str | Completion],
        *,
        latency_s: Callable[[Request], float] = lambda _: 0.0,
        faults: Sequence[Fault] = (),
        concurrency: int = 8,
        identity: str = "scripted",
        context: int | None = None,
    ) -> None:
        self.calls: list[Request] = []
        self.cancelled: list[Request] = []
        self.peak = 0
        self._answer, self._latency_s, self._faults = answer, latency_s, tuple(faults)
        self.concurrency, self.identity, self.context = concurrency, identity, context
        self._in_flight = 0

    def count_tokens(self, messages: Messages) -> int:
        return sum(len(m.content.split()) for m in messages)

    async def sample(self, request: Request, usage: Usage) -> Completion:
        """Waits, then answers or fails as the script says. Tokens are words."""
        self.calls.append(request)
        number = len(self.calls)
        usage.prompt_tokens = self.count_tokens(request.messages)
        usage.completion_tokens = 0
        self._in_flight += 1
        self.peak = max(self.peak, self._in_flight)
        try:
            await asyncio.sleep(self._latency_s(request))
        except asyncio.CancelledError:
            self.cancelled.append(request)
            raise
        finally:
            self._in_flight -= 1
        for fault in self._faults:
            if number % fault.every == 0:
                raise fault.error
        answer = self._answer(request)
        if isinstance(answer, Completion):
            return answer
        return Completion(answer, "stop", usage.prompt_tokens, len(answer.split()))

    async def close(self) -> None:
        """Nothing to free."""
