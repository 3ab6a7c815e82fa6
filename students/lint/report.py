"""What the lint came to: findings, a table for the terminal, JSON for programs, and a few rows with their mask.

    report = lint_sft(rows, settings)
    Console().print(report.table())
    report.raise_if_errors()

An error means that nothing should be trained on these rows; a warning is recorded, and the run goes on.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from stillroom.errors import TrainingError
from stillroom.sampling.writing import replaced, storable
from stillroom.students.lint.findings import Finding
from stillroom.students.lint.masks import MaskedRow, legend, mask_text
from stillroom.students.lint.page import mask_page

if TYPE_CHECKING:
    from rich.console import Group

    from stillroom.sampling.printing import Table


@dataclass(frozen=True, slots=True)
class LintReport:
    """`rows`: that were looked at (`what` they are: rows, pairs or tokens). `trainable`: of them, those the trainer
    would take. `checked`: names of all checks that ran; `skipped`: those that could not, with the reason. `notes`:
    facts to know, such as which reference is used. `shown`: a few rows with their mask."""

    what: Literal["rows", "pairs", "tokens"]
    rows: int
    trainable: int
    findings: tuple[Finding, ...]
    checked: tuple[str, ...]
    skipped: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    shown: tuple[MaskedRow, ...] = ()

    @property
    def errors(self) -> tuple[Finding, ...]:
        """What stops the run."""
        return tuple(found for found in self.findings if found.severity == "error")

    @property
    def warnings(self) -> tuple[Finding, ...]:
        """What is recorded."""
        return tuple(found for found in self.findings if found.severity == "warning")

    @property
    def summary(self) -> str:
        """In one line."""
        errors, warnings = len(self.errors), len(self.warnings)
        told = f"{errors:,} error{'s' * (errors != 1)}, {warnings:,} warning{'s' * (warnings != 1)}"
        found = told if self.findings else "nothing found"
        return f"{len(self.checked)} checks on {self.rows:,} {self.what}: {found}"

    def find(self, name: str) -> Finding | None:
        """The finding of a name, or None where there is none."""
        return next((found for found in self.findings if found.name == name), None)

    def raise_if_errors(self) -> None:
        """Raises TrainingError that says what is wrong and what to do."""
        if not self.errors:
            return
        told = "; ".join(_sentence(found) for found in self.errors)
        raise TrainingError(f"the lint refuses these {self.rows:,} {self.what}, nothing was trained: {told}")

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "what": self.what,
            "rows": self.rows,
            "trainable": self.trainable,
            "errors": len(self.errors),
            "warnings": len(self.warnings),
            "findings": [found.as_dict() for found in self.findings],
            "checked": list(self.checked),
            "skipped": dict(self.skipped),
            "notes": list(self.notes),
        }

    def write(self, path: Path) -> None:
        """Writes it as JSON, the same bytes for the same lint. Raises RunError where it cannot be written."""
        text = json.dumps(self.as_dict(), indent=1, ensure_ascii=False, allow_nan=False)
        with replaced(path) as file:
            file.write(storable(text).encode() + b"\n")

    def write_page(self, path: Path, title: str = "Lint before training") -> None:
        """Writes the page with the rows and their masks. Raises RunError where it cannot be written."""
        with replaced(path) as file:
            file.write(storable(mask_page(self, title)).encode())

    def table(self) -> Table:
        """For a terminal: what was found, what it does, what to do about it."""
        from stillroom.sampling.printing import Table, plain

        shown: dict[str, Any] = {"title_justify": "left", "title_style": "bold", "show_header": False}
        table = Table(title=self.summary, box=None, padding=(0, 2, 0, 0), **shown)
        table.add_column(no_wrap=True)
        table.add_column(overflow="fold")
        for found in self.findings:
            colour = "red" if found.severity == "error" else "yellow"
            for number, (label, text) in enumerate(_lines(found)):
                style = colour if number == 0 else "dim"
                table.add_row(plain(label, style), plain(text, "bold" if number == 0 else ""))
        for note in (*self.notes, *(f"not looked at: {name} ({why})" for name, why in self.skipped.items())):
            table.add_row(plain("note", "dim"), plain(note, "dim"))
        return table

    def masks(self) -> Group:
        """For a terminal: a few rows with the mask in colour."""
        from rich.console import Group

        return Group(legend(), *(mask_text(row) for row in self.shown))


def _lines(found: Finding) -> list[tuple[str, str]]:
    """A label and a text each; the first is what was found."""
    meaning = found.meaning
    return [
        (found.severity, meaning.title),
        ("  found", found.told),
        ("  seen", found.detail),
        ("  if ignored", meaning.ignored),
        ("  do", meaning.advice),
        ("  source", meaning.source),
    ]


def _sentence(found: Finding) -> str:
    names = f" (such as {', '.join(found.examples[:3])})" if found.examples else ""
    return f"{found.count:,} {found.meaning.title}{names}: {found.detail}; {found.meaning.advice}"
