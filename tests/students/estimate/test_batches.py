"""The sizes of batches are those of the passes that they go through."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from pydantic import TypeAdapter

from stillroom.students.data.encode import IGNORED, Encoded, EncodedPair, EncodedPairs, EncodedRow
from stillroom.students.data.labelled import EncodedAnswer, EncodedAnswers
from stillroom.students.estimate.batches import Sizes, flat_tokens, sizes
from stillroom.students.estimate.dry_pass import Read
from stillroom.students.methods.cpu_passes import flatten, lay_out
from stillroom.students.methods.registry import Student, StudentSettings
from stillroom.students.records import Plan
from stillroom.students.whitebox.loss import padded

END = 2


def settings(**given: Any) -> StudentSettings:
    found: StudentSettings = TypeAdapter(Student).validate_python({"model": "m", "batch_size": 2} | given)
    return found


def row(prompt: list[int], answer: int) -> EncodedRow:
    ids = [*range(100, 99 + answer), END]
    return EncodedRow("row", prompt + ids, [IGNORED] * len(prompt) + ids)


def pair(prompt: int, chosen: int, rejected: int) -> EncodedPair:
    return EncodedPair("pair", list(range(prompt)), [5] * (chosen - 1) + [END], [6] * (rejected - 1) + [END])


def told(rows: Any, *, flat: bool = True, device: str = "cpu", most: int = 64, **given: Any) -> Sizes:
    return sizes(rows, settings(**given), flat=flat, plan=Plan(device, "float32", 7), most=most)


def rows(*lengths: int) -> Encoded:
    return Encoded([row([1, 3, 4], length) for length in lengths], (), END)


@pytest.mark.parametrize(
    "prompts",
    [
        [[1, 3, 4, 7], [1, 3, 4, 8, 9], [1, 3, 4, 7, 9]],
        [[1, 3, 4], [1, 3, 4]],
        [[1, 3, 4], [9, 3, 4]],
        [[1]],
        [[1, 3], [1, 3, 4, 5, 6, 7]],
    ],
)
def test_a_flat_batch_has_as_many_tokens_as_the_pass_makes_of_it(prompts: list[list[int]]) -> None:
    batch = [row(prompt, 3 + i) for i, prompt in enumerate(prompts)]
    tensors = padded(batch, range(len(batch)))
    flat = flatten(tensors["input_ids"], tensors["labels"], tensors["attention_mask"])
    assert flat is not None
    assert flat_tokens(batch) == flat.input_ids.shape[1]


@pytest.mark.parametrize(
    ("given", "device", "expected"),
    [
        ({"flat": True}, "cpu", Read(1, 20, 16, "whole")),
        ({"flat": False}, "cpu", Read(2, 12, 16, "trl")),
        ({"flat": False}, "cuda", Read(2, 12, 16, "tiles")),
    ],
)
def test_rows(given: dict[str, Any], device: str, expected: Read) -> None:
    found = told(rows(9, 7), device=device, **given)
    assert found.dearest == [expected]
    assert (found.mean, found.passes) == (1.0, 1)


def test_a_batch_that_is_too_long_to_be_flat_is_padded() -> None:
    assert told(rows(1500, 1200)).dearest == [Read(2, 1503, 2700, "trl")]


def test_the_dearest_of_batches_by_length_has_the_longest_rows() -> None:
    found = told(rows(5, 30, 6, 28), flat=False)
    assert found.dearest == [Read(2, 33, 58, "trl")]
    assert found.mean == (66 + 18) / 2 / 66
    assert found.passes == 2


def test_the_dearest_of_batches_drawn_at_random_is_among_some_epochs_of_them() -> None:
    found = told(rows(*[5] * 30, 50, 40), batch_size=2)
    assert found.dearest[0].width in (53 + 8 - 2, 53 + 43 - 2)  # the longest row with a short one, or the next
    assert found.mean < 0.4


def test_pairs_are_laid_out_as_the_pass_lays_them_out() -> None:
    pairs = [pair(4, 6, 3), pair(5, 2, 9)]
    width = max(each.longest for each in pairs)
    ids, labels, mask = (torch.zeros(4, width, dtype=torch.long) for _ in range(3))
    labels[:] = IGNORED
    for i, side in enumerate([each.side(which) for which in ("chosen", "rejected") for each in pairs]):
        ids[i, : len(side.input_ids)], mask[i, : len(side.input_ids)] = torch.tensor(side.input_ids), 1
        labels[i, : len(side.input_ids)] = torch.tensor(side.labels)
    laid, scored = lay_out(ids, mask, labels)
    (found,) = told(EncodedPairs(pairs, (), END), method="dpo").dearest
    assert (found.rows, found.width) == tuple(laid.input_ids.shape)
    assert (found.labels, found.head) == (len(scored.token), "scored")
    (found,) = told(EncodedPairs(pairs, (), END), method="dpo", flat=False).dearest
    assert found == Read(4, width, 20, "trl")


def test_a_reference_that_is_asked_at_every_step_reads_the_batch_again() -> None:
    pairs = EncodedPairs([pair(4, 6, 3), pair(5, 2, 9)], (), END)
    found = told(pairs, method="dpo", dpo={"precompute_ref": False}).dearest
    assert [read.trained for read in found] == [True, False]
    assert found[0]._replace(trained=False) == found[1]


@pytest.mark.parametrize(
    ("kto", "trained"),
    [
        ({}, [False, True]),
        ({"precompute_ref": False}, [False, True, False, False]),
        ({"loss_type": "apo_zero_unpaired"}, [True]),
    ],
)
def test_kto_reads_other_answers_too(kto: dict[str, Any], trained: list[bool]) -> None:
    answers = EncodedAnswers(
        [EncodedAnswer("a", [1, 3], [7, END], True), EncodedAnswer("b", [1], [END], False)], (), END
    )
    found = told(answers, method="kto", kto=kto).dearest
    assert [read.trained for read in found] == trained
    assert found[0][:4] == (2, 4, 3, "scored")


def test_packs_are_about_full() -> None:
    found = told(rows(20, 30, 25, 10), flat=False, trainer={"packing": True}, most=40)
    assert (found.dearest[0].rows, found.dearest[0].width, found.passes) == (1, 80, 2)


@pytest.mark.parametrize(
    ("given", "sides", "trained"),
    [
        ({"objectives": [{"kind": "hard"}]}, 1, [True]),
        ({"teacher": "t"}, 2, [True]),
        ({"objectives": [{"kind": "hard"}, {"kind": "base_kl"}]}, 2, [True, False]),
        ({"teacher": "base", "teacher_reference": True}, 2, [True, False]),
        ({"objectives": [{"kind": "hard"}], "rehearse": {"max_tokens": 16}}, 1, [True, True, False]),
    ],
)
def test_white_box_losses_look_at_several_sides(given: dict[str, Any], sides: int, trained: list[bool]) -> None:
    found = told(rows(9, 7), method="distil", **given).dearest
    assert (found[0].head, found[0].sides) == ("parts", sides)
    assert [read.trained for read in found] == trained
