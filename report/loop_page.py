"""The one report of a loop, as a page: what each round was, what the guard said of it, and what came of all of them.

    write_loop_report(LoopReport("self_distill", rounds, evaluation, stopped="all 3 rounds are done"), run)

For light and dark, wide and narrow. Plots are in the page. Self-contained and safe for whatever a model wrote, as
every page of `stillroom.report.html`.
"""

from __future__ import annotations

from base64 import b64encode
from importlib.resources import files
from pathlib import Path
from typing import NamedTuple

from stillroom.common.files import replaced
from stillroom.evaluation.guard import measure_name
from stillroom.report.html import html_page
from stillroom.report.loop import LoopReport, columns, comparisons, lines, others, summary

FILE = "report.html"
LONGEST = 4_000
"""Characters of a prompt or an answer that are shown."""
IMAGES = {".svg": "image/svg+xml", ".png": "image/png"}


def write_loop_report(report: LoopReport, folder: Path) -> Path:
    """Writes `report.html` into the folder, whole or not at all; gives its path. Raises RunError when the disk
    refuses."""
    path = folder / FILE
    with replaced(path) as file:
        file.write(loop_page(report).encode())
    return path


def loop_page(report: LoopReport) -> str:
    """The page, as HTML."""
    return html_page(
        files("stillroom.report").joinpath("loop.html"),
        report.name,
        report=report,
        summary=summary(report),
        plots=[_plot(path) for path in report.plots],
        columns=columns(report),
        lines=lines(report),
        others=others(report.evaluation),
        comparisons=comparisons(report.evaluation),
        measure_name=measure_name,
        cut=_cut,
    )


class _Plot(NamedTuple):
    """`data`: the picture as an address, which holds it; empty where it is not there."""

    name: str
    data: str = ""


def _plot(path: Path) -> _Plot:
    """In the page, as an image: nothing in it can run, and its ids meet no others."""
    kind = IMAGES.get(path.suffix.lower())
    if kind is None or not path.is_file():
        return _Plot(path.name)
    return _Plot(path.stem, f"data:{kind};base64,{b64encode(path.read_bytes()).decode()}")


def _cut(text: str) -> str:
    """Of a long text both ends."""
    half = LONGEST // 2
    over = len(text) - LONGEST
    return f"{text[:half]} […{over:,} characters…] {text[-half:]}" if over > 0 else text
