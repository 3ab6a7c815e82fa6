"""An evaluation as a table for the terminal, and as sentences for logs and pages.

    from rich.console import Console
    Console().print(eval_table(read_eval(run / "eval.json")))

Shows no number without an interval and its n; what could not be scored or got no attempt stands below the table.
Beside each difference stand p after Holm, where it was corrected, and the smallest difference that so many tasks
could have shown. What was not trained stands in a block of its own, never apart from the gain.
"""

from __future__ import annotations

from itertools import groupby

from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.segment import Segment
from rich.style import Style

from stillroom.sampling.printing import Table
from stillroom.sampling.printing import plain as printed
from stillroom.students.evaluate.measures import SHARE_IN_FORM
from stillroom.students.evaluate.results import (
    ACCURACY,
    MEAN_TOKENS,
    SHARE_STOPPED,
    Comparison,
    Evaluation,
    Result,
)
from stillroom.students.evaluate.table_blocks import (
    SUFFIX,
    Block,
    add_columns,
    at_k_block,
    block,
    forgetting_block,
    p_header,
    p_shown,
    seeds_block,
)
from stillroom.students.evaluate.wording import (
    TESTS,
    extra,
    limits,
    p_words,
    plain,
    points,
    share,
    text_of,
    verdict,
)

NARROW, WIDE = 6, 30  # cells of the whisker: what is left of the terminal, within these
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
    """The models, their differences, what else was measured, the notes: one page, aligned, at 80 columns and more."""
    page = Table.grid(padding=(0, 0))
    page.add_row(_models(evaluation))
    of_tasks = [c for c in evaluation.comparisons if text_of(c, "metric") is None]
    parts = (at_k_block(evaluation), seeds_block(evaluation), forgetting_block(evaluation))
    for part in (_differences(of_tasks), *parts):
        if part is not None:
            page.add_row(printed(f"\n{part.title}", "bold"))
            page.add_row(part.table)
    page.add_row(printed(f"\n{_how(evaluation.comparisons)}", "dim"))
    for note in evaluation.notes:
        page.add_row(printed(f"note: {note}", "yellow"))
    return page


def comparison_lines(evaluation: Evaluation) -> list[str]:
    """One sentence each: `student_after − student_before: +49.0 points [38.6, 58.2], McNemar exact p < 0.0001`."""
    return [
        f"{c.a} − {c.b}{_on(c)}: {points(c.difference)} points {limits(c.low, c.high)}, "
        f"{TESTS.get(c.test, c.test)} {p_words(c.p)}{_after_holm(c)}"
        for c in evaluation.comparisons
    ]


def _on(comparison: Comparison) -> str:
    metric = text_of(comparison, "metric")
    return f" on {metric.removesuffix(SUFFIX)}" if metric else ""


def _after_holm(comparison: Comparison) -> str:
    corrected = extra(comparison, "p_holm")
    return "" if corrected is None else f", after Holm {p_words(corrected)}"


def _how(comparisons: tuple[Comparison, ...]) -> str:
    """How the columns are to be read."""
    said = ["form: answered in the asked form, right or not", "stops: ended by itself"]
    if comparisons:
        tests = ", ".join(dict.fromkeys(TESTS.get(c.test, c.test) for c in comparisons))
        many = f", corrected for all {len(comparisons)} comparisons (Holm)" if len(comparisons) > 1 else ""
        said.append(f"p: {tests}{many if _corrected(comparisons) else ''}")
    if any(extra(c, "detectable") is not None for c in comparisons):
        said.append("reach: a difference that so many tasks would show 4 times in 5")
    return "; ".join(said)


def _corrected(comparisons: tuple[Comparison, ...]) -> bool:
    return any(extra(c, "p_holm") is not None for c in comparisons)


def _models(evaluation: Evaluation) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="bold")
    table.add_column("model", no_wrap=True)
    table.add_column("accuracy", justify="right", no_wrap=True)
    table.add_column("95 % interval", no_wrap=True)
    table.add_column("0–100 %", min_width=NARROW, max_width=WIDE)
    for name in ("n", "form", "stops", "tokens"):
        table.add_column(name, justify="right", no_wrap=True)
    for who in evaluation.whos:
        if any(evaluation.find(who, metric) for metric in (ACCURACY, SHARE_STOPPED, MEAN_TOKENS)):
            _add_model(table, evaluation, who)
    return table


def _add_model(table: Table, evaluation: Evaluation, who: str) -> None:
    """One row; a dash where a number was not measured."""
    found, tokens, colour = evaluation.find(who), evaluation.find(who, MEAN_TOKENS), COLOURS.get(who, "default")
    table.add_row(
        printed(who, colour),
        printed(share(found), colour),
        limits(found.low, found.high) if found else "–",
        Whisker(found, colour) if found else "",
        str(found.n) if found else "–",
        share(evaluation.find(who, SHARE_IN_FORM), 0),
        share(evaluation.find(who, SHARE_STOPPED), 0),
        f"{tokens.value:,.0f}" if tokens else "–",
    )


def _differences(comparisons: list[Comparison]) -> Block | None:
    """Grouped by the model that the others are taken from, which leaves room for their names."""
    if not comparisons:
        return None
    found = block("Differences in points, on the same tasks")
    table = found.table
    add_columns(table, "", "points", "95 % interval", p_header(comparisons), "reach")
    table.add_column("", no_wrap=True)
    for a, group in groupby(comparisons, key=lambda c: c.a):
        table.add_row(f"{a} −")
        for c in group:
            interval = limits(c.low, c.high)
            table.add_row(f"  {c.b}", points(c.difference), interval, p_shown(c), _reach(c), verdict(c))
    return found


def _reach(comparison: Comparison) -> str:
    found = extra(comparison, "detectable")
    return "–" if found is None else f"±{plain(found)}"
