r"""From two texts to a verdict: find the answers, refuse what is too large, read them, compare them.

Only formulas that agree wherever they were tried, and are not proven the same, are left for a worker to confirm.

>>> judge("#### 18", "The answer is $18.").reason
<Reason.EQUAL: 'equal'>
"""

from __future__ import annotations

import math
import re
from functools import lru_cache
from typing import NamedTuple

from stillroom.traces.answers.compare import compare
from stillroom.traces.answers.extract import OUTSIDE, find_answer
from stillroom.traces.answers.lexer import Unreadable, plain, unreadable
from stillroom.traces.answers.limits import MAX_TEXT, over_limit
from stillroom.traces.answers.parser import parse
from stillroom.traces.answers.policies import Policies
from stillroom.traces.answers.records import Reason
from stillroom.traces.answers.tree import Node
from stillroom.traces.answers.values import Confirm, Pending, Rules

_INTEGER = re.compile(r"-?[0-9]{1,18}")
_CHOICE = re.compile(r"(?:\\text(?:bf|rm)?\s*\{)?\s*\(?([A-J])(?:\)\s*\}?|[.:)]\s|\s*\}?[).:]\s?\}?)\s*(?=\S)")
_LETTER = re.compile(r"(?:\\text(?:bf|rm)?\s*\{)?\s*\(?([A-J])\)?\s*\}?\.?")
_COMMA = re.compile(r"([-+]?)([0-9]+),([0-9]+)((?:[^0-9,].*)?)", re.DOTALL)


class Found(NamedTuple):
    """An answer as it was found. `text` is "" where `reason` says why it cannot be read."""

    text: str
    reason: Reason | None = None
    why: str = ""


class Ruling(NamedTuple):
    """What is said of a pair. `reason` None: the formulas agree wherever tried, and a worker is to confirm it.

    `answer`: the answer that was read. `why`: what decided, or what stood in the way. `policies`: those that decided.
    """

    reason: Reason | None
    answer: str
    why: str = ""
    policies: tuple[str, ...] = ()

    @property
    def detail(self) -> str:
        """One line for people."""
        notes = "; ".join(
            filter(
                None,
                (
                    self.why if not self.why.startswith("policy ") else "",
                    *(f"policy {name}" for name in self.policies),
                ),
            )
        )
        shown = self.answer.removesuffix(OUTSIDE)
        return f"{shown} ({notes})" if notes and shown else shown or notes


def judge(gold: str, answer: str, policies: Policies | None = None) -> Ruling:
    """Judges a gold and a whole completion, as far as that goes without a worker."""
    one, other, ruling = located(gold, answer, policies or _DEFAULT)
    return ruling or rule(one, other, policies or _DEFAULT)


class Located(NamedTuple):
    """Both answers as they were found; `ruling` where one was not, or cannot be read."""

    gold: str
    answer: str
    ruling: Ruling | None


def located(gold: str, answer: str, policies: Policies) -> Located:
    """Finds the answers of a gold and of a whole completion."""
    one = locate(gold, Reason.UNPARSED_GOLD, Reason.UNPARSED_GOLD, policies.unmarked)
    if one.reason is not None:
        return Located("", "", Ruling(one.reason, "", f"gold: {one.why}"))
    other = locate(answer, Reason.NO_ANSWER, Reason.UNPARSED_ANSWER, policies.unmarked)
    if other.reason is not None:
        return Located("", "", Ruling(other.reason, "", other.why))
    return Located(one.text, other.text, None)


_DEFAULT = Policies()


def locate(text: str, missing: Reason, unread: Reason, unmarked: str = "line") -> Found:
    """Finds the answer of a text, and refuses what cannot be read at all or is too large."""
    if len(text) > MAX_TEXT:
        return Found("", Reason.OVER_LIMIT, f"{len(text):,} characters, the limit is {MAX_TEXT:,}")
    found = find_answer(text, last=unmarked == "last")
    if found is None or not found.strip():
        return Found("", missing, "no final answer")
    too_large = over_limit(found)
    if too_large:
        return Found("", Reason.OVER_LIMIT, too_large)
    why = unreadable(found)
    return Found("", unread, why) if why else Found(found.strip())


