"""Are two formulas the same wherever they are tried? The points, and in how many digits two values must agree.

Points are the same for the same names of variables, run after run. Where two values are close, many more digits are
carried: a gap that is there stays what it was, and one that is only rounding shrinks. Proves nothing: a proof is for
the `worker`.

>>> from stillroom.traces.answers.parser import read
>>> one, other = read("(x + 1)^2"), read("x^2 + 2x + 1")
>>> [agree_at(one, other, values) for values in points(["x"], whole=False)][:3]
[True, True, True]
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from fractions import Fraction
from typing import Any, NamedTuple

from stillroom.traces.answers.fingerprint import Undefined
from stillroom.traces.answers.numeric import context, evaluate
from stillroom.traces.answers.rational import rational
from stillroom.traces.answers.tree import Node, symbols, walk

AGREE = 40
"""Digits in which two values must agree to be the same."""
CONSTANT_DIGITS = 220
"""Digits in which two constants are compared before they are taken for the same."""
DEEP_DIGITS = 12_000
"""Digits of the last look before a proof is tried: exponents of four digits are read."""
ROUGH = 50
"""A decimal within a formula may be rounded where two values differ by less than this part of them."""
_WHOLE = frozenset({"factorial", "binomial", "sum", "prod"})
SPANS = (
    *[(0, 1)] * 4, *[(1, 3)] * 2, (0, 5), *[(-1, 1)] * 2, *[(-2, 2)] * 3, *[(-20, 20)] * 4, *[(-150, 150)] * 3,
    *[(-2_000, 2_000)] * 3, *[(-10**6, 10**6)] * 2,
)  # fmt: skip
"""Where the points lie, one after the other."""


# -- where to try ----------------------------------------------------------------------------------------------------


def points_of(one: Node, other: Node, names: list[str]) -> Iterator[dict[str, Any]]:
    """Where to try two formulas. `names`: the variables of both."""
    return points(names, whole=_takes_whole(one) or _takes_whole(other))


def points(names: list[str], *, whole: bool) -> Iterator[dict[str, Any]]:
    """Values for the variables: first all within (0, 1), then around and above 1, then of both signs; whole numbers
    in falling size by name where asked, as in n over k."""
    falling = {"N": 0, "n": 1, "d": 2, "m": 2, "p": 2, "q": 3, "r": 4, "k": 4, "j": 5, "i": 5}
    for index, (low, high) in enumerate(SPANS):
        point: dict[str, Any] = {}
        for name in names:
            if whole:
                order = falling.get(name[:1], 3)
                point[name] = int(2 + 3 * (5 - order) + int(_unit(name, index) * 3) + index % 5)
                continue
            scaled = low + (high - low) * _unit(name, index)
            if high > 2 and index % 2:  # of the wide spans, every other point is whole
                scaled = Fraction(round(scaled) + 1 + int(97 * _unit(name, index + len(SPANS))))
            point[name] = context().mpf(scaled.numerator) / scaled.denominator
        yield point


def _unit(name: str, index: int) -> Fraction:
    """A number between 0 and 1, the same for the same name and index."""
    digest = hashlib.blake2b(f"{name} {index}".encode(), digest_size=8).digest()
    return Fraction(int.from_bytes(digest) % 999_983 + 7, 1_000_003)


def _takes_whole(node: Node) -> bool:
    """Whether variables stand where only whole numbers make sense: under a factorial, or as a power of a negative."""
    for part in walk(node):
        if part.kind == "fn" and part.args[0] in _WHOLE and any(symbols(arg) for arg in part.args[1:]):
            return True
        if part.kind == "pow" and symbols(part.args[1]) and part.args[0].kind in ("num", "mul", "add"):
            base = None if symbols(part.args[0]) else rational(part.args[0])
            if base is not None and base < 0:
                return True
    return False


# -- how close -------------------------------------------------------------------------------------------------------


class Gap(NamedTuple):
    """What two values differ by, and the larger of them."""

    size: Any
    scale: Any


def gap_at(one: Node, other: Node, values: dict[str, Any], digits: int) -> Gap:
    """The gap when that many digits are carried. Raises Undefined where one has no value."""
    with context().workdps(digits):
        first, second = evaluate(one, values).value, evaluate(other, values).value
        return Gap(first - second, max(abs(first), abs(second)))


def agree_at(one: Node, other: Node, values: dict[str, Any]) -> bool | None:
    """Whether both have the same value at a point; None where one has no real value there."""
    try:
        first, second = evaluate(one, values), evaluate(other, values)
    except Undefined:
        return None
    if not (first.real_domain and second.real_domain):
        return None
    return close(first.value, second.value, AGREE)


def has_real_value(node: Node, values: dict[str, Any]) -> bool:
    """Whether a formula has a real value at a point."""
    try:
        return bool(evaluate(node, values).real_domain)
    except Undefined:
        return False


def close(first: Any, second: Any, digits: int) -> bool:
    """Whether two values agree in that many digits."""
    scale = max(abs(first), abs(second))
    return bool(scale == 0 or abs(first - second) <= scale * context().mpf(10) ** -digits)


def is_near(first: Any, second: Any) -> bool:
    """Whether two values differ by so little that one may be made of rounded decimals."""
    return bool(abs(first - second) * ROUGH <= max(abs(first), abs(second)))


def told_apart(one: Node, other: Node, values: dict[str, Any], few: int, many: int) -> bool | None:
    """Whether two values that are not close with few digits are two values. With many more, a gap that is there stays
    what it was, and one that is only rounding (of large terms that cancel, or of sin π for 0) shrinks. None: it does
    neither, as 1/sin π, and says nothing."""
    try:
        first, second = gap_at(one, other, values, few), gap_at(one, other, values, many)
    except Undefined:
        return None
    if abs(second.size) <= abs(first.size) * context().mpf(10) ** -AGREE:
        return False
    return True if abs(first.size - second.size) * 1_000 <= abs(second.size) else None


def agree_in_full(one: Node, other: Node, names: list[str]) -> bool | None:
    """Whether they agree in many more digits too, where both have a value: a term may be too small to be seen. None
    if that cannot be told."""
    digits = CONSTANT_DIGITS + 20
    for values in points_of(one, other, names):
        if agree_at(one, other, values) is not None:
            gap = gap_at(one, other, values, digits)
            if abs(gap.size) <= gap.scale * context().mpf(10) ** -CONSTANT_DIGITS:
                return True
            apart = told_apart(one, other, values, digits, 2 * digits)
            return None if apart is None else not apart
    return False


def agree_deeply(one: Node, other: Node) -> bool | None:
    """Whether they agree at one point in enough digits that no term of a readable answer is too small to be seen;
    None where no point was found. Takes a tenth of a second and more."""
    mp = context()
    for values in points_of(one, other, sorted(symbols(one) | symbols(other))):
        if agree_at(one, other, values) is not None:
            gap = gap_at(one, other, values, DEEP_DIGITS + 20)
            few = gap_at(one, other, values, CONSTANT_DIGITS)
            return bool(abs(gap.size) <= max(gap.scale, abs(few.size)) * mp.mpf(10) ** -(DEEP_DIGITS - AGREE))
    return None
