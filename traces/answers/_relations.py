r"""Sets of real numbers, equations, inequalities and congruences.

`x < 3` and `(-\infty, 3)`; `2x + 4y = 3` and `y = \frac34 - \frac12 x`; `x \equiv 5 \pmod 7`.
"""

from __future__ import annotations

from fractions import Fraction

from stillroom.traces.answers._lists import every
from stillroom.traces.answers.fingerprint import Undefined
from stillroom.traces.answers.normalise import Meaning
from stillroom.traces.answers.numeric import context, evaluate
from stillroom.traces.answers.probing import AGREE, CONSTANT_DIGITS, points
from stillroom.traces.answers.rational import linear, rational
from stillroom.traces.answers.sets import FLIPPED, INFINITE, is_ordered, real_set, thing_of
from stillroom.traces.answers.tree import (
    VALUES,
    Node,
    add,
    divide,
    is_inequality,
    mul,
    negative,
    number,
    replaced,
    symbols,
    walk,
)
from stillroom.traces.answers.values import DIFFERENT, SAME, UNKNOWN, Answer, Rules, compare_values


def is_membership(node: Node) -> bool:
    return node.kind == "rel" and node.args[0] == ("in",)


def sets(one: Node, other: Node, rules: Rules) -> Answer | None:
    """Sets of real numbers; None where one side is none."""
    if one.kind == other.kind == "rel" and (thing_of(one) is None or thing_of(one) != thing_of(other)):
        return None
    if one.kind == other.kind == "builder" and None in (real_set(one), real_set(other)):
        # {2k | k in Z} against {2n | n in Z}: the variable is bound, and put the same where there is one.
        free = [symbols(node) for node in (one, other)]
        mine, theirs = sorted(free[0] - free[1]), sorted(free[1] - free[0])
        if len(mine) == len(theirs) == 1:
            one = replaced(one, Node("sym", (mine[0],)), Node("sym", (theirs[0],)))
        parts = every(rules.compare(a, b, rules) for a, b in zip(one.args, other.args, strict=True))
        return SAME if parts.same is True else Answer(None, "sets that are written differently")
    first, second = real_set(one), real_set(other)
    if first is None or second is None:
        infinite = [pieces for pieces in (first, second) if pieces and not all(piece.is_point for piece in pieces)]
        return DIFFERENT if infinite and (one.kind in VALUES or other.kind in VALUES) else None
    # Made of the same pieces in the same order, whether or not the ends belong to them.
    pieces = list(zip(first, second, strict=False))
    ends = ((x, y) for a, b in pieces for x, y in ((a.low, b.low), (a.high, b.high)))
    answer = every(_end(x, y, rules) for x, y in ends) if len(first) == len(second) else DIFFERENT
    if answer.same is False and not (is_ordered(first) and is_ordered(second)):
        return Answer(None, "pieces whose order is not known")
    if answer.same is not True:
        return answer
    if any((a.low_open, a.high_open) != (b.low_open, b.high_open) for a, b in pieces):
        return rules.decide("interval_ends", {"strict": False, "loose": True})
    if is_inequality(one) != is_inequality(other):
        return rules.decide("inequalities", {"interval": True, "distinct": False})
    return answer


def _end(one: Node, other: Node, rules: Rules) -> Answer:
    if one == other:
        return SAME
    return DIFFERENT if one in INFINITE or other in INFINITE else compare_values(one, other, rules)


WRITTEN_DIFFERENTLY = Answer(None, "relations that are written differently")
_TURNED = frozenset({"=", "!=", "~", "<", ">", "<=", ">=", "perp", "parallel"})
"""Relations that can be read from either side, some with another sign."""


def relations(one: Node, other: Node, rules: Rules) -> Answer:
    """Equations and inequalities: side by side, the other way round, or as multiples of each other."""
    if one.kind != other.kind:
        return Answer(None, "an equation against a value")
    ops, *sides = one.args
    others, *mates = other.args
    turned = (tuple(FLIPPED.get(op, op) for op in reversed(others)), mates[::-1])
    ways = ((others, mates), turned) if set(others) <= _TURNED else ((others, mates),)
    for candidate, parts in ways:
        alike = (rules.compare(a, b, rules) for a, b in zip(sides, parts, strict=True))
        if candidate == ops and every(alike).same is True:
            return SAME
    if len(ops) == len(others) == 1 and {*ops, *others} <= _TURNED - {"~", "perp", "parallel"}:
        return _multiples(ops[0], sides, others[0], mates)
    return WRITTEN_DIFFERENTLY


