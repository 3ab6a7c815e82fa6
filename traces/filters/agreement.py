"""`agreement`: what the draws of a task say, compared: disagreements are left out, or voted on.

    filters: [finished, {agreement: unanimous}]
    filters: [finished, {agreement: {rule: majority, min_draws: 3}}, dedup]

A teacher that gives the same label five times in five is more often right than one that gives it three times. The
share of a task's draws that say what most of them say is its agreement, a confidence that costs nothing but draws
(self-consistency, Wang et al. 2022, arXiv:2203.11171).

- `unanimous`: a task stays where all its draws say the same, and goes whole where they do not.
- `majority`: what more than half of the draws say stays, and the rest goes; a task without such an answer goes whole.

An unscored draw (cut off, no label) says nothing and does not vote. A task with fewer votes than
`min_draws` goes, since one vote always agrees with itself: give `keep: {policy: fixed, attempts: 5}`, for `until`
stops at the first accepted.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Sequence
from typing import ClassVar, Literal, NamedTuple

from pydantic import Field

from stillroom.common.hashing import digest
from stillroom.common.records import State, Task
from stillroom.traces.filters.base import Check, FilterSettings, Finding, TaskCheck, filters
from stillroom.traces.trace import Trace

SHOWN = 60
"""Characters of an answer in a detail."""


class Votes(NamedTuple):
    """What the draws of a task say. `top`: what most say, the first in draw order where several do; None without
    votes. `of_top`: its votes; `cast`: votes in all; `tied`: whether another has as many."""

    top: str | None
    of_top: int
    cast: int
    tied: bool = False

    @property
    def agreement(self) -> float | None:
        """The share of the votes that `top` has; None without votes."""
        return self.of_top / self.cast if self.cast else None


def votes_of(said: Sequence[str]) -> Votes:
    """Counts votes.

    >>> votes_of(["a", "b", "a"])
    Votes(top='a', of_top=2, cast=3, tied=False)
    """
    counts = Counter(said).most_common()
    if not counts:
        return Votes(None, 0, 0)
    tied = len(counts) > 1 and counts[1][1] == counts[0][1]
    return Votes(counts[0][0], counts[0][1], len(said), tied)


def said_by(trace: Trace, by: Literal["label", "text"]) -> str | None:
    """What a draw says: the label that the scorer read, or its answer without case and white space. None where the
    scorer could not tell."""
    if trace.verdict.state is State.UNSCORED:
        return None
    if by == "label":
        return trace.verdict.detail
    # Whole answers may be long: a hash of each is enough to compare them.
    return digest(" ".join(unicodedata.normalize("NFKC", trace.answer).casefold().split()))


@filters.register
class Agreement(FilterSettings):
    """Reasons: disagreement, minority, no_majority, too_few_draws."""

    name: Literal["agreement"] = "agreement"
    short: ClassVar[str | None] = "rule"
    of_tasks: ClassVar[bool] = True
    rule: Literal["unanimous", "majority"] = "unanimous"
    """Which answers stay: those of tasks whose draws all say the same, or what more than half of a task's draws
    say."""
    by: Literal["label", "text"] = "label"
    """What is compared: the label that the scorer read, or the whole answer without its thinking."""
    min_draws: int = Field(default=2, ge=1)
    """Votes that a task needs."""

    def start(self, test: Sequence[Task]) -> Check:
        return _Vote(self)


class _Vote(TaskCheck):
    """The check: it holds the votes of one task."""

    def __init__(self, settings: Agreement) -> None:
        self._settings, self._votes = settings, Votes(None, 0, 0)

    def begin(self, traces: Sequence[Trace]) -> None:
        said = [said_by(trace, self._settings.by) for trace in traces]
        self._votes = votes_of([each for each in said if each is not None])

    def __call__(self, trace: Trace) -> Finding | None:
        votes, settings = self._votes, self._settings
        shown = f"{votes.of_top} of {votes.cast} draws say the same"
        if settings.by == "label" and votes.top is not None:
            shown = f"{votes.of_top} of {votes.cast} draws say {votes.top[:SHOWN]}"
        if votes.cast < settings.min_draws:
            return Finding("too_few_draws", f"{votes.cast} of {settings.min_draws} votes")
        if settings.rule == "unanimous":
            return None if votes.of_top == votes.cast else Finding("disagreement", shown)
        if 2 * votes.of_top <= votes.cast:
            return Finding("no_majority", shown)
        return None if said_by(trace, settings.by) == votes.top else Finding("minority", shown)
