"""The tokens of an answer, and a place among them: what every part of the grammar builds on.

cursor.accept("+")      # takes the token if it is there
cursor.expect("}")      # or raises Unreadable, saying what is there instead
"""

from __future__ import annotations

from stillroom.traces.answers.lexer import Token, Unreadable
from stillroom.traces.answers.tree import MINUS_ONE, Node, divide, mul, negative, power

MAX_DEPTH = 60
"""Nested structures: the grammar is recursive."""
RELATIONS = frozenset("= < <= > >= != ~ in equiv notin subset to implies perp parallel propto".split())  # noqa: SIM905
"""Signs between the sides of a relation."""
STOPS = frozenset(r") ] } \} , ; and or & \\ end rfloor rceil . pmod mod || :".split()) | RELATIONS  # noqa: SIM905
"""What ends a product."""
_END = Token("end", "")


class Cursor:
    """One pass over the tokens of one answer.

    `folded`: quotients and small powers of integers become one number as they are read (6/2 is 3); else they stay as
    they are written, for those who ask whether an answer is worked out.
    """

    def __init__(self, found: list[Token], *, folded: bool = True) -> None:
        self.tokens = found
        self.folded = folded
        self.at = 0
        self.depth = 0
        self.bars = 0  # absolute values that are open
        self.builder = False  # within { | }

    def peek(self, ahead: int = 0) -> Token:
        place = self.at + ahead
        return self.tokens[place] if place < len(self.tokens) else _END

    def take(self) -> Token:
        token = self.peek()
        self.at += 1
        return token

    def is_op(self, *values: str) -> bool:
        token = self.peek()
        return token.kind == "op" and token.value in values

    def accept(self, *values: str) -> bool:
        if self.is_op(*values):
            self.at += 1
            return True
        return False

    def expect(self, value: str) -> None:
        if not self.accept(value):
            found = self.peek()
            raise Unreadable(
                f"{found.value!r} where {value!r} was expected"
                if found.kind != "end"
                else f"it ends before {value!r}"
            )

    def deeper(self) -> None:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise OverflowError(f"nested deeper than {MAX_DEPTH}")

    def quotient(self, top: Node, bottom: Node) -> Node:
        return divide(top, bottom) if self.folded else self.product(top, Node("pow", (bottom, MINUS_ONE)))

    def product(self, one: Node, other: Node) -> Node:
        if self.folded:
            return mul(one, other)
        flat = [part for node in (one, other) for part in (node.args if node.kind == "mul" else (node,))]
        return Node("mul", tuple(flat))  # with 1 as a factor, if it is there

    def negated(self, node: Node) -> Node:
        return negative(node) if self.folded or node.kind == "num" else self.product(MINUS_ONE, node)

    def power(self, base: Node, exponent: Node) -> Node:
        return power(base, exponent) if self.folded else Node("pow", (base, exponent))

    # -- what the parts of the grammar know of each other; each is defined further down the chain of classes ---------

    def sequence(self) -> Node:
        """Values in a row."""
        raise NotImplementedError

    def relation(self) -> Node:
        """A chain of relations, or a value."""
        raise NotImplementedError

    def item(self) -> Node:
        """A relation or a value, with what is said about it in words."""
        raise NotImplementedError

    def sum(self) -> Node:
        """A sum."""
        raise NotImplementedError

    def term(self) -> Node:
        """A product."""
        raise NotImplementedError

    def sign(self) -> str:
        """The signs before a term, as one."""
        raise NotImplementedError

    def unary(self) -> Node:
        """A factor with its sign."""
        raise NotImplementedError

    def factor_signed(self) -> Node:
        """A factor with its sign, where a product has begun."""
        raise NotImplementedError

    def factor(self) -> Node:
        """An atom with what is raised, lowered or put after it."""
        raise NotImplementedError

    def atom(self) -> Node:
        """A number, name, function or bracket."""
        raise NotImplementedError

    def script(self) -> Node:
        """What stands raised or lowered."""
        raise NotImplementedError

    def braces(self) -> Node:
        """A group in braces."""
        raise NotImplementedError

    def argument(self) -> Node:
        """What a command takes."""
        raise NotImplementedError
