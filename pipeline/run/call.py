"""How this one call of a run goes: what is asked again (`--retry failures`), and on how many workers (`--shards 4`).

It holds for all runs that are opened inside, those of a loop and of a chain included. The recipe knows
nothing of it, and the rows are the same.

    with called(Call.of(retry="failures", shards=4)):
        flow.run(loaded, folder, display)
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from enum import StrEnum
from typing import NamedTuple

from stillroom.errors import InputError
from stillroom.sampling.again import Again
from stillroom.sampling.shards.plan import Shards

MOST_SHARDS = 1024


class Retry(StrEnum):
    """What can be asked again."""

    FAILURES = "failures"


class Call(NamedTuple):
    """`retry`: what is asked again, None for nothing. `shards`: None for this process alone."""

    retry: Retry | None = None
    shards: Shards | None = None

    @classmethod
    def of(cls, *, retry: str | None = None, shards: int | None = None, ray: str | None = None) -> Call:
        """From what a user gave. Raises InputError for what cannot be."""
        if retry not in (None, *Retry):
            raise InputError(f"retry is {retry!r}: give {' or '.join(Retry)}, or leave it out")
        if shards is not None and not 1 <= shards <= MOST_SHARDS:
            raise InputError(f"shards is {shards}: give 1 to {MOST_SHARDS:,}")
        if ray is not None and shards is None:
            raise InputError(f"ray is {ray!r}, and nothing says how many shards: give shards, too")
        return cls(None if retry is None else Retry(retry), None if shards is None else Shards(shards, ray))


_CALL: ContextVar[Call | None] = ContextVar("call", default=None)


@contextmanager
def called(call: Call) -> Iterator[None]:
    """All runs that are opened inside go like this."""
    token = _CALL.set(call)
    try:
        yield
    finally:
        _CALL.reset(token)


def asked_again() -> Again | None:
    """What keeps count of what is asked again; None where nothing is."""
    call = _CALL.get()
    return None if call is None or call.retry is None else Again()


def shards_asked_for() -> Shards | None:
    """The shards of this call; None for this process alone."""
    call = _CALL.get()
    return None if call is None else call.shards


def told(count: int, what: str) -> str:
    """What a run says before it asks again."""
    if not count:
        return f"no failures on record {what}: nothing is asked again"
    return f"{count:,} {'failure' if count == 1 else 'failures'} {what} will be asked again"
