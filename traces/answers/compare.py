r"""Are two answers the same? Each kind is compared as what it is: lists, tuples, sets, relations, units, words.

Three answers: yes, no, and unknown, with what stood in the way or which policy decided. Every comparison gives the
same whichever side is the gold one.

>>> from stillroom.traces.answers.parser import read
>>> compare(read("x < 3"), read(r"(-\infty, 3)"), Rules()).same
True
"""

from __future__ import annotations

import itertools
import re
from fractions import Fraction

from stillroom.traces.answers.fingerprint import Undefined, linear, rational
from stillroom.traces.answers.meaning import Meaning, items, meaning
from stillroom.traces.answers.numeric import evaluate
from stillroom.traces.answers.sets import Piece, is_inequality, real_set
from stillroom.traces.answers.tree import INFINITY, Node, add, divide, mul, negative, number, replaced, symbols, walk
from stillroom.traces.answers.values import DIFFERENT, SAME, Answer, Rules, compare_values, points

VALUES = frozenset({"num", "sym", "add", "mul", "pow", "fn", "dots"})
SETS = frozenset({"interval", "union", "minus", "intersection", "builder"})
MAX_ITEMS = 200
UNKNOWN = Answer(None, "the two cannot be compared")


def compare(one: Node, other: Node, rules: Rules) -> Answer:
    """Compares two answers. Raises OverflowError for numbers that are too large, Pending as `compare_values` does."""
    if one == other:
        return compare_values(one, other, rules)
    if len(one.args) > MAX_ITEMS or len(other.args) > MAX_ITEMS:
        raise OverflowError(f"more than {MAX_ITEMS} parts")
    first, second = meaning(one), meaning(other)
    if first.modulus is not None or second.modulus is not None:
        return _congruences(first, second, rules)
    if first.condition != second.condition and (first.condition or second.condition):
        return Answer(None, f"a condition in words: {(first.condition or second.condition)[:60]}")
    solved = _equation_and_value(first, second, rules)
    if solved is not None:
        return solved
    first, second = _parameters(first, second, rules)
    first, second = _function_arguments(first, second)
    answer = _kinds(first.value, second.value, one, other, rules)
    if answer.same and _names_differ(first.label, second.label):
        return Answer(None, "they are said of different things")
    return answer if answer.same is True else _other_names(first, second, rules) or answer


def _equation_and_value(first: Meaning, second: Meaning, rules: Rules) -> Answer | None:
    """An equation against y = …, or against the value of the one variable that it can be solved for; None where there
    is nothing of that."""
    for one, other in ((first, second), (second, first)):
        if one.value.kind != "rel" or set(one.value.args[0]) != {"="} or other.value.kind not in VALUES:
            continue
        sides = one.value.args[1:]
        if not any(symbols(side) for side in sides):  # 5 + 6 = 11
            return compare(sides[-1], other.value, rules)
        if len(sides) != 2:
            return None
        if other.label is not None:
            return _multiples("=", list(sides), "=", [other.label, other.value])
        solution = _solved(sides[0], sides[1], other.value)
        if solution is not None:
            return SAME if compare_values(solution, other.value, rules).same is True else Answer(None, "an equation against a value")
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
    rest = [number(coefficient) if part is None else mul(number(coefficient), part) for coefficient, part in terms if part != variable]
    if not factor or any(unknown[0] in symbols(part) for part in rest) or not rest:
        return None
    return divide(negative(add(*rest)), number(factor))


def _kinds(one: Node, other: Node, first: Node, second: Node, rules: Rules) -> Answer:
    """By kind, the most particular first."""
    kinds = {one.kind, other.kind}
    if "quantified" in kinds:
        return _quantified(one, other, rules)
    if "base" in kinds:
        return _bases(one, other, rules)
    if kinds & {"unit", "compound", "percent"}:
        return _units(one, other, rules)
    if "text" in kinds:
        return _texts(one, other)
    if kinds <= {"list", "set"} or (kinds & {"list", "set"} and kinds & (VALUES | {"ratio", "pm", "mp"})):
        return _collections(one, other, rules)
    if kinds & SETS or is_inequality(one) or is_inequality(other) or _is_membership(first) != _is_membership(second):
        answer = _sets(one, other, rules)
        if answer is not None:
            return answer
    if "ratio" in kinds:
        return _ratios(one, other, rules)
    if "rel" in kinds:
        return _relations(one, other, rules)
    if kinds & {"tuple", "bracket", "matrix", "list", "set"}:
        return _rows(one, other, rules)
    if kinds <= VALUES | {"pm", "mp"}:
        return _values(one, other, rules)
    return UNKNOWN


