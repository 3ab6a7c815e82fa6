r"""Are two formulas the same value? Exactly if possible, else by probing, and a decimal by its rounding.

In this order: worked out as fractions; in a finite field (`fingerprint`); at points of the real domain with 60 digits
(`numeric`). Where formulas with functions agree at every point, `confirm` is asked, if there is one: it may know that
the difference is a number other than zero.

>>> from stillroom.traces.answers.parser import read
>>> compare_values(read(r"\tan(x/2)"), read(r"\frac{1-\cos x}{\sin x}"), Rules()).same
True
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, NamedTuple

from stillroom.traces.answers.fingerprint import Undefined, fingerprint
from stillroom.traces.answers.limits import allowance, spend
from stillroom.traces.answers.numeric import (
    AGREE,
    CONSTANT_DIGITS,
    DIGITS,
    agree_at,
    agree_in_full,
    close,
    context,
    evaluate,
    gap_at,
    has_real_value,
    is_near,
    points_of,
    told_apart,
)
from stillroom.traces.answers.rational import rational
from stillroom.traces.answers.records import Policies
from stillroom.traces.answers.tree import EULER, Node, divide, number, symbols, walk

MAX_WORK = 20_000
"""Comparisons of one pair of answers; one by points counts for POINTS_COST."""
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
_SLOW = frozenset({"gamma", "factorial", "binomial", "sum", "prod"})
QUICK_DIGITS, SLOW_DIGITS = 4_000, 700
"""Digits that are computed without a worker that could be killed: of most functions, and of slow ones."""
SIGNIFICANT, TOLERANT = 3, 2
"""Significant digits that make a decimal a rounding."""
LOG_BASES = (EULER, number(10))
"""What a logarithm without its base may be to."""


class Answer(NamedTuple):
    """Whether two things are the same; None if that is not known. `why`: what decided, or stood in the way."""

    same: bool | None
    why: str = ""

    @staticmethod
    def every(answers: Iterable[Answer]) -> Answer:
        """All the same: the first that is not, a difference before what is unknown."""
        unknown: Answer | None = None
        note = ""
        for answer in answers:
            if answer.same is False:
                return DIFFERENT
            if answer.same is None:
                unknown = unknown or answer
            note = note or answer.why
        return unknown or Answer(True, note)


SAME, DIFFERENT = Answer(True), Answer(False)
ROUNDED = Answer(None, "what they differ by may be rounding")
INEXACT = Answer(None, "a decimal within a formula may be rounded")
UNKNOWN = Answer(None, "the two cannot be compared")
Confirm = Callable[[Node, Node], bool | None]
"""Says whether two formulas that agree wherever tried are the same, or None where it cannot tell."""


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
    compare: Callable[[Node, Node, Rules], Answer] = lambda one, other, rules: compare_values(one, other, rules)

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
        return Answer(True, "written alike") if any(part.kind == "dots" for part in walk(one)) else SAME
    first, second = rational(one), rational(other)
    if first is not None and second is not None:
        return SAME if first == second else rounding(one, first, other, second, rules) or DIFFERENT
    # By their images in a finite field, where these decide.
    image, other_image = fingerprint(one), fingerprint(other)
    if image is not None and other_image is not None:
        if image.residue == other_image.residue:
            return SAME
        if image.sure and other_image.sure and not _has_decimal(one, other):
            return DIFFERENT
    return _by_points(one, other, rules)


# -- numbers and roundings -------------------------------------------------------------------------------------------


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
    step: Fraction | None = node.args[1] if node.kind == "num" else None
    if node.kind == "percent":
        inner = decimal_step(node.args[0]) or (Fraction(1) if node.args[0].kind == "num" else None)
        step = inner / 100 if inner is not None else None
    return step


def significant(value: Fraction, step: Fraction) -> int:
    """Significant digits of a decimal."""
    return len(str(abs(value / step).numerator // abs(value / step).denominator))


def has_bare_log(node: Node) -> bool:
    """Whether a logarithm without its base is part of a formula."""
    return any(part.kind == "fn" and part.args[0] == "log" and len(part.args) == 2 for part in walk(node))


def with_base(node: Node, base: Node) -> Node:
    """The node with every bare logarithm to a base."""
    spend(2)
    args = tuple(with_base(arg, base) if isinstance(arg, Node) else arg for arg in node.args)
    if node.kind != "fn" or node.args[0] != "log" or len(node.args) != 2:
        return Node(node.kind, args)
    natural = Node("fn", ("ln", args[1]))
    return natural if base == EULER else divide(natural, Node("fn", ("ln", base)))


# -- by points -------------------------------------------------------------------------------------------------------


def _by_points(one: Node, other: Node, rules: Rules) -> Answer:
    rules.spend(POINTS_COST)
    names = sorted(symbols(one) | symbols(other))
    if not names:
        return _constants(one, other, rules)
    agreed = 0
    for values in points_of(one, other, names):
        same = agree_at(one, other, values)
        if same is False:
            apart = told_apart(one, other, values, DIGITS, CONSTANT_DIGITS)
            if apart:
                near = _has_decimal(one, other) and is_near(*(evaluate(node, values).value for node in (one, other)))
                return INEXACT if near else DIFFERENT
            same = None if apart is None else True
        agreed += same is True
    if agreed < ENOUGH:
        return Answer(None, "no common domain was found")
    if _calls(_PIECES, one, other) or any(map(_has_log_of_square, (one, other))):
        # x + 0 ln x is not |x|, and 2 ln x is ln x^2 for some x only
        places = points_of(one, other, names)
        if any(has_real_value(one, values) != has_real_value(other, values) for values in places):
            return Answer(None, "made of pieces, of which the other has a value on some only")
    agree = agree_in_full(one, other, names)
    if not agree:
        return DIFFERENT if agree is False else ROUNDED
    if rules.confirm is None:
        raise Pending
    with allowance(None):  # in a worker, which is killed when it takes too long
        confirmed = rules.confirm(one, other)
    if confirmed is None and _calls(_BROKEN, one, other):
        return Answer(None, "the same wherever tried, but made of pieces")
    return DIFFERENT if confirmed is False else Answer(True, "proven" if confirmed else "the same wherever tried")


def _calls(names: frozenset[str], *nodes: Node) -> bool:
    """Whether a formula has one of these functions in it."""
    return any(part.kind == "fn" and part.args[0] in names for node in nodes for part in walk(node))


def _has_log_of_square(node: Node) -> bool:
    """Whether a formula has the logarithm of an even power of a letter in it, or of a product with one."""
    return any(
        part.kind == "fn" and part.args[0] in _LOGARITHMS and any(map(_is_square, (part.args[1], *part.args[1].args)))
        for part in walk(node)
    )


_LOGARITHMS = frozenset({"ln", "log"})


def _is_square(node: Any) -> bool:
    exponent = rational(node.args[1]) if isinstance(node, Node) and node.kind == "pow" else None
    return exponent is not None and exponent % 2 == 0 and bool(symbols(node))


def _has_decimal(one: Node, other: Node) -> bool:
    return any(decimal_step(part) is not None for node in (one, other) for part in walk(node))


def _constants(one: Node, other: Node, rules: Rules) -> Answer:
    try:
        first, second = evaluate(one, {}).value, evaluate(other, {}).value
    except Undefined as why:
        return Answer(None, ": ".join(filter(None, ("it has no value that can be computed", str(why)))))
    if close(first, second, AGREE):
        return _constants_in_full(one, other)
    if context().im(first) == 0 == context().im(second):
        near = rounding(one, exact_fraction(first), other, exact_fraction(second), rules)
        if near is not None:
            return near
    if "num" not in (one.kind, other.kind) and is_near(first, second) and _has_decimal(one, other):
        return INEXACT
    apart = told_apart(one, other, {}, DIGITS, CONSTANT_DIGITS)
    return DIFFERENT if apart else ROUNDED if apart is None else _constants_in_full(one, other)


def _constants_in_full(one: Node, other: Node) -> Answer:
    """Compares two constants in enough digits that what is added to something very large, or very small, counts."""
    mp = context()
    extent = max(evaluate(node, {}).extent for node in (one, other))
    digits = CONSTANT_DIGITS + 2 * extent
    if digits > (SLOW_DIGITS if _calls(_SLOW, one, other) else QUICK_DIGITS):
        return Answer(None, "numbers too large or too small to be told apart")
    carried = digits + extent + 20
    gap = gap_at(one, other, {}, carried)
    if abs(gap.size) <= max(gap.scale, 1) * mp.mpf(10) ** -digits:
        return Answer(True, f"the same in {digits} digits")
    return DIFFERENT if told_apart(one, other, {}, carried, carried + CONSTANT_DIGITS) else ROUNDED


def exact_fraction(value: Any) -> Fraction:
    """The binary fraction that a number of mpmath is."""
    sign, mantissa, exponent, _ = context().re(value)._mpf_
    if abs(exponent) > 100_000:
        raise OverflowError("a number that is too large or too small")
    return Fraction((-1) ** sign * int(mantissa)) * Fraction(2) ** int(exponent)
