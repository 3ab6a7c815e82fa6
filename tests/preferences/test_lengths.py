"""Lengths: matched pairs, residuals, and the report."""

from __future__ import annotations

from math import e, log

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stillroom.judges.records import JudgeState
from stillroom.preferences.lengths import failures, fit, matched, report_of
from stillroom.preferences.records import Judged, Slate
from tests.preferences.building import build, indexes, judged, reasons, task


@pytest.mark.parametrize(
    ("a", "b", "ratio", "expected"),
    [
        (10, 10, 1.0, True),
        (10, 11, 1.0, False),
        (10, 12, 1.2, True),
        (13, 10, 1.2, False),
        (0, 0, 2.0, False),
        (0, 5, 9.0, False),
    ],
)
def test_matched(a: int, b: int, ratio: float, expected: bool) -> None:
    assert matched("x" * a, " " + "x" * b + "\n", ratio) is expected


def long(score: float | None, characters: int, index: int, state: JudgeState = JudgeState.OK) -> Judged:
    return judged(score, str(index) + "x" * (characters - 1), index=index, state=state)


@pytest.mark.parametrize(
    ("answers", "strategy", "expected"),
    [
        # The widest gap is between lengths that do not match; the widest that match is taken.
        (((9.0, 400), (1.0, 100), (5.0, 110), (3.0, 390)), "best_worst", [(0, 3)]),
        (((9.0, 400), (1.0, 100), (8.0, 110), (3.0, 390)), "best_worst", [(2, 1)]),
        (((9.0, 400), (1.0, 100)), "best_worst", []),
        # Of the best answers the first that has a match
        (((9.0, 400), (8.0, 100), (2.0, 110), (1.0, 120)), "best_sigma", [(1, 3)]),
    ],
)
def test_the_best_pair_of_matched_length_is_taken(
    answers: tuple[tuple[float, int], ...], strategy: str, expected: list[tuple[int, int]]
) -> None:
    found = tuple(long(score, characters, i) for i, (score, characters) in enumerate(answers))
    built = build(Slate(task(), found), strategy=strategy, length="matched")
    assert indexes(built) == expected
    assert reasons(built) == ([] if expected else ["length_mismatch"])


def test_of_all_pairs_above_a_margin_those_that_do_not_match_are_counted() -> None:
    found = (long(9.0, 400, 0), long(1.0, 100, 1), long(5.0, 110, 2))
    built = build(Slate(task(), found), strategy="margin", margin=1.0, length="matched")
    assert (indexes(built), built.counts.length_mismatch) == ([(2, 1)], 2)


def test_a_residual_takes_out_what_length_explains() -> None:
    """Each task has its own mean: the slope is that within tasks, here one point for a length e times as long."""
    tasks = [[(base + log(n), n) for n in (10, 100, 1000)] for base in (0.0, 50.0, -3.0)]
    found = fit(tasks)
    assert found.slope == pytest.approx(1.0)
    for answers in tasks:
        assert len({round(found.adjusted(*answer), 9) for answer in answers}) == 1
    assert found.adjusted(7.0, 100) == pytest.approx(7.0)  # 100 is the mean log length
    assert found.adjusted(7.0, round(100 * e)) == pytest.approx(6.0, abs=0.01)


@pytest.mark.parametrize("tasks", [[], [[]], [[(1.0, 5)]], [[(1.0, 5), (9.0, 5)]], [[(1.0, 5)], [(9.0, 500)]]])
def test_without_a_spread_of_length_nothing_is_taken_out(tasks: list[list[tuple[float, int]]]) -> None:
    assert fit(tasks).slope == 0.0