def _multiples(op: str, sides: list[Node], other_op: str, mates: list[Node]) -> Answer:
    """Whether one equation is a constant times the other: their differences in the same ratio at several places."""
    one, other = add(sides[0], negative(sides[1])), add(mates[0], negative(mates[1]))
    ratio = _ratio_of(one, other)
    if not ratio:
        apart = ratio == 0 and {op, other_op} == {"="} and _is_polynomial(one) and _is_polynomial(other)
        return DIFFERENT if apart else WRITTEN_DIFFERENTLY
    if op == "=" or other_op == "=":
        return SAME if op == other_op else DIFFERENT
    return SAME if (op if ratio > 0 else FLIPPED.get(op, op)) == other_op else DIFFERENT


def _is_polynomial(node: Node) -> bool:
    return all(
        part.kind in ("num", "sym", "add", "mul")
        or (
            part.kind == "pow"
            and (rational(part.args[1]) or Fraction(-1)) > 0
            and (rational(part.args[1]) or Fraction(1, 2)).denominator == 1
        )
        for part in walk(node)
    )


def _ratio_of(one: Node, other: Node) -> float | None:
    """The sign of the constant by which one is the other, 0 where it is not constant, None where it cannot be told.
    With as many digits as constants are compared in: a small term counts."""
    names = sorted(symbols(one) | symbols(other))
    ratios: list[float] = []
    with context().workdps(CONSTANT_DIGITS):
        for values in points(names, whole=False):
            try:
                first, second = evaluate(one, values), evaluate(other, values)
            except Undefined:
                continue
            if first.real_domain and second.real_domain and abs(second.value):
                ratios.append(first.value / second.value)
        if len(ratios) < 3:
            return None
        spread = max(abs(ratio - ratios[0]) for ratio in ratios)
        if spread > abs(ratios[0]) * context().mpf(10) ** -(CONSTANT_DIGITS - AGREE) or ratios[0] == 0:
            return 0.0
    return 1.0 if getattr(ratios[0], "real", ratios[0]) > 0 else -1.0


def congruences(first: Meaning, second: Meaning) -> Answer:
    if first.modulus is None or second.modulus is None:
        return Answer(None, "a modulus on one side")
    modulus, other = rational(first.modulus), rational(second.modulus)
    value, mate = rational(first.value), rational(second.value)
    if not modulus or other is None or value is None or mate is None:
        return UNKNOWN
    return SAME if modulus == other and (value - mate) % modulus == 0 else DIFFERENT


def equation_and_value(first: Meaning, second: Meaning, rules: Rules) -> Answer | None:
    """An equation against y = …, or against the value of the one variable that it can be solved for; None where there
    is nothing of that."""
    for one, other in ((first, second), (second, first)):
        if one.value.kind != "rel" or set(one.value.args[0]) != {"="} or other.value.kind not in VALUES:
            continue
        sides = one.value.args[1:]
        if not any(symbols(side) for side in sides):  # 5 + 6 = 11
            return rules.compare(sides[-1], other.value, rules)
        if len(sides) != 2:
            return None
        if other.label is not None:
            return _multiples("=", list(sides), "=", [other.label, other.value])
        solution = _solved(sides[0], sides[1], other.value)
        if solution is not None:
            same = compare_values(solution, other.value, rules).same is True
            return SAME if same else Answer(None, "an equation against a value")
    return None


def _solved(left: Node, right: Node, value: Node) -> Node | None:
    """The value of the variable that the equation is linear in and the other side does not know, if it is the only
    one."""
    names = sorted(symbols(left) | symbols(right))
    unknown = [name for name in names if name not in symbols(value)]
    terms = linear(add(left, negative(right)))
    if len(unknown) != 1 or set(names) - set(unknown) != symbols(value):
        return None
    variable = Node("sym", (unknown[0],))
    factor = sum((coefficient for coefficient, part in terms if part == variable), Fraction(0))
    rest = [
        number(coefficient) if part is None else mul(number(coefficient), part)
        for coefficient, part in terms
        if part != variable
    ]
    if not factor or any(unknown[0] in symbols(part) for part in rest) or not rest:
        return None
    return divide(negative(add(*rest)), number(factor))
