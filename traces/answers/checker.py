"""The answer checker: is this answer the gold answer?

It reads both texts, compares exactly where it can, and asks a killable worker process where it cannot. It holds in
threads, under asyncio and in notebooks; no text can hang it, fill the memory or run code. It refuses to guess: what
it cannot read whole is unscored, with the reason.

    with AnswerChecker() as checker:
        checker.check("1/2", r"Hence $x = \\boxed{0.5}$.").state          # accepted
        checker.check_many([("2x", "x+x"), ("C", "The answer is (C).")])
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
import weakref
from collections import OrderedDict, deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Self

from stillroom.errors import InputError
from stillroom.sampling.records import Verdict
from stillroom.traces.answers import engine
from stillroom.traces.answers.limits import MAX_ANSWER, MAX_TEXT
from stillroom.traces.answers.pool import WorkerPool
from stillroom.traces.answers.reading import Reading, read
from stillroom.traces.answers.records import Reason, verdict

DETAIL = 200
"""Characters of an answer that a verdict shows."""


LONG = 20_000
"""Characters from which on a text is searched in a thread, to keep the event loop free."""


class AnswerChecker:
    """Checks answers.

    `workers`: processes at most, default one per core up to four; they start when the first pair needs one.
    `timeout_s`: limit for one pair, in seconds (below one second is fine); a worker's start does not count.
    `memory_mb`: address space of a worker, where the platform can limit it. `memo`: verdicts remembered.
    Raises InputError for impossible settings, CheckerError when workers cannot be started.
    """

    def __init__(
        self, workers: int | None = None, timeout_s: float = 5.0, memory_mb: int = 2048, memo: int = 65_536
    ) -> None:
        workers = min(4, os.cpu_count() or 1) if workers is None else workers
        _require("workers", workers, 1)
        _require("timeout_s", timeout_s, 0.001)
        _require("memory_mb", memory_mb, 512)
        _require("memo", memo, 0)
        self.timeout_s, self.memory_mb, self.workers = timeout_s, memory_mb, workers
        self._pool = WorkerPool(workers, memory_mb)
        self._memo = Memo(memo)
        self._threads = Threads(workers)
        self._finalizer = weakref.finalize(self, self._pool.close)

    @property
    def identity(self) -> str:
        """All that decides a verdict: versions of the rules and packages, and the limits."""
        limits = f"timeout={self.timeout_s:g},memory={self.memory_mb},answer={MAX_ANSWER},text={MAX_TEXT}"
        return f"answer:{engine.identity()},{limits}"

    def warm(self) -> None:
        """Starts all workers now. Raises CheckerError if they cannot be started."""
        self._pool.warm()

    def check(self, gold: str, answer: str) -> Verdict:
        """The verdict on one pair. Its `detail`: the answer that was read, or what stood in the way. Its `seconds`:
        what reading and comparing took, without the wait for a free worker."""
        reading, seconds = _timed_read(gold, answer)
        return self._finished(reading, seconds) if reading.reason else self._asked(reading, seconds)

    async def acheck(self, gold: str, answer: str) -> Verdict:
        """As `check`, without blocking the event loop."""
        if len(answer) > LONG:
            reading, seconds = await asyncio.to_thread(_timed_read, gold, answer)
        else:
            reading, seconds = _timed_read(gold, answer)
        if reading.reason:
            return self._finished(reading, seconds)
        return await asyncio.wrap_future(self._threads.get().submit(self._asked, reading, seconds))

    def check_many(self, pairs: Iterable[tuple[str, str]]) -> list[Verdict]:
        """The verdicts on many pairs, in their order, by all workers."""
        return list(self.stream(pairs))

    def stream(self, pairs: Iterable[tuple[str, str]]) -> Iterator[Verdict]:
        """As `check_many`, one by one, with a bounded number of pairs in memory."""
        window: deque[Verdict | Future[Verdict]] = deque()
        for gold, answer in pairs:
            reading, seconds = _timed_read(gold, answer)
            if reading.reason:
                window.append(self._finished(reading, seconds))
            else:
                window.append(self._threads.get().submit(self._asked, reading, seconds))
            if len(window) >= 64 * self.workers:
                yield _awaited(window.popleft())
        while window:
            yield _awaited(window.popleft())

    def _finished(self, reading: Reading, seconds: float) -> Verdict:
        """The verdict that reading alone has given."""
        assert reading.reason is not None
        return verdict(reading.reason, reading.detail[:DETAIL], seconds)

    def _asked(self, reading: Reading, seconds: float) -> Verdict:
        """The verdict of the engine, or the one it gave before. What a limit ended is asked again next time."""
        key = (reading.gold, reading.answer)
        result = self._memo.get(key)
        if result is None:
            result, spent = self._pool.compare(*key, limit_s=self.timeout_s)
            seconds += spent
            if result.reason not in (Reason.TIMEOUT, Reason.OVER_LIMIT):
                self._memo.put(key, result)
        detail = f"{reading.detail[:DETAIL]} ({result.detail})" if result.detail else reading.detail[:DETAIL]
        return verdict(result.reason, detail, seconds)

    def pids(self) -> list[int]:
        """The worker processes that run now."""
        return self._pool.pids()

    def close(self) -> None:
        """Kills the workers and waits for them. Safe to call twice."""
        self._pool.close()
        self._threads.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _timed_read(gold: str, answer: str) -> tuple[Reading, float]:
    start = time.perf_counter()
    reading = read(gold, answer)
    return reading, time.perf_counter() - start


def _awaited(item: Verdict | Future[Verdict]) -> Verdict:
    return item if isinstance(item, Verdict) else item.result()


def _require(name: str, value: float, least: float) -> None:
    if not value >= least:
        raise InputError(f"{name} is {value}, the least is {least:g}")


class Memo:
    """The verdicts of the engine on the last `size` pairs of formulas; thread-safe."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._lock = threading.Lock()
        self._results: OrderedDict[tuple[str, str], engine.Result] = OrderedDict()

    def get(self, key: tuple[str, str]) -> engine.Result | None:
        """What was said of a pair, or None."""
        with self._lock:
            if key in self._results:
                self._results.move_to_end(key)
            return self._results.get(key)

    def put(self, key: tuple[str, str], result: engine.Result) -> None:
        """Remembers a verdict, and forgets the one not asked for the longest."""
        with self._lock:
            self._results[key] = result
            if len(self._results) > self._size:
                self._results.popitem(last=False)


