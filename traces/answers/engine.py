"""The comparison by computer algebra: Math-Verify on latex2sympy2_extended and sympy. Runs in a worker only.

Math-Verify's own time-outs are off, because they use `signal.alarm`: the worker's owner keeps the time. Only whole
answers come here, so its extraction has nothing to choose from, and its removal of "units" (which turns 4t into 4)
is off. What it accepts is looked at again: its comparison rounds to six decimals and turns lists into sets.

    compare(r"\\frac{\\sqrt{3}}{3}", r"\\frac{1}{\\sqrt{3}}")   # Result("equal", "")
"""

from __future__ import annotations

import importlib
import logging
import re
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any, NamedTuple

from stillroom.errors import CheckerError
from stillroom.traces.answers.formula import elements
from stillroom.traces.answers.records import Reason

RULES = "2"
"""Version of the rules around the engine: counted up when a verdict can change."""
PACKAGES = ("math-verify", "latex2sympy2_extended", "sympy")
EXACT_DIGITS = 40
RELATIVE = 1e-6
"""Relative tolerance where one side is a decimal."""
PROBES = (0.6180339887, 1.3247179572, 2.2360679775)
"""Where the first variable is put; no root or singularity of a usual answer is there."""
ROUGH = 1e-2
"""A decimal as close as this to an exact value may be its rounding: policy."""


_UNCOUNTED = re.compile(r"\\pm|[<>]|\\[lg]e(?![A-Za-z])|\\cup")


class Result(NamedTuple):
    """What the engine says. `detail`: what stood in the way, or empty."""

    reason: Reason
    detail: str = ""


def identity() -> str:
    """What decides a verdict: the versions of the rules and of the packages below them."""
    try:
        return ",".join([f"rules={RULES}", *(f"{name}={version(name)}" for name in PACKAGES)])
    except PackageNotFoundError as missing:
        raise CheckerError(f"answer checking needs {missing.name}: pip install {missing.name}") from missing


@lru_cache(maxsize=1)
def _library() -> tuple[Any, Any, Any]:
    """Math-Verify's module, its configuration of LaTeX, and sympy; quiet."""
    try:
        library, parser = importlib.import_module("math_verify"), importlib.import_module("math_verify.parser")
        sympy = importlib.import_module("sympy")
    except ImportError as missing:
        raise CheckerError(f"answer checking needs {missing.name}: pip install math-verify") from missing
    logging.disable(logging.CRITICAL)  # it logs the answers it cannot read
    normal = importlib.import_module("latex2sympy2_extended.latex2sympy2").NormalizationConfig
    config = parser.LatexExtractionConfig(
        boxed_match_priority=-1,
        normalization_config=normal(basic_latex=True, units=False, malformed_operators=True, nits=True, boxed="none"),
    )
    return library, config, sympy


def warm() -> None:
    """Loads everything and makes a first comparison, so that the first pair pays for nothing."""
    compare(r"\frac{1}{2}x", r"\frac{x}{2}")


def compare(gold: str, answer: str) -> Result:
    """Compares two formulas (LaTeX without delimiters), in both directions: where these disagree it is policy."""
    one = _parse(gold)
    if one is None:
        return Result(Reason.UNPARSED_GOLD)
    other = _parse(answer)
    if other is None:
        return Result(Reason.UNPARSED_ANSWER)
    forth, back = _verify(one, other), _verify(other, one)
    if forth is None or back is None:
        return Result(Reason.UNPARSED_ANSWER, "the two cannot be compared")
    if forth != back:
        return Result(Reason.NEEDS_POLICY, "the same one way round only")
    return _confirmed(gold, answer, one, other) if forth else _doubted(one, other)


def _parse(formula: str) -> Any:
    """The sympy object that a formula wholly is, or None."""
    library, config, _ = _library()
    try:
        found = library.parse(
            f"$${formula}$$", [config], fallback_mode="no_fallback", parsing_timeout=None, raise_on_error=True
        )
    except (MemoryError, RecursionError):
        raise  # the worker's to judge
    except Exception:  # noqa: BLE001 - the parser raises anything on text it was not made for; that is: unparsed
        return None
    return found[0] if len(found) == 1 and not isinstance(found[0], str) else None


def _verify(gold: Any, answer: Any) -> bool | None:
    """Math-Verify's verdict, or None where the comparison itself failed: that is no evidence."""
    library, _, _ = _library()
    try:
        return bool(
            library.verify(gold, answer, timeout_seconds=None, allow_set_relation_comp=True, raise_on_error=True)
        )
    except (MemoryError, RecursionError):
        raise
    except Exception:  # noqa: BLE001 - sympy raises anything on objects that cannot be compared
        return None


def _confirmed(gold: str, answer: str, one: Any, other: Any) -> Result:
    """Looks again at what was accepted."""
    (bracket, count), (other_bracket, other_count) = elements(gold), elements(answer)
    if not _UNCOUNTED.search(gold + answer):
        if count != other_count:
            return Result(Reason.NEEDS_POLICY, "lists of different lengths")
        if count > 1 and bracket != other_bracket and "(" in (bracket, other_bracket):
            return Result(Reason.NEEDS_POLICY, "a tuple and a list")
    if _letters(gold) != _letters(answer) and _letters(gold.lower()) == _letters(answer.lower()):
        return Result(Reason.NEEDS_POLICY, "capital and small letters")
    return Result(Reason.EQUAL if _numbers_agree(one, other) else Reason.DIFFERENT)


