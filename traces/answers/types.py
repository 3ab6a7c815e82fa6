r"""Answer types: what a task says that its answers are, and whether an answer, as it was read, is that.

A type makes reading stricter: of the ways to read an answer only those of the type count, and what cannot be read so
is not an answer to the task. It is left unscored (`other_type`), since it says nothing about the value.

>>> from stillroom.traces.answers.parser import read
>>> is_of(read("(1, 2)"), "tuple"), is_of(read("x > 2"), "number"), of_gold(read("3/4"))
(True, False, 'number')
"""

from __future__ import annotations

from collections.abc import Callable

from stillroom.common.records import ANSWER_TYPES
from stillroom.errors import InputError
from stillroom.traces.answers._matrices import has_tables
from stillroom.traces.answers.normalise import meaning
from stillroom.traces.answers.rational import rational
from stillroom.traces.answers.tree import VALUES, Node, is_inequality, symbols

_QUANTITIES = frozenset({"unit", "percent", "compound", "base", "ratio"})
_RANGES = frozenset({"interval", "union", "minus", "intersection", "builder"})
_GATHERED = frozenset({"list", "set", "both", "either", "pm"})


def checked(name: str) -> str:
    """The name of a type, or "" for none. Raises InputError for another."""
    if name and name not in ANSWER_TYPES:
        raise InputError(f"there is no answer type {name!r}: there are {', '.join(ANSWER_TYPES)}")
    return name


def is_of(node: Node, name: str) -> bool:
    """Whether an answer, as it was read, is of a type (one that is read as a formula)."""
    return _IS_OF[name](node)


def of_gold(node: Node) -> str:
    """The type that a gold says by itself that the answers to it are; "" where it may be of several."""
    return next((name for name in ("number", "interval", "matrix", "equation") if _plainly(node, name)), "")


def _plainly(node: Node, name: str) -> bool:
    # (1, 2) is a tuple or an interval, {1, 2} a set or an interval's ends, x = 5 a number or an equation.
    return (
        is_of(node, name)
        and node.kind not in ("tuple", "bracket", "set", "sym")
        and (node.kind != "rel" or is_inequality(node) or not is_of(node, "number"))
    )


def _value(node: Node) -> Node:
    """What is said, without the name before it and without its unit."""
    said = meaning(node).value
    return said.args[0] if said.kind == "unit" else said


def _is_number(node: Node) -> bool:
    value = _value(node)
    if value.kind in _QUANTITIES:
        return True
    return value.kind in VALUES and value.kind != "dots" and not symbols(value) and not has_tables(value)


def _is_integer(node: Node) -> bool:
    """A number that is not seen to be another than a whole one."""
    if not _is_number(node):
        return False
    value = rational(_value(node)) if _value(node).kind in VALUES else None
    return value is None or value.denominator == 1


def _is_expression(node: Node) -> bool:
    return _value(node).kind in VALUES | _QUANTITIES | {"pm"}


def _is_equation(node: Node) -> bool:
    return node.kind == "rel" and "=" in node.args[0]


def _is_range(node: Node) -> bool:
    value = _value(node)
    parts = value.args if value.kind in ("both", "either") else (value,)
    return value.kind in _RANGES | {"tuple", "bracket", "set"} or _is_all(value) or all(map(_is_bound, parts))


def _is_bound(node: object) -> bool:
    return isinstance(node, Node) and (is_inequality(node) or node.kind in _RANGES)


def _is_all(value: Node) -> bool:
    """The real numbers, the integers and the like."""
    return value.kind == "sym" and str(value.args[0]).startswith("mathbb:")


def _is_set(node: Node) -> bool:
    value = _value(node)
    return value.kind in _GATHERED | _RANGES | VALUES | _QUANTITIES


_IS_OF: dict[str, Callable[[Node], bool]] = {
    "integer": _is_integer,
    "number": _is_number,
    "expression": _is_expression,
    "equation": _is_equation,
    "set": _is_set,
    "list": lambda node: _is_set(node) or _value(node).kind in ("tuple", "bracket"),
    "tuple": lambda node: _value(node).kind in ("tuple", "bracket", "list", "matrix"),
    "interval": _is_range,
    "matrix": lambda node: _value(node).kind == "matrix" or has_tables(_value(node)),
}