class Threads:
    """Threads that wait for workers, made when first needed, and anew in a forked child."""

    def __init__(self, count: int) -> None:
        self._count, self._owner = count, os.getpid()
        self._lock = threading.Lock()
        self._executor: ThreadPoolExecutor | None = None

    def get(self) -> ThreadPoolExecutor:
        """The executor."""
        if os.getpid() != self._owner:
            self._lock, self._executor, self._owner = threading.Lock(), None, os.getpid()
        with self._lock:
            if self._executor is None:
                self._executor = ThreadPoolExecutor(self._count, thread_name_prefix="stillroom-answers")
            return self._executor

    def close(self) -> None:
        """Waits for what is under way; what has not begun is cancelled."""
        if self._executor is not None and os.getpid() == self._owner:
            self._executor.shutdown(wait=True, cancel_futures=True)


_shared: AnswerChecker | None = None
_shared_lock = threading.Lock()


def shared() -> AnswerChecker:
    """The checker that the module's `check` uses, with default limits; it ends with the process."""
    global _shared
    with _shared_lock:
        if _shared is None:
            _shared = AnswerChecker()
        return _shared


def check(gold: str, answer: str) -> Verdict:
    """Is this answer the gold answer? As `AnswerChecker.check`, with a checker that all callers share."""
    return shared().check(gold, answer)