# -- values -------------------------------------------------------------------------------------------------------------


def _values(one: Node, other: Node, rules: Rules) -> Answer:
    if any(part.kind in ("pm", "mp") for node in (one, other) for part in walk(node)):
        return _collections(one, other, rules)
    infinite = [node for node in (one, other) if node in (INFINITY, negative(INFINITY))]
    if infinite:
        return DIFFERENT if len(infinite) == 2 or _is_finite(one) or _is_finite(other) else UNKNOWN
    if any(part.kind == "matrix" for node in (one, other) for part in walk(node)):
        return _rows(one, other, rules)
    answer = compare_values(one, other, rules)
    if answer.same is not False:
        return answer
    return _constants_of_integration(one, other, rules) or _lowest_terms(one, other, answer)


def _is_finite(node: Node) -> bool:
    try:
        evaluate(node, {})
    except Undefined:
        return False
    return True


def _lowest_terms(one: Node, other: Node, answer: Answer) -> Answer:
    return answer


def _constants_of_integration(one: Node, other: Node, rules: Rules) -> Answer | None:
    """x² + C against x² + K, or without a constant."""
    split = [_without_constant(node) for node in (one, other)]
    if split[0][1] is None and split[1][1] is None:
        return None
    bodies = compare_values(split[0][0], split[1][0], rules)
    if bodies.same is not True:
        return None
    both = split[0][1] is not None and split[1][1] is not None
    return rules.decide("constant", {"named": True if both else None, "optional": True, "strict": False})


def _without_constant(node: Node) -> tuple[Node, Node | None]:
    """A sum without its lone capital letter, and that letter."""
    if node.kind != "add":
        return node, None
    for part in node.args:
        name = part.args[0] if part.kind == "sym" else ""
        if re.fullmatch(r"[A-Zc](?:_.*)?", str(name)) and symbols(add(*(p for p in node.args if p != part))) - {name}:
            return add(*(p for p in node.args if p != part)), part
    return node, None


# -- names ----------------------------------------------------------------------------------------------------------------


def _function_arguments(first: Meaning, second: Meaning) -> tuple[Meaning, Meaning]:
    """f(x) = 2x and f(z) = 2z: the name of the argument is bound, and put the same."""
    sides = []
    for said in (first, second):
        label, value = said.label, said.value
        argument = _argument(label)
        if argument is not None:
            bound = Node("sym", ("argument",))
            value, label = replaced(value, argument, bound), replaced(label, argument, bound) if label else None
        sides.append(Meaning(value, label, said.parameters, said.condition))
    both = _argument(first.label) is not None and _argument(second.label) is not None
    return (sides[0], sides[1]) if both else (first, second)


def _argument(label: Node | None) -> Node | None:
    if label is None:
        return None
    if label.kind == "fn" and len(label.args) == 2 and label.args[1].kind == "sym":
        found: Node = label.args[1]
        return found
    if label.kind == "mul" and len(label.args) == 2 and label.args[0].kind == label.args[1].kind == "sym" and label.args[0].args[0].isupper():
        return label.args[1] if label.args[1].args[0].islower() else None
    return None


def _names_differ(one: Node | None, other: Node | None) -> bool:
    """Whether both have a label that is a plain name, and not the same."""
    if one is None or other is None or one == other:
        return False
    return one.kind in ("sym", "fn") and other.kind in ("sym", "fn") and not (one.kind == other.kind == "fn" and one.args[0] == other.args[0])


