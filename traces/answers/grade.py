r"""From two texts to a verdict: find the answers, refuse what is too large, read them, compare them.

Only formulas that agree wherever they were tried, and are not proven the same, are left for a worker to confirm.

>>> judge("#### 18", "The answer is $18.").reason
<Reason.EQUAL: 'equal'>
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache
from typing import NamedTuple

from stillroom.traces.answers._quantities import texts
from stillroom.traces.answers.compare import compare
from stillroom.traces.answers.extract import OUTSIDE, find_answer
from stillroom.traces.answers.forms import CHOICES, RELATIONS, by_form, is_of_brackets, without_setting
from stillroom.traces.answers.lexer import Unreadable, plain, unreadable
from stillroom.traces.answers.limits import CALLER, MAX_TEXT, READING, WORKER, Spent, allowance, over_limit
from stillroom.traces.answers.normalise import in_symbols
from stillroom.traces.answers.parser import parse, read
from stillroom.traces.answers.records import Policies, Reason
from stillroom.traces.answers.restated import restated
from stillroom.traces.answers.tree import Node, symbols, walk
from stillroom.traces.answers.types import is_of, of_gold
from stillroom.traces.answers.values import Answer, Confirm, Pending, Rules
from stillroom.traces.answers.vocabulary import SHORT_UNITS, UNITS
from stillroom.traces.answers.wording import reworded, with_decimal_comma
from stillroom.traces.answers.worked_out import worked_out

_INTEGER = re.compile(r"-?[0-9]{1,18}")
_CHOICE = re.compile(
    r"(?:(?:option|choice|answer)\s*:?\s*)?(?:\(\s*([A-Z])\s*\)|([A-J])\s*(?:[).:](?=\s|$)|[.)](?=[0-9]))|([A-J])(?=\s*\.?$))[\s.:~\\]*(.*)",
    re.IGNORECASE | re.DOTALL,
)
_MORE = re.compile(r"\s*(?:[,;^+\-*/=&_!]|(?:and|or)\b)|.*(?:\([A-J]\)|\b[A-J][).:](?:\s|$))", re.DOTALL)
_SIGNED = re.compile(r"[-+−±]\s?(?:[0-9]|\\[a-z]|[α-ω])(?!.*(?:\([A-J]\)|\b[A-J][).:](?:\s|$)))", re.DOTALL)
# What says that a choice is not meant, or is not the only one: "(A) is false", "(A) through (C)", "(A)?".
_DENIED = re.compile(
    r"^\W*(?:(?:is|was|are|can|could|may|might|must|should|does|would|has|isn'?t|cannot)\b|through\b|thru\b|if\b|unless\b"
    r"|(?:to|plus|minus|up to)\s+\(?[A-J]\b|(?:false|wrong|incorrect|invalid|not|no|maybe|perhaps|rejected)\W*$)"
    r"|\b(?:is|are|was) (?:false|wrong|incorrect|invalid|ruled out|not (?:right|correct|true|it))\b|\?\s*$"
    r"|\b(?:eliminat|exclud|impossibl|reject|discard|cross)\w*",
    re.IGNORECASE,
)
# Another option that is named behind it: not the article, and no letter of a formula.
_OTHERS = re.compile(
    r"(?:\A|\s|,)(?:\(?[B-J]\)?|\(?A\)?(?!\s+[a-z]))(?:[.)]\s?\d|\s*[.,;]|\s*\Z|\s+(?:is|or|and|[B-J]\b))"
    r"|\bA\s+(?:is|was)\s+(?:right|correct)"
)
_CAPITALS = re.compile(r"[A-Z]{3,}")  # letters in their order, not a product
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_DEGREES = re.compile(r"\^?\s*\{?\s*\\(?:circ|degree)\b\s*\}?")
_SHORT_UNIT = re.compile(
    r"([-+]?[0-9][0-9.,]*(?: ?(?:\\times|×|\*) ?10\^(?:\{-?[0-9]+\}|-?[0-9]+))?) "
    r"([A-Za-zµμ]{1,3}(?:\^[0-9])?(?:(?: ?/ ?| )[A-Za-zµμ]{1,3}(?:\^[0-9])?){0,2})\.?"
)
_WITH_COMMAS = re.compile(r"[\[({\\\s]*(?:[-+]?[0-9]+(?:,[0-9]+)?\s*;\s*)+[-+]?[0-9]+(?:,[0-9]+)?[\])}\\\s]*")
_OR = re.compile(r"\bor\b|\\vee|\\lor")
_GROUPED = re.compile(r"\(\s*[-+]?[0-9]+(?:,[0-9]+)+\s*\)")
_COMMA = re.compile(r"([-+]?)([0-9]+),([0-9]+)((?:[^0-9,].*)?)", re.DOTALL)


class Ruling(NamedTuple):
    """What is known about a pair. `reason` None: the formulas agree wherever tried, and a worker is to confirm it.

    `answer`: the answer that was read. `why`: what decided, or what stood in the way. `policies`: those that decided.
    """

    reason: Reason | None
    answer: str
    why: str = ""
    policies: tuple[str, ...] = ()

    @property
    def detail(self) -> str:
        """One line for people."""
        why = "" if self.why.startswith("policy ") else self.why
        notes = "; ".join(filter(None, (why, *(f"policy {name}" for name in self.policies))))
        shown = self.answer.removesuffix(OUTSIDE)
        return f"{shown} ({notes})" if notes and shown else shown or notes


def judge(gold: str, answer: str, policies: Policies | None = None) -> Ruling:
    """Judges a gold and a whole completion, as far as that goes without a worker."""
    policies = policies or Policies()
    found = located(gold, answer, policies)
    return found.ruling or found.ruled(rule(found.gold, found.answer, policies))


class Located(NamedTuple):
    """Both answers as they were found; `ruling` where one was not, or cannot be read. `policies`:
    those by which they were found."""

    gold: str
    answer: str
    ruling: Ruling | None
    policies: tuple[str, ...] = ()

    def ruled(self, ruling: Ruling) -> Ruling:
        """The ruling on the two, with the policies by which they were found."""
        return ruling._replace(policies=(*ruling.policies, *self.policies))


def located(gold: str, answer: str, policies: Policies) -> Located:
    """Finds the answers of a gold and of a whole completion."""
    last = policies.unmarked == "last"
    # A gold is read whole under every policy; a brace that was forgotten in one is all that `last` makes up for.
    one = locate(gold, Reason.UNPARSED_GOLD, Reason.UNPARSED_GOLD, gold=last)
    if isinstance(one, Ruling):
        return Located("", "", one._replace(why=f"gold: {one.why}"))
    other = locate(answer, Reason.NO_ANSWER, Reason.UNPARSED_ANSWER, last=last)
    if isinstance(other, Ruling):
        return Located(one, "", other)
    by: list[str] = []
    if policies.decimal_comma == "always":
        given = one, other
        one, other = with_decimal_comma(one), with_decimal_comma(other)
        by += ["decimal_comma=always"] * (given != (one, other))
    if last and find_answer(answer) != find_answer(answer, last=True):
        by.append("unmarked=last")
    return Located(one, other, None, tuple(by))


def locate(text: str, missing: Reason, unread: Reason, *, last: bool = False, gold: bool = False) -> str | Ruling:
    """The answer of a text, or why there is none that can be read: `missing`, `unread`, or over a limit."""
    if len(text) > MAX_TEXT:
        return Ruling(Reason.OVER_LIMIT, "", f"{len(text):,} characters, the limit is {MAX_TEXT:,}")
    found = find_answer(text, last=last, gold=gold)
    if found is None or not found.strip():
        return Ruling(missing, "", "no final answer")
    if too_large := over_limit(found):
        return Ruling(Reason.OVER_LIMIT, "", too_large)
    found = reworded(found.strip())
    why = None if found in RELATIONS else unreadable(found)
    return Ruling(unread, "", why) if why and not is_of_brackets(found) else found


def rule(gold: str, answer: str, policies: Policies, confirm: Confirm | None = None, answer_type: str = "") -> Ruling:
    """Judges two answers as they were found. `answer_type`: what both must be, "" for anything."""
    if answer_type in ("choice", "text"):
        return (_by_letter if answer_type == "choice" else _by_words)(gold, answer)
    gold, answer = _spaced(gold), _before_unit(gold, _spaced(answer))
    if answer_type not in _MANY and _INTEGER.fullmatch(gold) and _INTEGER.fullmatch(answer):
        return Ruling(Reason.EQUAL if int(gold) == int(answer) else Reason.DIFFERENT, answer)
    untyped, chosen, choice = answer_type in ("", "gold"), _choice(gold), _choice(answer)
    # The letters decide where one is a letter alone, or they differ.
    if untyped and chosen is not None and choice is not None:
        if chosen.letter != choice.letter:
            return Ruling(Reason.DIFFERENT, answer)
        if not (chosen.text and choice.text):
            return Ruling(Reason.EQUAL, answer)
    if untyped and (plainly := by_form(gold, answer)) is not None:
        return Ruling(Reason.EQUAL if plainly else Reason.DIFFERENT, answer)
    one, other = _read(gold), _read(answer)
    if isinstance(one, Ruling):
        return one._replace(reason=one.reason or Reason.UNPARSED_GOLD)
    other = _by_spaces(answer, one[0].node) if isinstance(other, Ruling) else other
    if isinstance(other, Ruling):
        return other._replace(reason=other.reason or Reason.UNPARSED_ANSWER)
    if answer_type == "gold":
        answer_type = of_gold(one[0].node) if len(one) == 1 else ""
    if answer_type:
        one, other = (tuple(r for r in side if is_of(r.node, answer_type)) for side in (one, other))
        if not one:
            return Ruling(Reason.UNPARSED_GOLD, "", f"the gold {gold[:80]!r} is not of the type {answer_type}")
        if not other and answer_type == "integer":  # a number that is not whole is a wrong one
            other = tuple(r for r in _read(answer) if isinstance(r, Reading) and is_of(r.node, "number"))
        if not other:
            return Ruling(Reason.OTHER_TYPE, answer, f"not of the type {answer_type}")
    if not any(
        reading.node.kind in ("unit", "compound") for reading in one
    ):  # a letter is one only where the gold has one
        other = tuple(r for r in other if not (r.node.kind == "unit" and r is not other[0])) or other
    ruling = _ruled(one, other, answer, policies, confirm)
    if any(policy.startswith(("tuples=", "vectors=")) for policy in ruling.policies) and _OR.search(
        f"{gold} {answer}"
    ):
        return ruling._replace(reason=Reason.NEEDS_POLICY, why="alternatives against a tuple")
    congruence = any(part.kind == "mod" for reading in one for part in walk(reading.node))
    if ruling.reason is Reason.EQUAL and policies.worked_out != "any" and not congruence:
        one_formula, formula = _formula(gold), _formula(answer)
        ruling = _held_to(lambda: worked_out(one_formula, formula), ruling, policies, "it is left to work out")
    if ruling.reason is Reason.DIFFERENT and untyped:
        for letter, text, choice_there in ((chosen, answer, choice), (choice, gold, chosen)):
            if letter is not None and not letter.text and choice_there is None and _NAMES_A_LETTER.search(text):
                return ruling._replace(reason=Reason.NEEDS_POLICY, why="a choice with something else around it")
    if ruling.reason is Reason.DIFFERENT and (
        why := _misread(gold, answer, one, other) or _misread(answer, gold, other, one)
    ):
        return ruling._replace(reason=Reason.NEEDS_POLICY, why=why)
    if ruling.reason is Reason.DIFFERENT:
        prose = any(len(_WORD.findall(text)) >= PROSE for text in (gold, answer))
        return ruling._replace(reason=Reason.NEEDS_POLICY, why="prose") if prose else ruling
    if _is_reduced(gold) == _is_reduced(answer):
        return ruling
    reason = {"any": ruling.reason, "required": Reason.DIFFERENT}.get(policies.lowest_terms, Reason.NEEDS_POLICY)
    return ruling._replace(reason=reason, policies=(*ruling.policies, f"lowest_terms={policies.lowest_terms}"))


def not_restated(ruling: Ruling, gold: str, answer: str, prompt: str, policies: Policies) -> Ruling:
    """The ruling on two answers as they were found, with a look at the prompt: what only restates it is not an
    answer."""
    is_letter = (choice := _choice(gold)) is not None and not choice.text
    if ruling.reason is not Reason.EQUAL or not prompt or policies.worked_out == "any" or is_letter:
        return ruling
    one, other = _formula(gold), _formula(answer)
    return _held_to(lambda: not restated(one, other, prompt), ruling, policies, "it stands in the prompt")


def lacks_unit(gold: str, answer: str) -> bool:
    """Whether the gold has a unit, and the answer, as it was found, has none."""
    if not _UNIT_SIGN.search(gold):
        return False
    one, other = _read(gold), _read(_before_unit(gold, answer))
    if isinstance(one, Ruling) or isinstance(other, Ruling):
        return False
    return any(map(_has_unit, one)) and not any(map(_has_unit, other))


def _has_unit(reading: Reading) -> bool:
    return any(part.kind in ("unit", "compound") for part in walk(reading.node))


_UNIT_SIGN = re.compile(r"[^\W\d_]|[$°€£¥₹'\"]")


def _formula(text: str) -> str:
    """What stands behind the letter of a choice, or else the text; a short unit plainly as one."""
    choice = _choice(text)
    text = choice.text if choice is not None and choice.text else text.removesuffix(OUTSIDE)
    short = _SHORT_UNIT.fullmatch(text)
    return rf"{short[1]}\mathrm{{{short[2]}}}" if short is not None and _is_short_unit(short[2]) else text


def _is_short_unit(text: str) -> bool:
    """Whether a text is a short unit, or several with a stroke and powers: m/s^2."""
    return all(part in SHORT_UNITS or part in UNITS for part in re.split(r"[/ ]|\^-?[0-9]+", text) if part)


_MANY = ("interval", "tuple", "matrix", "equation")
"""Types that a number is not of."""


def _spaced(text: str) -> str:
    """(312,123,231) as the tuple that it is."""
    return re.sub(r",(?=[0-9])", ", ", text) if _GROUPED.fullmatch(text) else text


def _by_spaces(answer: str, gold: Node) -> Readings | Ruling:
    """An answer that cannot be read otherwise: numbers with spaces between them are a list, where the gold is a list
    or set of as many."""
    apart = gold.kind in ("list", "set") and _SPACE_APART.fullmatch(answer) is not None
    items = answer.strip("$ ").split() if apart else []
    return _read(", ".join(items) if items and len(items) == len(gold.args) else answer)


_SPACE_APART = re.compile(
    r"\$?\s{0,3}-?[0-9]{1,15}(?:\.[0-9]{1,15})?(?: {1,3}-?[0-9]{1,15}(?:\.[0-9]{1,15})?){1,50}\s{0,3}\$?"
)


def _before_unit(gold: str, answer: str) -> str:
    """8m as 8 m, where the gold is a number with a short unit; elsewhere it is a product."""
    glued = _GLUED.fullmatch(answer)
    if glued is None or _SHORT_UNIT.fullmatch(gold) is None or not _is_short_unit(glued[2]):
        return answer
    return f"{glued[1]} {glued[2]}"


_GLUED = re.compile(r"([-+]?[0-9][0-9.,]*)([A-Za-zµμ]{1,3}(?:\^[0-9])?(?: ?/ ?[A-Za-zµμ]{1,3}(?:\^[0-9])?)?)")


def _by_letter(gold: str, answer: str) -> Ruling:
    """By the letters of the choices, which may be small here."""
    sides = [_letters(text) for text in (gold, answer)]
    for letters, reason in zip(sides, (Reason.UNPARSED_GOLD, Reason.OTHER_TYPE), strict=True):
        if letters is None:
            return Ruling(reason, answer if reason is Reason.OTHER_TYPE else "", "not of the type choice")
    return Ruling(Reason.EQUAL if sides[0] == sides[1] else Reason.DIFFERENT, answer)


def _letters(text: str) -> frozenset[str] | None:
    """The choices that a text is: of one, or of several by their letters; None where it is none."""
    choice = _choice(text) or _choice(text.upper() if len(text.strip("() .$")) == 1 else "")
    if choice is not None:
        return frozenset({choice.letter})
    bare = without_setting(text).strip().rstrip(".")
    if len(bare.strip("()")) == 1 and bare.strip("()") in "123456789":  # as some sets number their choices
        return frozenset({bare.strip("()")})
    return frozenset(re.findall("[A-J]", bare.replace("and", ""))) if CHOICES.fullmatch(bare) else None


def _by_words(gold: str, answer: str) -> Ruling:
    """By the words, whatever they would be as a formula."""
    one, other = (Node("text", (" ".join(without_setting(text).split()).strip(" .\"'"),)) for text in (gold, answer))
    same = texts(one, other)
    return Ruling(_REASONS[same.same], answer, same.why)


def _held_to(is_done: Callable[[], bool], ruling: Ruling, policies: Policies, why: str) -> Ruling:
    """The ruling on a right answer, or that it is not worked out, and why."""
    try:
        with allowance(CALLER):
            if is_done():
                return ruling
    except (Spent, OverflowError, RecursionError, ValueError) as large:
        return ruling._replace(reason=Reason.OVER_LIMIT, why=str(large))
    reason = Reason.NOT_WORKED_OUT if policies.worked_out == "required" else Reason.NEEDS_POLICY
    return ruling._replace(reason=reason, why=why, policies=(*ruling.policies, f"worked_out={policies.worked_out}"))


def _misread(gold: str, answer: str, one: Readings, other: Readings) -> str:
    """Why two answers that differ as they were read may be the same: letters that may be words or a unit, a full stop
    that may be a factorial. "" where nothing speaks for that."""
    known = frozenset().union(*(symbols(reading.node) for reading in one))
    if known or not all(symbols(reading.node) for reading in other):
        exclaimed = answer.endswith("!") and not gold.endswith("!") and "!" not in answer[:-1]
        return "a factorial, or an exclamation" if exclaimed else ""
    if _CHOICE_LETTER.fullmatch(gold):
        return ""
    if _MAY_BE_WORDS.search(answer):
        return "words that were read as letters"
    return "letters that may be a unit" if _UNIT_LIKE.fullmatch(answer) else ""


_NAMES_A_LETTER = re.compile(r"[0-9].*\(?\b[A-J]\b|\b[A-J]\b.*[0-9]|\([A-J]\)")
_CHOICE_LETTER = re.compile(r"\(?[A-J]\)?")
_MAY_BE_WORDS = re.compile(r"(?<![\\A-Za-z{])(?:[A-Za-z]{3,}|(?:\A|(?<=\s))[A-Za-z]{2}(?=['\s,.]|\Z))")
_UNIT_LIKE = re.compile(r"[-+]?[0-9][0-9.,]* [A-Za-z]{1,3}(?:(?: ?[/^] ?| )[A-Za-z0-9]{1,3}){0,3}")
_WORD = re.compile(r"(?<![\\A-Za-z{])[A-Za-z]{2,}")
PROSE = 5
"""Words that make a text prose, which may say more than was read: nothing read into one is evidence against it."""


_FRACTION = re.compile(
    r"\\[dtc]?frac\s*+\{?+\s*+-?([0-9]+)\s*+\}?+\s*+\{?+\s*+-?([0-9]+)"
    r"|(?<![0-9.])([0-9]+)\s*+/\s*+([0-9]+)(?![0-9.])"
)


def _is_reduced(text: str) -> bool:
    """Whether every fraction of integers in an answer is in its lowest terms."""
    pairs = [[int(part[-400:]) for part in match if part] for match in _FRACTION.findall(text)]
    return all(len(pair) < 2 or (math.gcd(*pair) == 1 and pair[1] != 1) for pair in pairs)


def _ruled(one: Readings, other: Readings, answer: str, policies: Policies, confirm: Confirm | None) -> Ruling:
    """By the readings of both sides, the first of each foremost: the same if any two are, by policy. What takes more
    work than is done here is left to a worker."""
    best: Ruling | None = None
    try:
        with allowance(CALLER if confirm is None else WORKER):
            for first, second in itertools.product(one, other):
                rules = Rules(policies, confirm)
                same = compare(first.node, second.node, rules)
                # A reading other than the plain one counts by the policy that allows it.
                asked = [reading.policy for reading in (first, second) if reading.policy and same.same is True]
                for policy in asked:
                    same = rules.decide(policy, _ANOTHER[policy])
                if same.same is False and any(
                    _is_unknown(part) for side in (first, second) for part in walk(side.node)
                ):
                    same = Answer(None, "a command that is not known, or is not worked out")
                found = Ruling(_REASONS[same.same], answer, same.why, tuple(sorted(rules.used)))
                if found.reason is Reason.EQUAL:
                    return found
                if best is None or (asked and best.reason is Reason.DIFFERENT):
                    best = found
    except Pending:
        return Ruling(None, answer)
    except (OverflowError, RecursionError, ValueError) as large:  # ValueError: more digits than Python prints
        return Ruling(Reason.OVER_LIMIT, answer, str(large))
    except Spent as much:
        return Ruling(None, answer) if confirm is None else Ruling(Reason.OVER_LIMIT, answer, str(much))
    assert best is not None
    return best


def _is_unknown(node: Node) -> bool:
    """A command that is not known, words within a formula, or a line over more than letters: of a complex number, a
    decimal, a statement."""
    if node.kind in ("add", "mul", "pow"):
        return any(part.kind == "text" for part in node.args)
    name = str(node.args[0]) if node.kind == "sym" else ""
    return name.startswith("\\") or (name.startswith("overline:") and not name.removeprefix("overline:").isalpha())


_ANOTHER: dict[str, dict[str, bool | None]] = {
    "decimal_comma": {"either": True, "list": False, "always": True},
    "percent": {"value": True, "bare": True, "strict": False},
    "degrees": {"drop": True, "value": False, "strict": False},
}
_REASONS = {True: Reason.EQUAL, False: Reason.DIFFERENT, None: Reason.NEEDS_POLICY}


class Reading(NamedTuple):
    """One way to read an answer. `policy`: the one that allows it, or "" for the plain one."""

    node: Node
    policy: str = ""


Readings = tuple[Reading, ...]
REMEMBERED = 128
"""Characters up to which what an answer may be read as is remembered: a tree is some hundred times as large."""


def _read(text: str) -> Readings | Ruling:
    """What a text may be read as, the plain reading first, or why it cannot be read. The reason is None if it depends
    on which of the two texts it is."""
    try:
        with allowance(READING):
            return _read_short(text) if len(text) <= REMEMBERED else _read_any(text)
    except Spent as much:
        return Ruling(Reason.OVER_LIMIT, "", str(much))


def _read_any(text: str) -> Readings | Ruling:
    if _DATE.fullmatch(text) or _CAPITALS.fullmatch(text):
        return (Reading(Node("text", (text,))),)
    choice = _choice(text)
    try:
        first = Reading(in_symbols(read(text)))
    except Unreadable as why:
        with suppress(Unreadable, OverflowError):
            if choice is not None and choice.text:
                return (Reading(in_symbols(read(choice.text))),)
        return Ruling(None, "", f"{text[:120]}: {why}")
    except (OverflowError, RecursionError) as large:
        return Ruling(Reason.OVER_LIMIT, "", str(large))
    with suppress(Unreadable, OverflowError):
        if (short := _SHORT_UNIT.fullmatch(text)) is not None and _is_short_unit(short[2]):
            unit = rf"\mathrm{{{short[2]}}}"
            found = (first, Reading(in_symbols(read(short[1] + unit))))
            if re.fullmatch(r"[-+]?[0-9]+,[0-9]{1,2}", short[1]):
                return (*found, Reading(in_symbols(read(short[1].replace(",", ".") + unit)), "decimal_comma"))
            return found
        if ";" in text and _WITH_COMMAS.fullmatch(text):
            with_points = Reading(in_symbols(read(re.sub(r"(?<=[0-9]),(?=[0-9])", ".", text))), "decimal_comma")
            # Where some parts have a comma and some have none, they are not the rows of a table.
            mixed = len({"," in part for part in text.split(";")}) > 1
            return (with_points,) if mixed else (first, with_points)
        if choice is not None and choice.text:
            return (first, Reading(in_symbols(read(choice.text))))
        if text.endswith(OUTSIDE) and first.node.kind == "percent":
            return (first, Reading(first.node.args[0], "percent"))
        if first.node.kind == "add" and symbols(first.node) and _DEGREES.search(plain(text)):  # 180° - 2α
            return (first, Reading(in_symbols(parse(_DEGREES.sub("", plain(text)))), "degrees"))
        comma = _COMMA.fullmatch(plain(text).strip())
        if comma and first.node.kind in ("list", "unit") and (len(comma[3]) != 3 or comma[2] == "0"):
            return (first, Reading(parse(f"{comma[1]}{comma[2]}.{comma[3]}{comma[4]}"), "decimal_comma"))
    return (first,)


_read_short = lru_cache(maxsize=4_096)(_read_any)


class Choice(NamedTuple):
    """A multiple-choice letter, and the text of the choice behind it, if any."""

    letter: str
    text: str


@lru_cache(maxsize=4_096)
def _choice(text: str) -> Choice | None:
    """The choice that an answer is: `C`, `(C)`, `\\text{(C)} 12`, `C. an ellipse`; not `(A), (B)` and not `C + 1`."""
    if len(text) > 400:
        return None
    found = _CHOICE.fullmatch(without_setting(text).strip())
    if found is None:
        return None
    letter = next(part for part in found.groups()[:3] if part)
    signed = found[2] and _SIGNED.match(found[4])  # C) -2.72 kcal
    if (
        not letter.isupper()
        or (_MORE.match(found[4]) and not signed)
        or _DENIED.search(found[4])
        or _OTHERS.search(found[4])
    ):
        return None
    return Choice(letter, found[4].strip())
