from __future__ import annotations

from collections.abc import Sequence
from math import exp, log, tanh
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stillroom.common.stats.intervals import mean_interval, wilson
from stillroom.evaluation.winrate import (
    Duel,
    Scores,
    duel,
    duel_from_scores,
    score_gain,
    win_rate,
)
from stillroom.judges.records import JudgeState, OrderVerdict, Preference


def duels(points: Sequence[float | None], gaps: list[float] | None = None) -> list[Duel]:
    lengths = gaps or [0.0] * len(points)
    return [Duel(f"t{i}", p, 100 + g, 100) for i, (p, g) in enumerate(zip(points, lengths, strict=True))]


def scores(gains: list[float], ratios: list[float]) -> list[Scores]:
    return [Scores(f"t{i}", 3 + g, 3, 100 * r, 100) for i, (g, r) in enumerate(zip(gains, ratios, strict=True))]


def sigmoid(x: float) -> float:
    return 1 / (1 + exp(-x))


# -- win rate ------------------------------------------------------------------------------------------------------


def test_ties_count_half_and_failures_are_left_out() -> None:
    given = [
        Duel("a", 1.0, 5, 5),
        Duel("b", 0.5, 5, 5, "tie"),
        Duel("c", 0.5, 5, 5, "order_conflict"),
        Duel("d", 0.0, 5, 5),
        Duel("e", 1.0, 5, 5),
        Duel("f", None, 900, 5, "parse_failed"),
        Duel("g", None, 900, 5, "api_error"),
        Duel("h", None, 900, 5, "parse_failed"),
    ]
    found = win_rate(given, seed=1)
    assert found.raw.value == pytest.approx(3 / 5)
    assert found.raw.n == 5
    assert (found.wins, found.ties, found.losses, found.conflicts) == (2, 2, 1, 1)
    assert found.failed == {"api_error": 1, "parse_failed": 2}
    assert found.at_equal_length is not None
    assert found.at_equal_length.value == pytest.approx(3 / 5, abs=1e-6)


def test_nothing_was_judged() -> None:
    with pytest.raises(ValueError, match="none of 1 comparisons"):
        win_rate(duels([None]), seed=1)


@pytest.mark.parametrize("points", [1.0, 0.0, 0.5])
def test_where_all_are_alike_the_interval_is_wilsons(points: float) -> None:
    found = win_rate(duels([points] * 20, [(-1) ** i * i for i in range(20)]), seed=1)
    limits = wilson(round(points * 20), 20)
    for interval in (found.raw, found.at_equal_length):
        assert interval is not None
        assert interval.value == pytest.approx(points, abs=1e-9)
        assert (interval.low, interval.high) == (limits.low, limits.high)


def test_several_answers_to_a_prompt_count_as_one() -> None:
    given = [Duel("a", 1.0, 5, 5)] * 9 + [Duel("b", 0.0, 5, 5)]
    found = win_rate(given, seed=1)
    assert found.raw.value == pytest.approx(0.5)
    assert found.raw.n == 2
    assert (found.raw.low, found.raw.high) == pytest.approx((0, 1))


def test_the_interval_of_a_share_is_about_wilsons() -> None:
    found = win_rate(duels([1.0] * 60 + [0.0] * 40), seed=1).raw
    assert found.low == pytest.approx(wilson(60, 100).low, abs=0.015)
    assert found.high == pytest.approx(wilson(60, 100).high, abs=0.015)


def test_wins_by_length_alone_are_gone_at_equal_length() -> None:
    """It wins exactly where it is longer, and is longer three times of four."""
    gaps = [float(g) for g in (*range(10, 310, 10), *range(-100, 0, 10))]
    found = win_rate(duels([1.0 if g > 0 else 0.0 for g in gaps], gaps), seed=1)
    assert found.raw.value == pytest.approx(0.75)
    assert found.at_equal_length is not None
    assert found.at_equal_length.low < 0.5 < found.at_equal_length.high
    assert abs(found.at_equal_length.value - 0.5) < 0.1
    assert not found.extrapolated


def test_wins_that_have_nothing_to_do_with_length_stay() -> None:
    gaps = [float(g) for g in range(-100, 101, 10) for _ in range(4)]
    found = win_rate(duels([1.0, 1.0, 1.0, 0.0] * 21, gaps), seed=1)
    assert found.raw.value == pytest.approx(0.75)
    assert found.at_equal_length is not None
    assert found.at_equal_length.value == pytest.approx(0.75, abs=0.005)
    assert found.at_equal_length.low > 0.6