def _parameters(first: Meaning, second: Meaning, rules: Rules) -> tuple[Meaning, Meaning]:
    """Declared parameters ("for some integer t") get the names of the other side, where there are as many."""
    free = [symbols(said.value) for said in (first, second)]
    mine, theirs = sorted(free[0] - free[1]), sorted(free[1] - free[0])
    if not mine or len(mine) != len(theirs) or rules.policies.parameters in ("strict", "ask"):
        return first, second
    declared = first.parameters | second.parameters
    if not (set(mine) <= declared or set(theirs) <= declared):
        return first, second
    value = first.value
    for old, new in zip(mine, theirs, strict=True):
        value = replaced(value, Node("sym", (old,)), Node("sym", (new,)))
    rules.used.add(f"parameters={rules.policies.parameters}")
    return Meaning(value, first.label, first.parameters, first.condition), second


INTEGERS = frozenset("kmnlj")


def _other_names(first: Meaning, second: Meaning, rules: Rules) -> Answer | None:
    """Answers that are the same but for one letter each: integer multiples of pi, or any letter by policy."""
    one, other = first.value, second.value
    mine, theirs = symbols(one), symbols(other)
    if len(mine - theirs) != 1 or len(theirs - mine) != 1:
        return None
    old, new = next(iter(mine - theirs)), next(iter(theirs - mine))
    swapped = replaced(one, Node("sym", (old,)), Node("sym", (new,)))
    if _kinds(swapped, other, swapped, other, rules).same is not True:
        return None
    if old.lower() == new.lower() and old.lower() in ("c", "k"):
        return rules.decide("constant", {"named": True, "optional": True, "strict": False})
    whole = old in INTEGERS and new in INTEGERS and any(part == Node("sym", ("pi",)) for part in walk(one))
    return rules.decide("parameters", {"stated": True if whole else None, "free": True, "strict": False})


def _quantified(one: Node, other: Node, rules: Rules) -> Answer:
    if one.kind != other.kind or one.args[0] != other.args[0]:
        return Answer(None, "a quantifier on one side")
    over, said = (compare(one.args[k], other.args[k], rules) for k in (1, 2))
    return SAME if over.same and said.same else DIFFERENT if said.same is False and over.same else UNKNOWN


# -- lists, tuples, matrices -------------------------------------------------------------------------------------------------


def _collections(one: Node, other: Node, rules: Rules) -> Answer:
    """Values in any order, as often as they are given."""
    first, second = _named_tuples(items(one)), _named_tuples(items(other))
    if one.kind == "set" or other.kind == "set":
        first, second = _distinct(first, rules), _distinct(second, rules)
    if len(first) != len(second):
        return _counts_differ(first, second, rules)
    if one.kind == other.kind == "list" and rules.policies.list_order != "any" and len(first) > 1:
        return _in_order(first, second, rules)
    return _matched(first, second, rules)


def _named_tuples(values: list[Node]) -> list[Node]:
    """(f(n), g(n)) = (n, 1) as two values with their names."""
    found: list[Node] = []
    for value in values:
        said = meaning(value)
        label = said.label
        if len(values) == 1 and label is not None and label.kind == "tuple" and said.value.kind == "tuple" and len(label.args) == len(said.value.args):
            found += [Node("rel", (("=",), name, part)) for name, part in zip(label.args, said.value.args, strict=True)]
        else:
            found.append(value)
    return found


def _distinct(values: list[Node], rules: Rules) -> list[Node]:
    kept: list[Node] = []
    for value in values:
        if not any(compare(value, other, rules).same is True for other in kept):
            kept.append(value)
    return kept


def _counts_differ(first: list[Node], second: list[Node], rules: Rules) -> Answer:
    """Lists of different lengths differ; points that are named twice count once; words leave it open."""
    if all(value.kind == "tuple" for value in (*first, *second)):
        points_of = [_distinct(values, rules) for values in (first, second)]
        return _matched(*points_of, rules) if len(points_of[0]) == len(points_of[1]) else DIFFERENT
    if any(part.kind in ("text", "dots", "clause") for value in (*first, *second) for part in walk(value)):
        return Answer(None, "lists of different lengths, with words in them")
    return DIFFERENT


