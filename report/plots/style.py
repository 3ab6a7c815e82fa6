"""How plots look and how they are written: one style, PNG and SVG, the same bytes for the same numbers.

    with figure(2.4) as fig:
        axes = plain_axes(fig, left=1.6, right=1.2, top=0.6, bottom=0.5)      # margins in inches
    written = save(fig, folder, "accuracy")                                   # accuracy.png and accuracy.svg

Colours are those of Okabe and Ito (2008), which colour-blind people tell apart. Text is never read as a formula.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

from stillroom.common.files import replaced
from stillroom.common.formatting import share
from stillroom.errors import MissingExtra

WIDTH = 8.3  # inches, at 100 pixels each: the column of a README
DPI = 200
INK, QUIET, RULE, FAINT = "#1f2328", "#6a737d", "#d0d7de", "#eef1f4"
BLUE, ORANGE, GREEN, SKY = "#0072B2", "#D55E00", "#009E73", "#56B4E9"

_STYLE = {
    "font.family": "DejaVu Sans",  # comes with matplotlib: the same on every machine
    "font.size": 10.5,
    "text.color": INK,
    "text.parse_math": False,
    "axes.labelcolor": QUIET,
    "axes.edgecolor": RULE,
    "axes.linewidth": 0.8,
    "axes.unicode_minus": True,
    "xtick.color": QUIET,
    "ytick.color": INK,
    "xtick.labelsize": 9.5,
    "axes.labelsize": 9.5,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "svg.fonttype": "path",
    "svg.hashsalt": "stillroom",
}


class Plot(NamedTuple):
    """The two files of a plot, and what they were written from."""

    png: Path
    svg: Path
    figure: Any


@contextmanager
def figure(height: float) -> Iterator[Any]:
    """An empty figure of the house's width, `height` in inches, and its style for the while.

    Raises MissingExtra where matplotlib is not installed.
    """
    try:
        from matplotlib import style
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtra("drawing plots", "matplotlib", "plots") from error
    with style.context(["default", _STYLE]):  # nothing of the user's own settings
        yield Figure(figsize=(WIDTH, height), dpi=DPI)


def plain_axes(fig: Any, *, left: float, right: float, top: float, bottom: float) -> Any:
    """Axes with margins in inches and no frame but the line below."""
    height = fig.get_figheight()
    box = (left / WIDTH, bottom / height, 1 - (left + right) / WIDTH, 1 - (top + bottom) / height)
    axes = fig.add_axes(box)
    for side in ("top", "left", "right"):
        axes.spines[side].set_visible(False)
    axes.tick_params(length=0, pad=6)
    axes.set_axisbelow(True)
    return axes


def headline(fig: Any, title: str, below: str = "") -> None:
    """The title at the upper left, and below it what a reader must know to read the plot."""
    height = fig.get_figheight()
    fig.text(0.16 / WIDTH, 1 - 0.14 / height, clean(title), fontsize=12.5, fontweight="bold", va="top")
    fig.text(0.16 / WIDTH, 1 - 0.41 / height, clean(below, 110), fontsize=9.5, color=QUIET, va="top")


def save(fig: Any, folder: Path, name: str) -> Plot:
    """Writes `<name>.png` and `<name>.svg`, each whole or not at all. Raises RunError when the disk refuses."""
    png, svg = BytesIO(), BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # a name in a script the font lacks is drawn as boxes
        fig.savefig(png, format="png", dpi=DPI, metadata={"Software": None})
        fig.savefig(svg, format="svg", metadata={"Date": None, "Creator": None})
    plot = Plot(folder / f"{name}.png", folder / f"{name}.svg", fig)
    for path, data in ((plot.png, png), (plot.svg, svg)):
        with replaced(path) as file:
            file.write(data.getvalue())
    return plot


def clean(text: str, limit: int = 60) -> str:
    """Text for a label: on one line, within `limit` characters, without what cannot be printed."""
    line = "".join(c for c in " ".join(text.split()) if c.isprintable())
    return line if len(line) <= limit else line[: limit - 1] + "…"


def percent(value: float) -> str:
    """`12.3 %`; without the decimal where it is 0 or 1, which is exact."""
    return share(value, 0 if value in (0, 1) else 1)


def share_top(highest: float) -> float:
    """Where an axis of shares ends: at the next step above the highest value."""
    return next(step for step in (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0) if step >= min(highest, 1.0))


def share_ticks(axis: Any, top: float, *, few: bool = False) -> None:
    """Ticks in per cent from 0 to `top`. `few`: three of them."""
    step = top / 2 if few else 0.05 if top <= 0.2 else 0.1 if top <= 0.5 else 0.2
    axis.set_ticks([step * i for i in range(round(top / step) + 1)])
    axis.set_major_formatter(lambda value, _: share(value, 0))


def lighter(colour: str) -> str:
    """Half way to white, and opaque: what lies behind does not show through."""
    parts = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return "#" + "".join(f"{(part + 255) // 2:02x}" for part in parts)
