"""Where a cache's distributions come from: what every source does, and how it says that it cannot.

    async for number, entry in source.score(rows, Rule(16, 16, None), (1.0, 2.0)):
        …                                             # entry: of rows[number]; in any order

A source is one of: a model in this process (`local`), a server or engine that gives `prompt_logprobs` (`prompted`), a
file of somebody else (`recorded`).
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from pathlib import Path
from typing import Annotated, NamedTuple, Protocol

from stillroom.common.registry import Registry
from stillroom.common.settings import Settings
from stillroom.students.data.encode import IGNORED, EncodedRow
from stillroom.students.whitebox.cache.record import Entry
from stillroom.students.whitebox.cache.rules import Rule, Temperatures


class Scored(NamedTuple):
    """A row that was scored. `number`: which of those that were given."""

    number: int
    entry: Entry


class SignalSettings(Settings):
    """What every kind of `signal` has. It tells the distribution at T = 1."""

    kind: str

    def identity(self, base: Path) -> str:
        """All that decides what is told, in a line; the same in every process. `base`: where relative paths start."""
        raise NotImplementedError

    def make(self, base: Path, vocabulary: int) -> Source:
        """Who is asked. `vocabulary`: ids from there on are a fault. Raises what is wrong, or missing."""
        raise NotImplementedError


signals: Registry[SignalSettings] = Registry("signal", tag="kind", where=("stillroom.students.whitebox.cache",))
"""Every kind of `signal` by its name in a recipe."""

AnySignal = Annotated[SignalSettings, signals.field()]


class Source(Protocol):
    """Whoever knows the teacher's distribution."""

    def score(self, rows: Sequence[EncodedRow], rule: Rule, temperatures: Temperatures) -> AsyncGenerator[Scored]:
        """Each row once, in any order: rows as the teacher reads them, with labels on the answer."""

    async def close(self) -> None:
        """Frees what was loaded. Safe to call twice."""


def start_of(row: EncodedRow) -> int:
    """The place of the answer's first token."""
    return next(i for i, label in enumerate(row.labels) if label != IGNORED)