def _in_order(first: list[Node], second: list[Node], rules: Rules) -> Answer:
    ordered = _all(compare(one, other, rules) for one, other in zip(first, second, strict=True))
    if ordered.same is not False:
        return ordered
    if _matched(first, second, rules).same is not True:
        return ordered
    return rules.decide("list_order", {"given": False})


def _all(answers: object) -> Answer:
    """All the same: the first that is not, a difference before what is unknown."""
    unknown: Answer | None = None
    note = ""
    for answer in answers:  # type: ignore[attr-defined]
        if answer.same is False:
            return DIFFERENT
        if answer.same is None:
            unknown = unknown or answer
        note = note or answer.why
    return unknown or Answer(True, note)


def _matched(first: list[Node], second: list[Node], rules: Rules) -> Answer:
    """Whether every value has its own partner on the other side."""
    left, unknown, note = list(second), None, ""
    for value in first:
        answers = [compare(value, other, rules) for other in left]
        place = next((k for k, answer in enumerate(answers) if answer.same is True), None)
        if place is None:
            unknown = unknown or next((answer for answer in answers if answer.same is None), None)
            if not any(answer.same is None for answer in answers):
                return DIFFERENT
            continue
        note = note or answers[place].why
        del left[place]
    return unknown or Answer(True, note)


def _rows(one: Node, other: Node, rules: Rules) -> Answer:
    """Tuples, vectors and matrices, entry by entry; a list against a tuple by policy."""
    first, second = _table(one), _table(other)
    if first is None or second is None:
        return _row_and_value(one, other, first, second, rules)
    kinds = {one.kind, other.kind}
    vectors = len(kinds) == 2 and "matrix" in kinds
    if vectors:
        first, second = _flat(first), _flat(second)
    if [len(row) for row in first] != [len(row) for row in second]:
        return DIFFERENT
    pairs = [(a, b) for row, mate in zip(first, second, strict=True) for a, b in zip(row, mate, strict=True)]
    answer = _all(compare(a, b, rules) for a, b in pairs)
    if answer.same is False and _is_span(one, other):
        return Answer(None, "a pair or an interval")
    if answer.same is not True or len(kinds) == 1:
        return answer
    if vectors:
        return rules.decide("vectors", {"tuple": True, "distinct": False})
    if kinds == {"tuple", "bracket"}:
        return Answer(None, "round against square brackets")
    return rules.decide("tuples", {"ordered": True, "distinct": False})


def _is_span(one: Node, other: Node) -> bool:
    return {one.kind, other.kind} == {"tuple", "bracket"} and len(one.args) == 2


def _table(node: Node) -> list[tuple[Node, ...]] | None:
    if node.kind == "matrix":
        return list(node.args)
    if node.kind in ("tuple", "bracket", "list", "set"):
        return [tuple(_bare(part) for part in node.args)]
    if node.kind in ("add", "mul", "pow") and any(part.kind == "matrix" for part in walk(node)):
        return _worked_out(node)
    return None


def _bare(node: Node) -> Node:
    return meaning(node).value


def _flat(rows: list[tuple[Node, ...]]) -> list[tuple[Node, ...]]:
    """A column or row as one row; a real matrix stays."""
    if len(rows) == 1 or all(len(row) == 1 for row in rows):
        return [tuple(part for row in rows for part in row)]
    return rows


def _worked_out(node: Node) -> list[tuple[Node, ...]] | None:
    """A sum or product of matrices as one matrix; None where their sizes do not fit or are large."""
    if node.kind == "pow":
        return None
    total: list[tuple[Node, ...]] | None = None
    scalars: list[Node] = []
    for part in node.args:
        table = _table(part) if part.kind in ("matrix", "mul", "add") else None
        if table is None:
            scalars.append(part)
            continue
        if len(table) > 6 or len(table[0]) > 6:
            return None
        total = table if total is None else _combined(node.kind, total, table)
        if total is None:
            return None
    if total is None or (scalars and node.kind == "add"):
        return None
    return [tuple(mul(*scalars, entry) if scalars else entry for entry in row) for row in total]


