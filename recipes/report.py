"""What commands print on standard output when they are done: tables for people."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from stillroom.recipes.agreement import Agreement
from stillroom.recipes.runner import RunResult
from stillroom.traces.answers import CheckSummary, Reason, state_of

SHOWN_DISAGREEMENTS = 20


def show_result(result: RunResult) -> None:
    """The outcome of a run."""
    console = Console(highlight=False)
    if result.agreement is not None:
        _show_agreement(console, result.agreement)
    if result.evaluation is not None:
        from stillroom.students.evaluate.table import eval_table

        console.print(eval_table(result.evaluation))
    folder = escape(str(result.folder / "sft"))
    console.print(f"{result.rows:,} rows in {folder}; everything else beside them", soft_wrap=True)


def _show_agreement(console: Console, agreement: Agreement) -> None:
    share = f"{agreement.share:.2%} [{agreement.low:.2%}, {agreement.high:.2%}]"
    console.print(f"agreement with the recorded grades: {share}, {agreement.agreed:,} of {agreement.graded:,}")
    if not agreement.disagreements:
        return
    table = Table(
        title="where check and grade differ", title_justify="left", box=None, padding=(0, 2), pad_edge=False
    )
    for column in ("task", "draw", "grade", "our verdict", "reference", "read"):
        table.add_column(column, overflow="fold")
    for d in agreement.disagreements[:SHOWN_DISAGREEMENTS]:
        grade = "right" if d.grade else "wrong"
        cells = (d.task_id, str(d.index), grade, f"{d.verdict} ({d.reason})", (d.reference or "")[-40:], d.read[:60])
        table.add_row(*map(escape, cells))
    console.print(table)
    hidden = len(agreement.disagreements) - SHOWN_DISAGREEMENTS
    if hidden > 0:
        console.print(f"and {hidden:,} more in agreement.json")


def show_check(summary: CheckSummary, out: Path | None) -> None:
    """What a check of a file came to."""
    console = Console(highlight=False)
    table = Table(box=None, padding=(0, 2), pad_edge=False)
    table.add_column("verdict")
    table.add_column("reason")
    table.add_column("answers", justify="right")
    table.add_column("share", justify="right")
    facts = summary.as_dict()
    counted = [(state_of(Reason(reason)).value, str(reason), n) for reason, n in summary.reasons.items()]
    for state, reason, n in sorted(counted, key=lambda row: (row[0], -row[2])):
        table.add_row(state, reason, f"{n:,}", f"{n / summary.rows:.1%}")
    console.print(table)
    expected = facts["expected"]
    if expected is not None:
        share = expected["agreed"] / expected["labelled"]
        console.print(f"as expected: {expected['agreed']:,} of {expected['labelled']:,} labelled ({share:.1%})")
    written = f"; one verdict a line in {escape(str(out))}" if out is not None else ""
    console.print(f"{summary.rows:,} answers in {summary.seconds:.1f} s{written}", soft_wrap=True)
