"""How numbers of an evaluation are written: shares, points, limits, p, and the word that follows from them.

>>> points(-0.0213), limits(-0.05, 0.01), p_of(0.00001)
('−2.1', '[−5.0, 1.0]', '<0.0001')
"""

from __future__ import annotations

from rich.text import Text

from stillroom.students.evaluate.results import Comparison, Result

TESTS = {"mcnemar_exact": "McNemar exact", "sign_flip": "exchanged signs"}
SHOWN_AT = 0.05
"""Below it, after Holm, a difference may be called shown."""


def share(result: Result | None, digits: int = 1) -> str:
    """`53.0 %`; a dash where it was not measured."""
    return f"{100 * result.value:.{digits}f} %" if result else "–"


def points(difference: float) -> str:
    """Signed points; a difference that rounds to nothing has no sign."""
    shown = f"{100 * difference:+.1f}".replace("-", "−")
    return "0.0" if shown in ("+0.0", "−0.0") else shown


def plain(value: float) -> str:
    """A share as a number of points, without its unit."""
    shown = f"{100 * value:.1f}"
    return "0.0" if shown == "-0.0" else shown.replace("-", "−")


def limits(low: float, high: float) -> str:
    """An interval of shares, or of their difference."""
    return f"[{plain(low)}, {plain(high)}]"


def p_of(p: float) -> str:
    """A probability, for a column of them."""
    return "<0.0001" if p < 0.0001 else f"{p:.4f}" if p < 0.1 else f"{p:.2f}"


def p_words(p: float) -> str:
    """A probability, for a sentence."""
    return "p < 0.0001" if p < 0.0001 else f"p = {p_of(p)}"


def extra(record: Result | Comparison, key: str) -> float | None:
    """A number beyond the fields that every record has, or None."""
    found = (record.model_extra or {}).get(key)
    return float(found) if isinstance(found, int | float) else None


def text_of(record: Result | Comparison, key: str) -> str | None:
    """A word beyond the fields that every record has, or None."""
    found = (record.model_extra or {}).get(key)
    return found if isinstance(found, str) else None


def verdict(comparison: Comparison) -> Text:
    """What the interval and p, after Holm where it was corrected, say of a against b, and nothing more."""
    p = extra(comparison, "p_holm")
    shown = p is None or p < SHOWN_AT
    return direction(comparison.low, comparison.high, 0.0) if shown else _NOT_SHOWN


_BETTER, _WORSE, _NOT_SHOWN = Text("better", "green"), Text("worse", "red"), Text("not shown", "dim")


def direction(low: float, high: float, nothing: float, *, less_is_better: bool = False) -> Text:
    """The word for an interval that lies on one side of `nothing`."""
    up, down = (_WORSE, _BETTER) if less_is_better else (_BETTER, _WORSE)
    return up if low > nothing else down if high < nothing else _NOT_SHOWN
