r"""A factor: an atom with its powers, subscripts, factorials, percent and degree signs.

`x_1^2`, `5!`, `45^\circ`, `50\%`, `f'`.
"""

from __future__ import annotations

import re

from stillroom.traces.answers._brackets import Brackets
from stillroom.traces.answers.lexer import Token, Unreadable
from stillroom.traces.answers.tree import Node, literal, number, percent, show, subscripted


class Factors(Brackets):
    """Reads factors."""

    def unary(self) -> Node:
        sign = self.sign()
        node = self.factor()
        return self.negated(node) if sign == "-" else node

    def factor(self) -> Node:
        """An atom with what is raised, lowered or put after it."""
        self.deeper()
        node = self.atom()
        while True:
            if self.is_op("^"):
                self.take()
                node = self.raised(node)
            elif self.is_op("_"):
                self.take()
                node = subscripted(node, self.script())
            elif self.is_op("!") and not (self.peek(1).value == "=" and not self.peek(1).spaced):
                self.take()
                if self.is_op("!"):
                    raise Unreadable("a double factorial")
                node = Node("fn", ("factorial", node))
            elif self.accept("%"):
                node = percent(node)
            elif self.accept("deg"):
                node = Node("unit", (node, "deg"))
            elif self.is_op("circ") and self.peek(1).kind in ("end",):
                self.take()
                node = Node("unit", (node, "deg"))
            elif self.is_op("'"):
                self.take()
                node = subscripted(node, Node("sym", ("'",)))
            else:
                break
        self.depth -= 1
        return node

    def raised(self, node: Node) -> Node:
        if self.accept("circ", "deg"):
            if self.peek().kind == "symbol" and self.peek().value in "CF" and self.peek(1).value != "_":
                return Node("unit", (node, "°" + self.take().value))
            return Node("unit", (node, "deg"))
        if self.is_op("{") and self.peek(1).value in ("circ", "deg", "prime") and self.peek(2).value == "}":
            self.at += 3
            if self.peek().kind == "symbol" and self.peek().value in "CF":
                return Node("unit", (node, "°" + self.take().value))
            return Node("unit", (node, "deg"))
        if self.is_op("'"):
            return node
        exponent = self.script()
        if node.kind == "unit":
            return Node("unit", (node.args[0], f"{node.args[1]}^{show(exponent)}"))
        chosen = re.fullmatch(r"C_([0-9]+)", node.args[0]) if node.kind == "sym" and exponent.kind == "num" else None
        if chosen:  # C_{10}^3
            return Node("fn", ("binomial", number(int(chosen[1])), exponent))
        return self.power(node, exponent)

    def script(self) -> Node:
        """What stands raised or lowered: a group, a signed number, or a single sign."""
        if self.is_op("{"):
            return self.braces()
        if self.is_op("-", "+"):
            sign = self.take().value
            node = self.script()
            return self.negated(node) if sign == "-" else node
        token = self.peek()
        if token.kind == "number":
            self.take()
            return literal(token.value)
        return self.atom()

    def braces(self) -> Node:
        self.expect("{")
        if self.accept("}"):
            raise Unreadable("an empty group")
        node = self.sequence()
        if self.accept("over"):
            node = self.quotient(node, self.sequence())
        self.expect("}")
        return node

    def argument(self) -> Node:
        """What a command takes: a group, a single digit, or a single sign."""
        if self.is_op("{"):
            return self.braces()
        token = self.peek()
        if token.kind == "number" and len(token.value) > 1 and "." not in token.value:
            self.tokens[self.at] = Token("number", token.value[1:])
            return literal(token.value[0])
        return self.atom()

    def atom(self) -> Node:
        token = self.take()
        if token.kind == "number":
            return self.digits(token)
        if token.kind == "symbol":
            return self.symbol(token.value)
        if token.kind == "function":
            return self.function(token.value)
        if token.kind == "text":
            return self.text(token)
        if token.kind == "command":
            return Node("sym", ("\\" + token.value,))
        if token.kind == "op":
            return self.bracketed(token)
        raise Unreadable("it ends too early")
