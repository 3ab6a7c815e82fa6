"""What the batches of white-box distillation are made of: the rows that were drawn, and what goes with them.

    feed = Feed(rehearsal=Rehearsal(rows=76, share=0.5, seed=7))
    feed.step([[4, 0], [7, 2]])        # -> [{"task": [4, 0], "rehearsal": [31]}, {"task": [7, 2], "rehearsal": [8]}]

Three groups of rows: `task`, the accepted traces; `rehearsal`, answers of the base to prompts of other kinds, on
which the student is held to the base; `rollout`, the student's own answers, each in the place of a row of the task.
Which rows go with a row depends on how many were drawn before it, not on the batch, so that 8 rows in one batch are
8 batches of one.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple, Protocol, get_args

Group = Literal["task", "rehearsal", "rollout"]
GROUPS: tuple[Group, ...] = get_args(Group)


class Rehearsal(NamedTuple):
    """`rows`: how many there are; `share`: rehearsed rows for each row of the task; `seed`: of their order."""

    rows: int
    share: float
    seed: int


class OwnAnswers(Protocol):
    """Says which rollouts stand in the place of rows. A checkpoint keeps its `state`, and gives it back."""

    def __call__(self, drawn: Sequence[int]) -> Mapping[int, int | None]:
        """From the rows drawn for a step: by place among them, the rollout that replaces the row; None: nothing does,
        the row is left out."""

    def state(self) -> dict[str, Any]:
        """What it is now, as JSON."""

    def restore(self, state: dict[str, Any]) -> None:
        """Takes back what `state` gave."""


class Feed:
    """Gives the rows of each batch, group by group; called step by step, in the order of the training."""

    def __init__(self, rehearsal: Rehearsal | None = None, own: OwnAnswers | None = None) -> None:
        self._own = own
        self._share = 0.0 if rehearsal is None else rehearsal.share
        self._rehearsed = iter(()) if rehearsal is None else in_turns(rehearsal.rows, rehearsal.seed)
        self._due = 0.0
        self._taken = 0

    def state(self) -> dict[str, Any]:
        """For a checkpoint."""
        own = None if self._own is None else self._own.state()
        return {"due": self._due, "taken": self._taken, "own": own}

    def restore(self, state: dict[str, Any]) -> None:
        """Takes back what `state` gave: the rehearsed rows that were taken are passed over."""
        self._due, self._taken = state["due"], state["taken"]
        for _ in range(self._taken):
            next(self._rehearsed)
        if self._own is not None:
            self._own.restore(state["own"])

    def step(self, batches: Sequence[Sequence[int]]) -> list[dict[Group, list[int]]]:
        """`batches`: the rows drawn for one step of the optimiser."""
        own = {} if self._own is None else self._own([row for batch in batches for row in batch])
        starts = itertools.accumulate(map(len, batches), initial=0)
        return [self._batch(batch, start, own) for batch, start in zip(batches, starts, strict=False)]

    def _batch(self, drawn: Sequence[int], start: int, own: Mapping[int, int | None]) -> dict[Group, list[int]]:
        found: dict[Group, list[int]] = {"task": [], "rehearsal": [], "rollout": []}
        for place, row in enumerate(drawn, start):
            if place not in own:
                found["task"].append(row)
            elif (rollout := own[place]) is not None:
                found["rollout"].append(rollout)
            self._due += self._share
            while self._due >= 1 - 1e-9:
                self._due -= 1
                self._taken += 1
                found["rehearsal"].append(next(self._rehearsed))
        return found


def in_turns(rows: int, seed: int) -> Iterator[int]:
    """Every row once, in an order that the seed decides, then every row again in another one, without end."""
    drawn = random.Random(seed)
    while True:
        order = list(range(rows))
        drawn.shuffle(order)
        yield from order
