r"""Reads the tokens of an answer into a tree: the whole of it, or Unreadable.

A recursive descent over a small grammar, loosest first: lists, relations, unions, ratios, sums, products, powers. It
never skips a token, so no fragment is ever taken for the answer. It builds what is written and works nothing out,
except that a fraction of integers is a number.

>>> parse(r"\frac{1}{2}").args[0]
Fraction(1, 2)
"""

from __future__ import annotations

import re
from fractions import Fraction

from stillroom.traces.answers.lexer import CURRENCY, Token, Unreadable, plain, tokens
from stillroom.traces.answers.tree import (
    EMPTY,
    HALF,
    Node,
    add,
    divide,
    mul,
    negative,
    number,
)
from stillroom.traces.answers.words import CONDITIONS, FILLERS, NUMBERS, PERCENT, SCALES, unit_name

MAX_DEPTH = 60
"""Nested structures: the parser is recursive."""
MAX_POWER_BITS = 60_000
"""Bits of a number that is written out in full."""
RELATIONS = frozenset(["=", "<", "<=", ">", ">=", "!=", "~", "in", "equiv", "notin", "subset", "to", "implies", "perp", "parallel", "propto"])
_END = Token("end", "")
_STOPS = frozenset([")", "]", "}", "\\}", ",", ";", "and", "or", "&", "\\\\", "end", "rfloor", "rceil", ".", "pmod", "mod", "||", ":"]) | RELATIONS
_OPERATOR_STOPS = _STOPS | frozenset(["+", "-", "pm", "mp", "cup", "cap", "minus"])
_MATRICES = re.compile(r"[pbvBV]?matrix\*?|smallmatrix|array")
DEGREE = Node("fn", ("degree",))


def parse(text: str) -> Node:
    """The tree of a plain text. Raises Unreadable where it is not wholly understood, OverflowError where too large."""
    parser = Parser(tokens(text))
    node = parser.answer()
    if parser.peek().kind != "end":
        raise Unreadable(f"{parser.peek().value!r} where nothing more was expected")
    return node


