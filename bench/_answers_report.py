"""What is printed and kept of a run: the table, the details under it, the data for `--json`; how errors are counted.

An accepted pair whose label is false is a false accept; a pair whose label is true and that is not accepted is a
miss, unscored or not. It refuses nothing and measures nothing.

    report = Report("0.9.0", verbose=False)
    report.line("errors", "no more", "2", "0")
    print(report.table())
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterable
from typing import Any, NamedTuple

from bench._answers_pairs import Row
from stillroom.common.records import State, Verdict

NONE = "–"
"""What stands in the table where nothing was measured."""


class Errors(NamedTuple):
    """What a side got wrong among rows with a label. `unscored`: of the misses, those left unscored.

    >>> found = Errors(rows=100, false_accepts=1, misses=4, unscored=3)
    >>> print(found.total, found.agreed, found)
    5 0.95 false accepts: 1, misses: 4 (unscored: 3)
    """

    rows: int
    false_accepts: int
    misses: int
    unscored: int

    @property
    def total(self) -> int:
        """False accepts and misses."""
        return self.false_accepts + self.misses

    @property
    def agreed(self) -> float:
        """Share of the rows where verdict and label agree, 0 to 1."""
        return 1 - self.total / self.rows

    def __str__(self) -> str:
        unscored = f" (unscored: {self.unscored})" if self.unscored else ""
        return f"false accepts: {self.false_accepts}, misses: {self.misses}{unscored}"


def errors(rows: list[Row], verdicts: Iterable[Verdict]) -> Errors:
    """Counts what disagrees with the labels. Raises ValueError where there is not one verdict for each row.

    >>> errors([Row("1", "2", False), Row("1", "1", True)], [Verdict(State.ACCEPTED, "equal")] * 2)
    Errors(rows=2, false_accepts=1, misses=0, unscored=0)
    """
    counts = Counter((row.label, verdict.state) for row, verdict in zip(rows, verdicts, strict=True))
    unscored = counts[True, State.UNSCORED]
    return Errors(len(rows), counts[False, State.ACCEPTED], counts[True, State.REJECTED] + unscored, unscored)


class Report:
    """Collects the lines of the table, the details under it and the data for `--json`.

    `rival`: the version of Math-Verify, for the head of the table. `verbose`: disagreements are listed in full.
    """

    def __init__(self, rival: str, *, verbose: bool) -> None:
        self.lines: list[tuple[str, str, str, str]] = []
        self.details: list[str] = []
        self.data: dict[str, Any] = {}
        self._rival, self._verbose = rival, verbose

    def line(self, name: str, asked: str, theirs: str, ours: str) -> None:
        """One line of the table."""
        self.lines.append((name, asked, theirs, ours))

    def disagreements(self, name: str, rows: list[Row], ours: list[Verdict], theirs: list[Verdict] | None) -> None:
        """The rows where ours disagrees with the label: into the data, and when verbose under the table."""
        found = [
            shown(row, verdict, theirs[place] if theirs else None)
            for place, (row, verdict) in enumerate(zip(rows, ours, strict=True))
            if row.label is not (verdict.state is State.ACCEPTED)
        ]
        self.data.setdefault(name, {})["disagreements"] = found
        if self._verbose and found:
            self.details.append(f"{name}: {len(found)} rows where ours disagrees")
            self.details += [f"  {json.dumps(each, ensure_ascii=False)}" for each in found]

    def table(self) -> str:
        """The lines as an aligned Markdown table."""
        rows = [("", "ours must", f"Math-Verify {self._rival}", "ours"), *self.lines]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = ["| " + " | ".join(map(str.ljust, row, widths)) + " |" for row in rows]
        return "\n".join([lines[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *lines[1:]])


def shown(row: Row, verdict: Verdict, theirs: Verdict | None) -> dict[str, Any]:
    """A row and its verdict as plain data, cut for reading: an answer is at its end."""
    made = {"kind": row.kind} if row.kind else {}
    said = {"verdict": verdict.state, "reason": verdict.reason, "detail": verdict.detail}
    other = {"math_verify": theirs.state} if theirs else {}
    return {**made, "gold": row.gold[-80:], "answer": row.answer[-80:], "label": row.label, **said, **other}


def progress(text: str) -> None:
    """A line for the person who waits, on the error stream: the output is the table alone."""
    print(text, file=sys.stderr, flush=True)
