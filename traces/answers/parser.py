r"""Reads the tokens of an answer into a tree: the whole of it, or Unreadable.

A recursive descent over a small grammar, loosest first: lists, relations, unions and ratios here; sums and products
(`_terms`), powers (`_factors`), brackets and commands (`_brackets`), numbers and names (`_atoms`). It never skips a
token, so no fragment is ever taken for the answer. It builds what is written and works nothing out, except that a
fraction of integers is a number.

>>> parse(r"\frac{1}{2}").args[0]
Fraction(1, 2)
"""

from __future__ import annotations

from stillroom.traces.answers._cursor import RELATIONS
from stillroom.traces.answers._terms import Terms
from stillroom.traces.answers.lexer import Token, Unreadable, plain, tokens
from stillroom.traces.answers.tree import Node, is_inequality
from stillroom.traces.answers.vocabulary import CONDITIONS, FILLERS


def parse(text: str, *, folded: bool = True) -> Node:
    """The tree of a plain text. `folded` False: as it is written, 6/2 a quotient and 2^3 a power. Raises Unreadable
    where it is not wholly understood, OverflowError where too large."""
    parser = Parser(tokens(text), folded=folded)
    node = parser.answer()
    if parser.peek().kind != "end":
        raise Unreadable(f"{parser.peek().value!r} where nothing more was expected")
    return node


def read(text: str) -> Node:
    """The tree of a text as it was found: `$` and display delimiters gone, Unicode made plain."""
    return parse(plain(text))


class Parser(Terms):
    """Reads answers."""

    def answer(self) -> Node:
        """All of an answer: groups separated by semicolons or "or", of values separated by commas or "and"."""
        while self.accept(".", ",", ";", "=", "~"):
            pass
        node = self.sequence()
        while self.accept(".", ";", ","):
            pass
        return node

    def sequence(self) -> Node:
        """Values in a row. One value is itself."""
        self.deeper()
        groups: list[Node] = [self.group()]
        while self.is_op(";", "or"):
            self.take()
            self.accept(",")
            if self.ends_here():
                break
            groups.append(self.group())
        self.depth -= 1
        if len(groups) == 1:
            return groups[0]
        if any(is_inequality(group) for group in groups) or all(group.kind == "sym" for group in groups):
            return Node("either", tuple(groups))
        if all(group.kind != "list" for group in groups):
            return Node("list", tuple(groups))
        if any(group.kind != "list" for group in groups):  # "1, 2 or 3"
            return Node(
                "list", tuple(part for group in groups for part in (group.args if group.kind == "list" else (group,)))
            )
        return Node("list", tuple(Node("tuple", group.args) for group in groups))

    def group(self) -> Node:
        """Values joined by commas or "and"."""
        items = [self.item()]
        joined = False
        while self.is_op(",", "and"):
            joined |= self.take().value == "and"
            while self.accept(",", "and"):
                pass
            if self.ends_here() or self.is_op(";", "or"):
                if self.is_op("or"):
                    self.take()
                    items.append(self.item())
                    continue
                break
            condition = self.condition()
            if condition is not None:
                rest = items[0] if len(items) == 1 else Node("list", tuple(items))
                return Node("clause", (rest, *condition))
            items.append(self.item())
        if len(items) == 1:
            return items[0]
        conditions = any(map(is_inequality, items)) or all(item.kind == "sym" for item in items)
        return Node("both" if joined and conditions else "list", tuple(items))

    def ends_here(self) -> bool:
        """Whether nothing more can come here."""
        return self.peek().kind == "end" or self.is_op(")", "]", "}", "\\}", ".", "|", "end", "&", "\\\\")

    def item(self) -> Node:
        """A relation or a value, with what is said about it in words."""
        token = self.peek()
        if token.kind == "text" and token.value.lower() in FILLERS and self.peek(1).kind not in ("end",):
            self.take()
            return self.item()
        if token.kind == "op" and token.value in ("forall", "exists"):
            return self.quantified()
        node = self.relation()
        condition = self.condition()
        return node if condition is None else Node("clause", (node, *condition))

    def condition(self) -> tuple[str, frozenset[str]] | None:
        """What follows in words ("for all integers n", "where C is a constant"), as (its words, its letters)."""
        token = self.peek()
        opens = token.kind == "text" and token.value.lower().strip(".,:") in CONDITIONS
        bracketed = self.is_op("(") and self.peek(1).kind == "text" and self.peek(1).value.lower() in CONDITIONS
        quantified = self.is_op("forall")
        inside = 1 if self.is_op("(") else 0
        named = self.peek(inside).kind == "symbol" and self.peek(inside + 1).value == "in"
        domain = self.peek(inside + 2).value
        member = named and (domain.startswith("mathbb:") or domain in ("Z", "N", "R", "Q"))
        bracketed = bracketed or (member and inside == 1)
        if not (opens or bracketed or quantified or member):
            return None
        rest: list[Token] = [self.take()]
        while not self.condition_ends(member=member, bracketed=bracketed, taken=len(rest)):
            rest.append(self.take())
        if bracketed and rest[-1].value == ")":
            rest = rest[1:-1]
        names = frozenset(part.value for part in rest if part.kind == "symbol" and len(part.value) == 1)
        return " ".join(part.value for part in rest), names

    def condition_ends(self, *, member: bool, bracketed: bool, taken: int) -> bool:
        """Whether a condition in words is over: `k \\in Z` after three tokens, words before another value."""
        token, follows = self.peek(), self.peek(1)
        if member and taken >= (5 if bracketed else 3):
            return True
        if token.kind == "end" or (self.depth > 1 and self.is_op("\\}")):
            return True
        if self.is_op(";", "or", ",", "and"):
            return follows.kind == "number" or follows.value in ("(", "[", "-", "frac", "sqrt")
        return False

    def quantified(self) -> Node:
        """A statement under a quantifier: the quantifier's relation, then the statement."""
        word = self.take().value
        over = self.relation()
        self.accept(",", ":")
        return Node("quantified", (word, over, self.item()))

    def relation(self) -> Node:
        """A chain of relations with its modulus, or a value."""
        sides = [self.union()]
        ops: list[str] = []
        while self.peek().kind == "op" and self.peek().value in RELATIONS:
            op = self.take().value
            if op in ("<", ">") and self.accept("="):
                op += "="
            ops.append(op)
            sides.append(self.union())
        node = sides[0] if not ops else Node("rel", (tuple(ops), *sides))
        modulus = self.modulus()
        return node if modulus is None else Node("mod", (node, modulus))

    def modulus(self) -> Node | None:
        """`(mod 7)` or `\\pmod{7}` after a value, or None."""
        if self.is_op("(") and self.peek(1) == Token("op", "mod", self.peek(1).spaced):
            self.take()
            self.take()
            node = self.sum()
            self.expect(")")
            return node
        if self.accept("pmod", "mod"):
            return self.unary()
        return None

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
        label = (
            items[0].kind in ("text", "sym")
            and self.is_op(":")
            and not self.builder
            and items[0] != Node("sym", ("i",))
        )
        if label and self.peek(1).kind != "end":  # "Paolo: 18", "x: 3"
            self.take()
            if self.peek().kind == "symbol":
                items.append(self.sum())
                return Node("ratio", tuple(items))
            return Node("rel", (("=",), items[0], self.sum()))
        while self.is_op(":") and not self.builder:
            self.take()
            items.append(self.sum())
        return items[0] if len(items) == 1 else Node("ratio", tuple(items))