def test_a_known_model_is_found_again() -> None:
    """Points that are the chances themselves; with so many of them, the penalty on φ no longer counts."""
    random, theta, phi = Random(1), 0.4, 1.5
    gaps = [random.gauss(50, 100) for _ in range(4000)]
    mean = sum(gaps) / len(gaps)
    sd = (sum((g - mean) ** 2 for g in gaps) / len(gaps)) ** 0.5
    found = win_rate(duels([sigmoid(theta + phi * tanh(g / sd)) for g in gaps], gaps), seed=1)
    assert found.raw.value > sigmoid(theta) + 0.05
    assert found.at_equal_length is not None
    assert found.at_equal_length.value == pytest.approx(sigmoid(theta), abs=0.002)


def test_two_groups_by_hand() -> None:
    """Gaps of ±10 have sd 10: with a and b the shares of the groups and x = tanh 1, the equations of the maximum are
    a + b = p + q and n·x·((a − p) − (b − q)) = φ, for p, q = logistic(θ ± φ x)."""
    points = [1.0] * 30 + [0.0] * 10 + [1.0] * 16 + [0.0] * 24
    found = win_rate(duels(points, [10.0] * 40 + [-10.0] * 40), seed=1)
    x, a, b = tanh(1), 30 / 40, 16 / 40
    theta, phi = 0.0, 0.0
    for _ in range(20000):  # plain ascent, slow and sure
        p, q = sigmoid(theta + phi * x), sigmoid(theta - phi * x)
        theta += 0.01 * 40 * ((a - p) + (b - q)) / 10
        phi += 0.01 * (40 * x * ((a - p) - (b - q)) - phi) / 10
    assert found.at_equal_length is not None
    assert found.at_equal_length.value == pytest.approx(sigmoid(theta), abs=1e-6)


def test_lengths_that_all_differ_by_the_same_say_nothing_of_equal_length() -> None:
    found = win_rate(duels([1.0, 0.0, 1.0], [20.0] * 3), seed=1)
    assert found.at_equal_length is None
    assert found.extrapolated


@pytest.mark.parametrize(
    ("gaps", "far"), [([5.0, 10.0, 9.0], True), ([-5.0, -1.0, -3.0], True), ([5.0, 0.0, 3.0], False)]
)
def test_whether_equal_length_was_ever_seen(gaps: list[float], far: bool) -> None:
    assert win_rate(duels([1.0, 0.0, 0.5], gaps), seed=1).extrapolated is far


@given(st.lists(st.tuples(st.sampled_from([0.0, 0.5, 1.0]), st.integers(-50, 50)), min_size=2, max_size=20))
@settings(max_examples=15)
def test_swapping_after_and_before_mirrors_everything(given: list[Any]) -> None:
    one = [Duel(f"t{i}", p, 100.0 + gap, 100.0) for i, (p, gap) in enumerate(given)]
    other = [Duel(d.task_id, 1 - d.points, d.before_length, d.after_length) for d in one if d.points is not None]
    found, mirrored = win_rate(one, seed=3), win_rate(other, seed=3)
    assert found.raw.value == pytest.approx(1 - mirrored.raw.value)
    assert found.raw.low == pytest.approx(1 - mirrored.raw.high)
    assert (found.wins, found.losses) == (mirrored.losses, mirrored.wins)
    if found.at_equal_length is None or mirrored.at_equal_length is None:
        assert found.at_equal_length is mirrored.at_equal_length
    else:
        assert found.at_equal_length.value == pytest.approx(1 - mirrored.at_equal_length.value, abs=1e-6)
        assert found.at_equal_length.low == pytest.approx(1 - mirrored.at_equal_length.high, abs=1e-6)


def test_the_same_seed_gives_the_same_limits_and_names_do_not_matter() -> None:
    given = duels([1.0, 0.0, 0.5, 1.0, 1.0], [3.0, -2.0, 0.0, 9.0, -7.0])
    renamed = [d._replace(task_id=f"other {d.task_id}") for d in given]
    assert win_rate(given, seed=5) == win_rate(renamed, seed=5)
    assert win_rate(given, seed=5).at_equal_length != win_rate(given, seed=6).at_equal_length


