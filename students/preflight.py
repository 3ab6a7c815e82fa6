"""What must hold of a batch before a single step is trained on it.

A wrong loss mask fails in silence: the loss falls, and the student echoes its prompt, or never stops. So the first
batch is looked at exactly as the trainer's collator makes it:

    check_batch(batch, ["row 1", "row 2"], end_id=2)

Refuses, naming the row: a row without a label; a label before the end of the prompt; labels that are not the row's
own tokens; a last label that is not the end token; a label on padding.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from stillroom.errors import TrainingError
from stillroom.students.encoding import IGNORED, EncodedRow


def check_batch(batch: Mapping[str, Any], rows: Sequence[EncodedRow], end_id: int) -> None:
    """`batch`: `input_ids`, `labels`, `attention_mask`, each (B, T); `rows`: what it was made of, in order."""
    columns = zip(
        rows, batch["input_ids"].tolist(), batch["labels"].tolist(), batch["attention_mask"].tolist(), strict=True
    )
    for row, ids, labels, mask in columns:
        fault = _fault(row, ids, labels, mask, end_id)
        if fault is not None:
            raise TrainingError(f"{row.name}: {fault}. Nothing was trained: the template or the collator is at fault")


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
