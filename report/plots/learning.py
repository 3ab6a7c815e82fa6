"""The learning curve of a training: its loss step by step, and that on rows apart where there are some.

    plot_learning(curve_of(read_record(run / "student")), run / "plots")

Every step is a thin line, as measured; the thick line is the mean of each twentieth of the steps. The loss on
validation rows is in another colour, with a ring at the lowest. Refuses to draw a training without steps.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from stillroom.report.plots import style
from stillroom.report.plots.style import Plot, lighter

PARTS = 20
"""Means over the steps that are drawn, at most."""


class Point(NamedTuple):
    """A loss behind a step; of a mean, the middle of its steps."""

    step: float
    loss: float


class LearningCurve(NamedTuple):
    """`training`: step by step, from 1; `validation`: where it was measured."""

    training: tuple[Point, ...]
    validation: tuple[Point, ...] = ()

    def means(self) -> list[Point]:
        """Of each part of the steps, in order."""
        size = max(1, math.ceil(len(self.training) / PARTS))
        parts = [self.training[start : start + size] for start in range(0, len(self.training), size)]
        return [Point(*(sum(values) / len(part) for values in zip(*part, strict=True))) for part in parts]


def curve_of(record: Mapping[str, Any] | None) -> LearningCurve | None:
    """From what `training.json` says; None where it has no steps, or none that could be read."""
    try:
        losses = (record or {})["losses"]
        measured = (record or {}).get("validation", {}).get("losses", [])
        training = tuple(Point(step, float(loss)) for step, loss in enumerate(losses, 1))
        validation = tuple(Point(float(step), float(loss)) for step, loss in measured)
    except (KeyError, TypeError, ValueError, AttributeError):
        return None
    there = training and all(math.isfinite(each.loss) for each in (*training, *validation))
    return LearningCurve(training, validation) if there else None


def plot_learning(curve: LearningCurve, folder: Path, name: str = "learning") -> Plot:
    """`<name>.png`, `<name>.svg`. Raises ValueError for no step."""
    if not curve.training:
        raise ValueError("the training has no steps: there is nothing to draw")
    with style.figure(3.1) as fig:
        axes = style.plain_axes(fig, left=0.75, right=2.1, top=0.85, bottom=0.5)
        steps = len(curve.training)
        apart = f"; {len(curve.validation):,} measurements on validation rows" if curve.validation else ""
        style.headline(fig, "Loss of the training", f"{steps:,} steps of the optimiser{apart}")
        losses = [each.loss for each in (*curve.training, *curve.validation)]
        top = 1.04 * max(losses) if max(losses) > 0 else 1.0
        axes.set(xlim=(0, max(steps, 2)), ylim=(min(0.0, *losses), top))
        axes.tick_params(axis="y", labelsize=9.5, labelcolor=style.QUIET)
        axes.grid(axis="y", color=style.FAINT, linewidth=1)
        axes.set_xlabel("step")
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.plot(*zip(*curve.training, strict=True), color=lighter(style.BLUE), linewidth=0.9)
        means = curve.means()
        thick = {"linewidth": 2, "marker": "o", "markersize": 3.5, "clip_on": False}
        axes.plot(*zip(*means, strict=True), color=style.BLUE, **thick)
        ends = [("training", means[-1].loss, style.BLUE)]
        if curve.validation:
            axes.plot(
                *zip(*curve.validation, strict=True), color=style.ORANGE, linewidth=2, marker="o", markersize=3.5
            )
            best = min(curve.validation, key=lambda each: each.loss)
            axes.plot(*best, "o", markersize=10, markerfacecolor="none", markeredgecolor=style.ORANGE)
            ends.append(("validation", curve.validation[-1].loss, style.ORANGE))
        _names(axes, ends, top)
        return style.save(fig, folder, name)


def _names(axes: Any, ends: list[tuple[str, float, str]], top: float) -> None:
    """The names next to the ends of the lines, moved apart where they would touch."""
    least, places = 0.11 * top, [loss for _, loss, _ in ends]
    if len(places) == 2 and abs(places[0] - places[1]) < least:
        middle, up = sum(places) / 2, least / 2 if places[0] >= places[1] else -least / 2
        places = [middle + up, middle - up]
    for (name, loss, colour), place in zip(ends, places, strict=True):
        axes.annotate(
            f"{name}  {loss:.3g}",
            (1, place),
            (10, 0),
            xycoords=("axes fraction", "data"),
            textcoords="offset points",
            va="center_baseline",
            color=colour,
            fontweight="bold",
        )
