"""What the methods that learn from rows of traces have in common: the lint before the training.

    class Sft(OfRows): ...

It stands apart from the registry, which the lint imports.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stillroom.common.marks import NamedMarks
from stillroom.common.records import Task
from stillroom.students.data.rows import Row
from stillroom.students.methods.registry import StudentSettings

if TYPE_CHECKING:
    from stillroom.students.lint.report import LintReport
    from stillroom.students.records import Checker


class OfRows(StudentSettings):
    """A method that is trained on the answers of rows."""

    def lint(
        self,
        rows: Path | str | Iterable[Row],
        *,
        test: Sequence[Task] = (),
        checker: Checker | None = None,
        thinking: NamedMarks | None = None,
    ) -> LintReport:
        """See the base class."""
        from stillroom.students.lint.lint import lint_sft

        more = self.lint_more()
        return lint_sft(rows, self, test=test, checker=checker, thinking=thinking, **more)

    def lint_more(self) -> dict[str, Any]:
        """What else `lint_sft` is given: a teacher that reads the rows, and what a loss of the method's moves."""
        return {}
