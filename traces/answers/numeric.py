r"""The value of a formula as a number of many digits (mpmath), and whether two formulas agree wherever tried.

Every step is bounded: an exponent or argument that would fill the memory or take long has no value here. Not having
one is never evidence. Points are the same for the same names of variables, run after run. Where two values are close,
many more digits are carried: a gap that is there stays what it was, and one that is only rounding shrinks. It proves
nothing: a proof is for the `worker`.

>>> from stillroom.traces.answers.parser import read
>>> one, other = read("(x + 1)^2"), read("x^2 + 2x + 1")
>>> [agree_at(one, other, values) for values in points(["x"], whole=False)][:3]
[True, True, True]
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator, Mapping
from fractions import Fraction
from typing import Any, NamedTuple

from stillroom.traces.answers.fingerprint import Undefined
from stillroom.traces.answers.limits import spend
from stillroom.traces.answers.rational import MAX_FACTORIAL, rational
from stillroom.traces.answers.tree import Node, symbols, walk

DIGITS = 60
MAX_LOG = 200_000
"""Natural logarithm of the largest power."""
MAX_TERMS = 300
MAX_STEPS = 20_000
"""Parts that are evaluated for one value."""
MAX_ARGUMENT = 10**6
"""Largest argument of a periodic function."""
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
_local = threading.local()


def context() -> Any:
    """mpmath's context of this thread: functions change its precision while they run."""
    found = getattr(_local, "context", None)
    if found is None:
        import mpmath

        found = mpmath.MPContext()
        found.dps = DIGITS
        _local.context = found
    return found


class Value(NamedTuple):
    """A value (mpmath's mpf or mpc). `real_domain`: no step on the way to it left the reals, or `i` itself is in
    it."""

    value: Any
    real_domain: bool
    extent: int


def evaluate(node: Node, values: Mapping[str, Any]) -> Value:
    """The value of a formula. Raises Undefined where there is none, or it is out of bounds."""
    mp = context()
    try:
        evaluation = _Evaluation(mp, values)
        value = evaluation.of(node)
        return Value(value, not evaluation.left or evaluation.imaginary, evaluation.extent)
    except (ArithmeticError, ValueError, TypeError, NotImplementedError, mp.NoConvergence) as error:
        raise Undefined(str(error)) from error


_FUNCTIONS = frozenset(
    """
    sin cos tan cot sec csc sinh cosh tanh coth arcsin arccos arctan arccot arcsec arccsc arcsinh arccosh
    arctanh
    """.split()  # noqa: SIM905
)
_THEIRS = {"arcsin": "asin", "arccos": "acos", "arctan": "atan", "arccot": "acot", "arcsec": "asec", "arccsc": "acsc",
           "arcsinh": "asinh", "arccosh": "acosh", "arctanh": "atanh"}  # fmt: skip


