"""What the plots show, counted: levels of difficulty, and lengths of answers.

    by_level(outcomes, lambda task: task.metadata.get("level"))
    lengths(answers_of_one_model)

Tasks without a level are left out, and counted as such by the difference in n.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from stillroom.sampling.records import Outcome, ScoredAttempt, State, Task
from stillroom.sampling.statistics import Interval, wilson


class Level(NamedTuple):
    """Tasks of one difficulty. `yielded`: share of tasks that gave at least one trace; `first_right`: share whose
    first attempt was accepted. Attempts after the first say less: how many there are depends on how they came out."""

    label: str
    tasks: int
    yielded: Interval
    first_right: Interval


class Lengths(NamedTuple):
    """Tokens of each answer that ended by itself, and of each that the length limit cut off."""

    ended: tuple[int, ...]
    cut: tuple[int, ...]

    @property
    def all(self) -> tuple[int, ...]:
        """Of every answer."""
        return self.ended + self.cut


def by_level(outcomes: Iterable[Outcome], level: Callable[[Task], str | float | None]) -> list[Level]:
    """The levels in order: numbers by size, then names by the alphabet. Tasks without attempts or level are left
    out."""
    found: dict[str | float, list[Outcome]] = {}
    for outcome in outcomes:
        if outcome.attempts and (at := level(outcome.task)) is not None:
            found.setdefault(at, []).append(outcome)
    ordered = sorted(found, key=lambda at: (isinstance(at, str), at if isinstance(at, str) else "", _number(at)))
    return [_level(_label(at), found[at]) for at in ordered]


def lengths(answers: Mapping[str, ScoredAttempt]) -> Lengths:
    """Of one model's answers."""
    sides: dict[bool, list[int]] = {False: [], True: []}
    for answer in answers.values():
        sides[answer.attempt.finish_reason == "length"].append(answer.attempt.completion_tokens)
    return Lengths(tuple(sorted(sides[False])), tuple(sorted(sides[True])))


def _level(label: str, outcomes: list[Outcome]) -> Level:
    n = len(outcomes)
    first = sum(outcome.attempts[0].verdict.state is State.ACCEPTED for outcome in outcomes)
    return Level(label, n, wilson(sum(bool(outcome.kept) for outcome in outcomes), n), wilson(first, n))


def _number(at: str | float) -> float:
    return 0.0 if isinstance(at, str) else at


def _label(at: str | float) -> str:
    return at if isinstance(at, str) else f"{at:g}"
