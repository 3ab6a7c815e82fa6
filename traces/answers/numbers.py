r"""Reads plain numbers exactly: integers, decimals, fractions, mixed numbers, powers, scientific notation.

Nothing is rounded and no float is made. A text that is not wholly one number is None, never its first number.

>>> read_number("1,234.5"), read_number("2 apples")
(Number(value=Fraction(2469, 2), step=Fraction(1, 10), ratio=False), None)
>>> read_number(r"-3\frac12").value
Fraction(-7, 2)
"""

from __future__ import annotations

import re
from fractions import Fraction
from typing import NamedTuple

MAX_POWER_BITS = 100_000
"""Bits of a power that is still written out."""

_INT = r"(?:[1-9][0-9]{0,2}(?:(?:,[0-9]{3})+|(?: [0-9]{3})+)|[0-9]+)"
_DEC = rf"(?:{_INT}(?:\.[0-9]*)?|\.[0-9]+)"
_PART = rf"(?:\{{\s*[-+]?\s*{_DEC}\s*\}}|[0-9])"
_SIGN = r"(?P<sign>[-+]?)\s*"
_DECIMAL = re.compile(rf"{_SIGN}(?P<dec>{_DEC})")
_FRACTION = re.compile(rf"{_SIGN}\\frac\s*(?P<num>{_PART})\s*(?P<den>{_PART})")
_SLASH = re.compile(rf"{_SIGN}\{{?(?P<num>{_DEC})\}}?\s*/\s*\{{?(?P<den>{_DEC})\}}?")
_MIXED = re.compile(rf"{_SIGN}(?P<whole>[0-9]+)\s*\\frac\s*(?P<num>{_PART})\s*(?P<den>{_PART})")
_MIXED_SLASH = re.compile(rf"{_SIGN}(?P<whole>[0-9]+)(?: | and |-)(?P<num>[0-9]+)\s*/\s*(?P<den>[0-9]+)")
_EXPONENT = r"\^\s*\{?\s*(?P<exp>[-+]?\s*[0-9]{1,4})\s*\}?"
_POWER = re.compile(rf"{_SIGN}(?P<base>{_INT})\s*{_EXPONENT}")
_TIMES = r"\s*(?:\\times|\\cdot|[x*])\s*"
_SCIENTIFIC = re.compile(rf"{_SIGN}(?P<dec>{_DEC})(?:{_TIMES}10\s*{_EXPONENT}|[eE](?P<e>[-+]?[0-9]{{1,4}}))")


class Number(NamedTuple):
    """An exact value. `step`: the value of the last digit of a decimal, None where no decimal was written.
    `ratio`: written as a fraction."""

    value: Fraction
    step: Fraction | None = None
    ratio: bool = False


def read_number(text: str) -> Number | None:
    """The number that a plain text is, or None. Raises OverflowError for a power that is too large to write out."""
    text = text.strip()
    if match := _DECIMAL.fullmatch(text):
        return _signed(match, _decimal(match["dec"]))
    if match := _SCIENTIFIC.fullmatch(text):
        return _signed(match, _scientific(match))
    if match := _POWER.fullmatch(text):
        return _power(match)
    for pattern in (_FRACTION, _SLASH, _MIXED, _MIXED_SLASH):
        if match := pattern.fullmatch(text):
            return _fraction(match)
    return None


def _digits(text: str) -> str:
    return re.sub(r"[{} ,]", "", text)


def _decimal(text: str) -> Number:
    whole, dot, part = _digits(text).partition(".")
    step = Fraction(1, 10 ** len(part)) if dot and part else None
    return Number(Fraction(int(whole + part or "0"), 10 ** len(part)), step)


def _signed(match: re.Match[str], number: Number) -> Number:
    return number._replace(value=-number.value) if match["sign"] == "-" else number


def _scientific(match: re.Match[str]) -> Number:
    number = _decimal(match["dec"])
    scale = Fraction(10) ** int(_digits(match["exp"] or match["e"]))
    return Number(number.value * scale, number.step * scale if number.step else None)


def _power(match: re.Match[str]) -> Number | None:
    base, exponent = int(_digits(match["base"])), int(_digits(match["exp"]))
    if base.bit_length() * abs(exponent) > MAX_POWER_BITS:
        raise OverflowError(f"a power of more than {MAX_POWER_BITS:,} bits")
    if base == 0 and exponent <= 0:
        return None
    return _signed(match, Number(Fraction(base) ** exponent))


def _fraction(match: re.Match[str]) -> Number | None:
    num, den = (Fraction(_digits(match[part])) for part in ("num", "den"))
    if den == 0:
        return None
    whole = int(match["whole"]) if "whole" in match.re.groupindex else 0
    return _signed(match, Number(whole + num / den, None, ratio=True))
