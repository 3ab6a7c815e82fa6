"""Batches of KTO rows, each row with an answer to another prompt: what the KL divergence is estimated with.

    placed = batches_of(encoded.rows, 8, seed=7, most=2048)
    placed[0].row, placed[0].other                # the first row of the first batch, and another row's answer

The paper pairs the prompts of a batch with the answers of other rows of the batch (Ethayarajh et al. 2024,
https://arxiv.org/abs/2402.01306); trl takes the answer of the row before, which may be another answer to the same
prompt. Here a prompt never gets an answer to itself. No answer is cut.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from stillroom.errors import TrainingError
from stillroom.students.data.labelled import EncodedAnswer

SEARCHED = 1_000
"""Rows that are looked at for one that no row of its batch serves: data sets are large."""


class Placed(NamedTuple):
    """A row in its batch, with the answer of another row that its prompt is scored with for the KL term."""

    row: EncodedAnswer
    other: list[int]


def batches_of(rows: Sequence[EncodedAnswer], size: int, seed: int, most: int) -> list[Placed]:
    """The rows in the order of the training, shuffled by the seed; each `size` of them are a batch.

    Within a batch every row gets the answer of the row that stands `turn` places before it, by the smallest turn that
    gives no row an answer to its own prompt, or one with which it has more than `most` tokens; where there is none,
    by the one that does so least. So the mismatched answers of a batch are the batch's answers, as the paper has it.
    A row that is still ill served takes the nearest fitting answer before it (the last row, where it is alone in its
    batch, always does); where none fits, the shortest of those that were looked at.

    Raises TrainingError where all rows have one prompt: nothing could be mismatched.
    """
    order = list(rows)
    random.Random(seed).shuffle(order)
    numbers: dict[tuple[int, ...], int] = {}
    prompts = [numbers.setdefault(tuple(row.prompt_ids), len(numbers)) for row in order]
    if len(numbers) == 1:
        raise TrainingError(
            f"all {len(rows):,} rows have the same prompt, and KTO measures the KL divergence with answers to other "
            "prompts: give rows of several prompts, or set student.kto.loss_type: apo_zero_unpaired"
        )
    search = _Search(order, prompts, most)
    placed = list[Placed]()
    for start in range(0, len(order), size):
        places = range(start, min(start + size, len(order)))
        for place, other in zip(places, search.turned(places), strict=True):
            found = other if search.serves(place, other) else search.before(place)
            placed.append(Placed(order[place], order[found].answer_ids))
    return placed


class _Search:
    """Whose answer a row may have. `prompts`: of each row, by number."""

    def __init__(self, order: Sequence[EncodedAnswer], prompts: Sequence[int], most: int) -> None:
        self._order, self._prompts, self._most = order, prompts, most
        # Of each row, the nearest one before it with another prompt; the first row stands behind the last.
        self._apart = [-1] * len(order)
        for place in (*range(len(order)), *range(len(order))):
            before = place - 1
            self._apart[place] = before % len(order) if prompts[before] != prompts[place] else self._apart[before]

    def serves(self, place: int, other: int) -> bool:
        """Whether the answer of `other` is to another prompt than that of `place`, and fits."""
        tokens = len(self._order[place].prompt_ids) + len(self._order[other].answer_ids)
        return self._prompts[place] != self._prompts[other] and tokens <= self._most

    def turned(self, places: range) -> list[int]:
        """Whose answers the rows of a batch get."""
        best, served = list(places), 0
        for turn in range(1, len(places)):
            others = [*places[-turn:], *places[:-turn]]
            count = sum(map(self.serves, places, others))
            if count > served:
                best, served = others, count
            if served == len(places):
                break
        return best

    def before(self, place: int) -> int:
        """The nearest row before that serves the one at `place`; of those looked at, the one with the shortest answer
        if none does."""
        looked_at = [other for other, _ in zip(self._others(place), range(SEARCHED), strict=False)]
        fitting = (other for other in looked_at if self.serves(place, other))
        return next(fitting, min(looked_at, key=lambda other: len(self._order[other].answer_ids)))

    def _others(self, place: int) -> Iterator[int]:
        """Rows with another prompt than that of `place`, the nearest before it first."""
        total, other = len(self._order), place
        left = total - 1
        while left > 0:
            step = 1
            if self._prompts[(other - 1) % total] == self._prompts[place]:
                nearest = self._apart[(other - 1) % total]
                step = (other - nearest) % total
            left -= step
            other = (other - step) % total
            if left >= 0:
                yield other
