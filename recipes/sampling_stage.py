"""Runs the core over tasks as one stage of a run: progress, Ctrl-C, and to each outcome the place of its task.

The first Ctrl-C stops drawing: what is in flight is answered and kept. The second ends at once; what was answered is
kept all the same.

A notebook runs an event loop already, in which no other can run: the calls that a user makes there (`off_the_loop`)
are made in a thread, ledger and all.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import ctypes
import functools
import signal
import threading
from collections.abc import Callable, Coroutine, Iterator, Sequence
from typing import Any, ParamSpec, TypeVar

from stillroom.errors import Interrupted
from stillroom.recipes.display import UNCOUNTED, Display
from stillroom.sampling.core import Core
from stillroom.sampling.records import Outcome, Task

P = ParamSpec("P")
T = TypeVar("T")

_in_threads: list[Callable[[], object]] = []
"""What a Ctrl-C in the main thread does to the sampling that goes on in another, the innermost last."""


async def sample(core: Core, tasks: Sequence[Task], label: str, display: Display) -> list[Outcome]:
    """All outcomes, in the order of `tasks`: for tasks that are few. Raises as `sample_into` does."""
    outcomes: dict[int, Outcome] = {}
    await sample_into(core, tasks, label, display, lambda place, outcome: outcomes.update({place: outcome}))
    return [outcomes[place] for place in range(len(tasks))]


async def sample_into(
    core: Core, tasks: Sequence[Task], label: str, display: Display, take: Callable[[int, Outcome], object]
) -> None:
    """Hands each outcome to `take` as it comes, with the place of its task in `tasks`; holds none of them.

    Raises what Core.run raises, Interrupted after Ctrl-C.
    """
    places: dict[str, int] = {}  # of the tasks that the core is at
    core.counts.tasks_total = len(tasks)

    def opened() -> Iterator[Task]:
        for place, task in enumerate(tasks):
            places[task.id] = place
            yield task

    with display.sampling(label, core.counts), _ctrl_c(core, display):
        try:
            await core.run(opened(), lambda outcome: take(places.pop(outcome.task.id), outcome))
        except asyncio.CancelledError:
            raise Interrupted("stopped at once; everything answered is kept: run the same command to go on") from None
        finally:
            if core.counts.estimated:
                display.note_once(UNCOUNTED)


@contextlib.contextmanager
def _ctrl_c(core: Core, display: Display) -> Iterator[None]:
    loop, current = asyncio.get_running_loop(), asyncio.current_task()
    pressed = 0

    def on_signal() -> None:
        nonlocal pressed
        pressed += 1
        if pressed == 1:
            core.stop_drawing()
            waiting = core.in_flight
            display.note(f"stopping: waiting for {waiting} requests in flight (Ctrl-C again to stop at once)")
        elif current is not None:
            current.cancel()

    if threading.current_thread() is not threading.main_thread():
        _in_threads.append(stop := functools.partial(loop.call_soon_threadsafe, on_signal))
        try:
            yield
        finally:
            _in_threads.remove(stop)
        return
    try:
        loop.add_signal_handler(signal.SIGINT, on_signal)
    except NotImplementedError:  # Windows: Ctrl-C stays a KeyboardInterrupt; the ledger holds what was answered
        yield
        return
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGINT)


def run_async(work: Coroutine[Any, Any, T]) -> T:
    """Runs a coroutine to its end."""
    return asyncio.run(work)


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
