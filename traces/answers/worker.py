"""The checker's worker process: `python -m stillroom.traces.answers.worker MEMORY_MB`. It reads pairs and writes
reasons.

A job is `{"gold", "answer", "policies", "prove", "limit_s"}`, a reply `{"reason", "detail"}`; the rest is in
`stillroom.sampling.workers.child`. Formulas are untrusted, and a comparison has no business writing files.

It confirms with sympy that two formulas are the same, and is killed when that takes too long. sympy's expressions are
built from our trees, node by node: no text is ever handed to a parser that could run it. Asked only of formulas that
agree wherever they were tried, so what counts is a proof, or a difference that is a number other than zero.

    confirm(read("sin(2x)"), read("2 sin(x) cos(x)"))   # True
"""

from __future__ import annotations

import importlib
import sys
from typing import Any

from stillroom.sampling.workers.child import Reply, serve
from stillroom.traces.answers import grade
from stillroom.traces.answers.numeric import agree_deeply
from stillroom.traces.answers.records import Policies, Reason
from stillroom.traces.answers.tree import Node

_NAMES = {
    "ln": "log", "log": "log", "arcsin": "asin", "arccos": "acos", "arctan": "atan", "arccot": "acot", "arcsec":
    "asec", "arccsc": "acsc", "arcsinh": "asinh", "arccosh": "acosh", "arctanh": "atanh", "abs": "Abs", "ceil":
    "ceiling", "sgn": "sign", "max": "Max", "min": "Min",
}  # fmt: skip
_SAME = frozenset(
    "sin cos tan cot sec csc sinh cosh tanh coth exp floor factorial binomial gamma gcd lcm".split()  # noqa: SIM905
)


def probe(one: Node, other: Node) -> bool | None:
    """False where a look at very many digits tells the two apart."""
    return False if agree_deeply(one, other) is False else None


def confirm(one: Node, other: Node) -> bool | None:
    """True where the difference is proven to be zero, False where it is another number, None where neither is
    shown."""
    sympy = importlib.import_module("sympy")
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
    """The expression of sympy that a formula is; variables are real. Raises ValueError for what it is not asked
    about: anything else than a value, and functions that are not in the table."""
    sympy = importlib.import_module("sympy")
    kind, args = node
    if kind == "num":
        return sympy.Rational(args[0].numerator, args[0].denominator)
    operation = {"add": sympy.Add, "mul": sympy.Mul, "pow": sympy.Pow}.get(kind)
    if operation is not None:
        return operation(*map(build, args))
    if kind == "sym":
        constants = {"pi": sympy.pi, "e": sympy.E, "i": sympy.I}
        return constants.get(args[0]) or sympy.Symbol(args[0], real=True)
    if kind == "fn" and (args[0] in _SAME or args[0] in _NAMES):
        return getattr(sympy, _NAMES.get(args[0], args[0]))(*map(build, args[1:]))
    raise ValueError(kind)


def warm() -> None:
    """Loads sympy and makes a first simplification, so that the first pair pays for neither."""
    x = Node("sym", ("x",))
    confirm(Node("fn", ("sin", x)), Node("fn", ("sin", x)))


def answer(job: dict[str, Any]) -> Reply:
    """Compares one pair."""
    sound = True
    try:
        by = confirm if job["prove"] else probe
        ruling = grade.rule(job["gold"], job["answer"], Policies.of(job["policies"]), by, job["answer_type"])
        assert ruling.reason is not None  # nothing is pending where it can be confirmed
        return Reply({"reason": ruling.reason.value, "detail": ruling.detail})
    except MemoryError:
        detail, sound = "out of memory", False
    except RecursionError:
        detail = "nested too deeply"
    except Exception as error:  # noqa: BLE001 - no text may cost the others their worker
        detail = type(error).__name__
    return Reply({"reason": Reason.OVER_LIMIT.value, "detail": detail}, sound=sound)


if __name__ == "__main__":
    sys.exit(serve(warm, answer, memory_mb=int(sys.argv[1])))
