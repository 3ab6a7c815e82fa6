r"""The form that answers are read into: one small node type.

`Node(kind, args)`. A value is one of

    num (Fraction, step)     an exact number; `step`: the value of a decimal's last digit, None where none was written
    sym (name,)              a variable or a named constant ("pi", "e", "i", "infinity")
    add, mul (nodes...)      pow (base, exponent)
    fn (name, nodes...)      a function: sqrt is pow(x, 1/2); "f" of "f(x)" is one too
    pm (node,)               plus or minus; mp (node,): the other way round
    matrix (rows...)         of tuples of nodes
    dots ()                  an ellipsis: known to be there, never guessed

and an answer may also be

    list, tuple, bracket, set (nodes...)      values joined by commas; in ( ), [ ] and { }
    interval (low, high, low_open, high_open) union, minus (nodes...)
    rel (ops, nodes...)                       a chain of relations: ops are "=", "<", "<=", ">", ">=", "!=", "~",
    "in", "equiv" builder (variable, condition)             {x | x < 3}
    ratio (nodes...)       text (words,)      unit (node, unit)      base (digits, base)      mod (node, modulus)
    clause (node, words, names)               a value with a condition in words: "n + 1 for all n"

Nodes are equal where they are written alike; whether they mean the same is for others to say.

>>> add(number(1), Node("sym", ("x",)))
Node(kind='add', args=(Node(kind='num', args=(Fraction(1, 1), None)), Node(kind='sym', args=('x',))))
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import Any, NamedTuple

from stillroom.traces.answers.limits import spend


class Node(NamedTuple):
    """A part of an answer."""

    kind: str
    args: tuple[Any, ...]


def number(value: Fraction | int, step: Fraction | None = None) -> Node:
    """An exact number."""
    return Node("num", (Fraction(value), step))


ONE, MINUS_ONE, HALF = number(1), number(-1), number(Fraction(1, 2))
PI, EULER, IMAGINARY, INFINITY = (Node("sym", (name,)) for name in ("pi", "e", "i", "infinity"))
CONSTANTS = frozenset({"pi", "e", "i", "infinity"})
EMPTY = Node("set", ())
VALUES = frozenset({"num", "sym", "add", "mul", "pow", "fn", "dots"})
"""Kinds of nodes that are a value."""


def add(*nodes: Node) -> Node:
    """A sum, flat; numbers are not added up."""
    flat = [part for node in nodes for part in (node.args if node.kind == "add" else (node,))]
    return flat[0] if len(flat) == 1 else Node("add", tuple(flat))


def mul(*nodes: Node) -> Node:
    """A product, flat."""
    if len(nodes) == 2 and nodes[0].kind == "mul" and nodes[1].kind != "mul":  # factor by factor, as a text is read
        return nodes[0] if nodes[1] == ONE else Node("mul", (*nodes[0].args, nodes[1]))
    flat = [part for node in nodes for part in (node.args if node.kind == "mul" else (node,)) if part != ONE]
    return flat[0] if len(flat) == 1 else Node("mul", tuple(flat)) if flat else ONE


def negative(node: Node) -> Node:
    """The node with the other sign; a number stays a number."""
    if node.kind == "num":
        return Node("num", (-node.args[0], node.args[1]))
    return mul(MINUS_ONE, node)


def divide(one: Node, other: Node) -> Node:
    """A quotient; of two integers, a number."""
    if one.kind == other.kind == "num" and other.args[0] and one.args[1] is None and other.args[1] is None:
        return number(one.args[0] / other.args[0])
    return mul(one, Node("pow", (other, MINUS_ONE)))


def literal(digits: str) -> Node:
    """A number as written; a decimal knows the value of its last digit."""
    whole, point, places = digits.partition(".")
    if not point:
        return number(int(whole))
    step = Fraction(1, 10 ** len(places))
    return Node("num", (int((whole + places) or "0") * step, step))


def subscripted(node: Node, below: Node) -> Node:
    """A name with something lowered: one name."""
    if node.kind == "sym":
        return Node("sym", (f"{node.args[0]}_{show(below)}",))
    if node.kind == "fn" and len(node.args) == 2:
        return Node("fn", (f"{node.args[0]}_{show(below)}", *node.args[1:]))
    if node.kind == "num" and node.args[1] is None and below.kind == "num" and below.args[0].denominator == 1:
        return Node("base", (str(node.args[0]), int(below.args[0])))  # (4210)_5
    return Node("sym", (f"{show(node)}_{show(below)}",))


def show(node: Node) -> str:
    """A node in one line, for names; nodes that are written alike show alike, sums and products in any order."""
    spend(4)
    if node.kind in ("num", "sym"):
        return str(node.args[0])
    parts = [show(arg) if isinstance(arg, Node) else str(arg) for arg in node.args]
    return f"{node.kind}({','.join(sorted(parts) if node.kind in ('add', 'mul') else parts)})"


def is_inequality(node: Node) -> bool:
    """Whether an answer says which values are allowed rather than naming the set of them."""
    spend(1)
    if node.kind in ("list", "both", "either", "clause", "quantified"):
        return any(is_inequality(part) for part in node.args if isinstance(part, Node))
    return node.kind == "rel" and bool(set(node.args[0]) & {"<", "<=", ">", ">=", "!="})


def walk(node: Node) -> Iterator[Node]:
    """The node and all below it."""
    stack = [node]
    while stack:
        node = stack.pop()
        spend(1)
        yield node
        for arg in node.args:
            if isinstance(arg, Node):
                stack.append(arg)
            elif isinstance(arg, tuple):
                stack.extend(part for part in arg if isinstance(part, Node))


def symbols(node: Node) -> frozenset[str]:
    """The variables of a node, without the named constants."""
    return frozenset(part.args[0] for part in walk(node) if part.kind == "sym") - CONSTANTS


def replaced(node: Node, old: Node, new: Node) -> Node:
    """The node with one part put for another everywhere."""

    def inner(arg: Any) -> Any:
        if isinstance(arg, Node):
            return replaced(arg, old, new)
        return tuple(map(inner, arg)) if isinstance(arg, tuple) else arg

    spend(2)
    return new if node == old else Node(node.kind, inner(node.args))
