r"""Sums and products, with or without signs between the factors; mixed numbers; values with their units.

`2x + 3`, `3\frac12`, `2 hours 30 minutes`, `1.5 \times 10^{-7}`.
"""

from __future__ import annotations

from fractions import Fraction

from stillroom.traces.answers._cursor import STOPS
from stillroom.traces.answers._factors import Factors
from stillroom.traces.answers.lexer import CURRENCY, Unreadable
from stillroom.traces.answers.tree import Node, add, mul, negative, number, percent
from stillroom.traces.answers.vocabulary import CONDITIONS, NO_UNITS, NUMBERS, PARTS, PERCENT, SCALES, unit_name

_OPERATOR_STOPS = STOPS | frozenset(["+", "-", "pm", "mp", "cup", "cap", "minus"])


_SETS = frozenset({"set", "interval", "builder", "union"})


class Terms(Factors):
    """Reads sums and products."""

    def sum(self) -> Node:
        self.deeper()
        terms = [self.term()]
        while self.is_op("+", "-", "pm", "mp"):
            op = self.take().value
            if self.is_op("dots"):
                terms.append(self.term())
                continue
            term = self.term()
            if op == "-" and (terms[0].kind in _SETS or term.kind == "set"):
                terms[0] = Node("minus", (terms[0], term))
            else:
                terms.append(negative(term) if op == "-" else term if op == "+" else Node(op, (term,)))
        self.depth -= 1
        return terms[0] if len(terms) == 1 else add(*terms)

    def term(self) -> Node:
        """A product: of factors side by side, with signs between them or not."""
        sign = self.sign()
        if sign in ("pm", "mp"):
            return Node(sign, (self.term(),))
        node = self.factor()
        while True:
            if self.accept("*"):
                node = self.times(node, self.factor_signed())
            elif self.is_op("/"):
                self.take()
                node = self.quotient(node, self.factor_signed())  # one factor: a/bc is (a/b)c
            elif self.is_op("choose"):
                self.take()
                node = Node("fn", ("binomial", node, self.factor()))
            elif self.starts_factor():
                node = self.beside(node)
            else:
                break
        return self.negated(node) if sign == "-" else node

    def sign(self) -> str:
        sign = "+"
        while self.is_op("+", "-", "pm", "mp"):
            op = self.take().value
            sign = op if op in ("pm", "mp") else {"+-": "-", "--": "+"}.get(sign + op, sign)
        return sign

    def factor_signed(self) -> Node:
        sign = self.sign()
        node = self.factor()
        return self.negated(node) if sign == "-" else node

    def times(self, node: Node, other: Node) -> Node:
        """A product; a decimal times a power of ten is one number in scientific notation."""
        if node.kind == "num" and other.kind == "pow" and other.args[0] == number(10) and other.args[1].kind == "num":
            exponent = other.args[1].args[0]
            if exponent.denominator == 1 and abs(exponent) <= 5_000 and node.args[1] is not None:
                scale = Fraction(10) ** int(exponent)
                return Node("num", (node.args[0] * scale, node.args[1] * scale))
        if _is_vector(node) and _is_vector(other):  # of two vectors, a sign may be one product or the other
            return Node("fn", ("product", node, other))
        return self.product(node, other)

    def beside(self, node: Node) -> Node:
        """Two factors with nothing between them: a product, a mixed number, or a number and its unit."""
        token = self.peek()
        if token.kind == "text":
            return self.with_words(node)
        if token.kind == "op" and token.value in CURRENCY:
            self.take()
            return Node("unit", (node, unit_name(token.value)))
        if self.previous_is_integer():
            if token.kind == "number":
                return self.mixed_plain(node)
            if token.value == "frac":
                return self.mixed(node)
        if token.kind == "number" and self.peek(-1).kind == "number":
            raise Unreadable(f"two numbers side by side: {self.peek(-1).value} {token.value}")
        other = self.factor()
        if node.kind in ("unit", "compound") and self.peek().kind == "text":  # 2 hours 30 minutes
            other = self.with_words(other)
        if other.kind != "unit" or node.kind not in ("unit", "compound"):
            return self.product(node, other)
        return Node("compound", (*(node.args if node.kind == "compound" else (node,)), other))

    def previous_is_integer(self) -> bool:
        before = self.peek(-1)
        return self.at > 0 and before.kind == "number" and before.value.isdigit() and self.peek(-2).value != "^"

    def mixed_plain(self, node: Node) -> Node:
        """`2 2/3`: a whole number, a space, and a proper fraction."""
        top, slash, bottom = self.peek(), self.peek(1), self.peek(2)
        whole = node if node.kind == "num" else None
        proper = slash.value == "/" and bottom.kind == "number" and top.value.isdigit() and bottom.value.isdigit()
        if whole is None or not proper or not 0 < int(top.value) < int(bottom.value):
            raise Unreadable(f"two numbers side by side: {self.peek(-1).value} {top.value}")
        self.at += 3
        return number(whole.args[0] + Fraction(int(top.value), int(bottom.value)))

    def mixed(self, node: Node) -> Node:
        """`3\\frac12`: an integer and a proper fraction, with a sign or unit behind it. An improper one there is
        neither that nor a product."""
        folded, self.folded = self.folded, True  # the two are one number, however an answer is read
        other = self.factor()
        self.folded = folded
        if other.kind in ("percent", "unit") and node.kind == "num" and other.args[0].kind == "num":
            return Node(other.kind, (self.whole_and_part(node, other.args[0]), *other.args[1:]))
        return self.whole_and_part(node, other) if other.kind == node.kind == "num" else mul(node, other)

    @staticmethod
    def whole_and_part(whole: Node, part: Node) -> Node:
        """The sum of a mixed number."""
        if not 0 < part.args[0] < 1 or part.args[1] is not None:
            raise Unreadable("a whole number beside a fraction that is not a proper one")
        return number(whole.args[0] + part.args[0])

    def with_words(self, node: Node) -> Node:
        """A value with the words behind it: a unit, a scale, a percentage."""
        words: list[str] = []
        while self.peek().kind == "text" and self.peek().value.lower() not in CONDITIONS:
            words.append(self.take().value)
        if not words:
            raise Unreadable(f"the word {self.peek().value!r} after a value")
        if any(
            word.lower().strip("-.") in NO_UNITS
            or word.lower() in NUMBERS
            or PARTS.fullmatch(word.lower())
            or not word.strip("-.").replace("-", "").replace(".", "").replace("/", "").isalnum()
            for word in words
        ):
            raise Unreadable(f"the words {' '.join(words)!r} after a value")
        first = words[0].lower()
        if first in PERCENT or words[:2] == ["per", "cent"]:
            node, words = percent(node), words[1 if first in PERCENT else 2 :]
        elif first in SCALES and node.kind in ("num", "unit"):
            node, words = scaled(node, SCALES[first]), words[1:]
        unit = unit_of(words)
        if words and self.is_op("^") and self.peek(1).kind == "number":
            self.take()
            unit += "^" + self.take().value
        elif words and self.is_op("^") and self.peek(2).kind == "number":
            unit += "^" + self.peek(2).value
            self.at += 4
        while words and self.is_op("/") and self.peek(1).kind in ("text", "symbol"):
            self.take()
            unit += "/" + unit_name(self.take().value)
        if node.kind == "unit" and words:
            unit = f"{node.args[1]} {unit}"
            node = node.args[0]
        return Node("unit", (node, unit)) if words else node

    def starts_factor(self) -> bool:
        token = self.peek()
        if token.kind in ("number", "symbol", "function", "command"):
            return True
        if token.kind == "text":
            return token.value.lower() not in CONDITIONS
        if token.kind != "op" or token.value in _OPERATOR_STOPS:
            return False
        if token.value in CURRENCY:
            return True
        if token.value == "[" and self.outward:
            return False
        if token.value == "|":
            return self.bars == 0 and not self.builder
        if token.value == "(":
            return (
                self.peek(1).value != "mod"
                and self.peek(2).value != "in"
                and not (self.peek(1).kind == "text" and self.peek(1).value.lower() in CONDITIONS)
            )
        return token.value in (
            "{",
            "[",
            "\\{",
            "frac",
            "sqrt",
            "binom",
            "overline",
            "dots",
            "lfloor",
            "lceil",
            "begin",
            "accent",
            "sum",
            "prod",
            "int",
            "lim",
            "angle",
            "empty",
        )


def _is_vector(node: Node) -> bool:
    return node.kind == "sym" and node.args[0].startswith("accent:")


def scaled(node: Node, scale: Fraction) -> Node:
    """2 million, $2 million"""
    if node.kind == "unit":
        return Node("unit", (scaled(node.args[0], scale), node.args[1]))
    return number(node.args[0] * scale) if node.kind == "num" else mul(node, number(scale))


def unit_of(words: list[str]) -> str:
    """One name for the words of a unit: square metres are m^2, kilometres per hour km/h."""
    names = [unit_name(word) for word in words]
    if len(names) > 1 and names[0] in ("square", "cubic"):
        names[:2] = [f"{names[1]}^{2 if names[0] == 'square' else 3}"]
    return " ".join(filter(None, names)).replace(" per ", "/")
