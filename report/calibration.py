"""Calibrations as tables for people."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from stillroom.common.formatting import NOTHING, interval, number
from stillroom.common.printing import Table
from stillroom.judges.calibrate import Calibration, Estimate, GateVerdict

_MEASURES = (
    ("accuracy, one judgement", "accuracy"),
    ("accuracy, final verdict", "final_accuracy"),
    ("accuracy where it names a winner", "decided_accuracy"),
    ("Cohen's kappa, order verdict and label", "kappa"),
    ("Cohen's kappa, final verdict and label", "final_kappa"),
    ("consistency over the orders", "consistency"),
    ("P(first)", "first"),
    ("correlation of the verdict with length", "length_correlation"),
    ("correlation of the label with length", "label_length_correlation"),
    ("correlation of the score with length", "score_length_correlation"),
    ("accuracy of 'longer wins'", "longer_accuracy"),
    ("accuracy minus that of 'longer wins'", "beats_longer"),
)


def calibration_table(calibration: Calibration, verdict: GateVerdict | None = None) -> Table:
    """One judge in full: every figure with its interval, its failures, its notes, and what the gate says."""
    lines = (*(verdict.failures if verdict else ()), *calibration.notes)
    table = _plain("", "value", "95 %", "n", title=calibration.judge, caption="\n".join(lines))
    for name, field in _MEASURES:
        table.add_row(name, *_cells(getattr(calibration, field)))
    table.add_section()
    for name, value in _counts(calibration):
        table.add_row(name, value)
    if verdict is not None:
        table.add_section()
        table.add_row("gate", "passed" if verdict.passed else "refused")
    return table


def comparison_table(rows: Iterable[tuple[str, str, Calibration, GateVerdict]]) -> Table:
    """Several judges, one row each: (judge, prompt method, calibration, gate)."""
    table = _plain(
        "judge", "method", "accuracy", "kappa", "consistency", "P(first)", "minus longer", "failed", "gate"
    )
    for judge, method, found, verdict in rows:
        measures = (found.accuracy, found.kappa, found.consistency, found.first, found.beats_longer)
        failed = f"{found.pairs - found.judged}/{found.pairs}"
        table.add_row(judge, method, *map(_short, measures), failed, "passed" if verdict.passed else "refused")
    return table


def _cells(found: Estimate | None) -> tuple[str, str, str]:
    if found is None:
        return NOTHING, "", ""
    return number(found.value, 3), interval(found.low, found.high, 3, of=1), number(found.n)


def _short(found: Estimate | None) -> str:
    return NOTHING if found is None else f"{number(found.value, 2)} {interval(found.low, found.high, 2, of=1)}"


def _counts(calibration: Calibration) -> Iterator[tuple[str, str]]:
    yield "pairs, judged", f"{calibration.pairs}, {calibration.judged}"
    yield "requests", str(calibration.calls)
    yield "judgements by state", ", ".join(f"{n} {state}" for state, n in calibration.states.items())
    report = calibration.failures
    for name, groups in (("answer", report.by_answer), ("length", report.by_length), ("source", report.by_source)):
        if any(count.failed for count in groups.values()):
            parts = (f"{key} {count.failed}/{count.asked}" for key, count in groups.items())
            yield f"failures by {name}", ", ".join(parts)


def _plain(*columns: str, title: str = "", caption: str = "") -> Table:
    left: dict[str, Any] = {"title_justify": "left", "caption_justify": "left"}
    table = Table(title=title, caption=caption, box=None, padding=(0, 2, 0, 0), header_style="bold", **left)
    for column in columns:
        table.add_column(column, no_wrap=column != "")
    return table
