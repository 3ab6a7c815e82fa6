r"""Is an answer worked out, or does it only restate the question?

`43 + 83` is 126, and no answer to "What is 43 + 83?".

Asked of an answer that is right, and only where the gold is a value that is worked out itself. It looks at the answer
as it is written: 6/2 is a quotient, 2^3 a power. The rule:

* A **literal** is worked out: an integer, a decimal, a fraction of two integers that is no integer (7/12, 3 1/2), a
  percentage, a number times a power of ten from 1000 on, with a sign or a unit.
* An **exact form** is worked out: one power, the fourth or higher, of a million or more (2^99), one factorial or
  binomial that is no small number (10!, \binom{10}{3}), a sum or product of these of a billion or more (2^99 - 1); a
  root, π, e, i or a function that has no rational value (√2, 3π/4, e^2, 1 + √5, \ln 2), with one integer in front of
  it and one below it.
* **Arithmetic that is left to do** is not: a sum, product, quotient, root or function that is a rational number
  (43 + 83, 252/2, √64, \sin(π/2)), a short power (5^2), a product with a power or factorial in it (3 · 2^5), terms
  that can be collected (π/2 + π/4, 2 + 3 + √2), a product of sums without variables, a sum or product of matrices or
  tuples, a function that the gold does not have (\sin 45° for √2/2), and whatever changes nothing (+ 0, · 1).
* An equation or inequality that is **not solved** is not (x + 3 = 5, x + 3 < 5), where the gold has no variables.
* A formula that **stands in the prompt** is not, with whatever changes nothing around it (-(-√50)), nor is a plain
  number of the prompt in another notation than the gold's (0.75 for 3/4). An integer may stand there.
* What is **written like the gold**, but for the order of terms and factors, always is.

>>> worked_out("126", "43 + 83"), worked_out("126", "126")
(False, True)
>>> restated(r"5\sqrt{2}", r"\sqrt{50}", r"Simplify $\sqrt{50}$.")
True
"""

from __future__ import annotations

import itertools
import re
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import Any, NamedTuple

from stillroom.traces.answers._matrices import is_transposed
from stillroom.traces.answers.budget import READING, Spent, allowance
from stillroom.traces.answers.fingerprint import Undefined
from stillroom.traces.answers.lexer import Unreadable, plain
from stillroom.traces.answers.normalise import claimed, is_label, meaning
from stillroom.traces.answers.numeric import context, evaluate
from stillroom.traces.answers.parser import parse
from stillroom.traces.answers.rational import rational
from stillroom.traces.answers.tree import (
    EULER,
    IMAGINARY,
    MINUS_ONE,
    ONE,
    PI,
    Node,
    is_inequality,
    number,
    show,
    symbols,
    walk,
)
from stillroom.traces.answers.values import Rules, compare_values, decimal_step

LONG_POWER = 10**6
"""A power from here on is an exact form: a shorter one is as quickly written out."""
LONG_FORM = 10**9
"""Arithmetic of powers, factorials and binomials is one from here on."""
MAX_TERMS = 12
"""Terms of a sum of which any two are tried for being collected."""
MAX_PROMPT = 20_000
"""Characters of a prompt that are looked at, from its beginning and from its end."""
MAX_FORMULAS = 80
"""Formulas of a prompt that are read, its first and its last, of at most MAX_FORMULA characters each."""
MAX_FACTORS = 8
"""Terms or factors of which all choices are looked at."""
MAX_FORMULA = 600
REMEMBERED = 128
"""Characters of a text whose tree is remembered."""

