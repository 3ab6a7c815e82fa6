"""Says when a run does nothing but wait: every request is refused as one too many, for minutes.

A 429 is never a step towards "the teacher is down", so such a run waits as long as it takes; an account without
credit, or with a limit of 0, would have it wait for ever. So it is told what is going on, and what to do: after two
minutes, and each time that twice as long has passed. It ends nothing.

    stalled = Stalled()
    stalled.note([counts], now=time.monotonic())        # what to tell, or empty
"""

from __future__ import annotations

from collections.abc import Iterable

from stillroom.common.formatting import duration
from stillroom.common.printing import shown
from stillroom.sampling.counts import Counts

FIRST_S = 120.0
"""Seconds of refusals without an answer before a run says so."""


class Stalled:
    """Whether one of several askers is refused and nothing else, and whether that is to be told now."""

    def __init__(self) -> None:
        self._next_s = FIRST_S

    def note(self, asking: Iterable[Counts], now: float) -> str:
        """What to tell; empty while there is nothing to. `now`: of the monotonic clock."""
        waiting = [(now - c.refused_since, c) for c in asking if c.refused_since is not None]
        if not waiting:
            self._next_s = FIRST_S
            return ""
        longest, counts = max(waiting, key=lambda entry: entry[0])
        if longest < self._next_s:
            return ""
        while self._next_s <= longest:
            self._next_s *= 2
        return (
            f"for {duration(longest)} nobody was answered: every request was refused as one too many (the last time: "
            f"{shown(counts.last_refusal, 240)}). The run waits and asks again. An account without credit, or with a "
            "limit of 0, is never answered: look at its limits; set teacher.rate_limits to them, or lower "
            "teacher.concurrency; or stop with Ctrl-C: what was answered is kept"
        )
