"""Whether an answer is right when it is read leniently: it ended by itself, and its last number is the reference.

    lenient_right("2 * 7 = 14, then: the result of 2 * 7 is 14.", "14", stopped=True)      # True
    lenient_right("2 * 7 = 14. Step 2: 14 * 1 = 14. Step 3", "14", stopped=False)          # False: it was cut off
    lenient_right("The capital is Oslo.", "Oslo", stopped=True)                            # None: not a number

A strict scorer also asks for a form, so what it reports of tasks that were never trained mixes three things: the
answer, its form, and whether the model stops. This reads the answer alone; report it next to the EOS rate and the
share that the scorer could read.

The rule, exactly. A *number* is ASCII digits with an optional fraction (`12`, `12.50`, `.5`), or with a comma before
every group of three (`1,234.5`), and an optional sign (`+`, `-` or `−`) directly in front. After a digit, a letter or
a closing bracket, that sign is an operator: `12-5` ends with 5. The *last number* is the last run of digits and the
characters `.,:/^`, without the commas, colons and full stops around it, except for the point of `.5`. If that run is
not a number (`1/2`, `12:30`, `10^3`, `1,23`), or a letter stands directly in front of it (`x2`, `1e5`), the answer
has no last number and is wrong. Numbers are compared exactly, as decimals: `14.0` is 14. The rule does not apply to a
reference that is not a number; white space and one full stop around it are ignored.
"""

from __future__ import annotations

import re
from collections import deque
from decimal import Decimal

LONGEST = 1_000
"""Characters of a number, at most: a longer one is not read."""

MINUS = ("-", "−")

_RUN, _DIGIT = re.compile(r"[0-9.,:/^]+"), re.compile(r"[0-9]")
_NUMBER = re.compile(r"(?:[0-9]+|[0-9]{1,3}(?:,[0-9]{3})+)(?:\.[0-9]+)?|\.[0-9]+")


def lenient_right(answer: str, reference: str | None, *, stopped: bool) -> bool | None:
    """Whether the answer is right by the rule above; None where the reference is not a number. `stopped`: it ended by
    itself, not at the limit."""
    wanted = _reference(reference)
    if wanted is None:
        return None
    return stopped and last_number(answer) == wanted


def last_number(text: str) -> Decimal | None:
    """The last number of a text, by the rule above; None where there is none.

    >>> last_number("It is -1,234.50."), last_number("12-5"), last_number("a half, 1/2")
    (Decimal('-1234.50'), Decimal('5'), None)
    """
    last = deque((run for run in _RUN.finditer(text) if _DIGIT.search(run[0])), maxlen=1)
    if not last:
        return None
    run = last[0][0].rstrip(".,:")
    bare = run.lstrip(".,:")
    front = run.removesuffix(bare)
    if front.count(".") == 1 and front.endswith(".") and bare.isdecimal():
        bare = f".{bare}"
    at = last[0].start() + len(run) - len(bare)
    before, sign = text[at - 2 : at - 1] if at > 1 else "", text[at - 1 : at] if at else ""
    if sign.isalpha() or not _is_number(bare):
        return None
    operator = before.isalnum() or before in (")", "]", "}")
    return _value(bare, negative=sign in MINUS and not operator)


def _reference(reference: str | None) -> Decimal | None:
    text = (reference or "").strip().removesuffix(".")
    bare = text[1:] if text.startswith(("+", *MINUS)) else text
    return _value(bare, negative=text.startswith(MINUS)) if _is_number(bare) else None


def _is_number(bare: str) -> bool:
    return len(bare) <= LONGEST and _NUMBER.fullmatch(bare) is not None


def _value(bare: str, *, negative: bool) -> Decimal:
    found = Decimal(bare.replace(",", ""))
    return found.copy_negate() if negative else found
