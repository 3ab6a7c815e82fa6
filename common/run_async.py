"""Runs coroutines from plain functions, also in a notebook, and keeps what they print out of our output.

A notebook has a running event loop already, in which no other can run: a call that is marked `off_the_loop` is then
made in a separate thread, from its first line, so that a ledger is opened where it is used.

    @off_the_loop
    def run(recipe: str) -> Result:
        return asyncio.run(work())

An async function of the user's runs in our event loop, next to tasks of ours that do print, so the streams cannot
simply be exchanged while it runs. Instead each write asks whose task it is in.

    with quiet():
        await function()          # what it prints, and what tasks print that it starts, is dropped
"""

from __future__ import annotations

import asyncio
import contextvars
import ctypes
import functools
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, ParamSpec, TextIO, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

_in_threads: list[Callable[[], object]] = []
"""What a Ctrl-C in the main thread calls to stop the work in another, the innermost last."""

_is_quiet: ContextVar[bool] = ContextVar("_is_quiet", default=False)
_depth = 0  # how many quiet blocks are open, in all tasks


@contextmanager
def stopped_by(stop: Callable[[], object]) -> Iterator[None]:
    """While the body runs in a thread that is not the main one, a Ctrl-C calls `stop`."""
    _in_threads.append(stop)
    try:
        yield
    finally:
        _in_threads.remove(stop)


def off_the_loop(function: Callable[P, T]) -> Callable[P, T]:
    """The function, called in a thread where an event loop is running already. Ctrl-C reaches it there, too."""

    @functools.wraps(function)
    def called(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return function(*args, **kwargs)
        result: list[T] = []
        errors: list[BaseException] = []

        def target() -> None:
            try:
                result.append(function(*args, **kwargs))
            except BaseException as error:  # noqa: BLE001 - raised again in the caller's thread
                errors.append(error)
            finally:
                done.set()

        done = threading.Event()
        thread = threading.Thread(target=contextvars.copy_context().run, args=(target,))
        thread.start()
        while not done.is_set():
            try:
                done.wait()  # not join, which takes the thread for ended after an interrupt (Python 3.11)
            except KeyboardInterrupt:
                # Stops the sampling as a Ctrl-C does; what else the thread does, a training say, ends where it is.
                if _in_threads:
                    _in_threads[-1]()
                elif thread.ident is not None:
                    ident, interrupt = ctypes.c_ulong(thread.ident), ctypes.py_object(KeyboardInterrupt)
                    ctypes.pythonapi.PyThreadState_SetAsyncExc(ident, interrupt)
        thread.join()
        if errors:
            raise errors[0]
        return result[0]

    return called


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
