"""What the preference path prints on standard output when it is done: tables for people.

Texts of a model are cut; see `report.shown`.
"""

from __future__ import annotations

from stillroom.common.printing import plain, shown, terminal, wide
from stillroom.pipeline.flows.audit import PairsFound
from stillroom.pipeline.stages.judge import Calibrated
from stillroom.report.calibration import calibration_table

SHOWN_TEXT = 400
"""Characters of a text that is shown."""


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
