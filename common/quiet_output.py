"""Keeps what an async function of the user's prints out of our output.

It runs in our event loop, next to tasks of ours that do print, so the streams cannot simply be exchanged while it
runs. Instead each write asks whose task it is in.

    with quiet():
        await function()          # what it prints, and what tasks print that it starts, is dropped
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TextIO

_is_quiet: ContextVar[bool] = ContextVar("_is_quiet", default=False)
_depth = 0  # how many blocks are open, in all tasks


class _Sorted:
    """A stream that drops what is written inside a quiet block, and is the given one otherwise."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream

    def write(self, text: str) -> int:
        """Writes, or drops."""
        return len(text) if _is_quiet.get() else self.stream.write(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


@contextmanager
def quiet() -> Iterator[None]:
    """Drops what is printed to `sys.stdout` and `sys.stderr` by this task and by those that it starts."""
    global _depth
    _depth += 1
    if _depth == 1:
        sys.stdout, sys.stderr = _Sorted(sys.stdout), _Sorted(sys.stderr)
    token = _is_quiet.set(True)
    try:
        yield
    finally:
        _is_quiet.reset(token)
        _depth -= 1
        if _depth == 0:  # a stream that somebody has exchanged meanwhile stays as it is
            for name in ("stdout", "stderr"):
                stream = getattr(sys, name)
                if isinstance(stream, _Sorted):
                    setattr(sys, name, stream.stream)
