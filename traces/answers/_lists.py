r"""Lists, tuples, vectors and matrices: in any order or in theirs, entry by entry.

`1, 2` and `2, 1`; `(1, 2)` and `x = 1, y = 2`; sums and products of matrices of numbers are worked out.
"""

from __future__ import annotations

from collections.abc import Iterable

from stillroom.traces.answers._matrices import as_one_table
from stillroom.traces.answers.normalise import claimed, items, meaning
from stillroom.traces.answers.tree import VALUES, Node, symbols, walk
from stillroom.traces.answers.values import DIFFERENT, UNKNOWN, Answer, Rules, compare_values


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
        answer = every(rules.compare(a, b, rules) for a, b in zip(first, second, strict=True))
        if answer.same is False and _matched(first, second, rules).same is True:
            return Answer(None, "letters on one side, and another order")
        return answer
    if one.kind == other.kind == "list" and len(first) > 1:
        ordered = every(rules.compare(a, b, rules) for a, b in zip(first, second, strict=True))
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


def every(answers: Iterable[Answer]) -> Answer:
    """All the same: the first that is not, a difference before what is unknown."""
    unknown: Answer | None = None
    note = ""
    for answer in answers:
        if answer.same is False:
            return DIFFERENT
        if answer.same is None:
            unknown = unknown or answer
        note = note or answer.why
    return unknown or Answer(True, note)


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
    answer = every(rules.compare(a, b, rules) for a, b in pairs)
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