def _combined(kind: str, one: list[tuple[Node, ...]], other: list[tuple[Node, ...]]) -> list[tuple[Node, ...]] | None:
    if kind == "add":
        if (len(one), len(one[0])) != (len(other), len(other[0])):
            return None
        return [tuple(add(a, b) for a, b in zip(row, mate, strict=True)) for row, mate in zip(one, other, strict=True)]
    if len(one[0]) != len(other):
        return None
    columns = list(zip(*other, strict=True))
    return [tuple(add(*(mul(a, b) for a, b in zip(row, column, strict=True))) for column in columns) for row in one]


def _row_and_value(one: Node, other: Node, first: object, second: object, rules: Rules) -> Answer:
    """A tuple against a single value: a tuple of one is its value; else they differ in number."""
    row, value = (one, other) if first is not None else (other, one)
    if row.kind == "matrix" or value.kind in ("rel", "text", "union", "interval"):
        return UNKNOWN if value.kind in ("rel", "text") else DIFFERENT
    if len(row.args) == 1:
        return compare(row.args[0], value, rules)
    return DIFFERENT if value.kind in VALUES else UNKNOWN


# -- sets ----------------------------------------------------------------------------------------------------------------------


def _is_membership(node: Node) -> bool:
    return node.kind == "rel" and node.args[0] == ("in",)


def _sets(one: Node, other: Node, rules: Rules) -> Answer | None:
    """Sets of real numbers; None where one side is none."""
    first, second = real_set(one), real_set(other)
    if first is None or second is None:
        infinite = [pieces for pieces in (first, second) if pieces and not all(piece.is_point for piece in pieces)]
        return DIFFERENT if infinite and (one.kind in VALUES or other.kind in VALUES) else None
    pieces = list(itertools.zip_longest(first, second))
    if len(first) != len(second):
        return DIFFERENT
    answer = _all(_ends(a, b, rules) for a, b in pieces)
    if answer.same is not True:
        return answer
    if any((a.low_open, a.high_open) != (b.low_open, b.high_open) for a, b in pieces):
        return rules.decide("interval_ends", {"strict": False, "loose": True})
    if is_inequality(one) != is_inequality(other):
        return rules.decide("inequalities", {"interval": True, "distinct": False})
    return answer


def _ends(one: Piece, other: Piece, rules: Rules) -> Answer:
    return _all(_end(a, b, rules) for a, b in ((one.low, other.low), (one.high, other.high)))


def _end(one: Node, other: Node, rules: Rules) -> Answer:
    if one == other:
        return SAME
    infinite = (INFINITY, negative(INFINITY))
    return DIFFERENT if one in infinite or other in infinite else compare_values(one, other, rules)


# -- relations --------------------------------------------------------------------------------------------------------------------


def _relations(one: Node, other: Node, rules: Rules) -> Answer:
    """Equations and inequalities: side by side, the other way round, or as multiples of each other."""
    if one.kind != other.kind:
        return Answer(None, "an equation against a value")
    ops, *sides = one.args
    others, *mates = other.args
    flip = {"<": ">", ">": "<", "<=": ">=", ">=": "<="}
    turned = (tuple(flip.get(op, op) for op in reversed(others)), mates[::-1])
    for candidate, parts in ((others, mates), turned):
        if candidate == ops and _all(compare(a, b, rules) for a, b in zip(sides, parts, strict=True)).same is True:
            return SAME
    if len(ops) == len(others) == 1:
        return _multiples(ops[0], sides, others[0], mates)
    return Answer(None, "relations that are written differently")


def _multiples(op: str, sides: list[Node], other_op: str, mates: list[Node]) -> Answer:
    """Whether one equation is a constant times the other: their differences in the same ratio at several places."""
    one, other = add(sides[0], negative(sides[1])), add(mates[0], negative(mates[1]))
    flip = {"<": ">", ">": "<", "<=": ">=", ">=": "<="}
    ratio = _ratio_of(one, other)
    if ratio is None:
        return Answer(None, "relations that are written differently")
    if ratio == 0:
        return DIFFERENT if {op, other_op} == {"="} and _is_polynomial(one) and _is_polynomial(other) else Answer(None, "relations that are written differently")
    if op == "=" or other_op == "=":
        return SAME if op == other_op else DIFFERENT
    return SAME if (op if ratio > 0 else flip.get(op, op)) == other_op else DIFFERENT


