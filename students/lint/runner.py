"""Runs all checks over rows, batch by batch, and gathers their hits and the rows that are shown.

    runner = LintRunner(student, LintLimits())
    runner.run(items, lambda batch: feed(batch, collator), batch_size=8)
    runner.report("rows", given=len(rows), texts=texts, test=tasks.test, settings=settings)

What is held of a row that was looked at is its hits; the few that are shown are held as text.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Literal

from stillroom.common.records import Task
from stillroom.students.lint.catalogue import Severity, meanings, names
from stillroom.students.lint.data_checks import Text, duplicates, leaks, other_system_prompts, wrong_answers
from stillroom.students.lint.findings import Hit, Tally
from stillroom.students.lint.limits import LintLimits
from stillroom.students.lint.mask_checks import MASK_CHECKS
from stillroom.students.lint.masks import masked
from stillroom.students.lint.pair_checks import PAIR_CHECKS
from stillroom.students.lint.rendered_rows import Item
from stillroom.students.lint.report import LintReport, MaskedRow
from stillroom.students.lint.template_checks import TEMPLATE_CHECKS
from stillroom.students.lint.token_checks import TOKEN_CHECKS, template, vocabulary
from stillroom.students.lint.tokenizer_setup import Student
from stillroom.students.methods.registry import StudentSettings
from stillroom.students.records import Checker

ROW_CHECKS = {**TEMPLATE_CHECKS, **MASK_CHECKS, **TOKEN_CHECKS}
"""All checks of one row, or one side of a pair, by the name of what they find."""

_NEED_TEST = ("test_leak", "test_leak_near", "other_system_prompt")
_NEED_CHECKER = ("answer_rejected", "answer_unscored")
_NEED_WIDTH = ("ids_without_rows", "tokens_without_rows")
_SINGLE = ("pad_is_end", "template_tells_time", "not_dpo", "reference_is_dpo")


class LintRunner:
    """Looks at rows and gathers what is found. `checker`: of trained answers, None for none."""

    def __init__(self, student: Student, limits: LintLimits, checker: Checker | None = None) -> None:
        self.student, self.limits, self.checker = student, limits, checker
        self.tally = Tally(limits.examples)
        self.notes: list[str] = []
        self.trainable = 0
        self._shown: list[MaskedRow] = []
        self._faulty: list[MaskedRow] = []

    def run(self, items: Iterable[Item], feeder: Callable[[list[Item]], list[Item]], batch_size: int) -> None:
        """Looks at all items. `feeder`: the collator's work on a batch of trainable ones."""
        waiting: list[Item] = []
        for item in items:
            if not item.trainable:
                self._look(item)
                continue
            waiting.append(item)
            if len(waiting) == batch_size:
                self._batch(feeder(waiting))
                waiting = []
        if waiting:
            self._batch(feeder(waiting))

    def _batch(self, fed: list[Item]) -> None:
        self.trainable += len(fed)
        for item in fed:
            self._look(item)
        if self.checker is not None:
            self.tally.add(wrong_answers(fed, self.checker, self.student))

    def _look(self, item: Item) -> None:
        hits = list(self._hits(item))
        self.tally.add(hits)
        broken = any(meanings()[hit.name].severity == "error" for hit in hits)
        place = self._faulty if broken else self._shown
        if len(place) < self.limits.shown:
            place += [row for side in item.sides if (row := masked(side, self.student)) is not None]

    def _hits(self, item: Item) -> Iterator[Hit]:
        """What is wrong with a row or a pair: each thing once, even where both sides have it."""
        found: dict[str, Hit] = {}
        for side in item.sides:
            if side.fault is not None:
                found.setdefault(side.fault.name, side.fault)
            for name, check in ROW_CHECKS.items():
                if name not in found and (detail := check(side, self.student)) is not None:
                    found[name] = Hit(name, side.name, detail)
        yield from found.values()
        if len(item.sides) == 2:
            for pair_check in PAIR_CHECKS:
                yield from pair_check(item)

    def report(
        self,
        what: Literal["rows", "pairs"],
        *,
        given: int,
        texts: Sequence[Text],
        test: Sequence[Task],
        settings: StudentSettings,
    ) -> LintReport:
        """All that was found, with what only all rows together can tell. `given`: rows there are, read or not."""
        self.tally.add(duplicates(texts, self.limits))
        if test:
            self.tally.add(leaks(texts, test))
            self.tally.add(other_system_prompts(texts, test, settings.system, self.student))
        self.tally.add(self._vocabulary())
        self.tally.add(template(self.student))
        if not self.trainable:
            self.tally.add([Hit("nothing_left", f"the {what}", f"of {given:,} {what} none can be trained on")])
        skipped = self._skipped(what, test)
        return LintReport(
            what,
            given,
            self.trainable,
            tuple(self.tally.findings(lambda name: self._of(name, given), self._severities(given))),
            tuple(name for name in _names(what) if name not in skipped),
            skipped,
            tuple(self.notes),
            (*self._faulty, *self._shown)[: 2 * self.limits.shown],
        )

    def _vocabulary(self) -> Iterator[Hit]:
        """What the tokenizer has; a token without an embedding is told once, where a row uses it."""
        for hit in vocabulary(self.student, self.trainable):
            if hit.name != "tokens_without_rows" or not self.tally.count("ids_without_rows"):
                yield hit

    def _of(self, name: str, given: int) -> int:
        """How many were looked at for what a name stands for."""
        if name == "tokens_without_rows":
            return len(self.student.tokenizer)
        return 1 if name in _SINGLE else given

    def _severities(self, given: int) -> Mapping[str, Severity]:
        """Few rows that are too long are a warning; where most are, what is left is another data set."""
        most = given and self.tally.count("too_long") / given > self.limits.too_long
        return {"too_long": "error"} if most else {}

    def _skipped(self, what: str, test: Sequence[Task]) -> dict[str, str]:
        """Checks that could not run, and why."""
        skipped = {} if test else dict.fromkeys(_NEED_TEST, "no held-out tasks were given")
        if self.checker is None and what == "rows":
            skipped |= dict.fromkeys(_NEED_CHECKER, "no checker was given")
        if self.student.embeddings is None:
            skipped |= dict.fromkeys(_NEED_WIDTH, "the model's settings do not say how many embeddings it has")
        return skipped


def _names(what: Literal["rows", "pairs"]) -> list[str]:
    """The names of all that is looked for."""
    if what == "pairs":
        of_pairs = names("template", "masks", "tokens", "data", "pairs")
        return [name for name in of_pairs if name not in _NEED_CHECKER]
    return [name for name in names("template", "masks", "tokens", "data") if name != "cut_unevenly"]
