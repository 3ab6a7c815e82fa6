"""How much work a text, or a pair of answers, may cause: counted where the work is done, and never timed.

A unit is about a microsecond of an ordinary core, and seldom makes more than a hundred bytes. Whatever walks over a
tree, builds one, or works with numbers of many digits says what it is about to do, and is stopped *before* it does
too much. The same pair costs the same everywhere, so its verdict depends on no machine. Where no allowance is set,
nothing is counted.

    with allowance(300_000):
        spend(12)        # raises Spent once the allowance is used up
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

READING = 150_000
"""Units for one text that is read."""
CALLER = 300_000
"""Units for one pair that is compared in the calling process. What costs more is left to a worker."""
WORKER = 2_000_000
"""Units for one pair in a worker, without what confirms it: that may take all of the worker's time and memory. What
costs more is over the limit."""


class Spent(Exception):
    """The allowance is used up. Not an OverflowError: that says that one part has no value, and the work goes
    on without it; this ends the work."""


class _Left(threading.local):
    units: int | None = None


_left = _Left()


def spend(units: int) -> None:
    """Counts work that is about to be done. Raises Spent where it is more than is left."""
    left = _left.units
    if left is None:
        return
    left -= units
    _left.units = left
    if left < 0:
        raise Spent("more work than an answer may cause")


@contextmanager
def allowance(units: int | None) -> Iterator[None]:
    """Sets what may be spent within, in this thread; None: anything. One within another stands alone, so that
    what is remembered costs the same as what is not."""
    before = _left.units
    _left.units = units
    try:
        yield
    finally:
        _left.units = before