_COLLECTIONS = frozenset("list set tuple bracket union minus intersection both either ratio compound".split())  # noqa: SIM905
_WRAPPERS = frozenset("clause mod unit percent pm mp".split())  # noqa: SIM905
_NAMED = frozenset("sym text dots base".split())  # noqa: SIM905
_COUNTING = frozenset({"factorial", "binomial"})
_OPERATIONS = frozenset("sum prod int lim det gcd lcm max min floor ceil product derivative".split())  # noqa: SIM905
"""Functions that say what is to be done."""
_FAMILIES = {
    name: family[0]
    for family in (
        ("sin", "cos", "tan", "cot", "sec", "csc"),
        ("arcsin", "arccos", "arctan", "arccot", "arcsec", "arccsc"),
        ("sinh", "cosh", "tanh", "coth"),
        ("ln", "log", "lg"),
    )
    for name in family
}


_ZERO, _TWO, _TEN = number(0), number(2), number(10)


def worked_out(gold: str, answer: str) -> bool:
    """Whether an answer that is right is worked out as far as its gold is."""
    if gold == answer:
        return True
    other = as_written(answer)
    if other is None or _is_literal(other) or (one := as_written(gold)) is None:
        return True
    parts = list(_parts(one))
    if not all(part.solved and _is_done(part.node, _functions(part.node)) for part in parts):
        return True  # the gold is no value, or not worked out itself
    known = _Gold(
        shapes=_shapes(one),
        literal=all(_is_literal(part.node) for part in parts) and not _has_degrees(one),
        rounded=any(decimal_step(part.node) is not None for part in parts),
        closed=not any(symbols(part.node) for part in parts),
        functions=frozenset().union(*(_functions(part.node) for part in parts)),
    )
    return shape(other) in known.shapes or all(_is_part_done(part, known) for part in _parts(other))


def restated(gold: str, answer: str, prompt: str) -> bool:
    """Whether an answer that is right is only a formula of the prompt, or one with something around it that changes
    nothing."""
    if gold == answer:
        return False
    other = as_written(answer)
    if other is None or (one := as_written(gold)) is None or _is_plain_text(other, answer):
        return False
    if one.kind == other.kind == "num" and one.args[0] == other.args[0]:
        # the same number: no answer if it stands there in another notation, as 1.5e6 for 1500000
        return not _is_decimal(answer) and _is_decimal(gold) and _stands_in(_tokens(answer), _tokens(prompt))
    alike = _shapes(one)
    parts = [part.node for part in _parts(other)]
    turned = is_inequality(other) != is_inequality(one)  # x < 3 for (-∞, 3) is another notation
    if not turned and all(shape(part) in alike for part in parts):
        return False
    prompt = prompt[:MAX_PROMPT] + " " + prompt[-MAX_PROMPT:] if len(prompt) > 2 * MAX_PROMPT else prompt
    value = answer.rpartition("=")[2] if meaning(other).label is not None else answer
    if _stands_in(_tokens(value), _tokens(prompt)):
        return True
    asked = formulas(prompt)
    compound = [part for part in parts if not _is_plain(part) and shape(part) not in alike]
    if any(hash(shape(part)) in asked for part in [other, *compound]):
        return True
    within = (part for each in compound for part in _within(each) if hash(shape(part)) in asked)
    return any(shape(part) not in alike and _is_one_of(part, one) for part in within)


def _is_plain_text(node: Node, text: str) -> bool:
    """Whether an answer is an integer in digits, a name or a word."""
    return _is_plain(node) and node not in (PI, EULER) and (node.kind != "num" or _is_decimal(text))


def _is_decimal(text: str) -> bool:
    """Whether a number is written with digits alone."""
    return re.fullmatch(r"-?[0-9]*\.?[0-9]+", re.sub(r"[,\s$\\!]", "", text)) is not None


def _within(node: Node) -> Iterator[Node]:
    """The formulas in a formula, those included that some of its terms or factors make."""
    for part in walk(node):
        if not _is_plain(part):
            yield part
        if part.kind in ("add", "mul") and 2 < len(part.args) <= MAX_FACTORS:
            for count in range(2, len(part.args)):
                yield from (Node(part.kind, some) for some in itertools.combinations(part.args, count))


