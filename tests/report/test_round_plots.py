from __future__ import annotations

import struct
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stillroom.common.stats.intervals import Interval, wilson
from stillroom.errors import MissingExtra
from stillroom.evaluation.results import Evaluation, Result
from stillroom.report.plots.loop import RoundPoint, apart, other_results, plot_rounds, round_points
from stillroom.report.plots.style import DPI, WIDTH, Plot

pytest.importorskip("matplotlib")
SVG = "{http://www.w3.org/2000/svg}"


def result(who: str, right: int, metric: str = "accuracy", n: int = 100) -> Result:
    return Result(who=who, metric=metric, **wilson(right, n)._asdict())


def surprise(who: str, value: float) -> Result:
    return Result(who=who, metric="perplexity", value=value, low=value - 1, high=value + 1, n=60)


EVALUATION = Evaluation(
    results=(
        result("teacher", 8),
        result("round_2", 45),
        result("student_before", 3),
        result("round_10", 50),
        result("round_1", 34),
        result("control_one_round", 41),
        result("round_1", 97, "share_stopped"),
        result("student_before", 22, "letters_accuracy"),
        result("round_1", 20, "letters_accuracy"),
        result("round_1", 60, "words_accuracy"),
        surprise("round_1", 18.9),
        result("round_11", 1, "share_stopped"),  # came to no answers: no accuracy
    )
)


def point(number: int, right: int, *, back: bool = False, letters: int | None = 20) -> RoundPoint:
    untrained = {} if letters is None else {"letters": wilson(letters, 100)}
    surprised = None if letters is None else Interval(18.0 + number, 17.0 + number, 19.0 + number, 60)
    return RoundPoint(number, wilson(right, 100), back, untrained, surprised)


THREE = [point(0, 3), point(1, 34), point(2, 45), point(3, 52)]


def size(path: Path) -> tuple[int, int]:
    data = path.read_bytes()
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    width, height = struct.unpack(">II", data[16:24])
    return width, height


def whole(plot: Plot) -> None:
    assert size(plot.png)[0] == round(WIDTH * DPI)
    assert len(list(ElementTree.parse(plot.svg).getroot().iter(f"{SVG}path"))) > 10
    assert sorted(path.name for path in plot.png.parent.iterdir()) == ["rounds.png", "rounds.svg"]


# -- what is drawn -------------------------------------------------------------------------------------------------


def test_points_are_read_from_an_evaluation_in_the_order_of_rounds() -> None:
    found = round_points(EVALUATION, rolled_back={2})
    assert [p.number for p in found] == [0, 1, 2, 10]
    assert [p.rolled_back for p in found] == [False, False, True, False]
    assert found[1].accuracy == wilson(34, 100)
    assert found[1].untrained == {"letters": wilson(20, 100), "words": wilson(60, 100)}
    assert found[1].perplexity == Interval(18.9, 17.9, 19.9, 60)
    assert found[2].untrained == {}
    assert found[2].perplexity is None


def test_the_others_are_no_rounds() -> None:
    assert list(other_results(EVALUATION)) == ["teacher", "control_one_round"]
    odd = Evaluation(results=(result("round_", 1), result("round_x", 2), result("round_²", 3), result("round_1", 4)))
    assert list(other_results(odd)) == ["round_", "round_x", "round_²"]


# -- drawing -------------------------------------------------------------------------------------------------------


def test_both_files_are_whole_and_of_a_readmes_width(tmp_path: Path) -> None:
    whole(plot_rounds(THREE, tmp_path, controls=other_results(EVALUATION)))


def test_without_what_was_not_trained_there_is_one_panel(tmp_path: Path) -> None:
    alone = [point(n, 30 + n, letters=None) for n in range(3)]
    low, high = plot_rounds(alone, tmp_path / "a"), plot_rounds(THREE, tmp_path / "b")
    assert size(low.png)[1] < size(high.png)[1] - DPI


