"""The plot of a loop: accuracy round by round, and what the students were not trained for.

    points = round_points(evaluation, rolled_back={3})                 # student_before, round_1, round_2, …, in order
    plot_rounds(points, run / "plots", controls=other_results(evaluation))

Above: held-out accuracy with its 95 % interval, before and after each round. A round that was rolled back is hollow
and in another colour, and no line leads to it. Controls are dotted lines. Below, where it was measured: accuracy on
what was not trained, and perplexity on held-out text. Nothing is smoothed or computed here.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil, floor, log10
from pathlib import Path
from typing import Any

from stillroom.common.formatting import interval, of_all, share
from stillroom.common.stats.intervals import Interval
from stillroom.evaluation.results import ACCURACY, OF_UNTRAINED, PERPLEXITY, Evaluation, Result, number_of
from stillroom.report.plots import style
from stillroom.report.plots.style import Plot, clean, lighter

TOP, MIDDLE, LOWER = 2.75, 0.86, 1.2  # inches: of the upper panel, between panels, of the lower ones
LEFT, RIGHT, NO_NAMES, BOTTOM, HEAD = 0.72, 2.6, 0.4, 0.55, 0.85
HALF, SECOND = 3.25, 5.5  # where the first of two panels ends, and the second begins
LABEL = 0.17  # inches between lines of text
LINES = (style.GREEN, "#CC79A7", style.SKY, "#8C6D00", style.QUIET)
"""Of what was not trained, in turn."""
MOST_VALUES = 10
"""Rounds up to which each has its value above it; of more, the ends, the best and what was rolled back."""
MOST_TICKS, MOST_TICKS_BELOW = 13, 6


@dataclass(frozen=True, slots=True)
class RoundPoint:
    """A student of a loop. `number`: 0 for the model before any round. `untrained`: accuracy by the name of the
    tasks."""

    number: int
    accuracy: Interval
    rolled_back: bool = False
    untrained: Mapping[str, Interval] = field(default_factory=dict)
    perplexity: Interval | None = None


def round_points(evaluation: Evaluation, *, rolled_back: Collection[int] = ()) -> tuple[RoundPoint, ...]:
    """From an evaluation whose models are called `student_before`, `round_1`, `round_2` …; in order. A round without
    accuracy is left out."""
    found = []
    for who in evaluation.whos:
        number = number_of(who)
        row = evaluation.find(who)
        if number is None or row is None:
            continue
        rows = [r for r in evaluation.results if r.who == who]
        untrained = {r.metric.removesuffix(OF_UNTRAINED): _of(r) for r in rows if r.metric.endswith(OF_UNTRAINED)}
        surprise = next((_of(r) for r in rows if r.metric == PERPLEXITY), None)
        found.append(RoundPoint(number, _of(row), number in rolled_back, untrained, surprise))
    return tuple(sorted(found, key=lambda point: point.number))


def other_results(evaluation: Evaluation) -> dict[str, Result]:
    """Accuracy of the models that are not rounds of the loop: its controls and its first teacher."""
    rows = [row for row in evaluation.results if row.metric == ACCURACY]
    return {row.who: row for row in rows if number_of(row.who) is None}


def _of(row: Result) -> Interval:
    return Interval(row.value, row.low, row.high, row.n)


def plot_rounds(rounds: Sequence[RoundPoint], folder: Path, *, controls: Mapping[str, Result] | None = None) -> Plot:
    """`rounds.png` and `rounds.svg`. Raises ValueError for no round."""
    if not rounds:
        raise ValueError("there is no round: there is nothing to draw")
    points, held = sorted(rounds, key=lambda point: point.number), controls or {}
    lower = any(point.untrained or point.perplexity for point in points)
    right = RIGHT if held else NO_NAMES
    height = HEAD + TOP + BOTTOM + (MIDDLE + LOWER if lower else 0)
    with style.figure(height) as fig:
        ns = [*(p.accuracy.n for p in points), *(c.n for c in held.values())]
        hollow = "; hollow: rolled back" if any(p.rolled_back for p in points) else ""
        below = f"n = {of_all(ns)} tasks; lines are 95 % intervals{'; dotted: controls' if held else ''}{hollow}"
        style.headline(fig, "Accuracy on held-out tasks, round by round", below)
        bottom = BOTTOM + (MIDDLE + LOWER if lower else 0)
        axes = style.plain_axes(fig, left=LEFT, right=right, top=HEAD, bottom=bottom)
        _accuracies(axes, points, held)
        if lower:
            _below(fig, points)
        return style.save(fig, folder, "rounds")


# -- above -------------------------------------------------------------------------------------------------------


def _accuracies(axes: Any, points: Sequence[RoundPoint], controls: Mapping[str, Result]) -> None:
    from matplotlib.patheffects import withStroke

    highest = max(*(p.accuracy.high for p in points), *(c.value for c in controls.values()), 0.05)
    _share_axis(axes, style.share_top(highest))
    _round_axis(axes, [p.number for p in points])
    for level in sorted({control.value for control in controls.values()}):
        axes.axhline(level, color=style.QUIET, linewidth=0.9, linestyle=(0, (2, 2)), zorder=1)
    stays = [p for p in points if not p.rolled_back]
    axes.plot([p.number for p in stays], [p.accuracy.value for p in stays], color=style.BLUE, linewidth=1.6, zorder=2)
    best = max(points, key=lambda p: (p.accuracy.value, p.number))
    named = points if len(points) <= MOST_VALUES else [points[0], points[-1], best]
    for point in points:
        x, (value, low, high, _) = point.number, point.accuracy
        colour = style.ORANGE if point.rolled_back else style.BLUE if point.number else style.QUIET
        axes.vlines(x, low, high, color=lighter(colour), linewidth=2.6, zorder=3, capstyle="round", clip_on=False)
        fill = "white" if point.rolled_back else colour
        edge, width = (colour, 1.8) if point.rolled_back else ("white", 1.2)
        dot = {"color": fill, "markersize": 8.5, "markeredgecolor": edge, "markeredgewidth": width}
        axes.plot(x, value, "o", **dot, zorder=4, clip_on=False)
        if point in named or point.rolled_back:
            # Above the whisker, with white around it, so that lines behind it do not cut it.
            axes.annotate(
                share(value), (x, high), (0, 5), textcoords="offset points", ha="center", va="bottom", color=colour,
                fontsize=9.5, fontweight="bold", zorder=5,
                path_effects=[withStroke(linewidth=2.5, foreground="white")],
            )  # fmt: skip
    # Names of the controls, at the right; moved apart where they would touch, with a hair line to the value then.
    ordered = sorted(controls.items(), key=lambda item: (item[1].value, item[0]))
    top = axes.get_ylim()[1]
    heights = apart([row.value / top * TOP for _, row in ordered], LABEL, TOP)
    for (who, row), height in zip(ordered, heights, strict=True):
        limits = f"{share(row.value)} {interval(row.low, row.high, 0)}"
        _hair(axes, row.value / top, height / TOP, TOP, style.QUIET)
        name = clean(who.removeprefix("control_").replace("_", " "), 18)
        _end(axes, f"{name}  {limits}", height / TOP, style.QUIET, "normal")


# -- below -------------------------------------------------------------------------------------------------------


def _below(fig: Any, points: Sequence[RoundPoint]) -> None:
    """One panel where only one of the two was measured."""
    families = list(dict.fromkeys(name for point in points for name in point.untrained))
    surprises = [(p.number, p.perplexity, p) for p in points if p.perplexity is not None]
    both = bool(families) and bool(surprises)
    if families:
        axes = _lower_axes(fig, LEFT, style.WIDTH - HALF if both else RIGHT, "Not trained: accuracy", points)
        series = {
            name: [(p.number, p.untrained[name], p) for p in points if name in p.untrained] for name in families
        }
        top = style.share_top(max(found.high for line in series.values() for _, found, _ in line))
        _share_axis(axes, top, few=True)
        ordered = sorted(families, key=lambda name: series[name][-1][1].value)
        heights = apart([series[name][-1][1].value / top * LOWER for name in ordered], LABEL, LOWER)
        for i, name in enumerate(families):
            shift = 0.035 * (len(points) - 1 or 1) * (i - (len(families) - 1) / 2) / max(1, len(families))
            colour, height = LINES[i % len(LINES)], heights[ordered.index(name)]
            _line(axes, series[name], colour, shift)
            _hair(axes, series[name][-1][1].value / top, height / LOWER, LOWER, colour)
            _end(axes, clean(name.replace("_", " "), 18), height / LOWER, colour)
    if surprises:
        left = SECOND if both else LEFT
        axes = _lower_axes(fig, left, 0.75 if both else RIGHT, "Perplexity on held-out text", points)
        # From a step below the lowest limit, for perplexity has no 0. A step is 1, 2, 2.5 or 5 times a power of ten,
        # so that the span has two to four of them.
        low, high = min(found.low for _, found, _ in surprises), max(found.high for _, found, _ in surprises)
        rough = (high - low or high or 1.0) / 3
        power = 10.0 ** floor(log10(rough))
        step = power * next(factor for factor in (1, 2, 2.5, 5, 10) if factor * power >= rough * 0.999)
        bottom, top = step * floor(low / step), step * ceil(high / step)
        axes.set_ylim(bottom, top if top > bottom else bottom + step)
        axes.set_yticks([bottom + step * i for i in range(round((axes.get_ylim()[1] - bottom) / step) + 1)])
        axes.yaxis.set_major_formatter("{x:,.4g}")
        _look(axes)
        _line(axes, surprises, style.BLUE, 0.0)
        last = surprises[-1][1].value
        _end(axes, f"{last:,.1f}", (last - bottom) / (axes.get_ylim()[1] - bottom), style.BLUE)


def _lower_axes(fig: Any, left: float, right: float, title: str, points: Sequence[RoundPoint]) -> Any:
    axes = style.plain_axes(fig, left=left, right=right, top=fig.get_figheight() - BOTTOM - LOWER, bottom=BOTTOM)
    axes.annotate(title, (0, 1), (-40, 13), xycoords="axes fraction", textcoords="offset points", fontweight="bold",
                  fontsize=9.5)  # fmt: skip
    _round_axis(axes, [p.number for p in points], few=True)
    return axes


Line = Sequence[tuple[int, Interval, RoundPoint]]


def _line(axes: Any, line: Line, colour: str, shift: float) -> None:
    """`shift`: aside, in rounds. A round that was rolled back is hollow."""
    xs = [number + shift for number, _, _ in line]
    axes.vlines(xs, [f.low for _, f, _ in line], [f.high for _, f, _ in line], color=lighter(colour), linewidth=1.8)
    stays = [(x, found.value) for x, (_, found, point) in zip(xs, line, strict=True) if not point.rolled_back]
    axes.plot([x for x, _ in stays], [y for _, y in stays], color=colour, linewidth=1.3, zorder=2)
    for x, (_, found, point) in zip(xs, line, strict=True):
        fill, edge = ("white", colour) if point.rolled_back else (colour, "white")
        axes.plot(x, found.value, "o", color=fill, markersize=5.5, markeredgecolor=edge, zorder=4, clip_on=False)


def _end(axes: Any, text: str, height: float, colour: str, weight: str = "bold") -> None:
    """A label at the right end."""
    axes.annotate(text, (1, height), (14, 0), xycoords="axes fraction", textcoords="offset points",
                  va="center_baseline", color=colour, fontsize=8.5, fontweight=weight)  # fmt: skip


# -- axes and labels ---------------------------------------------------------------------------------------------


def _round_axis(axes: Any, numbers: Sequence[int], *, few: bool = False) -> None:
    first, last = min(numbers), max(numbers)
    aside = 0.35 if few else 0.45
    axes.set_xlim(first - aside, last + aside)
    every = max(1, ceil((last - first) / (MOST_TICKS_BELOW if few else MOST_TICKS)))
    ticks = [n for n in range(first, last + 1) if n == 0 or n % every == 0]
    short = few or len(ticks) > 7
    axes.set_xticks(ticks, ["before" if n == 0 else str(n) if short else f"round {n}" for n in ticks])


def _share_axis(axes: Any, top: float, *, few: bool = False) -> None:
    axes.set_ylim(0, top)
    style.share_ticks(axes.yaxis, top, few=few)
    _look(axes)


def _look(axes: Any) -> None:
    axes.tick_params(axis="y", labelsize=9.5, labelcolor=style.QUIET)
    axes.grid(axis="y", color=style.FAINT, linewidth=1)


def _hair(axes: Any, value: float, height: float, inches: float, colour: str) -> None:
    """From the right end of the plot to a label, which may have been moved. `value`, `height`: fractions of a panel;
    `inches`: its height."""
    look = {"arrowstyle": "-", "color": lighter(colour), "linewidth": 0.8, "shrinkA": 0, "shrinkB": 0}
    place = {"xycoords": "axes fraction", "textcoords": "offset points"}
    axes.annotate("", (1, value), (11, (height - value) * inches * 72), **place, arrowprops=look)


def apart(heights: Sequence[float], least: float, room: float) -> list[float]:
    """Heights in rising order, moved as little as it takes to be `least` apart and within 0 and `room`, if they fit.

    >>> apart([1.0, 1.1, 3.0], 0.5, 4.0)
    [1.0, 1.5, 3.0]
    """
    moved: list[float] = []
    for height in heights:
        moved.append(max(height, moved[-1] + least) if moved else height)
    highest = room
    for i in reversed(range(len(moved))):
        moved[i] = min(moved[i], highest)
        highest = moved[i] - least
    return moved
