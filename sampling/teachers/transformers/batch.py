"""The rows of the batch: which request is in which slot, what it may take over from others, when it is finished.

Rows in work are always the first slots, so that attention reads them without a copy; a slot that a finished row has
left keeps its prompt for a later request with the same beginning, until it is needed.

Two kinds of work are saved. A beginning that many prompts have (instructions, worked examples) becomes the trunk,
kept once for all rows. A prompt that another slot has already read (another draw of the same task) is copied from
there. Both are found from the token ids; nothing is configured. A request whose beginning is being read at this
moment waits for it.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Iterable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from stillroom.common.records import Completion, Request, Usage
from stillroom.sampling.teachers.transformers.kv_cache import SlotCache

if TYPE_CHECKING:
    import numpy as np

WORTHWHILE = 16  # positions: a shared beginning shorter than this is read again


@dataclass(slots=True)
class Job:
    """A request on its way: the future that its asker waits for, and the usage that it watches."""

    request: Request
    usage: Usage
    future: Future[Completion]


class Likely(NamedTuple):
    """A token that was likely at its place, and its log-probability."""

    token: int
    logprob: float


@dataclass(slots=True, eq=False)
class Row:
    """A request in the batch.

    `tokens`: prompt and answer so far. `done`: positions whose keys are kept, of which the first `shared` are in
    the trunk. `limit`: the length at which the row ends, whatever it says. `fed`: tokens read in the present step.
    """

    job: Job
    prompt: np.ndarray[Any, Any]  # (prompt tokens,) int32
    tokens: list[int]
    limit: int
    random: random.Random
    done: int = 0
    shared: int = 0
    fed: int = 0
    logprobs: list[float] = field(default_factory=list)
    tops: list[list[Likely]] = field(default_factory=list)

    @property
    def answer(self) -> list[int]:
        """The tokens after the prompt."""
        return self.tokens[len(self.prompt) :]

    @property
    def own(self) -> int:
        """Positions in the row's own slot, when the present step is done."""
        return self.done + self.fed - self.shared

    @property
    def reading(self) -> bool:
        """Whether part of the prompt is still to be read."""
        return self.done < len(self.prompt) - 1


def overlap(one: np.ndarray[Any, Any], other: np.ndarray[Any, Any]) -> int:
    """How many leading tokens two prompts have in common."""
    count = min(len(one), len(other))
    differ = one[:count] != other[:count]
    first = int(differ.argmax()) if count else 0
    return first if count and differ[first] else count


class Rows:
    """The slots and the queue before them. Knows tokens and lengths, and moves keys only through the cache."""

    def __init__(self, slots: int, *, share: bool = True) -> None:
        self.cache = SlotCache(slots)
        self.waiting: deque[Row] = deque()
        self.slots: list[Row | None] = [None] * slots  # those in work first, then what finished rows left
        self.active = 0
        self.share = share
        self.trunk: np.ndarray[Any, Any] | None = None

    def in_work(self) -> list[Row]:
        """The rows of the batch, by slot."""
        return [row for row in self.slots[: self.active] if row is not None]

    def drop(self, finished: Iterable[Row]) -> None:
        """Takes rows out of the batch, and closes the gaps they leave with the last rows."""
        gone = {id(row) for row in finished}
        for slot in reversed(range(self.active)):
            if id(self.slots[slot]) not in gone:
                continue
            self.active -= 1
            last = self.active
            if slot != last:
                rows = [row for row in (self.slots[slot], self.slots[last]) if row is not None]
                self.cache.swap(slot, last, max(row.done - row.shared for row in rows))
                self.slots[slot], self.slots[last] = self.slots[last], self.slots[slot]

    def admit(self) -> None:
        """Gives free slots to waiting rows, in order; those whose beginning is being read by another row wait on."""
        if not self.waiting or self.active == len(self.slots):
            return
        if self.share:
            self._renew_trunk()
        postponed = []
        while self.waiting and self.active < len(self.slots):
            row = self.waiting.popleft()
            if self.share and not self._take_over(row):
                postponed.append(row)
                continue
            self.slots[self.active] = row
            self.active += 1
        self.waiting.extendleft(reversed(postponed))

    def _take_over(self, row: Row) -> bool:
        """Gives the next slot the keys that there are for a row, or says that the row had better wait."""
        room = len(row.prompt) - 1  # the last token is read in any case: the answer's first token comes from it
        row.shared = row.done = self._in_trunk(row.prompt, room)
        # The slot that has the longest beginning of the prompt, and the longest that is being read at this moment.
        donor, longest, coming = 0, 0, 0
        for slot, other in enumerate(self.slots):
            if other is None:
                continue
            common = min(room, overlap(row.prompt, other.prompt))
            if min(common, other.done) > longest:
                donor, longest = slot, min(common, other.done)
            if slot < self.active and other.reading:
                coming = max(coming, common)
        if coming >= max(row.done, longest) + WORTHWHILE:
            return False
        giver = self.slots[donor]
        if giver is not None and longest >= row.done + WORTHWHILE and giver.shared <= row.shared:
            self.cache.copy(donor, row.shared - giver.shared, longest - row.shared, self.active)
            row.done = longest
        return True

    def _in_trunk(self, prompt: np.ndarray[Any, Any], room: int) -> int:
        found = 0 if self.trunk is None else min(room, overlap(prompt, self.trunk))
        return found if found >= WORTHWHILE else 0

    def _renew_trunk(self) -> None:
        """Promotes a read prompt to trunk if that saves the waiting rows more than it costs those in work.

        Two prompts at least must gain that differ from the one promoted: draws of one task copy from each other.
        """
        waiting = [(row.prompt, len(row.prompt) - 1) for row in list(self.waiting)[: len(self.slots)]]
        given = [self._in_trunk(prompt, room) for prompt, room in waiting]
        cost = sum(row.shared for row in self.in_work()) + WORTHWHILE
        for slot, other in enumerate(self.slots):
            if other is None or other.shared or other.reading:
                continue
            common = [min(room, overlap(prompt, other.prompt)) for prompt, room in waiting]
            gain = sum(max(0, new - old) for new, old in zip(common, given, strict=True))
            apart = [k for k, new in enumerate(common) if new < len(other.prompt) - 1]
            if gain >= cost and len({waiting[k][0].tobytes() for k in apart}) > 1:
                self._promote(slot, max(common[k] for k in apart))
                return

    def _promote(self, slot: int, length: int) -> None:
        """Rows in work keep what they need of the old trunk in their own slots, then share the new one."""
        for number, row in enumerate(self.slots[: self.active]):
            if row is not None and row.shared:
                self.cache.unshare(number, row.shared, row.done - row.shared)
                row.shared = 0
        source = self.slots[slot]
        assert source is not None
        self.cache.promote(slot, length)
        self.trunk = source.prompt[:length].copy()
        self.slots[self.active :] = [None] * (len(self.slots) - self.active)
        for number, row in enumerate(self.in_work()):
            row.shared = min(row.done, self._in_trunk(row.prompt, len(row.prompt) - 1))
            self.cache.copy(number, row.shared, row.done - row.shared, number)
