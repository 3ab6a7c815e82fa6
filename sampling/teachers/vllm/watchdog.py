"""Ends vLLM's processes when ours is gone, however it went.

vLLM's engine processes notice neither a killed parent nor a closed connection, and go on keeping a core and the
memory busy. The guard is a small process of ours that waits for the end of a pipe, which the system closes with this
process, and then kills those it was told of. It refuses to kill a process that only has the same number: it compares
start times.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from stillroom.sampling.workers.child import descendants

# Reads "pid start-time" lines until the end of input; "keep" means that all went well.
PROGRAM = r"""
import os, signal, sys
def started(pid):
    try:
        return open(f"/proc/{pid}/stat").read().rpartition(")")[2].split()[19]
    except OSError:
        return None
signal.signal(signal.SIGINT, signal.SIG_IGN)
seen = {}
for line in sys.stdin:
    if line.strip() == "keep":
        sys.exit(0)
    pid, start = line.split()
    seen[int(pid)] = start
for pid, start in seen.items():
    if started(pid) == start:
        os.kill(pid, signal.SIGKILL)
"""
LOOK_EVERY_S = 0.25
GONE_WITHIN_S = 10.0  # a killed process still has its memory to give back


class Guard:
    """Watches over the processes that are started below this one while `watching`. Does nothing where there is no
    /proc (the engine then ends with `close()` alone)."""

    def __init__(self) -> None:
        self._told: dict[int, str] = {}
        self._process: subprocess.Popen[str] | None = None
        if Path("/proc/self/stat").exists():
            command = [sys.executable, "-S", "-c", PROGRAM]
            self._process = subprocess.Popen(command, stdin=subprocess.PIPE, text=True, start_new_session=True)

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """Tells the guard of every process that appears below this one during the block."""
        before = set(descendants(os.getpid()))
        done = threading.Event()

        def look() -> None:
            while not done.wait(LOOK_EVERY_S):
                self._tell(before)

        thread = threading.Thread(target=look, name="stillroom-vllm-guard", daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()
            self._tell(before)

    def close(self) -> None:
        """Kills what is left of the processes, waits until they are gone, and ends the guard."""
        left = {pid for pid, start in self._told.items() if start_time(pid) == start}
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        multiprocessing.active_children()  # reaps those that are our own
        deadline = time.monotonic() + GONE_WITHIN_S
        while any(running(pid) for pid in left) and time.monotonic() < deadline:
            time.sleep(0.02)
        self._told.clear()
        if self._process is not None and self._process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self._process.stdin.write("keep\n")
                self._process.stdin.close()
            self._process.wait()
            self._process = None

    def _tell(self, before: set[int]) -> None:
        if self._process is None or self._process.stdin is None:
            return
        for pid in descendants(os.getpid()):
            start = start_time(pid)
            if pid in before or pid in self._told or start is None:
                continue
            self._told[pid] = start
            with contextlib.suppress(BrokenPipeError):
                self._process.stdin.write(f"{pid} {start}\n")
                self._process.stdin.flush()


def _stat(pid: int) -> list[str] | None:
    """The fields of a process in /proc, from its state on, or None if there is no such process."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    return stat.rpartition(")")[2].split()


def start_time(pid: int) -> str | None:
    """When a process started, in the kernel's ticks, or None if there is no such process."""
    stat = _stat(pid)
    return None if stat is None else stat[19]


def running(pid: int) -> bool:
    """Whether there is such a process, and it is not one that has ended and waits for its parent."""
    stat = _stat(pid)
    return stat is not None and stat[0] not in {"Z", "X"}
