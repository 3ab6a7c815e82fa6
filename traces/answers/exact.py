r"""The comparisons without computer algebra: the same text, numbers, choices, words, bases, ratios, times.

It says nothing (None) of what it does not wholly understand: that is the engine's. What no one here understands
(congruences, ellipses, quantifiers, words within formulas) is refused before the engine, which would read a
fragment of it.

>>> compare("10 dollars", "¤10.00"), compare("52_8", "52"), compare(r"\sqrt{8}", r"2\sqrt{2}")
(<Reason.EQUAL: 'equal'>, <Reason.DIFFERENT: 'different'>, None)
"""

from __future__ import annotations

import re
from fractions import Fraction

from stillroom.traces.answers.measures import compare as compare_measures
from stillroom.traces.answers.measures import read_measure
from stillroom.traces.answers.records import Reason


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


_BASE = re.compile(r"([0-9A-Za-z]+)_\{?\s*(?:\\text\{)?\s*([0-9]{1,2}|two|three|eight|sixteen)\s*\}{0,2}")
_BASES = {"two": 2, "three": 3, "eight": 8, "sixteen": 16}
_RATIO = re.compile(r"[0-9]{1,6}(?:\s*:\s*[0-9]{1,6})+")
_CHOICE = re.compile(r"\(?([A-J])\)?|([A-J])[.):]\s.+|\(([A-J])\)\s*.+")
_WORDS = re.compile(r"[A-Za-z]+(?:[ '-]+[A-Za-z]+)*")
_TEXT = re.compile(r"\\text\{([^{}]*)\}")
_SHORT_WORDS = _set("yes no odd even none all red blue six ten one two")
_VAGUE = _set("undefined none nonexistent infinite infinity unbounded zero empty all any never always")
_OPAQUE = re.compile(
    r"\\(?:[lcd]?dots[cbmio]?|equiv|p?mod|bmod|forall|exists|overline|underline|hat|widehat|vec|angle|triangle|parallel"
    r"|perp|cong|sim|nmid|mid|phantom|variable|operatorname|href|cases|approx|nexists|because|therefore|land|lor|neg"
    r"|Rightarrow|f?boxed|to|implies|color|hline|underset|overset|stackrel|text)(?![A-Za-z])"
    r"|\.\.\.|…|__|[?;:\"@#`]|∀|∃|</?[a-z]"
    r"|\\begin\{(?!(?:p|b|v|B|V|small)?matrix|array)"
)
_FUNCTIONS = _set("sqrt exp sin cos tan cot sec csc log ln arcsin arccos arctan pi sinh cosh tanh max min")
_LETTERS = re.compile(r"(?<![\\A-Za-z])[A-Za-z]{3,}")
_ENVIRONMENT = re.compile(r"\\(?:begin|end)\{[a-z]+\}(?:\{[lcr|]+\})?")


def compare(gold: str, answer: str) -> Reason | None:
    """The verdict of two plain texts where it can be had exactly, else None. Raises OverflowError for a power that
    is too large to write out."""
    if gold == answer or gold.replace(" ", "") == answer.replace(" ", ""):
        return Reason.EQUAL
    for kind in (_measures, _choices, _bases, _ratios, _words):
        reason = kind(gold, answer)
        if reason is not None:
            return reason
    return None


def opaque(plain: str) -> str | None:
    """What in a plain text only a person can read, or None: such a text is equal to itself and else unscored."""
    found = _OPAQUE.search(plain)
    if found:
        return found.group()
    for word in _LETTERS.findall(_ENVIRONMENT.sub("", plain)):
        if word not in _FUNCTIONS:
            return str(word)
    return None


def _measures(gold: str, answer: str) -> Reason | None:
    one, other = read_measure(gold), read_measure(answer)
    if one is not None and other is not None:
        return compare_measures(one, other)
    if (one or other) is None:
        return None
    return _decimal_comma(gold, answer) if one is None else _decimal_comma(answer, gold)


