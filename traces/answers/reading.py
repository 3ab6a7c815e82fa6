"""From two texts to a verdict, as far as that goes without a worker: find, limit, write plainly, compare exactly.

What is left is a pair of formulas for the engine. This is the seam between the exact part and the engine: another
engine replaces what comes after it, and nothing before.

>>> read("#### 18", "The answer is $18.").reason
<Reason.EQUAL: 'equal'>
"""

from __future__ import annotations

from typing import NamedTuple

from stillroom.traces.answers import exact
from stillroom.traces.answers.extract import find_answer
from stillroom.traces.answers.formula import Formula, formula
from stillroom.traces.answers.limits import MAX_TEXT, over_limit
from stillroom.traces.answers.plain import plain, unreadable
from stillroom.traces.answers.records import Reason

DEGREES = r"^\circ"


class Answer(NamedTuple):
    """An answer as it was found. `plain` is "" where `reason` says why it cannot be read."""

    plain: str
    reason: Reason | None = None
    why: str = ""


class Reading(NamedTuple):
    """Where reading has led: a reason, or two formulas that only the engine can compare.

    `detail`: the answer that was read, or what stood in the way.
    """

    reason: Reason | None
    detail: str
    gold: str = ""
    answer: str = ""


def read(gold: str, answer: str) -> Reading:
    """Reads a gold and a whole completion."""
    one = locate(gold, Reason.UNPARSED_GOLD, Reason.UNPARSED_GOLD)
    if one.reason is not None:
        return Reading(one.reason, f"gold: {one.why}")
    other = locate(answer, Reason.NO_ANSWER, Reason.UNPARSED_ANSWER)
    if other.reason is not None:
        return Reading(other.reason, other.why)
    return compare(one.plain, other.plain)


def locate(text: str, missing: Reason, unread: Reason) -> Answer:
    """Finds the answer of a text and writes it plainly."""
    if len(text) > MAX_TEXT:
        return Answer("", Reason.OVER_LIMIT, f"{len(text):,} characters, the limit is {MAX_TEXT:,}")
    found = find_answer(text)
    if found is None or not found.strip():
        return Answer("", missing, "no final answer")
    too_large = over_limit(found)
    if too_large:
        return Answer("", Reason.OVER_LIMIT, too_large)
    why = unreadable(found)
    return Answer("", unread, why) if why else Answer(plain(found))


def compare(gold: str, answer: str) -> Reading:
    """Compares two plain answers exactly, or prepares them for the engine."""
    try:
        reason = exact.compare(gold, answer)
    except OverflowError as error:
        return Reading(Reason.OVER_LIMIT, str(error))
    if reason is not None:
        return Reading(reason, answer)
    one, other = formula(gold), formula(answer)
    for side, unread in ((one, Reason.UNPARSED_GOLD), (other, Reason.UNPARSED_ANSWER)):
        opaque = exact.opaque(side.body)
        if opaque:
            return Reading(unread, f"{side.body[:200]} ({opaque!r} is not read)")
    if _differ(one, other):
        return Reading(Reason.NEEDS_POLICY, answer)
    bodies = one.body, other.body
    if "=" in "".join(bodies):  # one is an equation: the name of the other is a side of its equation
        bodies = one.whole if "=" in other.body else one.body, other.whole if "=" in one.body else other.body
    return Reading(None, answer, *bodies)


def _differ(one: Formula, other: Formula) -> bool:
    """Whether names or units differ, or degrees stand against a multiple of pi: the formulas alone do not decide."""
    degrees = one.unit != other.unit and DEGREES in (one.unit, other.unit) and r"\pi" in one.body + other.body
    names = bool(one.name and other.name and one.name != other.name)
    return degrees or names or bool(one.unit and other.unit and one.unit != other.unit)
