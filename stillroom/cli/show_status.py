"""Prints the state of a run: what its ledger holds, what that has cost, what running it now would cost."""

from __future__ import annotations

from collections.abc import Sequence

from stillroom.common.formatting import NOTHING, money
from stillroom.common.printing import Table, plain, terminal, wide
from stillroom.evaluation.results import ACCURACY, Evaluation
from stillroom.pipeline.planning.status import StageCost, Status
from stillroom.sampling.ledger.salvage import Salvaged


def show_status(found: Status) -> None:
    """Prints it."""
    console = wide(terminal())
    if found.salvaged is not None:
        console.print(_salvage_in_words(found.salvaged), soft_wrap=True)
    state = f"finished {found.finished}" if found.finished else "not finished"
    where = plain(f"{found.name} in {found.folder}", "bold")
    console.print(where + plain(f": started {found.started}, {state}"), soft_wrap=True)
    if found.parts:
        console.print(parts_table(found.parts))
    console.print(_held(found))
    if found.costs:
        console.print()
        console.print(_costs_table(found.costs))
    if found.plan is not None:
        console.print()
        found.plan.show(console)
    elif found.no_plan:
        console.print(f"what would be paid for now cannot be said: {found.no_plan}", soft_wrap=True)
    if found.evaluation is not None:
        console.print(_evaluated(found.evaluation))


def _evaluated(evaluation: Evaluation) -> Table:
    from stillroom.report.evaluation_table import eval_table
    from stillroom.report.preference_table import preference_table

    traces = any(row.metric == ACCURACY for row in evaluation.results)
    return eval_table(evaluation) if traces else preference_table(evaluation)


def _held(found: Status) -> Table:
    t, table = found.totals, Table(box=None, padding=(0, 2), pad_edge=False, show_header=False)
    table.add_column()
    table.add_column(justify="right")
    for state, n in sorted(found.verdicts.items()):
        table.add_row(f"attempts {state}" if state != "none" else "attempts without a verdict", f"{n:,}")
    table.add_row("requests failed", f"{t.failures:,}")
    for kind, n in sorted(found.failures.items()) if len(found.failures) > 1 else ():
        table.add_row(f"  {kind}", f"{n:,}")
    unknown = f" + {t.cancelled_unknown:,} unknown" if t.cancelled_unknown else ""
    table.add_row("requests cancelled (tokens)", f"{t.cancelled:,} ({t.cancelled_tokens:,}{unknown})")
    if found.rows is not None:
        table.add_row("rows written", f"{found.rows:,}")
    return table


def _costs_table(costs: Sequence[StageCost]) -> Table:
    table = Table(box=None, padding=(0, 2), pad_edge=False)
    table.add_column("cost so far", overflow="fold")
    for column in ("requests", "tokens asked", "answered", "money"):
        table.add_column(column, justify="right", no_wrap=True)
    for cost in costs:
        usd = NOTHING if cost.usd is None else money(cost.usd)
        numbers = (cost.requests, cost.prompt_tokens, cost.completion_tokens + cost.cancelled_tokens)
        table.add_row(cost.stage, *(f"{n:,}" for n in numbers), usd)
    return table


def _salvage_in_words(s: Salvaged) -> str:
    saved = (
        f"saved {s.attempts:,} attempts, {s.verdicts:,} verdicts, {s.failures:,} failures, {s.cancelled:,} cancelled"
    )
    lost = f"lost {s.missing:,} attempts; {s.broken:,} damaged rows, {s.orphans:,} verdicts of lost attempts left out"
    return f"{saved}\n{lost}\nthe damaged file is kept as {s.kept}"


def parts_table(parts: dict[str, Status]) -> Table:
    """A line for each run."""
    table = Table(box=None, padding=(0, 2), pad_edge=False)
    table.add_column("run")
    for column in ("attempts", "accepted", "rows", "tokens"):
        table.add_column(column, justify="right")
    table.add_column("state")
    for name, part in parts.items():
        rows = "–" if part.rows is None else f"{part.rows:,}"
        accepted, attempts = part.verdicts.get("accepted", 0), sum(part.verdicts.values())
        counts = (f"{attempts:,}", f"{accepted:,}", rows, f"{part.totals.completion_tokens:,}")
        table.add_row(name, *counts, "finished" if part.finished else "not finished")
    return table
