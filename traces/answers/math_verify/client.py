"""Math-Verify as its owner sees it: a few killable processes that are asked for verdicts, and for the facts behind.

A pair that takes longer than the limit is a time-out, and its process is killed; one that kills its
process is an error. Neither is a verdict of Math-Verify.

    with MathVerify(workers=2, timeout_s=5.0, memory_mb=2048) as rival:
        list(rival.stream([("1/2", "$0.5$")]))   # [Judgement(Theirs.ACCEPTED, "")]
"""

from __future__ import annotations

import importlib.util
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from enum import StrEnum
from typing import Any, NamedTuple, Self

from stillroom.errors import MissingExtra
from stillroom.sampling.workers.pool import TIMEOUT, Program, WorkerPool

MODULE = "stillroom.traces.answers.math_verify.worker"
EXTRA = "math-verify"
PACKAGES = {"math_verify": "math-verify", "latex2sympy2_extended": "latex2sympy2_extended", "sympy": "sympy"}


class Theirs(StrEnum):
    """What became of a pair at Math-Verify. The last two are not verdicts: it was stopped, or it crashed."""

    ACCEPTED = "accepted"
    REJECTED = "rejected"
    TIMEOUT = "timeout"
    ERROR = "error"


class Judgement(NamedTuple):
    """Its verdict on a pair. `detail`: what stood in the way of one, or empty."""

    theirs: Theirs
    detail: str = ""


class Side(NamedTuple):
    """One text as Math-Verify has read it: the part it took, what it made of it ("" for nothing), what kind of thing
    that is, and its free symbols, with spaces between."""

    text: str = ""
    reading: str = ""
    kind: str = ""
    symbols: str = ""


class Facts(NamedTuple):
    """What Math-Verify says about its readings of a pair.

    `back`: its verdict with the two exchanged. `kept`: its verdict when it leaves units where they are. `gap`: the
    distance of the two numbers relative to the larger, None where they are not two numbers. `fault`: an exception
    it swallowed, or "".
    """

    gold: Side
    answer: Side
    back: bool
    kept: bool
    gap: float | None
    fault: str


class MathVerify:
    """Math-Verify in separate processes; they start when first needed.

    `workers`: processes at most. `timeout_s`: limit for a pair in seconds. `memory_mb`: address space of each.
    Raises MissingExtra where Math-Verify is not installed, CheckerError where no process can be started.
    """

    def __init__(self, workers: int, timeout_s: float, memory_mb: int) -> None:
        for module, package in PACKAGES.items():
            if importlib.util.find_spec(module) is None:
                raise MissingExtra("the comparison with Math-Verify", package, EXTRA)
        self._timeout_s = timeout_s
        self._ahead = 64 * workers
        self._threads = ThreadPoolExecutor(workers, thread_name_prefix="stillroom-rival")
        self._pool = WorkerPool(Program(MODULE, memory_mb, "the comparison with Math-Verify"), workers)

    def stream(self, pairs: Iterable[tuple[str, str]]) -> Iterator[Judgement]:
        """Verdicts in the order of the pairs (gold, answer), with a bounded number of pairs in memory."""
        window: deque[Future[Judgement]] = deque()
        for gold, answer in pairs:
            window.append(self._threads.submit(self.verify, gold, answer))
            if len(window) >= self._ahead:
                yield window.popleft().result()
        while window:
            yield window.popleft().result()

    def verify(self, gold: str, answer: str) -> Judgement:
        """Its verdict on one pair. Never raises for what the texts say."""
        reply = self._ask("verify", gold, answer)
        if "accepted" in reply:
            return Judgement(Theirs.ACCEPTED if reply["accepted"] else Theirs.REJECTED)
        return Judgement(Theirs.TIMEOUT if reply["late"] else Theirs.ERROR, reply["error"])

    def facts(self, gold: str, answer: str) -> Future[Facts | None]:
        """The facts behind a verdict, when a process is free; None where they cannot be had within the limit."""
        return self._threads.submit(self._facts, gold, answer)

    def _facts(self, gold: str, answer: str) -> Facts | None:
        reply = self._ask("explain", gold, answer)
        if "error" in reply:
            return None
        return Facts(**{**reply, "gold": Side(**reply["gold"]), "answer": Side(**reply["answer"])})

    def _ask(self, task: str, gold: str, answer: str) -> dict[str, Any]:
        """The reply, or {"error": why, "late": whether for time}."""
        asked = self._pool.ask({"task": task, "gold": gold, "answer": answer}, self._timeout_s)
        if asked.reason:
            return {"error": asked.detail, "late": asked.reason == TIMEOUT}
        return {**asked.reply, "late": False} if "error" in asked.reply else asked.reply

    def close(self) -> None:
        """Ends the processes and waits for them. What is under way gets no verdict. Safe to call twice."""
        self._pool.close()
        self._threads.shutdown(wait=True, cancel_futures=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
