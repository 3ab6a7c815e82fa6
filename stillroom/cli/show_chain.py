"""Prints what a chain of stages came to: a line for each stage, then the evaluation of all."""

from __future__ import annotations

from rich.console import Console

from stillroom.common.printing import Table, plain, terminal, wide
from stillroom.pipeline.flows.progressive import ProgressiveResult


def show_stages(result: ProgressiveResult, console: Console | None = None) -> None:
    """Prints it."""
    console = wide(console or terminal())
    console.print(_stages(result))
    if result.evaluation is not None:
        from stillroom.report.evaluation_table import eval_table

        console.print()
        console.print(eval_table(result.evaluation))
    console.print(plain(f"students in {result.folder}/stages/*/student"), soft_wrap=True)


def _stages(result: ProgressiveResult) -> Table:
    table = Table(box=None, padding=(0, 2), pad_edge=False)
    table.add_column("stage")
    for column in ("tasks", "attempts", "accepted", "rows"):
        table.add_column(column, justify="right")
    for name, found in result.stages.items():
        counts = (found.tasks, found.attempts, found.accepted, found.rows)
        table.add_row(name, *(f"{n:,}" for n in counts))
    return table
