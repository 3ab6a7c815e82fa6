"""What a loop prints when it is done, within 80 columns: rounds, comparisons, the guard's checks, and why it ended.

show_loop(report)
"""

from __future__ import annotations

from rich.console import Console
from rich.padding import Padding

from stillroom.common.printing import columns, plain, shown, terminal, wide
from stillroom.evaluation.guard import measure_name
from stillroom.report.evaluation_table import in_short
from stillroom.report.loop import LoopReport, RoundRow, comparisons, lines, others, students_of, summary

NAME, COLUMN = 24, 14
"""Cells of a terminal: of a measure's name, and of a round with the space next to it."""
GAP = 2


def show_loop(report: LoopReport, console: Console | None = None) -> None:
    """Prints the report."""
    console = wide(console or terminal())
    at_once, students = max(1, (console.width - NAME) // COLUMN), students_of(report)
    for start in range(0, len(students), at_once):
        names = [student.name for student in students[start : start + at_once]]
        table = columns("", *names, right=names)
        table.columns[0].width = NAME - GAP
        for line in lines(report):
            cells = []
            for cell in line.cells[start : start + at_once]:
                cells.append(plain(cell.text, "red" if cell.worse else ""))
                if cell.limits:
                    cells[-1] += plain(f"\n{cell.limits}", "dim")
            table.add_row(_safe(line.name), *cells)
        console.print(table, "")

    evaluation = report.evaluation
    if others(evaluation):
        numbers = ("accuracy", "95 %", "EOS", "tokens", "n")
        table = columns("for comparison", *numbers, right=numbers)
        for name, (accuracy, stopped, tokens, n) in others(evaluation):
            table.add_row(_safe(name), accuracy.text, accuracy.limits, stopped.text, tokens.text, n.text)
        console.print(table, "")
    if evaluation.comparisons:
        found = ("points", "95 %", "p, Holm")
        table = columns("differences", *found, "", right=found)
        for c in comparisons(evaluation):
            table.add_row(_safe(c.names), c.change.text, c.change.limits, c.p_holm, in_short(c.word))
        console.print(table, "")

    for row in report.rounds:
        _show_guard(row, console)
    console.print("")
    for sentence in summary(report):
        console.print(plain(sentence))
    for note in evaluation.notes:
        console.print(plain(f"note: {_safe(note)}", "yellow"))
    console.print(plain(f"The loop ended: {_safe(report.stopped)}.", "bold"))


def _show_guard(row: RoundRow, console: Console) -> None:
    """A line for the round, and one for each measure that got worse or could not be looked at."""
    head = plain(f"guard: round {row.number} ", "bold") + plain(row.verdict, "red" if row.rolled_back else "green")
    failures = [check.sentence for check in row.checks if check.worse]
    if row.checks and not failures:
        head += plain(f", nothing got worse beyond its tolerance ({len(row.checks)} looked at)")
    console.print(head)
    for sentence in failures or ([row.why] if row.why else []):
        console.print(Padding(plain(_safe(sentence)), (0, 0, 0, 2)))
    left = ", ".join(f"{measure_name(name)} ({why})" for name, why in row.not_checked.items())
    if left:
        console.print(Padding(plain(f"not checked: {_safe(left)}", "dim"), (0, 0, 0, 2)))


def _safe(text: str) -> str:
    return shown(text, 2_000)
