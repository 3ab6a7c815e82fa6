"""What a check of the lint finds: how many rows, which, and what is said of it.

    found = Finding("double_bos", "error", 3, 40, ("row 1", "row 2"), "it begins with '<s><s>'")
    found.meaning.ignored          # what happens to a student that is trained all the same

What each finding means is in `catalogue`, one table for all: a check says what it saw, and nothing more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from stillroom.students.lint.catalogue import Meaning, Severity, meanings


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
