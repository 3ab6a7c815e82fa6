"""Several runs in one table, for 80 columns: cost, rows, what the student is worth, tokens of an answer.

    terminal().print(runs_table(lines, comparisons, notes))

Every measured number has its interval. What was not measured, or has no price, is a dash.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from rich.console import Group, RenderableType

from stillroom.common.formatting import NOTHING, interval, money, number, p_value, points, share
from stillroom.common.printing import columns, plain
from stillroom.evaluation.results import Comparison, Result


class RunLine(NamedTuple):
    """One run. `requests`, `tokens`: of its teachers and judges, cancelled ones included, local students left out;
    `replayed`: the teacher is a recording, so nobody was paid for them. `usd`: None without prices. `rows`: to train
    on. `metric`: accuracy or win rate, None where nothing was measured; `result`, `answer_tokens`: of its student
    after training."""

    name: str
    requests: int
    tokens: int
    usd: float | None
    replayed: bool
    rows: int | None
    metric: str | None
    result: Result | None
    answer_tokens: Result | None

    def as_dict(self) -> dict[str, Any]:
        """Plain data, for JSON."""
        rows = {"result": self.result, "answer_tokens": self.answer_tokens}
        measured = {
            name: None if row is None else row.model_dump(mode="json", exclude_none=True)
            for name, row in rows.items()
        }
        return self._asdict() | measured


def runs_table(lines: Sequence[RunLine], comparisons: Sequence[Comparison], notes: Sequence[str]) -> RenderableType:
    """The runs, the differences between those on the same tasks, and the notes."""
    parts: list[RenderableType] = [_costs(lines), "", _worth(lines)]
    if comparisons:
        parts += ["", "Differences in points, on the same held-out tasks", _differences(comparisons)]
    if any(line.replayed for line in lines):
        parts += ["", plain("* a recording: replayed, nothing was paid")]
    parts += [plain(f"note: {note}") for note in notes]
    return Group(*parts)


def _costs(lines: Sequence[RunLine]) -> RenderableType:
    numbers = ("requests", "tokens", "cost", "rows")
    table = columns("run", *numbers, right=numbers)
    for line in lines:
        rows = NOTHING if line.rows is None else number(line.rows)
        cost = NOTHING if line.usd is None else money(line.usd)
        star = "*" if line.replayed else ""
        table.add_row(line.name, number(line.requests) + star, number(line.tokens) + star, cost, rows)
    return table


def _worth(lines: Sequence[RunLine]) -> RenderableType:
    numbers = ("value", "95 % interval", "n", "tokens each", "95 %")
    table = columns("student of", "measure", *numbers, right=numbers)
    for line in lines:
        if (found := line.result) is None:
            table.add_row(line.name, NOTHING, *[NOTHING] * len(numbers))
            continue
        length = line.answer_tokens
        each = (
            (NOTHING, NOTHING)
            if length is None
            else (number(length.value), interval(length.low, length.high, 0, of=1))
        )
        value = (share(found.value), interval(found.low, found.high), number(found.n))
        table.add_row(line.name, line.metric or "", *value, *each)
    return table


def _differences(comparisons: Sequence[Comparison]) -> RenderableType:
    numbers = ("points", "95 % interval", "p, Holm", "n")
    table = columns("runs", *numbers, "", right=numbers)
    for each in comparisons:
        word = "unclear" if each.verdict == "no clear difference" else each.verdict
        left_out = f", {each.left_out:,} not shared" if each.left_out else ""
        difference = (
            points(each.difference),
            interval(each.low, each.high),
            p_value(each.corrected_p),
            number(each.n),
        )
        table.add_row(f"{each.a} − {each.b}", *difference, word + left_out)
    return table
