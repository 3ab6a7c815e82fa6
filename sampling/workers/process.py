"""One worker process as its owner sees it: start, ask, kill.

A worker is started with `subprocess`, not `multiprocessing`: `spawn` would import the user's main module again, and
`fork` with threads is unsafe. It gets the owner's import path and no more: no shell, a fixed hash seed, one thread.
A thread per worker reads its replies, so that waiting with a limit works on every platform.

    worker = Worker(Program("stillroom.traces.answers.worker", memory_mb=2048, what="the answer checker"))
    worker.ask({"gold": "2x", "answer": "x+x", "policies": {}, "prove": True}, limit_s=5.0)
    # {"reason": "equal", "detail": "x+x"}
    worker.kill()
"""

from __future__ import annotations

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
from dataclasses import dataclass
from typing import IO, Any, cast

from stillroom.errors import CheckerError, StillroomError
from stillroom.sampling.workers import leftovers
from stillroom.sampling.workers.child import START_S

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


class WorkerTimeout(Exception):
    """The reply did not come within the limit."""


FROM_OUTSIDE = frozenset(
    getattr(signal, name, None) for name in ("SIGKILL", "SIGTERM", "SIGHUP", "SIGINT", "SIGQUIT")
)
"""Signals that no comparison brings about: somebody else sent them, or the system that ran out of memory."""


class WorkerDied(Exception):
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
        self._errors = self._scratch()
        self._replies: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._process = self._started()
        self._reader = threading.Thread(target=self._read, name="stillroom-worker", daemon=True)
        self._reader.start()
        try:
            self._greet()
        except BaseException:
            self.kill()
            raise

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    def _scratch(self) -> IO[bytes]:
        try:
            return tempfile.TemporaryFile()  # closed by kill()
        except OSError as error:
            raise CheckerError(
                f"{self._program.what} cannot start a worker: no temporary file can be made: {error}"
            ) from error

    def _started(self) -> subprocess.Popen[bytes]:
        program = self._program
        command = [sys.executable, "-P", "-m", program.module, str(program.memory_mb), *program.arguments]
        marked = {leftovers.VARIABLE: self._mark} if program.is_code_of_the_user else {}
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

    def _greet(self) -> None:
        """Waits until the worker is ready."""
        try:
            self.hello = self._reply(START_S)
        except (WorkerTimeout, WorkerDied) as error:
            raise CheckerError(
                f"a worker of {self._program.what} did not start ({error or 'no sign of life'}): {self._last_words()}"
            ) from error
        if "error" in self.hello:
            raise self._program.refused(f"{self._program.what} cannot be used: {self.hello['error']}")

    def _last_words(self) -> str:
        """The last line that a failed start wrote."""
        self._errors.seek(0)
        lines = self._errors.read()[-4000:].decode("utf-8", "replace").strip().splitlines()
        return lines[-1] if lines else "it gave no reason"

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
        """Sends a job and waits for its reply. Raises WorkerTimeout or WorkerDied; kill the worker then."""
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
        """Ends the process and frees all that belongs to it; no zombie stays. Safe to call twice."""
        if self._program.is_code_of_the_user:
            leftovers.kill_group(self._process.pid, running=self.alive())
        self._process.kill()
        self._process.wait()
        if self._program.is_code_of_the_user:
            leftovers.kill_marked(self._mark)
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
