r"""Numbers, names, words and functions: the smallest parts of an answer.

`1.5e-7`, `0.\overline{12}`, `1011_2`, `f(x)`, `\sin^2 2x`, `\log_2 8`.
"""

from __future__ import annotations

from fractions import Fraction

from stillroom.traces.answers._cursor import Cursor
from stillroom.traces.answers.lexer import Token, Unreadable
from stillroom.traces.answers.tree import HALF, PI, Node, divide, literal, mul, number
from stillroom.traces.answers.vocabulary import FILLERS, NUMBERS


def in_radians(node: Node) -> Node:
    """An angle in degrees, as the argument of a function takes it."""
    if node.kind == "unit" and node.args[1] == "deg":
        return mul(node.args[0], divide(PI, number(180)))
    if node.kind in ("add", "mul"):
        return Node(node.kind, tuple(map(in_radians, node.args)))
    return node


class Atoms(Cursor):
    """Reads atoms that are not brackets."""

    def digits(self, token: Token) -> Node:
        """A number; a repeating decimal, or one in another base, with what follows it."""
        if self.is_op("overline", "dot") and "." in token.value:
            return self.repeating(token.value)
        if self.is_op("_") and (self.peek(1).kind == "number" or self.peek(2).kind in ("number", "text")):
            self.take()
            base = self.script()
            if base.kind == "num" and base.args[0].denominator == 1:
                if base.args[0] == 10:
                    return literal(token.value)
                return Node("base", (token.value, int(base.args[0])))
            raise Unreadable(f"{token.value} with a subscript that is no number base")
        follows = self.peek()
        if (
            follows.kind == "symbol"
            and follows.value in "eE"
            and not follows.spaced
            and self.peek(1).kind in ("number", "op")
        ):
            return self.scientific(token)
        return literal(token.value)

    def scientific(self, token: Token) -> Node:
        """`1.5e-7`; `2e` stays a product."""
        signed = self.peek(1).value in ("+", "-") and self.peek(1).kind == "op"
        exponent = self.peek(2 if signed else 1)
        if exponent.kind != "number" or not exponent.value.isdigit() or len(exponent.value) > 3 or exponent.spaced:
            return literal(token.value)
        self.at += 3 if signed else 2
        scale = Fraction(10) ** (
            int(exponent.value) * (-1 if signed and self.tokens[self.at - 2].value == "-" else 1)
        )
        value = literal(token.value)
        return Node("num", (value.args[0] * scale, (value.args[1] or Fraction(1)) * scale))

    def repeating(self, lead: str) -> Node:
        """`0.1\\overline{6}`, or `0.1\\dot{6}` with a dot on each digit of the period."""
        period = ""
        while self.accept("overline", "dot"):
            period += "".join(part.value for part in self.within_braces())
        if not period.isdigit():
            raise Unreadable("a period that is not of digits")
        places = len(lead.partition(".")[2])
        return number(Fraction(lead + "0") + Fraction(int(period), (10 ** len(period) - 1) * 10**places))

    def within_braces(self) -> list[Token]:
        if not self.accept("{"):
            return [self.take()]
        found: list[Token] = []
        while not self.is_op("}"):
            if self.peek().kind == "end":
                raise Unreadable("braces that do not match")
            found.append(self.take())
        self.take()
        return found

    def symbol(self, name: str) -> Node:
        """A variable; with an argument in brackets, a function that is not known."""
        node = Node("sym", (name,))
        if name == "Gamma" and self.is_op("("):
            return Node("fn", ("gamma", *self.arguments("gamma")))
        if name in ("f", "g", "h", "F", "G", "H") and self.is_op("(") and not self.peek().spaced:
            self.take()
            inner = self.sequence()
            self.expect(")")
            return Node("fn", (name, *(inner.args if inner.kind == "list" else (inner,))))
        return node

    def text(self, token: Token) -> Node:
        """Words: a number word, or the whole of a text."""
        words = [token.value]
        while self.peek().kind == "text":
            words.append(self.take().value)
        tens = NUMBERS.get(words[-1].lower(), 0)
        if tens >= 20 and self.is_op("-") and 0 < NUMBERS.get(self.peek(1).value.lower(), 0) < 10:  # twenty-five
            self.take()
            return number(tens + NUMBERS[self.take().value.lower()])
        kept = [word for word in words if word.lower() not in FILLERS] or words
        if len(kept) == 1 and kept[0].lower() in NUMBERS:
            return number(NUMBERS[kept[0].lower()])
        return Node("text", (" ".join(kept),))

    def function(self, name: str) -> Node:
        exponent = subscript = None
        while self.is_op("^", "_"):
            if self.take().value == "^":
                exponent = self.script()
            else:
                subscript = self.script()
        arguments = tuple(map(in_radians, self.arguments(name)))
        if name in ("sqrt", "cbrt"):
            node = self.power(arguments[0], HALF if name == "sqrt" else number(Fraction(1, 3)))
        elif name in ("log", "lg") and (subscript is not None or name == "lg"):
            node = divide(Node("fn", ("ln", *arguments)), Node("fn", ("ln", subscript or number(10))))
        else:
            node = Node("fn", (name, *arguments))
        if exponent is None:
            return node
        inverse = (
            exponent.kind == "num" and exponent.args[0] == -1 and name in ("sin", "cos", "tan", "cot", "sec", "csc")
        )
        return Node("fn", ("arc" + name, *arguments)) if inverse else self.power(node, exponent)

    def arguments(self, name: str) -> tuple[Node, ...]:
        """What a function is applied to: what is in the brackets, or the product up to the next sign or function."""
        if self.is_op("(") or (self.is_op("[") and name not in ("gcd",)):
            close = ")" if self.take().value == "(" else "]"
            inner = self.sequence()
            self.expect(close)
            return inner.args if inner.kind == "list" else (inner,)
        if name in ("min", "max", "gcd", "lcm") and self.accept("\\{"):
            inner = self.sequence()
            self.expect("\\}")
            return inner.args if inner.kind == "list" else (inner,)
        if self.is_op("{"):
            inner = self.braces()
            if inner.kind == "list":
                return inner.args
            return (inner,)
        factors = [self.unary()] if self.is_op("-", "+") else [self.factor()]
        while self.peek().kind in ("number", "symbol") or self.is_op("frac", "sqrt"):
            factors.append(self.factor())
        return (mul(*factors),)
