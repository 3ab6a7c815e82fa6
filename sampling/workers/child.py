"""What every worker process does: it reads jobs, answers them, and dies by itself.

One JSON object a line, both ways. A job holds `limit_s` and whatever the worker needs; the first line out says
`{"ready": true}` or `{"error": …}`. All of it is ASCII JSON, and what the work itself prints goes nowhere near it.

A worker must die by itself, since nobody may be left to kill it:
- its input ends (the owner is gone): a thread sees that at once, even in the middle of a job;
- the time limit and a grace pass: the kernel's own alarm ends it, even in C code that never returns;
- memory: the address space is limited where the platform can (macOS ignores it).
PR_SET_PDEATHSIG is not used: it fires when the *thread* that started the worker ends, and that may be any thread.

    def main() -> int:
        return serve(warm, answer, memory_mb=int(sys.argv[1]))
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

GRACE_S = 2.0
"""Seconds after the time limit at which the kernel ends a worker that its owner did not."""
START_S = 120.0
"""Seconds that a worker may take to load everything."""
MARK = "STILLROOM_WORKER"
"""The environment variable that holds the mark of a worker that runs code of the user's."""


class CannotStart(Exception):
    """Raised while a worker loads: its message is what the owner is told."""


class Reply(NamedTuple):
    """What a worker answers to a job. `sound`: whether the process can be trusted with another."""

    values: dict[str, Any]
    sound: bool = True


def limit_resources(memory_mb: int, *, may_write: bool = False) -> None:
    """Limits the address space, and forbids core dumps and, unless it `may_write`, files."""
    try:
        import resource
    except ImportError:  # Windows has no such limits; the owner's time limit still holds
        return
    limits = [(resource.RLIMIT_AS, memory_mb << 20), (resource.RLIMIT_CORE, 0)]
    if not may_write:
        limits.append((resource.RLIMIT_FSIZE, 0))
    for kind, value in limits:
        with contextlib.suppress(ValueError, OSError):  # macOS refuses some of them; a limit already set lower stays
            resource.setrlimit(kind, (value, value))


def set_alarm(seconds: float) -> None:
    """Arms the kernel's alarm (0 disarms it). Its default action ends the process without asking Python."""
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_REAL, seconds)


def private_output() -> BinaryIO:
    """The stream of the protocol. Whatever else prints finds /dev/null in its place."""
    stream = os.fdopen(os.dup(1), "wb", buffering=0)
    silence(1)
    return stream


def silence(descriptor: int) -> None:
    """Points a descriptor at /dev/null."""
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, descriptor)
    os.close(null)


def write(stream: BinaryIO, message: Mapping[str, Any]) -> None:
    """Writes one line of the protocol."""
    stream.write(json.dumps(message).encode("ascii") + b"\n")


def serve(
    warm: Callable[[], None],
    answer: Callable[[dict[str, Any]], Reply],
    *,
    memory_mb: int,
    may_write: bool = False,
    hello: Callable[[], Mapping[str, Any]] = dict,
    ended: Callable[[], object] = lambda: None,
) -> int:
    """Serves until the input ends; `ended` is called then, whatever is going on. `hello`: what the owner is told once
    all is loaded.

    `warm` loads what is needed, before any limit but `START_S`; it raises CannotStart to say why it cannot.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the owner, which then decides
    if hasattr(signal, "SIGALRM"):
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
    set_alarm(START_S + GRACE_S)
    stream = private_output()
    # Whatever else reads finds an empty /dev/null in the place of the jobs: code that asks for a line of input must
    # not get one, and `exit()`, which closes the input, must not wait for the thread that reads here.
    source = os.fdopen(os.dup(0), "rb")
    silence(0)
    try:
        warm()
    except CannotStart as error:
        write(stream, {"error": str(error)})
        return 1
    set_alarm(0)
    silence(2)  # until here it told the owner why a start failed
    limit_resources(memory_mb, may_write=may_write)
    jobs: queue.SimpleQueue[bytes] = queue.SimpleQueue()

    def read() -> None:
        """Passes on the lines of the input; ends the process when the input ends, whatever is going on."""
        for line in source:
            jobs.put(line)
        ended()
        os._exit(0)

    threading.Thread(target=read, daemon=True).start()
    write(stream, {"ready": True, **hello()})
    sound, this = True, os.getpid()
    while sound:
        job = json.loads(jobs.get())
        set_alarm(float(job["limit_s"]) + GRACE_S)
        try:
            values, sound = answer(job)
        finally:
            set_alarm(0)
        if os.getpid() != this:
            os._exit(0)  # a copy of the worker that the job has made (os.fork) and that came back from it
        write(stream, values if sound else {**values, "last": True})
    ended()
    os._exit(0)


def kill_marked(mark: str) -> None:
    """Kills what code of the user's has started and left running: every process with the mark in its environment,
    until only this one is left.

    The mark is inherited, so it also finds what has left the worker's process group (a daemon, a child with its own
    session). Only Linux tells what a process has in its environment; elsewhere nothing is found.
    """
    wanted, killed = f"{MARK}={mark}".encode(), set[int]()
    for _ in range(20):  # what is being started while we look is found the next time
        found = set[int]()
        for entry in Path("/proc").glob("[0-9]*/environ"):
            with contextlib.suppress(OSError):  # it has ended, or belongs to another user
                if wanted in entry.read_bytes().split(b"\0"):
                    found.add(int(entry.parent.name))
        found -= {os.getpid()}
        for pid in found:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        if found <= killed:
            break
        killed |= found


def descendants(pid: int) -> list[int]:
    """The processes below `pid`, children before their parents (Linux; elsewhere none is found)."""
    found, ahead = list[int](), [pid]
    while ahead:
        below = []
        with contextlib.suppress(OSError):  # it ends while we look
            for task in Path(f"/proc/{ahead.pop()}/task").iterdir():
                below += [int(child) for child in (task / "children").read_text(encoding="utf-8").split()]
        found += below
        ahead += below
    return found[::-1]
