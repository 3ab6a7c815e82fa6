"""What the plot of a loop shows, read from its evaluation: a point for each student, and the others beside them.

    round_points(read_eval(run / "eval.json"), rolled_back={3})      # student_before, round_1, round_2, …, in order
    other_results(evaluation)["one_round"]                           # controls, and the first teacher

Nothing is computed here; what was not measured is not there.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from stillroom.sampling.statistics import Interval
from stillroom.students.evaluate.results import ACCURACY, Evaluation, Result

BEFORE, ROUND = "student_before", "round_"
PERPLEXITY, OF_UNTRAINED = "perplexity", f"_{ACCURACY}"


@dataclass(frozen=True, slots=True)
class RoundPoint:
    """A student of a loop. `number`: 0 for the model before any round. `untrained`: accuracy by the name of the
    tasks."""

    number: int
    accuracy: Interval
    rolled_back: bool = False
    untrained: Mapping[str, Interval] = field(default_factory=dict)
    perplexity: Interval | None = None


def round_points(
    evaluation: Evaluation, *, rolled_back: Collection[int] = (), metric: str = ACCURACY
) -> tuple[RoundPoint, ...]:
    """From an evaluation whose models are called `student_before`, `round_1`, `round_2` …; in order. `metric`: what
    stands in the place of accuracy. A round that has none is left out."""
    found = []
    for who in evaluation.whos:
        number = number_of(who)
        row = evaluation.find(who, metric)
        if number is None or row is None:
            continue
        rows = [r for r in evaluation.results if r.who == who]
        untrained = {
            r.metric.removesuffix(OF_UNTRAINED): _interval(r) for r in rows if r.metric.endswith(OF_UNTRAINED)
        }
        surprise = next((_interval(r) for r in rows if r.metric == PERPLEXITY), None)
        found.append(RoundPoint(number, _interval(row), number in rolled_back, untrained, surprise))
    return tuple(sorted(found, key=lambda point: point.number))


def other_results(evaluation: Evaluation, metric: str = ACCURACY) -> dict[str, Result]:
    """Of the models that are no round of the loop: its controls and its first teacher."""
    rows = [row for row in evaluation.results if row.metric == metric]
    return {row.who: row for row in rows if number_of(row.who) is None}


def number_of(who: str) -> int | None:
    """Of a round's student; 0 for the model before any, None for others."""
    digits = who.removeprefix(ROUND)
    if who == BEFORE:
        return 0
    return int(digits) if who.startswith(ROUND) and digits.isascii() and digits.isdecimal() else None


def _interval(row: Result) -> Interval:
    return Interval(row.value, row.low, row.high, row.n)
