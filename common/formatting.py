"""How numbers are written everywhere people read them: counts, shares, points, intervals and p.

>>> share(0.53), points(-0.0213), interval(-0.05, 0.01), p_value(0.00001)
('53.0 %', '−2.1', '[−5.0, 1.0]', '<0.0001')
>>> number(1234.5), signed(0.29, 3), interval(3.4, 3.6, 3, of=1)
('1,234', '+0.290', '[3.400, 3.600]')

A minus is a minus sign; what rounds to nothing has no sign; limits have no plus; what was not measured is a dash.
Intervals are of shares and stand in hundredths, unless `of` says otherwise.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

NOTHING = "–"


def number(value: float, digits: int = 0, *, trim: bool = False) -> str:
    """`1,234` or `−2.1`. `trim`: a whole number has no decimals."""
    text = f"{abs(value):,.{digits}f}"
    if trim and digits:
        text = text.removesuffix(f".{'0' * digits}")
    return f"−{text}" if value < 0 and text.strip("0.") else text


def signed(value: float, digits: int = 0, *, trim: bool = False) -> str:
    """The same with a plus for what is above nothing."""
    text = number(value, digits, trim=trim)
    return f"+{text}" if value > 0 and text.strip("0.") else text


def share(value: float | None, digits: int = 1, *, trim: bool = False) -> str:
    """`53.0 %`; a dash for None."""
    return NOTHING if value is None else f"{number(100 * value, digits, trim=trim)} %"


def points(difference: float, digits: int = 1, *, trim: bool = False) -> str:
    """A difference of shares, in hundredths with their sign."""
    return signed(100 * difference, digits, trim=trim)


def interval(low: float, high: float, digits: int = 1, *, of: float = 100, trim: bool = False) -> str:
    """Limits, `of` times what they are: those of a share in hundredths. `of=1`: as they are."""
    return f"[{number(of * low, digits, trim=trim)}, {number(of * high, digits, trim=trim)}]"


def p_value(p: float) -> str:
    """A probability, for a column of them."""
    return "<0.0001" if p < 0.0001 else f"{p:.4f}" if p < 0.1 else f"{p:.2f}"


def p_words(p: float) -> str:
    """A probability, for a sentence: `p = 0.30` or `p < 0.0001`."""
    return "p < 0.0001" if p < 0.0001 else f"p = {p_value(p)}"


def money(usd: float) -> str:
    """US dollars: cents, and below ten cents two digits that count, so that no cost is shown as none.

    >>> money(1234.5), money(0.0421), money(0.0000123), money(0)
    ('$1,234.50', '$0.042', '$0.000012', '$0.00')
    """
    if usd == 0 or usd >= 0.1:
        return f"${usd:,.2f}"
    return f"${usd:.{1 - math.floor(math.log10(usd))}f}"


def duration(seconds: float) -> str:
    """Seconds as people say them: 41 s, 3 min 20 s, 2 h 05 min."""
    s = round(seconds)
    if s < 60:
        return f"{s} s"
    return f"{s // 60} min {s % 60:02d} s" if s < 3600 else f"{s // 3600} h {s % 3600 // 60:02d} min"


def of_all(ns: Sequence[int]) -> str:
    """How many there were each: `100`, or `98 to 100` where they differ."""
    return number(min(ns)) if min(ns) == max(ns) else f"{number(min(ns))} to {number(max(ns))}"
