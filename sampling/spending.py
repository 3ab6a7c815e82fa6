"""Where the next draw of a budget is worth most, among tasks of any number: in O(log n) a draw.

What a draw is worth depends on the whole run (its pass rate, its mean answer), which changes with each answer: no
order of all tasks holds for long. But tasks with the same tally differ in their tokens only, and whatever the run is
like, the one with the fewest comes first. So tasks wait in one heap for each tally, of which there are few, and only
the first of each is priced. Draws that are on record come before all others: they cost nothing.

It starts nothing and watches no total; the core does. Ties go to the task that was opened first.

    spending = Spending(policy)
    spending.add(draws)                          # a task that may want a draw; again after each change
    spending.take(rate=0.5, mean=120.0)          # where to draw next, which is taken out
"""

from __future__ import annotations

import heapq
from typing import NamedTuple

from stillroom.sampling.draws import TaskDraws
from stillroom.sampling.policy import Budget, Tally


class Next(NamedTuple):
    """A draw to start."""

    draws: TaskDraws
    draw: int


class _Waits(NamedTuple):
    """A task in a heap. `change`: which of its changes put it there; an older entry is of no use."""

    tokens: int
    order: int
    change: int
    draws: TaskDraws


class Spending:
    """The tasks of a budget that may want a draw."""

    def __init__(self, policy: Budget) -> None:
        self._policy = policy
        self._by_tally: dict[Tally, list[_Waits]] = {}
        self._free: list[_Waits] = []  # whose next draw is on record
        self._orders: dict[int, int] = {}
        self._changes: dict[int, int] = {}
        self._opened = 0

    def add(self, draws: TaskDraws) -> None:
        """Takes in a task, in the order in which tasks are opened, or one that has changed."""
        key = id(draws)
        if key not in self._orders:
            self._orders[key] = self._opened
            self._opened += 1
        change = self._changes[key] = self._changes.get(key, 0) + 1
        index = draws.next_index(0.5)  # a budget expects nothing, so the rate does not matter
        if index is None:
            return
        tokens = draws.tokens if self._policy.spend == "cheapest" else 0
        heap = self._free if index in draws.on_record else self._by_tally.setdefault(draws.tally, [])
        heapq.heappush(heap, _Waits(0 if heap is self._free else tokens, self._orders[key], change, draws))

    def drop(self, draws: TaskDraws) -> None:
        """Forgets a task that has stopped."""
        self._changes.pop(id(draws), None)
        self._orders.pop(id(draws), None)

    def take(self, rate: float, mean: float, *, free_only: bool = False) -> Next | None:
        """The draw to start next, whose task has to be added again; None where no task wants one. `rate`: the pass
        rate of the run; `mean`: completion tokens of an answer; `free_only`: what is on record, and nothing else."""
        while (draws := self._pop(rate, mean, free_only)) is not None:
            if (index := draws.next_index(0.5)) is not None:
                return Next(draws, index)
        return None

    def _pop(self, rate: float, mean: float, free_only: bool) -> TaskDraws | None:
        if self._first(self._free) is not None:
            return heapq.heappop(self._free).draws
        if free_only:
            return None
        best: tuple[float, int, Tally] | None = None
        for tally in list(self._by_tally):
            if (first := self._first(self._by_tally[tally])) is None:
                del self._by_tally[tally]
                continue
            answered = tally.spent + tally.unscored
            price = self._policy.price(tally, (first.draws.tokens + mean) / (answered + 1), rate)
            if best is None or (price, first.order) < best[:2]:
                best = (price, first.order, tally)
        return None if best is None else heapq.heappop(self._by_tally[best[2]]).draws

    def _first(self, heap: list[_Waits]) -> _Waits | None:
        """The first entry that is of use."""
        while heap and self._changes.get(id(heap[0].draws)) != heap[0].change:
            heapq.heappop(heap)
        return heap[0] if heap else None
