r"""Sets of real numbers: intervals, unions, inequalities in one variable, {x | x < 3}, all in one form.

A set is a row of pieces in order, with their ends as formulas. Inequalities are read where they are linear in one
thing (x, f(x), |z|); others are not a set here.

>>> from stillroom.traces.answers.parser import read
>>> real_set(read("-x > -1")) == real_set(read(r"(-\infty, 1)"))
True
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any, NamedTuple

from stillroom.traces.answers.fingerprint import Undefined
from stillroom.traces.answers.limits import spend
from stillroom.traces.answers.normalise import expanded, meaning
from stillroom.traces.answers.numeric import context, evaluate
from stillroom.traces.answers.rational import linear, rational
from stillroom.traces.answers.tree import INFINITY, Node, add, divide, mul, negative, number, symbols, walk

MINUS_INFINITY = negative(INFINITY)
INFINITE = (INFINITY, MINUS_INFINITY)
FLIPPED = {"<": ">", ">": "<", "<=": ">=", ">=": "<="}
REALS = Node("sym", ("mathbb:R",))
_SETS = frozenset({"interval", "tuple", "bracket", "union", "set", "minus", "intersection", "builder"})


class Piece(NamedTuple):
    """An interval, or a point where both ends are the same. `low_open`, `high_open`: the end does not belong to
    it."""

    low: Node
    high: Node
    low_open: bool
    high_open: bool

    @property
    def is_point(self) -> bool:
        """Whether it is one number."""
        return self.low == self.high and not self.low_open


EVERYTHING = Piece(MINUS_INFINITY, INFINITY, True, True)


class NoSet(Exception):
    """The answer is not a set of real numbers that can be read."""


def real_set(node: Node) -> tuple[Piece, ...] | None:
    """The set that an answer is, in order and with what touches joined; None where it is none."""
    try:
        return tuple(_pieces(node))
    except (NoSet, Undefined, OverflowError):
        return None


def _pieces(node: Node) -> list[Piece]:
    kind, args = node
    if kind == "interval":
        return [Piece(_number_like(args[0]), _number_like(args[1]), args[2], args[3])]
    if kind in ("tuple", "bracket") and len(args) == 2:
        opens = [kind == "tuple" or end in INFINITE for end in args]
        return [Piece(_number_like(args[0]), _number_like(args[1]), *opens)]
    if kind == "set":
        return _joined([_point(value) for part in args for value in expanded(part)])
    if kind == "union":
        return _joined([piece for part in args for piece in _pieces(part)])
    if kind == "minus":
        return _without(_pieces(args[0]), _pieces(args[1]))
    if kind == "intersection":
        return _without(_pieces(args[0]), _without([EVERYTHING], _pieces(args[1])))
    if kind == "rel":
        return _relation(node)
    if kind == "builder":
        # {x | condition}; {x < 3 | ...} and conditions with more than the variable are not read.
        variable, condition = args
        if variable.kind == "rel" and variable.args[0] == ("in",) and variable.args[2] == REALS:
            variable = variable.args[1]
        if variable.kind != "sym" or variable not in walk(condition):
            raise NoSet
        inner = meaning(condition)
        if inner.label is not None:
            return _joined([_point(value) for value in expanded(inner.value)])
        if condition.kind == "rel" and thing_of(condition) not in (variable, Node("fn", ("abs", variable))):
            raise NoSet
        return _pieces(condition)
    if node == REALS:
        return [EVERYTHING]
    if kind == "both":
        return _joint(args)
    if kind == "either":
        return _joined([piece for each in _conditions(args) for piece in each])
    if kind == "list" and any(part.kind in ("rel", "interval", "union", "builder") for part in args):
        # Any of them, or all where any of them would be no condition (x > 1, x < 2).
        union = _joined([piece for each in _conditions(args) for piece in each])
        return _joint(args) if union == [EVERYTHING] else union
    raise NoSet


def _conditions(parts: tuple[Node, ...]) -> list[list[Piece]]:
    """The sets of several conditions on one thing."""
    things = [symbols(part) or frozenset({""}) for part in parts if part.kind == "rel"]
    if things and not frozenset.intersection(*things):
        raise NoSet
    return [_pieces(part) for part in parts]


def _joint(parts: tuple[Node, ...]) -> list[Piece]:
    """What all the conditions allow."""
    kept, *others = _conditions(parts)
    for other in others:
        kept = _without(kept, _without([EVERYTHING], other))
    return kept


def _number_like(node: Node) -> Node:
    """The node, if it may be a place on the line. Raises NoSet."""
    if node.kind in ("tuple", "list", "rel", "set", "interval", "text", "unit"):
        raise NoSet
    return node


def _point(value: Node) -> Piece:
    return Piece(_number_like(value), value, False, False)


# -- inequalities ----------------------------------------------------------------------------------------------------


def _relation(node: Node) -> list[Piece]:
    ops, *sides = node.args
    said = meaning(node)
    if said.label is not None:
        is_set = said.value.kind in _SETS or said.value == REALS
        if is_set and ops == ("in",):
            return _pieces(said.value)
        if is_set or not set(ops) <= {"=", "in"}:
            raise NoSet
        return _joined([_point(value) for value in expanded(said.value)])
    if len(ops) == 1 and ops[0] in (*FLIPPED, "!="):
        op, (one, other) = ops[0], sides
        if not symbols(one) or (one.kind != "sym" and other.kind in ("sym", "fn")):
            one, other, op = other, one, FLIPPED.get(op, op)
        line = _linear(one) if not symbols(other) & symbols(one) else _linear(add(one, negative(other)))
        bound = _bound(other, line) if not symbols(other) & symbols(one) else _bound(number(0), line)
        if op == "!=":
            return _without([EVERYTHING], [Piece(bound, bound, False, False)])
        if line.factor < 0:
            op = FLIPPED[op]
        below = Piece(MINUS_INFINITY, bound, True, op == "<")
        return _of_absolute(line.thing, below if op in ("<", "<=") else Piece(bound, INFINITY, op == ">", True))
    if len(ops) == 2 and ops[0] in FLIPPED and ops[1] in FLIPPED and ops[0][0] == ops[1][0]:
        if ops[0] in (">", ">="):
            sides, ops = sides[::-1], tuple(FLIPPED[op] for op in reversed(ops))
        low, middle, high = sides
        line = _linear(middle)
        ends = (_bound(low, line), _bound(high, line))
        opens = ops[0] == "<" or low in INFINITE, ops[1] == "<" or high in INFINITE
        if line.factor < 0:
            ends, opens = ends[::-1], opens[::-1]
        return _of_absolute(line.thing, Piece(*ends, *opens))
    raise NoSet


class Linear(NamedTuple):
    """c·thing + d"""

    factor: Fraction
    thing: Node
    rest: Node


def _linear(node: Node) -> Linear:
    """Raises NoSet for a formula that is not linear in one thing."""
    factor, thing, constants = Fraction(0), None, []
    for coefficient, part in linear(node):
        if part is None or not (symbols(part) or _is_unknown_function(part)):
            constants.append(number(coefficient) if part is None else mul(number(coefficient), part))
        elif thing is None or part == thing:
            factor, thing = factor + coefficient, part
        else:
            raise NoSet
    if thing is None or factor == 0 or not _is_thing(thing):
        raise NoSet
    return Linear(factor, thing, add(*constants) if constants else number(0))


def _is_unknown_function(node: Node) -> bool:
    """f(2) may be what an inequality is about, sin 2 is a number."""
    return node.kind == "fn" and len(node.args[0].split("_")[0]) == 1


def _is_thing(node: Node) -> bool:
    """What an inequality may be about: a variable, f(x), an absolute value."""
    return node.kind == "sym" or _is_unknown_function(node) or (node.kind == "fn" and node.args[0] == "abs")


def solved(left: Node, right: Node, value: Node) -> Node | None:
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


def thing_of(node: Node) -> Node | None:
    """What an inequality is about, or None if that is not one thing."""
    try:
        sides = node.args[1:]
        if len(sides) == 3:
            return _linear(sides[1]).thing
        bounded = not any(side in INFINITE for side in sides)
        return _linear(add(sides[0], negative(sides[1])) if bounded else sides[0]).thing
    except NoSet:
        return None


def _bound(side: Node, line: Linear) -> Node:
    """What the thing is where the line meets a side."""
    if side in INFINITE:
        return side if line.factor > 0 else negative(side)
    if symbols(side) & symbols(line.thing):
        raise NoSet
    difference = side if line.rest == number(0) else add(side, negative(line.rest))
    return divide(difference, number(line.factor)) if line.factor != 1 else difference


def _of_absolute(thing: Node, piece: Piece) -> list[Piece]:
    """The set of x where |x|, or |ax + b|, lies in a piece."""
    if thing.kind != "fn" or thing.args[0] != "abs":
        return [piece]
    line = _linear(thing.args[1])
    if line.thing.kind != "sym":
        raise NoSet
    low, high = piece.low, piece.high
    if low == MINUS_INFINITY or (_number(low) or 0) < 0:
        whole = [] if (_number(high) or 1) < 0 else [Piece(negative(high), high, piece.high_open, piece.high_open)]
    else:
        whole = [Piece(negative(high), negative(low), piece.high_open, piece.low_open), piece]
    parts = []
    for part in whole if line.factor > 0 else whole[::-1]:  # the values of the thing for which the line lies in it
        ends, opens = (_bound(part.low, line), _bound(part.high, line)), (part.low_open, part.high_open)
        parts.append(Piece(*ends, *opens) if line.factor > 0 else Piece(*ends[::-1], *opens[::-1]))
    return parts


# -- order -----------------------------------------------------------------------------------------------------------


def _number(end: Node) -> Any:
    """The place of an end on the line, or None where it has variables."""
    spend(20)
    if end == INFINITY:
        return context().inf
    if end == MINUS_INFINITY:
        return -context().inf
    exact = rational(end)
    if exact is not None:
        return context().mpf(exact.numerator) / exact.denominator
    try:
        found = evaluate(end, {}).value
    except Undefined:
        return None
    return found if context().im(found) == 0 else None


def is_ordered(pieces: tuple[Piece, ...]) -> bool:
    """Whether a set is one piece, or all its ends have a place on the line: else its pieces stand as they were
    written, and may belong together."""
    return len(pieces) < 2 or all(_number(end) is not None for piece in pieces for end in (piece.low, piece.high))


def _joined(pieces: list[Piece]) -> list[Piece]:
    """In order, and joined where they touch; as written where an end is not known."""
    keyed = [(_number(piece.low), _number(piece.high), piece) for piece in pieces]
    if any(low is None or high is None for low, high, _ in keyed):
        return pieces
    keyed = [entry for entry in keyed if entry[0] < entry[1] or entry[2].is_point or _same_end(entry[0], entry[1])]
    keyed.sort(key=lambda entry: (entry[0], entry[2].low_open, entry[1]))
    out: list[tuple[Any, Any, Piece]] = []
    for low, high, piece in keyed:
        if out:
            start, end, first = out[-1]
            touches = not (first.high_open and piece.low_open) if _same_end(end, low) else low < end
            if touches:
                if _same_end(end, high):
                    out[-1] = start, end, first._replace(high_open=first.high_open and piece.high_open)
                elif high > end:
                    out[-1] = start, high, Piece(first.low, piece.high, first.low_open, piece.high_open)
                continue
        out.append((low, high, piece))
    return [piece for _, _, piece in out]


def _same_end(one: Any, other: Any) -> bool:
    spend(20)
    mp = context()
    if mp.isinf(one) or mp.isinf(other):
        return bool(one == other)
    return bool(abs(one - other) <= mp.mpf(10) ** -40 * (1 + abs(one)))


def _without(pieces: list[Piece], removed: list[Piece]) -> list[Piece]:
    """A difference. Raises NoSet where the order of the ends is not known."""
    for gone in removed:
        low, high = _number(gone.low), _number(gone.high)
        if low is None or high is None:
            raise NoSet
        pieces = [part for piece in pieces for part in _cut(piece, gone, low, high)]
    return pieces


def _cut(piece: Piece, gone: Piece, low: Any, high: Any) -> list[Piece]:
    """What is left of a piece: to the left of what is taken out, and to the right."""
    start, end = _number(piece.low), _number(piece.high)
    if start is None or end is None:
        raise NoSet
    kept: list[Piece] = []
    if _same_end(low, end):
        kept += _solid(piece._replace(high_open=piece.high_open or not gone.low_open), start, end)
    elif end < low:
        kept.append(piece)
    elif start <= low or _same_end(start, low):
        kept += _solid(Piece(piece.low, gone.low, piece.low_open, not gone.low_open), start, low)
    if _same_end(high, start):
        kept += _solid(piece._replace(low_open=piece.low_open or not gone.high_open), start, end)
    elif start > high:
        kept.append(piece)
    elif end >= high or _same_end(end, high):
        kept += _solid(Piece(gone.high, piece.high, not gone.high_open, piece.high_open), high, end)
    return kept


def _solid(piece: Piece, low: Any, high: Any) -> list[Piece]:
    """The piece, unless nothing is in it."""
    if not _same_end(low, high):
        return [piece]
    return [] if piece.low_open or piece.high_open else [piece._replace(high=piece.low)]