def test_the_same_numbers_give_the_same_bytes_in_whatever_order(tmp_path: Path) -> None:
    import matplotlib

    controls = other_results(EVALUATION)
    one = plot_rounds(THREE, tmp_path / "a", controls=controls)
    with matplotlib.rc_context({"font.size": 30, "axes.facecolor": "red", "figure.dpi": 50}):
        other = plot_rounds(THREE[::-1], tmp_path / "b", controls=dict(reversed(controls.items())))
    assert one.png.read_bytes() == other.png.read_bytes()
    assert one.svg.read_bytes() == other.svg.read_bytes()


@pytest.mark.parametrize(
    "change",
    [
        lambda points: [*points[:3], point(3, 53)],
        lambda points: [*points[:3], point(3, 52, back=True)],
        lambda points: [*points[:3], point(3, 52, letters=21)],
        lambda points: points[:3],
    ],
)
def test_other_numbers_give_another_plot(
    change: Callable[[list[RoundPoint]], list[RoundPoint]], tmp_path: Path
) -> None:
    one, other = plot_rounds(THREE, tmp_path / "a"), plot_rounds(change(THREE), tmp_path / "b")
    assert one.png.read_bytes() != other.png.read_bytes()


@pytest.mark.parametrize(
    "points",
    [
        [point(1, 34, letters=None)],
        [point(0, 0), point(1, 0)],
        [point(0, 100), point(1, 100)],
        [point(0, 3), point(1, 1, back=True)],
        [point(1, 1, back=True)],
        [point(n, 3 * n) for n in range(31)],
        [RoundPoint(0, wilson(1, 2), perplexity=Interval(20.0, 20.0, 20.0, 1))],
        [RoundPoint(0, wilson(1, 2), perplexity=Interval(1e300, 1e299, 1e301, 1))],
        [RoundPoint(0, wilson(1, 2), untrained={"a": wilson(0, 1), "b": wilson(0, 1), "c": wilson(1, 1)})],
        [RoundPoint(1, wilson(1, 2), untrained={f"family_{i}": wilson(i, 9) for i in range(9)})],
    ],
)
def test_extremes_are_drawn(points: list[RoundPoint], tmp_path: Path) -> None:
    whole(plot_rounds(points, tmp_path))


@pytest.mark.parametrize("name", ["$\\frac{1}{", "a\x00b\x1b[31m", "</svg><script>x</script>", "x" * 500, " \n "])
def test_no_name_breaks_a_plot(name: str, tmp_path: Path) -> None:
    points = [RoundPoint(0, wilson(1, 9), untrained={name: wilson(1, 9)})]
    plot = plot_rounds(points, tmp_path, controls={name: result(name, 5)})
    whole(plot)
    assert not list(ElementTree.parse(plot.svg).getroot().iter(f"{SVG}script"))


def test_nothing_is_not_drawn(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="there is nothing to draw"):
        plot_rounds([], tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_without_matplotlib_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingExtra, match=r"stillroom\[plots\]"):
        plot_rounds(THREE, tmp_path)


# -- labels --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("heights", "expected"),
    [
        ([], []),
        ([1.0], [1.0]),
        ([1.0, 2.0], [1.0, 2.0]),
        ([1.0, 1.0], [1.0, 1.5]),
        ([4.0, 4.0], [3.5, 4.0]),
        ([3.9, 4.0, 4.0], [3.0, 3.5, 4.0]),
    ],
)
def test_labels_that_would_touch_are_moved(heights: list[float], expected: list[float]) -> None:
    assert apart(heights, 0.5, 4.0) == expected


@given(st.lists(st.floats(0, 4), max_size=8))
def test_labels_keep_apart_and_inside_and_in_order(heights: list[float]) -> None:
    found = apart(sorted(heights), 0.5, 4.0)
    assert all(b - a > 0.5 - 1e-9 for a, b in pairwise(found))
    assert all(-1e-9 <= height <= 4.0 for height in found)