def _doubted(one: Any, other: Any) -> Result:
    """Looks again at what was rejected: a rejection is evidence against an answer, so it must be sure."""
    if _near(one, other):
        return Result(Reason.NEEDS_POLICY, "a decimal near an exact value")
    if _may_mean_the_same(_kind(one), _kind(other)):
        return Result(Reason.NEEDS_POLICY, "written as different things")
    if _same_at_points(one, other):
        return Result(Reason.NEEDS_POLICY, "equal wherever tried, but not proven equal")
    return Result(Reason.DIFFERENT)


def _kind(value: Any) -> str:
    """What an answer is written as: two kinds may still mean the same."""
    _, _, sympy = _library()
    kinds = {
        "relation": (sympy.core.relational.Relational, sympy.logic.boolalg.BooleanFunction),
        "matrix": (sympy.MatrixBase,),
        "tuple": (sympy.Tuple,),
        "set": (sympy.Set,),
    }
    return next((name for name, types in kinds.items() if isinstance(value, types)), "expression")


def _may_mean_the_same(one: str, other: str) -> bool:
    """Whether two kinds are apart but could say one thing (x < 3 and an interval); a number is no list."""
    return one != other and not (
        {one, other} < {"expression", "matrix", "tuple", "set"} and "expression" in (one, other)
    )


def _same_at_points(one: Any, other: Any) -> bool:
    """Whether two expressions in the same variables have the same value at a few odd points."""
    _, _, sympy = _library()
    if not (isinstance(one, sympy.Expr) and isinstance(other, sympy.Expr)):
        return False
    symbols = sorted(one.free_symbols | other.free_symbols, key=str)
    if not symbols or one.has(sympy.Integral, sympy.Sum) or other.has(sympy.Integral, sympy.Sum):
        return False
    for start in PROBES:
        point = {symbol: sympy.Float(start + 0.37 * i, EXACT_DIGITS) for i, symbol in enumerate(symbols)}
        values = [side.subs(point).evalf(EXACT_DIGITS) for side in (one, other)]
        if not all(value.is_number and value.is_finite for value in values):
            return False
        if abs(values[0] - values[1]) > 1e-20 * max(1, abs(values[0])):
            return False
    return True


def _letters(formula: str) -> set[str]:
    return {char for char in formula if char.isalpha()}


def _is_number(value: Any) -> bool:
    _, _, sympy = _library()
    return (
        isinstance(value, sympy.Expr) and not value.free_symbols and not value.has(sympy.core.function.AppliedUndef)
    )


def _numbers_agree(one: Any, other: Any) -> bool:
    """Whether the numbers in two accepted answers are as equal as numbers must be; what is no number passes."""
    _, _, sympy = _library()
    if _is_number(one) and _is_number(other):
        tolerance = RELATIVE if one.atoms(sympy.Float) or other.atoms(sympy.Float) else 10.0 ** (10 - EXACT_DIGITS)
        return _within(one, other, tolerance)
    pairs = _paired(one, other)
    return all(_numbers_agree(a, b) for a, b in pairs)


def _paired(one: Any, other: Any) -> list[tuple[Any, Any]]:
    """The elements of two tuples, intervals or sets of numbers, each with its partner."""
    _, _, sympy = _library()
    if isinstance(one, sympy.MatrixBase) and isinstance(other, sympy.MatrixBase):
        return list(zip(one, other, strict=True)) if one.shape == other.shape else []
    if not (isinstance(one, sympy.Basic) and isinstance(other, sympy.Basic) and len(one.args) == len(other.args)):
        return []
    if isinstance(one, sympy.Tuple | sympy.Interval) and isinstance(other, sympy.Tuple | sympy.Interval):
        return list(zip(one.args, other.args, strict=True))
    if not (isinstance(one, sympy.FiniteSet) and isinstance(other, sympy.FiniteSet)):
        return []
    if not all(_is_number(x) and x.is_real for x in (*one.args, *other.args)):
        return []
    ordered = [sorted(side.args, key=lambda x: x.evalf(EXACT_DIGITS)) for side in (one, other)]
    return list(zip(*ordered, strict=True))


def _within(one: Any, other: Any, tolerance: float) -> bool:
    """Whether two numbers differ by no more than the tolerance, relative to the larger."""
    if one == other:
        return True
    a, b = one.evalf(EXACT_DIGITS), other.evalf(EXACT_DIGITS)
    if not (a.is_number and b.is_number) or not (a.is_finite and b.is_finite):
        return False
    return bool(abs((one - other).evalf(EXACT_DIGITS)) <= tolerance * max(abs(a), abs(b)))


def _near(one: Any, other: Any) -> bool:
    """Whether a decimal and an exact value are as close as a rounding, alone or within a tuple or a matrix."""
    _, _, sympy = _library()
    if _is_number(one) and _is_number(other):
        decimals = bool(one.atoms(sympy.Float)) != bool(other.atoms(sympy.Float))
        return _within(one, other, ROUGH if decimals else 0.0)
    pairs = _paired(one, other)
    return bool(pairs) and all(a == b or _near(a, b) for a, b in pairs)
