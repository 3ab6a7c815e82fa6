"""What the lint finds: how many rows, which, and what each finding means (`catalogue.yaml`).

found = Finding("double_bos", "error", 3, 40, ("row 1", "row 2"), "it begins with '<s><s>'")
found.meaning.ignored          # what happens to a student that is trained all the same
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Annotated, Any, Literal, NamedTuple

import yaml
from pydantic import BaseModel, ConfigDict, Field

Share = Annotated[float, Field(ge=0, le=1)]


class LintLimits(BaseModel):
    """`duplicates`: share of rows that repeat an earlier one, above which it is told. `same_answer_words`: words from
    which an answer that stands under another prompt counts as a repeat: short ones are rightly shared. `too_long`:
    share of rows left out for their length, above which that is an error. `off_policy`: share of pairs with no side
    of the student's own. `examples`: rows named in a finding. `shown`: rows whose mask is kept for looking at."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    duplicates: Share = 0.05
    same_answer_words: int = Field(default=20, ge=1)
    too_long: Share = 0.5
    off_policy: Share = 0.5
    examples: int = Field(default=5, ge=1)
    shown: int = Field(default=3, ge=0)


Severity = Literal["error", "warning"]
Group = Literal["template", "masks", "tokens", "data", "pairs", "teachers"]


class Meaning(NamedTuple):
    """`title`: what is counted. `ignored`: what happens to a student that is trained all the same. `source`: where
    that is shown, or reasoned. `advice`: what to do."""

    title: str
    severity: Severity
    ignored: str
    source: str
    advice: str


@cache
def _groups() -> Mapping[Group, Mapping[str, Meaning]]:
    # On first use, so that importing the lint does not wait for it.
    read = yaml.safe_load((files("stillroom.students.lint") / "catalogue.yaml").read_text(encoding="utf-8"))
    return {group: {name: Meaning(**fields) for name, fields in found.items()} for group, found in read.items()}


@cache
def meanings() -> Mapping[str, Meaning]:
    """All of them, by name: of one severity, in the order in which they are told."""
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
        return {
            "name": self.name,
            "severity": self.severity,
            "count": self.count,
            "of": self.of,
            "examples": list(self.examples),
            "detail": self.detail,
            **{key: value for key, value in self.meaning._asdict().items() if key != "severity"},
        }


class Tally:
    """Hits, gathered by name: what is held of each is a count and the first few. `examples`: how many."""

    def __init__(self, examples: int) -> None:
        self._most = examples
        self._counts: dict[str, int] = {}
        self._first: dict[str, list[Hit]] = {}

    def add(self, hits: Iterable[Hit]) -> None:
        """Counts hits. Raises KeyError for a name that means nothing."""
        for hit in hits:
            assert hit.name in meanings(), hit.name
            self._counts[hit.name] = self._counts.get(hit.name, 0) + 1
            first = self._first.setdefault(hit.name, [])
            if len(first) < self._most:
                first.append(hit)

    def count(self, name: str) -> int:
        """Hits of one name."""
        return self._counts.get(name, 0)

    def names(self, severity: Severity) -> list[str]:
        """The rows that are examples of what is that severe, each once."""
        hits = (hit for name, first in self._first.items() if meanings()[name].severity == severity for hit in first)
        return list(dict.fromkeys(hit.row for hit in hits))

    def findings(self, of: Callable[[str], int], severity: Mapping[str, Severity] | None = None) -> list[Finding]:
        """All that was found, errors first. `of`: how many were looked at for a name. `severity`: where it is
        another than the name's own."""
        given = severity or {}
        found = [
            Finding(
                name,
                given.get(name, meanings()[name].severity),
                count,
                of(name),
                tuple(hit.row for hit in self._first[name]),
                self._first[name][0].detail,
            )
            for name, count in self._counts.items()
        ]
        order = list(meanings())
        return sorted(found, key=lambda each: (each.severity != "error", order.index(each.name)))
