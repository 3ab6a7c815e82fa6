"""The lint before training: real rows, encoded and collated as the trainer does, and what is wrong with them.

    report = lint_sft(run / "sft", settings, test=tasks.test)
    report.raise_if_errors()

It trains nothing, loads no weights and changes no row. What the trainer would refuse with an exception is a finding
here, so that everything that is wrong is told at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

from stillroom.common.records import Messages, Task
from stillroom.students.data.rows import PairRow, Row, SftRow
from stillroom.students.lint.data_checks import Text
from stillroom.students.lint.limits import LintLimits
from stillroom.students.lint.pair_checks import reference_hits
from stillroom.students.lint.read_rows import read_pair_rows, read_sft_rows
from stillroom.students.lint.rendered_rows import Item, Look, feed, feed_pairs, look_at
from stillroom.students.lint.report import LintReport
from stillroom.students.lint.runner import LintRunner
from stillroom.students.lint.tokenizer_setup import Collator, Student, pair_collator, sft_collator, student_of
from stillroom.students.methods.quiet import quiet_training
from stillroom.students.methods.registry import StudentSettings
from stillroom.students.records import Checker, Reference


def lint_sft(
    rows: Path | str | Iterable[Row],
    settings: StudentSettings,
    *,
    test: Sequence[Task] = (),
    checker: Checker | None = None,
    limits: LintLimits | None = None,
    tokenizer: Any = None,
    collator: Collator | None = None,
) -> LintReport:
    """Looks at all rows of SFT (a folder of parquet, or the rows themselves).

    `test`: the held-out tasks as inference asks them. `checker`: says whether a trained answer is right.
    `tokenizer`, `collator`: others than the student's and trl's own. Raises MissingFile for rows or a model that are
    nowhere, MissingExtra where the extra `train` is not installed.
    """
    with quiet_training():
        student, found = student_of(settings, tokenizer), read_sft_rows(rows, settings.system)
        _settle(found.rows, student)
        runner = LintRunner(student, limits or LintLimits(), checker)
        collate = collator or sft_collator(student.prepared)
        runner.tally.add(found.hits)
        named = list(zip(found.rows, found.tasks, strict=True))
        items = (Item(row.name, task, (look_at(row, student),)) for row, task in named)
        runner.run(items, lambda batch: feed(batch, collate), settings.batch_size)
        texts = [Text(row.name, task, row.prompt, _said(row.completion)) for row, task in named]
        return runner.report("rows", given=len(found.given), texts=texts, test=test, settings=settings)


def lint_pairs(
    rows: Path | str | Iterable[Row],
    settings: StudentSettings,
    *,
    test: Sequence[Task] = (),
    reference: Reference | None = None,
    limits: LintLimits | None = None,
    tokenizer: Any = None,
    collator: Collator | None = None,
) -> LintReport:
    """Looks at all pairs of DPO, both sides of each: what `lint_sft` looks at, and what must hold between the sides.

    `reference`: what the losses are taken against, None for a method without one. The other arguments and the errors
    are those of `lint_sft`. Of a folder every parquet file is read: where held-out pairs lie
    beside those for training, give the file.
    """
    with quiet_training():
        student, found = student_of(settings, tokenizer), read_pair_rows(rows, settings.system)
        _settle((_side(row, "chosen") for row in found.rows), student)
        runner = LintRunner(student, limits or LintLimits())
        collate = collator or pair_collator(student.prepared)
        runner.tally.add(found.hits)
        runner.tally.add(reference_hits(settings, reference, found.given, runner.limits))
        runner.notes.append(f"the reference is {reference.told if reference is not None else 'none'}")
        named = list(zip(found.rows, found.tasks, strict=True))
        items = (Item(row.name, task, _sides(row, student)) for row, task in named)
        runner.run(items, lambda batch: feed_pairs(batch, collate), settings.batch_size)
        texts = [Text(row.name, task, row.prompt, _said(row.chosen + row.rejected)) for row, task in named]
        return runner.report("pairs", given=len(found.given), texts=texts, test=test, settings=settings)


def _settle(rows: Iterable[SftRow], student: Student) -> None:
    """Prepares the tokenizer by the first row that can be encoded, as the trainer does after all of them."""
    ids = next((look.ids for row in rows if (look := look_at(row, student)).ids is not None), None)
    if ids is not None:
        student.ends_with(ids.answer[-1])


def _sides(row: PairRow, student: Student) -> tuple[Look, ...]:
    return look_at(_side(row, "chosen"), student), look_at(_side(row, "rejected"), student)


def _side(row: PairRow, which: Literal["chosen", "rejected"]) -> SftRow:
    answer = row.chosen if which == "chosen" else row.rejected
    return SftRow(f"{row.name}, {which}", row.prompt, answer)


def _said(answer: Messages) -> str:
    return "\n".join(message.content for message in answer)
