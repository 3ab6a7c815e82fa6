"""Traces for controls: what a student is trained on that is to show where the gain of another comes from.

    unfiltered(outcomes, 200)          # whatever was answered: what a run without a check would train on
    wrong_in_form(outcomes, 200)       # finished and readable, and wrong: the form without the skill

Tasks take turns: every task's first, in an order that is drawn by hash, then every task's second, and so on. So fewer
traces than there are come from all over, and the same outcomes give the same traces. Outcomes are gone over twice,
and of each only the places of the traces that are wanted are held. What could not be scored is never taken for wrong.
"""

from __future__ import annotations

import heapq
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

from stillroom.common.hashing import digest
from stillroom.common.marks import split_thinking
from stillroom.common.records import Outcome, State
from stillroom.traces.answers.extract import find_answer
from stillroom.traces.trace import Trace, traces_in


class _Place(NamedTuple):
    """Where an attempt stands in the order. `turn`: its place among its task's."""

    turn: int
    drawn: str
    task_id: str
    draw: int


def unfiltered(outcomes: Iterable[Outcome], count: int) -> list[Trace]:
    """The first `count` attempts, the turn of each being its draw; `outcomes` can be gone over twice."""
    places = (_place(trace, trace.attempt.index) for outcome in outcomes for trace in traces_in(outcome, which="all"))
    return _chosen(outcomes, places, count)


def wrong_in_form(
    outcomes: Iterable[Outcome], count: int, *, admits: Callable[[Trace], bool] | None = None
) -> list[Trace]:
    """The first `count` attempts that ended by themselves and were read, compared and rejected; fewer where there
    are fewer. `admits`: a further condition, asked of each by task, then by draw. `outcomes` can be gone over twice.
    """

    def places() -> Iterator[_Place]:
        for outcome in outcomes:
            ended = (trace for trace in traces_in(outcome, which="all") if trace.attempt.finish_reason == "stop")
            # Rejected: read whole and found different. Unscored is not evidence about the answer.
            wrong = (trace for trace in ended if trace.verdict.state is State.REJECTED)
            wanted = (trace for trace in wrong if admits is None or admits(trace))
            yield from (_place(trace, turn) for turn, trace in enumerate(wanted))

    return _chosen(outcomes, places(), count)


def _place(trace: Trace, turn: int) -> _Place:
    return _Place(turn, digest(["control", trace.task.id]), trace.task.id, trace.attempt.index)


def _chosen(outcomes: Iterable[Outcome], places: Iterable[_Place], count: int) -> list[Trace]:
    """The traces at the first `count` places, in their order."""
    wanted = {(place.task_id, place.draw): place for place in heapq.nsmallest(count, places)}
    found: dict[_Place, Trace] = {}
    for outcome in outcomes:
        for trace in traces_in(outcome, which="all"):
            place = wanted.get((trace.task.id, trace.attempt.index))
            if place is not None:
                found[place] = trace
    return [found[place] for place in sorted(found)]


# -- the answer without its reasoning ----------------------------------------------------------------------------

_SENTENCES = re.compile(r"(?<=[.!?])\s+")
_TAIL_LINES = 40
"""Lines from the end that are tried together: an answer in a display takes a few, and each try reads them all."""


def only_the_answer(text: str, *, last: bool = False) -> str | None:
    r"""The last sentence, line or lines of a text that say its final answer just as the whole does; None where there
    is none. The thinking part is not part of it. `last`: as for `find_answer`, where nothing marks the answer.

    >>> only_the_answer("48 / 2 = 24 clips.\nSo 48 + 24 = 72.\n#### 72")
    '#### 72'
    """
    text = split_thinking(text).text
    found = find_answer(text, last=last)
    if found is None:
        return None
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    for candidate in (*_sentences(lines), *_tails(lines)):
        if find_answer(candidate, last=last) == found:
            return candidate
    return None


def _sentences(lines: Sequence[str]) -> Iterator[str]:
    """The ends of each line, the last line first and the shortest end first."""
    for line in reversed(lines):
        starts = [0, *(match.end() for match in _SENTENCES.finditer(line))][-_TAIL_LINES:]
        yield from (line[start:] for start in reversed(starts))
        yield line


def _tails(lines: Sequence[str]) -> Iterator[str]:
    for count in range(2, min(len(lines), _TAIL_LINES) + 1):
        yield "\n".join(lines[-count:])
