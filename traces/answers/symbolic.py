"""Confirms with sympy that two formulas are the same. Runs in a worker only, which is killed when it takes too long.

It builds sympy's expressions from our trees, node by node: no text is ever handed to a parser that could run it.
Asked only of formulas that agree wherever they were tried, so what counts is a proof, or a difference that is a
number other than zero.

    confirm(read("sin(2x)"), read("2 sin(x) cos(x)"))   # True
"""

from __future__ import annotations

import importlib
from functools import lru_cache
from typing import Any

from stillroom.traces.answers.probing import agree_deeply
from stillroom.traces.answers.tree import Node

_NAMES = {
    "ln": "log", "log": "log", "arcsin": "asin", "arccos": "acos", "arctan": "atan", "arccot": "acot", "arcsec":
    "asec", "arccsc": "acsc", "arcsinh": "asinh", "arccosh": "acosh", "arctanh": "atanh", "abs": "Abs", "ceil":
    "ceiling", "sgn": "sign", "max": "Max", "min": "Min",
}  # fmt: skip
_SAME = frozenset(
    "sin cos tan cot sec csc sinh cosh tanh coth exp floor factorial binomial gamma gcd lcm".split()  # noqa: SIM905
)


class Unknown(Exception):
    """A part that sympy is not asked about."""


@lru_cache(maxsize=1)
def _sympy() -> Any:
    return importlib.import_module("sympy")


def warm() -> None:
    """Loads sympy and makes a first simplification, so that the first pair pays for neither."""
    x = Node("sym", ("x",))
    confirm(Node("fn", ("sin", x)), Node("fn", ("sin", x)))


def probe(one: Node, other: Node) -> bool | None:
    """False where a look at very many digits tells the two apart."""
    return False if agree_deeply(one, other) is False else None


def confirm(one: Node, other: Node) -> bool | None:
    """True where the difference is proven to be zero, False where it is another number, None where neither is
    shown."""
    sympy = _sympy()
    try:
        difference = build(one) - build(other)
        for step in (sympy.expand, sympy.expand_trig, sympy.trigsimp, sympy.simplify):
            difference = step(difference)
            if difference == 0:
                return True
            if difference.is_number:
                return None if difference.is_zero is None else bool(difference.is_zero)
    except (MemoryError, RecursionError):
        raise  # the worker's to judge
    except Exception:  # noqa: BLE001 - sympy raises anything on formulas it was not made for; that is not evidence
        return None
    return None


def build(node: Node) -> Any:
    """The expression of sympy that a formula is; variables are real. Raises Unknown for anything else than a
    value."""
    sympy = _sympy()
    kind, args = node
    if kind == "num":
        return sympy.Rational(args[0].numerator, args[0].denominator)
    if kind == "add":
        return sympy.Add(*map(build, args))
    if kind == "mul":
        return sympy.Mul(*map(build, args))
    if kind == "pow":
        return sympy.Pow(build(args[0]), build(args[1]))
    if kind == "sym":
        constants = {"pi": sympy.pi, "e": sympy.E, "i": sympy.I}
        return constants.get(args[0]) or sympy.Symbol(args[0], real=True)
    if kind == "fn":
        return _function(args[0], args[1:])
    raise Unknown(kind)


def _function(name: str, args: tuple[Node, ...]) -> Any:
    if name not in _SAME and name not in _NAMES:
        raise Unknown(name)
    return getattr(_sympy(), _NAMES.get(name, name))(*map(build, args))