class _Evaluation:
    def __init__(self, mp: Any, values: Mapping[str, Any]) -> None:
        self.mp, self.values = mp, values
        self.left = self.imaginary = False
        self.extent = 0
        self.steps = 0
        # Units (see `limits`) at this precision: of any node, of a function, of a gamma function, and of what mpmath
        # prepares before the first of these.
        long = mp.dps / DIGITS
        self.step_cost, self.function_cost = int(20 + long), int(25 * long**1.5)
        self.gamma_cost, self.preparation_cost = int(150 * long**2), int(1_000 * long**2.8)
        self.tiny = mp.mpf(10) ** (-2 * mp.dps // 3)

    def watched(self, result: Any, *arguments: Any) -> Any:
        """Notes where a result is complex though the arguments are not."""
        if self.mp.im(result) != 0 and all(self.mp.im(argument) == 0 for argument in arguments):
            self.left = True
        return result

    def of(self, node: Node) -> Any:
        """The value of a node; the size of what comes up on the way is noted."""
        mp, value = self.mp, self.value(node)
        if isinstance(value, mp.mpc):
            # Without a part that is only what rounding left of a zero: it would choose the branch of a root or a
            # logarithm. With more digits a part that is there comes up again.
            real, imaginary = abs(value.real), abs(value.imag)
            if imaginary <= self.tiny * real:
                value = value.real
            elif real <= self.tiny * imaginary:
                value = mp.mpc(0, value.imag)
        if value:
            self.extent = max(self.extent, abs(mp.mag(value)) * 30103 // 100_000)
        return value

    def value(self, node: Node) -> Any:
        kind, args = node
        self.steps += 1
        if self.steps > MAX_STEPS:
            raise Undefined("too many steps")
        spend(self.step_cost)
        if kind == "num":
            spend((args[0].numerator.bit_length() + args[0].denominator.bit_length()) >> 9)
            return self.mp.mpf(args[0].numerator) / args[0].denominator
        if kind == "add":
            return self.mp.fsum(self.of(part) for part in args)
        if kind == "mul":
            return self.mp.fprod(self.of(part) for part in args)
        if kind == "pow":
            return self.power(self.of(args[0]), self.of(args[1]), args[1])
        if kind == "fn":
            return self.function(args[0], args[1:])
        if kind != "sym":
            raise Undefined(kind)
        mp, name = self.mp, args[0]
        if name in self.values:
            return mp.mpf(self.values[name])
        constant = {"pi": mp.pi, "e": mp.e, "i": mp.j}.get(name)
        if constant is None:
            raise Undefined(name)
        self.imaginary |= name == "i"
        return +constant

    def power(self, base: Any, exponent: Any, written: Node) -> Any:
        mp = self.mp
        spend(self.function_cost)
        if base == 0:
            if mp.re(exponent) <= 0:
                raise Undefined("a power of zero")
            return mp.mpf(0)
        if abs(exponent) * (1 + abs(mp.log(abs(base)))) > MAX_LOG:
            raise Undefined("a power that is too large")
        odd_root = written.kind == "num" and written.args[0].denominator % 2 and written.args[0].denominator > 1
        if odd_root and mp.im(base) == 0 and base < 0:  # the real root, as in school
            return (-1) ** (written.args[0].numerator % 2) * mp.power(-base, exponent)
        return self.watched(mp.power(base, exponent), base, exponent)

    def function(self, name: str, args: tuple[Node, ...]) -> Any:
        mp = self.mp
        if name in ("sum", "prod"):
            return self.series(name, *args)
        values = [self.of(arg) for arg in args]
        first = values[0]
        spend(self.function_cost)
        if name in _FUNCTIONS:
            if abs(first) > MAX_ARGUMENT:
                raise Undefined("an argument that is too large")
            return self.watched(getattr(mp, _THEIRS.get(name, name))(first), first)
        if name in ("ln", "log"):
            if first == 0:
                raise Undefined("the logarithm of zero")
            return self.watched(mp.log(first) if len(values) == 1 else mp.log(first) / mp.log(values[1]), *values)
        if name == "exp":
            return self.power(+mp.e, first, Node("dots", ()))
        if name in ("factorial", "binomial", "gamma"):
            if any(abs(value) > MAX_FACTORIAL for value in values):
                raise Undefined("an argument that is too large")
            whole = all(mp.isint(value) for value in values)  # these are worked out as integers
            spend(10 * self.step_cost if whole else self.gamma_cost * len(values) + self.preparation_cost)
            if name == "binomial":
                return mp.binomial(*values)
            return mp.factorial(first) if name == "factorial" else mp.gamma(first)
        if name == "abs":
            return abs(first)
        if any(mp.im(value) != 0 for value in values):
            raise Undefined(name)
        simple = {"floor": mp.floor, "ceil": mp.ceil, "sgn": mp.sign}.get(name)
        if simple is not None:
            # As near to a whole number as rounding puts it, it is that one: else floor would follow the rounding.
            # With more digits one that is only close comes up again.
            near = mp.nint(first)
            return simple(near if abs(first - near) <= self.tiny * max(1, abs(first)) else first)
        if name in ("max", "min"):
            return max(values) if name == "max" else min(values)
        raise Undefined(name)

    def series(self, name: str, body: Node, low: Node, high: Node) -> Any:
        """A sum or product of up to MAX_TERMS terms with numbers as bounds."""
        if low.kind != "rel" or low.args[0] != ("=",) or low.args[1].kind != "sym":
            raise Undefined(name)
        start, end = self.of(low.args[2]), self.of(high)
        if start != int(start) or end != int(end) or end - start > MAX_TERMS:
            raise Undefined(name)
        variable = low.args[1].args[0]
        if end < start - 1 or any(f"_{variable}" in name for name in symbols(body)):
            raise Undefined(name)
        terms, before = [], self.values
        for k in range(int(start), int(end) + 1):
            self.values = {**before, variable: k}
            terms.append(self.of(body))
        self.values = before
        return self.mp.fsum(terms) if name == "sum" else self.mp.fprod(terms)


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