def _decimal_comma(text: str, number: str) -> Reason | None:
    """1,22 against 1.22: a list of two, or a number with a decimal comma; not to be decided here."""
    if not re.fullmatch(r"[-+]?[0-9]+,[0-9]+", text):
        return None
    one, other = read_measure(text.replace(",", ".")), read_measure(number)
    return Reason.NEEDS_POLICY if one and other and one.value == other.value else None


def _choices(gold: str, answer: str) -> Reason | None:
    """Letters of a multiple choice, with or without the text of the choice. A letter is not compared with a text."""
    one, other = (_CHOICE.fullmatch(_TEXT.sub(r"\1", side).strip()) for side in (gold, answer))
    bare = [match is not None and match[1] is not None for match in (one, other)]
    if one and other and any(bare):
        same = next(filter(None, one.groups())) == next(filter(None, other.groups()))
        return Reason.EQUAL if same else Reason.DIFFERENT
    return None


def _based(text: str) -> tuple[str, int] | None:
    match = _BASE.fullmatch(text)
    if match is None:
        return None
    base = _BASES.get(match[2]) or int(match[2])
    digits = match[1].lower()
    valid = 2 <= base <= 36 and digits[0].isdigit() and all(int(d, 36) < base for d in digits)
    return (digits.lstrip("0") or "0", base) if valid else None


def _bases(gold: str, answer: str) -> Reason | None:
    """52_8 is not 52 and not 52_9. Whether 11_2 may be written 3 is policy."""
    one, other = _based(gold), _based(answer)
    if one is None and other is None:
        return None
    if one is not None and one == other:
        return Reason.EQUAL
    values = [Fraction(int(*side)) if side else None for side in (one, other)]
    numbers = [read_measure(text) for text in (gold, answer)]
    known = [
        value if value is not None else number and number.value for value, number in zip(values, numbers, strict=True)
    ]
    if None in known:
        return None
    return Reason.NEEDS_POLICY if known[0] == known[1] else Reason.DIFFERENT


def _ratios(gold: str, answer: str) -> Reason | None:
    """7:32 and clock times, part by part. Whether 2:4 may stand for 1:2 is policy (and 20:34 is not 10:17)."""
    if not (_RATIO.fullmatch(gold) and _RATIO.fullmatch(answer)):
        return None
    one, other = ([int(part) for part in text.split(":")] for text in (gold, answer))
    if one == other:
        return Reason.EQUAL
    if all(len(text) >= 4 and re.fullmatch(r"[0-9]{1,2}:[0-5][0-9]", text) for text in (gold, answer)):
        return Reason.DIFFERENT  # two times of the day
    proportional = len(one) == len(other) and all(a * other[0] == b * one[0] for a, b in zip(one, other, strict=True))
    return Reason.NEEDS_POLICY if proportional else Reason.DIFFERENT


def words(plain: str) -> str | None:
    """The words that an answer is, in lower case, or None where it is a formula: `abc` is a product, `odd` is not."""
    inner = _TEXT.sub(r" \1 ", plain).strip()
    if not _WORDS.fullmatch(inner):
        return None
    is_text = r"\text" in plain and len(inner) > 1
    long = all(len(word) > 3 or word.lower() in _SHORT_WORDS for word in re.findall("[A-Za-z]+", inner))
    if not (is_text or long or (" " in inner and len(inner) > 8)) or inner in _FUNCTIONS:
        return None
    return re.sub(r"^(?:the|a|an) ", "", re.sub(r"\s+", " ", inner.lower()))


def _words(gold: str, answer: str) -> Reason | None:
    """Words are compared as words. Two sentences, or words against a formula, may well mean the same: policy."""
    one, other = words(gold), words(answer)
    if one is None and other is None:
        return None
    if one == other:
        return Reason.EQUAL
    single = all(side is not None and " " not in side and side not in _VAGUE for side in (one, other))
    return Reason.DIFFERENT if single else Reason.NEEDS_POLICY
