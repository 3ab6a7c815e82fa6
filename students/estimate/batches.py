"""The batches that a training will have, as their sizes: the dearest one, and how much the mean one is of it.

    found = sizes(encoded, settings, flat=True, plan=plan, most=2048)
    found.dearest, found.mean                       # what is read in its pass; 0.6: tokens of a batch, on average

Rows are drawn as the trainer draws them: by length where it groups them, else at random, some epochs of it. Answers
that are sampled in the training (`on_policy`) are not known before and count as their rows do.
"""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from stillroom.students.data.encode import IGNORED, Encoded, EncodedPair, EncodedPairs, EncodedRow
from stillroom.students.data.labelled import EncodedAnswer, EncodedAnswers
from stillroom.students.estimate.dry_pass import Head, Read
from stillroom.students.methods.cpu_passes import MOST_TOKENS
from stillroom.students.methods.registry import StudentSettings
from stillroom.students.records import Plan

MOST_DRAWN = 2000
"""Batches that are looked at."""


class Sizes(NamedTuple):
    """`dearest`: what is read in the pass of the largest batch; `mean`: tokens of a batch on average, as a share of
    it; `passes`: batches of an epoch."""

    dearest: list[Read]
    mean: float
    passes: int


def sizes(
    encoded: Encoded | EncodedPairs | EncodedAnswers, settings: StudentSettings, *, flat: bool, plan: Plan, most: int
) -> Sizes:
    """`flat`: the student's model takes our flat passes. `most`: tokens that a row may have."""
    way = _Way(settings, flat, "trl" if plan.device == "cpu" else "tiles")
    if isinstance(encoded, Encoded) and settings.trainer.get("packing"):
        return _packed(encoded, settings.batch_size, way.padded, most)
    by_length = isinstance(encoded, EncodedPairs) or (isinstance(encoded, Encoded) and not flat)
    found = [way.reads(batch) for batch in _drawn(encoded.rows, settings.batch_size, by_length, plan.seed)]
    tokens = [sum(read.tokens for read in reads) for reads in found]
    largest = max(range(len(found)), key=tokens.__getitem__)
    passes = math.ceil(len(encoded.rows) / settings.batch_size)
    return Sizes(found[largest], sum(tokens) / len(tokens) / tokens[largest], passes)


def _packed(encoded: Encoded, size: int, head: Head, most: int) -> Sizes:
    """Packs of rows, which are about full. `most`: tokens of a pack."""
    tokens = sum(len(row.input_ids) for row in encoded.rows)
    labels = sum(label != IGNORED for row in encoded.rows for label in row.labels)
    packs = math.ceil(tokens / most)
    width = min(packs, size) * most
    return Sizes([Read(1, width, math.ceil(labels * width / tokens), head)], 1.0, math.ceil(packs / size))


def _drawn(rows: Sequence[Any], size: int, by_length: bool, seed: int) -> Iterator[Sequence[Any]]:
    order, drawn, left = list(rows), random.Random(seed), MOST_DRAWN
    if by_length:
        order.sort(key=length, reverse=True)
    while left > 0:
        if not by_length:
            drawn.shuffle(order)
        starts = range(0, len(order), size)
        yield from (order[start : start + size] for start in starts[:left])
        left = 0 if by_length or len(order) <= size else left - max(len(starts), MOST_DRAWN // 8)


def length(row: EncodedRow | EncodedPair | EncodedAnswer) -> int:
    """Tokens of the prompt and the (longer) answer."""
    if isinstance(row, EncodedPair):
        return row.longest
    return len(row.input_ids) if isinstance(row, EncodedRow) else len(row.prompt_ids) + len(row.answer_ids)


class _Way(NamedTuple):
    """How a method reads its batches. `padded`: its head where the pass is not flat."""

    settings: StudentSettings
    flat: bool
    padded: Head

    def reads(self, batch: Sequence[Any]) -> list[Read]:
        asked = self.settings.asked
        found = [self._own(batch)]
        if isinstance(batch[0], EncodedAnswer) and asked.mismatched:
            found.insert(0, found[0]._replace(trained=False))
        found += [found[-1]._replace(trained=False)] * asked.again
        if asked.more_rows:
            more = math.ceil(asked.more_rows * len(batch))
            width = asked.more_tokens
            own = Read(1, more * width, more * width // 2, "parts", 2) if self.flat else None
            if own is None or own.width > MOST_TOKENS:
                own = Read(more, width, more * width // 2, "parts", 2)
            found += [own, own._replace(trained=False)]
        return found

    def _own(self, batch: Sequence[Any]) -> Read:
        if isinstance(batch[0], EncodedPair):
            return self._pairs(batch)
        if isinstance(batch[0], EncodedAnswer):
            labels = sum(len(row.answer_ids) for row in batch)
            return Read(len(batch), max(map(length, batch)), labels, "scored" if self.flat else self.padded)
        return self._rows(batch)

    def _pairs(self, batch: Sequence[EncodedPair]) -> Read:
        labels = sum(len(pair.chosen_ids) + len(pair.rejected_ids) for pair in batch)
        if not self.flat:
            return Read(2 * len(batch), max(pair.longest for pair in batch), labels, self.padded)
        width = max(len(pair.prompt_ids) + len(pair.chosen_ids) + len(pair.rejected_ids) for pair in batch)
        return Read(len(batch), width, labels, "scored")

    def _rows(self, batch: Sequence[EncodedRow]) -> Read:
        sides = self.settings.asked.sides
        labels = sum(label != IGNORED for row in batch for label in row.labels)
        together = flat_tokens(batch)
        if self.flat and together <= MOST_TOKENS:
            return Read(1, together, labels, "parts" if sides else "whole", max(1, sides))
        return Read(len(batch), max(map(length, batch)), labels, "parts" if sides else self.padded, max(1, sides))


def flat_tokens(batch: Sequence[EncodedRow]) -> int:
    """Tokens of a batch in one sequence, with what all rows begin with in it once (`cpu_passes.flatten`)."""
    ids = [row.input_ids for row in batch]
    alike = sum(
        1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], zip(min(ids), max(ids), strict=False))
    )
    first = min(next(i for i, label in enumerate(row.labels) if label != IGNORED) for row in batch)
    shared = max(0, min(alike, first - 1))
    return sum(map(len, ids)) - shared * (len(batch) - 1)
