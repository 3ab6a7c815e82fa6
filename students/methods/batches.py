"""Batches as the collators of trl make them, held against the rows that they are made of.

    check_batch(trainer.data_collator(columns), encoded.rows[:8], encoded.end_id)

A wrong loss mask fails silently: the loss falls, and the student echoes its prompt or never stops. Each check raises
TrainingError with the row and what is wrong with it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from stillroom.errors import TrainingError
from stillroom.students.data.encode import IGNORED, EncodedPair, EncodedRow


def check_batch(batch: Mapping[str, Any], rows: Sequence[EncodedRow], end_id: int) -> None:
    """`batch`: `input_ids`, `labels`, `attention_mask`, each (B, T); `rows`: what it was made of, in order."""
    columns = (batch[name].tolist() for name in ("input_ids", "labels", "attention_mask"))
    for row, ids, labels, mask in zip(rows, *columns, strict=True):
        trained = [i for i, label in enumerate(labels) if label != IGNORED]
        start = next(i for i, label in enumerate(row.labels) if label != IGNORED)
        if not trained:
            fault = "it has no label, so nothing of it would be learned"
        elif any(not mask[i] for i in trained):
            fault = "padding is in the loss"
        elif any(labels[i] != ids[i] for i in trained):
            fault = "a label is not the token that stands there"
        elif trained[0] < start:
            fault = f"token {trained[0]} of the prompt is in the loss"
        elif (last := labels[trained[-1]]) != end_id:
            fault = f"the last label is token {last}, not the end token {end_id}: the student would not stop"
        elif trained != list(range(start, len(row.input_ids))):
            fault = f"{len(trained)} of {len(row.input_ids) - start} tokens of the answer are in the loss"
        else:
            continue
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


def check_packed(batch: Mapping[str, Any], rows: Sequence[EncodedRow], end_id: int) -> None:
    """`batch`: `input_ids`, `labels`, `position_ids`, each (1, N), positions from 0 in each row; `rows`: all that the
    batch may be made of. Raises TrainingError for a row that was cut, joined to another, or trained on otherwise."""
    import torch

    ids, labels, places = (batch[name][0] for name in ("input_ids", "labels", "position_ids"))
    starts = [*(places == 0).nonzero()[:, 0].tolist(), len(places)]
    known = {tuple(row.input_ids): row for row in rows}
    for start, end in pairwise(starts):
        row = known.get(tuple(ids[start:end].tolist()))
        if row is None or places[start:end].tolist() != list(range(end - start)):
            raise TrainingError(
                f"the {end - start} tokens from place {start} of a packed batch are no row from its first token to "
                "its last. Nothing was trained: the packing is at fault"
            )
        columns = {"input_ids": ids[start:end][None], "labels": labels[start:end][None]}
        check_batch(columns | {"attention_mask": torch.ones(1, end - start)}, [row], end_id)
