"""What the lint came to: findings, and a few rows with their mask; for people see `stillroom.report.lint`.

    report = lint_sft(rows, settings)
    report.write(run / "lint.json")
    report.raise_if_errors()

An error means that nothing should be trained on these rows; a warning is recorded, and the run goes on.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

from stillroom.common.files import replaced, storable
from stillroom.errors import TrainingError
from stillroom.students.lint.findings import Finding

Kind = Literal["prompt", "loss", "pad"]


class Stretch(NamedTuple):
    """Tokens in a row that are treated alike. `special`: they are special tokens. `tokens`: how many."""

    text: str
    kind: Kind
    special: bool
    tokens: int


class MaskedRow(NamedTuple):
    """One row of a batch as the model gets it."""

    name: str
    stretches: tuple[Stretch, ...]

    def count(self, kind: Kind) -> int:
        """Tokens of a kind."""
        return sum(stretch.tokens for stretch in self.stretches if stretch.kind == kind)

    @property
    def facts(self) -> str:
        """The row's name and its tokens, in words."""
        pad = self.count("pad")
        told = f"{self.name}: {self.count('prompt'):,} tokens not in the loss, {self.count('loss'):,} in it"
        return f"{told}, {pad:,} of padding" if pad else told


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


def _sentence(found: Finding) -> str:
    names = f" (such as {', '.join(found.examples[:3])})" if found.examples else ""
    return f"{found.count:,} {found.meaning.title}{names}: {found.detail}; {found.meaning.advice}"
