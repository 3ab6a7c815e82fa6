"""An evaluation of the preference path as a table: before, after, their difference; each with its interval.

    Console().print(preference_table(read_eval(run / "eval.json")))

What the student writes comes first, then the pairs, then what was not trained. No number stands without its interval
and its n; what failed stands below.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from stillroom.sampling.printing import Table, plain
from stillroom.students.evaluate.results import Evaluation, Result

BEFORE, AFTER = "student_before", "student_after"


_JUDGE = re.compile(r"pairs_judge|other_judge(?:_\d+)?")


class _Line(NamedTuple):
    """A row: what it says, the metric, and how its values are shown."""

    label: str
    metric: str
    form: str


_SIDES = (
    _Line("stopped by itself", "share_stopped", "share"),
    _Line("tokens", "mean_completion_tokens", "count"),
)
_FORGOTTEN = (_Line("not trained: answers right", "untrained_accuracy", "share"),)
_SCORES = (_Line("{0} score", "_score", "score"),)
_GAINS = (
    _Line("{0} score", "_score_raw", "gain"),
    _Line("  at equal length", "_score_at_equal_length", "gain"),
    _Line("  of matched length", "_score_matched_length", "gain"),
)
_WINS = (
    _Line("{0} judge: wins", "_win_rate", "share"),
    _Line("  at equal length", "_win_rate_at_equal_length", "share"),
)
_PAIRS = (
    _Line("preferred by implicit reward", "implicit_reward_accuracy", "share"),
    _Line("  per token", "implicit_reward_accuracy_per_token", "share"),
    _Line("likelier for the model before", "likelihood_accuracy", "share"),
    _Line("the shorter one is chosen", "pair_accuracy", "share"),
)


def preference_table(evaluation: Evaluation) -> Table:
    """One block of four parts; a part that was not measured is left out."""
    page = Table.grid(padding=(0, 0))
    parts = (
        _sides(evaluation, (*_SIDES, *_of_judges(evaluation, _SCORES), *_FORGOTTEN)),
        _one_column(evaluation, "after minus before", _of_judges(evaluation, _GAINS)),
        _one_column(evaluation, "after against before", _of_judges(evaluation, _WINS)),
        _one_column(evaluation, "held-out pairs", _PAIRS),
    )
    for table in parts:
        if table.row_count:
            page.add_row(table)
    for c in evaluation.comparisons:
        points = f"{100 * c.difference:+.1f} points [{100 * c.low:+.1f}, {100 * c.high:+.1f}]"
        page.add_row(plain(f"\nnot trained, after − before: {points}, McNemar exact p = {c.p:.3g}, n = {c.n}"))
    for note in evaluation.notes:
        page.add_row(plain(f"note: {note}", "yellow"))
    return page


def _name(metric: str) -> str:
    found = _JUDGE.match(metric)
    return found[0] if found else metric


def _of_judges(evaluation: Evaluation, lines: tuple[_Line, ...]) -> tuple[_Line, ...]:
    """The lines for every judge, the pairs' first. Rows say in `judge` what kind it is."""
    kinds: dict[str, str] = {}
    for row in evaluation.results:
        if (kind := (row.model_extra or {}).get("judge")) is not None:
            kinds.setdefault(_name(row.metric), str(kind))
    return tuple(
        _Line(line.label.format(kind), name + line.metric, line.form)
        for name, kind in kinds.items()
        for line in lines
    )


def _table(title: str) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column(title, no_wrap=True, min_width=34)
    return table


def _sides(evaluation: Evaluation, lines: tuple[_Line, ...]) -> Table:
    table = _table("held-out prompts")
    for name in ("before", "95 % interval", "after", "95 % interval", "n"):
        table.add_column(name, justify="right" if "%" not in name else "left", no_wrap=True)
    for line in lines:
        before, after = evaluation.find(BEFORE, line.metric), evaluation.find(AFTER, line.metric)
        if before is not None and after is not None:
            cells = (*_cells(before, line.form), *_cells(after, line.form))
            table.add_row(line.label, *cells, str(after.n))
    return table


def _one_column(evaluation: Evaluation, title: str, lines: tuple[_Line, ...]) -> Table:
    table = _table(f"\n{title}")
    for name, justify in (("\nvalue", "right"), ("\n95 % interval", "left"), ("\nn", "right")):
        table.add_column(name, justify="right" if justify == "right" else "left", no_wrap=True)
    found = {row.metric: row for row in evaluation.results}
    for line in lines:
        if (row := found.get(line.metric)) is not None:
            table.add_row(line.label, *_cells(row, line.form), str(row.n))
    return table


def _cells(row: Result, form: str) -> tuple[str, str]:
    def shown(value: float) -> str:
        match form:
            case "share":
                return f"{100 * value:.1f} %"
            case "count":
                return f"{value:,.0f}"
            case "gain":
                return f"{value:+.3f}"
        return f"{value:.3f}"

    return shown(row.value), f"[{shown(row.low)}, {shown(row.high)}]"
