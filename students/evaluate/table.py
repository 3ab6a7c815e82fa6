"""An evaluation as a table for the terminal, and as sentences for logs and pages.

    from rich.console import Console
    Console().print(eval_table(read_eval(run / "eval.json")))

Shows no number without its interval and its n; what could not be scored or got no attempt stands below the table.
"""

from __future__ import annotations

from rich.console import Console, ConsoleOptions, RenderResult
from rich.markup import escape
from rich.measure import Measurement
from rich.segment import Segment
from rich.style import Style
from rich.table import Table
from rich.text import Text

from stillroom.students.evaluate.results import (
    MEAN_TOKENS,
    SHARE_STOPPED,
    Comparison,
    Evaluation,
    Result,
)

TESTS = {"mcnemar_exact": "McNemar exact"}
NARROW, WIDE = 10, 30  # cells of the whisker: what is left of the terminal, within these
COLOURS = {"student_after": "green", "teacher": "cyan"}


class Whisker:
    """A share and its interval on a line from 0 to 1: `·····━━●━━·····`, as wide as there is room."""

    def __init__(self, result: Result, colour: str = "default") -> None:
        self.low, self.value, self.high = result.low, result.value, result.high
        self.colour = colour

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        return Measurement(min(NARROW, options.max_width), min(WIDE, options.max_width))

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        track, range_, point = (".", "=", "o") if options.ascii_only else ("·", "━", "●")
        width = min(options.max_width, WIDE)
        low, value, high = (min(int(share * width), width - 1) for share in (self.low, self.value, self.high))
        dim, bright = Style(dim=True), Style.parse(self.colour)
        yield Segment(track * low, dim)
        yield Segment(range_ * (value - low) + point + range_ * (high - value), bright)
        yield Segment(track * (width - 1 - high), dim)


def eval_table(evaluation: Evaluation) -> Table:
    """The models, then the comparisons, then the notes: one block, aligned, at 80 columns and more."""
    page = Table.grid(padding=(0, 0))
    page.add_row(_models(evaluation))
    if evaluation.comparisons:
        page.add_row(_differences(evaluation.comparisons))
    for note in evaluation.notes:
        page.add_row(Text(f"note: {note}", style="yellow"))
    return page


def comparison_lines(evaluation: Evaluation) -> list[str]:
    """One sentence each: `student_after − student_before: +49.0 points [38.6, 58.2], McNemar exact p < 0.0001`."""
    return [
        f"{c.a} − {c.b}: {_points(c.difference)} points [{_plain(c.low)}, {_plain(c.high)}], "
        f"{TESTS.get(c.test, c.test)} {_p(c.p)}"
        for c in evaluation.comparisons
    ]


def _models(evaluation: Evaluation) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("model", no_wrap=True)
    table.add_column("accuracy", justify="right", no_wrap=True)
    table.add_column("95 % interval", no_wrap=True)
    table.add_column("0 to 100 %", min_width=NARROW, max_width=WIDE)
    table.add_column("n", justify="right", no_wrap=True)
    table.add_column("stopped", justify="right", no_wrap=True)
    table.add_column("tokens", justify="right", no_wrap=True)
    for who in evaluation.whos:
        _add_model(table, evaluation, who)
    return table


def _add_model(table: Table, evaluation: Evaluation, who: str) -> None:
    """One row; a dash where a number was not measured."""
    found, stopped = evaluation.find(who), evaluation.find(who, SHARE_STOPPED)
    tokens, colour = evaluation.find(who, MEAN_TOKENS), COLOURS.get(who, "default")
    table.add_row(
        f"[{colour}]{escape(who)}[/]",
        f"[{colour}]{_share(found)}[/]",
        f"\\[{_plain(found.low)}, {_plain(found.high)}]" if found else "–",
        Whisker(found, colour) if found else "",
        str(found.n) if found else "–",
        _share(stopped, 0),
        f"{tokens.value:,.0f}" if tokens else "–",
    )


def _differences(comparisons: tuple[Comparison, ...]) -> Table:
    tests = ", ".join(dict.fromkeys(TESTS.get(c.test, c.test) for c in comparisons))
    table = Table(
        box=None,
        padding=(0, 2, 0, 0),
        show_header=False,
        title=f"\nDifferences in points on the same tasks, 95 % interval, {tests}",
        title_justify="left",
        title_style="bold",
    )
    table.add_column(no_wrap=True)
    table.add_column(justify="right", no_wrap=True)
    for _ in range(3):
        table.add_column(no_wrap=True)
    for c in comparisons:
        limits = f"\\[{_plain(c.low)}, {_plain(c.high)}]"
        table.add_row(escape(f"{c.a} − {c.b}"), _points(c.difference), limits, _p(c.p), _verdict(c))
    return table


def _verdict(comparison: Comparison) -> str:
    """What the interval says of a against b, and nothing more."""
    if comparison.low > 0:
        return "[green]better[/]"
    return "[red]worse[/]" if comparison.high < 0 else "[dim]not shown[/]"


def _share(result: Result | None, digits: int = 1) -> str:
    return f"{100 * result.value:.{digits}f} %" if result else "–"


def _points(difference: float) -> str:
    """Signed points; a difference that rounds to nothing has no sign."""
    shown = f"{100 * difference:+.1f}".replace("-", "−")
    return "0.0" if shown in ("+0.0", "−0.0") else shown


def _plain(share: float) -> str:
    shown = f"{100 * share:.1f}"
    return "0.0" if shown == "-0.0" else shown.replace("-", "−")


def _p(p: float) -> str:
    return "p < 0.0001" if p < 0.0001 else f"p = {p:.4f}" if p < 0.1 else f"p = {p:.2f}"
