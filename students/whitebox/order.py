"""In which order the rows of a training are drawn, known in advance: a permutation for each epoch, from the seed.

    order = Order(rows=105, per_step=8, epochs=3, seed=7)
    order.step(0)          # the 8 rows of the first step of the optimiser
    order.first(13)        # how many rows were drawn before step 13

Batches are cut from the permutation and steps from the batches, so that a step has the same rows however many batches
it is accumulated from. A step ends with its epoch, as trainers have it: the last one of an epoch may be smaller.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from typing import NamedTuple


class Order(NamedTuple):
    """`rows`: of the training; `per_step`: rows of one step of the optimiser; `epochs`: passes, which may end within
    one."""

    rows: int
    per_step: int
    epochs: float
    seed: int

    @property
    def steps(self) -> int:
        """Of the whole training."""
        return math.ceil(self.epochs * self._in_epoch)

    @property
    def _in_epoch(self) -> int:
        return math.ceil(self.rows / self.per_step)

    def epoch(self, number: int) -> list[int]:
        """The rows of an epoch, counted from 0."""
        order = list(range(self.rows))
        random.Random(f"{self.seed}/order/{number}").shuffle(order)
        return order

    def step(self, number: int) -> list[int]:
        """The rows of a step, counted from 0."""
        epoch, at = divmod(number, self._in_epoch)
        return self.epoch(epoch)[at * self.per_step : (at + 1) * self.per_step]

    def first(self, number: int) -> int:
        """Rows that were drawn before a step."""
        epoch, at = divmod(number, self._in_epoch)
        return epoch * self.rows + at * self.per_step


class InOrder:
    """The order as a sampler of torch's data loader, which tells it the epoch."""

    def __init__(self, order: Order) -> None:
        self._order, self._epoch = order, 0

    def set_epoch(self, epoch: int) -> None:
        """The epoch that is drawn next."""
        self._epoch = epoch

    def __iter__(self) -> Iterator[int]:
        return iter(self._order.epoch(self._epoch))

    def __len__(self) -> int:
        return self._order.rows
