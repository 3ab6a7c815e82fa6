"""Workers that can be killed, as their owner sees them: one process, and a pool of them. Each question has its limit,
and a dead worker costs one question at most.

A worker is started with `subprocess`, not `multiprocessing`: `spawn` would import the user's main module again, and
`fork` with threads is unsafe. It gets the owner's import path and no more: no shell, a fixed hash seed, one thread.
A thread per worker reads its replies, so that waiting with a limit works on every platform.

Workers of a pool start when first needed, or with `warm()`. Any number of threads may ask; each waits for a free
worker, and its time limit starts when it has one. What a worker was asked that somebody killed is asked of another, a
few times.

    program = Program("stillroom.traces.answers.worker", memory_mb=2048, what="the answer checker")
    pool = WorkerPool(program, workers=2)
    pool.ask({"gold": "2x", "answer": "x+x", "policies": {}, "prove": True}, limit_s=5.0).reply
    # {"reason": "equal", "detail": "x+x"}
    pool.close()
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import queue
import secrets
import signal
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, cast

from stillroom.errors import CheckerError, StillroomError
from stillroom.sampling.workers.child import MARK, START_S, kill_marked

AGAIN = 2
"""How often a question, or the start of a worker, is tried again where somebody killed the worker."""

TIMEOUT: Literal["timeout"] = "timeout"
OVER_LIMIT: Literal["over_limit"] = "over_limit"

_KEPT = frozenset({"PATH", "HOME", "LANG", "TMPDIR", "TEMP", "TMP", "SYSTEMROOT", "PYTHONHOME", "VIRTUAL_ENV"})
_KEPT_PREFIXES = ("LC_", "LD_", "DYLD_")


@dataclass(frozen=True)
class Program:
    """What a worker runs.

    `module`: run as `python -m MODULE MEMORY_MB ARGUMENTS`; it calls `child.serve`. `memory_mb`: its address space.
    `what`: who needs the worker, in messages. `refused`: the error for what the worker itself says it cannot start
    for. `is_code_of_the_user`: it gets the owner's whole environment, and what it has started is killed with it.
    """

    module: str
    memory_mb: int
    what: str
    arguments: tuple[str, ...] = ()
    refused: type[StillroomError] = CheckerError
    is_code_of_the_user: bool = False


class WorkerLost(Exception):
    """A worker that does not reply; kill it."""


class WorkerTimeout(WorkerLost):
    """The reply did not come within the limit."""


FROM_OUTSIDE = frozenset(
    getattr(signal, name, None) for name in ("SIGKILL", "SIGTERM", "SIGHUP", "SIGINT", "SIGQUIT")
)
"""Signals that no comparison brings about: somebody else sent them, or the system that ran out of memory."""


class WorkerDied(WorkerLost):
    """The process ended before it replied. `signal_number`: what killed it, or None if it exited."""

    def __init__(self, code: int | None) -> None:
        super().__init__(f"the worker ended with code {code}")
        self.signal_number = -code if code is not None and code < 0 else None

    @property
    def from_outside(self) -> bool:
        """Whether somebody killed it: the question may be asked of another."""
        return self.signal_number in FROM_OUTSIDE


def environment(*, whole: bool = False) -> dict[str, str]:
    """The worker's environment: the owner's import path, what makes verdicts the same everywhere, and no keys unless
    it is to be the `whole` one."""
    path = os.pathsep.join(os.path.abspath(entry) for entry in sys.path)
    kept = {
        name: value for name, value in os.environ.items() if whole or name in _KEPT or name.startswith(_KEPT_PREFIXES)
    }
    ours = {"PYTHONPATH": path, "PYTHONHASHSEED": "0", "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    return {**kept, **ours}


class Worker:
    """A started worker. One question at a time; not thread-safe by itself.

    Raises CheckerError where no worker can be started, with the reason, and the program's own error for what it says.
    """

    def __init__(self, program: Program) -> None:
        self._program = program
        self._mark = secrets.token_hex(16)  # no other worker has it
        self._killing = threading.RLock()  # the pool may close while the thread that asked gives the worker back
        try:
            self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed by kill()
        except OSError as error:
            raise CheckerError(
                f"{program.what} cannot start a worker: no temporary file can be made: {error}"
            ) from error
        self._replies: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._process = self._started()
        self.pid = self._process.pid
        self._reader = threading.Thread(target=self._read, name="stillroom-worker", daemon=True)
        self._reader.start()
        try:
            self.hello = self._greeting()
        except BaseException:
            self.kill()
            raise

    def _started(self) -> subprocess.Popen[bytes]:
        program = self._program
        command = [sys.executable, "-P", "-m", program.module, str(program.memory_mb), *program.arguments]
        marked = {MARK: self._mark} if program.is_code_of_the_user else {}
        try:
            return subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                env=environment(whole=program.is_code_of_the_user) | marked,
                bufsize=0,
                start_new_session=program.is_code_of_the_user,  # so that its children can be killed with it
            )
        except (OSError, TypeError) as error:  # TypeError: sys.executable is None in an embedded interpreter
            self._errors.close()
            raise CheckerError(f"{program.what} cannot start a worker with {sys.executable!r}: {error}") from error

    def _read(self) -> None:
        """Passes on each reply; None when the process has closed its output."""
        assert self._process.stdout is not None
        with io.BufferedReader(cast(io.RawIOBase, self._process.stdout)) as stream:
            for line in stream:
                self._replies.put(line)
        self._replies.put(None)

    def _greeting(self) -> dict[str, Any]:
        """What the worker says once it is ready."""
        what = self._program.what
        try:
            hello = self._reply(START_S)
        except WorkerLost as error:
            self._errors.seek(0)
            lines = self._errors.read()[-4000:].decode("utf-8", "replace").strip().splitlines()
            said = lines[-1] if lines else "it gave no reason"
            raise CheckerError(f"a worker of {what} did not start ({error or 'no sign of life'}): {said}") from error
        if "error" in hello:
            raise self._program.refused(f"{what} cannot be used: {hello['error']}")
        return hello

    def _reply(self, limit_s: float) -> dict[str, Any]:
        try:
            line = self._replies.get(timeout=limit_s)
        except queue.Empty:
            raise WorkerTimeout(f"no reply within {limit_s:g} s") from None
        if line is None or not line.endswith(b"\n"):
            raise WorkerDied(self._process.wait())
        reply: dict[str, Any] = json.loads(line)
        return reply

    def ask(self, job: dict[str, Any], limit_s: float) -> dict[str, Any]:
        """Sends a job and waits for its reply. Raises WorkerLost."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps({**job, "limit_s": limit_s}).encode("ascii") + b"\n")
        except OSError:  # it died while it had nothing to do
            raise WorkerDied(self._process.wait()) from None
        return self._reply(limit_s)

    def alive(self) -> bool:
        """Whether the process still runs."""
        return self._process.poll() is None

    def kill(self) -> None:
        """Ends the process and frees all that belongs to it; no zombie stays. Safe to call twice, from any thread."""
        with self._killing:
            self._kill()

    def _kill(self) -> None:
        # It leads its own session, so most of what it has started is in its process group. Once it is gone and waited
        # for, its number may be another's.
        if self._program.is_code_of_the_user and self.alive() and hasattr(os, "killpg"):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)
        self._process.kill()
        self._process.wait()
        if self._program.is_code_of_the_user:
            kill_marked(self._mark)
        if self._process.stdin is not None:
            self._process.stdin.close()
        if self._reader.is_alive():
            self._reader.join(timeout=5)  # a process that it left behind, and that was not found, may hold the pipe
        self._errors.close()

    def forget(self) -> None:
        """For a forked child: drops the handles without touching the process, which belongs to the parent."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._process.returncode = 0  # else its finaliser would wait for another's child


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
        self.workers, self._program = workers, program
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
                # One that was killed had no time to answer; one that crashed had met something too large.
                alarm = getattr(signal, "SIGALRM", None)  # the kernel's own
                if death.from_outside or death.signal_number == alarm:
                    asked = Asked({}, TIMEOUT, f"the worker was killed (signal {death.signal_number})")
                else:
                    asked = Asked({}, OVER_LIMIT, str(death))
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
        if os.getpid() != self._owner:  # in a forked child: the parent's workers are left alone
            for worker in [*self._busy, *filter(None, self._free.queue)]:
                worker.forget()
            self._reset()
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