def _is_one_of(node: Node, gold: Node) -> bool:
    """Whether a formula is the gold, or a part of it, by its value."""
    rules = Rules(confirm=lambda one, other: None)
    return any(compare_values(node, part.node, rules).same is True for part in _parts(gold) if part.solved)


# -- what is written -------------------------------------------------------------------------------------------------


def as_written(text: str) -> Node | None:
    """The tree of an answer as it is written, nothing worked out; None where it cannot be read."""
    try:
        with allowance(READING):
            return _parsed(text) if len(text) <= REMEMBERED else parse(plain(text), folded=False)
    except (Unreadable, OverflowError, RecursionError, Spent):
        return None


@lru_cache(maxsize=4_096)
def _parsed(text: str) -> Node:
    return parse(plain(text), folded=False)


def shape(node: Node) -> str:
    """How a formula is written, but for the order of what can be swapped."""
    if node.kind == "rel" and set(node.args[0]) == {"="}:
        return f"rel({','.join(sorted(map(shape, node.args[1:])))})"
    return show(node)


class _Part(NamedTuple):
    """A value that an answer is made of. `solved` False: an equation or inequality that is left to solve."""

    node: Node
    solved: bool = True


def _parts(node: Node) -> Iterator[_Part]:
    """The values of an answer, without labels, brackets, units and conditions."""
    inner: tuple[Node, ...] = ()
    if node.kind in _COLLECTIONS:
        inner = node.args
    elif node.kind == "interval":
        inner = node.args[:2]
    elif node.kind == "matrix":
        inner = tuple(itertools.chain.from_iterable(node.args))
    elif node.kind in _WRAPPERS or (node.kind == "pow" and is_transposed(node)):
        inner = node.args[:1]
    elif node.kind == "builder":
        inner = node.args[1:2]
    elif node.kind == "rel" and is_inequality(node):
        things = [side for side in node.args[1:] if symbols(side)]
        if len(things) != 1 or not _is_thing(things[0]):
            yield _Part(node, solved=False)
        inner = tuple(side for side in node.args[1:] if side not in things)
    elif node.kind == "rel":
        said, sides = meaning(node), claimed(node)
        if said.value.kind == "rel" and (symbols(node) or not sides):
            yield _Part(node, solved=False)
        else:  # 43 + 83 = 126: one side that is worked out is enough
            best = [side for side in sides if _is_done(side, _functions(side))] or sides or [said.value]
            inner = (best[-1],)
    else:
        yield _Part(node)
    for part in inner:
        yield from _parts(part)


def _is_thing(node: Node) -> bool:
    """What a solved inequality is about: a name, or f(x)."""
    return is_label(node) and not (node.kind == "fn" and node.args[0] in ("abs", "norm"))


def _shapes(node: Node) -> frozenset[str]:
    """How an answer and its parts are written, and the sides of its equations."""
    sides = (side for part in walk(node) for side in claimed(part))
    return frozenset(map(shape, [node, *(part.node for part in _parts(node)), *sides]))


def _has_degrees(node: Node) -> bool:
    """30° is π/6, though 30 is a literal."""
    return any(part.kind == "unit" and part.args[1] == "deg" for part in walk(node))


def _functions(node: Node) -> frozenset[str]:
    """The functions of a formula, one name for sine and cosine."""
    return frozenset(_FAMILIES.get(part.args[0], part.args[0]) for part in walk(node) if part.kind == "fn")


# -- literals and exact forms ----------------------------------------------------------------------------------------


def _is_plain(node: Node) -> bool:
    """A number, name or word without anything to do."""
    return node.kind in _NAMED or (node.kind == "num" and node.args[0].denominator == 1)


def _is_integer(node: Node) -> bool:
    return node.kind == "num" and node.args[0].denominator == 1 and node.args[1] is None


