from __future__ import annotations

import struct
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from stillroom.common.records import Attempt, Outcome, ScoredAttempt, State, StopReason, Task, Verdict, user
from stillroom.common.stats.intervals import wilson
from stillroom.errors import MissingExtra
from stillroom.evaluation.results import Evaluation, Result
from stillroom.report.plots.learning import LearningCurve, Point, curve_of, plot_learning
from stillroom.report.plots.run import (
    Lengths,
    Level,
    by_level,
    lengths,
    plot_difficulty,
    plot_filters,
    plot_lengths,
    plot_results,
)
from stillroom.report.plots.style import DPI, WIDTH, Plot, clean, percent
from stillroom.traces.filters import FilterCount

pytest.importorskip("matplotlib")
SVG = "{http://www.w3.org/2000/svg}"


def evaluation(*whos: tuple[str, int], metric: str = "accuracy") -> Evaluation:
    return Evaluation(results=tuple(Result(who=w, metric=metric, **wilson(k, 100)._asdict()) for w, k in whos))


def results(folder: Path) -> Plot:
    return plot_results(evaluation(("student_before", 3), ("student_after", 58), ("teacher", 100)), folder)


def difficulty(folder: Path) -> Plot:
    return plot_difficulty([Level(str(i), 50, wilson(50 - i, 50), wilson(40 - i, 50)) for i in range(5)], folder)


def answer_lengths(folder: Path) -> Plot:
    before, after = Lengths((20, 30, 31), (64, 64)), Lengths((12, 14, 14, 18), ())
    return plot_lengths({"student_before": before, "student_after": after}, folder)


def filters(folder: Path) -> Plot:
    return plot_filters([FilterCount("finished", 90, 0), FilterCount("dedup", 90, 30)], 60, folder)


def learning(folder: Path) -> Plot:
    falling = tuple(Point(step, 3 / step) for step in range(1, 61))
    return plot_learning(LearningCurve(falling, (Point(20, 0.4), Point(40, 0.2), Point(60, 0.3))), folder)


PLOTS = [results, difficulty, answer_lengths, filters, learning]


def check_png(path: Path) -> tuple[int, int]:
    """Signature, checksums and pixels of a PNG; its width and height."""
    data = path.read_bytes()
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    at, kinds, pixels = 8, [], b""
    while at < len(data):
        (length,), kind = struct.unpack(">I", data[at : at + 4]), data[at + 4 : at + 8]
        body = data[at + 8 : at + 8 + length]
        assert struct.unpack(">I", data[at + 8 + length : at + 12 + length]) == (zlib.crc32(kind + body),)
        kinds.append(kind)
        pixels += body if kind == b"IDAT" else b""
        at += 12 + length
    assert (kinds[0], kinds[-1]) == (b"IHDR", b"IEND")
    assert not {b"tIME", b"tEXt"} & set(kinds)
    width, height = struct.unpack(">II", data[16:24])
    assert len(set(zlib.decompress(pixels))) > 5  # something is drawn
    return width, height


@pytest.mark.parametrize("draw", PLOTS)
def test_both_files_are_whole_and_of_a_readmes_width(draw: Callable[[Path], Plot], tmp_path: Path) -> None:
    plot = draw(tmp_path / "plots")
    width, height = check_png(plot.png)
    assert width == round(WIDTH * DPI)
    assert 300 < height < 1200
    root = ElementTree.parse(plot.svg).getroot()
    assert root.tag == f"{SVG}svg"
    assert len(list(root.iter(f"{SVG}path"))) > 10
    assert sorted(path.name for path in plot.png.parent.iterdir()) == sorted([plot.png.name, plot.svg.name])


@pytest.mark.parametrize("draw", PLOTS)
def test_the_same_numbers_give_the_same_bytes(draw: Callable[[Path], Plot], tmp_path: Path) -> None:
    import matplotlib

    one = draw(tmp_path / "a")
    with matplotlib.rc_context({"font.size": 30, "axes.facecolor": "red", "figure.dpi": 50}):
        other = draw(tmp_path / "b")
    assert one.png.read_bytes() == other.png.read_bytes()
    assert one.svg.read_bytes() == other.svg.read_bytes()
    assert b"<dc:date>" not in one.svg.read_bytes()


def test_other_numbers_give_another_plot(tmp_path: Path) -> None:
    one = plot_results(evaluation(("a", 3), ("b", 50)), tmp_path / "a")
    other = plot_results(evaluation(("a", 3), ("b", 51)), tmp_path / "b")
    assert one.png.read_bytes() != other.png.read_bytes()


def test_the_order_of_the_rows_does_not_matter(tmp_path: Path) -> None:
    one = plot_results(evaluation(("a", 3), ("b", 50), ("c", 50)), tmp_path / "a")
    other = plot_results(evaluation(("c", 50), ("b", 50), ("a", 3)), tmp_path / "b")
    assert one.png.read_bytes() == other.png.read_bytes()


@pytest.mark.parametrize(
    "name", ["$\\frac{1}{", "a\x00b\x1b[31m", "名前", "</svg><script>x</script>", "--", "x" * 500, " \n "]
)
def test_no_name_breaks_a_plot(name: str, tmp_path: Path) -> None:
    plots = [
        plot_results(evaluation((name, 3), ("b", 50)), tmp_path),
        plot_lengths({name: Lengths((1,), ())}, tmp_path),
        plot_difficulty([Level(name, 9, wilson(3, 9), wilson(3, 9))], tmp_path),
        plot_filters([FilterCount(name, 9, 1)], 8, tmp_path),
    ]
    for plot in plots:
        check_png(plot.png)
        assert not list(ElementTree.parse(plot.svg).getroot().iter(f"{SVG}script"))


