"""Runs the core over tasks as one stage of a run: progress, Ctrl-C, and to each outcome the place of its task.

The first Ctrl-C stops drawing: what is in flight is answered and kept. The second ends at once; what was answered is
kept all the same.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import threading
from collections.abc import Callable, Coroutine, Iterator, Sequence
from typing import Any, TypeVar

from stillroom.errors import Interrupted
from stillroom.recipes.display import UNCOUNTED, Display
from stillroom.sampling.core import Core
from stillroom.sampling.records import Outcome, Task

T = TypeVar("T")


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
    if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "SIGINT"):
        yield
        return
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
    """Runs a coroutine to its end, also where a loop is running already (notebooks): in a thread of its own then."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(work)
    result: list[T] = []
    errors: list[BaseException] = []

    def target() -> None:
        try:
            result.append(asyncio.run(work))
        except BaseException as error:  # noqa: BLE001 - raised again in the caller's thread
            errors.append(error)

    thread = threading.Thread(target=target)
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return result[0]
