r"""Reads the tokens of an answer into a tree: the whole of it, or Unreadable.

A recursive descent over a small grammar, loosest first: lists, relations, unions and ratios, sums and products here,
factors and all that is within them in `_factors`. It never skips a token, so no fragment is taken for the answer.
It builds what is written and works nothing out, except that a fraction of integers is a number.

>>> parse(r"\frac{1}{2}").args[0]
Fraction(1, 2)
"""

from __future__ import annotations

import re
from fractions import Fraction

from stillroom.traces.answers._factors import Factors
from stillroom.traces.answers.lexer import CURRENCY, Unreadable, plain, tokens
from stillroom.traces.answers.tree import Node, add, is_inequality, mul, negative, number
from stillroom.traces.answers.vocabulary import (
    CONDITIONS,
    FILLERS,
    NO_UNITS,
    NUMBERS,
    PARTS,
    PER_CENT,
    PERCENT,
    SCALES,
    SIZES,
    unit_name,
)
from stillroom.traces.answers.wording import CJK, COUNTERS

RELATIONS = frozenset("= < <= > >= != ~ in equiv notin subset to implies perp parallel propto".split())  # noqa: SIM905
"""Signs between the sides of a relation."""
_STOPS = RELATIONS | frozenset(
    r") ] } \} , ; and or & \\ end rfloor rceil . pmod mod || : + - pm mp cup cap minus".split()  # noqa: SIM905
)
"""What ends a product."""
_STARTS = CURRENCY | frozenset(
    r"{ [ \{ frac sqrt binom overline dots lfloor lceil begin accent sum prod int lim angle empty".split()  # noqa: SIM905
)
"""Signs and commands that begin a factor, besides those that take a closer look."""
_SETS = frozenset({"set", "interval", "builder", "union"})


def parse(text: str, *, folded: bool = True) -> Node:
    """The tree of a plain text. `folded` False: as it is written, 6/2 a quotient and 2^3 a power. Raises Unreadable
    where it is not wholly understood, OverflowError where too large."""
    parser = Parser(tokens(text), folded=folded)
    while parser.accept(".", ",", ";", "=", "~"):
        pass
    node = parser.sequence()
    while parser.accept(".", ";", ","):
        pass
    if parser.peek().kind != "end":
        raise Unreadable(f"{parser.peek().value!r} where nothing more was expected")
    return node


def read(text: str, *, folded: bool = True) -> Node:
    """The tree of a text as it was found: `$` and display delimiters gone, Unicode made plain."""
    return parse(plain(text), folded=folded)


