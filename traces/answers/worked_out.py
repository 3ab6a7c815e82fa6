r"""Is an answer worked out, or is arithmetic left to do?

`43 + 83` is 126, and no answer to "What is 43 + 83?".

Asked of an answer that is right, and only where the gold is a value that is worked out itself. It looks at the answer
as it is written: 6/2 is a quotient, 2^3 a power. The rule:

* A **literal** is worked out: an integer, a decimal, a fraction of two integers that is not an integer (7/12, 3 1/2),
  a percentage, a number times a power of ten from 1000 on, with a sign or a unit.
* So is an **exact form** of a rational number: one power, the fourth or higher, of a million or more (2^99), one
  factorial or binomial that is not a small number (10!, \binom{10}{3}), a sum or product of these of a billion or
  more (2^99 - 1).
* So is a root, π, e, i or a function that has no rational value (√2, 3π/4, e^2, 1 + √5, \ln 2), with one integer in
  front of it and one below it.
* **Arithmetic that is left to do** is not: a sum, product, quotient, root or function that is a rational number
  (43 + 83, 252/2, √64, \sin(π/2)), a short power (5^2), a product with a power or factorial in it (3 · 2^5), terms
  that can be collected (π/2 + π/4, 2 + 3 + √2), a product of sums without variables, a sum or product of matrices or
  tuples, a function that the gold does not have (\sin 45° for √2/2), and whatever changes nothing (+ 0, · 1).
* An equation or inequality that is **not solved** is not (x + 3 = 5, x + 3 < 5), where the gold has no variables.
* What is **written like the gold**, but for the order of terms and factors, always is.

Whether it only repeats the prompt is another question: see `restated`.

>>> worked_out("126", "43 + 83"), worked_out("126", "126")
(False, True)
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import suppress
from fractions import Fraction
from functools import lru_cache
from typing import NamedTuple

from stillroom.traces.answers._matrices import is_transposed
from stillroom.traces.answers.fingerprint import Undefined
from stillroom.traces.answers.lexer import Unreadable
from stillroom.traces.answers.limits import READING, Spent, allowance
from stillroom.traces.answers.normalise import claimed, is_label, meaning
from stillroom.traces.answers.numeric import context, evaluate
from stillroom.traces.answers.parser import read
from stillroom.traces.answers.rational import rational
from stillroom.traces.answers.tree import IMAGINARY, MINUS_ONE, ONE, Node, is_inequality, number, show, symbols, walk
from stillroom.traces.answers.values import decimal_step

LONG_POWER = 10**6
"""A power from here on is an exact form: a shorter one is as quickly written out."""
LONG_FORM = 10**9
"""Arithmetic of powers, factorials and binomials is one from here on."""
REMEMBERED = 128
"""Characters of a text whose tree is remembered."""
NAMED = frozenset("sym text dots base".split())  # noqa: SIM905
"""Kinds that name a thing and leave nothing to do."""
_COUNTING = frozenset({"factorial", "binomial"})
MAX_TERMS = 12
"""Terms of a sum of which any two are tried for being collected."""
_COLLECTIONS = frozenset("list set tuple bracket union minus intersection both either ratio compound".split())  # noqa: SIM905
_WRAPPERS = frozenset("clause mod unit percent pm mp".split())  # noqa: SIM905
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
    parts = list(parts_of(one))
    if not all(part.solved and _is_done(part.node, _functions(part.node)) for part in parts):
        return True  # the gold is not a value, or not worked out itself
    alike = shapes_of(one)
    in_degrees = (part.kind == "unit" and part.args[1] == "deg" for part in walk(one))
    literal = all(_is_literal(part.node) for part in parts) and not any(in_degrees)  # 30° is π/6, though 30 is one
    rounded = any(decimal_step(part.node) is not None for part in parts)
    closed = not any(symbols(part.node) for part in parts)
    functions = frozenset().union(*(_functions(part.node) for part in parts))

    def is_part_done(part: Part) -> bool:
        if not part.solved:
            return not closed
        if shape(part.node) in alike or all(factor.kind in NAMED for factor in _unsigned(part.node)):
            return True
        if literal and (_is_rational(part.node) or not rounded):
            return is_number_done(part.node)
        return _is_done(part.node, functions if closed else functions | frozenset(_FAMILIES.values()))

    return shape(other) in alike or all(map(is_part_done, parts_of(other)))


# -- as it is written -----------------------------------------------------------------------------------------------


def as_written(text: str) -> Node | None:
    """The tree of an answer as it is written, nothing worked out; None where it cannot be read."""
    try:
        with allowance(READING):
            return _parsed(text) if len(text) <= REMEMBERED else read(text, folded=False)
    except (Unreadable, OverflowError, RecursionError, Spent):
        return None


@lru_cache(maxsize=4_096)
def _parsed(text: str) -> Node:
    return read(text, folded=False)


def shape(node: Node) -> str:
    """How a formula is written, but for the order of what can be swapped."""
    if node.kind == "rel" and set(node.args[0]) == {"="}:
        return f"rel({','.join(sorted(map(shape, node.args[1:])))})"
    return show(node)


def is_plain(node: Node) -> bool:
    """A number, name or word without anything to do."""
    return node.kind in NAMED or (node.kind == "num" and node.args[0].denominator == 1)


def _unsigned(node: Node) -> list[Node]:
    """The factors, without a sign."""
    return [part for part in (node.args if node.kind == "mul" else (node,)) if part != MINUS_ONE]


# -- the values of an answer -----------------------------------------------------------------------------------------


class Part(NamedTuple):
    """A value that an answer is made of. `solved` False: an equation or inequality that is left to solve."""

    node: Node
    solved: bool = True


def parts_of(node: Node) -> Iterator[Part]:
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
        about = things[0] if len(things) == 1 and is_label(things[0]) else None  # a name, or f(x)
        if about is None or (about.kind == "fn" and about.args[0] in ("abs", "norm")):
            yield Part(node, solved=False)
        inner = tuple(side for side in node.args[1:] if side not in things)
    elif node.kind == "rel":
        said, sides = meaning(node), claimed(node)
        if said.value.kind == "rel" and (symbols(node) or not sides):
            yield Part(node, solved=False)
        else:  # 43 + 83 = 126: one side that is worked out is enough
            best = [side for side in sides if _is_done(side, _functions(side))] or sides or [said.value]
            inner = (best[-1],)
    else:
        yield Part(node)
    for part in inner:
        yield from parts_of(part)


def shapes_of(node: Node) -> frozenset[str]:
    """How an answer and its parts are written, and the sides of its equations."""
    sides = (side for part in walk(node) for side in claimed(part))
    return frozenset(map(shape, [node, *(part.node for part in parts_of(node)), *sides]))


def _functions(node: Node) -> frozenset[str]:
    """The functions of a formula, one name for sine and cosine."""
    return frozenset(_FAMILIES.get(part.args[0], part.args[0]) for part in walk(node) if part.kind == "fn")


# -- how far a value is worked out -----------------------------------------------------------------------------------


def _is_done(node: Node, functions: frozenset[str]) -> bool:
    """Of any value. `functions`: those that may be left in it."""
    if _is_rational(node):
        return is_number_done(node)
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
    """Whether two terms of a sum could be one: 2 + 3, x + 2x, √8 + √2. Numbers are in the ratio of small integers, as
    far as can be seen."""
    terms = node.args[:MAX_TERMS]
    rests = [shape(Node("mul", tuple(part for part in _unsigned(term) if not _is_rational(part)))) for term in terms]
    if len(set(rests)) < len(rests):
        return True
    mp, values = context(), []
    for term in terms:
        if not symbols(term):
            with suppress(Undefined):
                values.append(mp.mpmathify(evaluate(term, {}).value))
    for one, other in itertools.combinations([value for value in values if value != 0], 2):
        ratio = one / other
        if abs(mp.im(ratio)) > mp.mpf(10) ** -40:
            continue
        near = Fraction(str(mp.nstr(mp.re(ratio), 40))).limit_denominator(1_000)
        off = abs(mp.re(ratio) - mp.mpf(near.numerator) / near.denominator)
        if near and off < abs(ratio) * mp.mpf(10) ** -35:
            return True
    return False


# -- numbers ---------------------------------------------------------------------------------------------------------


def is_number_done(node: Node) -> bool:
    """Whether a rational number is written so that nothing is left to do: as a literal or an exact form."""
    factors = _unsigned(node)
    if _is_literal(node) or (len(factors) == 1 and _is_compact(factors[0])):
        return True
    # A sum or product of powers, factorials and binomials, with one plain number at most: 2^99 - 1, 3 * 2^50.
    terms = [_unsigned(term) for term in (node.args if node.kind == "add" else (node,))]
    counts = [[part for part in term if _is_count(part)] for term in terms]
    plain = [[part for part in term if not _is_count(part)] for term in terms]
    literal = all(_is_literal(part) for numbers in plain for part in numbers)
    single = all(len(numbers) <= 1 for numbers in plain) and sum(not powers for powers in counts) <= 1
    apart = len({tuple(map(shape, powers)) for powers in counts}) == len(terms)
    compact = any(_is_compact(part) for powers in counts for part in powers)
    return literal and single and apart and compact and _is_long(node, LONG_FORM)


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


def _is_integer(node: Node) -> bool:
    return node.kind == "num" and node.args[0].denominator == 1 and node.args[1] is None


def _is_reciprocal(node: Node) -> bool:
    """1/n"""
    return (
        node.kind == "pow" and node.args[1] == MINUS_ONE and _is_integer(node.args[0]) and node.args[0].args[0] != 0
    )


def _is_scale(node: Node) -> bool:
    """10^k, for thousands and more, or thousandths and less: 10^2 is a short power."""
    whole = node.kind == "pow" and all(map(_is_integer, node.args))
    return whole and node.args[0] == _TEN and abs(node.args[1].args[0]) > 2


def _is_compact(node: Node) -> bool:
    """A power of which the digits are long, and that is not a product of two or three: 2^99; 4! and C(4, 2), and
    on."""
    return _is_count(node) and (node.kind == "fn" or _is_long(node, LONG_POWER))


def _is_count(node: Node) -> bool:
    """A power from the fourth on, or a factorial or binomial that is more than a small number (2!, C(5, 1))."""
    if node.kind == "fn" and node.args[0] in _COUNTING and all(map(_is_integer, node.args[1:])):
        first, *chosen = (part.args[0] for part in node.args[1:])
        return bool(first >= 4 and all(1 < part < first - 1 for part in chosen))
    return _is_power(node) and abs(node.args[1].args[0]) > 3


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
    """Whether it is a rational number, too large a one included."""
    try:
        return rational(node) is not None
    except OverflowError:
        return True
