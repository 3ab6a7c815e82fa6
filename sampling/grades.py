"""What the grade of an answer in somebody's records means: accepted, rejected, or nothing that decides.

    true, 1, 1.0, "C", "correct", "yes", "pass"          accepted
    false, 0, "I", "incorrect", "no", "fail"             rejected
    "P", 0.5, anything between 0 and 1                   unscored (`partial`), unless `accept` says from where on
    "N"                                                  unscored (`no_answer`): the grader had found no answer
    null, or no field                                    unscored (`no_grade`)
    anything else                                        unscored (`unknown_grade`), never rejected

The letters are those of Inspect (https://inspect.aisi.org.uk/scorers.html), the numbers those of metrics such as
`exact_match` and `acc` of lm-evaluation-harness.

>>> read_grade("C").state.value, read_grade(0.5).reason, read_grade(0.5, accept=0.5).state.value
('accepted', 'partial', 'accepted')
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

from stillroom.common.records import State
from stillroom.common.row_files import kind_of

Meaning = Literal["accepted", "rejected", "unscored"]
"""What a recipe may say that a grade means."""

GRADED, PARTIAL, NO_ANSWER, NO_GRADE, UNKNOWN = "graded", "partial", "no_answer", "no_grade", "unknown_grade"
"""Reasons."""

_RIGHT = frozenset({"c", "correct", "true", "yes", "right", "pass", "passed"})
_WRONG = frozenset({"i", "incorrect", "false", "no", "wrong", "fail", "failed"})
_PARTLY = {"p": 0.5, "partial": 0.5}
_NOTHING = frozenset({"n", "noanswer", "no answer", "no_answer"})
SHOWN = 60
"""Characters of a grade that are kept and shown."""


class Grade(NamedTuple):
    """`score`: the number, if it is one. `told`: the grade as it stands there, where it decides nothing."""

    state: State
    reason: str
    score: float | None = None
    told: str = ""

    @property
    def right(self) -> bool | None:
        """Whether the answer is right; None where the grade does not decide it."""
        return {State.ACCEPTED: True, State.REJECTED: False}.get(self.state)


def kept(value: Any) -> Any:
    """A grade as it is held in memory: a number, true or false, or a short text."""
    if value is None or isinstance(value, bool | int | float):
        return value
    return value.strip()[:SHOWN] if isinstance(value, str) else kind_of(value)


def read_grade(value: Any, *, accept: float | None = None, words: Mapping[str, Meaning] | None = None) -> Grade:
    """What a grade means. `accept`: the least number that is accepted, all below are rejected; None: 1 and 0 decide,
    and nothing between. `words`: what further values mean."""
    text = str(value).strip()[:SHOWN]
    if (meaning := (words or {}).get(text)) is not None:
        return Grade(State(meaning), GRADED, _number(value), "" if meaning != "unscored" else text)
    if value is None or text == "":
        return Grade(State.UNSCORED, NO_GRADE)
    word = text.lower()
    if word in _NOTHING:
        return Grade(State.UNSCORED, NO_ANSWER, told=text)
    number = 1.0 if word in _RIGHT else 0.0 if word in _WRONG else _PARTLY.get(word, _number(value))
    if number is None:
        return Grade(State.UNSCORED, UNKNOWN, told=text)
    if accept is not None:
        return Grade(State.ACCEPTED if number >= accept else State.REJECTED, GRADED, number)
    if number in (0.0, 1.0):
        return Grade(State.ACCEPTED if number else State.REJECTED, GRADED, number)
    return Grade(State.UNSCORED, PARTIAL if 0 < number < 1 else UNKNOWN, number, text)


def _number(value: Any) -> float | None:
    """A number, also as a text (a cell of CSV); None for anything else, or one that is not finite."""
    if isinstance(value, bool):
        return float(value)
    try:
        number = float(value) if isinstance(value, int | float | str) else math.nan
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None
