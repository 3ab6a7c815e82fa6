from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from stillroom.errors import TrainingError
from stillroom.students.data.encode import IGNORED, EncodedRow
from stillroom.students.methods.batches import check_batch

END = 2
Batch = dict[str, torch.Tensor]
ROWS = [
    EncodedRow("row 1", [5, 6, 7, 8, END], [IGNORED, IGNORED, 7, 8, END]),
    EncodedRow("row 2", [5, 9, END], [IGNORED, 9, END]),
]


def batch() -> Batch:
    """As a right collator makes it of ROWS."""
    return {
        "input_ids": torch.tensor([[5, 6, 7, 8, END], [5, 9, END, 0, 0]]),
        "labels": torch.tensor([[IGNORED, IGNORED, 7, 8, END], [IGNORED, 9, END, IGNORED, IGNORED]]),
        "attention_mask": torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]]),
    }


def put(row: int, column: int | slice, label: int) -> Callable[[Batch], None]:
    def change(given: Batch) -> None:
        given["labels"][row, column] = label

    return change


def test_a_right_batch_passes() -> None:
    check_batch(batch(), ROWS, END)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (put(1, slice(None), IGNORED), "row 2: it has no label"),
        (put(0, 1, 6), "row 1: token 1 of the prompt is in the loss"),
        (put(1, 2, IGNORED), "row 2: the last label is token 9, not the end token"),
        (put(1, 3, 0), "row 2: padding is in the loss"),
        (put(0, 3, 7), "row 1: a label is not the token"),
        (put(0, 3, IGNORED), "row 1: 2 of 3 tokens of the answer"),
    ],
)
def test_each_fault_is_named_with_its_row(change: Callable[[Batch], None], said: str) -> None:
    faulty = batch()
    change(faulty)
    with pytest.raises(TrainingError, match=said):
        check_batch(faulty, ROWS, END)


def test_a_collator_that_masks_padding_by_its_id_is_caught_when_padding_is_the_end() -> None:
    masked = batch()
    masked["labels"][masked["labels"] == END] = IGNORED
    with pytest.raises(TrainingError, match="would not stop"):
        check_batch(masked, ROWS, END)
