"""What a check of the audit finds, and what that means: the consequence with its source, and what to do.

meanings()["length_gap"].advice      # texts: findings.yaml
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Literal, NamedTuple

import yaml

from stillroom.common.stats.intervals import Interval

Severity = Literal["error", "warning"]


class Meaning(NamedTuple):
    """`title`: what is counted. `ignored`: what happens to a student that is trained all the same. `source`: where
    that is shown, or reasoned. `advice`: what to do."""

    title: str
    severity: Severity
    ignored: str
    source: str
    advice: str


@cache
def meanings() -> Mapping[str, Meaning]:
    """What all findings mean, by name, in the order in which they are told. Read on first use."""
    read = yaml.safe_load((files("stillroom.preferences.audit") / "findings.yaml").read_text(encoding="utf-8"))
    return {name: Meaning(**fields) for name, fields in read.items()}


@dataclass(frozen=True, slots=True)
class Finding:
    """One check. `count` of `of` pairs (or tasks, or candidates: the title says); `value`: what is held against
    `limit`, a share where not told otherwise, with its interval; None where it cannot be known. `broken`: the limit
    is exceeded. `examples`: ids of the first few. Intervals take pairs for independent: of several pairs of a prompt
    they are too narrow."""

    name: str
    count: int
    of: int
    value: float | None
    limit: float | None
    broken: bool
    examples: tuple[str, ...] = ()
    interval: Interval | None = None
    detail: str = ""

    @property
    def meaning(self) -> Meaning:
        """What it stands for."""
        return meanings()[self.name]

    @property
    def severity(self) -> Severity:
        """Whether a broken limit refuses the data set, or warns."""
        return self.meaning.severity

    @property
    def told(self) -> str:
        """What was found, in a few words."""
        if self.name == "no_pairs":
            value = f"{self.of:,} pairs"
        elif self.value is None:
            value = str(self.count) if self.of and self.limit is None else "not known"
        elif self.name == "length_gap":
            value = f"{self.value:+.2f}"
        else:
            value = f"{self.count:,} of {self.of:,} ({self.value:.1%})"
        return f"{value}: {self.detail}" if self.detail else value

    def as_dict(self) -> dict[str, Any]:
        """For JSON: the numbers, then what they mean."""
        return {
            "name": self.name,
            "severity": self.severity,
            "broken": self.broken,
            "count": self.count,
            "of": self.of,
            "value": self.value,
            "interval": None if self.interval is None else self.interval._asdict(),
            "limit": self.limit,
            "detail": self.detail,
            "examples": list(self.examples),
            **{key: value for key, value in self.meaning._asdict().items() if key != "severity"},
        }
