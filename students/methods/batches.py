"""Looks at a batch as the collator made it, before anything is trained on it.

    check_batch(collate(rows), encoded.rows, encoded.end_id)       # padded rows
    check_pairs(collate(pairs), encoded.rows, encoded.end_id)      # chosen and rejected
    check_packed(collate(packed), encoded.rows, encoded.end_id)    # several rows one behind the other

A wrong loss mask fails silently: the loss falls, and the student echoes its prompt or never stops. Rows that are
packed can fail in one more way: where a row does not start again at position 0, it reads the one before it, and where
it was cut, nothing of it says so. Each check raises TrainingError with the row and what is wrong with it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from stillroom.errors import TrainingError
from stillroom.students.data.encode import IGNORED, EncodedPair, EncodedRow


def check_batch(batch: Mapping[str, Any], rows: Sequence[EncodedRow], end_id: int) -> None:
    """`batch`: `input_ids`, `labels`, `attention_mask`, each (B, T); `rows`: what it was made of, in order."""
    columns = (batch[name].tolist() for name in ("input_ids", "labels", "attention_mask"))
    for row, ids, labels, mask in zip(rows, *columns, strict=True):
        _check_row(row, ids, labels, mask, end_id)


def _check_row(row: EncodedRow, ids: Sequence[int], labels: Sequence[int], mask: Sequence[int], end_id: int) -> None:
    """One row of a batch (T,): its labels are those of the answer, the end token last."""
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
        return
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


def check_packed(batch: Mapping[str, Any], rows: Sequence[EncodedRow], end_id: int) -> list[str]:
    """Gives the names of the rows in a packed batch, in order. Each is whole, has its own labels, and starts again at
    position 0.

    `batch`: `input_ids`, `labels`, `position_ids`, each (1, N), and `cu_seq_lens_q` (R + 1,) where the attention goes
    by it; `rows`: those that it may be made of, in any order.
    """
    if "position_ids" not in batch:
        raise _packing("it has no position_ids, so its rows read each other", "set packing_strategy: bfd")
    ids, labels, positions = (batch[name][0].tolist() for name in ("input_ids", "labels", "position_ids"))
    starts = [i for i, position in enumerate(positions) if position == 0]
    if not starts or starts[0] != 0:
        raise _packing(f"its first position is {positions[0]}, not 0", "the collator is at fault")
    ends = [*starts[1:], len(ids)]
    if (told := batch.get("cu_seq_lens_q")) is not None and told.tolist() != [0, *ends]:
        raise _packing(f"its rows end at {ends}, its attention's at {told.tolist()[1:]}", "the collator is at fault")
    known = {tuple(row.input_ids): row for row in rows}
    found = []
    for start, end in zip(starts, ends, strict=True):
        row = known.get(tuple(ids[start:end]))
        if row is None:
            raise _not_a_row(ids[start:end], start, rows)
        if positions[start:end] != list(range(end - start)):
            raise _packing(f"the positions of {row.name} do not count up from 0", "the collator is at fault")
        _check_row(row, ids[start:end], labels[start:end], [1] * (end - start), end_id)
        found.append(row.name)
    return found


def _not_a_row(segment: Sequence[int], start: int, rows: Sequence[EncodedRow]) -> TrainingError:
    """What a stretch of a packed batch is that is not a row."""
    many = len(segment)
    for row in rows:
        if row.input_ids[:many] == segment:
            fault = f"{row.name} is cut to its first {many:,} of {len(row.input_ids):,} tokens"
            return _packing(fault, f"raise the length of a pack to {len(row.input_ids):,} or more")
    for row in rows:
        if segment[: len(row.input_ids)] == row.input_ids:
            fault = f"another row goes on behind {row.name} without starting again at position 0, and would read it"
            return _packing(fault, "the collator is at fault")
    return _packing(
        f"what starts at token {start:,} is not the beginning of a row, so a row is cut", "set packing_strategy: bfd"
    )


def _packing(fault: str, fix: str) -> TrainingError:
    return TrainingError(f"the first packed batch: {fault}. Nothing was trained: {fix}")