@pytest.mark.parametrize(
    "draw",
    [
        lambda folder: plot_results(evaluation(("a", 0), ("b", 100)), folder),
        lambda folder: plot_results(evaluation(("a", 3), metric="share_in_form"), folder, metric="share_in_form"),
        lambda folder: plot_difficulty([Level("1", 1, wilson(0, 1), wilson(0, 1))], folder),
        lambda folder: plot_lengths({"a": Lengths((0, 0), ())}, folder),
        lambda folder: plot_lengths({"a": Lengths((), (5,))}, folder),
        lambda folder: plot_filters([FilterCount("a", 9, 9)], 0, folder),
    ],
)
def test_extremes_are_drawn(draw: Callable[[Path], Plot], tmp_path: Path) -> None:
    check_png(draw(tmp_path).png)


@pytest.mark.parametrize(
    "draw",
    [
        lambda folder: plot_results(evaluation(("a", 3)), folder, metric="pass_at_4"),
        lambda folder: plot_difficulty([], folder),
        lambda folder: plot_lengths({}, folder),
        lambda folder: plot_lengths({"a": Lengths((1,), ()), "b": Lengths((), ())}, folder),
        lambda folder: plot_filters([], 0, folder),
        lambda folder: plot_filters([FilterCount("a", 0, 0)], 0, folder),
    ],
)
def test_nothing_is_not_drawn(draw: Callable[[Path], Plot], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="there is nothing to draw"):
        draw(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_without_matplotlib_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingExtra, match=r"stillroom\[plots\]"):
        results(tmp_path)


def test_what_is_written_on_labels() -> None:
    assert clean(" a\n\tb\x07 ") == "a b"
    assert clean("abcdef", 4) == "abc…"
    assert [percent(share) for share in (0, 0.125, 0.9999, 1)] == ["0 %", "12.5 %", "100.0 %", "100 %"]


# -- what is counted for them --------------------------------------------------------------------------------------


def outcome(name: str, level: object, *states: State, kept: int = 0) -> Outcome:
    task = Task(name, user("?"), "4", "by hand", {"level": level})
    scored = [
        ScoredAttempt(Attempt(name, i, "4", None, "stop", 1, 9, None, 0.1, "t"), Verdict(state, "equal"))
        for i, state in enumerate(states)
    ]
    return Outcome(task, tuple(scored), tuple(range(kept)), StopReason.SATISFIED)


YES, NO, UNSCORED = State.ACCEPTED, State.REJECTED, State.UNSCORED


def test_levels_count_tasks_by_their_first_attempt_and_by_what_they_gave() -> None:
    outcomes = [
        outcome("a", 10, NO, YES, kept=1),
        outcome("b", 10, UNSCORED),
        outcome("c", 2, YES, kept=1),
        outcome("d", 2, YES, kept=1),
        outcome("e", 2, NO),
        outcome("f", "hard", NO),
        outcome("g", None, YES, kept=1),
        outcome("h", 2),
    ]
    found = by_level(outcomes, lambda task: task.metadata["level"])
    assert found == [
        Level("2", 3, wilson(2, 3), wilson(2, 3)),
        Level("10", 2, wilson(1, 2), wilson(0, 2)),
        Level("hard", 1, wilson(0, 1), wilson(0, 1)),
    ]
    assert by_level(reversed(outcomes), lambda task: task.metadata["level"]) == found


def test_lengths_part_answers_that_were_cut_off(scored: Callable[..., dict[str, ScoredAttempt]]) -> None:
    given = scored(accepted=range(2), tokens=9) | scored(unscored=["x"], tokens=64, finish="length")
    found = lengths(given)
    assert found == Lengths((9, 9), (64,))
    assert found.all == (9, 9, 64)


@pytest.mark.parametrize(
    ("record", "points"),
    [
        ({"losses": [2.0, 1.0]}, ([(1, 2.0), (2, 1.0)], [])),
        ({"losses": [2.0], "validation": {"losses": [[1, 3.0]]}}, ([(1, 2.0)], [(1, 3.0)])),
        ({"losses": []}, None),
        ({"losses": ["a"]}, None),
        ({"losses": [float("nan")]}, None),
        ({"losses": [1.0], "validation": []}, None),
        ({}, None),
        (None, None),
    ],
)
def test_the_learning_curve_of_a_record(record: dict[str, Any] | None, points: Any) -> None:
    found = curve_of(record)
    assert (None if found is None else ([*found.training], [*found.validation])) == points


def test_the_means_of_a_learning_curve_hold_every_step() -> None:
    curve = LearningCurve(tuple(Point(step, float(step)) for step in range(1, 46)))
    means = curve.means()
    assert means[:2] == [Point(2, 2.0), Point(5, 5.0)]
    assert means[-1] == Point(44, 44.0)
    assert len(means) == 15
    assert len(LearningCurve(curve.training[:7]).means()) == 7


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_a_short_training_is_drawn(steps: int, tmp_path: Path) -> None:
    check_png(plot_learning(LearningCurve(tuple(Point(step, 0.0) for step in range(1, steps + 1))), tmp_path).png)
