"""The lint before training: real rows, encoded and collated as the trainer does, and what is wrong with them.

    report = lint_sft(run / "sft", settings, test=tasks.test)
    report.raise_if_errors()

Trains nothing, loads no weights and changes no row. What the trainer would refuse with an exception is a finding
here, so one call reports everything that is wrong.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, Literal, TypeVar

from stillroom.common.marks import NamedMarks
from stillroom.common.records import Messages, Task
from stillroom.errors import InputError
from stillroom.preferences.checks import Severity
from stillroom.students.data.encode import IGNORED, EncodedRow, prepare_tokenizer
from stillroom.students.data.labelled import LabelledRow
from stillroom.students.data.rows import PairRow, Row, SftRow, given, pair_row, row_name, sft_row, with_system
from stillroom.students.lint.checks import (
    ROW_CHECKS,
    Text,
    duplicates,
    leaks,
    other_system_prompts,
    pair_checks,
    reference_hits,
    tokenizer_checks,
    wrong_answers,
)
from stillroom.students.lint.rendered_rows import (
    Collator,
    Item,
    Student,
    feed,
    look_at,
    masked,
    pair_collator,
    sft_collator,
    student_of,
)
from stillroom.students.lint.report import Hit, LintLimits, LintReport, MaskedRow, Tally, meanings, names
from stillroom.students.lint.teacher import TeacherSide, Vocabulary, answer_hits, gradient_hits, token_hits
from stillroom.students.methods.common import quiet_training
from stillroom.students.methods.registry import StudentSettings
from stillroom.students.records import Checker, Reference

R = TypeVar("R", SftRow, PairRow, LabelledRow)

_NEED_TEST = ("test_leak", "test_leak_near", "other_system_prompt")
_NEED_CHECKER = ("answer_rejected", "answer_unscored")
_NEED_WIDTH = ("ids_without_rows", "tokens_without_rows")
_SINGLE = (
    "pad_is_end",
    "template_tells_time",
    "not_dpo",
    "reference_is_dpo",
    "no_gradient",
    "gradient_outside",
    "one_label",
    "one_prompt",
    "weights_apart",
)


class LintRunner:
    """Runs all checks over rows and gathers their hits. `checker`: of trained answers, None for none."""

    def __init__(self, student: Student, limits: LintLimits, checker: Checker | None = None) -> None:
        self.student, self.limits, self.checker = student, limits, checker
        self.tally = Tally(limits.examples)
        self.notes: list[str] = []
        self.trainable = 0
        self._shown: list[MaskedRow] = []
        self._faulty: list[MaskedRow] = []

    def read(
        self, rows: Sequence[Row], system: str | None, make: Callable[[str, Row], R], *answers: str
    ) -> list[tuple[R, str | None]]:
        """Rows under the student's system prompt, with the task of each (None where it names none). What is not a
        row, or has an empty answer, becomes a hit."""
        found = []
        for index, row in enumerate(rows):
            name = row_name(index, row) if isinstance(row, Mapping) else f"row {index + 1}"
            try:
                made = make(name, row)
            except (InputError, AttributeError) as error:  # a row that is not a mapping has no `get`
                empty = isinstance(row, Mapping) and any(_is_empty(row.get(field)) for field in answers)
                told = str(error).removeprefix(f"{name}: ")
                self.tally.add([Hit("empty_answer" if empty else "not_a_row", name, told)])
                continue
            task_id = row.get("task_id")
            made = made._replace(prompt=with_system(made.prompt, system))
            found.append((made, None if task_id is None else str(task_id)))
        return found

    def settle(self, rows: Iterable[SftRow]) -> None:
        """Prepares the tokenizer by the first row that can be encoded, as the trainer does after all of them."""
        student = self.student
        ids = next((look.ids for row in rows if (look := look_at(row, student)).ids is not None), None)
        if ids is not None:
            student.end_id, student.prepared = ids.answer[-1], copy.deepcopy(student.tokenizer)
            prepare_tokenizer(student.prepared, student.end_id)

    def run(self, items: Iterable[Item], collator: Collator, batch_size: int) -> None:
        """Looks at all items, with what the collator makes of batches of trainable ones."""
        waiting: list[Item] = []
        for item in items:
            if not item.trainable:
                self._look(item)
                continue
            waiting.append(item)
            if len(waiting) == batch_size:
                self._batch(feed(waiting, collator))
                waiting = []
        if waiting:
            self._batch(feed(waiting, collator))

    def look_with_teacher(
        self,
        rows: Iterable[SftRow],
        teacher: TeacherSide | None,
        moved: Callable[[EncodedRow, int], Sequence[int]] | None,
    ) -> list[str]:
        """Looks at how a teacher reads the rows, and at what a special loss moves in the shortest; gives what was
        looked for. Rows that cannot be encoded are told elsewhere."""
        student = self.student
        read = [(row, ids) for row in rows if (ids := look_at(row, student).ids) is not None]
        if teacher is not None:
            own = Vocabulary("the student", student.tokenizer, None)
            self.tally.add(token_hits(teacher.vocabulary, own))
            for row, ids in read:
                self.tally.add(answer_hits(row, ids, teacher))
        if moved is not None and read:
            row, ids = min(read, key=lambda each: len(each[1].prompt) + len(each[1].answer))
            encoded = EncodedRow(row.name, ids.prompt + ids.answer, [IGNORED] * len(ids.prompt) + ids.answer)
            self.tally.add(gradient_hits(row.name, ids, moved(encoded, len(student.tokenizer))))
        return [
            *(names("tokens_of_both", "teacher") if teacher is not None else ()),
            *(names("gradients") if moved is not None and read else ()),
        ]

    def _batch(self, fed: list[Item]) -> None:
        self.trainable += len(fed)
        for item in fed:
            self._look(item)
        if self.checker is not None:
            self.tally.add(wrong_answers(fed, self.checker, self.student))

    def _look(self, item: Item) -> None:
        # What is wrong with a row or a pair: each thing once, even where both sides have it.
        found: dict[str, Hit] = {}
        for side in item.sides:
            faults = [] if side.fault is None else [side.fault]
            for hit in chain(faults, *(check(side, self.student) for check in ROW_CHECKS)):
                found.setdefault(hit.name, hit)
        hits = [*found.values(), *(pair_checks(item) if len(item.sides) == 2 else ())]
        self.tally.add(hits)
        broken = any(meanings()[hit.name].severity == "error" for hit in hits)
        place = self._faulty if broken else self._shown
        if len(place) < self.limits.shown:
            place += [row for side in item.sides if (row := masked(side, self.student)) is not None]

    def report(
        self,
        what: Literal["rows", "pairs"],
        also: Sequence[str] = (),
        *,
        given: int,
        texts: Sequence[Text],
        test: Sequence[Task],
        settings: StudentSettings,
    ) -> LintReport:
        """All that was found, with what only all rows together can tell. `also`: what else was looked for. `given`:
        rows there are, read or not."""
        self.tally.add(duplicates(texts, self.limits))
        if test:
            self.tally.add(leaks(texts, test))
            self.tally.add(other_system_prompts(texts, test, settings.system, self.student))
        for hit in tokenizer_checks(self.student, self.trainable):
            # A token without an embedding is told once, where a row uses it.
            if hit.name != "tokens_without_rows" or not self.tally.counts["ids_without_rows"]:
                self.tally.add([hit])
        if not self.trainable:
            self.tally.add([Hit("nothing_left", f"the {what}", f"of {given:,} {what} none can be trained on")])
        skipped = {} if test else dict.fromkeys(_NEED_TEST, "no held-out tasks were given")
        if what == "pairs":
            of_pairs = names("template", "masks", "tokens", "data", "pairs")
            looked_for = [name for name in of_pairs if name not in _NEED_CHECKER]
        else:
            looked_for = [name for name in names("template", "masks", "tokens", "data") if name != "cut_unevenly"]
            if self.checker is None:
                skipped |= dict.fromkeys(_NEED_CHECKER, "no checker was given")
        if self.student.embeddings is None:
            skipped |= dict.fromkeys(_NEED_WIDTH, "the model's settings do not say how many embeddings it has")
        # Few rows that are too long are a warning; where most are, what is left is another data set.
        most = given and self.tally.counts["too_long"] / given > self.limits.too_long
        severities: Mapping[str, Severity] = {"too_long": "error"} if most else {}
        tokens = ("tokens_without_rows", *names("tokens_of_both"))
        of = {**dict.fromkeys(tokens, len(self.student.tokenizer)), **dict.fromkeys(_SINGLE, 1)}
        return LintReport(
            what,
            given,
            self.trainable,
            tuple(self.tally.findings(lambda name: of.get(name, given), severities)),
            tuple(name for name in (*looked_for, *also) if name not in skipped),
            skipped,
            tuple(self.notes),
            (*self._faulty, *self._shown)[: 2 * self.limits.shown],
        )


def _is_empty(turns: Any) -> bool:
    if turns is None or isinstance(turns, str) or not isinstance(turns, Sequence):
        return False
    contents = [turn.get("content") for turn in turns if isinstance(turn, Mapping)]
    return len(contents) == len(turns) and all(content is None or not str(content).strip() for content in contents)


def lint_sft(
    rows: Path | str | Iterable[Row],
    settings: StudentSettings,
    *,
    test: Sequence[Task] = (),
    checker: Checker | None = None,
    limits: LintLimits | None = None,
    thinking: NamedMarks | None = None,
    tokenizer: Any = None,
    collator: Collator | None = None,
    teacher: TeacherSide | None = None,
    moved: Callable[[EncodedRow, int], Sequence[int]] | None = None,
) -> LintReport:
    """Looks at all rows of SFT (a folder of parquet, or the rows themselves).

    `test`: the held-out tasks as inference asks them. `checker`: says whether a trained answer is right.
    `thinking`: marks of the teacher's thinking that the user named.
    `tokenizer`, `collator`: others than the student's and trl's own. `teacher`: reads the rows, too. `moved`: the
    places that a loss of our own moves, from a row and the size of the vocabulary. Raises MissingFile for rows or a
    model that are nowhere, MissingExtra where the extra `train` is not installed.
    """
    with quiet_training():
        student, there = student_of(settings, tokenizer, thinking), list(given(rows))
        runner = LintRunner(student, limits or LintLimits(), checker)
        found = runner.read(there, settings.system, sft_row, "completion")
        runner.settle(row for row, _ in found)
        items = (Item(row.name, task, (look_at(row, student),)) for row, task in found)
        runner.run(items, collator or sft_collator(student.prepared), settings.batch_size)
        looked_for = runner.look_with_teacher((row for row, _ in found), teacher, moved)
        texts = [Text(row.name, task, row.prompt, said(row.completion)) for row, task in found]
        return runner.report("rows", looked_for, given=len(there), texts=texts, test=test, settings=settings)


def lint_pairs(
    rows: Path | str | Iterable[Row],
    settings: StudentSettings,
    *,
    test: Sequence[Task] = (),
    reference: Reference | None = None,
    limits: LintLimits | None = None,
    thinking: NamedMarks | None = None,
    tokenizer: Any = None,
    collator: Collator | None = None,
) -> LintReport:
    """Looks at all pairs of DPO, both sides of each: what `lint_sft` looks at, and what must hold between the sides.

    `reference`: what the losses are taken against, None for a method without one. The other arguments and the errors
    are those of `lint_sft`. Every parquet file of a folder is read: where it also has held-out pairs, give the file.
    """
    with quiet_training():
        student, there = student_of(settings, tokenizer, thinking), list(given(rows))
        runner = LintRunner(student, limits or LintLimits())
        found = runner.read(there, settings.system, pair_row, "chosen", "rejected")
        runner.settle(row.side("chosen") for row, _ in found)
        runner.tally.add(reference_hits(settings, reference, there, runner.limits))
        runner.notes.append(f"the reference is {reference.told if reference is not None else 'none'}")
        items = (
            Item(row.name, task, (look_at(row.side("chosen"), student), look_at(row.side("rejected"), student)))
            for row, task in found
        )
        runner.run(items, collator or pair_collator(student.prepared), settings.batch_size)
        texts = [Text(row.name, task, row.prompt, said(row.chosen + row.rejected)) for row, task in found]
        return runner.report("pairs", given=len(there), texts=texts, test=test, settings=settings)


def said(answer: Messages) -> str:
    """The text of an answer, as the checks over all rows read it."""
    return "\n".join(message.content for message in answer)
