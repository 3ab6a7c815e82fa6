"""Retention as plots: the four shares of each kind of tasks, and gain against retention."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from stillroom.common.stats.intervals import wilson
from stillroom.errors import InputError, MissingFile
from stillroom.evaluation.results import AFTER, BEFORE, Evaluation, Result
from stillroom.report.plots.frontier import Frontier, plot_frontier, read_frontier
from stillroom.report.plots.retention import kinds_of, plot_retention

pytest.importorskip("matplotlib")


def texts(figure: Any) -> list[str]:
    parts = [*figure.texts, *(text for axes in figure.axes for text in [*axes.texts, *axes.get_yticklabels()])]
    return [part.get_text() for part in parts]


# -- the four shares -----------------------------------------------------------------------------------------------


def measured(*kinds: str, whos: tuple[str, ...] = (BEFORE, AFTER), endings: int = 4) -> Evaluation:
    ends = ("_accuracy", "_lenient", "_readable", "_eos_rate")[-endings:]
    return Evaluation(
        results=tuple(
            Result(who=who, metric=f"{kind}{end}", **wilson(10 * n + 40 * (who == AFTER), 100)._asdict())
            for kind in kinds
            for who in whos
            for n, end in enumerate(ends)
        )
    )


def test_a_line_for_each_share_of_each_kind(tmp_path: Path) -> None:
    plot = plot_retention(measured("products", "long_words"), tmp_path)
    assert (plot.png.name, plot.svg.name) == ("retention.png", "retention.svg")
    assert plot.png.stat().st_size > 5_000
    found = texts(plot.figure)
    assert [found.count(word) for word in ("right", "lenient", "readable", "EOS")] == [2] * 4
    assert {"products", "long words", "10.0 %", "50.0 %", "70.0 %"} <= set(found)
    points = [line.get_xdata()[0] for line in plot.figure.axes[0].lines if len(line.get_xdata()) == 1]
    assert points == pytest.approx([value for n in range(4) for value in (n / 10, n / 10 + 0.4)] * 2)


def test_what_is_not_a_number_has_no_lenient_line(tmp_path: Path) -> None:
    found = measured("words")
    some = found.model_copy(update={"results": [row for row in found.results if "lenient" not in row.metric]})
    assert "lenient" not in texts(plot_retention(some, tmp_path).figure)


@pytest.mark.parametrize("found", [measured(), measured("x", whos=(AFTER,)), measured("x", whos=(BEFORE,))])
def test_what_was_not_measured_on_both_sides_is_refused(found: Evaluation, tmp_path: Path) -> None:
    assert kinds_of(found) == []
    with pytest.raises(ValueError, match="nothing to draw"):
        plot_retention(found, tmp_path)


# -- gain against retention ----------------------------------------------------------------------------------------


def arm(name: str, gain: float, retention: float) -> dict[str, Any]:
    sides = {"gain": gain, "retention": retention}
    return {"name": name, **{side: wilson(round(100 * value), 100)._asdict() for side, value in sides.items()}}


ARMS = [arm("base", 0.05, 0.67), arm("SFT", 0.54, 0.0), arm("slow", 0.4, 0.75), arm("KL", 0.4, 0.5)]


def frontier(*arms: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"gain": "sums", "retention": "products", "arms": list(arms or ARMS), **more}


def write(folder: Path, value: Any) -> Path:
    (folder / "arms.json").write_text(value if isinstance(value, str) else json.dumps(value))
    return folder / "arms.json"


@pytest.mark.parametrize(
    ("arms", "best"),
    [
        (ARMS, ["slow", "SFT"]),
        (ARMS[:1], ["base"]),
        ([arm("a", 0.5, 0.5), arm("b", 0.5, 0.5)], ["a", "b"]),
        ([arm("a", 0.5, 0.5), arm("b", 0.5, 0.6)], ["b"]),
        ([arm("a", 0.5, 0.5), arm("b", 0.6, 0.5)], ["b"]),
    ],
)
def test_who_is_on_the_frontier(arms: list[dict[str, Any]], best: list[str]) -> None:
    assert [each.name for each in Frontier.model_validate(frontier(*arms)).best] == best


def test_every_arm_is_drawn_and_named(tmp_path: Path) -> None:
    given = read_frontier(write(tmp_path, frontier(goal={"gain": 0.5, "retention": 0.57})))
    plot = plot_frontier(given, tmp_path / "plots")
    assert (plot.png.name, plot.svg.name) == ("frontier.png", "frontier.svg")
    found = texts(plot.figure)
    assert {"1  base", "2  SFT", "3  slow", "4  KL", "5.0 % across, 67.0 % up", "1", "4"} <= set(found)
    assert any(text.endswith("blue: the frontier; shaded: the goal") for text in found)
    (axes,) = plot.figure.axes
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("sums", "products")
    drawn = {
        (float(line.get_xdata()[0]), float(line.get_ydata()[0])) for line in axes.lines if len(line.get_xdata()) == 1
    }
    assert drawn == {(0.05, 0.67), (0.54, 0.0), (0.4, 0.75), (0.4, 0.5)}
    again = plot_frontier(given, tmp_path / "again")
    assert again.svg.read_bytes() == plot.svg.read_bytes()


def test_many_arms_with_long_names_find_room(tmp_path: Path) -> None:
    arms = [arm(f"a way of training with a long name {n}", n / 20, 1 - n / 20) for n in range(20)]
    plot = plot_frontier(Frontier.model_validate(frontier(*arms)), tmp_path)
    lowest = min(text.get_position()[1] for text in plot.figure.texts)
    assert lowest > 0


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("{", "Invalid JSON"),
        ({"gain": "a", "retention": "b", "arms": []}, "at least 1"),
        (frontier(arm("x", 0.5, 0.5) | {"gain": {"value": 1.5, "low": 0, "high": 2, "n": 9}}), "less than or equal"),
        (
            frontier(arm("x", 0.5, 0.5) | {"gain": {"value": 0.5, "low": 0.6, "high": 0.7, "n": 9}}),
            "between its limits",
        ),
        (frontier(colour="red"), "colour"),
    ],
)
def test_what_is_no_frontier_is_refused_with_its_file(value: Any, said: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=said) as caught:
        read_frontier(write(tmp_path, value))
    assert "arms.json is not a frontier" in str(caught.value)


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(MissingFile, match=r"gone\.json does not exist"):
        read_frontier(tmp_path / "gone.json")
