"""The plots of a run, as PNG and SVG in its folder: each one claim, with its intervals, readable at a README's width.

    plot_results(read_eval(run / "eval.json"), run / "plots")               # who got what
    plot_difficulty(by_level(outcomes, level), run / "plots")               # yield and pass rate by difficulty
    plot_lengths({"before": lengths(a), "after": lengths(b)}, run / "plots")  # lengths before and after
    plot_filters(distilled.counts, distilled.written, run / "plots")        # what each filter took

Nothing is smoothed or left out but tasks without a level, which the difference in n counts. The same numbers give the
same bytes with the same matplotlib. Refuses to draw nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from stillroom.common.formatting import interval, of_all, share
from stillroom.common.records import Outcome, ScoredAttempt, State, Task
from stillroom.common.stats.intervals import Interval, wilson
from stillroom.evaluation.results import ACCURACY, AFTER, BEFORE, Evaluation
from stillroom.report.plots import style
from stillroom.report.plots.style import Plot, clean, lighter
from stillroom.traces.filters import FilterCount

ROW, LENGTHS_ROW = 0.34, 0.78  # inches
RIGHT = 2.0  # inches for the numbers to the right of the rows
FRACTION = {"xycoords": "axes fraction", "textcoords": "offset points", "va": "center_baseline"}
NEXT_TO = FRACTION | {"xycoords": ("axes fraction", "data")}
TITLES = {ACCURACY: "Accuracy on held-out tasks", "share_in_form": "Answered in the asked form, right or not"}


class Level(NamedTuple):
    """Tasks of one difficulty. `yielded`: share of tasks that gave at least one trace; `first_right`: share whose
    first attempt was accepted. Attempts after the first say less: how many there are depends on how they came out."""

    label: str
    tasks: int
    yielded: Interval
    first_right: Interval


class Lengths(NamedTuple):
    """Tokens of each answer that ended by itself, and of each that the length limit cut off."""

    ended: tuple[int, ...]
    cut: tuple[int, ...]

    @property
    def all(self) -> tuple[int, ...]:
        """Of every answer."""
        return self.ended + self.cut


def plot_results(evaluation: Evaluation, folder: Path, *, metric: str = ACCURACY) -> Plot:
    """Dot and whisker of a share for every model that has it, the best on top: `<metric>.png`, `<metric>.svg`.

    The trained student is in colour, and a line through all is at the student before. Raises ValueError where nobody
    has the metric.
    """
    rows = sorted((r for r in evaluation.results if r.metric == metric), key=lambda r: (-r.value, r.who))
    if not rows:
        raise ValueError(f"nobody has the metric {metric!r}: there is nothing to draw")
    with style.figure(ROW * len(rows) + 1.15) as fig:
        axes = style.plain_axes(fig, left=_names_width([r.who for r in rows]), right=RIGHT, top=0.78, bottom=0.37)
        drawn = next((r for r in rows if r.who == BEFORE), None)
        dotted = f"; dotted: {drawn.who.replace('_', ' ')}" if drawn else ""
        style.headline(fig, TITLES.get(metric, metric.replace("_", " ")), _tasks([r.n for r in rows]) + dotted)
        top = style.share_top(max(r.high for r in rows))
        axes.set_xlim(0, top)
        style.share_ticks(axes.xaxis, top)
        axes.grid(axis="x", color=style.FAINT, linewidth=1)
        _rows_axis(axes, [r.who.replace("_", " ") for r in rows])
        if drawn:
            axes.axvline(drawn.value, color=style.QUIET, linewidth=0.9, linestyle=(0, (2, 2)), zorder=1)
        for y, row in enumerate(rows):
            colour = style.BLUE if row.who == AFTER else style.QUIET
            bright = {"color": colour, "fontweight": "bold"} if row.who == AFTER else {}
            line = {"color": lighter(colour), "linewidth": 2.6, "solid_capstyle": "round"}
            dot = {"color": colour, "markersize": 8, "markeredgecolor": "white", "markeredgewidth": 1.2}
            axes.plot([row.low, row.high], [y, y], **line, clip_on=False)
            axes.plot(row.value, y, "o", **dot, clip_on=False)
            axes.annotate(share(row.value), (1, y), (56, 0), ha="right", **bright, **NEXT_TO)
            axes.annotate(interval(row.low, row.high), (1, y), (63, 0), color=style.QUIET, fontsize=9.5, **NEXT_TO)
            axes.get_yticklabels()[y].set(**bright)
        return style.save(fig, folder, metric)


def plot_difficulty(levels: Sequence[Level], folder: Path) -> Plot:
    """Pass rate of the teacher's first attempt, and share of tasks that gave a trace, by level: `difficulty.png`,
    `difficulty.svg`. Raises ValueError for no level."""
    if not levels:
        raise ValueError("no task has a level of difficulty: there is nothing to draw")
    with style.figure(3.1) as fig:
        axes = style.plain_axes(fig, left=0.75, right=2.55, top=0.85, bottom=0.5)
        style.headline(fig, "Yield and pass rate by difficulty", _tasks([sum(level.tasks for level in levels)]))
        axes.set(xlim=(-0.06 * len(levels), len(levels) - 1 + 0.02 * len(levels)), ylim=(0, 1.03))
        style.share_ticks(axes.yaxis, 1.0)
        axes.tick_params(axis="y", labelsize=9.5, labelcolor=style.QUIET)
        axes.set_xticks(range(len(levels)), [f"{clean(level.label, 14)}\nn = {level.tasks:,}" for level in levels])
        axes.grid(axis="y", color=style.FAINT, linewidth=1)
        yielded, right = [level.yielded for level in levels], [level.first_right for level in levels]
        # The names next to the last points, moved apart where they would touch.
        ends = (yielded[-1].value, right[-1].value)
        missing = max(0.0, 0.105 - abs(ends[0] - ends[1])) / 2
        up = missing if ends[0] >= ends[1] else -missing
        _line(axes, yielded, -0.007, style.BLUE, "tasks that gave a trace", ends[0] + up)
        _line(axes, right, 0.007, style.ORANGE, "first attempt right", ends[1] - up)
        return style.save(fig, folder, "difficulty")


def plot_lengths(lengths: Mapping[str, Lengths], folder: Path) -> Plot:
    """A histogram of tokens for each model, all on one scale, with its median and how many were cut off:
    `lengths.png`, `lengths.svg`. Raises ValueError for no answer."""
    if not lengths or not all(found.all for found in lengths.values()):
        raise ValueError(f"{len(lengths)} models, not all with answers: there is nothing to draw")
    longest = max(1, *(max(found.all) for found in lengths.values()))
    last = len(lengths) - 1
    with style.figure(LENGTHS_ROW * len(lengths) + 1.05) as fig:
        ns = of_all([len(found.all) for found in lengths.values()])
        style.headline(fig, "Length of answers", f"in tokens; n = {ns} each, the upright line is the median")
        for row, (who, found) in enumerate(lengths.items()):
            bottom = 0.37 + LENGTHS_ROW * (last - row)
            top = fig.get_figheight() - bottom - 0.8 * LENGTHS_ROW
            axes = style.plain_axes(fig, left=_names_width(list(lengths)), right=RIGHT, top=top, bottom=bottom)
            # Heights are shares of the answers, the tallest bin filling the row; on top, in orange, what was cut off.
            colour = style.BLUE if row == last else style.QUIET
            middle, cut = median(found.all), len(found.cut) / len(found.all)
            bins = {"bins": 48, "range": (0, longest), "stacked": True, "linewidth": 0}
            axes.hist([found.ended, found.cut], color=[lighter(colour), style.ORANGE], **bins)
            axes.set(xlim=(0, longest * 1.005), yticks=[])
            axes.axvline(middle, color=colour, linewidth=2)
            axes.annotate(f"median {middle:,.0f}", (1, 0.72), (12, 0), fontsize=9.5, **FRACTION)
            shade = style.ORANGE if cut else style.QUIET
            axes.annotate(f"{style.percent(cut)} cut off", (1, 0.28), (12, 0), fontsize=9.5, color=shade, **FRACTION)
            axes.annotate(clean(who.replace("_", " ")), (0, 0.5), (-14, 0), **FRACTION, ha="right")
            axes.xaxis.set_major_formatter("{x:,.0f}")
            axes.tick_params(axis="x", labelbottom=row == last)
        return style.save(fig, folder, "lengths")


def plot_filters(counts: Sequence[FilterCount], left: int, folder: Path) -> Plot:
    """What each filter took of what reached it, in order, and what was left: `filters.png`, `filters.svg`.

    Raises ValueError for no filter, or where nothing reached the first.
    """
    if not counts or not counts[0].seen:
        raise ValueError(f"{len(counts)} filters and no traces: there is nothing to draw")
    whole = counts[0].seen
    names = ["traces before filters", *(c.name for c in counts), "traces left"]
    with style.figure(ROW * len(names) + 0.9) as fig:
        axes = style.plain_axes(fig, left=_names_width(names), right=RIGHT, top=0.74, bottom=0.16)
        below = f"of {whole:,} traces; each filter sees what those above it left"
        style.headline(fig, "What each filter took", below)
        axes.set_xlim(0, whole)
        axes.spines["bottom"].set_visible(False)
        axes.set_xticks([])
        _rows_axis(axes, names)
        _bar(axes, 0, whole, 0, f"{whole:,}", style.INK)
        for y, count in enumerate(counts, 1):
            label, colour = "0", style.QUIET
            if count.dropped:
                label, colour = f"−{count.dropped:,}  ({style.percent(count.dropped / count.seen)})", style.ORANGE
            _bar(axes, y, count.seen - count.dropped, count.dropped, label, colour)
        _bar(axes, len(names) - 1, left, 0, f"{left:,}  ({style.percent(left / whole)})", style.BLUE)
        for y in (0, len(names) - 1):
            axes.get_yticklabels()[y].set_fontweight("bold")
        return style.save(fig, folder, "filters")


def _bar(axes: Any, y: int, stays: int, goes: int, label: str, colour: str) -> None:
    axes.barh(y, stays, height=0.62, color=style.BLUE if colour == style.BLUE else style.RULE, linewidth=0)
    if goes:
        axes.barh(y, goes, left=stays, height=0.62, color=style.ORANGE, linewidth=0)
    axes.annotate(label, (1, y), (12, 0), color=colour, fontsize=9.5, **NEXT_TO)


def _line(axes: Any, found: Sequence[Interval], shift: float, colour: str, name: str, end: float) -> None:
    """`shift`: aside, in widths of the plot; `end`: the height of the name next to the last point."""
    xs = [x + shift * len(found) for x in range(len(found))]
    axes.vlines(xs, [each.low for each in found], [each.high for each in found], color=lighter(colour), linewidth=2.2)
    axes.plot(xs, [each.value for each in found], "-o", color=colour, linewidth=1.6, markersize=6.5,
              markeredgecolor="white", clip_on=False)  # fmt: skip
    axes.annotate(f"{name}, {style.percent(found[-1].value)}", (axes.get_xlim()[1], end), (6, 0), color=colour,
                  textcoords="offset points", va="center_baseline", fontsize=9.5, fontweight="bold")  # fmt: skip


def _rows_axis(axes: Any, names: Sequence[str]) -> None:
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_yticks(range(len(names)), [clean(name, 34) for name in names])
    axes.tick_params(axis="y", pad=10)


def _names_width(names: Sequence[str]) -> float:
    return 0.4 + 0.088 * max(len(clean(name, 34)) for name in names)


def _tasks(ns: Sequence[int]) -> str:
    return f"n = {of_all(ns)} tasks; lines are 95 % intervals"


# -- what is counted ---------------------------------------------------------------------------------------------


def by_level(outcomes: Iterable[Outcome], level: Callable[[Task], str | float | None]) -> list[Level]:
    """The levels in order: numbers by size, then names by the alphabet. Tasks without attempts or level are left
    out."""
    found: dict[str | float, list[Outcome]] = {}
    for outcome in outcomes:
        if outcome.attempts and (at := level(outcome.task)) is not None:
            found.setdefault(at, []).append(outcome)
    numbers = sorted(at for at in found if not isinstance(at, str))
    names = sorted(at for at in found if isinstance(at, str))
    levels = []
    ordered: list[str | float] = [*numbers, *names]
    for each in ordered:
        of_level, n = found[each], len(found[each])
        kept = sum(bool(outcome.kept) for outcome in of_level)
        first = sum(outcome.attempts[0].verdict.state is State.ACCEPTED for outcome in of_level)
        label = each if isinstance(each, str) else f"{each:g}"
        levels.append(Level(label, n, wilson(kept, n), wilson(first, n)))
    return levels


def lengths(answers: Mapping[str, ScoredAttempt]) -> Lengths:
    """Of one model's answers."""
    sides: dict[bool, list[int]] = {False: [], True: []}
    for answer in answers.values():
        sides[answer.attempt.finish_reason == "length"].append(answer.attempt.completion_tokens)
    return Lengths(tuple(sorted(sides[False])), tuple(sorted(sides[True])))
