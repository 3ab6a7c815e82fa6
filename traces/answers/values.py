r"""Are two formulas the same value? Exactly where that can be, else by probing, and a decimal by its rounding.

In this order: worked out as fractions; in a finite field (`fingerprint`); at points of the real domain with 60 digits
(`numeric`). Where formulas with functions agree at every point, `confirm` is asked, if there is one: it may know that
the difference is a number other than zero.

>>> from stillroom.traces.answers.parser import read
>>> compare_values(read(r"\tan(x/2)"), read(r"\frac{1-\cos x}{\sin x}"), Rules()).same
True
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, NamedTuple

from stillroom.traces.answers.budget import allowance
from stillroom.traces.answers.fingerprint import Undefined, fingerprint
from stillroom.traces.answers.numeric import DIGITS, context, evaluate
from stillroom.traces.answers.policies import Policies
from stillroom.traces.answers.rational import rational
from stillroom.traces.answers.tree import Node, symbols, walk

AGREE = 40
"""Digits in which two values must agree to be the same."""
CONSTANT_DIGITS = 220
"""Digits in which two constants are compared before they are taken for the same."""
MAX_WORK = 20_000
"""Comparisons of one pair of answers; one by points counts for POINTS_COST."""
DEEP_DIGITS = 12_000
"""Digits of the last look before a proof is tried: exponents of four digits are read."""
POINTS_COST = 100
ENOUGH = 3
"""Points of the real domain at which both must have a value."""
FINE = Fraction(1, 10**9)
"""Relative difference that is left to floating point, for a decimal of FINE_DIGITS digits or more."""
FINE_DIGITS = 10
FINE_WHOLE = Fraction(1, 10**6)
"""Difference from an integer that is left to floating point: 2.9999999999999996 is 3, and no integer is another."""
_PIECES = frozenset({"abs", "floor", "ceil", "max", "min", "sgn"})
_BROKEN = frozenset({"floor", "ceil", "max", "min", "sgn"})
_WHOLE = frozenset({"factorial", "binomial", "sum", "prod"})
_SLOW = frozenset({"gamma", "factorial", "binomial", "sum", "prod"})
QUICK_DIGITS, SLOW_DIGITS = 4_000, 700
"""Digits that are computed without a worker that could be killed: of most functions, and of slow ones."""
ROUGH = 50
"""A decimal within a formula may be rounded where two values differ by less than this part of them."""
SIGNIFICANT, TOLERANT = 3, 2
"""Significant digits that make a decimal a rounding."""


class Answer(NamedTuple):
    """Whether two things are the same; None where that is not known. `why`: what decided, or stood in the way."""

    same: bool | None
    why: str = ""


SAME, DIFFERENT = Answer(True), Answer(False)
ROUNDED = Answer(None, "what they differ by may be rounding")
UNKNOWN = Answer(None, "the two cannot be compared")
Confirm = Callable[[Node, Node], bool | None]
"""Says of two formulas that agree wherever tried whether they are the same, or None where it cannot tell."""


Comparer = Callable[[Node, Node, "Rules"], Answer]


class Pending(Exception):
    """Two formulas agree wherever tried, and somebody else is to confirm it."""


@dataclass(slots=True)
class Rules:
    """What a comparison goes by. `used`: the policies that decided something, with what they said. `confirm` None:
    raises Pending where one would be asked. `compare`: how the parts of an answer are compared; `compare` itself,
    once it runs."""

    policies: Policies = field(default_factory=Policies)
    confirm: Confirm | None = lambda one, other: None
    used: set[str] = field(default_factory=set)
    work: int = 0
    compare: Comparer = lambda one, other, rules: compare_values(one, other, rules)

    def spend(self, amount: int) -> None:
        """Counts work, so that an answer of many parts cannot hold everybody up. Raises OverflowError at the
        limit."""
        self.work += amount
        if self.work > MAX_WORK:
            raise OverflowError("too many parts to compare")

    def decide(self, policy: str, verdicts: dict[str, bool | None]) -> Answer:
        """What a policy says, with its value. A value that is not named, and `ask`, leave it open."""
        value = getattr(self.policies, policy)
        same = verdicts.get(value)
        self.used.add(f"{policy}={value}")
        return Answer(same, f"policy {policy}")


def compare_values(one: Node, other: Node, rules: Rules) -> Answer:
    """Compares two formulas. Raises OverflowError where a number is too large to be worked out."""
    rules.spend(1)
    if one == other:
        return SAME if _has_value(one) else Answer(True, "written alike")
    first, second = rational(one), rational(other)
    if first is not None and second is not None:
        return _numbers(one, first, other, second, rules)
    return _exactly(one, other, rules) or _by_points(one, other, rules)


def _has_value(node: Node) -> bool:
    return not any(part.kind == "dots" for part in walk(node))


# -- numbers and roundings -------------------------------------------------------------------------------------------


def _numbers(one: Node, first: Fraction, other: Node, second: Fraction, rules: Rules) -> Answer:
    if first == second:
        return SAME
    return rounding(one, first, other, second, rules) or DIFFERENT


def rounding(one: Node, first: Fraction, other: Node, second: Fraction, rules: Rules) -> Answer | None:
    """Whether one number, written as a decimal, is the other rounded. None: they are too far apart to ask."""
    for node, value, exact_node, exact in ((one, first, other, second), (other, second, one, first)):
        step = decimal_step(node)
        if step is None or not value:
            continue
        finer = decimal_step(exact_node)
        if finer is not None and finer >= step:
            continue
        off, whole = abs(value - exact), finer is None and exact.denominator == 1
        if off * 2 <= step and not whole:
            return _rounded(significant(value, step), rules)
        if significant(value, step) >= FINE_DIGITS and off <= FINE * abs(exact) and not (whole and off > FINE_WHOLE):
            return SAME
        if off * 2 <= step:
            return _rounded(0, rules)
    return None


def rounds_to(one: Node, other: Node, *, rough: bool) -> bool:
    """Whether one of two constants, written as a decimal of any length, is the other rounded. `rough`: they are said
    to be about the same, so that an integer may be a rounded decimal or root, though no other integer."""
    try:
        values = [evaluate(node, {}).value for node in (one, other)]
    except Undefined:
        return False
    mp = context()
    whole = [bool(mp.isint(value)) for value in values]
    rounded = rough and whole[0] != whole[1]
    steps = [
        decimal_step(node) or (Fraction(1) if rounded and is_whole else None)
        for node, is_whole in zip((one, other), whole, strict=True)
    ]
    off = 2 * abs(values[0] - values[1])
    return any(step is not None and off <= mp.mpf(step.numerator) / step.denominator for step in steps)


def _rounded(digits: int, rules: Rules) -> Answer:
    """By the significant digits of the rounded one; 0: the other is an integer, which is exact, and 1.23e6 is not
    1234567."""
    enough, tolerated = digits >= SIGNIFICANT, digits >= TOLERANT or not digits
    verdicts = {"significant": enough or None, "tolerant": tolerated or None, "never": False}
    return rules.decide("rounding", verdicts)


def decimal_step(node: Node) -> Fraction | None:
    """The value of the last digit of a number written as a decimal (times a power of ten, with a sign), or None."""
    if node.kind == "num":
        step: Fraction | None = node.args[1]
        return step
    if node.kind == "percent":
        inner = decimal_step(node.args[0])
        if inner is None and node.args[0].kind == "num":
            inner = Fraction(1)
        return inner / 100 if inner is not None else None
    return None


def significant(value: Fraction, step: Fraction) -> int:
    """Significant digits of a decimal."""
    return len(str(abs(value / step).numerator // abs(value / step).denominator))


# -- exactly ---------------------------------------------------------------------------------------------------------


def _exactly(one: Node, other: Node, rules: Rules) -> Answer | None:
    """By their images in a finite field; None where these do not decide."""
    first, second = fingerprint(one), fingerprint(other)
    if first is None or second is None:
        return None
    if first.residue == second.residue:
        return SAME
    decimal = _has_decimal(one, other)
    return DIFFERENT if first.sure and second.sure and not decimal else None


# -- by points -------------------------------------------------------------------------------------------------------


def _by_points(one: Node, other: Node, rules: Rules) -> Answer:
    rules.spend(POINTS_COST)
    names = sorted(symbols(one) | symbols(other))
    if not names:
        return _constants(one, other, rules)
    agreed = 0
    for values in points(names, whole=_is_whole(one) or _is_whole(other)):
        same = _agree_at(one, other, values)
        if same is False:
            apart = _told_apart(one, other, values, DIGITS, CONSTANT_DIGITS)
            if apart:
                return _nearly(one, other, values)
            same = None if apart is None else True
        agreed += same is True
    if agreed < ENOUGH:
        return Answer(None, "no common domain was found")
    if _is_made_of_pieces(one, other) and _is_told_on_part_only(one, other, names):
        return Answer(None, "made of pieces, of which the other has a value on some only")
    agree = _agree_in_full(one, other, names)
    return _confirmed(one, other, rules) if agree else DIFFERENT if agree is False else ROUNDED


def _is_made_of_pieces(one: Node, other: Node) -> bool:
    return any(part.kind == "fn" and part.args[0] in _PIECES for node in (one, other) for part in walk(node))


def _is_told_on_part_only(one: Node, other: Node, names: list[str]) -> bool:
    """Whether one has a real value at a point where the other has none: x + 0 ln x is not |x|."""
    for values in points(names, whole=_is_whole(one) or _is_whole(other)):
        if _has_real_value(one, values) != _has_real_value(other, values):
            return True
    return False


def _has_real_value(node: Node, values: dict[str, Any]) -> bool:
    try:
        return bool(evaluate(node, values).real_domain)
    except Undefined:
        return False


def _confirmed(one: Node, other: Node, rules: Rules) -> Answer:
    if rules.confirm is None:
        raise Pending
    with allowance(None):  # in a worker, which is killed when it takes too long
        same = rules.confirm(one, other)
    if same is None and any(
        part.kind == "fn" and part.args[0] in _BROKEN for node in (one, other) for part in walk(node)
    ):
        return Answer(None, "the same wherever tried, but made of pieces")
    return DIFFERENT if same is False else Answer(True, "proven" if same else "the same wherever tried")


class Gap(NamedTuple):
    """What two values differ by, and the larger of them."""

    size: Any
    scale: Any


def _gap(one: Node, other: Node, values: dict[str, Any], digits: int) -> Gap:
    """The gap when so many digits are carried. Raises Undefined where one has no value."""
    with context().workdps(digits):
        first, second = evaluate(one, values).value, evaluate(other, values).value
        return Gap(first - second, max(abs(first), abs(second)))


def _told_apart(one: Node, other: Node, values: dict[str, Any], few: int, many: int) -> bool | None:
    """Whether two values that are not close with few digits are two values. With many more, a gap that is there stays
    what it was, and one that is only rounding (of large terms that cancel, or of sin π for 0) shrinks. None: it does
    neither, as 1/sin π, and says nothing."""
    try:
        first, second = _gap(one, other, values, few), _gap(one, other, values, many)
    except Undefined:
        return None
    if abs(second.size) <= abs(first.size) * context().mpf(10) ** -AGREE:
        return False
    return True if abs(first.size - second.size) * 1_000 <= abs(second.size) else None


def _agree_in_full(one: Node, other: Node, names: list[str]) -> bool | None:
    """Whether they agree in many more digits too, where both have a value: a term may be too small to be seen. None
    where that cannot be told."""
    digits = CONSTANT_DIGITS + 20
    for values in points(names, whole=_is_whole(one) or _is_whole(other)):
        if _agree_at(one, other, values) is not None:
            gap = _gap(one, other, values, digits)
            if abs(gap.size) <= gap.scale * context().mpf(10) ** -CONSTANT_DIGITS:
                return True
            apart = _told_apart(one, other, values, digits, 2 * digits)
            return None if apart is None else not apart
    return False


def agree_deeply(one: Node, other: Node) -> bool | None:
    """Whether they agree at one point in so many digits that no term of a readable answer is too small to be seen;
    None where no point was found. Takes a tenth of a second and more."""
    mp = context()
    names = sorted(symbols(one) | symbols(other))
    for values in points(names, whole=_is_whole(one) or _is_whole(other)):
        if _agree_at(one, other, values) is not None:
            gap = _gap(one, other, values, DEEP_DIGITS + 20)
            few = _gap(one, other, values, CONSTANT_DIGITS)
            return bool(abs(gap.size) <= max(gap.scale, abs(few.size)) * mp.mpf(10) ** -(DEEP_DIGITS - AGREE))
    return None


def _agree_at(one: Node, other: Node, values: dict[str, Any]) -> bool | None:
    """Whether both have the same value at a point; None where one has no real value there."""
    try:
        first, second = evaluate(one, values), evaluate(other, values)
    except Undefined:
        return None
    if not (first.real_domain and second.real_domain):
        return None
    return _close(first.value, second.value, AGREE)


def _close(first: Any, second: Any, digits: int) -> bool:
    scale = max(abs(first), abs(second))
    return bool(scale == 0 or abs(first - second) <= scale * context().mpf(10) ** -digits)


def _has_decimal(one: Node, other: Node) -> bool:
    return any(decimal_step(part) is not None for node in (one, other) for part in walk(node))


def _is_near(first: Any, second: Any) -> bool:
    return bool(abs(first - second) * ROUGH <= max(abs(first), abs(second)))


def _nearly(one: Node, other: Node, values: dict[str, Any]) -> Answer:
    """They differ at a point. Where a decimal is part of a formula and they differ by little, it may be its
    rounding."""
    decimal = _has_decimal(one, other)
    if decimal and _is_near(evaluate(one, values).value, evaluate(other, values).value):
        return Answer(None, "a decimal within a formula may be rounded")
    return DIFFERENT


def _constants(one: Node, other: Node, rules: Rules) -> Answer:
    try:
        first, second = evaluate(one, {}).value, evaluate(other, {}).value
    except Undefined as why:
        return Answer(
            None,
            f"it has no value that can be computed: {why}" if str(why) else "it has no value that can be computed",
        )
    if _close(first, second, AGREE):
        return _constants_in_full(one, other)
    if context().im(first) == 0 == context().im(second):
        near = rounding(one, exact_fraction(first), other, exact_fraction(second), rules)
        if near is not None:
            return near
    if "num" not in (one.kind, other.kind) and _is_near(first, second) and _has_decimal(one, other):
        return Answer(None, "a decimal within a formula may be rounded")
    apart = _told_apart(one, other, {}, DIGITS, CONSTANT_DIGITS)
    return DIFFERENT if apart else ROUNDED if apart is None else _constants_in_full(one, other)


def _constants_in_full(one: Node, other: Node) -> Answer:
    """Compares two constants in so many digits that what is added to something very large, or very small, counts."""
    mp = context()
    extent = max(evaluate(node, {}).extent for node in (one, other))
    digits = CONSTANT_DIGITS + 2 * extent
    slow = any(part.kind == "fn" and part.args[0] in _SLOW for node in (one, other) for part in walk(node))
    if digits > (SLOW_DIGITS if slow else QUICK_DIGITS):
        return Answer(None, "numbers too large or too small to be told apart")
    carried = digits + extent + 20
    gap = _gap(one, other, {}, carried)
    if abs(gap.size) <= max(gap.scale, 1) * mp.mpf(10) ** -digits:
        return Answer(True, f"the same in {digits} digits")
    return DIFFERENT if _told_apart(one, other, {}, carried, carried + CONSTANT_DIGITS) else ROUNDED


def exact_fraction(value: Any) -> Fraction:
    """The binary fraction that a number of mpmath is."""
    sign, mantissa, exponent, _ = context().re(value)._mpf_
    if abs(exponent) > 100_000:
        raise OverflowError("a number that is too large or too small")
    return Fraction((-1) ** sign * int(mantissa)) * Fraction(2) ** int(exponent)


def _is_whole(node: Node) -> bool:
    """Whether variables stand where only whole numbers make sense: under a factorial, or as a power of a negative."""
    for part in walk(node):
        if part.kind == "fn" and part.args[0] in _WHOLE and any(symbols(arg) for arg in part.args[1:]):
            return True
        if part.kind == "pow" and symbols(part.args[1]) and part.args[0].kind in ("num", "mul", "add"):
            base = None if symbols(part.args[0]) else rational(part.args[0])
            if base is not None and base < 0:
                return True
    return False


def points(names: list[str], *, whole: bool) -> Iterator[dict[str, Any]]:
    """Values for the variables: first all within (0, 1), then around and above 1, then of both signs; whole numbers
    in falling size by name where asked, as in n over k."""
    for index in range(len(SPANS)):
        yield {name: _whole(name, names, index) if whole else _real(name, index) for name in names}


def _unit(name: str, index: int) -> Fraction:
    digest = hashlib.blake2b(f"{name} {index}".encode(), digest_size=8).digest()
    return Fraction(int.from_bytes(digest) % 999_983 + 7, 1_000_003)


SPANS = (
    *[(0, 1)] * 4, *[(1, 3)] * 2, (0, 5), *[(-1, 1)] * 2, *[(-2, 2)] * 3, *[(-20, 20)] * 4, *[(-150, 150)] * 3,
    *[(-2_000, 2_000)] * 3, *[(-10**6, 10**6)] * 2,
)  # fmt: skip
"""Where the points lie, one after the other."""


def _real(name: str, index: int) -> Any:
    """A value for a variable. Beyond 20, every other one is whole."""
    low, high = SPANS[index]
    scaled = low + (high - low) * _unit(name, index)
    if high > 2 and index % 2:
        scaled = Fraction(round(scaled) + 1 + int(97 * _unit(name, index + len(SPANS))))
    mp = context()
    return mp.mpf(scaled.numerator) / scaled.denominator


def _whole(name: str, names: list[str], index: int) -> int:
    order = {"N": 0, "n": 1, "d": 2, "m": 2, "p": 2, "q": 3, "r": 4, "k": 4, "j": 5, "i": 5}.get(name[:1], 3)
    return int(2 + 3 * (5 - order) + int(_unit(name, index) * 3) + index % 5)
