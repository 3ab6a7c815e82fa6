r"""Is an answer worked out, or is arithmetic left to do?

`43 + 83` is 126, and no answer to "What is 43 + 83?".

Asked of an answer that is right, and only where the gold is a value that is worked out itself. It looks at the answer
as it is written: 6/2 is a quotient, 2^3 a power. The rule:

* A **literal** and an **exact form** of a rational number are worked out: see `forms`.
* So is a root, π, e, i or a function that has no rational value (√2, 3π/4, e^2, 1 + √5, \ln 2), with one integer in
  front of it and one below it.
* **Arithmetic that is left to do** is not: a sum, product, quotient, root or function that is a rational number
  (43 + 83, 252/2, √64, \sin(π/2)), a short power (5^2), a product with a power or factorial in it (3 · 2^5), terms
  that can be collected (π/2 + π/4, 2 + 3 + √2), a product of sums without variables, a sum or product of matrices or
  tuples, a function that the gold does not have (\sin 45° for √2/2), and whatever changes nothing (+ 0, · 1).
* An equation or inequality that is **not solved** is not (x + 3 = 5, x + 3 < 5), where the gold has no variables.
* What is **written like the gold**, but for the order of terms and factors, always is.

Whether it only repeats the prompt is another question: see `restated`.

>>> worked_out("126", "43 + 83"), worked_out("126", "126")
(False, True)
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, NamedTuple

from stillroom.traces.answers._matrices import is_transposed
from stillroom.traces.answers.fingerprint import Undefined
from stillroom.traces.answers.forms import (
    NAMED,
    as_written,
    is_literal,
    is_number_done,
    is_power,
    is_rational,
    shape,
    unsigned,
)
from stillroom.traces.answers.normalise import claimed, is_label, meaning
from stillroom.traces.answers.numeric import context, evaluate
from stillroom.traces.answers.rational import rational
from stillroom.traces.answers.tree import IMAGINARY, MINUS_ONE, ONE, Node, is_inequality, number, symbols, walk
from stillroom.traces.answers.values import decimal_step

MAX_TERMS = 12
"""Terms of a sum of which any two are tried for being collected."""
_COLLECTIONS = frozenset("list set tuple bracket union minus intersection both either ratio compound".split())  # noqa: SIM905
_WRAPPERS = frozenset("clause mod unit percent pm mp".split())  # noqa: SIM905
_OPERATIONS = frozenset("sum prod int lim det gcd lcm max min floor ceil product derivative".split())  # noqa: SIM905
"""Functions that say what is to be done."""
_FAMILIES = {
    name: family[0]
    for family in (
        ("sin", "cos", "tan", "cot", "sec", "csc"),
        ("arcsin", "arccos", "arctan", "arccot", "arcsec", "arccsc"),
        ("sinh", "cosh", "tanh", "coth"),
        ("ln", "log", "lg"),
    )
    for name in family
}
_ZERO, _TWO = number(0), number(2)


def worked_out(gold: str, answer: str) -> bool:
    """Whether an answer that is right is worked out as far as its gold is."""
    if gold == answer:
        return True
    other = as_written(answer)
    if other is None or is_literal(other) or (one := as_written(gold)) is None:
        return True
    parts = list(parts_of(one))
    if not all(part.solved and _is_done(part.node, _functions(part.node)) for part in parts):
        return True  # the gold is not a value, or not worked out itself
    known = _Gold(
        shapes=shapes_of(one),
        # 30° is π/6, though 30 is a literal
        literal=all(is_literal(part.node) for part in parts)
        and not any(part.kind == "unit" and part.args[1] == "deg" for part in walk(one)),
        rounded=any(decimal_step(part.node) is not None for part in parts),
        closed=not any(symbols(part.node) for part in parts),
        functions=frozenset().union(*(_functions(part.node) for part in parts)),
    )
    return shape(other) in known.shapes or all(_is_part_done(part, known) for part in parts_of(other))


# -- the values of an answer -----------------------------------------------------------------------------------------


class Part(NamedTuple):
    """A value that an answer is made of. `solved` False: an equation or inequality that is left to solve."""

    node: Node
    solved: bool = True


def parts_of(node: Node) -> Iterator[Part]:
    """The values of an answer, without labels, brackets, units and conditions."""
    inner: tuple[Node, ...] = ()
    if node.kind in _COLLECTIONS:
        inner = node.args
    elif node.kind == "interval":
        inner = node.args[:2]
    elif node.kind == "matrix":
        inner = tuple(itertools.chain.from_iterable(node.args))
    elif node.kind in _WRAPPERS or (node.kind == "pow" and is_transposed(node)):
        inner = node.args[:1]
    elif node.kind == "builder":
        inner = node.args[1:2]
    elif node.kind == "rel" and is_inequality(node):
        things = [side for side in node.args[1:] if symbols(side)]
        if len(things) != 1 or not _is_thing(things[0]):
            yield Part(node, solved=False)
        inner = tuple(side for side in node.args[1:] if side not in things)
    elif node.kind == "rel":
        said, sides = meaning(node), claimed(node)
        if said.value.kind == "rel" and (symbols(node) or not sides):
            yield Part(node, solved=False)
        else:  # 43 + 83 = 126: one side that is worked out is enough
            best = [side for side in sides if _is_done(side, _functions(side))] or sides or [said.value]
            inner = (best[-1],)
    else:
        yield Part(node)
    for part in inner:
        yield from parts_of(part)


def _is_thing(node: Node) -> bool:
    """What a solved inequality is about: a name, or f(x)."""
    return is_label(node) and not (node.kind == "fn" and node.args[0] in ("abs", "norm"))


def shapes_of(node: Node) -> frozenset[str]:
    """How an answer and its parts are written, and the sides of its equations."""
    sides = (side for part in walk(node) for side in claimed(part))
    return frozenset(map(shape, [node, *(part.node for part in parts_of(node)), *sides]))


def _functions(node: Node) -> frozenset[str]:
    """The functions of a formula, one name for sine and cosine."""
    return frozenset(_FAMILIES.get(part.args[0], part.args[0]) for part in walk(node) if part.kind == "fn")


# -- how far a value is worked out -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Gold:
    """What an answer is measured by. `literal`: every value of the gold is one; `rounded`: one may be rounded;
    `closed`: none has a variable."""

    shapes: frozenset[str]
    literal: bool
    rounded: bool
    closed: bool
    functions: frozenset[str]


def _is_part_done(part: Part, gold: _Gold) -> bool:
    if not part.solved:
        return not gold.closed
    if shape(part.node) in gold.shapes or all(factor.kind in NAMED for factor in unsigned(part.node)):
        return True
    if gold.literal and (is_rational(part.node) or not gold.rounded):
        return is_number_done(part.node)
    return _is_done(part.node, gold.functions if gold.closed else gold.functions | frozenset(_FAMILIES.values()))


def _is_done(node: Node, functions: frozenset[str]) -> bool:
    """Of any value. `functions`: those that may be left in it."""
    if is_rational(node):
        return is_number_done(node)
    if node.kind in ("add", "mul", "pow") and any(part.kind in ("matrix", "tuple", "bracket") for part in node.args):
        return False
    inner = list(node.args)
    if _has_no_effect(node) or (node.kind == "add" and _can_be_collected(node)):
        return False
    if node.kind == "mul":
        inner = unsigned(node)
        numbers = [part for part in inner if part.kind == "num"]
        below = [part for part in inner if part.kind == "pow" and part.args[1] == MINUS_ONE and is_rational(part)]
        sums = [part for part in inner if part.kind == "add" and not symbols(part)]
        if max(len(numbers), len(below), len(sums)) > 1 or _cancels(numbers, below, inner):
            return False
    elif node.kind == "pow":
        inner = [part for part in node.args if part != MINUS_ONE]
        base, times = node.args[0], is_power(Node("pow", (_TWO, node.args[1])))
        if times and (base == IMAGINARY or (base.kind == "add" and not symbols(base))):
            return False
    elif node.kind == "fn":
        name, *inner = node.args
        if (name in _OPERATIONS or name in _FAMILIES or name == "abs") and _FAMILIES.get(name, name) not in functions:
            return False
    return all(_is_done(part, functions) for part in inner if isinstance(part, Node))


def _cancels(numbers: list[Node], below: list[Node], factors: list[Node]) -> bool:
    """Whether a quotient can be cancelled to a whole number (24π/2), or two factors are powers of one (e^3/e)."""
    whole = [rational(part) for part in (*numbers, *below)]
    if numbers and below and None not in whole and ((whole[0] or 0) * (whole[1] or 0)).denominator == 1:
        return True
    bases = [part.args[0] if part.kind == "pow" else part for part in factors if not symbols(part)]
    bases = [base for base in bases if base.kind != "num" and not is_rational(base)]
    return len(set(map(shape, bases))) < len(bases)


def _has_no_effect(node: Node) -> bool:
    """Whether a part changes nothing: + 0, * 1, / 1, ^1; the 1 of (1/3)√2 is a numerator."""
    if node.kind == "add":
        return _ZERO in node.args
    if node.kind == "mul":
        inverses = [part for part in node.args if part.kind == "pow" and part.args[1] == MINUS_ONE]
        return Node("pow", (ONE, MINUS_ONE)) in inverses or (ONE in node.args and not inverses)
    return node.kind == "pow" and node.args[1] == ONE


def _can_be_collected(node: Node) -> bool:
    """Whether two terms of a sum could be one: 2 + 3, x + 2x, √8 + √2."""
    terms = node.args[:MAX_TERMS]
    rests = [shape(Node("mul", tuple(part for part in unsigned(term) if not is_rational(part)))) for term in terms]
    if len(set(rests)) < len(rests):
        return True
    values = [_value(term) for term in terms if not symbols(term)]
    return any(
        _is_ratio(one, other) for one, other in itertools.combinations([v for v in values if v is not None], 2)
    )


def _value(node: Node) -> Any:
    try:
        return evaluate(node, {}).value
    except Undefined:
        return None


def _is_ratio(one: Any, other: Any) -> bool:
    """Whether two numbers are in the ratio of small integers, as far as can be seen."""
    mp = context()
    if one == 0 or other == 0:
        return False
    ratio = mp.mpmathify(one) / mp.mpmathify(other)
    if abs(mp.im(ratio)) > mp.mpf(10) ** -40:
        return False
    near = Fraction(str(mp.nstr(mp.re(ratio), 40))).limit_denominator(1_000)
    return bool(
        near and abs(mp.re(ratio) - mp.mpf(near.numerator) / near.denominator) < abs(ratio) * mp.mpf(10) ** -35
    )