def rule(gold: str, answer: str, policies: Policies, confirm: Confirm | None = None) -> Ruling:
    """Judges two answers as they were found."""
    if _INTEGER.fullmatch(gold) and _INTEGER.fullmatch(answer):
        return Ruling(Reason.EQUAL if int(gold) == int(answer) else Reason.DIFFERENT, answer)
    letters = _letters(gold, answer)
    if letters is not None:
        return Ruling(Reason.EQUAL if letters else Reason.DIFFERENT, answer)
    one, other = _read(gold), _read(answer)
    for side, unread in ((one, Reason.UNPARSED_GOLD), (other, Reason.UNPARSED_ANSWER)):
        if isinstance(side, Found):
            return Ruling(side.reason or unread, "", side.why)
    assert not isinstance(one, Found)
    assert not isinstance(other, Found)
    ruling = _ruled(one, other, answer, policies, confirm)
    terms = policies.lowest_terms
    if terms == "any" or ruling.reason is Reason.DIFFERENT or is_reduced(gold) == is_reduced(answer):
        return ruling
    return Ruling(
        Reason.DIFFERENT if terms == "required" else Reason.NEEDS_POLICY, answer, "", (f"lowest_terms={terms}",)
    )


_FRACTION = re.compile(
    r"\\[dtc]?frac\s*\{?\s*-?([0-9]+)\s*\}?\s*\{?\s*-?([0-9]+)\s*\}?|(?<![0-9.])([0-9]+)\s*/\s*([0-9]+)(?![0-9.])"
)


def is_reduced(text: str) -> bool:
    """Whether every fraction of integers in an answer is in its lowest terms."""
    pairs = [[int(part[-400:]) for part in match if part] for match in _FRACTION.findall(text)]
    return all(len(pair) < 2 or (math.gcd(*pair) == 1 and pair[1] != 1) for pair in pairs)


def _ruled(one: Readings, other: Readings, answer: str, policies: Policies, confirm: Confirm | None) -> Ruling:
    """By the readings of both sides, the first of each foremost: the same if any two are, by policy."""
    best: Ruling | None = None
    for first in one:
        for second in other:
            rules = Rules(policies, confirm)
            try:
                same = compare(first.node, second.node, rules)
                for reading in (first, second):
                    if reading.policy and same.same is True:
                        same = rules.decide(reading.policy, _ANOTHER[reading.policy])
            except Pending:
                return Ruling(None, answer)
            except (OverflowError, RecursionError) as large:
                return Ruling(Reason.OVER_LIMIT, answer, str(large))
            found = Ruling(_REASONS[same.same], answer, same.why, tuple(sorted(rules.used)))
            if found.reason is Reason.EQUAL:
                return found
            best = best or found
    assert best is not None
    return best


_ANOTHER: dict[str, dict[str, bool | None]] = {
    "decimal_comma": {"either": True, "list": False},
    "percent": {"value": True, "bare": True, "strict": False},
}
_REASONS = {True: Reason.EQUAL, False: Reason.DIFFERENT, None: Reason.NEEDS_POLICY}


class Reading(NamedTuple):
    """One way to read an answer. `policy`: the one that allows it, or "" for the plain one."""

    node: Node
    policy: str = ""


Readings = tuple[Reading, ...]


@lru_cache(maxsize=16_384)
def _read(text: str) -> Readings | Found:
    """What a text may be read as, the plain reading first, or why it cannot be read."""
    try:
        first = Reading(parse(plain(text)))
    except Unreadable as why:
        return Found("", None, f"{text[:120]}: {why}")
    except (OverflowError, RecursionError) as large:
        return Found("", Reason.OVER_LIMIT, str(large))
    return (first, *_other_readings(text, first.node))


def _other_readings(text: str, first: Node) -> Readings:
    """A percent sign outside of the box left out; a decimal comma."""
    if text.endswith(OUTSIDE) and first.kind == "percent":
        return (Reading(first.args[0], "percent"),)
    comma = _COMMA.fullmatch(plain(text).strip())
    if not comma or first.kind not in ("list", "unit") or (len(comma[3]) == 3 and comma[2] != "0"):
        return ()
    try:
        return (Reading(parse(f"{comma[1]}{comma[2]}.{comma[3]}{comma[4]}"), "decimal_comma"),)
    except (Unreadable, OverflowError):
        return ()


def _letters(gold: str, answer: str) -> bool | None:
    """Of a multiple choice: whether the letters are the same, where one side gives the text too; None otherwise."""
    one, other = (_LETTER.fullmatch(side) for side in (gold, answer))
    first, second = (lone or _CHOICE.match(side) for lone, side in ((one, gold), (other, answer)))
    if not (one or other) or first is None or second is None:
        return None
    return bool(first[1] == second[1])
