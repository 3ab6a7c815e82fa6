"""An evaluation as a table for the terminal, from 80 columns on.

    terminal().print(eval_table(read_eval(run / "eval.json")))

Every number has its interval and n; every difference its p after Holm, where it was corrected, and the MDE. What
could not be scored or got no attempt stands below the table. A long name goes on in the next line after a `_` or `/`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.measure import Measurement
from rich.segment import Segment
from rich.style import Style
from rich.text import Text

from stillroom.common.formatting import NOTHING, interval, number, of_all, p_value, points, share
from stillroom.common.printing import Table, columns, plain
from stillroom.evaluation import results
from stillroom.evaluation.evaluate import DIFFERENCE_OVER_SEEDS, OVER_SEEDS
from stillroom.evaluation.metrics import SHARE_IN_FORM
from stillroom.evaluation.results import Comparison, Evaluation, Result, Word, extra, word_for

NARROW, WIDE = 7, 30  # cells of the whisker: what is left of the terminal, within these
TESTS = {"mcnemar_exact": "McNemar exact", "sign_flip": "exchanged signs"}
PASS = re.compile(r"pass_at_(\d+)")
MEASURES = (results.ACCURACY, results.SHARE_STOPPED, results.MEAN_TOKENS)
OF_WHO = {results.AFTER: "green", results.TEACHER: "cyan"}
INTERVAL = "95 % interval"


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


class Name:
    """A name that breaks after `_`, `/` and spaces only; what follows is indented as the start is."""

    def __init__(self, name: str, style: str = "") -> None:
        self.parts = re.findall(r" *[^ _/]*[_/ ]?", plain(name).plain)  # cleaned whole: half a secret is found less
        self.indent = len(name) - len(name.lstrip(" "))
        self.style = style

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        return Measurement(1, sum(map(cell_len, self.parts)))

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        lines = [""]
        for part in self.parts:
            if cell_len(lines[-1] + part.rstrip(" ")) > options.max_width and lines[-1].strip():
                lines.append(" " * self.indent)
            lines[-1] += part
        yield Text("\n".join(line.rstrip() for line in lines), self.style, overflow="fold")


class Models:
    """The models with their measures, and a whisker each; without whiskers where they would break the names."""

    def __init__(self, evaluation: Evaluation) -> None:
        self.evaluation = evaluation

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        table = self._table(whiskers=True)
        widest = Measurement.get(console, options.update(width=10_000), table).maximum
        yield table if widest - (WIDE - NARROW) <= options.max_width else self._table(whiskers=False)

    def _table(self, *, whiskers: bool) -> Table:
        numbers = ("accuracy", INTERVAL, "n", "format", "EOS", "tokens")
        headers = (*numbers[:2], "0–100 %", *numbers[2:]) if whiskers else numbers
        table = columns("model", *headers, right=numbers)
        table.columns[0].no_wrap = whiskers
        for who in self.evaluation.whos:
            found, stopped, tokens = (self.evaluation.find(who, metric) for metric in MEASURES)
            if not (found or stopped or tokens):
                continue
            colour = OF_WHO.get(who, "default")
            cells: list[RenderableType] = [Name(who, colour), plain(_share(found), colour), _limits(found)]
            if whiskers:
                cells.append(Whisker(found, colour) if found else "")
            cells.append(number(found.n) if found else NOTHING)
            cells += [_share(row, 0) for row in (self.evaluation.find(who, SHARE_IN_FORM), stopped)]
            table.add_row(*cells, number(tokens.value) if tokens else NOTHING)
        return table


def eval_table(evaluation: Evaluation) -> Group:
    """The models, their differences, what else was measured, the notes: one page, for 80 columns and more."""
    page: list[RenderableType] = [Models(evaluation)]
    for block in (_differences, _at_k, _seeds, _to_teacher, _untrained, moved):
        page += block(evaluation)
    told = ["format: answered in the asked format, right or not", "EOS: ended by itself"]
    if any(c.lenient for c in evaluation.comparisons):
        told.append("lenient: ended by itself, and the last number is the reference")
    if any(row.metric.endswith(results.OF_READABLE) for row in evaluation.results):
        told.append("readable: the scorer found an answer, right or not")
    if comparisons := evaluation.comparisons:
        tests = ", ".join(dict.fromkeys(TESTS.get(c.test, c.test) for c in comparisons))
        many = f", corrected for all {len(comparisons)} comparisons (Holm)" if len(comparisons) > 1 else ""
        told.append(f"p: {tests}{many if any(c.p_holm is not None for c in comparisons) else ''}")
    if any(c.detectable is not None for c in comparisons):
        told.append("MDE: the smallest difference these tasks detect with 80 % power")
    page.append(plain(f"\n{'; '.join(told)}", "dim"))
    page += [plain(f"note: {note}", "yellow") for note in evaluation.notes]
    return Group(*page)


Block = Iterator[RenderableType]
"""A title, which may be wider than its table, and the table; nothing where nothing of it was measured."""


def _share(row: Result | None, digits: int = 1) -> str:
    return share(row.value if row else None, digits)


def _limits(row: Result | None) -> str:
    return interval(row.low, row.high) if row else NOTHING


def in_short(word: Word) -> Text:
    """The word for a difference, in its colour and short enough for a column."""
    return Text("unclear" if word == "no clear difference" else word, results.COLOURS[word])


def _titled(title: str, table: Table) -> Block:
    yield plain(f"\n{title}", "bold")
    yield table


def _table(*headers: str) -> Table:
    """The first column and one without a name hold words."""
    return columns(*headers, right=filter(None, headers[1:]), header_style="dim")


def _p_header(comparisons: Sequence[Comparison]) -> str:
    return "p, Holm" if any(c.p_holm is not None for c in comparisons) else "p"


def _differences(evaluation: Evaluation) -> Block:
    """Grouped by the model that the others are taken from, which leaves room for their names."""
    comparisons = [c for c in evaluation.comparisons if not c.of]
    if not comparisons:
        return
    table = _table("", "points", INTERVAL, _p_header(comparisons), "MDE", "")
    for a, group in groupby(comparisons, key=lambda c: c.a):
        table.add_row(Name(f"{a} −"))
        for c in group:
            mde = NOTHING if c.detectable is None else number(100 * c.detectable, 1)
            shown = (points(c.difference), interval(c.low, c.high), p_value(c.corrected_p), mde)
            table.add_row(Name(f"  {c.b}"), *shown, in_short(c.verdict))
    yield from _titled("Differences in points, on the same tasks", table)


def _at_k(evaluation: Evaluation) -> Block:
    rows = [(row, match[1]) for row in evaluation.results if (match := PASS.fullmatch(row.metric))]
    if not rows:
        return
    draws, temperature = extra(rows[0][0], "draws"), extra(rows[0][0], "temperature")
    how = f" of {draws:.0f} answers to each task, temperature {temperature:g}" if draws and temperature else ""
    table = _table("model", "k", "any", INTERVAL, "majority", INTERVAL, "n")
    for row, k in rows:
        majority = evaluation.find(row.who, f"majority_at_{k}")
        sides = (_share(row), _limits(row), _share(majority), _limits(majority))
        table.add_row(Name(row.who), k, *sides, number(row.n))
    yield from _titled(f"Any of k right, and the majority of k{how}", table)


def _seeds(evaluation: Evaluation) -> Block:
    students = [row for row in evaluation.results if row.metric == OVER_SEEDS]
    if not students:
        return
    table = _table("", "points", INTERVAL, "n")
    for row in students:
        each = [number(100 * value, 1) for value in extra(row, "each") or ()]
        table.add_row(Name(row.who), number(100 * row.value, 1), _limits(row), number(row.n))
        table.add_row(Name(f"  {len(each)} trainings: {', '.join(each)} %"))
        for other in evaluation.results:
            if (other.who, other.metric) == (row.who, DIFFERENCE_OVER_SEEDS):
                against = f"  minus {extra(other, 'against')}"
                table.add_row(Name(against), points(other.value), _limits(other), number(other.n))
    yield from _titled("Several trainings, each from another seed", table)


def _to_teacher(evaluation: Evaluation) -> Block:
    """The KL to the teacher of each student, and how much lower the student's is than each other's."""
    rows = [row for row in evaluation.results if row.metric == results.KL_TO_TEACHER]
    if not rows:
        return
    ratios = [row for row in evaluation.results if row.metric == results.KL_TO_TEACHER_RATIO]
    table = _table("", "nats a token", INTERVAL, "n", "")
    for row in rows:
        table.add_row(Name(row.who), number(row.value, 3), interval(row.low, row.high, 3, of=1), number(row.n), "")
        if each := extra(row, "each"):
            table.add_row(Name(f"  {len(each)} trainings: {', '.join(number(value, 3) for value in each)}"))
    for ratio in ratios:
        word = in_short(word_for(ratio.low, ratio.high, 1.0, less_is_better=True))
        change = f"{points(ratio.value - 1)} %", interval(ratio.low - 1, ratio.high - 1)
        table.add_row(Name(f"{ratio.who} against {extra(ratio, 'against')}"), *change, number(ratio.n), word)
    yield from _titled("KL to the teacher, on its answers to held-out tasks", table)


def _untrained(evaluation: Evaluation) -> Block:
    """A line for each share of each kind of tasks, the lines of a kind below its name, then perplexity."""
    comparisons = {c.metric or "": c for c in evaluation.comparisons if c.of}
    ratios = [row for row in evaluation.results if row.metric == results.PERPLEXITY_RATIO]
    if not comparisons and not ratios:
        return
    table = _table("", "n", "before", "after", "change", INTERVAL, _p_header(list(comparisons.values())), "")
    for name in dict.fromkeys(c.of for c in comparisons.values()):
        several = any(row.metric == f"{name}{results.OF_EOS}" for row in evaluation.results)
        if several:
            table.add_row(Name(name))
        for ending, share_of in results.RETAINED.items():
            if cells := _before_and_after(evaluation, f"{name}{ending}", comparisons):
                table.add_row(Name(f"  {share_of}" if several else name), *cells)
    for ratio in ratios:
        # The change of perplexity is that of its ratio, in percent of what it was.
        found = (evaluation.find(who, results.PERPLEXITY) for who in (str(extra(ratio, "against")), ratio.who))
        sides = (number(row.value, 2) if row else NOTHING for row in found)
        word = in_short(word_for(ratio.low, ratio.high, 1.0, less_is_better=True))
        change = (f"{points(ratio.value - 1)} %", interval(ratio.low - 1, ratio.high - 1), "", word)
        name = results.PERPLEXITY if len(ratios) == 1 else f"{results.PERPLEXITY}, {ratio.who}"
        table.add_row(Name(name), number(ratio.n), *sides, *change)
    yield from _titled("Not trained, before and after: what may have been forgotten", table)


def _before_and_after(
    evaluation: Evaluation, metric: str, comparisons: Mapping[str, Comparison]
) -> list[RenderableType]:
    """n, both shares and their change. EOS and readability are not tested: they say where a change comes from."""
    if (c := comparisons.get(metric)) is not None:
        sides = (_share(evaluation.find(who, metric)) for who in (c.b, c.a))
        change = (points(c.difference), interval(c.low, c.high), p_value(c.corrected_p), in_short(c.verdict))
        return [number(c.n), *sides, *change]
    whos = next((c.b, c.a) for c in comparisons.values())
    before, after = (evaluation.find(who, metric) for who in whos)
    if before is None or after is None:
        return []
    n = of_all([before.n, after.n])
    return [n, _share(before), _share(after), points(after.value - before.value), NOTHING, NOTHING, ""]


def moved(evaluation: Evaluation) -> Block:
    """How far each student moved on the trained task, as a sentence: there is nothing to compare it with."""
    for row in (row for row in evaluation.results if row.metric == results.KL_TO_BASE):
        value, limits = number(row.value, 3), interval(row.low, row.high, 3, of=1)
        answers = f"on the base's answers to {number(row.n)} held-out tasks"
        yield plain(f"\nKL to the base, {row.who}: {value} nats a token {limits}, {answers}")
