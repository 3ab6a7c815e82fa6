"""What the lint finds: hits, findings with their meaning (`catalogue.yaml`), the report, a few rows with their mask.

    report = lint_sft(rows, settings)
    report.find("double_bos").meaning.ignored     # what happens to a student that is trained all the same
    report.write(run / "lint.json")
    report.raise_if_errors()

An error means that nothing should be trained on these rows; a warning is recorded, and the run goes on.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import yaml
from pydantic import Field

from stillroom.common.files import replaced, storable
from stillroom.common.settings import Settings
from stillroom.errors import TrainingError
from stillroom.preferences.checks import Meaning, Severity

Share = Annotated[float, Field(ge=0, le=1)]


class LintLimits(Settings):
    """`duplicates`: share of rows that repeat an earlier one, above which it is told. `same_answer_words`: words from
    which an answer that stands under another prompt counts as a repeat: short ones are rightly shared. `too_long`:
    share of rows left out for their length, above which that is an error. `off_policy`: share of pairs with no side
    of the student's own. `examples`: rows named in a finding. `shown`: rows whose mask is kept for looking at."""

    duplicates: Share = 0.05
    same_answer_words: int = Field(default=20, ge=1)
    too_long: Share = 0.5
    off_policy: Share = 0.5
    examples: int = Field(default=5, ge=1)
    shown: int = Field(default=3, ge=0)


Group = Literal["template", "masks", "tokens", "data", "pairs", "labels", "tokens_of_both", "teacher", "gradients"]


@cache
def _groups() -> Mapping[Group, Mapping[str, Meaning]]:
    # On first use, so that importing the lint does not wait for it.
    read = yaml.safe_load((files("stillroom.students.lint") / "catalogue.yaml").read_text(encoding="utf-8"))
    return {group: {name: Meaning(**fields) for name, fields in found.items()} for group, found in read.items()}


@cache
def meanings() -> Mapping[str, Meaning]:
    """All meanings by name, in the order in which findings of one severity are listed."""
    return {name: meaning for group in _groups().values() for name, meaning in group.items()}


def names(*groups: Group) -> list[str]:
    """The findings of some groups."""
    return [name for group in groups for name in _groups()[group]]


class Hit(NamedTuple):
    """One mark of a check. `row`: the row's name, or what it is about instead (`the tokenizer`). `detail`: what was
    seen there."""

    name: str
    row: str
    detail: str


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong. `count` of `of` rows (or tokens, or tokenizers: the title says); `examples`: the names
    of the first few; `detail`: what was seen in the first of them."""

    name: str
    severity: Severity
    count: int
    of: int
    examples: tuple[str, ...]
    detail: str

    @property
    def meaning(self) -> Meaning:
        """What it stands for."""
        return meanings()[self.name]

    @property
    def told(self) -> str:
        """What was found, in a few words."""
        share = f"{self.count:,} of {self.of:,} ({self.count / self.of:.1%})" if self.of else f"{self.count:,}"
        names = ", ".join(self.examples[:3])
        return f"{share}: {names}" if names else share

    def as_dict(self) -> dict[str, Any]:
        """For JSON: the numbers, then what they mean."""
        return asdict(self) | self.meaning._asdict() | {"severity": self.severity, "examples": list(self.examples)}


class Tally:
    """Hits, gathered by name: what is held of each is its count and the first few. `examples`: how many."""

    def __init__(self, examples: int) -> None:
        self._most = examples
        self.counts: Counter[str] = Counter()
        self._first: defaultdict[str, list[Hit]] = defaultdict(list)

    def add(self, hits: Iterable[Hit]) -> None:
        """Counts hits. Raises KeyError for a name that means nothing."""
        for hit in hits:
            assert hit.name in meanings(), hit.name
            self.counts[hit.name] += 1
            if len(self._first[hit.name]) < self._most:
                self._first[hit.name].append(hit)

    def findings(self, of: Callable[[str], int], severity: Mapping[str, Severity] | None = None) -> list[Finding]:
        """All that was found, errors first. `of`: how many were looked at for a name. `severity`: where it is
        another than the name's own."""
        found = []
        for name, meaning in meanings().items():
            if count := self.counts[name]:
                rows, seen = tuple(hit.row for hit in self._first[name]), self._first[name][0].detail
                found.append(Finding(name, (severity or {}).get(name, meaning.severity), count, of(name), rows, seen))
        return sorted(found, key=lambda each: each.severity != "error")


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
        checks = "1 check" if len(self.checked) == 1 else f"{len(self.checked)} checks"
        return f"{checks} on {self.rows:,} {self.what}: {found}"

    def find(self, name: str) -> Finding | None:
        """The finding of a name, or None where there is none."""
        return next((found for found in self.findings if found.name == name), None)

    def raise_if_errors(self) -> None:
        """Raises TrainingError that says what is wrong and what to do."""
        if not self.errors:
            return
        told = []
        for found in self.errors:
            names = f" (such as {', '.join(found.examples[:3])})" if found.examples else ""
            told.append(f"{found.count:,} {found.meaning.title}{names}: {found.detail}; {found.meaning.advice}")
        raise TrainingError(
            f"the lint refuses these {self.rows:,} {self.what}, nothing was trained: {'; '.join(told)}"
        )

    def as_dict(self) -> dict[str, Any]:
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