class Parser(Factors):
    """Reads answers."""

    def sequence(self) -> Node:
        """Groups separated by semicolons or "or", of values separated by commas or "and". One value is itself."""
        self.deeper()
        groups: list[Node] = [self.group()]
        while self.is_op(";", "or"):
            alternative = self.take().value == "or"
            self.accept(",")
            if self.ends_here():
                if alternative:
                    raise Unreadable("it ends after 'or'")
                break
            groups.append(self.group())
        self.depth -= 1
        if len(groups) == 1:
            return groups[0]
        if any(map(is_inequality, groups)) or all(group.kind == "sym" for group in groups):
            return Node("either", tuple(groups))
        if all(group.kind == "list" for group in groups):
            return Node("list", tuple(Node("tuple", group.args) for group in groups))
        parts = [part for group in groups for part in (group.args if group.kind == "list" else (group,))]
        return Node("list", tuple(parts))  # "1, 2 or 3"

    def group(self) -> Node:
        """Values joined by commas or "and"."""
        items = [self.item()]
        joined = False
        while self.is_op(",", "and"):
            joined |= self.take().value == "and"
            while self.is_op(",", "and"):
                joined |= self.take().value == "and"
            if self.accept("or"):
                items.append(self.item())
                continue
            if self.ends_here() and joined:
                raise Unreadable("it ends after 'and'")
            if self.ends_here() or self.is_op(";"):
                break
            condition = self.condition()
            if condition is not None:
                rest = items[0] if len(items) == 1 else Node("list", tuple(items))
                return Node("clause", (rest, *condition))
            items.append(self.item())
        if len(items) == 1:
            return items[0]
        kinds = {SIZES[item.args[1]][0] if item.kind == "unit" and item.args[1] in SIZES else "" for item in items}
        if joined and len(kinds) == 1 and "" not in kinds and len({item.args[1] for item in items}) == len(items):
            return Node("compound", tuple(items))  # 2 dollars and 50 cents
        conditions = any(map(is_inequality, items)) or all(item.kind == "sym" for item in items)
        return Node("both" if joined and conditions else "list", tuple(items))

    def ends_here(self) -> bool:
        """Whether nothing more can come here."""
        return self.peek().kind == "end" or self.is_op(")", "]", "}", "\\}", ".", "|", "end", "&", "\\\\")

    def item(self) -> Node:
        """A relation or a value, with what is said about it in words."""
        token = self.peek()
        if token.kind == "text" and token.value.lower() in FILLERS and self.peek(1).kind != "end":
            self.take()
            return self.item()
        if self.accept("forall", "exists"):  # the quantifier's relation, then the statement
            over = self.relation()
            self.accept(",", ":")
            return Node("quantified", (token.value, over, self.item()))
        node = self.relation()
        condition = self.condition()
        return node if condition is None else Node("clause", (node, *condition))

    def condition(self) -> tuple[str, frozenset[str]] | None:
        """What follows in words ("for all integers n", "where C is a constant"), as (its words, its letters)."""
        inside = 1 if self.is_op("(") else 0
        first, domain = self.peek(inside), self.peek(inside + 2).value
        word = first.value.lower() if inside else first.value.lower().strip(".,:")
        opens = first.kind == "text" and word in CONDITIONS
        named = first.kind == "symbol" and self.peek(inside + 1).value == "in"
        member = named and (domain.startswith("mathbb:") or domain in ("Z", "N", "R", "Q"))
        if not (opens or member or self.is_op("forall")):
            return None
        rest = [self.take()]
        while not (member and len(rest) >= 3 + 2 * inside):  # `k \in Z` is over after three tokens
            if self.peek().kind == "end" or (self.depth > 1 and self.is_op("\\}")):
                break
            follows = self.peek(1)
            value_follows = follows.kind == "number" or follows.value in ("(", "[", "-", "frac", "sqrt")
            if value_follows and self.is_op(";", "or", ",", "and"):
                break
            rest.append(self.take())
        if inside and rest[-1].value == ")":
            rest = rest[1:-1]
        names = frozenset(part.value for part in rest if part.kind == "symbol" and len(part.value) == 1)
        return " ".join(part.value for part in rest), names

    def relation(self) -> Node:
        """A chain of relations with its modulus, `(mod 7)` or `\\pmod{7}`; or a value."""
        sides = [self.union()]
        ops: list[str] = []
        while self.peek().kind == "op" and self.peek().value in RELATIONS:
            op = self.take().value
            if op in ("<", ">") and self.accept("="):
                op += "="
            ops.append(op)
            sides.append(self.union())
        node = sides[0] if not ops else Node("rel", (tuple(ops), *sides))
        if self.is_op("(") and self.peek(1)[:2] == ("op", "mod"):
            self.at += 2
            node = Node("mod", (node, self.sum()))
            self.expect(")")
        elif self.accept("pmod", "mod"):
            node = Node("mod", (node, self.unary()))
        return node

    def union(self) -> Node:
        """Sets joined or cut by signs, or a value."""
        node = self.ratio()
        while self.is_op("cup", "cap", "minus"):
            op = {"cup": "union", "cap": "intersection", "minus": "minus"}[self.take().value]
            other = self.ratio()
            node = Node(op, (*(node.args if node.kind == op == "union" else (node,)), other))
        return node

    def ratio(self) -> Node:
        """Values with colons between, a label with a colon, or a value."""
        items = [self.sum()]
        labels = items[0].kind in ("text", "sym") and items[0] != Node("sym", ("i",)) and self.peek(1).kind != "end"
        if labels and not self.builder and self.accept(":"):  # "Paolo: 18", "x: 3"
            symbol = self.peek().kind == "symbol"
            return Node("ratio", (items[0], self.sum())) if symbol else Node("rel", (("=",), items[0], self.sum()))
        while not self.builder and self.accept(":"):
            items.append(self.sum())
        return items[0] if len(items) == 1 else Node("ratio", tuple(items))

    # -- sums and products -------------------------------------------------------------------------------------------

    def sum(self) -> Node:
        """Terms with signs between them."""
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
                node = self.times(node, self.unary())
            elif self.accept("/"):
                node = self.quotient(node, self.unary())  # one factor: a/bc is (a/b)c
            elif self.accept("choose"):
                node = Node("fn", ("binomial", node, self.factor()))
            elif self.starts_factor():
                node = self.adjacent(node)
            else:
                break
        return self.negated(node) if sign == "-" else node

    def times(self, node: Node, other: Node) -> Node:
        """A product; a decimal times a power of ten is one number in scientific notation."""
        if node.kind == "num" and other.kind == "pow" and other.args[0] == number(10) and other.args[1].kind == "num":
            exponent = other.args[1].args[0]
            if exponent.denominator == 1 and abs(exponent) <= 5_000 and node.args[1] is not None:
                scale = Fraction(10) ** int(exponent)
                return Node("num", (node.args[0] * scale, node.args[1] * scale))
        if all(part.kind == "sym" and part.args[0].startswith("accent:") for part in (node, other)):
            # Of two vectors, a sign may be one product or the other.
            return Node("fn", ("product", node, other))
        return self.product(node, other)

    def adjacent(self, node: Node) -> Node:
        """Two factors with nothing between them: a product, a mixed number, or a number and its unit."""
        token = self.peek()
        if token.kind == "text":
            return self.with_words(node)
        if self.accept(*CURRENCY):
            return Node("unit", (node, unit_name(token.value)))
        before = self.peek(-1)
        if self.at and before.kind == "number" and before.value.isdigit() and self.peek(-2).value != "^":
            if token.kind == "number":  # `2 2/3`: a whole number, a space, and a proper fraction
                slash, bottom = self.peek(1), self.peek(2)
                proper = slash.value == "/" and bottom.kind == "number" and token.value.isdigit()
                proper = proper and bottom.value.isdigit() and 0 < int(token.value) < int(bottom.value)
                if node.kind != "num" or not proper:
                    raise Unreadable(f"two numbers side by side: {before.value} {token.value}")
                self.at += 3
                return number(node.args[0] + Fraction(int(token.value), int(bottom.value)))
            if token.value == "frac":
                return self.mixed(node)
        if token.kind == "number" and before.kind == "number":
            raise Unreadable(f"two numbers side by side: {before.value} {token.value}")
        other = self.factor()
        if node.kind in ("unit", "compound") and self.peek().kind == "text":  # 2 hours 30 minutes
            other = self.with_words(other)
        if other.kind != "unit" or node.kind not in ("unit", "compound"):
            return self.product(node, other)
        return Node("compound", (*(node.args if node.kind == "compound" else (node,)), other))

    def mixed(self, node: Node) -> Node:
        """`3\\frac12`: an integer and a proper fraction, with a sign or unit behind it. An improper one there is
        neither that nor a product."""
        folded, self.folded = self.folded, True  # the two are one number, however an answer is read
        other = self.factor()
        self.folded = folded
        within = other.kind in ("percent", "unit")
        part = other.args[0] if within else other
        if not node.kind == part.kind == "num":
            return mul(node, other)
        if not 0 < part.args[0] < 1 or part.args[1] is not None:
            raise Unreadable("a whole number next to a fraction that is not a proper one")
        whole = number(node.args[0] + part.args[0])
        return Node(other.kind, (whole, *other.args[1:])) if within else whole

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
            or (re.search(CJK, word) and word not in COUNTERS)
            or not re.fullmatch(
                r"[\w./^ -]*\w[\w./^ \u0300-\u036f\u064b-\u065f\u0900-\u0dff\u0e31-\u0e4e-]*\.?", word
            )
            for word in words
        ):
            raise Unreadable(f"the words {' '.join(words)!r} after a value")
        first = words[0].lower()
        if first in PERCENT or " ".join(words[:2]).lower() in PER_CENT:
            node, words = Node("percent", (node,)), words[1 if first in PERCENT else 2 :]
        elif first in SCALES and node.kind in ("num", "unit"):
            node, words = _scaled(node, SCALES[first]), words[1:]
        # One name for the words of a unit: square metres are m^2, kilometres per hour km/h.
        names = [unit_name(word) for word in words]
        if len(names) > 1 and names[0] in ("square", "cubic"):
            names[:2] = [f"{names[1]}^{2 if names[0] == 'square' else 3}"]
        unit = " ".join(filter(None, names)).replace(" per ", "/")
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
        """Whether the next token begins a factor, with no sign before it."""
        token = self.peek()
        if token.kind in ("number", "symbol", "function", "command"):
            return True
        if token.kind == "text":
            return token.value.lower() not in CONDITIONS
        if token.kind != "op" or token.value in _STOPS:
            return False
        if token.value == "|":
            return self.bars == 0 and not self.builder
        if token.value == "(":
            follows = self.peek(1)
            words = follows.kind == "text" and follows.value.lower() in CONDITIONS
            return follows.value != "mod" and self.peek(2).value != "in" and not words
        return token.value in _STARTS and not (token.value == "[" and self.outward)


def _scaled(node: Node, scale: Fraction) -> Node:
    """2 million, $2 million"""
    if node.kind == "unit":
        return Node("unit", (_scaled(node.args[0], scale), node.args[1]))
    return number(node.args[0] * scale) if node.kind == "num" else mul(node, number(scale))
