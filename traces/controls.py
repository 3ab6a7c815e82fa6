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
from collections.abc import Callable, Iterable, Iterator
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
    return _chosen(outcomes, ((trace, trace.attempt.index) for o in outcomes for trace in traces_in(o)), count)


def wrong_in_form(
    outcomes: Iterable[Outcome], count: int, *, admits: Callable[[Trace], bool] | None = None
) -> list[Trace]:
    """The first `count` attempts that ended by themselves and were read, compared and rejected; fewer where there
    are fewer. `admits`: a further condition, asked of each by task, then by draw. `outcomes` can be gone over twice.
    """

    def wanted(trace: Trace) -> bool:
        # Rejected: read whole and found different. Unscored is not evidence about the answer.
        wrong = trace.attempt.finish_reason == "stop" and trace.verdict.state is State.REJECTED
        return wrong and (admits is None or admits(trace))

    turns = ((trace, turn) for o in outcomes for turn, trace in enumerate(filter(wanted, traces_in(o))))
    return _chosen(outcomes, turns, count)


def _chosen(outcomes: Iterable[Outcome], turns: Iterable[tuple[Trace, int]], count: int) -> list[Trace]:
    """The first `count` traces, in their order. `turns`: those that can be taken, each with its turn."""
    places = (
        _Place(turn, digest(["control", trace.task.id]), trace.task.id, trace.attempt.index) for trace, turn in turns
    )
    wanted = {(place.task_id, place.draw): place for place in heapq.nsmallest(count, places)}
    found: dict[_Place, Trace] = {}
    for outcome in outcomes:
        for trace in traces_in(outcome):
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
    return next((ending for ending in _endings(text) if find_answer(ending, last=last) == found), None)


def _endings(text: str) -> Iterator[str]:
    """The ends of each line, the last line first and the shortest end first; then the last lines together."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    for line in reversed(lines):
        starts = [0, *(match.end() for match in _SENTENCES.finditer(line))][-_TAIL_LINES:]
        yield from (line[start:] for start in reversed(starts))
        yield line
    for count in range(2, min(len(lines), _TAIL_LINES) + 1):
        yield "\n".join(lines[-count:])
