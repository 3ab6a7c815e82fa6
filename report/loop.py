"""What the report of a loop says: its rounds, its comparisons, in words; on a terminal, and as a page.

    report = LoopReport("self_distill", rounds=(RoundRow(1, tasks=300, attempts=900, accepted=210),),
                        evaluation=evaluation, stopped="all 3 rounds are done")
    summary(report)                     # what came of it, one sentence each
    lines(report)                       # the table of rounds: a line for each measure, a cell for each round
    show_loop(report)                   # prints it, within 80 columns
    write_loop_report(report, run)      # report.html, plots included

The models of the evaluation are `student_before`, `round_1`, `round_2` … and the controls. Says that a difference was
shown only where its p, corrected for all comparisons, is below 5 % and its interval does not hold 0.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import NamedTuple

from rich.console import Console
from rich.padding import Padding

from stillroom.common.files import replaced
from stillroom.common.formatting import NOTHING, duration, interval, number, p_value, p_words, points, share
from stillroom.common.printing import columns, plain, shown, terminal, wide
from stillroom.evaluation import results
from stillroom.evaluation.guard import DISTINCT_RUNS, LENIENT, UNTRAINED, Check, measure_name
from stillroom.evaluation.results import Evaluation, Result, Word, number_of
from stillroom.report.evaluation_table import MEASURES, in_short
from stillroom.report.html import html_page

SEVERAL = ("pass_at_", "majority_at_", "accuracy_over_seeds")
"""Metrics that rest on more than one answer a task."""
SHARES = {results.ACCURACY: "accuracy", results.SHARE_STOPPED: "EOS", "share_repeating": "repeats itself"}


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


# -- what came of it ---------------------------------------------------------------------------------------------


def summary(report: LoopReport) -> list[str]:
    """What the last kept round got, and whether that is more than round 1 and the model before: a sentence each."""
    last = next((row for row in reversed(report.rounds) if not row.rolled_back), None)
    if last is None:
        return ["No round was kept, so the loop has no student."]
    who, found = f"{results.ROUND}{last.number}", report.evaluation.find(f"{results.ROUND}{last.number}")
    if found is None:
        return [f"Round {last.number} was kept, and was not measured."]
    got = f"got {share(found.value)} {interval(found.low, found.high)} of {found.n:,} held-out tasks right"
    after = "" if last is report.rounds[-1] else "; the round after it was rolled back"
    sentences = [f"The student of round {last.number} {got}{after}."]
    for other in (f"{results.ROUND}1", results.BEFORE):
        name = "the model before any" if other == results.BEFORE else said(other)
        for c in (c for c in report.evaluation.comparisons if (c.a, c.b) == (who, other) and not c.of):
            change = f"{points(c.difference)} points {interval(c.low, c.high)}, {p_words(c.corrected_p)} after Holm"
            if c.verdict != "no clear difference":
                sentences.append(f"It is {'above' if c.difference > 0 else 'below'} {name}: {change}.")
                continue
            least = ""
            if c.detectable is not None:
                least = f"; {c.n:,} tasks could have shown about {100 * c.detectable:.0f} points"
            sentences.append(f"It is not shown to differ from {name}: {change}{least}.")
    return sentences


def said(name: str) -> str:
    """A name of the evaluation, as it is shown: `round 1`, `before`, `control unfiltered`."""
    if name == results.BEFORE:
        return "before"
    return f"round {number_of(name)}" if number_of(name) else name.replace("_", " ")


# -- tables ------------------------------------------------------------------------------------------------------


class Cell(NamedTuple):
    """`limits`: the 95 % interval, where there is one. `worse`: the guard says so."""

    text: str = NOTHING
    limits: str = ""
    worse: bool = False


class Line(NamedTuple):
    """One measure with a cell for each column, or one model with a cell for each measure."""

    name: str
    cells: tuple[Cell, ...]


class Compared(NamedTuple):
    """One comparison. `names`: of what with what; the numbers as they are shown."""

    names: str
    change: Cell
    word: Word
    p_holm: str
    p: str
    n: str
    mde: str


class Column(NamedTuple):
    """A student. `row`: that of its round; numbered 0, and empty, for the model before any."""

    who: str
    row: RoundRow

    @property
    def name(self) -> str:
        """As it is shown."""
        return said(self.who)


def students_of(report: LoopReport) -> tuple[Column, ...]:
    """The model before any round, where it was measured, and every round."""
    before = (Column(results.BEFORE, RoundRow(0)),) if results.BEFORE in report.evaluation.whos else ()
    return (*before, *(Column(f"{results.ROUND}{row.number}", row) for row in report.rounds))


def lines(report: LoopReport) -> list[Line]:
    """The table of rounds: what is known of at least one, measure by measure."""
    evaluation, students = report.evaluation, students_of(report)
    found: list[Line] = []

    def add(name: str, cell: Callable[[RoundRow], Cell]) -> None:
        found.append(Line(name, tuple(cell(row) for _, row in students)))

    def add_metric(name: str, metric: str, cell: Callable[[Result], Cell]) -> None:
        looked_at = (metric, _measure_of(metric))
        cells = []
        for who, row in students:
            result = evaluation.find(who, metric)
            worse = any(check.worse and check.measure in looked_at for check in row.checks)
            cells.append(cell(result)._replace(worse=worse) if result else Cell())
        found.append(Line(name, tuple(cells)))

    add("tasks", lambda row: _count(row.tasks))
    add("attempts", lambda row: _count(row.attempts))
    add("accepted", _accepted)
    add("rows trained on", lambda row: _count(row.rows))
    for metric, name in SHARES.items():
        add_metric(name, metric, _share)
    metrics = list(dict.fromkeys(row.metric for row in evaluation.results))
    for metric in (m for m in metrics if m.startswith(SEVERAL)):
        name = "accuracy over seeds" if metric == SEVERAL[-1] else metric.replace("_at_", "@")
        add_metric(name, metric, _share)
    add_metric("tokens", results.MEAN_TOKENS, lambda row: Cell(number(row.value)))
    add("diversity of traces", _diversity)
    for kind in (m.removesuffix(results.OF_UNTRAINED) for m in metrics if m.endswith(results.OF_UNTRAINED)):
        add_metric(f"untrained: {said(kind)}", f"{kind}{results.OF_UNTRAINED}", _share)
        for ending in (results.OF_LENIENT, results.OF_READABLE, results.OF_EOS):
            add_metric(f"{said(kind)}: {results.RETAINED[ending]}", f"{kind}{ending}", _share)
    add_metric(
        "perplexity", results.PERPLEXITY, lambda row: Cell(f"{row.value:,.4g}", f"[{row.low:,.3g}, {row.high:,.3g}]")
    )
    add_metric("KL to base, nats/token", results.KL_TO_BASE, _nats)
    add("time", _time)
    add("guard", lambda row: Cell(row.verdict, worse=row.rolled_back) if row.number else Cell())
    return [line for line in found if any(cell != Cell() for cell in line.cells)]


def _measure_of(metric: str) -> str:
    """What the guard calls a metric of what was not trained; the metric itself where it is not one of those."""
    for ending, measure in ((results.OF_UNTRAINED, UNTRAINED), (results.OF_LENIENT, LENIENT)):
        if metric.endswith(ending):
            return f"{measure}:{metric.removesuffix(ending)}"
    return metric


def _count(n: int | None) -> Cell:
    return Cell() if n is None else Cell(number(n))


def _accepted(row: RoundRow) -> Cell:
    if row.accepted is None or not row.attempts:
        return _count(row.accepted)
    return Cell(f"{number(100 * row.accepted / row.attempts, 1)} %")


def _time(row: RoundRow) -> Cell:
    return Cell() if row.seconds is None else Cell(f"{'≥ ' if row.resumed else ''}{duration(row.seconds)}")


def _share(row: Result) -> Cell:
    """In per cent; whole ones in the interval, which is not more exact than that."""
    return Cell(share(row.value), interval(row.low, row.high, 0))


def _nats(row: Result) -> Cell:
    return Cell(number(row.value, 3), interval(row.low, row.high, 3, of=1))


def _diversity(row: RoundRow) -> Cell:
    """Against the round before: two rounds of another size cannot be put in one row otherwise."""
    found = next((check for check in row.checks if check.measure == DISTINCT_RUNS), None)
    if found is None:
        return Cell()
    return Cell(f"{points(found.difference)} %", interval(found.low, found.high, 0), found.worse)


def others(evaluation: Evaluation) -> list[Line]:
    """Controls and the first teacher: accuracy, EOS, tokens, n."""
    found = []
    for who in (who for who in evaluation.whos if number_of(who) is None):
        accuracy, stopped, tokens = (evaluation.find(who, metric) for metric in MEASURES)
        shares = (_share(row) if row else Cell() for row in (accuracy, stopped))
        counts = (Cell(number(tokens.value)) if tokens else Cell(), _count(accuracy.n if accuracy else None))
        found.append(Line(said(who), (*shares, *counts)))
    return found


def comparisons(evaluation: Evaluation) -> list[Compared]:
    """All of them, in order."""
    return [
        Compared(
            f"{said(c.a)} − {said(c.b)}{f', on {said(c.of)}' if c.of else ''}{', leniently' if c.lenient else ''}",
            Cell(points(c.difference), interval(c.low, c.high)),
            c.verdict,
            p_value(c.corrected_p),
            p_value(c.p),
            number(c.n),
            NOTHING if c.detectable is None else number(100 * c.detectable, 1),
        )
        for c in evaluation.comparisons
    ]


# -- on a terminal, and as a page --------------------------------------------------------------------------------

NAME, COLUMN = 24, 14
"""Cells of a terminal: of a measure's name, and of a round with the space next to it."""
GAP = 2
FILE = "report.html"
LONGEST = 4_000
"""Characters of a prompt or an answer that are shown."""
IMAGES = {".svg": "image/svg+xml", ".png": "image/png"}


