from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from stillroom.errors import TrainingError
from stillroom.students.data.encode import IGNORED, EncodedRow
from stillroom.students.methods.batches import check_batch, check_packed

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


# -- packed rows ---------------------------------------------------------------------------------------------------

SIX = [
    EncodedRow(f"row {i}", [5 + i, *range(10, 10 + n), END], [IGNORED, *range(10, 10 + n), END])
    for i, n in enumerate((6, 3, 2, 2, 1, 0))
]


def packed(length: int, strategy: str = "bfd") -> list[dict[str, Any]]:
    """The batches of SIX as trl packs and collates them, one pack in each."""
    import datasets
    import trl
    from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

    columns = [{"input_ids": row.input_ids, "labels": row.labels} for row in SIX]
    packs = trl.pack_dataset(datasets.Dataset.from_list(columns), seq_length=length, strategy=strategy)
    collate = DataCollatorForLanguageModeling(pad_token_id=0, padding_free=strategy != "wrapped")
    return [collate([pack]) for pack in packs]


@pytest.mark.parametrize("length", [8, 11, 13, 64])
def test_every_row_that_trl_packs_is_found_once(length: int) -> None:
    found = [check_packed(batch, SIX, END) for batch in packed(length)]
    assert sorted(name for names in found for name in names) == [row.name for row in SIX]
    assert len(found) == len(packed(length))


def test_several_packs_in_one_batch_are_read_row_by_row() -> None:
    import datasets
    import trl
    from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

    columns = [{"input_ids": row.input_ids, "labels": row.labels} for row in SIX]
    packs = trl.pack_dataset(datasets.Dataset.from_list(columns), seq_length=9, strategy="bfd")
    batch = DataCollatorForLanguageModeling(pad_token_id=0, padding_free=True)(list(packs))
    assert len(packs) > 1
    assert sorted(check_packed(batch, SIX, END)) == [row.name for row in SIX]


@pytest.mark.parametrize(
    ("length", "strategy", "said"),
    [
        (7, "bfd", "row 0 is cut to its first 7 of 8 tokens. .* raise the length of a pack to 8"),
        (7, "bfd_split", "row 0 is cut to its first 7 of 8|is not the beginning of a row"),
        (9, "wrapped", "has no position_ids"),
    ],
)
def test_a_packing_that_cuts_rows_is_refused(length: int, strategy: str, said: str) -> None:
    batches = packed(length, strategy)
    with pytest.raises(TrainingError, match=said):
        _check_all(batches)


def _check_all(batches: list[dict[str, Any]]) -> None:
    for batch in batches:
        check_packed(batch, SIX, END)


def _one_by_one(batch: dict[str, Any]) -> None:
    batch["position_ids"] = torch.arange(batch["input_ids"].shape[1])[None]
    del batch["cu_seq_lens_q"]


def _at(name: str, column: int, value: int) -> Callable[[dict[str, Any]], None]:
    def change(batch: dict[str, Any]) -> None:
        batch[name][0, column] = value

    return change


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_one_by_one, "another row goes on behind row 0 without starting again"),
        (_at("position_ids", 0, 1), "its first position is 1, not 0"),
        (_at("position_ids", 3, 0), "its rows end at .*, its attention's at"),
        (_at("position_ids", 2, 3), "the positions of row 0 do not count up"),
        (_at("labels", 0, 5), "row 0: token 0 of the prompt is in the loss"),
        (_at("labels", 7, IGNORED), "row 0: the last label is token 15, not the end token 2"),
        (_at("labels", 3, IGNORED), "row 0: 6 of 7 tokens of the answer are in the loss"),
        (_at("input_ids", 0, 9), "what starts at token 0 is not the beginning of a row"),
    ],
)
def test_each_fault_of_a_packed_batch_is_named(change: Callable[[dict[str, Any]], None], said: str) -> None:
    (batch,) = packed(64)
    assert check_packed(batch, SIX, END)[0] == "row 0"
    change(batch)
    with pytest.raises(TrainingError, match=said):
        check_packed(batch, SIX, END)
