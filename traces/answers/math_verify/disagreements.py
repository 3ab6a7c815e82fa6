r"""Why two checkers differ on a pair, worked out from facts: what each says, and what Math-Verify has read.

The reasons are a closed set, and each has a sentence. They are looked at in an order: what stopped one of the two,
then what was read, then how it was compared; the first that holds is given. It guesses no cause that it has no fact
for: where nothing else is known, it says that both were read and what came of it.

    why(ours, Theirs.ACCEPTED, facts, r"\boxed{25_6}", r"\boxed{25}")   # Why.FRAGMENT: it has read no base
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import NamedTuple

from stillroom.common.records import State, Verdict
from stillroom.traces.answers.extract import find_answer
from stillroom.traces.answers.records import Reason, choices

EXACT = 1e-12
"""Relative distance up to which two readings are the same number: they were evaluated to 30 digits."""
ROUGH = 1e-2
"""Relative distance from which on two numbers that we accept were read as other numbers by Math-Verify."""


class Theirs(StrEnum):
    """What became of a pair at Math-Verify. The last two are not verdicts: it was stopped, or it crashed."""

    ACCEPTED = "accepted"
    REJECTED = "rejected"
    TIMEOUT = "timeout"
    ERROR = "error"


class Side(NamedTuple):
    """One text as Math-Verify has read it: the part it took, what it made of it ("" for nothing), what kind of thing
    that is, and its free symbols, with spaces between."""

    text: str = ""
    reading: str = ""
    kind: str = ""
    symbols: str = ""


class Facts(NamedTuple):
    """What Math-Verify says about its readings of a pair.

    `back`: its verdict with the two exchanged. `kept`: its verdict when it leaves units where they are. `gap`: the
    distance of the two numbers relative to the larger, None where they are not two numbers. `fault`: an exception
    it swallowed, or "".
    """

    gold: Side
    answer: Side
    back: bool
    kept: bool
    gap: float | None
    fault: str


class Why(StrEnum):
    """Why the two differ; `sentence` says it in words."""

    sentence: str

    def __new__(cls, value: str, sentence: str) -> Why:
        reason = str.__new__(cls, value)
        reason._value_, reason.sentence = value, sentence
        return reason

    THEIRS_TIMEOUT = ("theirs_timeout", "Math-Verify had not finished when the time limit passed")
    THEIRS_ERROR = ("theirs_error", "Math-Verify ran out of memory or crashed")
    OUR_LIMIT = ("our_limit", "we stopped at a limit of time, length, depth or size, and say nothing")
    NO_ANSWER = (
        "no_answer",
        "we find no final answer in the text; Math-Verify takes what it can read from anywhere in it",
    )
    THEIRS_UNREAD = ("theirs_unread", "Math-Verify reads nothing from one side, which it counts as not equal")
    UNITS = ("units", "Math-Verify drops a unit, or what could be one: with units kept it says otherwise")
    OTHER_PLACE = ("other_place", "Math-Verify took another or a larger part of the text for the answer than we did")
    FRAGMENT = ("fragment", "Math-Verify has read only a part of one side")
    OURS_UNREAD = ("ours_unread", "we cannot read one side whole, and say nothing")
    POLICY = ("policy", "a convention decides; our detail names the policy, --policy sets it")
    MISREAD = ("misread", "Math-Verify reads one side as another number or with other letters than we do")
    SAME_READING = ("same_reading", "Math-Verify makes one and the same of two sides that we read as different")
    ROUNDING = (
        "rounding",
        "two numbers that are not the same: Math-Verify rounds to six decimals, we go by size and digits",
    )
    ONE_WAY = ("one_way", "Math-Verify says otherwise when gold and answer are exchanged")
    KINDS = ("kinds", "Math-Verify reads the two sides as different kinds of things, a set and a tuple say")
    COLLECTION = ("collection", "Math-Verify compares them as sets: order and repeats are lost")
    THEIRS_FAULT = (
        "theirs_fault",
        "Math-Verify's comparison broke off with an exception, which it counts as not equal",
    )
    UNPROVEN = ("unproven", "both were read, and Math-Verify does not find them equal; we do")
    DIFFERENT = ("different", "both were read, and Math-Verify finds them equal; we do not")
    UNKNOWN = ("unknown", "Math-Verify did not say within the limit what it has read")


_TEXT = re.compile(r"\\(?:text|mathrm|mbox|operatorname|textbf|mathbf)\s*\*?\s*\{([^{}]*)\}")
_GROUPED = re.compile(r"(?<=\d)(?:,|\\,|\\!|\{,\}|\s)+(?=\d{3}(?!\d))")
_NAMES = "|".join(choices())
_POLICY = re.compile(rf"\b(?:{_NAMES})=[a-z]+\b|(?<=\bpolicy )(?:{_NAMES})\b")
_SIGNS = {"\\infty": "oo", "∞": "oo", "\\pi": "pi", "π": "pi"}
_COMMAND = re.compile(r"\\[A-Za-z]+|[∞π]")


def why(ours: Verdict, theirs: Theirs, facts: Facts | None, gold: str, answer: str) -> Why:
    """The reason that a pair is accepted by one and not by the other. `facts`: None where they could not be had."""
    # What kept one of the two from a verdict, where it was not the reading.
    if theirs in (Theirs.TIMEOUT, Theirs.ERROR):
        return Why.THEIRS_TIMEOUT if theirs is Theirs.TIMEOUT else Why.THEIRS_ERROR
    if ours.reason in (Reason.TIMEOUT, Reason.OVER_LIMIT):
        return Why.OUR_LIMIT
    if ours.reason in (Reason.NEEDS_POLICY, Reason.NOT_WORKED_OUT):
        return Why.POLICY
    if ours.reason == Reason.NO_ANSWER:
        return Why.NO_ANSWER
    if facts is None:
        return Why.OURS_UNREAD if ours.state is State.UNSCORED else Why.UNKNOWN
    # Where one of the two has read something else than stands there.
    accepted, gap = theirs is Theirs.ACCEPTED, facts.gap or 0.0
    if not accepted and not (facts.gold.reading and facts.answer.reading):
        return Why.THEIRS_UNREAD
    if facts.kept != accepted:
        return Why.UNITS
    found = [(find_answer(text) or text, side) for text, side in ((gold, facts.gold), (answer, facts.answer))]
    if any("".join(re.findall(r"\d", side.text)) not in "".join(re.findall(r"\d", text)) for text, side in found):
        return Why.OTHER_PLACE  # the numbers in the text that it took are not all in the answer that we found
    if any(is_fragment(text, side) for text, side in found):
        return Why.FRAGMENT
    if ours.state is State.UNSCORED:
        return Why.OURS_UNREAD
    # How readings of the whole came to different verdicts.
    if policies_of(ours):
        return Why.POLICY
    if facts.gold.kind != facts.answer.kind:
        return Why.ONE_WAY if facts.back != accepted else Why.KINDS
    if accepted:
        if gap > EXACT:
            return Why.ROUNDING
        if not facts.back:
            return Why.ONE_WAY
        if facts.gold.kind == "set":
            return Why.COLLECTION
        return Why.SAME_READING if facts.gold.reading == facts.answer.reading else Why.DIFFERENT
    if facts.fault:
        return Why.THEIRS_FAULT
    if gap > EXACT:
        return Why.MISREAD if gap > ROUGH else Why.ROUNDING
    if facts.gold.symbols != facts.answer.symbols:
        return Why.MISREAD
    return Why.ONE_WAY if facts.back else Why.UNPROVEN


def policies_of(ours: Verdict) -> list[str]:
    """The policies that a verdict of ours names: those that decided it, or that have to."""
    return list(dict.fromkeys(_POLICY.findall(ours.detail)))


def is_fragment(text: str, side: Side) -> bool:
    """Whether a number or a letter of a text is missing in what was read of it.

    It looks at marks, not at mathematics: what was worked out in reading (2 2/3 to 8/3) is taken for lost as well.
    """
    numbers, letters = _marks(text)
    read_numbers, read_letters = _marks(side.reading)
    missing = bool(letters - read_letters) or not all(any(n in read for read in read_numbers) for n in numbers)
    return missing and len(numbers) + len(letters) > len(read_numbers) + len(read_letters)


def _marks(text: str) -> tuple[list[str], set[str]]:
    """The numbers of a formula, without leading zeros, and its letters, without regard to case."""
    spoken = _COMMAND.sub(lambda match: f" {_SIGNS.get(match[0], '')} ", _TEXT.sub(r" \1 ", text))
    digits = re.findall(r"\d+", _GROUPED.sub("", text))
    return [stripped for n in digits if (stripped := n.strip("0"))], {c.lower() for c in spoken if c.isalpha()}
