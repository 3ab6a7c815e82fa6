r"""Sums, products, powers, transposes and inverses of matrices and vectors, worked out entry by entry.

`2\begin{pmatrix}1&2\\3&4\end{pmatrix}^T`, `(1,2) + 3(0,1)`, `\det M`. What an entry becomes is known in size before
it is built, and counted. Whatever is not worked out here (a product of two vectors, a matrix and a number in one
sum, a power that is not a whole number) is None: not known, and never a difference.

>>> from stillroom.traces.answers.parser import read
>>> as_one_table(read("(1, 2) + (3, 4)")).rows == [(read("4"), read("6"))]
True
"""

from __future__ import annotations

from typing import NamedTuple

from stillroom.traces.answers.limits import spend
from stillroom.traces.answers.rational import rational
from stillroom.traces.answers.tree import VALUES, Node, add, divide, mul, negative, number, symbols, walk

MAX_SIDE = 6
"""Rows and columns of a matrix that is multiplied."""
_TRANSPOSED = frozenset({"T", "\\top", "\\intercal"})


class Table(NamedTuple):
    """A matrix, or a vector written as a tuple (one row). `kind`: "matrix" or "tuple"."""

    kind: str
    rows: list[tuple[Node, ...]]

    @property
    def size(self) -> tuple[int, int]:
        """Rows and columns."""
        return len(self.rows), len(self.rows[0])


def is_transposed(power: Node) -> bool:
    """Whether a power is none, but a transpose: M^T."""
    exponent = power.args[1]
    return exponent.kind == "sym" and exponent.args[0] in _TRANSPOSED


def determinant(rows: list[tuple[Node, ...]]) -> Node:
    """By the first row, of a square of four at most."""
    side = len(rows)
    if side != len(rows[0]) or side > 4:
        return Node("fn", ("det", Node("matrix", tuple(rows))))
    if side == 1:
        return rows[0][0]
    spend({2: 2, 3: 4, 4: 12}[side] * _nodes(rows))  # how often each entry is written
    terms = []
    for k, entry in enumerate(rows[0]):
        minor = determinant([row[:k] + row[k + 1 :] for row in rows[1:]])
        terms.append(mul(entry, minor) if k % 2 == 0 else negative(mul(entry, minor)))
    return add(*terms)


def has_tables(node: Node) -> bool:
    """Whether a formula is made of matrices or tuples."""
    return node.kind in ("add", "mul", "pow", "fn") and any(part.kind in ("matrix", "tuple") for part in walk(node))


def as_one_table(node: Node) -> Table | None:
    """The matrix or vector that a formula is; None where it is none, or is not worked out."""
    if node.kind == "matrix":
        return Table("matrix", list(node.args))
    if node.kind == "tuple":
        return Table("tuple", [node.args])
    if not has_tables(node):
        return None
    if node.kind == "add":
        total, *others = [as_one_table(part) for part in node.args]
        for table in others:
            if total is None or table is None or (total.kind, total.size) != (table.kind, table.size):
                return None
            spend(2 * (_nodes(total.rows) + _nodes(table.rows)))
            pairs = (zip(row, mate, strict=True) for row, mate in zip(total.rows, table.rows, strict=True))
            total = Table(total.kind, [tuple(_plain(add(a, b)) for a, b in pair) for pair in pairs])
        return total
    if node.kind == "mul":
        return _product(node.args)
    return _power(*node.args) if node.kind == "pow" else None


def with_scalars(node: Node) -> Node:
    """The formula, with the determinants and traces in it worked out."""
    if not has_tables(node):
        return node
    args = tuple(with_scalars(arg) if isinstance(arg, Node) else arg for arg in node.args)
    if node.kind == "fn" and len(args) == 2 and args[0] in ("det", "tr", "abs"):
        table = as_one_table(args[1])
        if table is not None and table.kind == "matrix" and table.size[0] == table.size[1] <= 4:
            trace = args[0] == "tr"
            return _plain(add(*(row[k] for k, row in enumerate(table.rows)))) if trace else determinant(table.rows)
    return Node(node.kind, args)


def _plain(entry: Node) -> Node:
    """An entry of numbers alone as a number."""
    value = rational(entry)
    return entry if value is None or entry.kind == "num" else number(value)


def _nodes(rows: list[tuple[Node, ...]]) -> int:
    return sum(1 for row in rows for entry in row for _ in walk(entry))


def _product(factors: tuple[Node, ...]) -> Table | None:
    """Of numbers, which commute, and matrices in their order; or of numbers and one vector."""
    total: Table | None = None
    scalars: list[Node] = []
    for factor in factors:
        table = as_one_table(factor)
        if table is None:
            scalar = with_scalars(factor)
            if not all(part.kind in VALUES for part in walk(scalar)):
                return None  # a vector in it, or words: rref(M)
            scalars.append(scalar)
        else:
            total = table if total is None else _multiplied(total, table)
            if total is None:
                return None
    if total is None or not scalars:
        return total
    if total.kind == "tuple" and any(map(symbols, scalars)):
        return None  # t(1, 2) may be a function of two arguments
    factor = mul(*scalars)
    spend(2 * (_nodes(total.rows) + total.size[0] * total.size[1] * sum(1 for _ in walk(factor))))
    return Table(total.kind, [tuple(_plain(mul(factor, entry)) for entry in row) for row in total.rows])


def _multiplied(one: Table, other: Table) -> Table | None:
    if one.kind != "matrix" or other.kind != "matrix" or one.size[1] != other.size[0]:
        return None
    if max(*one.size, *other.size) > MAX_SIDE:
        return None
    spend(2 * (_nodes(one.rows) * other.size[1] + _nodes(other.rows) * one.size[0]))  # how often each entry is used
    columns = list(zip(*other.rows, strict=True))
    rows = [
        tuple(_plain(add(*(mul(a, b) for a, b in zip(row, column, strict=True)))) for column in columns)
        for row in one.rows
    ]
    return Table("matrix", rows)


def _power(base: Node, exponent: Node) -> Table | None:
    table = as_one_table(base)
    if table is None or (table.kind != "matrix" and exponent.kind != "sym"):
        return None
    if is_transposed(Node("pow", (base, exponent))):
        return Table("matrix", list(zip(*table.rows, strict=True)))
    exact = rational(exponent)
    if table.kind != "matrix" or exact is None or exact.denominator != 1 or table.size[0] != table.size[1]:
        return None
    times, square = abs(int(exact)), table if exact >= 0 else _inverse(table)
    if square is None:
        return None
    # By squaring: what is spent bounds the entries.
    side = range(table.size[0])
    total: Table | None = Table("matrix", [tuple(number(int(row == column)) for column in side) for row in side])
    while times and total is not None and square is not None:
        if times % 2:
            total = _multiplied(total, square)
        times //= 2
        square = _multiplied(square, square) if times else square
    return total


def _inverse(table: Table) -> Table | None:
    """By the adjugate, of a square of three at most; None where the determinant is zero, or may be."""
    side = table.size[0]
    if side > 3:
        return None
    whole = _plain(determinant(table.rows))
    if rational(whole) in (None, 0):
        return None
    spend(8 * _nodes(table.rows))
    rows: list[tuple[Node, ...]] = []
    for row in range(side):
        cofactors = []
        for column in range(side):
            rest = [line[:row] + line[row + 1 :] for k, line in enumerate(table.rows) if k != column]
            minor = determinant(rest) if rest else number(1)
            cofactors.append(minor if (row + column) % 2 == 0 else negative(minor))
        rows.append(tuple(_plain(divide(cofactor, whole)) for cofactor in cofactors))
    return Table("matrix", rows)
