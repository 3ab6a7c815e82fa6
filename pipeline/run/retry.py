"""Whether a run was told to ask again what failed in earlier calls (`stillroom run --retry failures`).

It holds for all runs that are opened inside, those of a loop and of a chain included.

    with retrying("failures"):
        flow.run(loaded, folder, display)
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from enum import StrEnum

from stillroom.errors import InputError
from stillroom.sampling.again import Again


class Retry(StrEnum):
    """What can be asked again."""

    FAILURES = "failures"


_RETRY: ContextVar[Retry | None] = ContextVar("retry", default=None)


@contextmanager
def retrying(what: str | None) -> Iterator[None]:
    """Asks `what` again in all runs that are opened inside; None: nothing. Raises InputError for another word."""
    if what not in (None, *Retry):
        raise InputError(f"retry is {what!r}: give {' or '.join(Retry)}, or leave it out")
    token = _RETRY.set(None if what is None else Retry(what))
    try:
        yield
    finally:
        _RETRY.reset(token)


def asked_again() -> Again | None:
    """What keeps count of what is asked again; None where nothing is."""
    return None if _RETRY.get() is None else Again()


def told(count: int, what: str) -> str:
    """What a run says before it asks again."""
    if not count:
        return f"no failures on record {what}: nothing is asked again"
    return f"{count:,} {'failure' if count == 1 else 'failures'} {what} will be asked again"
