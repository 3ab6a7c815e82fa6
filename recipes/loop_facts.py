"""What the report of a loop says, whether on a page or in the terminal: its rounds, its comparisons, in words.

    report = LoopReport("self_distill", rounds=(RoundRow(1, tasks=300, attempts=900, accepted=210),),
                        evaluation=evaluation, stopped="all 3 rounds are done")
    summary(report)                     # what came of it, one sentence each
    lines(report)                       # the table of rounds: a line for each measure, a cell for each round

The models of the evaluation are `student_before`, `round_1`, `round_2` … and the controls. Refuses to say that a
difference was shown where its p, corrected for all comparisons, is not below 5 %.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from stillroom.recipes.display import duration
from stillroom.students.evaluate.guard import Check
from stillroom.students.evaluate.guard_checks import DISTINCT_RUNS, UNTRAINED
from stillroom.students.evaluate.results import ACCURACY, MEAN_TOKENS, SHARE_STOPPED, Comparison, Evaluation, Result
from stillroom.students.evaluate.round_points import BEFORE, OF_UNTRAINED, PERPLEXITY, ROUND, number_of

ALPHA = 0.05
NOTHING = "–"
SEVERAL = ("pass_at_", "majority_at_", "accuracy_over_seeds")
"""Metrics that rest on more than one answer a task."""
SHARES = {ACCURACY: "accuracy", SHARE_STOPPED: "stops by itself", "share_repeating": "repeats itself"}


@dataclass(frozen=True, slots=True)
class RoundRow:
    """One round, from 1. None: not known, or it did not come to that.

    `attempts`: drawn for its tasks; `accepted`: those of them that were right. `rows`: what it trained on.
    `seconds`: what the round took; at least, where it was `resumed`: what a killed call took, nobody wrote down.
    `sampler`: who sampled, in words. `checks` and `not_checked`: what the guard said. `why`: why it was rolled back.
    `traces`: a few of the round's, as (prompt, answer).
    """

    number: int
    tasks: int | None = None
    attempts: int | None = None
    accepted: int | None = None
    rows: int | None = None
    seconds: float | None = None
    sampler: str = ""
    checks: tuple[Check, ...] = ()
    not_checked: Mapping[str, str] = field(default_factory=dict)
    rolled_back: bool = False
    why: str = ""
    traces: tuple[tuple[str, str], ...] = ()
    resumed: bool = False

    @property
    def verdict(self) -> str:
        """What became of it, in a word or two."""
        return "rolled back" if self.rolled_back else "kept" if self.checks else "kept, unchecked"


@dataclass(frozen=True, slots=True)
class LoopReport:
    """All of a loop. `settings`: each named and said in words. `stopped`: why it ended. `plots`: SVG or PNG files."""

    name: str
    rounds: tuple[RoundRow, ...]
    evaluation: Evaluation
    stopped: str
    settings: tuple[tuple[str, str], ...] = ()
    plots: tuple[Path, ...] = ()

    @property
    def last_kept(self) -> RoundRow | None:
        """None where none was kept."""
        return next((row for row in reversed(self.rounds) if not row.rolled_back), None)


# -- what came of it ---------------------------------------------------------------------------------------------


def summary(report: LoopReport) -> list[str]:
    """What the last kept round got, and whether that is more than round 1 and the model before: a sentence each."""
    last = report.last_kept
    if last is None:
        return ["No round was kept, so the loop has no student."]
    who, found = f"{ROUND}{last.number}", report.evaluation.find(f"{ROUND}{last.number}")
    if found is None:
        return [f"Round {last.number} was kept, and was not measured."]
    limits = between(found.low, found.high)
    got = f"got {100 * found.value:.1f} % {limits} of {found.n:,} held-out tasks right"
    after = "" if last is report.rounds[-1] else "; the round after it was rolled back"
    sentences = [f"The student of round {last.number} {got}{after}."]
    for other in (f"{ROUND}1", BEFORE):
        sentences += [
            _told(c) for c in report.evaluation.comparisons if (c.a, c.b) == (who, other) and not metric_of(c)
        ]
    return sentences


def _told(c: Comparison) -> str:
    change = f"{points(c.difference)} points {between(c.low, c.high)}, p {p_text(corrected_p(c))} after Holm"
    other = "the model before any" if c.b == BEFORE else said(c.b)
    if shown(c):
        return f"It is {'above' if c.difference > 0 else 'below'} {other}: {change}."
    reach = detectable(c)
    least = f"; {c.n:,} tasks could have shown about {100 * reach:.0f} points" if reach is not None else ""
    return f"It is not shown to differ from {other}: {change}{least}."


# -- comparisons -------------------------------------------------------------------------------------------------


def shown(c: Comparison) -> bool:
    """Whether the difference is shown, all comparisons considered."""
    return corrected_p(c) < ALPHA


def verdict(c: Comparison) -> str:
    """`better`, `worse` or `not shown`, of a against b."""
    return ("better" if c.difference > 0 else "worse") if shown(c) else "not shown"


def corrected_p(c: Comparison) -> float:
    """After Holm; as it is where nobody corrected it."""
    return _extra(c, "p_holm", c.p)


def detectable(c: Comparison) -> float | None:
    """The smallest difference that so many tasks could have shown, where that is known."""
    found = _extra(c, "detectable", -1.0)
    return found if found >= 0 else None


def metric_of(c: Comparison) -> str:
    """Of what, where it is not the accuracy on the held-out tasks: `letters`."""
    found = (c.model_extra or {}).get("metric")
    return found.removesuffix(OF_UNTRAINED) if isinstance(found, str) and found != ACCURACY else ""


def _extra(c: Comparison, key: str, default: float) -> float:
    found = (c.model_extra or {}).get(key)
    return float(found) if isinstance(found, int | float) else default


# -- the table of rounds -----------------------------------------------------------------------------------------


class Cell(NamedTuple):
    """`limits`: the 95 % interval, where there is one. `worse`: the guard says so."""

    text: str = NOTHING
    limits: str = ""
    worse: bool = False


class Line(NamedTuple):
    """One measure, with a cell for each column."""

    name: str
    cells: tuple[Cell, ...]


class Column(NamedTuple):
    """A student. `row`: None for the model before any round."""

    who: str
    row: RoundRow | None

    @property
    def name(self) -> str:
        """As it is shown."""
        return said(self.who)


def columns(report: LoopReport) -> tuple[Column, ...]:
    """The model before any round, where it was measured, and every round."""
    before = (Column(BEFORE, None),) if BEFORE in report.evaluation.whos else ()
    return (*before, *(Column(f"{ROUND}{row.number}", row) for row in report.rounds))


def lines(report: LoopReport) -> list[Line]:
    """What is known of at least one round, measure by measure."""
    found = [Line(name, tuple(of(column) for column in columns(report))) for name, of in _measures(report.evaluation)]
    return [line for line in found if any(cell != Cell() for cell in line.cells)]


Of = Callable[[Column], Cell]


def _measures(evaluation: Evaluation) -> Iterator[tuple[str, Of]]:
    yield "tasks", _counted(lambda row: row.tasks)
    yield "attempts", _counted(lambda row: row.attempts)
    yield "accepted", _accepted
    yield "rows trained on", _counted(lambda row: row.rows)
    for metric, name in SHARES.items():
        yield name, _result(evaluation, metric, share)
    for metric in of_several(evaluation):
        yield _several_said(metric), _result(evaluation, metric, share)
    yield "tokens", _result(evaluation, MEAN_TOKENS, lambda row: Cell(f"{row.value:,.0f}"))
    yield "diversity of traces", _diversity
    for metric in untrained(evaluation):
        yield f"untrained: {said(metric.removesuffix(OF_UNTRAINED))}", _result(evaluation, metric, share)
    yield "perplexity", _result(evaluation, PERPLEXITY, _surprise)
    yield "time", _of_row(_took)
    yield "guard", _of_row(lambda row: Cell(row.verdict, worse=row.rolled_back))


def of_several(evaluation: Evaluation) -> list[str]:
    """The shares that rest on several answers or trainings, each once, in order."""
    return list(dict.fromkeys(r.metric for r in evaluation.results if r.metric.startswith(SEVERAL)))


def _several_said(metric: str) -> str:
    """`pass_at_8`: pass@8."""
    return "accuracy over seeds" if metric == SEVERAL[-1] else metric.replace("_at_", "@")


def untrained(evaluation: Evaluation) -> list[str]:
    """The metrics of what was not trained, each once, in order."""
    return list(dict.fromkeys(r.metric for r in evaluation.results if r.metric.endswith(OF_UNTRAINED)))


def share(row: Result) -> Cell:
    """In per cent; whole ones in the interval, which is no more exact than that."""
    return Cell(f"{100 * row.value:.1f} %", _roughly(100 * row.low, 100 * row.high))


def _surprise(row: Result) -> Cell:
    return Cell(f"{row.value:,.4g}", f"[{row.low:,.3g}, {row.high:,.3g}]")


def _took(row: RoundRow) -> Cell | None:
    return None if row.seconds is None else Cell(f"{'≥ ' if row.resumed else ''}{duration(row.seconds)}")


def _of_row(of: Callable[[RoundRow], Cell | None]) -> Of:
    return lambda column: (of(column.row) if column.row is not None else None) or Cell()


def _counted(of: Callable[[RoundRow], int | None]) -> Of:
    def cell(row: RoundRow) -> Cell | None:
        count = of(row)
        return None if count is None else Cell(f"{count:,}")

    return _of_row(cell)


def _accepted(column: Column) -> Cell:
    row = column.row
    if row is None or row.accepted is None:
        return Cell()
    return Cell(f"{100 * row.accepted / row.attempts:.1f} %" if row.attempts else f"{row.accepted:,}")


def _result(evaluation: Evaluation, metric: str, cell: Callable[[Result], Cell]) -> Of:
    def of(column: Column) -> Cell:
        found = evaluation.find(column.who, metric)
        return Cell() if found is None else cell(found)._replace(worse=_worse(column, metric))

    return of


def _worse(column: Column, metric: str) -> bool:
    family = f"{UNTRAINED}:{metric.removesuffix(OF_UNTRAINED)}"
    return column.row is not None and any(c.worse and c.measure in (metric, family) for c in column.row.checks)


def _diversity(column: Column) -> Cell:
    """Against the round before: two rounds of another size cannot be put in one row otherwise."""
    checks = column.row.checks if column.row is not None else ()
    found = next((c for c in checks if c.measure == DISTINCT_RUNS), None)
    if found is None:
        return Cell()
    return Cell(f"{points(found.difference)} %", _roughly(100 * found.low, 100 * found.high), found.worse)


# -- words -------------------------------------------------------------------------------------------------------


def said(name: str) -> str:
    """A name of the evaluation, as it is shown: `round 1`, `before`, `control unfiltered`."""
    return "before" if name == BEFORE else f"round {number_of(name)}" if number_of(name) else name.replace("_", " ")


def points(change: float) -> str:
    """Hundredths with their sign; a change that rounds to nothing has none."""
    text = f"{100 * change:+.1f}".replace("-", "−")
    return "0.0" if text in ("+0.0", "−0.0") else text


def between(low: float, high: float) -> str:
    """`[−3.1, 12.0]`, in hundredths."""
    return f"[{_plain(low)}, {_plain(high)}]"


def _roughly(low: float, high: float) -> str:
    """`[−3, 12]`."""
    return f"[{round(low)}, {round(high)}]".replace("-", "−")


def _plain(share: float) -> str:
    text = f"{100 * share:.1f}"
    return "0.0" if text == "-0.0" else text.replace("-", "−")


def p_text(p: float) -> str:
    """`= 0.0340`, as it stands behind a p."""
    return "< 0.0001" if p < 0.0001 else f"= {p:.4f}" if p < 0.1 else f"= {p:.2f}"
