"""Prints a lint."""

from __future__ import annotations

from stillroom.common.printing import terminal
from stillroom.report.lint import lint_masks, lint_table
from stillroom.students.lint.report import LintReport


def show_lint(report: LintReport) -> None:
    """Prints what was found, and a few rows with their mask."""
    console = terminal()
    console.print(lint_table(report))
    if report.shown:
        console.print()
        console.print(lint_masks(report))
