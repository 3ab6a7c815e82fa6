"""An evaluation of the preference path as a table: what the student writes, the pairs, what was not trained.

terminal().print(preference_table(read_eval(run / "eval.json")))
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

from stillroom.common.formatting import interval, number, p_words, points, share, signed
from stillroom.common.printing import Table, plain
from stillroom.evaluation.results import AFTER, BEFORE, Evaluation, Result, extra
from stillroom.report.evaluation_table import Fitted

_JUDGE = re.compile(r"pairs_judge|other_judge(?:_\d+)?")


class _Unit(NamedTuple):
    """How the values of a measure are shown, and their limits: with `digits`, `of` times what they are."""

    value: Callable[[float], str]
    digits: int
    of: float = 1


_SHARE = _Unit(share, 1, 100)
_COUNT = _Unit(number, 0)
_SCORE = _Unit(lambda value: number(value, 3), 3)
_GAIN = _Unit(lambda value: signed(value, 3), 3)


class _Line(NamedTuple):
    label: str
    metric: str
    unit: _Unit


_SIDES = (_Line("stopped by itself", "share_stopped", _SHARE), _Line("tokens", "mean_completion_tokens", _COUNT))
_FORGOTTEN = (_Line("not trained: answers right", "untrained_accuracy", _SHARE),)
_SCORES = (_Line("{0} score", "_score", _SCORE),)
_GAINS = (
    _Line("{0} score", "_score_raw", _GAIN),
    _Line("  at equal length", "_score_at_equal_length", _GAIN),
    _Line("  of matched length", "_score_matched_length", _GAIN),
)
_WINS = (
    _Line("{0} judge: wins", "_win_rate", _SHARE),
    _Line("  at equal length", "_win_rate_at_equal_length", _SHARE),
)
_PAIRS = (
    _Line("preferred by implicit reward", "implicit_reward_accuracy", _SHARE),
    _Line("  per token", "implicit_reward_accuracy_per_token", _SHARE),
    _Line("likelier for the model before", "likelihood_accuracy", _SHARE),
    _Line("the shorter one is chosen", "pair_accuracy", _SHARE),
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
            page.add_row(Fitted(table, 0))
    for c in evaluation.comparisons:
        change = f"{points(c.difference)} points {interval(c.low, c.high)}"
        page.add_row(plain(f"\nnot trained, after − before: {change}, McNemar exact {p_words(c.p)}, n = {c.n:,}"))
    for note in evaluation.notes:
        page.add_row(plain(f"note: {note}", "yellow"))
    return page


def _of_judges(evaluation: Evaluation, lines: tuple[_Line, ...]) -> tuple[_Line, ...]:
    """The lines for every judge, the pairs' first. Rows say in `judge` what kind it is."""
    kinds: dict[str, str] = {}
    for row in evaluation.results:
        if (kind := extra(row, "judge")) is not None:
            found = _JUDGE.match(row.metric)
            kinds.setdefault(found[0] if found else row.metric, str(kind))
    return tuple(
        _Line(line.label.format(kind), name + line.metric, line.unit)
        for name, kind in kinds.items()
        for line in lines
    )


def _table(title: str, *columns: str) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column(title, min_width=30)
    for name in columns:
        table.add_column(name, justify="left" if "%" in name else "right", no_wrap=True)
    return table


def _sides(evaluation: Evaluation, lines: tuple[_Line, ...]) -> Table:
    table = _table("held-out prompts", "before", "95 % interval", "after", "95 % interval", "n")
    for label, metric, unit in lines:
        before, after = evaluation.find(BEFORE, metric), evaluation.find(AFTER, metric)
        if before is not None and after is not None:
            table.add_row(label, *_cells(before, unit), *_cells(after, unit), number(after.n))
    return table


def _one_column(evaluation: Evaluation, title: str, lines: tuple[_Line, ...]) -> Table:
    table = _table(f"\n{title}", "\nvalue", "\n95 % interval", "\nn")
    found = {row.metric: row for row in evaluation.results}
    for label, metric, unit in lines:
        if (row := found.get(metric)) is not None:
            table.add_row(label, *_cells(row, unit), number(row.n))
    return table


def _cells(row: Result, unit: _Unit) -> tuple[str, str]:
    return unit.value(row.value), interval(row.low, row.high, unit.digits, of=unit.of)