def _is_polynomial(node: Node) -> bool:
    return all(
        part.kind in ("num", "sym", "add", "mul") or (part.kind == "pow" and (rational(part.args[1]) or Fraction(-1)) > 0 and (rational(part.args[1]) or Fraction(1, 2)).denominator == 1)
        for part in walk(node)
    )


def _ratio_of(one: Node, other: Node) -> float | None:
    """The constant by which one is the other, 0 where it is not constant, None where it cannot be told."""
    names = sorted(symbols(one) | symbols(other))
    ratios: list[float] = []
    for values in points(names, whole=False):
        try:
            first, second = evaluate(one, values), evaluate(other, values)
        except Undefined:
            continue
        if not (first.real_domain and second.real_domain) or abs(second.value) == 0:
            continue
        ratios.append(first.value / second.value)
    if len(ratios) < 3:
        return None
    spread = max(abs(ratio - ratios[0]) for ratio in ratios)
    if spread > abs(ratios[0]) * 10**-30 or ratios[0] == 0:
        return 0.0
    return 1.0 if getattr(ratios[0], "real", ratios[0]) > 0 else -1.0


def _congruences(first: Meaning, second: Meaning, rules: Rules) -> Answer:
    if first.modulus is None or second.modulus is None:
        return Answer(None, "a modulus on one side")
    moduli = [rational(first.modulus), rational(second.modulus)]
    values = [rational(first.value), rational(second.value)]
    if None in moduli or None in values or not moduli[0]:
        return UNKNOWN
    if moduli[0] != moduli[1]:
        return DIFFERENT
    assert values[0] is not None and values[1] is not None
    return SAME if (values[0] - values[1]) % moduli[0] == 0 else DIFFERENT


# -- units, bases, ratios -------------------------------------------------------------------------------------------------------------


def _units(one: Node, other: Node, rules: Rules) -> Answer:
    if "compound" in (one.kind, other.kind):
        return _compounds(one, other, rules)
    if "percent" in (one.kind, other.kind):
        return _percent(one, other, rules)
    unit = [node.args[1] if node.kind == "unit" else "" for node in (one, other)]
    bare = [node.args[0] if node.kind == "unit" else node for node in (one, other)]
    if "deg" in unit and unit[0] != unit[1] and "" in unit:
        return _degrees(bare, unit, rules)
    answer = compare(bare[0], bare[1], rules)
    if unit[0] == unit[1] or answer.same is not True:
        return answer
    if "" in unit:
        return rules.decide("units", {"optional": True, "required": False})
    known = [name for name in unit if _is_unit(name)]
    return DIFFERENT if len(known) == 2 else Answer(None, f"the units {unit[0]!r} and {unit[1]!r}")


def _is_unit(name: str) -> bool:
    from stillroom.traces.answers.words import UNITS

    return all(part in UNITS for part in re.split(r"[ /^0-9]+", name) if part)


def _degrees(bare: list[Node], unit: list[str], rules: Rules) -> Answer:
    """45° against 45, and 30° against π/6."""
    radians = [mul(node, divide(Node("sym", ("pi",)), number(180))) if name == "deg" else node for node, name in zip(bare, unit, strict=True)]
    value = _values_only(radians[0], radians[1], rules)
    if value.same is True:
        return rules.decide("degrees", {"drop": True, "value": True, "strict": False})
    answer = compare(bare[0], bare[1], rules)
    return rules.decide("degrees", {"drop": True, "value": False, "strict": False}) if answer.same is True else answer


def _values_only(one: Node, other: Node, rules: Rules) -> Answer:
    return compare_values(one, other, rules) if one.kind in VALUES and other.kind in VALUES else UNKNOWN


def _percent(one: Node, other: Node, rules: Rules) -> Answer:
    """33.5% against 0.335, and 10% against 10."""
    if one.kind == other.kind:
        return compare(_hundredth(one), _hundredth(other), rules)
    share, value = (one, other) if one.kind == "percent" else (other, one)
    if value.kind == "unit":
        return compare(share.args[0], value.args[0], rules) if value.args[1] == "" else Answer(None, "a percentage against a unit")
    answer = compare(_hundredth(share), value, rules)
    if answer.same is True:
        return rules.decide("percent", {"value": True, "bare": True, "strict": False})
    if compare(share.args[0], value, rules).same is True:
        return rules.decide("percent", {"value": None, "bare": True, "strict": False})
    return answer


