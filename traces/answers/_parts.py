r"""Answers of several parts: lists, tuples, vectors and matrices; sets of real numbers, equations and congruences.

`1, 2` and `2, 1`; `(1, 2)` and `x = 1, y = 2`; `x < 3` and `(-\infty, 3)`; `2x + 4y = 3` and
`y = \frac34 - \frac12 x`; `x \equiv 5 \pmod 7`. Parts are compared in any order or in theirs, entry by entry; sums
and products of matrices of numbers are worked out.
"""

from __future__ import annotations

from contextlib import suppress
from fractions import Fraction
from typing import Any

from stillroom.traces.answers._matrices import as_one_table
from stillroom.traces.answers.fingerprint import Undefined
from stillroom.traces.answers.normalise import Meaning, claimed, items, meaning
from stillroom.traces.answers.numeric import AGREE, CONSTANT_DIGITS, context, evaluate, points
from stillroom.traces.answers.rational import rational
from stillroom.traces.answers.sets import FLIPPED, INFINITE, is_ordered, real_set, solved, thing_of
from stillroom.traces.answers.tree import VALUES, Node, add, is_inequality, negative, number, replaced, symbols, walk
from stillroom.traces.answers.values import DIFFERENT, SAME, UNKNOWN, Answer, Rules, compare_values


def collections(one: Node, other: Node, rules: Rules) -> Answer:
    """Values in any order, as often as they are given."""
    first, second = _named_tuples(items(one)), _named_tuples(items(other))
    signs = any(part.kind in ("pm", "mp") for node in (one, other) for part in walk(node))
    if one.kind == "set" or other.kind == "set" or signs:  # 3 ± 0 is one value
        first, second = _distinct(first, rules), _distinct(second, rules)
    if len(first) != len(second) and all(value.kind == "tuple" for value in (*first, *second)):
        first, second = _distinct(first, rules), _distinct(second, rules)  # points that are named twice count once
        return _matched(first, second, rules) if len(first) == len(second) else DIFFERENT
    if len(first) != len(second):
        words = any(part.kind in ("text", "dots", "clause") for value in (*first, *second) for part in walk(value))
        return Answer(None, "lists of different lengths, with words in them") if words else DIFFERENT
    if _letters(first) != _letters(second) and rules.policies.list_order == "any":
        # x = 1, y = 2 against 1, 2: in the same order; in another the letters may say something else.
        answer = Answer.every(rules.compare(a, b, rules) for a, b in zip(first, second, strict=True))
        if answer.same is False and _matched(first, second, rules).same is True:
            return Answer(None, "letters on one side, and another order")
        return answer
    if one.kind == other.kind == "list" and len(first) > 1:
        ordered = Answer.every(rules.compare(a, b, rules) for a, b in zip(first, second, strict=True))
        if ordered.same is True:
            return ordered
        anyhow = _matched(first, second, rules)
        return rules.decide("list_order", {"any": True, "given": False}) if anyhow.same is True else anyhow
    return _matched(first, second, rules)


def _letters(values: list[Node]) -> bool:
    """Whether each value has its own letter: x = 1, y = 2."""
    labels = [meaning(value).label for value in values]
    names = all(label is not None and label.kind == "sym" for label in labels)
    return len(values) > 1 and names and len(set(labels)) == len(labels)


def _named_tuples(values: list[Node]) -> list[Node]:
    """(f(n), g(n)) = (n, 1) as two values with their names."""
    said = [meaning(value) for value in values]
    if len(said) != 1 or (label := said[0].label) is None or not label.kind == said[0].value.kind == "tuple":
        return values
    parts = said[0].value.args
    if len(label.args) != len(parts):
        return values
    return [Node("rel", (("=",), name, part)) for name, part in zip(label.args, parts, strict=True)]


def _distinct(values: list[Node], rules: Rules) -> list[Node]:
    kept: list[Node] = []
    for value in values:
        if not any(rules.compare(value, other, rules).same is True for other in kept):
            kept.append(value)
    return kept


def _matched(first: list[Node], second: list[Node], rules: Rules) -> Answer:
    """Whether every value has its own partner on the other side; they differ where one has none at all."""
    answers_F_S = [[rules.compare(one, other, rules) for other in second] for one in first]
    sides = (*answers_F_S, *zip(*answers_F_S, strict=True))
    if any(all(answer.same is False for answer in row) for row in sides):
        return DIFFERENT
    left, note = list(range(len(second))), ""
    unknown: Answer | None = None
    for row in answers_F_S:
        place = next((k for k in left if row[k].same is True), None)
        if place is None:
            unknown = unknown or next((row[k] for k in left if row[k].same is None), None)
            if unknown is None:
                return DIFFERENT
            continue
        note = note or row[place].why
        left.remove(place)
    return unknown or Answer(True, note)