def _is_literal(node: Node) -> bool:
    """A number as people write it down, with a sign or a unit."""
    if node.kind in ("unit", "percent"):
        return _is_literal(node.args[0])
    if node.kind in ("num", "base"):
        return True
    match _unsigned(node):
        case [one]:
            return one.kind == "num" or _is_reciprocal(one) or _is_scale(one)
        case [one, other] if one.kind == "num":
            whole = _is_integer(one) and _is_reciprocal(other) and one.args[0] % other.args[0].args[0] != 0
            return whole or _is_scale(other)
    return False


def _unsigned(node: Node) -> list[Node]:
    """The factors, without a sign."""
    return [part for part in (node.args if node.kind == "mul" else (node,)) if part != MINUS_ONE]


def _is_reciprocal(node: Node) -> bool:
    """1/n"""
    return (
        node.kind == "pow" and node.args[1] == MINUS_ONE and _is_integer(node.args[0]) and node.args[0].args[0] != 0
    )


def _is_scale(node: Node) -> bool:
    """10^k, for thousands and more, or thousandths and less: 10^2 is a short power."""
    whole = node.kind == "pow" and all(map(_is_integer, node.args))
    return whole and node.args[0] == _TEN and abs(node.args[1].args[0]) > 2


def _is_exact(node: Node) -> bool:
    """One power that is long, or one factorial or binomial of integers."""
    factors = _unsigned(node)
    return len(factors) == 1 and _is_compact(factors[0])


def _is_compact(node: Node) -> bool:
    """A power of which the digits are long, and that is no product of two or three: 2^99; 4! and C(4, 2), and on."""
    return _is_count(node) and (node.kind == "fn" or _is_long(node, LONG_POWER))


def _is_count(node: Node) -> bool:
    """A power from the fourth on, or a factorial or binomial that is more than a small number (2!, C(5, 1))."""
    if node.kind == "fn" and node.args[0] in _COUNTING and all(map(_is_integer, node.args[1:])):
        first, *chosen = (part.args[0] for part in node.args[1:])
        return bool(first >= 4 and all(1 < part < first - 1 for part in chosen))
    return _is_power(node) and abs(node.args[1].args[0]) > 3


def _is_compound(node: Node) -> bool:
    """A sum or product of powers, factorials and binomials, with one plain number at most: 2^99 - 1, 3 * 2^50."""
    terms = [_unsigned(term) for term in (node.args if node.kind == "add" else (node,))]
    counts = [[part for part in term if _is_count(part)] for term in terms]
    plain = [[part for part in term if not _is_count(part)] for term in terms]
    literal = all(_is_literal(part) for numbers in plain for part in numbers)
    single = all(len(numbers) <= 1 for numbers in plain) and sum(not powers for powers in counts) <= 1
    apart = len({tuple(map(shape, powers)) for powers in counts}) == len(terms)
    compact = any(_is_compact(part) for powers in counts for part in powers)
    return literal and single and apart and compact and _is_long(node, LONG_FORM)


def _is_power(node: Node) -> bool:
    """A number to a whole power, not 1/n."""
    return (
        node.kind == "pow"
        and _is_literal(node.args[0])
        and _is_integer(node.args[1])
        and abs(node.args[1].args[0]) > 1
    )


def _is_long(node: Node, limit: int) -> bool:
    """Whether a rational number has many digits; what is too large to be worked out has."""
    try:
        value = rational(node)
    except OverflowError:
        return True
    return value is not None and max(abs(value.numerator), value.denominator) >= limit


def _is_rational(node: Node) -> bool:
    try:
        return rational(node) is not None
    except OverflowError:
        return True


# -- how far a value is worked out -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Gold:
    """What an answer is measured by. `literal`: every value of the gold is one; `rounded`: one may be rounded;
    `closed`: none has a variable."""

    shapes: frozenset[str]
    literal: bool
    rounded: bool
    closed: bool
    functions: frozenset[str]


