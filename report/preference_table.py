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

_JUDGE = re.compile(r"pairs_judge|other_judge(?:_\d+)?")


class _Line(NamedTuple):
    """A measure. `shown`: how a value of it is written, and its limits: with `digits`, `of` times what they are."""

    label: str
    metric: str
    shown: Callable[[float], str]
    digits: int
    of: float = 1

    def cells(self, row: Result) -> tuple[str, str]:
        """The value and its limits."""
        return self.shown(row.value), interval(row.low, row.high, self.digits, of=self.of)


def _score(value: float) -> str:
    return number(value, 3)


def _gain(value: float) -> str:
    return signed(value, 3)


_SIDES = (
    _Line("stopped by itself", "share_stopped", share, 1, 100),
    _Line("tokens", "mean_completion_tokens", number, 0),
)
_SCORES = (_Line("{0} score", "_score", _score, 3),)
_FORGOTTEN = (_Line("not trained: right", "untrained_accuracy", share, 1, 100),)
_GAINS = (
    _Line("{0} score", "_score_raw", _gain, 3),
    _Line("  at equal length", "_score_at_equal_length", _gain, 3),
    _Line("  of matched length", "_score_matched_length", _gain, 3),
)
_WINS = (
    _Line("{0} judge: wins", "_win_rate", share, 1, 100),
    _Line("  at equal length", "_win_rate_at_equal_length", share, 1, 100),
)
_PAIRS = (
    _Line("preferred by implicit reward", "implicit_reward_accuracy", share, 1, 100),
    _Line("  per token", "implicit_reward_accuracy_per_token", share, 1, 100),
    _Line("likelier for the model before", "likelihood_accuracy", share, 1, 100),
    _Line("the shorter one is chosen", "pair_accuracy", share, 1, 100),
)


def preference_table(evaluation: Evaluation) -> Table:
    """One block of four parts; a part that was not measured is left out."""
    page = Table.grid(padding=(0, 0))
    before_and_after = _table("held-out prompts", "before", "95 % interval", "after", "95 % interval", "n")
    for line in (*_SIDES, *_of_judges(evaluation, _SCORES), *_FORGOTTEN):
        before, after = evaluation.find(BEFORE, line.metric), evaluation.find(AFTER, line.metric)
        if before is not None and after is not None:
            before_and_after.add_row(line.label, *line.cells(before), *line.cells(after), number(after.n))
    parts = [before_and_after]
    found = {row.metric: row for row in evaluation.results}
    for title, lines in (
        ("after minus before", _of_judges(evaluation, _GAINS)),
        ("after against before", _of_judges(evaluation, _WINS)),
        ("held-out pairs", _PAIRS),
    ):
        table = _table(f"\n{title}", "\nvalue", "\n95 % interval", "\nn")
        for line in lines:
            if (row := found.get(line.metric)) is not None:
                table.add_row(line.label, *line.cells(row), number(row.n))
        parts.append(table)
    for table in parts:
        if table.row_count:
            page.add_row(table)
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
        line._replace(label=line.label.format(kind), metric=name + line.metric)
        for name, kind in kinds.items()
        for line in lines
    )


def _table(title: str, *columns: str) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column(title.ljust(30))  # as wide in every part, where there is room
    for name in columns:
        table.add_column(name, justify="left" if "%" in name else "right", no_wrap=True)
    return table