class Parser:
    """One pass over the tokens of one answer."""

    def __init__(self, found: list[Token]) -> None:
        self.tokens = found
        self.at = 0
        self.depth = 0
        self.bars = 0  # absolute values that are open
        self.builder = False  # within { | }

    # -- tokens ---------------------------------------------------------------------------------------------

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
            raise Unreadable(f"{found.value!r} where {value!r} was expected" if found.kind != "end" else f"it ends before {value!r}")

    def deeper(self) -> None:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise OverflowError(f"nested deeper than {MAX_DEPTH}")

    # -- lists and relations -----------------------------------------------------------------------------------

    def answer(self) -> Node:
        """All of an answer: groups separated by semicolons or "or", of values separated by commas or "and"."""
        while self.accept(".", ",", ";"):
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
        if all(group.kind != "list" for group in groups):
            return Node("list", tuple(groups))
        if any(group.kind != "list" for group in groups):  # "1, 2 or 3"
            return Node("list", tuple(part for group in groups for part in (group.args if group.kind == "list" else (group,))))
        return Node("list", tuple(Node("tuple", group.args) for group in groups))

    def group(self) -> Node:
        items = [self.item()]
        while self.is_op(",", "and"):
            self.take()
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
        return items[0] if len(items) == 1 else Node("list", tuple(items))

    def ends_here(self) -> bool:
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
        member = token.kind == "symbol" and self.peek(1).value == "in" and self.peek(2).value.startswith("mathbb:")
        if not (opens or bracketed or quantified or member):
            return None
        rest: list[Token] = []
        while self.peek().kind != "end" and not (self.depth > 1 and self.is_op("\\}")):
            rest.append(self.take())
        names = frozenset(part.value for part in rest if part.kind == "symbol" and len(part.value) == 1)
        return " ".join(part.value for part in rest), names

    def quantified(self) -> Node:
        """A statement under a quantifier: the quantifier's relation, then the statement."""
        word = self.take().value
        over = self.relation()
        self.accept(",", ":")
        return Node("quantified", (word, over, self.item()))

    def relation(self) -> Node:
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
        node = self.ratio()
        while self.is_op("cup", "cap", "minus"):
            op = {"cup": "union", "cap": "intersection", "minus": "minus"}[self.take().value]
            other = self.ratio()
            node = Node(op, (*(node.args if node.kind == op == "union" else (node,)), other))
        return node

    def ratio(self) -> Node:
        items = [self.sum()]
        label = items[0].kind in ("text", "sym") and self.is_op(":") and items[0] != Node("sym", ("i",))
        if label and self.peek(1).kind != "end":  # "Paolo: 18", "x: 3"
            self.take()
            if self.peek().kind == "symbol" or self.builder:
                items.append(self.sum())
                return Node("ratio", tuple(items))
            return Node("rel", (("=",), items[0], self.sum()))
        while self.is_op(":") and not self.builder:
            self.take()
            items.append(self.sum())
        return items[0] if len(items) == 1 else Node("ratio", tuple(items))

    # -- arithmetic ------------------------------------------------------------------------------------------

    def sum(self) -> Node:
        self.deeper()
        terms = [self.term()]
        while self.is_op("+", "-", "pm", "mp"):
            op = self.take().value
            if self.is_op("dots"):
                terms.append(self.term())
                continue
            term = self.term()
            if terms[0].kind in ("set", "interval", "builder", "union") and op == "-":
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
                node = divide(node, self.denominator())
            elif self.is_op("choose"):
                self.take()
                node = Node("fn", ("binomial", node, self.factor()))
            elif self.starts_factor():
                node = self.beside(node)
            else:
                break
        return negative(node) if sign == "-" else node

    def sign(self) -> str:
        sign = "+"
        while self.is_op("+", "-", "pm", "mp"):
            op = self.take().value
            sign = op if op in ("pm", "mp") else {"+-": "-", "--": "+"}.get(sign + op, sign)
        return sign

    def factor_signed(self) -> Node:
        sign = self.sign()
        node = self.factor()
        return negative(node) if sign == "-" else node

    def denominator(self) -> Node:
        """What follows a slash: one factor, with the letters right beside it left out (1/2x is x/2), except between
        letters (a/bc)."""
        return self.factor_signed()

    @staticmethod
    def times(node: Node, other: Node) -> Node:
        """A product; a decimal times a power of ten is one number in scientific notation."""
        if node.kind == "num" and other.kind == "pow" and other.args[0] == number(10) and other.args[1].kind == "num":
            exponent = other.args[1].args[0]
            if exponent.denominator == 1 and abs(exponent) <= 5_000 and node.args[1] is not None:
                scale = Fraction(10) ** int(exponent)
                return Node("num", (node.args[0] * scale, node.args[1] * scale))
        return mul(node, other)

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
            return mul(node, other)
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
        """`3\\frac12`: an integer and a proper fraction. An improper one there is neither that nor a product."""
        other = self.factor()
        if other.kind != "num" or node.kind != "num":
            return mul(node, other)
        if not 0 < other.args[0] < 1 or other.args[1] is not None:
            raise Unreadable("a whole number beside a fraction that is not a proper one")
        return number(node.args[0] + other.args[0])

    def with_words(self, node: Node) -> Node:
        """A value with the words behind it: a unit, a scale, a percentage."""
        words: list[str] = []
        while self.peek().kind == "text" and self.peek().value.lower() not in CONDITIONS:
            words.append(self.take().value)
        if not words:
            raise Unreadable(f"the word {self.peek().value!r} after a value")
        first = words[0].lower()
        if first in PERCENT:
            node, words = percent(node), words[1:]
        elif first in SCALES and node.kind in ("num", "unit"):
            node, words = mul(node, number(SCALES[first])), words[1:]
            node = number(node.args[0].args[0] * node.args[1].args[0]) if node.kind == "mul" and node.args[0].kind == "num" else node
        unit = " ".join(filter(None, (unit_name(word) for word in words)))
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
        if token.value == "|":
            return self.bars == 0 and not self.builder
        if token.value == "(":
            return self.peek(1).value != "mod" and not (self.peek(1).kind == "text" and self.peek(1).value.lower() in CONDITIONS)
        return token.value in ("{", "[", "\\{", "frac", "sqrt", "binom", "overline", "dots", "lfloor", "lceil", "begin", "accent", "sum", "prod", "int", "lim", "angle", "empty")

    # -- factors -----------------------------------------------------------------------------------------------

    def unary(self) -> Node:
        sign = self.sign()
        node = self.factor()
        return negative(node) if sign == "-" else node

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
            if self.peek().kind == "symbol" and self.peek().value in "CF" and not self.peek(1).value == "_":
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
        return power(node, exponent)

    def script(self) -> Node:
        """What stands raised or lowered: a group, a signed number, or a single sign."""
        if self.is_op("{"):
            return self.braces()
        if self.is_op("-", "+"):
            sign = self.take().value
            node = self.script()
            return negative(node) if sign == "-" else node
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
            node = divide(node, self.sequence())
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

    def digits(self, token: Token) -> Node:
        """A number; a repeating decimal, or one in another base, with what follows it."""
        if self.is_op("overline") and "." in token.value:
            return self.repeating(token.value)
        if self.is_op("_") and (self.peek(1).kind == "number" or self.peek(2).kind in ("number", "text")):
            self.take()
            base = self.script()
            if base.kind == "num" and base.args[0].denominator == 1:
                return Node("base", (token.value, int(base.args[0])))
            raise Unreadable(f"{token.value} with a subscript that is no number base")
        follows = self.peek()
        if follows.kind == "symbol" and follows.value in "eE" and not follows.spaced and self.peek(1).kind in ("number", "op"):
            return self.scientific(token)
        return literal(token.value)

    def scientific(self, token: Token) -> Node:
        """`1.5e-7`; `2e` stays a product."""
        signed = self.peek(1).value in ("+", "-") and self.peek(1).kind == "op"
        exponent = self.peek(2 if signed else 1)
        if exponent.kind != "number" or not exponent.value.isdigit() or len(exponent.value) > 3 or exponent.spaced:
            return literal(token.value)
        self.at += 3 if signed else 2
        scale = Fraction(10) ** (int(exponent.value) * (-1 if signed and self.tokens[self.at - 2].value == "-" else 1))
        value = literal(token.value)
        return Node("num", (value.args[0] * scale, (value.args[1] or Fraction(1)) * scale))

    def repeating(self, lead: str) -> Node:
        self.expect("overline")
        period = "".join(part.value for part in self.within_braces())
        if not period.isdigit():
            raise Unreadable("an overline that is not over digits")
        places = len(lead.partition(".")[2])
        return number(Fraction(lead) + Fraction(int(period), (10 ** len(period) - 1) * 10**places))

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
        kept = [word for word in words if word.lower() not in FILLERS] or words
        if len(kept) == 1 and kept[0].lower() in NUMBERS:
            return number(NUMBERS[kept[0].lower()])
        return Node("text", (" ".join(kept),))

    # -- functions ------------------------------------------------------------------------------------------------

    def function(self, name: str) -> Node:
        exponent = subscript = None
        while self.is_op("^", "_"):
            if self.take().value == "^":
                exponent = self.script()
            else:
                subscript = self.script()
        arguments = self.arguments(name)
        if name in ("sqrt", "cbrt"):
            node = power(arguments[0], HALF if name == "sqrt" else number(Fraction(1, 3)))
        elif name in ("log", "lg") and (subscript is not None or name == "lg"):
            node = divide(Node("fn", ("ln", *arguments)), Node("fn", ("ln", subscript or number(10))))
        else:
            node = Node("fn", (name, *arguments))
        if exponent is None:
            return node
        inverse = exponent.kind == "num" and exponent.args[0] == -1 and name in ("sin", "cos", "tan", "cot", "sec", "csc")
        return Node("fn", ("arc" + name, *arguments)) if inverse else power(node, exponent)

    def arguments(self, name: str) -> tuple[Node, ...]:
        """What a function is applied to: what is in the brackets, or the product up to the next sign or function."""
        if self.is_op("(") or (self.is_op("[") and name not in ("gcd",)):
            close = ")" if self.take().value == "(" else "]"
            inner = self.sequence()
            self.expect(close)
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

    # -- brackets and commands --------------------------------------------------------------------------------------

    def bracketed(self, token: Token) -> Node:
        value = token.value
        if value in ("(", "[", "]"):
            return self.round_or_square(value)
        handler = {
            "{": self.grouped, "\\{": self.set, "|": self.absolute, "frac": self.fraction, "sqrt": self.root, "binom": self.binomial,
            "overline": self.overline, "lfloor": self.floor, "lceil": self.ceiling, "begin": self.environment, "accent": self.accent,
            "sum": self.big, "prod": self.big, "int": self.big, "lim": self.limit, "angle": self.angle, "||": self.norm,
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
        self.at -= 1
        return self.braces()

    def round_or_square(self, opened: str) -> Node:
        if self.is_op(")", "]") :
            self.take()
            return Node("list", ())
        bars, self.bars = self.bars, 0
        node = self.sequence()
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
        return divide(top, self.argument())

    def root(self) -> Node:
        degree = None
        if self.accept("["):
            degree = self.sum()
            self.expect("]")
        whole = self.peek().kind == "number"  # \\sqrt13 is meant as the root of 13
        inner = literal(self.take().value) if whole else self.argument()
        return power(inner, HALF if degree is None else divide(number(1), degree))

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
        return Node("fn", ("det", node)) if name == "vmatrix" else node

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
        return lines[0] if len(lines) == 1 else Node("list" if name != "cases" else "cases", tuple(lines))


def literal(digits: str) -> Node:
    """A number as written; a decimal knows the value of its last digit."""
    whole, point, places = digits.partition(".")
    if not point:
        return number(int(whole))
    return Node("num", (Fraction(int(whole or "0" + places if not places else (whole + places)), 10 ** len(places)), Fraction(1, 10 ** len(places))))


def percent(node: Node) -> Node:
    """A percentage keeps that it is one."""
    return Node("percent", (node,))


def power(base: Node, exponent: Node) -> Node:
    """A power; an integer raised to a small one stays as written, to be worked out when it is needed."""
    if base.kind == "num" and exponent.kind == "num" and base.args[1] is None:
        low = exponent.args[0]
        if low.denominator == 1 and 0 <= low <= 4 and abs(base.args[0].numerator) < 10**6 and base.args[0] != 10:
            return number(base.args[0] ** int(low))
    return Node("pow", (base, exponent))


def subscripted(node: Node, below: Node) -> Node:
    """A name with something lowered: one name."""
    if node.kind == "sym":
        return Node("sym", (f"{node.args[0]}_{show(below)}",))
    if node.kind == "fn" and len(node.args) == 2:
        return Node("fn", (f"{node.args[0]}_{show(below)}", *node.args[1:]))
    return Node("sym", (f"{show(node)}_{show(below)}",))


def show(node: Node) -> str:
    """A node in one line, for names; nodes that are written alike show alike, sums and products in any order."""
    if node.kind == "num":
        return str(node.args[0])
    if node.kind == "sym":
        return str(node.args[0])
    parts = [show(arg) if isinstance(arg, Node) else str(arg) for arg in node.args]
    return f"{node.kind}({','.join(sorted(parts) if node.kind in ('add', 'mul') else parts)})"


def read(text: str) -> Node:
    """The tree of a text as it was found: `$` and display delimiters gone, Unicode made plain."""
    return parse(plain(text))