def _is_part_done(part: _Part, gold: _Gold) -> bool:
    if not part.solved:
        return not gold.closed
    if shape(part.node) in gold.shapes or all(factor.kind in _NAMED for factor in _unsigned(part.node)):
        return True
    if gold.literal and (_is_rational(part.node) or not gold.rounded):
        return _is_number_done(part.node)
    return _is_done(part.node, gold.functions if gold.closed else gold.functions | frozenset(_FAMILIES.values()))


def _is_number_done(node: Node) -> bool:
    """Of what is a rational number."""
    return _is_literal(node) or _is_exact(node) or _is_compound(node)


def _is_done(node: Node, functions: frozenset[str]) -> bool:
    """Of any value. `functions`: those that may be left in it."""
    if _is_rational(node):
        return _is_number_done(node)
    if node.kind in ("add", "mul", "pow") and any(part.kind in ("matrix", "tuple", "bracket") for part in node.args):
        return False
    inner = list(node.args)
    if _has_no_effect(node) or (node.kind == "add" and _can_be_collected(node)):
        return False
    if node.kind == "mul":
        inner = _unsigned(node)
        numbers = [part for part in inner if part.kind == "num"]
        below = [part for part in inner if part.kind == "pow" and part.args[1] == MINUS_ONE and _is_rational(part)]
        sums = [part for part in inner if part.kind == "add" and not symbols(part)]
        if max(len(numbers), len(below), len(sums)) > 1 or _cancels(numbers, below, inner):
            return False
    elif node.kind == "pow":
        inner = [part for part in node.args if part != MINUS_ONE]
        base, times = node.args[0], _is_power(Node("pow", (_TWO, node.args[1])))
        if times and (base == IMAGINARY or (base.kind == "add" and not symbols(base))):
            return False
    elif node.kind == "fn":
        name, *inner = node.args
        if (name in _OPERATIONS or name in _FAMILIES or name == "abs") and _FAMILIES.get(name, name) not in functions:
            return False
    return all(_is_done(part, functions) for part in inner if isinstance(part, Node))


def _cancels(numbers: list[Node], below: list[Node], factors: list[Node]) -> bool:
    """Whether a quotient can be cancelled to a whole number (24π/2), or two factors are powers of one (e^3/e)."""
    whole = [rational(part) for part in (*numbers, *below)]
    if numbers and below and None not in whole and ((whole[0] or 0) * (whole[1] or 0)).denominator == 1:
        return True
    bases = [part.args[0] if part.kind == "pow" else part for part in factors if not symbols(part)]
    bases = [base for base in bases if base.kind != "num" and not _is_rational(base)]
    return len(set(map(shape, bases))) < len(bases)


def _has_no_effect(node: Node) -> bool:
    """Whether a part changes nothing: + 0, * 1, / 1, ^1; the 1 of (1/3)√2 is a numerator."""
    if node.kind == "add":
        return _ZERO in node.args
    if node.kind == "mul":
        inverses = [part for part in node.args if part.kind == "pow" and part.args[1] == MINUS_ONE]
        return Node("pow", (ONE, MINUS_ONE)) in inverses or (ONE in node.args and not inverses)
    return node.kind == "pow" and node.args[1] == ONE


def _can_be_collected(node: Node) -> bool:
    """Whether two terms of a sum could be one: 2 + 3, x + 2x, √8 + √2."""
    terms = node.args[:MAX_TERMS]
    rests = [shape(Node("mul", tuple(part for part in _unsigned(term) if not _is_rational(part)))) for term in terms]
    if len(set(rests)) < len(rests):
        return True
    values = [_value(term) for term in terms if not symbols(term)]
    return any(
        _is_ratio(one, other) for one, other in itertools.combinations([v for v in values if v is not None], 2)
    )


def _value(node: Node) -> Any:
    try:
        return evaluate(node, {}).value
    except Undefined:
        return None


