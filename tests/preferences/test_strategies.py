"""Strategies: which answers meet, by tables of scores. Pairs are written as (index of chosen, index of rejected)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stillroom.preferences.records import Slate
from stillroom.preferences.strategies import quantile
from tests.preferences.building import build, indexes, judged, reasons, slate, task


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        ((1.0, 5.0, 3.0), [(1, 0)]),
        ((2.0, 1.0), [(0, 1)]),
        ((-1.0, -2.0, None), [(0, 1)]),
        ((3.0, 3.0), []),
        ((3.0, 3.0 + 1e-12), []),
        ((3.0,), []),
        ((), []),
        ((None, 3.0), []),
    ],
)
def test_best_against_worst(scores: tuple[float | None, ...], expected: list[tuple[int, int]]) -> None:
    assert indexes(build(slate(*scores))) == expected


@pytest.mark.parametrize(
    ("scores", "rejected"),
    [
        # mean 5, deviation 2: the target is 1
        ((7.0, 3.0), 1),
        # One far below: mean 4.5, deviation 1.5, target 1.5; 0 is the worst, but 2 is nearer than 0
        ((5.0,) * 20 + (0.0, 2.0), 21),
        # Below six answers no score lies under the target: the worst
        ((5.0, 5.0, 5.0, 5.0, 0.0), 4),
    ],
)
def test_best_against_two_deviations_below_the_mean(scores: tuple[float, ...], rejected: int) -> None:
    [(chosen, found)] = indexes(build(slate(*scores), strategy="best_sigma"))
    assert found == rejected
    assert scores[chosen] == max(scores)


def test_sigma_moves_away_from_the_worst_as_draws_grow() -> None:
    few, many = (9.0, 8.0, 7.0, 1.0), (9.0, 8.0, 7.0) * 10 + (1.0, 6.0)
    assert build(slate(*few), strategy="best_sigma").pairs[0].rejected.score == 1.0
    assert build(slate(*many), strategy="best_sigma").pairs[0].rejected.score == 6.0


@given(st.lists(st.integers(0, 10), min_size=2, max_size=5))
def test_with_five_answers_sigma_is_best_against_worst(scores: list[int]) -> None:
    sigma, worst = build(slate(*scores), strategy="best_sigma"), build(slate(*scores))
    assert [p.margin for p in sigma.pairs] == [p.margin for p in worst.pairs]


def test_all_above_a_margin_the_widest_first() -> None:
    built = build(slate(1.0, 5.0, 3.0, 4.5), strategy="margin", margin=1.5)
    assert [pair.margin for pair in built.pairs] == [4.0, 3.5, 2.0, 2.0]
    assert set(indexes(built)) == {(1, 0), (3, 0), (1, 2), (2, 0)}
    assert (built.counts.below_margin, built.counts.over_limit) == (1, 1)


def test_a_limit_for_each_task_takes_the_widest_and_is_counted() -> None:
    built = build(slate(1.0, 5.0, 3.0), slate(1.0, 2.5, of="u"), strategy="margin", margin=1.0, per_task=1)
    assert indexes(built) == [(1, 0), (1, 0)]
    assert (built.counts.over_limit, built.left_out) == (2, ())


def test_the_quantile_is_of_the_gaps_of_the_whole_data_set() -> None:
    slates = [slate(0.0, gap, of=f"t{gap}") for gap in (1.0, 2.0, 3.0, 4.0)]
    built = build(*slates, strategy="margin_quantile", quantile=0.5)
    assert [pair.margin for pair in built.pairs] == [3.0, 4.0]
    assert built.counts.threshold == 3.0
    assert reasons(built) == ["below_margin", "below_margin"]


@pytest.mark.parametrize("scale", [0.01, 1.0, 0.25, 1000.0])
def test_a_quantile_carries_from_judge_to_judge_and_a_margin_does_not(scale: float) -> None:
    slates = [
        slate(*(scale * score for score in scores), of=str(scores)) for scores in ((1, 2), (1, 4), (2, 9), (3, 3))
    ]
    assert len(build(*slates, strategy="margin_quantile", quantile=0.5).pairs) == 2
    assert (len(build(*slates, strategy="margin", margin=2.0).pairs) == 2) is (scale == 1.0)


@pytest.mark.parametrize(
    ("need", "own", "expected", "reason"),
    [
        ("both", (0, 1), [(1, 0)], None),
        ("both", (0,), [], "not_on_policy"),
        ("one", (0,), [(2, 0)], None),
        ("one", (1,), [(2, 1)], None),
        ("one", (), [], "not_on_policy"),
        ("both", (3, 4), [], "tie"),
    ],
)
def test_on_policy(need: str, own: tuple[int, ...], expected: list[tuple[int, int]], reason: str | None) -> None:
    built = build(slate(1.0, 2.0, 9.0, 5.0, 5.0, own=own), strategy="on_policy", on_policy=need)
    assert indexes(built) == expected
    assert reasons(built) == ([reason] if reason else [])


@pytest.mark.parametrize(
    ("scores", "ends", "expected", "reason"),
    [
        ((1.0, 2.0, 3.0), (2, 0), [(2, 0)], None),
        ((1.0, 2.0, 3.0), None, [], "no_tournament"),
        ((1.0, 2.0, 3.0), (1, 1), [], "tie"),
        ((2.0, 2.0, 3.0), (1, 0), [], "tie"),
        ((1.0, 2.0, 3.0), (0, 2), [], "contradicted"),
        ((1.0, 2.0, None), (2, 0), [], "no_tournament"),
    ],
)
def test_tournament(
    scores: tuple[float | None, ...],
    ends: tuple[int, int] | None,
    expected: list[tuple[int, int]],
    reason: str | None,
) -> None:
    built = build(slate(*scores, ends=ends), strategy="tournament")
    assert indexes(built) == expected
    assert [found for found in reasons(built) if found != "judge_failed"] == ([reason] if reason else [])


def test_a_tournament_needs_no_scores() -> None:
    found = tuple(judged(None, index=i) for i in range(3))
    built = build(Slate(task(), found, found[2].candidate.id, found[0].candidate.id), strategy="tournament")
    assert indexes(built) == [(2, 0)]
    assert built.pairs[0].margin is None
    assert reasons(build(Slate(task(), found))) == ["no_score"] * 3 + ["too_few"]


@pytest.mark.parametrize(
    ("share", "expected"), [(0.0, 1.0), (0.25, 2.0), (0.5, 3.0), (0.74, 3.0), (0.75, 4.0), (0.99, 4.0)]
)
def test_quantile(share: float, expected: float) -> None:
    assert quantile([4.0, 2.0, 1.0, 3.0], share) == expected


@given(st.lists(st.floats(0, 10), min_size=1), st.integers(0, 9))
def test_at_least_the_rest_reaches_a_quantile(values: list[float], tenths: int) -> None:
    threshold = quantile(values, tenths / 10)
    assert sum(value >= threshold for value in values) * 10 >= len(values) * (10 - tenths)
    assert threshold in values


def test_a_quantile_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="no values"):
        quantile([], 0.5)
