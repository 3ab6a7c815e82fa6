"""What was not trained, before and after: the four shares of each kind of tasks, as dots with their intervals.

    plot_retention(read_eval(run / "eval.json"), run / "plots")        # retention.png, retention.svg

Right by the scorer, right when read leniently, readable, EOS: side by side they say whether a student lost answers,
their form, or the habit of stopping. Refuses an evaluation in which they were not measured.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from stillroom.common.formatting import of_all, share
from stillroom.evaluation.results import AFTER, BEFORE, OF_EOS, RETAINED, Evaluation, Result
from stillroom.report.plots import style
from stillroom.report.plots.style import Plot, clean, lighter

ROW, GAP = 0.3, 0.5  # inches: of a line, and of the head of a kind
LEFT, RIGHT, TOP, BOTTOM = 1.75, 2.0, 0.78, 0.37


class _Line(NamedTuple):
    """A share before and after. `y`: inches from the top of the plot; `word`: what it is a share of."""

    y: float
    word: str
    before: Result
    after: Result


def kinds_of(evaluation: Evaluation) -> list[str]:
    """The kinds of tasks whose four shares were measured before and after."""
    rows = [row for row in evaluation.results if row.metric.endswith(OF_EOS)]
    sides = [[row.metric.removesuffix(OF_EOS) for row in rows if row.who == who] for who in (BEFORE, AFTER)]
    return [kind for kind in sides[0] if kind in sides[1]]


def plot_retention(evaluation: Evaluation, folder: Path) -> Plot:
    """A block for each kind, a line for each share; after in colour. Raises ValueError where nothing was measured."""
    kinds = kinds_of(evaluation)
    if not kinds:
        raise ValueError("retention was not measured before and after: there is nothing to draw")
    lines, heads, y = list[_Line](), list[float](), 0.0
    for kind in kinds:
        heads.append(y + GAP / 2)
        y += GAP
        for ending, word in RETAINED.items():
            before, after = (evaluation.find(who, f"{kind}{ending}") for who in (BEFORE, AFTER))
            if before is not None and after is not None:
                lines.append(_Line(y + ROW / 2, word, before, after))
                y += ROW
    with style.figure(TOP + y + BOTTOM) as fig:
        axes = style.plain_axes(fig, left=LEFT, right=RIGHT, top=TOP, bottom=BOTTOM)
        ns = of_all([row.n for line in lines for row in (line.before, line.after)])
        below = f"n = {ns} tasks; lines are 95 % intervals; grey: student before, blue: after"
        style.headline(fig, "Not trained, before and after", below)
        axes.set(xlim=(0, 1), ylim=(y, 0))
        style.share_ticks(axes.xaxis, 1.0)
        axes.grid(axis="x", color=style.FAINT, linewidth=1)
        axes.set_yticks([line.y for line in lines], [line.word for line in lines])
        axes.tick_params(axis="y", pad=10)
        for head, kind in zip(heads, kinds, strict=True):
            place = {"xycoords": ("axes fraction", "data"), "textcoords": "offset points", "va": "center_baseline"}
            name = clean(kind.replace("_", " "), 40)
            axes.annotate(name, (0, head), (-10, -5), ha="right", fontweight="bold", fontsize=9.5, **place)
        for line in lines:
            _draw(axes, line)
        return style.save(fig, folder, "retention")


def _draw(axes: Any, line: _Line) -> None:
    for row, colour, shift in ((line.before, style.QUIET, -0.05), (line.after, style.BLUE, 0.05)):
        y = line.y + shift
        axes.plot([row.low, row.high], [y, y], color=lighter(colour), linewidth=2.2, clip_on=False)
        dot = {"color": colour, "markersize": 6.5, "markeredgecolor": "white", "clip_on": False}
        axes.plot(row.value, y, "o", **dot)
    place = {"xycoords": ("axes fraction", "data"), "textcoords": "offset points", "va": "center_baseline"}
    axes.annotate(
        share(line.before.value), (1, line.y), (58, 0), ha="right", color=style.QUIET, fontsize=9.5, **place
    )
    axes.annotate("→", (1, line.y), (66, 0), ha="center", color=style.QUIET, fontsize=9.5, **place)
    axes.annotate(
        share(line.after.value), (1, line.y), (120, 0), ha="right", color=style.BLUE, fontsize=9.5, fontweight="bold",
        **place,
    )  # fmt: skip
