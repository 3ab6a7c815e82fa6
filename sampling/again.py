"""What `stillroom run --retry failures` asks again: requests of earlier calls that came to nothing.

A reply that nobody could read is an answer to the ledger, so it is never asked again by itself. With an `Again` at
hand it is: under the same request, as a further draw, so that the old reply stays on record as what it was. The
latest reply counts from then on. What fails in this very call is not asked again: that is for the next one.

    again = Again()
    asker = Asker(teacher, ledger, sampling, seed=0, again=again)
"""

from __future__ import annotations

from collections.abc import Iterator, Set
from contextlib import contextmanager
from dataclasses import dataclass, field

STEP = 1_000_000
"""Added to the index of a draw each time that it is asked again. No task has as many draws."""


@dataclass(slots=True)
class Again:
    """`held`: nobody is asked anything; failures on record are counted, so that they can be told before they are paid
    for. `found`: how many were counted so, `lost`: what requests that were never answered were about; `asked`: how
    many were asked again."""

    held: bool = False
    found: int = 0
    lost: set[str] = field(default_factory=set)
    asked: int = 0

    @property
    def failures(self) -> int:
        """How many were counted."""
        return self.found + len(self.lost)

    @contextmanager
    def counting(self) -> Iterator[None]:
        """Counts the failures that the body meets, from 0, and asks nobody."""
        self.held, self.found, self.lost = True, 0, set()
        try:
            yield
        finally:
            self.held = False

    def take(self) -> bool:
        """Counts a failure on record; whether it is asked again now."""
        if self.held:
            self.found += 1
            return False
        self.asked += 1
        return True


def latest(draws: Set[int], index: int) -> int | None:
    """The draw that counts for `index` among those on record: the one that was asked last.

    >>> latest({0, 1, 1_000_000}, 0), latest({1}, 0)
    (1000000, None)
    """
    return max((draw for draw in draws if draw % STEP == index), default=None)
