"""Calibrations as tables for people."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import groupby

from rich.console import Group

from stillroom.common.formatting import NOTHING, interval, number
from stillroom.common.printing import columns, plain
from stillroom.judges.calibrate import Calibration, Estimate
from stillroom.judges.gate import GateVerdict
from stillroom.report.evaluation_table import Name

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


def calibration_table(calibration: Calibration, verdict: GateVerdict | None = None) -> Group:
    """One judge in full: every figure with its interval, its failures, its notes, and what the gate says."""
    table = columns("", "value", "95 %", "n", right=("value", "95 %", "n"))
    for name, field in _MEASURES:
        found: Estimate | None = getattr(calibration, field)
        if found is None:
            table.add_row(name, NOTHING)
        else:
            limits = interval(found.low, found.high, 3, of=1)
            table.add_row(name, number(found.value, 3), limits, number(found.n))
    counts = columns("", "")
    counts.show_header = False
    for name, value in _counts(calibration):
        counts.add_row(name, value)
    if verdict is not None:
        counts.add_row("gate", "passed" if verdict.passed else "refused")
    lines = (*(verdict.failures if verdict else ()), *calibration.notes)
    return Group(plain(calibration.judge, "bold"), table, "", counts, *map(plain, lines))


def comparison_table(rows: Iterable[tuple[str, str, Calibration, GateVerdict]]) -> Group:
    """Several judges, as (judge, prompt method, calibration, gate): how right they are, then how even-handed.

    Two tables, a line for each method under the name of its judge: all figures in one line need 150 columns.
    """
    figures = ("accuracy", "kappa", "minus longer", "consistency", "P(first)", "failed")
    right = columns("judge, method", *figures[:3], right=figures)
    even = columns("judge, method", *figures[3:], "gate", right=figures)
    for judge, group in groupby(rows, key=lambda row: row[0]):
        right.add_row(plain(judge, "bold"))
        even.add_row(plain(judge, "bold"))
        for _, method, found, verdict in group:
            right.add_row(Name(f"  {method}"), *map(_short, (found.accuracy, found.kappa, found.beats_longer)))
            failed = f"{found.pairs - found.judged}/{found.pairs}"
            gate = "passed" if verdict.passed else "refused"
            even.add_row(Name(f"  {method}"), _short(found.consistency), _short(found.first), failed, gate)
    return Group(right, "", even)


def _short(found: Estimate | None) -> str:
    """`.82 [.76, .87]`: none of these figures exceeds 1."""
    if found is None:
        return NOTHING
    text = f"{number(found.value, 2)} {interval(found.low, found.high, 2, of=1)}"
    return re.sub(r"\b0\.", ".", text)


def _counts(calibration: Calibration) -> Iterator[tuple[str, str]]:
    yield "pairs, judged", f"{calibration.pairs}, {calibration.judged}"
    yield "requests", str(calibration.calls)
    yield "judgements by state", ", ".join(f"{n} {state}" for state, n in calibration.states.items())
    report = calibration.failures
    for name, groups in (("answer", report.by_answer), ("length", report.by_length), ("source", report.by_source)):
        if any(count.failed for count in groups.values()):
            parts = (f"{key} {count.failed}/{count.asked}" for key, count in groups.items())
            yield f"failures by {name}", ", ".join(parts)
