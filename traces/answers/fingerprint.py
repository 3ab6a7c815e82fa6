r"""Exact equality without a computer algebra system: both sides are evaluated in a finite field.

A formula of numbers, square roots, i, π, e, logarithms and variables is put through a homomorphism into the integers
modulo a prime of 190 bits, with a fixed random residue for each variable and each transcendental constant. The prime
is chosen so that -1 and all primes up to 113 have a square root in the field. Two formulas that mean the same have
the same image; two that do not have the same one with a chance of about degree / 2^190 (Schwartz 1980, Zippel 1979:
doi.org/10.1145/322217.322225). Functions become fresh residues by their argument, sine and cosine by the rational
parametrisation of the circle: there an equal image still proves equality, a different one proves nothing.

>>> from stillroom.traces.answers.parser import read
>>> fingerprint(read(r"\frac{\sqrt{3}}{3}")) == fingerprint(read(r"\frac{1}{\sqrt{3}}"))
True
"""

from __future__ import annotations

import hashlib
from fractions import Fraction
from functools import lru_cache
from typing import NamedTuple

from stillroom.traces.answers.limits import spend
from stillroom.traces.answers.rational import factored, integer_function, linear, rational
from stillroom.traces.answers.tree import IMAGINARY, Node, walk

# Primes up to 113, and -1, have a square root modulo this one.
PRIME = 784637722054547700158838646443722502351689281957639893769
INVERSE = 40
"""Units of a power or an inverse in the field."""
ROOTS = 60
"""Variables are 60th powers, so that their roots of degree 2, 3, 4, 5, 6, 10, ... exist."""


class Fingerprint(NamedTuple):
    """An image. `sure`: where two differ, the formulas are different."""

    residue: int
    sure: bool


class Undefined(Exception):
    """The formula has no value here: a division by zero, or a part that is not a number."""


def fingerprint(node: Node) -> Fingerprint | None:
    """The image of a formula, or None where it has none."""
    image = _Image()
    try:
        return Fingerprint(image.of(node), image.sure)
    except (Undefined, OverflowError):
        return None


LONG = 200
"""Characters of a name from which on only its digest is remembered."""


def _residue(name: str) -> int:
    """A fixed random residue for a name."""
    return _drawn(name if len(name) < LONG else hashlib.blake2b(name.encode(), digest_size=32).hexdigest())


@lru_cache(maxsize=4096)
def _drawn(name: str) -> int:
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=32).digest()) % (PRIME - 2) + 2


