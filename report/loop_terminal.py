"""What a loop prints when it is done, within 80 columns: rounds, comparisons, the guard's checks, and why it ended.

show_loop(report)
"""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Console, RenderableType
from rich.text import Text

from stillroom.common.printing import Table, plain, shown, terminal, wide
from stillroom.evaluation.guard import measure_name
from stillroom.evaluation.results import COLOURS, Evaluation
from stillroom.report.loop import Cell, LoopReport, RoundRow, columns, comparisons, lines, others, summary

NAME, COLUMN = 24, 14
"""Cells of a terminal: of a measure's name, and of a round with the space next to it."""
GAP = 2


def show_loop(report: LoopReport, console: Console | None = None) -> None:
    """Prints the report."""
    console = wide(console or terminal())
    for part in _parts(report, console.width):
        console.print(part)


def _parts(report: LoopReport, width: int) -> Iterator[RenderableType]:
    at_once = max(1, (width - NAME) // COLUMN)
    for start in range(0, len(columns(report)), at_once):
        yield _rounds(report, start, start + at_once)
        yield ""
    if others(report.evaluation):
        yield _others(report.evaluation)
        yield ""
    if report.evaluation.comparisons:
        yield _comparisons(report.evaluation)
        yield ""
    yield from (_guard(row) for row in report.rounds)
    yield ""
    yield from (plain(sentence) for sentence in summary(report))
    yield from (plain(f"note: {_safe(note)}", "yellow") for note in report.evaluation.notes)
    yield plain(f"The loop ended: {_safe(report.stopped)}.", "bold")


def _table(*headers: str, right: bool = True) -> Table:
    table = Table(box=None, padding=(0, GAP, 0, 0), pad_edge=False, header_style="bold")
    for i, header in enumerate(headers):
        table.add_column(header, justify="right" if i and right else "left", overflow="fold")
    return table


def _rounds(report: LoopReport, start: int, end: int) -> Table:
    table = _table("", *(column.name for column in columns(report)[start:end]))
    table.columns[0].width = NAME - GAP
    for line in lines(report):
        cells = line.cells[start:end]
        table.add_row(_safe(line.name), *(_shown(cell) for cell in cells))
    return table


def _shown(cell: Cell) -> Text:
    text = plain(cell.text, "red" if cell.worse else "")
    return text + plain(f"\n{cell.limits}", "dim") if cell.limits else text


def _others(evaluation: Evaluation) -> Table:
    table = _table("for comparison", "accuracy", "95 %", "EOS", "tokens", "n")
    for name, (accuracy, stopped, tokens, n) in others(evaluation):
        cells = (accuracy.text, accuracy.limits, stopped.text, tokens.text, n.text)
        table.add_row(_safe(name), *cells)
    return table


def _comparisons(evaluation: Evaluation) -> Table:
    table = _table("differences in points", "", "95 %", "after Holm", "", right=False)
    for c in comparisons(evaluation):
        word = plain(c.word, COLOURS[c.word])
        table.add_row(_safe(c.names), c.change.text, c.change.limits, c.p_holm, word)
    return table


def _guard(row: RoundRow) -> Text:
    """A line for the round, and one for each measure that got worse or could not be looked at."""
    text = Text(f"guard: round {row.number} ", style="bold")
    text.append(row.verdict, style="red" if row.rolled_back else "green")
    failures = [check.sentence for check in row.checks if check.worse]
    if row.checks and not failures:
        text.append(f", nothing got worse beyond its tolerance ({len(row.checks)} looked at)", style="not bold")
    told = failures or ([row.why] if row.why else [])
    for sentence in told:
        text.append(f"\n  {_safe(sentence)}", style="not bold")
    left = ", ".join(f"{measure_name(name)} ({why})" for name, why in row.not_checked.items())
    if left:
        text.append(f"\n  not checked: {_safe(left)}", style="not bold dim")
    return text


def _safe(text: str) -> str:
    return shown(text, 2_000)
