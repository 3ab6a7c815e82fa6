r"""Brackets of every kind, and commands that take arguments: fractions, roots, sums, matrices.

`(1, 2]`, `\{x \mid x < 3\}`, `|x|`, `\frac12`, `\sqrt[3]{x}`, `\begin{pmatrix}1 & 2\end{pmatrix}`.
"""

from __future__ import annotations

import re

from stillroom.traces.answers._atoms import Atoms
from stillroom.traces.answers._matrices import determinant
from stillroom.traces.answers.lexer import CURRENCY, Token, Unreadable
from stillroom.traces.answers.tree import EMPTY, HALF, Node, divide, literal, number
from stillroom.traces.answers.vocabulary import unit_name

_MATRICES = re.compile(r"[pbvBV]?matrix\*?|smallmatrix|array")


def _is_differential(node: Node) -> bool:
    """dx"""
    if node.kind != "mul" or len(node.args) != 2:
        return False
    return bool(node.args[0] == Node("sym", ("d",)) and node.args[1].kind == "sym")


class Brackets(Atoms):
    """Reads what is in brackets, or begins with a command."""

    opened = ""
    outward = False  # within ] [, where [ closes

    def bracketed(self, token: Token) -> Node:
        value = token.value
        if value in ("(", "[", "]"):
            return self.round_or_square(value)
        handler = {
            "{": self.grouped, "\\{": self.set, "|": self.absolute, "||": self.norm, "lfloor": self.floor,
            "lceil": self.ceiling, "frac": self.fraction, "sqrt": self.root, "binom": self.binomial,
            "overline": self.overline, "accent": self.accent, "angle": self.angle, "begin": self.environment,
            "sum": self.big, "prod": self.big, "int": self.big, "lim": self.limit,
        }.get(value)  # fmt: skip
        if handler is not None:
            self.opened = value
            return handler()
        if value == "dots":
            return Node("dots", ())
        if value == "empty":
            return EMPTY
        if value in CURRENCY:
            return Node("unit", (self.factor_signed(), unit_name(value)))
        if value in ("-", "+"):
            self.at -= 1
            return self.unary()
        raise Unreadable(f"{value!r} where a value was expected")

    def grouped(self) -> Node:
        if self.peek().kind == "symbol" and self.peek(1).value in (
            "|",
            ":",
        ):  # {x | x < 3}, its backslashes forgotten
            variable = self.atom()
            self.take()
            condition = self.sequence()
            self.expect("}")
            return Node("builder", (variable, condition))
        self.at -= 1
        return self.braces()

    def round_or_square(self, opened: str) -> Node:
        if self.is_op(")", "]"):
            self.take()
            return Node("list", ())
        bars, self.bars = self.bars, 0
        outward, self.outward = self.outward, opened == "]"
        node = self.sequence()
        self.outward = outward
        self.accept(",", ".")
        closed = self.take()
        self.bars = bars
        if closed.kind != "op" or closed.value not in (")", "]", "["):
            raise Unreadable(f"a bracket {opened!r} that is not closed")
        pair = node.args if node.kind == "list" and len(node.args) == 2 else None
        if (opened, closed.value) in (("(", "]"), ("[", ")"), ("]", "["), ("]", "]"), ("[", "[")):
            if pair is None:
                raise Unreadable(f"{opened} with {closed.value}, but not two ends of an interval")
            return Node("interval", (*pair, opened != "[", closed.value != "]"))
        if node.kind == "list":
            return Node("tuple" if opened == "(" else "bracket", node.args)
        return node

    def set(self) -> Node:
        if self.accept("\\}"):
            return EMPTY
        builder, self.builder = self.builder, True
        bars, self.bars = self.bars, 0
        node = self.sequence()
        self.builder, self.bars = builder, bars
        if self.accept("|", ":"):
            condition = self.sequence()
            self.expect("\\}")
            return Node("builder", (node, condition))
        self.expect("\\}")
        return Node("set", node.args if node.kind == "list" else (node,))

    def absolute(self) -> Node:
        self.bars += 1
        builder, self.builder = self.builder, False
        node = self.sum()
        self.builder = builder
        self.bars -= 1
        self.expect("|")
        return Node("fn", ("abs", node))

    def norm(self) -> Node:
        node = self.sum()
        self.expect("||")
        return Node("fn", ("norm", node))

    def fraction(self) -> Node:
        top = self.argument()
        bottom = self.argument()
        if _is_differential(bottom) and (_is_differential(top) or top == Node("sym", ("d",))):
            return Node("fn", ("derivative", top, bottom))
        return self.quotient(top, bottom)

    def root(self) -> Node:
        degree = None
        if self.accept("["):
            degree = self.sum()
            self.expect("]")
        whole = self.peek().kind == "number"  # \\sqrt13 is meant as the root of 13
        inner = literal(self.take().value) if whole else self.argument()
        return self.power(inner, HALF if degree is None else divide(number(1), degree))

    def binomial(self) -> Node:
        top = self.argument()
        return Node("fn", ("binomial", top, self.argument()))

    def overline(self) -> Node:
        return Node("sym", ("overline:" + "".join(part.value for part in self.within_braces()),))

    def accent(self) -> Node:
        return Node("sym", ("accent:" + "".join(part.value for part in self.within_braces()),))

    def angle(self) -> Node:
        letters: list[str] = []
        while self.peek().kind == "symbol" or self.peek().kind == "text":
            letters.append(self.take().value)
        return Node("sym", ("angle:" + "".join(letters),))

    def floor(self) -> Node:
        node = self.sum()
        self.expect("rfloor")
        return Node("fn", ("floor", node))

    def ceiling(self) -> Node:
        node = self.sum()
        self.expect("rceil")
        return Node("fn", ("ceil", node))

    def big(self) -> Node:
        """A sum, product or integral: its bounds and what follows, as one function that is not worked out here."""
        kind = self.opened
        scripts: dict[str, Node] = {}
        while self.is_op("_", "^"):
            mark = self.take().value
            scripts[mark] = self.script()
        nothing = Node("dots", ())
        body = self.term()
        return Node("fn", (kind, body, scripts.get("_", nothing), scripts.get("^", nothing)))

    def limit(self) -> Node:
        self.expect("_")
        target = self.script()
        return Node("fn", ("lim", self.term(), target))

    def environment(self) -> Node:
        name = "".join(part.value for part in self.within_braces())
        if not _MATRICES.fullmatch(name):
            return self.cases(name)
        if name == "array":
            self.within_braces()
        rows = self.rows(name)
        if len({len(row) for row in rows}) != 1:
            raise Unreadable("a matrix whose rows are not of one length")
        node = Node("matrix", tuple(rows))
        return determinant(rows) if name == "vmatrix" else node

    def rows(self, name: str) -> list[tuple[Node, ...]]:
        rows: list[tuple[Node, ...]] = []
        cells: list[Node] = []
        while not self.is_op("end"):
            if self.accept("hline", "\\\\"):
                continue
            cells.append(self.relation())
            if self.accept("&"):
                continue
            rows.append(tuple(cells))
            cells = []
            if not self.accept("\\\\"):
                break
        self.expect("end")
        if "".join(part.value for part in self.within_braces()) != name:
            raise Unreadable(f"\\begin{{{name}}} without its end")
        return rows

    def cases(self, name: str) -> Node:
        """A display of one or several lines: the lines are a list. Cases are read only as a whole."""
        if name not in ("cases", "align*", "aligned", "gathered", "equation*", "equation"):
            raise Unreadable(f"the environment {name!r}")
        lines: list[Node] = []
        while not self.is_op("end"):
            parts = [self.item()]
            while self.accept("&", ","):
                parts.append(self.item())
            lines.append(parts[0] if len(parts) == 1 else Node("tuple", tuple(parts)))
            if not self.accept("\\\\"):
                break
        self.expect("end")
        self.within_braces()
        if len(lines) == 1:
            return lines[0]
        equations = all(line.kind == "rel" for line in lines)
        return Node("list" if name != "cases" or equations else "cases", tuple(lines))