@pytest.mark.parametrize(
    ("state", "winner", "points"),
    [
        (JudgeState.OK, "a", 1.0),
        (JudgeState.OK, "b", 0.0),
        (JudgeState.TIE, None, 0.5),
        (JudgeState.ORDER_CONFLICT, None, 0.5),
        (JudgeState.REFUSED, None, None),
    ],
)
def test_a_preference_becomes_points(state: JudgeState, winner: Any, points: float | None) -> None:
    found = duel("t", Preference(state, winner, (OrderVerdict(JudgeState.TIE, None),)), 10, 20)
    assert found == Duel("t", points, 10, 20, state.value)


@pytest.mark.parametrize(
    ("after", "before", "tie", "points", "state"),
    [
        (4.0, 3.0, 0.0, 1.0, "ok"),
        (3.0, 4.0, 0.0, 0.0, "ok"),
        (3.0, 3.0, 0.0, 0.5, "tie"),
        (3.2, 3.0, 0.5, 0.5, "tie"),
        (None, 3.0, 0.0, None, "unscored"),
        (1.0, None, 0.0, None, "unscored"),
    ],
)
def test_scores_become_points(
    after: float | None, before: float | None, tie: float, points: float | None, state: str
) -> None:
    assert duel_from_scores(Scores("t", after, before, 7, 8), tie) == Duel("t", points, 7, 8, state)


# -- mean scores ---------------------------------------------------------------------------------------------------


def test_the_gain_by_hand() -> None:
    given = [*scores([1.0, 0.0, 0.5, 0.1], [2.0, 1.0, 1.0, 1.2]), Scores("x", None, 3.0, 900, 1)]
    found = score_gain(given, seed=1)
    assert found.raw == mean_interval([1.0, 0.0, 0.5, 3.1 - 3])
    assert found.matched == mean_interval([0.0, 0.5, 3.1 - 3])
    assert found.failed == 1
    xs, ys = [log(2), 0, 0, log(1.2)], [1.0, 0.0, 0.5, 0.1]
    mean_x, mean_y = sum(xs) / 4, sum(ys) / 4
    slope = sum((x - mean_x) * (y - mean_y) for x, y in zip(xs, ys, strict=True)) / sum((x - mean_x) ** 2 for x in xs)
    assert found.at_equal_length is not None
    assert found.at_equal_length.value == pytest.approx(mean_y - slope * mean_x)


def test_a_gain_that_is_all_length_is_gone_at_equal_length() -> None:
    ratios = [0.8 + 0.05 * i for i in range(40)]
    noise = [0.05 * (-1) ** i for i in range(40)]
    found = score_gain(scores([log(r) + e for r, e in zip(ratios, noise, strict=True)], ratios), seed=1)
    assert found.raw.low > 0.3
    assert found.at_equal_length is not None
    assert found.at_equal_length.low < 0 < found.at_equal_length.high
    assert found.at_equal_length.high - found.at_equal_length.low < 0.1


@pytest.mark.parametrize(("ratio", "n"), [(1.25, 4), (1.0, 1), (2.0, 6)])
def test_which_lengths_are_matched(ratio: float, n: int) -> None:
    found = score_gain(scores([1.0] * 6, [1.0, 1.25, 0.8, 1.2, 2.0, 0.5]), ratio=ratio, seed=1)
    assert found.matched is not None
    assert found.matched.n == n


def test_no_answer_of_matched_length() -> None:
    found = score_gain(scores([1.0, 2.0], [3.0, 4.0]), seed=1)
    assert found.matched is None
    assert found.extrapolated
    assert score_gain(scores([1.0, 2.0], [3.0, 3.0]), seed=1).at_equal_length is None


def test_an_empty_answer_has_a_length_ratio_too() -> None:
    found = score_gain([Scores("a", 1.0, 2.0, 0, 50), Scores("b", 2.0, 1.0, 50, 50)], seed=1)
    assert found.at_equal_length is not None
    assert found.at_equal_length.value == pytest.approx(1.0)


@pytest.mark.parametrize(("given", "ratio"), [([Scores("a", None, 1, 5, 5)], 1.25), (scores([1.0], [1.0]), 0.5)])
def test_no_gain_can_be_given(given: list[Scores], ratio: float) -> None:
    with pytest.raises(ValueError, match="have both scores"):
        score_gain(given, ratio=ratio, seed=1)
