r"""From what is written to what is meant: labels, chains of equations, ±, conditions in words.

`x = 2`, `2 = x` and `x \in \{1, 2\}` are values with a label; `a = b = 3 \approx 3.0` ends in its last exact side; an
equation between two expressions stays an equation. It decides nothing about equality.

>>> from stillroom.traces.answers.parser import read
>>> meaning(read("x = 1 + 1 = 2")).value == read("2")
True
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from stillroom.traces.answers.limits import spend
from stillroom.traces.answers.tree import EMPTY, EULER, PI, Node, add, mul, negative, symbols, walk

_RESTRICTING = frozenset(
    """
    < > <= >= != = not except notin if when even odd prime composite negative nonzero rational irrational
    first second third last other another others rest more less fewer
    """.split()  # noqa: SIM905
)
_BIG = frozenset({"add", "pm", "mp"})


@dataclass(frozen=True, slots=True)
class Meaning:
    """An answer as it is meant. `label`: what the value is said to be of, or None. `parameters`: letters that the
    words around it declare. `condition`: words that restrict it, or "". `modulus`: of a congruence, or None.
    `domain`: of the parameters: "integer", "real", or "" where nothing is said."""

    value: Node
    label: Node | None = None
    parameters: frozenset[str] = field(default_factory=frozenset)
    condition: str = ""
    modulus: Node | None = None
    domain: str = ""


def meaning(node: Node) -> Meaning:
    """The meaning of one value or relation; of a list, that of the list as a whole."""
    if node.kind == "clause":
        inner, words = meaning(node.args[0]), node.args[1].lower()
        restricts = _RESTRICTING & set(words.split())  # more than the kind of number
        said = set(words.replace(",", " ").split())
        whole = said & {"mathbb:z", "mathbb:n", "integer", "integers", "natural", "whole"}
        domain = "real" if said & {"mathbb:r", "real", "reals"} else "integer" if whole else ""
        declared, condition = inner.parameters | node.args[2], node.args[1] if restricts else ""
        return replace(inner, parameters=declared, condition=condition, domain=domain)
    if node.kind == "mod":
        return replace(meaning(node.args[0]), modulus=node.args[1])
    if node.kind == "rel":
        return _relation(node)
    if node.kind == "mul" and len(node.args) == 2 and node.args[1].kind == "tuple":
        name = node.args[0]
        if name.kind == "sym" and name.args[0][:1].isupper() and name.args[0] not in ("C", "P"):
            return Meaning(node.args[1], name)  # the point A(1, 2); C(n, k) and P(n, k) may be numbers
    if node.kind == "set" and len(node.args) == 1 and node.args[0].kind == "rel":
        return meaning(Node("builder", (node.args[0], node.args[0])))
    return Meaning(node)


def _relation(node: Node) -> Meaning:
    ops, *sides = node.args
    if "~" in ops:
        cut = ops.index("~")
        if cut == 0 and len(sides) >= 2 and _is_name(sides[0]):
            return Meaning(sides[1], sides[0])
        ops, sides = ops[:cut], sides[: cut + 1]
        if not ops:
            return Meaning(sides[0])
    if ops == ("in",) and (sides[0].kind in ("sym", "tuple") or is_label(sides[0])):
        return Meaning(sides[1], sides[0])
    if ops == ("equiv",):
        return Meaning(sides[1], sides[0]) if is_label(sides[0]) else Meaning(Node("rel", (ops, *sides)))
    if set(ops) == {"="}:
        names = [side for side in sides if _is_name(side)]
        values = [side for side in sides if not _is_name(side)]
        if names and not values:  # f(x) = x
            return Meaning(sides[-1], sides[0])
        if names:
            known = [side for side in values if not symbols(side)]
            return Meaning((known or values)[-1], names[0])
    return Meaning(Node("rel", (ops, *sides)))


def _is_name(node: Node) -> bool:
    """Whether a side of an equation only names the other: no number, and no constant with a value."""
    return is_label(node) and node not in (PI, EULER)


def claimed(node: Node) -> list[Node]:
    """The sides of a chain (`x = 9 * 2 = 18`, `\\sqrt{2} \\approx 1.41`) that say what its value is: those without
    variables, or else those of the same variables, if the chain begins with a name. They are one claim: an answer
    holds only if they agree. `x^2 + y^2 = 1` claims nothing."""
    if node.kind != "rel" or not set(node.args[0]) <= {"=", "~"}:
        return []
    values = [side for side in node.args[1:] if not _is_name(side)]
    known = [side for side in values if not symbols(side)]
    if known or not _is_name(node.args[1]):
        return known
    return [side for side in values if symbols(side) == symbols(values[-1])]


def is_label(node: Node) -> bool:
    """Whether a side of an equation only names what the other side is: a variable, f(x), |AB|, AB/CD, a tuple of
    names, words."""
    if node.kind in ("sym", "text"):
        return not str(node.args[0]).startswith("\\")  # a command that is not known may say anything
    if node.kind == "fn":
        return not any(
            part.kind in _BIG for arg in node.args[1:] if isinstance(arg, Node) for part in walk(arg)
        ) and (node.args[0] in ("abs", "norm") or len(node.args[0].split("_")[0]) == 1)
    if node.kind in ("tuple", "list", "ratio"):
        return all(is_label(part) for part in node.args)
    if node.kind == "unit":
        return is_label(node.args[0])
    return _is_geometric(node)


def _is_geometric(node: Node) -> bool:
    """Products and quotients of capital letters (AB, NO/BO), and a letter before a bracket: P(x), W(n)."""
    if node.kind == "pow":
        return node.args[1].kind == "num" and node.args[1].args[0] == -1 and _is_geometric(node.args[0])
    if node.kind != "mul":
        return node.kind == "sym" and str(node.args[0])[:1].isupper()
    first, *rest = node.args
    if first.kind == "sym" and len(rest) == 1 and rest[0].kind in ("sym", "tuple", "num") and len(node.args) == 2:
        return str(first.args[0])[:1].isupper() or rest[0].kind == "tuple"
    return all(_is_geometric(part) for part in node.args)


def expanded(node: Node) -> list[Node]:
    """The values that a value with ± stands for; the value itself where there is none."""
    if not any(part.kind in ("pm", "mp") for part in walk(node)):
        return [node]
    return [_signed(node, 1), _signed(node, -1)]


def _signed(node: Node, sign: int) -> Node:
    spend(2)
    if node.kind in ("pm", "mp"):
        inner = _signed(node.args[0], sign)
        return inner if (node.kind == "pm") == (sign > 0) else negative(inner)
    if node.kind == "add":
        return add(*(_signed(part, sign) for part in node.args))
    return Node(node.kind, tuple(_signed(arg, sign) if isinstance(arg, Node) else arg for arg in node.args))


def items(node: Node) -> list[Node]:
    """The values of a list or set, one after the other, ± resolved; a single value is a list of one."""
    found: list[Node] = []
    for part in node.args if node.kind in ("list", "set", "both", "either") else (node,):
        inner = meaning(part)
        if inner.condition or inner.modulus is not None or len(claimed(part)) > 1:
            found.append(part)
        elif inner.value.kind in ("list", "set") and part.kind == "rel":
            found += [value for each in inner.value.args for value in expanded(each)]
        elif inner.label is None:
            found += expanded(inner.value)
        else:
            found += [Node("rel", (("=",), inner.label, value)) for value in expanded(inner.value)]
    return found


_WORDS: dict[str, Node] = {
    **dict.fromkeys(("no solution", "no solutions", "no real solution", "no real solutions", "empty set"), EMPTY),
    **dict.fromkeys(("all real numbers", "all reals", "any real number", "real numbers"), Node("sym", ("mathbb:R",))),
    "dne": Node("text", ("does not exist",)),
}


def in_symbols(node: Node) -> Node:
    """Words that stand for a sign: no solution, all real numbers."""
    if node.kind == "text":
        return _WORDS.get(node.args[0].lower().strip(" ."), node)
    return _WORDS["dne"] if node == mul(*(Node("sym", (letter,)) for letter in "DNE")) else node