_TWOS = ((PRIME - 1) & (1 - PRIME)).bit_length() - 1
_ODD = (PRIME - 1) >> _TWOS
"""PRIME - 1 is 2^_TWOS · _ODD."""
_NO_SQUARE = pow(next(k for k in range(2, 10_000) if pow(k, (PRIME - 1) // 2, PRIME) != 1), _ODD, PRIME)
"""The odd power of a number that is not a square."""


@lru_cache(maxsize=4096)
def _square_root(value: int) -> int | None:
    """A square root modulo PRIME, the smaller one (Tonelli and Shanks), or None where there is none."""
    if pow(value, (PRIME - 1) // 2, PRIME) != 1:
        return None
    c, twos = _NO_SQUARE, _TWOS
    half = pow(value, (_ODD - 1) // 2, PRIME)
    root = value * half % PRIME
    t = root * half % PRIME
    while t != 1:
        order, square = 0, t
        while square != 1:
            square, order = square * square % PRIME, order + 1
        b = pow(c, 1 << (twos - order - 1), PRIME)
        twos, c = order, b * b % PRIME
        t, root = t * c % PRIME, root * b % PRIME
    return min(root, PRIME - root)


class _Image:
    """One evaluation. `sure` turns false where a part has become a fresh residue."""

    def __init__(self) -> None:
        self.sure = True

    def of(self, node: Node) -> int:
        spend(2)
        kind, args = node
        if kind == "num":
            return self.fraction(args[0])
        if kind == "add":
            return sum(self.of(part) for part in args) % PRIME
        if kind == "mul":
            product = 1
            for part in args:
                product = product * self.of(part) % PRIME
            return product
        if kind == "pow":
            return self.power(*args)
        if kind == "sym":
            return self.symbol(args[0])
        if kind == "fn":
            return self.function(args[0], args[1:])
        raise Undefined(kind)

    @staticmethod
    def fraction(value: Fraction) -> int:
        if value.denominator == 1:
            return value.numerator % PRIME
        spend(INVERSE)
        return value.numerator * pow(value.denominator, -1, PRIME) % PRIME

    def symbol(self, name: str) -> int:
        if name == "infinity":
            raise Undefined(name)
        if name == "i":
            return _square_root(PRIME - 1) or 0  # there is one, by the choice of PRIME
        return pow(_residue("sym " + name), ROOTS, PRIME)

    # -- powers -----------------------------------------------------------------------------------------------------

    def power(self, base: Node, exponent: Node) -> int:
        low = rational(exponent)
        if low is not None and low.denominator == 1:
            return self.raised(self.of(base), int(low))
        if low is not None:
            return self.rooted(base, low)
        product = 1
        for coefficient, rest in linear(exponent):
            if rest is None:
                product = product * self.power(base, Node("num", (coefficient, None))) % PRIME
                continue
            self.sure = False
            value = rational(base)
            parts = factored(int(value)) if value is not None and value.denominator == 1 and value > 1 else None
            pairs = [(f"n{prime}", times) for prime, times in parts] if parts else [(str(self.of(base)), 1)]
            for name, times in pairs:  # base^(coefficient · rest)
                whole = coefficient * times * ROOTS
                if whole.denominator != 1:
                    raise Undefined("a root of a high degree")
                product = product * self.raised(_residue(f"pow {name} {self.of(rest)}"), int(whole)) % PRIME
        return product

    @staticmethod
    def raised(base: int, exponent: int) -> int:
        if exponent < 0 and base == 0:
            raise Undefined("a division by zero")
        spend(INVERSE)
        if -PRIME < exponent < PRIME:
            return pow(base, exponent, PRIME)  # the inverse is quick
        return pow(base, exponent % (PRIME - 1) if base else exponent, PRIME)  # Fermat: no power takes longer

    def rooted(self, base: Node, exponent: Fraction) -> int:
        """A power with a fraction in the exponent."""
        if base.kind == "sym" and base != IMAGINARY and (exponent * ROOTS).denominator == 1:
            return self.raised(_residue("sym " + base.args[0]), int(exponent * ROOTS))
        value = rational(base)
        if value is None or value == 0:
            return self.fresh(f"root {exponent} {self.of(base)}")
        sign = 1
        if value < 0:
            if exponent.denominator == 2:
                sign = self.raised(self.symbol("i"), exponent.numerator)
            elif exponent.denominator % 2:
                sign = (-1) ** exponent.numerator
            else:
                return self.fresh(f"root {exponent} {value}")
        top, bottom = factored(abs(value.numerator)), factored(value.denominator)
        if top is None or bottom is None:
            return self.fresh(f"root {exponent} {value}")
        for prime, times in (*top, *((prime, -times) for prime, times in bottom)):
            whole, rest = divmod(times * exponent, 1)
            root = 1
            if rest == Fraction(1, 2):
                found = _square_root(prime)
                root = found if found is not None else self.fresh(f"sqrt {prime}")
            elif rest:
                self.sure = False
                scaled = rest * ROOTS
                if scaled.denominator != 1:
                    raise Undefined("a root of a high degree")
                root = self.raised(_residue(f"prime {prime}"), int(scaled))
            sign = sign * (pow(prime, whole, PRIME) * root % PRIME) % PRIME
        return sign % PRIME

    # -- functions --------------------------------------------------------------------------------------------------

    def fresh(self, name: str) -> int:
        self.sure = False
        return _residue(name)

    def function(self, name: str, args: tuple[Node, ...]) -> int:
        value = integer_function(Node("fn", (name, *args)))
        if value is not None:
            return self.fraction(value)
        if name == "exp":
            return self.power(Node("sym", ("e",)), args[0])
        if name in ("ln", "log"):
            return self.logarithm(args[0])
        if name in ("sin", "cos", "tan", "cot", "sec", "csc"):
            return self.circular(name, self.of(args[0]))
        if name == "binomial":
            top, low = (self.of(arg) for arg in args)
            above, below, left = (self.fresh(f"factorial {value}") for value in (top, low, (top - low) % PRIME))
            return above * self.raised(below * left % PRIME, -1) % PRIME
        if name == "factorial":
            return self.fresh(f"factorial {self.of(args[0])}")
        images = [str(self.any(arg)) for arg in args]
        return self.fresh(" ".join([name, *(sorted(images) if name in ("min", "max", "gcd", "lcm") else images)]))

    def any(self, arg: Node) -> int | str:
        """The image of an argument; what has none counts by its writing."""
        try:
            return self.of(arg)
        except Undefined:
            spend(10 * sum(1 for _ in walk(arg)))
            return repr(arg)

    def logarithm(self, arg: Node) -> int:
        value = rational(arg)
        if arg == Node("sym", ("e",)):
            return 1
        top = factored(value.numerator) if value is not None and value > 0 else None
        bottom = factored(value.denominator) if value is not None and value > 0 else None
        if top is None or bottom is None:
            return self.fresh(f"ln {self.of(arg)}")
        total = sum(times * _residue(f"ln {prime}") for prime, times in top)
        return (total - sum(times * _residue(f"ln {prime}") for prime, times in bottom)) % PRIME

    def circular(self, name: str, angle: int) -> int:
        """Sine (2t/(1+t²)) and cosine ((1-t²)/(1+t²)) of a fresh t for the angle, and what they make; an angle and
        its negative belong together."""
        flipped = angle > PRIME - angle
        t = self.fresh(f"angle {min(angle, PRIME - angle)}")
        if angle == 0:
            t = 0
        below = self.raised((1 + t * t) % PRIME, -1)
        sine = 2 * t * below * (-1 if flipped else 1) % PRIME
        cosine = (1 - t * t) * below % PRIME
        over, under = {
            "sin": (sine, 1),
            "cos": (cosine, 1),
            "tan": (sine, cosine),
            "cot": (cosine, sine),
            "sec": (1, cosine),
            "csc": (1, sine),
        }[name]
        return over * self.raised(under % PRIME, -1) % PRIME
