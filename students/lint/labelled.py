"""The lint of KTO rows: what `lint_sft` looks at, and what must hold between desirable and undesirable answers.

    report = lint_labelled(run / "kto", settings, settings.kto, reference=settings.reference, test=tasks.test)
    report.find("both_labels")

Only the desirable answers go to the checker: the others are meant to be wrong.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from stillroom.common.hashing import digest
from stillroom.common.marks import NamedMarks
from stillroom.common.records import Messages, Task
from stillroom.students.data.labelled import LabelledRow, labelled_row
from stillroom.students.data.rows import Row, given
from stillroom.students.lint.checks import Text, reference_hits
from stillroom.students.lint.lint import LintRunner, said
from stillroom.students.lint.rendered_rows import Collator, Item, answer_collator, look_at, student_of
from stillroom.students.lint.report import Hit, LintLimits, LintReport, names
from stillroom.students.methods.class_weights import KtoSettings, class_weights
from stillroom.students.methods.common import quiet_training
from stillroom.students.methods.registry import StudentSettings
from stillroom.students.records import Checker, Reference


def lint_labelled(
    rows: Path | str | Iterable[Row],
    settings: StudentSettings,
    kto: KtoSettings,
    *,
    reference: Reference,
    test: Sequence[Task] = (),
    checker: Checker | None = None,
    limits: LintLimits | None = None,
    thinking: NamedMarks | None = None,
    tokenizer: Any = None,
    collator: Collator | None = None,
) -> LintReport:
    """Looks at all rows of KTO. `reference`: what the losses are taken against. The other arguments and the errors
    are those of `lint_sft`."""
    with quiet_training():
        student, there = student_of(settings, tokenizer, thinking), list(given(rows))
        runner = LintRunner(student, limits or LintLimits())
        found = runner.read(there, settings.system, labelled_row, "completion")
        runner.settle(row.plain() for row, _ in found)
        runner.tally.add(reference_hits(settings, reference, there, runner.limits))
        runner.notes.append(f"the reference is {reference.told}")
        both = _with_both_labels([row for row, _ in found])
        runner.tally.add(Hit("both_labels", name, "another row has the other label") for name in sorted(both))
        kept = [(row, task) for row, task in found if row.name not in both]
        collate, counts = collator or answer_collator(student.prepared), dict[bool, int]()
        for label in (True, False):
            runner.checker = checker if label else None
            items = (
                Item(row.name, task, (look_at(row.plain(), student),)) for row, task in kept if row.label is label
            )
            before = runner.trainable
            runner.run(items, collate, settings.batch_size)
            counts[label] = runner.trainable - before
        runner.checker = checker
        runner.tally.add(_of_all([row for row, _ in kept], counts[True], counts[False], kto))
        texts = [Text(row.name, task, row.prompt, said(row.completion)) for row, task in found]
        return runner.report("rows", names("labels"), given=len(there), texts=texts, test=test, settings=settings)


def _with_both_labels(rows: Sequence[LabelledRow]) -> set[str]:
    """The names of rows whose answer stands under their prompt with the other label, too."""
    labels_of = defaultdict[str, set[bool]](set)
    for row in rows:
        labels_of[_said(row)].add(row.label)
    return {row.name for row in rows if len(labels_of[_said(row)]) == 2}


def _said(row: LabelledRow) -> str:
    return digest([_turns(row.prompt), _turns(row.completion)])


def _turns(messages: Messages) -> list[tuple[str, str]]:
    return [(message.role, message.content) for message in messages]


def _of_all(rows: Sequence[LabelledRow], desirable: int, undesirable: int, kto: KtoSettings) -> Iterator[Hit]:
    """What the training would refuse, or warn of, once it has all rows. `desirable`, `undesirable`: those that it
    would take."""
    trainable = desirable + undesirable
    if trainable and not (desirable and undesirable):
        kind = "desirable" if desirable else "undesirable"
        yield Hit("one_label", "the rows", f"all {trainable:,} that can be trained on are {kind}")
    if kto.loss_type == "kto" and len(rows) > 1 and len({digest(_turns(row.prompt)) for row in rows}) == 1:
        yield Hit("one_prompt", "the rows", f"all {len(rows):,} ask {rows[0].prompt[-1].content[:60]!r}")
    if desirable and undesirable:
        weights = class_weights(
            desirable, undesirable, given=kto.desirable_weight, given_undesirable=kto.undesirable_weight
        )
        if not weights.fit:
            told = f"{weights.desirable:g} × {desirable:,} against {weights.undesirable:g} × {undesirable:,}"
            yield Hit("weights_apart", "the settings", f"{told}, a ratio of {weights.ratio:.2f}")