def show_loop(report: LoopReport, console: Console | None = None) -> None:
    """Prints the report."""
    console = wide(console or terminal())
    at_once, students = max(1, (console.width - NAME) // COLUMN), students_of(report)
    for start in range(0, len(students), at_once):
        names = [student.name for student in students[start : start + at_once]]
        table = columns("", *names, right=names)
        table.columns[0].width = NAME - GAP
        for line in lines(report):
            cells = []
            for cell in line.cells[start : start + at_once]:
                cells.append(plain(cell.text, "red" if cell.worse else ""))
                if cell.limits:
                    cells[-1] += plain(f"\n{cell.limits}", "dim")
            table.add_row(_safe(line.name), *cells)
        console.print(table, "")

    evaluation = report.evaluation
    if others(evaluation):
        numbers = ("accuracy", "95 %", "EOS", "tokens", "n")
        table = columns("for comparison", *numbers, right=numbers)
        for name, (accuracy, stopped, tokens, n) in others(evaluation):
            table.add_row(_safe(name), accuracy.text, accuracy.limits, stopped.text, tokens.text, n.text)
        console.print(table, "")
    if evaluation.comparisons:
        found = ("points", "95 %", "p, Holm")
        table = columns("differences", *found, "", right=found)
        for c in comparisons(evaluation):
            table.add_row(_safe(c.names), c.change.text, c.change.limits, c.p_holm, in_short(c.word))
        console.print(table, "")

    # A line for each round, and one for each measure that got worse or could not be looked at.
    for row in report.rounds:
        head = plain(f"guard: round {row.number} ", "bold")
        head += plain(row.verdict, "red" if row.rolled_back else "green")
        failures = [check.sentence for check in row.checks if check.worse]
        if row.checks and not failures:
            head += plain(f", nothing got worse beyond its tolerance ({len(row.checks)} looked at)")
        console.print(head)
        for sentence in failures or ([row.why] if row.why else []):
            console.print(Padding(plain(_safe(sentence)), (0, 0, 0, 2)))
        left = ", ".join(f"{measure_name(name)} ({why})" for name, why in row.not_checked.items())
        if left:
            console.print(Padding(plain(f"not checked: {_safe(left)}", "dim"), (0, 0, 0, 2)))
    console.print("")
    for sentence in summary(report):
        console.print(plain(sentence))
    for note in evaluation.notes:
        console.print(plain(f"note: {_safe(note)}", "yellow"))
    console.print(plain(f"The loop ended: {_safe(report.stopped)}.", "bold"))


def _safe(text: str) -> str:
    return shown(text, 2_000)


def write_loop_report(report: LoopReport, folder: Path) -> Path:
    """Writes `report.html` into the folder, whole or not at all; gives its path. Raises RunError when the disk
    refuses."""
    path = folder / FILE
    with replaced(path) as file:
        file.write(loop_page(report).encode())
    return path


def loop_page(report: LoopReport) -> str:
    """The page, as HTML."""
    plots = []
    for path in report.plots:  # in the page, as images: nothing in them can run, and their ids meet no others
        kind = IMAGES.get(path.suffix.lower())
        if kind is None or not path.is_file():
            plots.append({"name": path.name, "data": ""})
        else:
            data = f"data:{kind};base64,{b64encode(path.read_bytes()).decode()}"
            plots.append({"name": path.stem, "data": data})
    return html_page(
        files("stillroom.report").joinpath("loop.html"),
        report.name,
        report=report,
        summary=summary(report),
        plots=plots,
        columns=students_of(report),
        lines=lines(report),
        others=others(report.evaluation),
        comparisons=comparisons(report.evaluation),
        measure_name=measure_name,
        cut=_cut,
    )


def _cut(text: str) -> str:
    half = LONGEST // 2
    over = len(text) - LONGEST
    return f"{text[:half]} […{over:,} characters…] {text[-half:]}" if over > 0 else text