def _is_ratio(one: Any, other: Any) -> bool:
    """Whether two numbers are in the ratio of small integers, as far as can be seen."""
    mp = context()
    if one == 0 or other == 0:
        return False
    ratio = mp.mpmathify(one) / mp.mpmathify(other)
    if abs(mp.im(ratio)) > mp.mpf(10) ** -40:
        return False
    near = Fraction(str(mp.nstr(mp.re(ratio), 40))).limit_denominator(1_000)
    return bool(
        near and abs(mp.re(ratio) - mp.mpf(near.numerator) / near.denominator) < abs(ratio) * mp.mpf(10) ** -35
    )


# -- the prompt ------------------------------------------------------------------------------------------------------

_TOKEN = re.compile(r"\\[A-Za-z]+|\\.|[0-9]+(?:\.[0-9]+)?|[A-Za-z]+|\S")
_ALIKE = {
    r"\cdot": "*", r"\times": "*", "×": "*", "·": "*", "−": "-", "–": "-", r"\div": "/", "÷": "/",
    r"\dfrac": r"\frac", r"\tfrac": r"\frac", "π": r"\pi", r"\%": "%", "√": r"\sqrt", "°": r"\circ",
    "≤": r"\le", r"\leq": r"\le",
    "≥": r"\ge", r"\geq": r"\ge", r"\dbinom": r"\binom", "pi": r"\pi", "sqrt": r"\sqrt",
}  # fmt: skip
_SILENT = frozenset(
    ["$", "{", "}", r"\left", r"\right", r"\,", r"\!", r"\;", r"\:", r"\ ", r"\(", r"\)", r"\[", r"\]"]
)
_NAMES = frozenset("sqrt pi sin cos tan ln log exp choose".split())  # noqa: SIM905
_ENDS = frozenset("$?;.\"'") | {r"\(", r"\)", r"\[", r"\]", r"\text", r"\\"}
_THOUSANDS = re.compile(r"(?<=[0-9]),(?=[0-9]{3}(?![0-9]))")


def _tokens(text: str) -> str:
    """The signs of a text, one space around each: brackets of LaTeX and spacing left out, signs that are spelt in
    several ways made one."""
    text = _THOUSANDS.sub("", text.replace("**", "^"))
    found = (_ALIKE.get(token, token) for token in _TOKEN.findall(text))
    return f" {' '.join(token.lower() for token in found if token not in _SILENT)} "


def _stands_in(said: str, prompt: str) -> bool:
    """Whether signs stand in a prompt, and are no part of a longer number: 1/2 is not in 3 1/2, nor in 1/4/2020."""
    if not said[1:2].isdigit():
        return said in prompt
    return re.search(rf"(?<![0-9/.^]){re.escape(said)}(?![/.^] [0-9])", prompt) is not None


@lru_cache(maxsize=256)
def formulas(prompt: str) -> frozenset[int]:
    """The hashes of the shapes of all formulas of a prompt, and of their parts, that are more than a number or name;
    the shapes themselves would be many times as long as the prompt."""
    found: set[int] = set()
    runs = _runs(prompt)
    for text in [*itertools.islice(runs, MAX_FORMULAS // 2), *deque(runs, MAX_FORMULAS // 2)]:
        for piece in dict.fromkeys([text, *re.split(r"[=,<>]|\\l?eq?|\\g?eq?", text)]):
            node = as_written(piece.strip(" ,:="))
            if node is not None:
                found.update(hash(shape(part)) for part in walk(node) if not _is_plain(part))
    return frozenset(found)


def _runs(prompt: str) -> Iterator[str]:
    """What may be a formula: numbers, signs, single letters and commands in a row, words apart."""
    start = end = None
    for match in itertools.chain(_TOKEN.finditer(prompt), [None]):
        token = match.group() if match else "$"
        word = token.isalpha() and len(token) > 1 and token not in _NAMES
        if match and not word and token not in _ENDS:
            start = match.start() if start is None else start
            end = match.end()
        elif start is not None and end is not None:
            if 2 < end - start <= MAX_FORMULA:
                yield prompt[start:end]
            start = None
