r"""Compares numbers with what stands around them exactly: a name (`x =`), a currency, a unit, a percent sign.

Units are data: 3 km is not 3 cm, and 5t is no number at all. A unit that only one side gives is taken as left out.
Tolerance is relative and only where a decimal is set against a fraction: 0.0833333333 is 1/12; whether 0.08 is, is a
matter of policy, and so is 10 % against 10.

>>> compare(read_measure("18 dollars"), read_measure("¤18.00"))
<Reason.EQUAL: 'equal'>
"""

from __future__ import annotations

import re
from fractions import Fraction
from typing import NamedTuple

from stillroom.traces.answers.numbers import Number, read_number
from stillroom.traces.answers.plain import DOLLAR
from stillroom.traces.answers.records import Reason

TOLERANCE = Fraction(1, 10**6)
"""Relative, for a decimal against a fraction."""

MAX_LENGTH = 400
"""Characters of a number with its unit."""

_UNITS = {
    "km": "kilometer kilometre", "m": "meter metre", "cm": "centimeter centimetre", "mm": "millimeter millimetre",
    "ft": "foot feet", "in": "inch inche", "yd": "yard", "mi": "mile", "kg": "kilogram", "g": "gram",
    "mg": "milligram", "lb": "pound", "oz": "ounce", "l": "liter litre", "ml": "milliliter millilitre",
    "s": "second sec", "min": "minute", "h": "hour hr", "day": "", "week": "", "month": "", "year": "yr",
    "°": "degree deg", "$": "dollar buck usd", "€": "euro",
    "£": "", "¥": "yen", "cent": "", "mph": "", "°c": "", "°f": "", "rad": "radian",
}  # fmt: skip
_NAMES = {name: unit for unit, names in _UNITS.items() for name in [unit, *names.split()]}
_SCALES = {
    "%": Fraction(1, 100), "percent": Fraction(1, 100), "percentage": Fraction(1, 100), "pct": Fraction(1, 100),
    "dozen": Fraction(12), "hundred": Fraction(100), "thousand": Fraction(10**3), "million": Fraction(10**6),
    "billion": Fraction(10**9), "trillion": Fraction(10**12),
}  # fmt: skip


def _set(*lines: str) -> frozenset[str]:
    return frozenset(" ".join(lines).split())


_NO_UNIT = _set(
    "or and not but if to than mod modulo base minus plus times over by squared cubed factorial point nor half",
    "halves third thirds quarter quarters fourth fourths pi sin cos tan log ln exp sqrt through exactly",
    "approximately about almost between least most i e x y z remainder infinity",
)
_SHORT = _set("of in per a an the on at cm km mm kg ft mg ml sq dm")
_NAME = re.compile(r"(?P<name>[A-Za-z]{1,2}'?(?:_(?:[A-Za-z0-9]|\{[A-Za-z0-9]{1,8}\}))?)\s*(?:=|\\approx)\s*")
_CURRENCY = re.compile(rf"(?P<sign>[-+]?)\s*(?P<currency>[{DOLLAR}€£¥])\s*(?P<rest>.*)")
_SUFFIX = re.compile(
    r"(?P<number>.*?[0-9.}])\s*"
    r"(?P<scale>%|(?:percent(?:age)?|pct|dozen|hundred|thousand|million|billion|trillion)\b)?\s*"
    rf"(?P<unit>\^\\circ(?: ?[CF])?|[{DOLLAR}€£¥]"
    r"|(?:\\text\{[^{}\\0-9]{1,60}\}|[A-Za-z][A-Za-z /.'-]{1,60})(?:\^\{?[23]\}?)?)?"
)


class Measure(NamedTuple):
    """A number with its surroundings. `raw`: the number as written; `value`: with its scale (`%`, `million`)
    worked in. `unit` and `name` are "" where none is given."""

    value: Fraction
    raw: Number
    scale: str
    unit: str
    name: str


def read_measure(text: str) -> Measure | None:
    """The measure that a plain text wholly is, or None. Raises OverflowError for a power that is too large."""
    name = _NAME.match(text)
    rest = text[name.end() :] if name else text
    currency = _CURRENCY.fullmatch(rest)
    symbol = (_unit(currency["currency"]) or "") if currency else ""
    parts = _parts(currency["sign"] + currency["rest"] if currency else rest)
    if parts is None or (symbol and parts.unit and symbol != parts.unit):
        return None
    factor = _SCALES.get(parts.scale, Fraction(1))
    scale = "%" if factor < 1 else parts.scale
    return Measure(
        parts.number.value * factor, parts.number, scale, symbol or parts.unit, name["name"] if name else ""
    )


