r"""Factors, the smallest parts first: numbers, names, words, functions; brackets and commands; powers and signs.

`1.5e-7`, `0.\overline{12}`, `1011_2`, `f(x)`, `\sin^2 2x`; `(1, 2]`, `\{x \mid x < 3\}`, `\frac12`; `x_1^2`, `5!`,
`45^\circ`, `50\%`. What is in brackets is read by the parser, which is built on this (`parser.py`).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from fractions import Fraction

from stillroom.traces.answers._matrices import determinant
from stillroom.traces.answers.lexer import CURRENCY, Token, Unreadable
from stillroom.traces.answers.tree import (
    EMPTY,
    HALF,
    MINUS_ONE,
    PI,
    Node,
    divide,
    literal,
    mul,
    negative,
    number,
    show,
    subscripted,
)
from stillroom.traces.answers.vocabulary import FILLERS, NUMBERS, unit_name

MAX_DEPTH = 60
"""Nested structures: the grammar is recursive."""
_END = Token("end", "")
_MATRICES = re.compile(r"[pbvBV]?matrix\*?|smallmatrix|array")
_FENCED = {"||": ("norm", "||"), "lfloor": ("floor", "rfloor"), "lceil": ("ceil", "rceil")}
_CIRCULAR = ("sin", "cos", "tan", "cot", "sec", "csc")


def _in_radians(node: Node) -> Node:
    """An angle in degrees, as the argument of a function takes it."""
    if node.kind == "unit" and node.args[1] == "deg":
        return mul(node.args[0], divide(PI, number(180)))
    if node.kind in ("add", "mul"):
        return Node(node.kind, tuple(map(_in_radians, node.args)))
    return node


def _is_differential(node: Node) -> bool:
    """dx"""
    d = Node("sym", ("d",))
    return node.kind == "mul" and node.args[0] == d and [part.kind for part in node.args[1:]] == ["sym"]


def _listed(node: Node) -> tuple[Node, ...]:
    """The values of a list; a single value is one."""
    return node.args if node.kind == "list" else (node,)


class Factors:
    """One pass over the tokens of one answer, and what is read from it up to a factor.

    `folded`: quotients and small powers of integers become one number as they are read (6/2 is 3); else they stay as
    they are written, for those who ask whether an answer is worked out.
    """

    # Read by the parser, which is built on this.
    sequence: Callable[[], Node]
    relation: Callable[[], Node]
    item: Callable[[], Node]
    sum: Callable[[], Node]
    term: Callable[[], Node]

    def __init__(self, found: list[Token], *, folded: bool = True) -> None:
        self.tokens = found
        self.folded = folded
        self.at = self.depth = 0
        self.bars = 0  # absolute values that are open
        self.builder = False  # within { | }
        self.outward = False  # within ] [, where [ closes

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
            if self.peek().kind == "end":
                raise Unreadable(f"it ends before {value!r}")
            raise Unreadable(f"{self.peek().value!r} where {value!r} was expected")

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
        """A power; an integer raised to a small one is worked out, other powers when they are needed."""
        if self.folded and base.kind == exponent.kind == "num" and base.args[1] is None:
            low = exponent.args[0]
            if low.denominator == 1 and 1 <= low <= 4 and abs(base.args[0].numerator) < 10**6 and base.args[0] != 10:
                return number(base.args[0] ** int(low))
        return Node("pow", (base, exponent))

    # -- numbers, names and words ------------------------------------------------------------------------------------

    def digits(self, token: Token) -> Node:
        """A number; a repeating decimal, one in another base, or in scientific notation, with what follows it."""
        if self.is_op("overline", "dot") and "." in token.value:
            # `0.1\overline{6}`, or `0.1\dot{6}` with a dot on each digit of the period.
            period = ""
            while self.accept("overline", "dot"):
                period += self.within_braces()
            if not period.isdigit():
                raise Unreadable("a period that is not of digits")
            places = len(token.value.partition(".")[2])
            return number(Fraction(token.value + "0") + Fraction(int(period), (10 ** len(period) - 1) * 10**places))
        if self.is_op("_") and (self.peek(1).kind == "number" or self.peek(2).kind in ("number", "text")):
            self.take()
            base = self.script()
            if base.kind == "num" and base.args[0].denominator == 1:
                return literal(token.value) if base.args[0] == 10 else Node("base", (token.value, int(base.args[0])))
            raise Unreadable(f"{token.value} with a subscript that is not a number base")
        value = literal(token.value)
        letter, sign = self.peek(), self.peek(1)
        signed = sign.kind == "op" and sign.value in ("+", "-")
        exponent = self.peek(2 if signed else 1)
        scientific = letter.kind == "symbol" and letter.value in "eE" and not (letter.spaced or exponent.spaced)
        if scientific and exponent.kind == "number" and exponent.value.isdigit() and len(exponent.value) <= 3:
            # `1.5e-7`; `2e` stays a product.
            self.at += 3 if signed else 2
            scale = Fraction(10) ** (int(exponent.value) * (-1 if signed and sign.value == "-" else 1))
            return Node("num", (value.args[0] * scale, (value.args[1] or Fraction(1)) * scale))
        return value

    def within_braces(self) -> str:
        """The tokens of a group, or the next one, as they are written."""
        if not self.accept("{"):
            return self.take().value
        found = ""
        while not self.accept("}"):
            if self.peek().kind == "end":
                raise Unreadable("braces that do not match")
            found += self.take().value
        return found

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
        arguments = tuple(map(_in_radians, self.arguments(name)))
        if name in ("sqrt", "cbrt"):
            node = self.power(arguments[0], HALF if name == "sqrt" else number(Fraction(1, 3)))
        elif name in ("log", "lg") and (subscript is not None or name == "lg"):
            node = divide(Node("fn", ("ln", *arguments)), Node("fn", ("ln", subscript or number(10))))
        else:
            node = Node("fn", (name, *arguments))
        if exponent is None:
            return node
        inverse = exponent.kind == "num" and exponent.args[0] == -1 and name in _CIRCULAR
        return Node("fn", ("arc" + name, *arguments)) if inverse else self.power(node, exponent)

    def arguments(self, name: str) -> tuple[Node, ...]:
        """What a function is applied to: what is in the brackets, or the product up to the next sign or function."""
        if self.is_op("(") or (self.is_op("[") and name != "gcd"):
            return self.values(")" if self.take().value == "(" else "]")
        if name in ("min", "max", "gcd", "lcm") and self.accept("\\{"):
            return self.values("\\}")
        if self.is_op("{"):
            return _listed(self.braces())
        factors = [self.unary() if self.is_op("-", "+") else self.factor()]
        while self.peek().kind in ("number", "symbol") or self.is_op("frac", "sqrt"):
            factors.append(self.factor())
        return (mul(*factors),)

    def values(self, close: str) -> tuple[Node, ...]:
        """The values up to a closing bracket, which is taken."""
        inner = self.sequence()
        self.expect(close)
        return _listed(inner)

    # -- brackets and commands ---------------------------------------------------------------------------------------

    def bracketed(self, value: str) -> Node:
        """What an opening bracket or a command begins."""
        handler = {
            "{": self.grouped, "\\{": self.set, "|": self.absolute, "begin": self.environment,
        }.get(value)  # fmt: skip
        if handler is not None:
            return handler()
        if value in ("(", "[", "]"):
            return self.round_or_square(value)
        if value == "frac":
            top, bottom = self.argument(), self.argument()
            if _is_differential(bottom) and (_is_differential(top) or top == Node("sym", ("d",))):
                return Node("fn", ("derivative", top, bottom))
            return self.quotient(top, bottom)
        if value == "sqrt":
            degree = None
            if self.accept("["):
                degree = self.sum()
                self.expect("]")
            whole = self.peek().kind == "number"  # \sqrt13 is meant as the root of 13
            inner = literal(self.take().value) if whole else self.argument()
            return self.power(inner, HALF if degree is None else divide(number(1), degree))
        if value in _FENCED:
            name, close = _FENCED[value]
            node = self.sum()
            self.expect(close)
            return Node("fn", (name, node))
        if value in ("sum", "prod", "int"):
            # Its bounds and what follows, as one function that is not worked out here.
            scripts: dict[str, Node] = {}
            while self.is_op("_", "^"):
                mark = self.take().value
                scripts[mark] = self.script()
            nothing = Node("dots", ())
            return Node("fn", (value, self.term(), scripts.get("_", nothing), scripts.get("^", nothing)))
        if value == "lim":
            self.expect("_")
            target = self.script()
            return Node("fn", ("lim", self.term(), target))
        if value == "binom":
            return Node("fn", ("binomial", self.argument(), self.argument()))
        if value in ("overline", "accent"):
            return Node("sym", (f"{value}:{self.within_braces()}",))
        if value == "angle":
            letters = ""
            while self.peek().kind in ("symbol", "text"):
                letters += self.take().value
            return Node("sym", ("angle:" + letters,))
        if value == "dots":
            return Node("dots", ())
        if value == "empty":
            return EMPTY
        if value in CURRENCY:
            return Node("unit", (self.unary(), unit_name(value)))
        if value in ("-", "+"):
            self.at -= 1
            return self.unary()
        raise Unreadable(f"{value!r} where a value was expected")

    def grouped(self) -> Node:
        if self.peek().kind == "symbol" and self.peek(1).value in ("|", ":"):
            # {x | x < 3}, its backslashes forgotten
            variable = self.atom()
            self.take()
            condition = self.sequence()
            self.expect("}")
            return Node("builder", (variable, condition))
        self.at -= 1
        return self.braces()

    def round_or_square(self, opened: str) -> Node:
        if self.accept(")", "]"):
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
        return Node("set", _listed(node))

    def absolute(self) -> Node:
        self.bars += 1
        builder, self.builder = self.builder, False
        node = self.sum()
        self.builder = builder
        self.bars -= 1
        self.expect("|")
        return Node("fn", ("abs", node))

    def environment(self) -> Node:
        name = self.within_braces()
        if not _MATRICES.fullmatch(name):
            return self.cases(name)
        if name == "array":
            self.within_braces()
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
        if self.within_braces() != name:
            raise Unreadable(f"\\begin{{{name}}} without its end")
        if len({len(row) for row in rows}) != 1:
            raise Unreadable("a matrix whose rows are not of one length")
        return determinant(rows) if name == "vmatrix" else Node("matrix", tuple(rows))

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

    # -- factors -----------------------------------------------------------------------------------------------------

    def sign(self) -> str:
        sign = "+"
        while self.is_op("+", "-", "pm", "mp"):
            op = self.take().value
            sign = op if op in ("pm", "mp") else {"+-": "-", "--": "+"}.get(sign + op, sign)
        return sign

    def unary(self) -> Node:
        sign = self.sign()
        node = self.factor()
        return self.negated(node) if sign == "-" else node

    def factor(self) -> Node:
        """An atom with what is raised, lowered or put after it."""
        self.deeper()
        node = self.atom()
        while True:
            if self.accept("^"):
                node = self.raised(node)
            elif self.accept("_"):
                node = subscripted(node, self.script())
            elif self.is_op("!") and not (self.peek(1).value == "=" and not self.peek(1).spaced):
                self.take()
                if self.is_op("!"):
                    raise Unreadable("a double factorial")
                node = Node("fn", ("factorial", node))
            elif self.accept("%"):
                node = Node("percent", (node,))
            elif self.accept("deg") or (self.peek(1).kind == "end" and self.accept("circ")):
                node = Node("unit", (node, "deg"))
            elif self.accept("'"):
                node = subscripted(node, Node("sym", ("'",)))
            else:
                break
        self.depth -= 1
        return node

    def raised(self, node: Node) -> Node:
        grouped = self.is_op("{") and self.peek(1).value in ("circ", "deg", "prime") and self.peek(2).value == "}"
        if grouped:
            self.at += 3
        if grouped or self.accept("circ", "deg"):
            letter = self.peek()
            scale = letter.kind == "symbol" and letter.value in "CF" and (grouped or self.peek(1).value != "_")
            return Node("unit", (node, "°" + self.take().value if scale else "deg"))
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
        return literal(self.take().value) if self.peek().kind == "number" else self.atom()

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
            if token.value == "Gamma" and self.is_op("("):
                return Node("fn", ("gamma", *self.arguments("gamma")))
            if token.value in "fghFGH" and self.is_op("(") and not self.peek().spaced:  # a function that is not known
                self.take()
                return Node("fn", (token.value, *self.values(")")))
            return Node("sym", (token.value,))
        if token.kind == "function":
            return self.function(token.value)
        if token.kind == "text":
            return self.text(token)
        if token.kind == "command":
            return Node("sym", ("\\" + token.value,))
        if token.kind == "op":
            return self.bracketed(token.value)
        raise Unreadable("it ends too early")
