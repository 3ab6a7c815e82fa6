"""A pool of killable workers: each question has its limit, and a dead worker costs one question at most.

Workers start when first needed, or with `warm()`. Any number of threads may ask; each waits for a free worker, and
its time limit starts when it has one. What a worker was asked that somebody killed is asked of another, a few times.

    with WorkerPool(program, workers=2) as pool:
        pool.ask({"gold": "2x", "answer": "x+x", "policies": {}, "prove": True}, limit_s=5.0).reply
"""

from __future__ import annotations

import os
import queue
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal, NamedTuple, Self

from stillroom.errors import CheckerError
from stillroom.sampling.workers.process import Program, Worker, WorkerDied, WorkerTimeout

AGAIN = 2
"""How often a question, or the start of a worker, is tried again where somebody killed the worker."""

TIMEOUT: Literal["timeout"] = "timeout"
OVER_LIMIT: Literal["over_limit"] = "over_limit"


class Asked(NamedTuple):
    """What came of a question: a `reply`, or the reason why there is none.

    `timeout`: the limit passed, or the worker was killed from outside; `over_limit`: it crashed. `detail`: in words.
    `seconds`: what it took, without the wait for a free worker.
    """

    reply: dict[str, Any]
    reason: Literal["", "timeout", "over_limit"] = ""
    detail: str = ""
    seconds: float = 0.0


class WorkerPool:
    """Workers of one program.

    `workers`: processes at most. Raises CheckerError when a worker cannot be started.
    """

    def __init__(self, program: Program, workers: int) -> None:
        self.workers = workers
        self._program = program
        self._reset()

    def _reset(self) -> None:
        """An empty pool that belongs to this process. None in the queue: a place whose worker is not started."""
        self._owner = os.getpid()
        self._closed = False
        self._lock = threading.Lock()
        self._busy: set[Worker] = set()
        self._free: queue.LifoQueue[Worker | None] = queue.LifoQueue()
        for _ in range(self.workers):
            self._free.put(None)

    def _after_fork(self) -> None:
        """In a forked child: leaves the parent's workers alone and begins with an empty pool."""
        for worker in [*self._busy, *filter(None, self._free.queue)]:
            worker.forget()
        self._reset()

    def ask(self, job: dict[str, Any], limit_s: float) -> Asked:
        """Asks a worker within a limit. Never raises for what becomes of the question."""
        for left in reversed(range(1 + AGAIN)):
            worker, sound = self._take(), False
            start = time.perf_counter()
            try:
                asked = Asked(worker.ask(job, limit_s))
                sound = not asked.reply.pop("last", False)
            except WorkerTimeout as late:
                asked = Asked({}, TIMEOUT, str(late))
            except WorkerDied as death:
                if death.from_outside and left and not self._closed:
                    continue
                asked = _died(death)
            finally:  # after Ctrl-C too, the worker is in the middle of something and cannot be asked again
                seconds = time.perf_counter() - start
                self._give_back(worker, sound=sound)
            return asked._replace(seconds=seconds)
        raise AssertionError("unreachable: the last try returns")

    def hello(self) -> dict[str, Any]:
        """What a worker tells once it has started. Raises what starting one does."""
        worker = self._take()
        self._give_back(worker, sound=True)
        return worker.hello

    def _take(self) -> Worker:
        """A living worker, which may have to be started."""
        if os.getpid() != self._owner:
            self._after_fork()
        place = self._free.get()
        try:
            if place is not None and not place.alive():
                place.kill()
                place = None
            worker = place or self._start()
        except BaseException:
            self._free.put(None)
            raise
        with self._lock:
            self._busy.add(worker)
        return worker

    def _start(self) -> Worker:
        for left in reversed(range(1 + AGAIN)):
            if self._closed:
                raise CheckerError(f"{self._program.what} is closed: make a new one")
            try:
                return Worker(self._program)
            except CheckerError as error:
                died = error.__cause__
                if not (left and isinstance(died, WorkerDied) and died.from_outside):
                    raise
        raise AssertionError("unreachable: the last try returns or raises")

    def _give_back(self, worker: Worker, *, sound: bool) -> None:
        with self._lock:
            self._busy.discard(worker)
            keep = sound and not self._closed
        if not keep:
            worker.kill()
        self._free.put(worker if keep else None)

    def warm(self) -> None:
        """Starts all workers now, side by side, and waits until they are ready."""
        with ThreadPoolExecutor(self.workers) as threads:
            taken = [threads.submit(self._take) for _ in range(self.workers)]
        errors = [future.exception() for future in taken]
        for future, error in zip(taken, errors, strict=True):
            if error is None:
                self._give_back(future.result(), sound=True)
        failed = next(filter(None, errors), None)
        if failed is not None:
            raise failed

    def pids(self) -> list[int]:
        """The processes that run now."""
        with self._lock:
            return sorted(worker.pid for worker in [*self._busy, *filter(None, self._free.queue)])

    def close(self) -> None:
        """Kills all workers and waits for them. Questions under way get no verdict. Safe to call twice."""
        if os.getpid() != self._owner:
            return
        with self._lock:
            self._closed = True
            workers = [*self._busy, *filter(None, self._free.queue)]
        for worker in workers:
            worker.kill()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _died(death: WorkerDied) -> Asked:
    """A worker that was killed had no time to answer; one that crashed had met something too large."""
    if death.from_outside or death.signal_number == getattr(signal, "SIGALRM", None):  # the kernel's own alarm
        return Asked({}, TIMEOUT, f"the worker was killed (signal {death.signal_number})")
    return Asked({}, OVER_LIMIT, str(death))


class Threads:
    """Threads that wait for workers, made when first needed, and again in a forked child."""

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
                self._executor = ThreadPoolExecutor(self._count, thread_name_prefix="stillroom-workers")
            return self._executor

    def close(self) -> None:
        """Waits for what is under way; what has not begun is cancelled."""
        if self._executor is not None and os.getpid() == self._owner:
            self._executor.shutdown(wait=True, cancel_futures=True)