def rows(one: Node, other: Node, rules: Rules) -> Answer:
    """Tuples, vectors and matrices, entry by entry, once sums and products of them are worked out; a list against a
    tuple by policy."""
    one, other = _as_table(one), _as_table(other)
    if _is_lettered(one) != _is_lettered(other) and not (_is_sorted(one) and _is_sorted(other)):
        return Answer(None, "letters in another order than that of a tuple")
    first, second = _rows(one), _rows(other)
    if first is None or second is None:
        return _row_and_value(one, other, first, second, rules)
    kinds = {one.kind, other.kind}
    vectors = len(kinds) == 2 and "matrix" in kinds
    if vectors:
        first, second = _flat(first), _flat(second)
    if [len(row) for row in first] != [len(row) for row in second]:
        return DIFFERENT
    pairs = [(a, b) for row, mate in zip(first, second, strict=True) for a, b in zip(row, mate, strict=True)]
    answer = Answer.every(rules.compare(a, b, rules) for a, b in pairs)
    span = kinds == {"tuple", "bracket"} and len(one.args) == 2
    if answer.same is True and span:  # (0, 1) and [0, 1], if they are intervals
        return rules.decide("interval_ends", {"loose": True})
    if answer.same is False and span:
        return Answer(None, "a pair or an interval")
    if answer.same is not True or len(kinds) == 1:
        return answer
    if vectors:
        return rules.decide("vectors", {"tuple": True, "distinct": False})
    if "bracket" in kinds:
        return Answer(None, "a list in square brackets, or an interval")
    return rules.decide("tuples", {"ordered": True, "distinct": False})


def _is_lettered(node: Node) -> bool:
    """x = 1, y = 2"""
    return node.kind in ("list", "set", "both") and _letters(list(node.args))


def _is_sorted(node: Node) -> bool:
    """Whether its letters, if it has any, are in the order of a tuple."""
    labels = [meaning(part).label for part in node.args if isinstance(part, Node)]
    names = [label.args[0] for label in labels if label is not None and label.kind == "sym"]
    return names == sorted(names) or any(len(name) > 1 for name in names)


def _rows(node: Node) -> list[tuple[Node, ...]] | None:
    if node.kind == "matrix":
        return list(node.args)
    if node.kind in ("tuple", "bracket", "list", "set"):
        return [tuple(part if len(claimed(part)) > 1 else meaning(part).value for part in node.args)]
    return None


def _as_table(node: Node) -> Node:
    """A formula of matrices or vectors as the one that it is; anything else, and what is not worked out, as it is."""
    table = as_one_table(node) if node.kind in ("add", "mul", "pow") else None
    if table is None:
        return node
    return Node("matrix", tuple(table.rows)) if table.kind == "matrix" else Node("tuple", table.rows[0])


def _flat(rows: list[tuple[Node, ...]]) -> list[tuple[Node, ...]]:
    """A column or row as one row; a real matrix stays."""
    if len(rows) == 1 or all(len(row) == 1 for row in rows):
        return [tuple(part for row in rows for part in row)]
    return rows


_MANY = frozenset(
    {"matrix", "tuple", "bracket", "set", "list", "interval", "union", "minus", "intersection", "builder"}
)


def _row_and_value(one: Node, other: Node, first: object, second: object, rules: Rules) -> Answer:
    """A tuple against a single value: a tuple of one is its value; else they differ in number."""
    if first is None and second is None:
        return compare_values(one, other, rules)
    row, value = (one, other) if first is not None else (other, one)
    if any(part.kind in _MANY for part in walk(value)):
        return Answer(None, "a formula of vectors, matrices or sets that is not worked out")
    if row.kind == "matrix" and len(row.args) == len(row.args[0]) == 1:
        return rules.compare(row.args[0][0], value, rules)
    names = {part.args[0] for part in walk(value) if part.kind == "sym"}
    if {"i", "j"} <= names or any(name.startswith("accent:") for name in names):
        return Answer(None, "a vector against a sum of unit vectors")
    if row.kind == "matrix" and any(name[:1].isupper() for name in symbols(value)):
        return Answer(None, "a matrix against a capital letter, which may stand for one")
    if row.kind == "matrix" or value.kind in ("rel", "text", "union", "interval"):
        return UNKNOWN if value.kind in ("rel", "text") else DIFFERENT
    if len(row.args) == 1:
        return rules.compare(row.args[0], value, rules)
    return DIFFERENT if value.kind in VALUES else UNKNOWN


