"""Kills the processes that code of the user's has started and left running.

A worker leads its own session, so most of what it starts is in its process group and dies with that. What has
left the group (a daemon, a child with its own session) is found on Linux by a mark that every process inherits
in its environment; elsewhere it is not found.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path

VARIABLE = "STILLROOM_WORKER"
"""The environment variable that holds a worker's mark."""


def kill_group(leader: int, *, running: bool) -> None:
    """Kills the process group that a worker leads. Nothing is done once the leader is gone and waited for: its number
    may be another's by then."""
    if running and hasattr(os, "killpg"):
        try:
            os.killpg(leader, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            return


def kill_marked(mark: str, *, but: int = 0) -> None:
    """Kills every process with the mark in its environment, until none is left. `but`: one that lives on."""
    killed: set[int] = set()
    for _ in range(20):  # what is being started while we look is found the next time
        found = set(_with_mark(mark)) - {but, os.getpid()}
        for pid in found:
            try:
                os.kill(pid, signal.SIGKILL)
            except (ProcessLookupError, PermissionError):
                continue
        if found <= killed:
            break
        killed |= found


def _with_mark(mark: str) -> Iterator[int]:
    wanted = f"{VARIABLE}={mark}".encode()
    for entry in Path("/proc").glob("[0-9]*/environ"):
        try:
            if wanted in entry.read_bytes().split(b"\0"):
                yield int(entry.parent.name)
        except OSError:  # it has ended, or belongs to another user
            continue


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
