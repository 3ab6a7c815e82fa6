"""What is refused before anything is parsed: size, depth, digits and towers of exponents.

The limits are far above any real answer and far below what hurts: a number of a few characters
(`9^{9^{9^{9}}}`) can cost more than the machine has. Work that only shows itself while it is done (a sum to 10^9)
is not judged here but counted, and left where it exceeds its bounds (see `numeric` and `values`).

>>> over_limit("9^{9^{9^{9}}}")
'3 levels of exponents, the limit is 2'
"""

from __future__ import annotations

import re

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
    return _too_deep(answer)


def _too_deep(answer: str) -> str | None:
    """Counts brackets and exponents in one pass. `chain`: the exponents that the next token stands in."""
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