def test_residuals_choose_another_pair_and_keep_the_judges_scores() -> None:
    """Length is worth one point per e; the short answer is two points better than its length says."""
    slates = []
    for number in range(5):
        of = f"t{number}"
        scores = [(log(50) + 2, 50), (log(100), 100), (log(1000), 1000), (log(20000), 20000)]
        found = tuple(judged(s, of + "x" * (n - 2), of=of, index=i) for i, (s, n) in enumerate(scores))
        slates.append(Slate(task(of), found))
    plain, residual = build(*slates), build(*slates, length="residual")
    assert set(indexes(plain)) == {(3, 1)}
    assert {chosen for chosen, _ in indexes(residual)} == {0}
    assert residual.pairs[0].chosen.score == log(50) + 2
    assert residual.lengths.slope is not None
    assert residual.lengths.slope > 0
    assert plain.lengths.slope is None


def test_report() -> None:
    found = report_of([("x" * 20, "x" * 10), ("x" * 30, "x" * 20), ("x" * 10, "x" * 10), ("x" * 10, "x" * 12)])
    assert found.chosen is not None
    assert found.rejected is not None
    assert found.gap is not None
    assert found.longer_chosen is not None
    assert (found.chosen.value, found.rejected.value, found.gap.value) == (17.5, 13.0, 4.5)
    assert found.longer_chosen.n == 3
    assert found.longer_chosen.value == pytest.approx(2 / 3)
    assert found.effect == pytest.approx(4.5 / ((91.6667 + 22.6667) / 2) ** 0.5, rel=1e-4)


def test_report_of_few() -> None:
    assert report_of([]).as_dict() == {
        "pairs": 0,
        "chosen": None,
        "rejected": None,
        "gap": None,
        "effect": None,
        "longer_chosen": None,
        "slope": None,
    }
    one = report_of([("aa", "bb")])
    assert (one.effect, one.longer_chosen) == (None, None)


@given(st.lists(st.tuples(st.text(max_size=9), st.text(max_size=9)), min_size=1))
def test_swapping_the_sides_mirrors_the_report(sides: list[tuple[str, str]]) -> None:
    there, back = report_of(sides), report_of([(b, a) for a, b in sides])
    assert there.chosen == back.rejected
    assert (there.effect is None) is (back.effect is None)
    if there.effect is not None:
        assert there.effect == pytest.approx(-(back.effect or 0.0))
    if there.longer_chosen is not None:
        assert there.longer_chosen.value == pytest.approx(1 - (back.longer_chosen or there.longer_chosen).value)


# -- failures of the judge ---------------------------------------------------------------------------------------


def test_failures_by_source_and_length() -> None:
    found = [
        judged(
            None if i >= 20 else 1.0,
            f"{i:02}" + "x" * 10 * i,
            of=f"t{i}",
            source="a" if i % 2 else "b",
            state=JudgeState.OVERFLOW if i >= 20 else JudgeState.OK,
        )
        for i in range(30)
    ]
    said = failures([Slate(task(each.candidate.task_id), (each,)) for each in found])
    assert said.all is not None
    assert (said.failed, said.all.n, said.by_state) == (10, 30, {"overflow": 10})
    assert {name: (share.value, share.n) for name, share in said.by_length.items()} == {
        "short": (0.0, 10),
        "middle": (0.0, 10),
        "long": (1.0, 10),
    }
    assert {name: share.n for name, share in said.by_source.items()} == {"a": 15, "b": 15}
    assert said.concentrated == ("long",)


def test_failures_of_one_source_show() -> None:
    found = [
        judged(
            None if i % 2 else 1.0,
            f"of equal length {i:02}",
            of=f"t{i}",
            source="odd" if i % 2 else "even",
            state=JudgeState.REFUSED if i % 2 else JudgeState.OK,
        )
        for i in range(40)
    ]
    said = failures([Slate(task(each.candidate.task_id), (each,)) for each in found])
    assert said.concentrated == ("source odd",)


def test_no_candidates_have_no_share_of_failures() -> None:
    said = failures([])
    assert (said.all, said.concentrated, said.as_dict()["by_length"]) == (None, (), {})
