"""Runs coroutines from plain functions, also in a notebook.

A notebook has a running event loop already, in which no other can run: a call that is marked `off_the_loop` is then
made in a separate thread, from its first line, so that a ledger is opened where it is used.

    @off_the_loop
    def run(recipe: str) -> Result:
        return asyncio.run(work())
"""

from __future__ import annotations

import asyncio
import contextvars
import ctypes
import functools
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

_in_threads: list[Callable[[], object]] = []
"""What a Ctrl-C in the main thread calls to stop the work in another, the innermost last."""


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
        return _in_a_thread(functools.partial(function, *args, **kwargs))

    return called


def _in_a_thread(call: Callable[[], T]) -> T:
    result: list[T] = []
    errors: list[BaseException] = []

    def target() -> None:
        try:
            result.append(call())
        except BaseException as error:  # noqa: BLE001 - raised again in the caller's thread
            errors.append(error)

    thread = threading.Thread(target=contextvars.copy_context().run, args=(target,))
    thread.start()
    while thread.is_alive():
        try:
            thread.join()
        except KeyboardInterrupt:
            _interrupt(thread)
    if errors:
        raise errors[0]
    return result[0]


def _interrupt(thread: threading.Thread) -> None:
    """Stops the sampling in the thread as a Ctrl-C does; what else it does, a training say, is ended where it is."""
    if _in_threads:
        _in_threads[-1]()
    elif thread.ident is not None:
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident), ctypes.py_object(KeyboardInterrupt))