# -- sets and relations ----------------------------------------------------------------------------------------------


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
        parts = Answer.every(rules.compare(a, b, rules) for a, b in zip(one.args, other.args, strict=True))
        return SAME if parts.same is True else Answer(None, "sets that are written differently")
    first, second = real_set(one), real_set(other)
    if first is None or second is None:
        infinite = [pieces for pieces in (first, second) if pieces and not all(piece.is_point for piece in pieces)]
        return DIFFERENT if infinite and (one.kind in VALUES or other.kind in VALUES) else None
    # Made of the same pieces in the same order, whether or not the ends belong to them.
    pieces = list(zip(first, second, strict=False))
    ends = ((x, y) for a, b in pieces for x, y in ((a.low, b.low), (a.high, b.high)))
    answer = Answer.every(_end(x, y, rules) for x, y in ends) if len(first) == len(second) else DIFFERENT
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
        if candidate == ops and Answer.every(alike).same is True:
            return SAME
    if len(ops) == len(others) == 1 and {*ops, *others} <= _TURNED - {"~", "perp", "parallel"}:
        return multiples(ops[0], sides, others[0], mates)
    return WRITTEN_DIFFERENTLY


def multiples(op: str, sides: list[Node], other_op: str, mates: list[Node]) -> Answer:
    """Whether one equation is a constant times the other: their differences in the same ratio at several places.
    With as many digits as constants are compared in: a small term counts."""
    one, other = add(sides[0], negative(sides[1])), add(mates[0], negative(mates[1]))
    names = sorted(symbols(one) | symbols(other))
    ratios: list[Any] = []
    with context().workdps(CONSTANT_DIGITS):
        for values in points(names, whole=False):
            with suppress(Undefined):
                first, second = evaluate(one, values), evaluate(other, values)
                if first.real_domain and second.real_domain and abs(second.value):
                    ratios.append(first.value / second.value)
        if len(ratios) < 3:
            return WRITTEN_DIFFERENTLY
        spread = max(abs(ratio - ratios[0]) for ratio in ratios)
        varies = spread > abs(ratios[0]) * context().mpf(10) ** -(CONSTANT_DIGITS - AGREE) or ratios[0] == 0
    if varies:
        apart = {op, other_op} == {"="} and _is_polynomial(one) and _is_polynomial(other)
        return DIFFERENT if apart else WRITTEN_DIFFERENTLY
    if op == "=" or other_op == "=":
        return SAME if op == other_op else DIFFERENT
    positive = getattr(ratios[0], "real", ratios[0]) > 0
    return SAME if (op if positive else FLIPPED.get(op, op)) == other_op else DIFFERENT


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


INTEGERS = frozenset("kmnlj")
"""Letters that stand for whole numbers where nothing is said."""


def _every_step(value: Node) -> tuple[Fraction, Fraction] | None:
    """The step and the start of 4k + 3; None for what is not that."""
    names = symbols(value)
    if len(names) != 1 or next(iter(names)) not in INTEGERS or value.kind not in ("add", "mul"):
        return None
    name = Node("sym", (next(iter(names)),))
    at = [rational(replaced(value, name, number(k))) for k in range(4)]
    if any(each is None or each.denominator != 1 for each in at):
        return None
    start, one, two, three = (each for each in at if each is not None)
    step = one - start
    return (step, start) if step and two - one == three - two == step else None


def congruences(first: Meaning, second: Meaning) -> Answer:
    if first.modulus is None or second.modulus is None:
        said, written = (first, second) if second.modulus is None else (second, first)  # n = 3 (mod 4), n = 4k + 3
        found, rest = _every_step(written.value), rational(said.value)
        divisor = rational(said.modulus) if said.modulus is not None else None
        if found is None or not divisor or rest is None or said.label not in (None, written.label):
            return Answer(None, "a modulus on one side")
        step, start = found
        return SAME if abs(step) == divisor and (start - rest) % divisor == 0 else DIFFERENT
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
            return multiples("=", list(sides), "=", [other.label, other.value])
        solution = solved(sides[0], sides[1], other.value)
        if solution is not None:
            same = compare_values(solution, other.value, rules).same is True
            return SAME if same else Answer(None, "an equation against a value")
    return None
