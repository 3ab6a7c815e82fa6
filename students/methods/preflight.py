"""What must hold of a batch before a single step is trained on it.

A wrong loss mask fails in silence: the loss falls, and the student echoes its prompt, or never stops. So the first
batch is looked at exactly as the trainer's collator makes it:

    check_batch(batch, rows, end_id=2)
    check_pairs(batch, pairs, end_id=2)

Refuses, naming the row: a row without a label; a label before the end of the prompt; labels that are not the row's
own tokens; a last label that is not the end token; a label on padding. Of pairs, which trl lays out with the chosen
answers first, also: rows in another order or cut, a prompt that differs between the two, padding on the left.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from stillroom.errors import TrainingError
from stillroom.students.data.encode import IGNORED, EncodedRow
from stillroom.students.data.encode_pairs import EncodedPair


def check_batch(batch: Mapping[str, Any], rows: Sequence[EncodedRow], end_id: int) -> None:
    """`batch`: `input_ids`, `labels`, `attention_mask`, each (B, T); `rows`: what it was made of, in order."""
    columns = zip(
        rows, batch["input_ids"].tolist(), batch["labels"].tolist(), batch["attention_mask"].tolist(), strict=True
    )
    for row, ids, labels, mask in columns:
        fault = _fault(row, ids, labels, mask, end_id)
        if fault is not None:
            raise TrainingError(f"{row.name}: {fault}. Nothing was trained: the template or the collator is at fault")


def check_pairs(batch: Mapping[str, Any], rows: Sequence[EncodedPair], end_id: int) -> None:
    """`batch`: `input_ids`, `attention_mask`, `completion_mask`, each (2 B, T); `rows`: what it was made of, in
    order."""
    sides = [row.side("chosen") for row in rows] + [row.side("rejected") for row in rows]
    for side, ids, mask in zip(sides, batch["input_ids"].tolist(), batch["attention_mask"].tolist(), strict=True):
        length = len(side.input_ids)
        if ids[:length] != side.input_ids or mask != [1] * length + [0] * (len(ids) - length):
            raise TrainingError(
                f"{side.name}: the batch does not hold its prompt and answer from the left, padded on the right. "
                "Nothing was trained: the collator is at fault"
            )
    labels = batch["input_ids"].masked_fill(batch["completion_mask"] == 0, IGNORED)
    check_batch({**batch, "labels": labels}, sides, end_id)


def _fault(row: EncodedRow, ids: list[int], labels: list[int], mask: list[int], end_id: int) -> str | None:
    """What is wrong with one row of the batch, or None."""
    trained = [i for i, label in enumerate(labels) if label != IGNORED]
    if not trained:
        return "it has no label, so nothing of it would be learned"
    if any(not mask[i] for i in trained):
        return "padding is in the loss"
    if any(labels[i] != ids[i] for i in trained):
        return "a label is not the token that stands there"
    start = next(i for i, label in enumerate(row.labels) if label != IGNORED)
    if trained[0] < start:
        return f"token {trained[0]} of the prompt is in the loss"
    if labels[trained[-1]] != end_id:
        return (
            f"the last label is token {labels[trained[-1]]}, not the end token {end_id}: the student would not stop"
        )
    if trained != list(range(start, len(row.input_ids))):
        return f"{len(trained)} of {len(row.input_ids) - start} tokens of the answer are in the loss"
    return None
