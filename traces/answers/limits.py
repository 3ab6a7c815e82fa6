"""How large an answer may be, and how much work it may cause.

Size, depth, digits and towers of exponents are looked at before anything is parsed.
The limits are far above any real answer and far below what hurts: a number of a few characters
(`9^{9^{9^{9}}}`) can cost more than the machine has. Work that only shows itself while it is done (a sum to 10^9)
is counted where it is done, and never timed. A unit is about a microsecond of an ordinary core, and seldom makes
more than a hundred bytes. Whatever walks over a tree, builds one, or works with numbers of many digits says what it
is about to do, and is stopped *before* it does too much. The same pair costs the same everywhere, so its verdict
depends on no machine. Where no allowance is set, nothing is counted.

    with allowance(300_000):
        spend(12)        # raises Spent once the allowance is used up

>>> over_limit("9^{9^{9^{9}}}")
'3 levels of exponents, the limit is 2'
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager

MAX_TEXT = 1_000_000
"""Characters of a completion. The whole of it is searched for its answer, never a window of it."""
MAX_ANSWER = 4_096
"""Characters of an answer."""
MAX_DEPTH = 40
"""Nested brackets. The parser is recursive, and 200 nested fractions exhaust its stack."""
MAX_DIGITS = 1_000
"""Digits in a row."""
MAX_EXPONENT_DIGITS = 4
"""Digits of a number in an exponent, or before a factorial: 2024^{4046} passes, 10^{999999999} does not."""
MAX_TOWER = 2
"""Exponents within exponents: e^{x^2} passes."""
READING = 150_000
"""Units for one text that is read."""
CALLER = 300_000
"""Units for one pair that is compared in the calling process. What costs more is left to a worker."""
WORKER = 2_000_000
"""Units for one pair in a worker, without what confirms it: that may take all of the worker's time and memory. What
costs more is over the limit."""

_DIGITS = re.compile(rf"[0-9]{{{MAX_DIGITS + 1}}}")
# What is taken is not given back (*+, ++): spaces that two parts could share would be tried in every division.
_BIG_EXPONENT = re.compile(rf"\^\s*+[{{(]?+\s*+[-+]?+\s*+[0-9]{{{MAX_EXPONENT_DIGITS + 1}}}")
_BIG_FACTORIAL = re.compile(rf"[0-9]{{{MAX_EXPONENT_DIGITS + 1}}}\s*+!|!\s*+[)}}]\s*+!")
_TOKEN = re.compile(r"(?:\\left|\\right|\s)*+([0-9.]+|[A-Za-z]|\\[A-Za-z]+|\S)")
_OPEN, _CLOSE = "([{", ")]}"


def over_limit(answer: str) -> str | None:
    """What is too large about an answer, as one line, or None."""
    if len(answer) > MAX_ANSWER:
        return f"{len(answer):,} characters, the limit is {MAX_ANSWER:,}"
    if _DIGITS.search(answer):
        return f"more than {MAX_DIGITS:,} digits in a row"
    if _BIG_EXPONENT.search(answer):
        return f"an exponent of more than {MAX_EXPONENT_DIGITS} digits"
    if _BIG_FACTORIAL.search(answer):
        return "a factorial of a very large number"
    # Brackets and exponents are counted in one pass. `chain`: the exponents that the next token stands in.
    enclosing: list[int] = []
    chain = after = tower = 0
    for token in _TOKEN.findall(answer.replace("**", "^")):
        if token == "^":
            chain = after + 1
            tower = max(tower, sum(enclosing) + chain)
        elif token in _OPEN:
            enclosing.append(chain)
            chain = after = 0
            if len(enclosing) > MAX_DEPTH:
                return f"brackets nested deeper than {MAX_DEPTH}"
        elif token in _CLOSE:
            chain, after = 0, enclosing.pop() if enclosing else 0
        else:
            chain, after = 0, chain if token.isalnum() else 0
    return f"{tower} levels of exponents, the limit is {MAX_TOWER}" if tower > MAX_TOWER else None


# -- work ------------------------------------------------------------------------------------------------------------


class Spent(Exception):
    """The allowance is used up. Not an OverflowError: that says that one part has no value, and the work goes
    on without it; this ends the work."""


class _Left(threading.local):
    units: int | None = None


_left = _Left()


def spend(units: int) -> None:
    """Counts work that is about to be done. Raises Spent where it is more than is left."""
    left = _left.units
    if left is None:
        return
    left -= units
    _left.units = left
    if left < 0:
        raise Spent("more work than an answer may cause")


@contextmanager
def allowance(units: int | None) -> Iterator[None]:
    """Sets what may be spent within, in this thread; None: anything. One within another stands alone, so that
    what is remembered costs the same as what is not."""
    before = _left.units
    _left.units = units
    try:
        yield
    finally:
        _left.units = before
