"""Gain against retention: what each way of training costs of what the model knew before.

    frontier = read_frontier(Path("recipes/quickstart/frontier.json"))
    plot_frontier(frontier, Path("recipes/quickstart/plots"))          # frontier.png, frontier.svg

The file names the two axes and the arms, each with two shares and their 95 % limits; `goal` may be left out:

    {"gain": "sums right", "retention": "products right, leniently", "goal": {"gain": 0.54, "retention": 0.57},
     "arms": [{"name": "plain SFT", "gain": {"value": 0.54, "low": 0.44, "high": 0.63, "n": 100},
               "retention": {"value": 0.0, "low": 0.0, "high": 0.06, "n": 60}}]}

An arm is on the frontier if no other is at least as good on both axes and better on one. That is about the values
that were measured: overlapping intervals say that the order may be chance. Refuses a file without arms, and shares
outside 0 and 1.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from stillroom.common.formatting import of_all, share
from stillroom.errors import InputError, MissingFile
from stillroom.report.plots import style
from stillroom.report.plots.style import Plot, clean, lighter

HEIGHT, LEFT, TOP, BOTTOM = 4.2, 0.95, 0.85, 0.62  # inches
RIGHT, NAMES, LINE = 3.45, 0.3, 0.31  # inches: to the right of the plot, from it to the names, between names
LONGEST = 34
"""Characters of an arm's name, at most."""


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Share(_Record):
    """A measured share and its 95 % limits; `n`: tasks that it rests on."""

    value: float = Field(ge=0, le=1)
    low: float = Field(ge=0, le=1)
    high: float = Field(ge=0, le=1)
    n: int = Field(ge=1)

    @model_validator(mode="after")
    def _in_order(self) -> Share:
        if not self.low <= self.value <= self.high:
            raise ValueError(f"{self.value} does not lie between its limits, {self.low} and {self.high}")
        return self


class Arm(_Record):
    """One way of training."""

    name: str = Field(min_length=1)
    gain: Share
    retention: Share


class Goal(_Record):
    """The least that is wanted of both."""

    gain: float = Field(ge=0, le=1)
    retention: float = Field(ge=0, le=1)


class Frontier(_Record):
    """`gain`, `retention`: what the axes show, in words."""

    gain: str
    retention: str
    arms: tuple[Arm, ...] = Field(min_length=1)
    goal: Goal | None = None

    @property
    def best(self) -> tuple[Arm, ...]:
        """The arms on the frontier, by rising gain. Arms of the same two values are all on it, or none is."""
        found = [arm for arm in self.arms if not any(_beats(other, arm) for other in self.arms)]
        return tuple(sorted(found, key=lambda arm: arm.gain.value))


def _beats(one: Arm, other: Arm) -> bool:
    ours, theirs = ((arm.gain.value, arm.retention.value) for arm in (one, other))
    return ours != theirs and all(a >= b for a, b in zip(ours, theirs, strict=True))


def read_frontier(path: Path) -> Frontier:
    """Raises MissingFile, or InputError naming what does not fit."""
    try:
        return Frontier.model_validate_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise MissingFile(f"{path} does not exist: give a file of arms, with gain and retention") from error
    except (ValidationError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is not a frontier: {error}") from error


def plot_frontier(frontier: Frontier, folder: Path) -> Plot:
    """`frontier.png`, `frontier.svg`: every arm with the intervals of both; those on the frontier are in colour and
    joined by a line, the goal is shaded. Numbers lead to the names at the right."""
    arms = frontier.arms
    with style.figure(max(HEIGHT, TOP + BOTTOM + LINE * len(arms))) as fig:
        axes = style.plain_axes(fig, left=LEFT, right=RIGHT, top=TOP, bottom=BOTTOM)
        ns = (of_all([getattr(arm, side).n for arm in arms]) for side in ("gain", "retention"))
        goal = "; shaded: the goal" if frontier.goal else ""
        below = "n = {} tasks across, {} up; lines are 95 % intervals; blue: the frontier{}".format(*ns, goal)
        style.headline(fig, "What each way of training gains, and what it keeps", below)
        ends = [style.share_top(max(getattr(arm, side).high for arm in arms)) for side in ("gain", "retention")]
        axes.set(xlim=(0, ends[0]), ylim=(0, ends[1]), xlabel=clean(frontier.gain), ylabel=clean(frontier.retention))
        for axis, end in ((axes.xaxis, ends[0]), (axes.yaxis, ends[1])):
            style.share_ticks(axis, end)
        axes.tick_params(axis="y", labelcolor=style.QUIET)
        axes.grid(color=style.FAINT, linewidth=1)
        if frontier.goal is not None:
            axes.fill_between(
                [frontier.goal.gain, ends[0]], frontier.goal.retention, ends[1], color=style.GREEN, alpha=0.13, lw=0
            )
        best = frontier.best
        line = {"color": lighter(style.BLUE), "linewidth": 1.2, "zorder": 2}
        axes.plot([arm.gain.value for arm in best], [arm.retention.value for arm in best], **line)
        for number, arm in enumerate(arms, 1):
            _arm(axes, number, arm, style.BLUE if arm in best else style.QUIET)
        _names(fig, axes, arms, best)
        return style.save(fig, folder, "frontier")


def _arm(axes: Any, number: int, arm: Arm, colour: str) -> None:
    x, y, top = arm.gain, arm.retention, 4 if colour == style.BLUE else 3
    look = {"color": lighter(colour), "linewidth": 1.8, "zorder": top - 1}
    axes.hlines(y.value, x.low, x.high, clip_on=False, **look)
    axes.vlines(x.value, y.low, y.high, clip_on=False, **look)
    dot = {"color": colour, "markersize": 12, "markeredgecolor": "white", "clip_on": False, "zorder": top}
    axes.plot(x.value, y.value, "o", **dot)
    axes.annotate(str(number), (x.value, y.value), ha="center", va="center_baseline", color="white", fontsize=7.5,
                  fontweight="bold", zorder=top, annotation_clip=False)  # fmt: skip


class _At(NamedTuple):
    """Where a name stands, in fractions of the figure; `line`: of a line of text below it."""

    x: float
    y: float
    line: float


def _names(fig: Any, axes: Any, arms: tuple[Arm, ...], best: tuple[Arm, ...]) -> None:
    """A list at the right: number and name, and below them both values."""
    height, box = fig.get_figheight(), axes.get_position()
    for row, arm in enumerate(arms):
        at = _At(box.x1 + NAMES / style.WIDTH, box.y1 - (row * LINE + 0.05) / height, 0.145 / height)
        colour = style.BLUE if arm in best else style.QUIET
        name = f"{row + 1}  {clean(arm.name, LONGEST)}"
        fig.text(at.x, at.y, name, color=colour, fontsize=9, fontweight="bold", va="center_baseline")
        values = f"{share(arm.gain.value)} across, {share(arm.retention.value)} up"
        fig.text(
            at.x + 0.16 / style.WIDTH, at.y - at.line, values, color=style.QUIET, fontsize=8, va="center_baseline"
        )
