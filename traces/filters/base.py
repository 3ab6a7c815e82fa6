"""What a filter is, and what applying filters yields.

A filter is a small frozen settings model with a `name` and a method `start`, which gives the check of one run: a
function from a trace to a `Finding` (why it goes) or None (it stays). State, such as the texts that `dedup` has
seen, lives in that function, so that a filter can be applied again and says the same.

A filter drops nothing by itself: it says why, the caller counts, the reject is kept.

A new filter is a module in this package with one registered class; recipes know it by its name from then on:

    @filters.register
    class NotShouted(FilterSettings):
        name: Literal["not_shouted"] = "not_shouted"

        def start(self, test: Sequence[Task]) -> Check:
            return lambda trace: Finding("capitals", trace.answer[:80]) if trace.answer.isupper() else None
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, NamedTuple, Protocol, runtime_checkable

from stillroom.common.records import Task
from stillroom.common.registry import Registry
from stillroom.common.settings import Settings
from stillroom.traces.trace import Trace


class Finding(NamedTuple):
    """Why a trace goes: a reason from the filter's closed set, and what a person wants to see."""

    reason: str
    detail: str


Check = Callable[[Trace], Finding | None]


class Filter(Protocol):
    """One filter of a recipe."""

    @property
    def name(self) -> str:
        """As recipes call it; its rejects are kept under it."""

    def start(self, test: Sequence[Task]) -> Check:
        """The check of one run over traces in order. `test`: the held-out tasks, for decontamination."""


@runtime_checkable
class ReadsFiles(Protocol):
    """What a filter has whose settings name a file. There may be several of it, told apart by `label`."""

    @property
    def label(self) -> str:
        """What its counts and rejects are kept under: its name, and more."""

    def start_in(self, base: Path, test: Sequence[Task]) -> Check:
        """As `Filter.start`; relative paths start at `base`."""


class FilterSettings(Settings):
    """Base of the filters. `short`: the setting that a bare value stands for (`max_tokens: 2048`)."""

    short: ClassVar[str | None] = None

    name: str

    def start(self, test: Sequence[Task]) -> Check:
        raise NotImplementedError


filters: Registry[FilterSettings] = Registry("filter", tag="name", where=("stillroom.traces.filters",))
"""Every filter by its name in a recipe."""


class Stateless(FilterSettings):
    """Base of the filters that look at one trace at a time: nothing of it is kept for the next."""

    def start(self, test: Sequence[Task]) -> Check:
        return self.check

    def check(self, trace: Trace) -> Finding | None:
        """Why the trace goes, or None."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class Reject:
    """A trace that a filter dropped."""

    trace: Trace
    filter: str
    reason: str
    detail: str


class FilterCount(NamedTuple):
    """How many traces reached a filter, and how many it dropped."""

    name: str
    seen: int
    dropped: int


class Filtered(NamedTuple):
    """What applying filters yields: `kept` and `rejects` in the order of the traces, `counts` in the filters'."""

    kept: list[Trace]
    rejects: list[Reject]
    counts: list[FilterCount]
