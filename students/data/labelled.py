"""Rows of KTO: a prompt, one answer, and whether the answer is desirable; read, and as token ids.

    rows = read_labelled(run / "kto")
    rows = read_labelled([{"prompt": [{"role": "user", "content": "2 + 2?"}],
                           "completion": [{"role": "assistant", "content": "4"}], "label": True}])
    encode_labelled(rows, tokenizer, max_length=2048).rows[0].answer_ids

Refuses, naming the row, what `rows.py` refuses, and a label that is neither true nor false. Prompts, answers and end
tokens are encoded as for every method (`encode.py`). Left out and counted, never cut: rows that are too long, rows
with the end token inside, and answers that stand under one prompt with both labels, which would cancel out.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from stillroom.common.hashing import digest
from stillroom.common.records import Messages
from stillroom.errors import InputError
from stillroom.students.data.encode import IGNORED, EncodedRow, ids_of, nothing_left, special_ids
from stillroom.students.data.rows import Row, SftRow, given, row_name, sft_row
from stillroom.students.records import LeftOut


class LabelledRow(NamedTuple):
    """One row. `label`: true for an answer to say more often, false for one to say less often."""

    name: str
    prompt: Messages
    completion: Messages
    label: bool
    task_id: str | None = None

    def plain(self) -> SftRow:
        """The row without its label."""
        return SftRow(self.name, self.prompt, self.completion, self.task_id)


def read_labelled(source: Path | str | Iterable[Row]) -> list[LabelledRow]:
    """All rows, checked. Raises MissingFile for a folder that does not exist, InputError for invalid rows."""
    rows = [labelled_row(row_name(index, row), row) for index, row in enumerate(given(source))]
    if not rows:
        raise InputError("there is no row to train on: check what was accepted and what was rejected")
    return rows


def labelled_row(name: str, row: Row) -> LabelledRow:
    """One row, checked."""
    found, label = sft_row(name, row), row.get("label")
    if not isinstance(label, bool):
        raise InputError(f"{name}: 'label' must be true (desirable) or false (undesirable), got {str(label)[:60]!r}")
    return LabelledRow(name, found.prompt, found.completion, label, found.task_id)


class EncodedAnswer(NamedTuple):
    """One row in tokens. The answer ends with the token that ends the turn."""

    name: str
    prompt_ids: list[int]
    answer_ids: list[int]
    label: bool

    def row(self) -> EncodedRow:
        """As a row of SFT has it."""
        labels = [IGNORED] * len(self.prompt_ids) + self.answer_ids
        return EncodedRow(self.name, self.prompt_ids + self.answer_ids, labels)


class EncodedAnswers(NamedTuple):
    """`end_id`: the token that ends a turn."""

    rows: list[EncodedAnswer]
    left_out: tuple[LeftOut, ...]
    end_id: int

    def digest(self) -> str:
        """Of everything that is trained on, in order: the same rows and template give the same."""
        return digest([[row.prompt_ids, row.answer_ids, row.label] for row in self.rows])

    @property
    def desirable(self) -> int:
        """Rows with the label true."""
        return sum(row.label for row in self.rows)


def encode_labelled(rows: Iterable[LabelledRow], tokenizer: Any, max_length: int) -> EncodedAnswers:
    """All rows in tokens. Raises TrainingError naming the row, or if none can be trained on."""
    kept: list[EncodedAnswer] = []
    left_out: list[LeftOut] = []
    special, end_id = special_ids(tokenizer), -1
    for row in rows:
        prompt_ids, answer_ids = ids_of(row.plain(), tokenizer, special)
        end_id, tokens = answer_ids[-1], len(prompt_ids) + len(answer_ids)
        if end_id in answer_ids[:-1]:
            left_out.append(LeftOut(row.name, "end_token_inside", tokens))
        elif tokens > max_length:
            left_out.append(LeftOut(row.name, "too_long", tokens))
        else:
            kept.append(EncodedAnswer(row.name, prompt_ids, answer_ids, row.label))
    labels_of = defaultdict[tuple[tuple[int, ...], tuple[int, ...]], set[bool]](set)
    for each in kept:
        labels_of[_said(each)].add(each.label)
    both = [each for each in kept if len(labels_of[_said(each)]) == 2]
    left_out += [LeftOut(e.name, "both_labels", len(e.prompt_ids) + len(e.answer_ids)) for e in both]
    kept = [each for each in kept if len(labels_of[_said(each)]) == 1]
    if not kept:
        raise nothing_left(left_out, max_length)
    return EncodedAnswers(kept, tuple(left_out), end_id)


def _said(row: EncodedAnswer) -> tuple[tuple[int, ...], tuple[int, ...]]:
    return tuple(row.prompt_ids), tuple(row.answer_ids)