class _Parts(NamedTuple):
    number: Number
    scale: str
    unit: str


def _parts(text: str) -> _Parts | None:
    """A number with its scale and its unit, or None."""
    number = read_number(text)
    if number is not None:
        return _Parts(number, "", "")
    match = _SUFFIX.fullmatch(text) if len(text) <= MAX_LENGTH else None
    number = read_number(match["number"]) if match else None
    if match is None or number is None:
        return None
    words = match["unit"] or ""
    unit = _unit(words)
    if unit is None or _is_product(words, spaced=text[: match.start("unit")].endswith(" ")):
        return None
    return _Parts(number, match["scale"] or "", unit)


def _is_product(unit: str, *, spaced: bool) -> bool:
    """Whether letters after a number are variables rather than a word: 2xy, 3 ab; but 5cm and 5 apples are units."""
    if not unit[:1].isalpha() or _known(_unit(unit) or ""):
        return False
    return not spaced or any(len(word) < 3 and word not in _SHORT for word in re.findall(r"[A-Za-z]+", unit))


def _unit(text: str) -> str | None:
    """One name for a unit, or None if these words are no unit."""
    power = re.search(r"\^\{?([23])\}?$", text)
    words = text[: power.start()] if power else text
    words = words.removeprefix(r"\text{").removesuffix("}").replace(DOLLAR, "$").replace(r"^\circ", "°")
    words = words.strip(" .").lower()
    words = re.sub(r"^(?:square|sq\.?) (.+)$", r"\1^2", re.sub(r"^cubic (.+)$", r"\1^3", words))
    if set(re.findall(r"[a-z]+", words)) & _NO_UNIT or words in _SCALES:
        return None
    base, caret, exponent = words.partition("^")
    base = base.removesuffix("s") if len(base) > 2 else base
    return _NAMES.get(base, base) + caret + exponent + (f"^{power[1]}" if power else "")


def compare(gold: Measure, answer: Measure) -> Reason:
    """Whether two measures are the same: the same verdict both ways round."""
    if gold.value == answer.value or _close(gold, answer):
        return _same_value(gold, answer)
    if gold.scale != answer.scale and gold.raw.value == answer.raw.value:
        return Reason.NEEDS_POLICY
    if gold.unit != answer.unit and _known(gold.unit) and _known(answer.unit):
        return Reason.NEEDS_POLICY  # 1 km is 1000 m: conversion is not done here
    if _rounded(gold, answer) or _rounded(answer, gold):
        return Reason.NEEDS_POLICY
    return Reason.DIFFERENT


def _known(unit: str) -> bool:
    return unit.partition("^")[0] in _UNITS


def _same_value(gold: Measure, answer: Measure) -> Reason:
    """The verdict of two equal values: their units and names may still tell them apart."""
    if gold.unit and answer.unit and gold.unit != answer.unit:
        return Reason.DIFFERENT if _known(gold.unit) and _known(answer.unit) else Reason.NEEDS_POLICY
    return Reason.NEEDS_POLICY if gold.name and answer.name and gold.name != answer.name else Reason.EQUAL


def _close(one: Measure, other: Measure) -> bool:
    """Whether a decimal stands for a fraction to within the tolerance and to within its own last digit."""
    if not (one.raw.ratio or other.raw.ratio) or not (_rounded(one, other) or _rounded(other, one)):
        return False
    return abs(one.value - other.value) <= TOLERANCE * max(abs(one.value), abs(other.value))


def _rounded(decimal: Measure, exact: Measure) -> bool:
    """Whether a decimal is the rounding, or the cutting off, of a fraction or of a longer decimal."""
    if decimal.raw.step is None or not (exact.raw.ratio or exact.raw.step):
        return False
    step, finer = _step(decimal), _step(exact)
    return (finer is None or step is None or finer < step) and abs(decimal.value - exact.value) < (step or 0)


def _step(measure: Measure) -> Fraction | None:
    """The value of the last decimal, with the scale worked in."""
    return measure.raw.step * _SCALES.get(measure.scale, Fraction(1)) if measure.raw.step else None
