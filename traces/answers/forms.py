r"""What an answer is as it is written: its tree with nothing worked out, and whether a number is one to leave so.

* A **literal**: an integer, a decimal, a fraction of two integers that is not an integer (7/12, 3 1/2), a
  percentage, a number times a power of ten from 1000 on, with a sign or a unit.
* An **exact form** of a rational number: one power, the fourth or higher, of a million or more (2^99), one factorial
  or binomial that is not a small number (10!, \binom{10}{3}), a sum or product of these of a billion or more
  (2^99 - 1).

>>> is_number_done(as_written("3 1/2")), is_number_done(as_written("2^99 - 1")), is_number_done(as_written("43 + 83"))
(True, True, False)
"""

from __future__ import annotations

from functools import lru_cache

from stillroom.traces.answers.budget import READING, Spent, allowance
from stillroom.traces.answers.lexer import Unreadable, plain
from stillroom.traces.answers.parser import parse
from stillroom.traces.answers.rational import rational
from stillroom.traces.answers.tree import MINUS_ONE, Node, number, show

LONG_POWER = 10**6
"""A power from here on is an exact form: a shorter one is as quickly written out."""
LONG_FORM = 10**9
"""Arithmetic of powers, factorials and binomials is one from here on."""
REMEMBERED = 128
"""Characters of a text whose tree is remembered."""
NAMED = frozenset("sym text dots base".split())  # noqa: SIM905
"""Kinds that name a thing and leave nothing to do."""
_COUNTING = frozenset({"factorial", "binomial"})
_TEN = number(10)


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


def is_plain(node: Node) -> bool:
    """A number, name or word without anything to do."""
    return node.kind in NAMED or (node.kind == "num" and node.args[0].denominator == 1)


def unsigned(node: Node) -> list[Node]:
    """The factors, without a sign."""
    return [part for part in (node.args if node.kind == "mul" else (node,)) if part != MINUS_ONE]


# -- numbers ---------------------------------------------------------------------------------------------------------


def is_number_done(node: Node) -> bool:
    """Whether a rational number is written so that nothing is left to do: as a literal or an exact form."""
    factors = unsigned(node)
    return is_literal(node) or (len(factors) == 1 and _is_compact(factors[0])) or _is_compound(node)


def is_literal(node: Node) -> bool:
    """A number as people write it down, with a sign or a unit."""
    if node.kind in ("unit", "percent"):
        return is_literal(node.args[0])
    if node.kind in ("num", "base"):
        return True
    match unsigned(node):
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
    return is_power(node) and abs(node.args[1].args[0]) > 3


def _is_compound(node: Node) -> bool:
    """A sum or product of powers, factorials and binomials, with one plain number at most: 2^99 - 1, 3 * 2^50."""
    terms = [unsigned(term) for term in (node.args if node.kind == "add" else (node,))]
    counts = [[part for part in term if _is_count(part)] for term in terms]
    plain = [[part for part in term if not _is_count(part)] for term in terms]
    literal = all(is_literal(part) for numbers in plain for part in numbers)
    single = all(len(numbers) <= 1 for numbers in plain) and sum(not powers for powers in counts) <= 1
    apart = len({tuple(map(shape, powers)) for powers in counts}) == len(terms)
    compact = any(_is_compact(part) for powers in counts for part in powers)
    return literal and single and apart and compact and _is_long(node, LONG_FORM)


def is_power(node: Node) -> bool:
    """A number to a whole power, not 1/n."""
    return (
        node.kind == "pow"
        and is_literal(node.args[0])
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


def is_rational(node: Node) -> bool:
    """Whether it is a rational number, too large a one included."""
    try:
        return rational(node) is not None
    except OverflowError:
        return True
