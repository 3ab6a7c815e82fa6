"""What the preference path prints on standard output when it is done: tables for people.

Texts of a model are cut; see `report.shown`.
"""

from __future__ import annotations

from stillroom.common.formatting import NOTHING, interval, share
from stillroom.common.printing import Table, plain, shown, terminal, wide
from stillroom.pipeline.flows.audit import PairsFound
from stillroom.pipeline.flows.calibration import CalibrationResult, JudgeResult
from stillroom.pipeline.flows.preferences import PreferenceResult
from stillroom.pipeline.stages.judge import Calibrated
from stillroom.report.calibration import calibration_table, comparison_table

SHOWN_TEXT = 400
"""Characters of a text that is shown."""


def show_preferences(result: PreferenceResult) -> None:
    """The outcome of a run of the preference path."""
    console = wide(terminal())
    if result.evaluation is not None:
        from stillroom.report.preference_table import preference_table

        console.print(preference_table(result.evaluation))
    held_out = f" and {result.test_pairs:,} held-out ones" if result.test_pairs else ""
    console.print(
        f"{result.pairs:,} pairs{held_out} in {result.folder / 'dpo'}; everything else in {result.folder}",
        soft_wrap=True,
    )


def show_calibration(result: CalibrationResult) -> None:
    """How recorded judges compare."""
    console = wide(terminal())
    console.print(comparison_table([row[:4] for row in result.judges]))
    console.print("\npairs of the judges that passed, held against what people preferred:")
    console.print(_pairs_table(result.judges))
    console.print(f"every figure is in {result.folder / 'calibration.json'}", soft_wrap=True)


def _pairs_table(judges: tuple[JudgeResult, ...]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0))
    for name in ("judge", "method", "pairs", "agree", "95 %"):
        table.add_column(name, justify="right" if name in ("pairs", "agree") else "left")
    for row in (row for row in judges if row.gate.passed):
        agree = (share(row.agree.value), interval(row.agree.low, row.agree.high)) if row.agree else (NOTHING, "")
        table.add_row(row.judge, row.method, f"{row.pairs:,}", *agree)
    return table


def show_calibrated(found: Calibrated) -> None:
    """One judge on labelled pairs, and what the gate says."""
    wide(terminal()).print(calibration_table(found.calibration, found.gate))


def show_pairs(found: PairsFound, count: int) -> None:
    """The audit of pairs, and some of them."""
    console = wide(terminal())
    console.print(found.audit.table())
    for row in found.rows[:count]:
        console.print()
        console.print(plain(shown(str(row.get("task_id", "")), 60), "bold"))
        for name in ("prompt", "chosen", "rejected"):
            console.print(plain(f"{name:<9}", "bold") + plain(shown(_text(row[name]), SHOWN_TEXT)), soft_wrap=True)
    console.print(f"{len(found.rows):,} pairs in {found.path}", soft_wrap=True)


def _text(turns: object) -> str:
    if isinstance(turns, list):
        return " ".join(str(turn.get("content", "")) for turn in turns if isinstance(turn, dict))
    return str(turns)
