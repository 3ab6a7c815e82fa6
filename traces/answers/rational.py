r"""Formulas of numbers alone, worked out exactly as fractions, within bounds.

`2024^{4046}`, `\binom{10}{3}`, `8^{2/3}`; a formula with a variable, a root that is not a fraction, or π has no value
here.

>>> from stillroom.traces.answers.parser import read
>>> rational(read(r"\frac{3}{4} + 2^{-1}"))
Fraction(5, 4)
"""

from __future__ import annotations

import math
from fractions import Fraction
from functools import lru_cache

from stillroom.traces.answers.limits import spend
from stillroom.traces.answers.tree import Node

MAX_BITS = 60_000
"""Bits of an integer that is worked out exactly."""
MAX_WORK = 2_000_000
"""Bits that one sum or product may go through."""
MAX_FACTORED = 10**12
MAX_DIVISOR = 20_000
MAX_FACTORIAL = 3_000


def rational(node: Node) -> Fraction | None:
    """The value of a formula of numbers alone, worked out exactly, or None. Raises OverflowError where it is too
    large."""
    spend(1)
    if node.kind == "num":
        value: Fraction = node.args[0]
        return value
    if node.kind in ("add", "mul"):
        total, work = Fraction(node.kind == "mul"), 0
        for part in node.args:
            term = rational(part)
            if term is None:
                return None
            spend(_cost(_bits(total) + _bits(term)))
            total = total + term if node.kind == "add" else total * term
            work += _bits(total)
            if work > MAX_WORK:
                raise OverflowError("numbers that are too large to be worked out")
        return _bounded(total)
    if node.kind == "pow":
        base, exponent = rational(node.args[0]), rational(node.args[1])
        return None if base is None or exponent is None else _power(base, exponent)
    return integer_function(node) if node.kind == "fn" else None


def _bits(value: Fraction) -> int:
    return value.numerator.bit_length() + value.denominator.bit_length()


def _cost(bits: int) -> int:
    """Units of a step with numbers of that many bits: finding a common divisor takes the square of their length."""
    return 2 + bits * bits // 1_000_000


def _bounded(value: Fraction) -> Fraction:
    if _bits(value) > 2 * MAX_BITS:
        raise OverflowError(f"a number of more than {MAX_BITS:,} bits")
    return value


def _power(base: Fraction, exponent: Fraction) -> Fraction | None:
    degree = exponent.denominator
    if degree != 1:  # where it is rational: 8^(2/3) is 4
        if base <= 0 or degree > 6 or base.numerator.bit_length() > 400 or base.denominator.bit_length() > 400:
            return Fraction(0) if base == 0 and exponent > 0 else None
        spend(10)
        roots = []
        for part in (base.numerator, base.denominator):
            near = math.isqrt(part) if degree == 2 else round(math.exp(math.log(part) / degree))
            roots += [root for root in (near - 1, near, near + 1) if root >= 0 and root**degree == part]
        return _power(Fraction(*roots), Fraction(exponent.numerator)) if len(roots) == 2 else None
    if base == 0 and exponent <= 0:
        return None
    if abs(base) == 1:
        return Fraction(1 if exponent % 2 == 0 else base)
    bits = _bits(base) * abs(int(exponent))
    if bits > 2 * MAX_BITS:
        raise OverflowError(f"a number of more than {MAX_BITS:,} bits")
    spend(_cost(bits) // 4)
    return Fraction(base ** int(exponent))


def integer_function(node: Node) -> Fraction | None:
    """The value of a function of whole numbers (factorial, binomial, gcd, …), or None. Raises OverflowError."""
    name, *parts = node.args
    if name not in ("factorial", "binomial", "gcd", "lcm", "abs", "floor", "ceil", "max", "min"):
        return None
    values = [rational(part) for part in parts if isinstance(part, Node)]
    known = [value for value in values if value is not None]
    if len(known) != len(values) or not known:
        return None
    if name in ("max", "min"):
        return max(known) if name == "max" else min(known)
    if name in ("abs", "floor", "ceil"):
        first = known[0]
        return abs(first) if name == "abs" else Fraction(math.floor(first) if name == "floor" else math.ceil(first))
    if any(value.denominator != 1 or value < 0 for value in known):
        return None
    found, *others = map(int, known)
    if name in ("gcd", "lcm"):
        for value in others:  # the size of a least common multiple is known before it is worked out
            bits = found.bit_length() + value.bit_length()
            if name == "lcm" and bits > 2 * MAX_BITS:
                raise OverflowError(f"a number of more than {MAX_BITS:,} bits")
            spend(_cost(bits))
            found = math.gcd(found, value) if name == "gcd" else math.lcm(found, value)
        return Fraction(found)
    if found > MAX_FACTORIAL:
        raise OverflowError(f"{name} of too large a number: the limit is {MAX_FACTORIAL:,}")
    spend(found)
    if name == "factorial":
        return Fraction(math.factorial(found))
    return Fraction(math.comb(found, *others)) if len(others) == 1 else None


def factored(value: int) -> tuple[tuple[int, int], ...] | None:
    """The prime factors of a positive integer with their exponents, or None where finding them takes too long."""
    if value > MAX_FACTORED:
        return None
    spend(min(math.isqrt(value), MAX_DIVISOR) // 10)
    return _factored(value)


@lru_cache(maxsize=4096)
def _factored(value: int) -> tuple[tuple[int, int], ...] | None:
    found, prime = [], 2
    while prime * prime <= value:
        exponent = 0
        while value % prime == 0:
            value, exponent = value // prime, exponent + 1
        if exponent:
            found.append((prime, exponent))
        prime += 1 + (prime > 2)
        if prime > MAX_DIVISOR:
            return None
    return (*found, (value, 1)) if value > 1 else tuple(found)


def linear(node: Node) -> list[tuple[Fraction, Node | None]]:
    """A sum as terms of a number and the rest of a product; None where there is no rest. Products with one sum in
    them are multiplied out."""
    spend(1)
    if node.kind == "add":
        return [term for part in node.args for term in linear(part)]
    if node.kind != "mul":
        value = rational(node)
        return [(value, None)] if value is not None else [(Fraction(1), node)]
    coefficient, rest = Fraction(1), []
    for part in node.args:
        value = rational(part)
        if value is None:
            rest.append(part)
        else:
            spend(_cost(_bits(coefficient) + _bits(value)))
            coefficient = _bounded(coefficient * value)
    if not rest:
        return [(coefficient, None)]
    if len(rest) == 1 and rest[0].kind == "add":
        return [(coefficient * inner, other) for inner, other in linear(rest[0])]
    return [(coefficient, rest[0] if len(rest) == 1 else Node("mul", tuple(rest)))]
