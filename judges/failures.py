"""Where a judge failed. Failures can depend on what an answer says: a judge that refuses one kind of answer, or that
cannot read long ones, looks better on what is left.

Each question put to the judge counts once: an order of a pair, or a rating of one answer.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from stillroom.common.settings import Settings
from stillroom.judges.agreement import JudgedPair
from stillroom.judges.records import FAILURES, JudgeState

LENGTHS = ("short", "middle", "long")


class Asked(NamedTuple):
    """One question. `about`: by people's label, which answer was rated ("better", "worse", "equal") or shown first
    ("better first", "worse first", "equal"; "one order" where only one was asked). `length`: characters of all
    answers shown. `sources`: who wrote them."""

    state: JudgeState
    about: str
    length: int
    sources: tuple[str, ...]

    @property
    def failed(self) -> bool:
        """Whether there was no judgement."""
        return self.state in FAILURES


class FailureCount(Settings):
    """Questions put to the judge that got no judgement."""

    failed: int
    asked: int


class FailureReport(Settings):
    """Failures by people's label of the answer, by length, and by who wrote it."""

    by_answer: dict[str, FailureCount]
    by_length: dict[str, FailureCount]
    by_source: dict[str, FailureCount]


def questions(judged: Sequence[JudgedPair]) -> list[Asked]:
    """Every question that was put to the judge."""
    asked: list[Asked] = []
    for one in judged:
        pair, tie = one.pair, one.pair.label == "tie"
        for rating, key, answer in zip(one.ratings or (), ("a", "b"), (pair.a, pair.b), strict=bool(one.ratings)):
            about = "equal" if tie else "better" if pair.label == key else "worse"
            asked.append(Asked(rating.state, about, len(answer.text), (answer.teacher,)))
        for order in () if one.ratings else one.orders:
            about = "better first" if (pair.label == "a") is order.a_first else "worse first"
            if tie or len(one.orders) < 2:  # where one order was asked and failed, nothing tells which
                about = "equal" if tie else "one order"
            length = len(pair.a.text) + len(pair.b.text)
            asked.append(Asked(order.verdict.state, about, length, (pair.a.teacher, pair.b.teacher)))
    return asked


def by_state(asked: Sequence[Asked]) -> dict[str, int]:
    """How often a question ended in each state, for the states that occurred."""
    return {state.value: n for state in JudgeState if (n := sum(one.state is state for one in asked))}


def report(asked: Sequence[Asked]) -> FailureReport:
    """By people's label (does it fail on the answers they like less?), by length, and by who wrote the answers: a
    comparison counts for both."""
    return FailureReport(
        by_answer=_grouped((one.about, one) for one in asked),
        by_length=by_length(asked),
        by_source=_grouped((source, one) for one in asked for source in dict.fromkeys(one.sources)),
    )


def by_length(asked: Sequence[Asked]) -> dict[str, FailureCount]:
    """By thirds of the length of what was shown; equal lengths stay together, so thirds may differ in size."""
    if not asked:
        return {}
    lengths = sorted(one.length for one in asked)
    lower, upper = lengths[(len(lengths) - 1) // 3], lengths[2 * len(lengths) // 3]
    grouped = _grouped((_third(one.length, lower, upper), one) for one in asked)
    return {length: grouped[length] for length in LENGTHS if length in grouped}


def _third(length: int, lower: int, upper: int) -> str:
    if lower == upper:
        return "short" if length < lower else "long" if length > upper else "middle"
    return "short" if length <= lower else "long" if length >= upper else "middle"


def _grouped(items: Iterator[tuple[str, Asked]]) -> dict[str, FailureCount]:
    asked: Counter[str] = Counter()
    failed: Counter[str] = Counter()
    for key, one in items:
        asked[key] += 1
        failed[key] += one.failed
    return {key: FailureCount(failed=failed[key], asked=asked[key]) for key in sorted(asked)}
