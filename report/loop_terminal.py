"""What a loop prints when it is done, within 80 columns: rounds, comparisons, the guard's checks, and why it ended.

show_loop(report)
"""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

from stillroom.common.printing import Table, plain, shown, terminal, wide
from stillroom.evaluation.guard import measure_name
from stillroom.evaluation.results import COLOURS
from stillroom.report.loop import LoopReport, RoundRow, comparisons, lines, others, students_of, summary

NAME, COLUMN = 24, 14
"""Cells of a terminal: of a measure's name, and of a round with the space next to it."""
GAP = 2


def show_loop(report: LoopReport, console: Console | None = None) -> None:
    """Prints the report."""
    console = wide(console or terminal())
    at_once, students = max(1, (console.width - NAME) // COLUMN), students_of(report)
    for start in range(0, len(students), at_once):
        table = _table("", *(student.name for student in students[start : start + at_once]))
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
        table = _table("for comparison", "accuracy", "95 %", "EOS", "tokens", "n")
        for name, (accuracy, stopped, tokens, n) in others(evaluation):
            table.add_row(_safe(name), accuracy.text, accuracy.limits, stopped.text, tokens.text, n.text)
        console.print(table, "")
    if evaluation.comparisons:
        table = _table("differences in points", "", "95 %", "after Holm", "", right=False)
        for c in comparisons(evaluation):
            word = plain(c.word, COLOURS[c.word])
            table.add_row(_safe(c.names), c.change.text, c.change.limits, c.p_holm, word)
        console.print(table, "")

    for row in report.rounds:
        console.print(_guard(row))
    console.print("")
    for sentence in summary(report):
        console.print(plain(sentence))
    for note in evaluation.notes:
        console.print(plain(f"note: {_safe(note)}", "yellow"))
    console.print(plain(f"The loop ended: {_safe(report.stopped)}.", "bold"))


def _table(*headers: str, right: bool = True) -> Table:
    table = Table(box=None, padding=(0, GAP, 0, 0), pad_edge=False, header_style="bold")
    for i, header in enumerate(headers):
        table.add_column(header, justify="right" if i and right else "left", overflow="fold")
    return table


def _guard(row: RoundRow) -> Text:
    """A line for the round, and one for each measure that got worse or could not be looked at."""
    text = Text(f"guard: round {row.number} ", style="bold")
    text.append(row.verdict, style="red" if row.rolled_back else "green")
    failures = [check.sentence for check in row.checks if check.worse]
    if row.checks and not failures:
        text.append(f", nothing got worse beyond its tolerance ({len(row.checks)} looked at)", style="not bold")
    for sentence in failures or ([row.why] if row.why else []):
        text.append(f"\n  {_safe(sentence)}", style="not bold")
    left = ", ".join(f"{measure_name(name)} ({why})" for name, why in row.not_checked.items())
    if left:
        text.append(f"\n  not checked: {_safe(left)}", style="not bold dim")
    return text


def _safe(text: str) -> str:
    return shown(text, 2_000)