def _hundredth(node: Node) -> Node:
    inner = node.args[0]
    if inner.kind == "num":
        step = inner.args[1]
        return Node("num", (inner.args[0] / 100, (step if step is not None else Fraction(1)) / 100))
    return divide(inner, number(100))


def _compounds(one: Node, other: Node, rules: Rules) -> Answer:
    """2 hours 30 minutes, part by part."""
    first, second = (node.args if node.kind == "compound" else (node,) for node in (one, other))
    if len(first) != len(second):
        return UNKNOWN
    return _all(compare(a, b, rules) for a, b in zip(first, second, strict=True))


def _bases(one: Node, other: Node, rules: Rules) -> Answer:
    if one.kind == other.kind:
        if one.args[1] == other.args[1]:
            return SAME if one.args[0].lstrip("0") == other.args[0].lstrip("0") else DIFFERENT
    values = [_based(node) for node in (one, other)]
    if None in values:
        return UNKNOWN
    if values[0] == values[1]:
        return rules.decide("bases", {"strict": False, "value": True})
    return DIFFERENT


def _based(node: Node) -> Fraction | None:
    if node.kind != "base":
        return rational(node)
    digits, base = node.args
    try:
        return Fraction(int(digits, base))
    except ValueError:
        return None


def _ratios(one: Node, other: Node, rules: Rules) -> Answer:
    """5:8 against 10:16 or 5/8; what may be a time of day is compared as one."""
    if one.kind == other.kind:
        if len(one.args) != len(other.args):
            return DIFFERENT
        if any(part.kind == "dots" for part in (*one.args, *other.args)):
            return UNKNOWN
        alike = _all(compare(a, b, rules) for a, b in zip(one.args, other.args, strict=True))
        if alike.same is True:
            return alike
        if _is_clock(one) and _is_clock(other):
            return DIFFERENT
        cross = [compare_values(mul(a, other.args[0]), mul(b, one.args[0]), rules) for a, b in zip(one.args, other.args, strict=True)]
        return _all(cross)
    ratio, value = (one, other) if one.kind == "ratio" else (other, one)
    if len(ratio.args) != 2 or value.kind not in VALUES:
        return UNKNOWN
    answer = compare_values(divide(*ratio.args), value, rules)
    return rules.decide("ratios", {"value": True, "strict": False}) if answer.same is True else answer


def _is_clock(node: Node) -> bool:
    hours, minutes = (rational(part) if part.kind == "num" and part.args[1] is None else None for part in node.args[:2])
    return hours is not None and minutes is not None and hours < 25 and 0 <= minutes < 60 and (minutes >= 10 or minutes == 0)


# -- words ------------------------------------------------------------------------------------------------------------------------


_ARTICLES = re.compile(r"\b(?:the|a|an|is|are|only|exactly|of|any)\b|[^\w\s]")


def _texts(one: Node, other: Node) -> Answer:
    """Words: the same, plainly different, or one within the other."""
    first, second = (_words(node) for node in (one, other))
    if first == second:
        return SAME
    if not first or not second:
        return UNKNOWN
    if one.kind != other.kind:
        value = other if one.kind == "text" else one
        return DIFFERENT if value.kind == "num" and len(first or second) < 2 else Answer(None, "words against a formula")
    if len(first) > 3 or len(second) > 3 or set(first) <= set(second) or set(second) <= set(first):
        return Answer(None, "words that may mean the same")
    return DIFFERENT


def _words(node: Node) -> list[str]:
    if node.kind == "text":
        return _ARTICLES.sub(" ", node.args[0].lower()).split()
    if node.kind == "mul" and all(part.kind == "sym" for part in node.args):
        return ["".join(part.args[0] for part in node.args).lower()]
    return [node.args[0].lower()] if node.kind == "sym" else [repr(node)]


