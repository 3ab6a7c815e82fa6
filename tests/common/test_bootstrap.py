from __future__ import annotations

from math import isnan, nan
from statistics import stdev
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stillroom.common.stats.bootstrap import bootstrap, mean_over_tasks, ratio_over_tasks, share_over_tasks
from stillroom.common.stats.intervals import Interval, wilson


def by_task(values: list[float]) -> dict[str, float]:
    return {f"t{i}": value for i, value in enumerate(values)}


def test_one_task_has_no_spread() -> None:
    assert mean_over_tasks({"a": 3.5}, seed=1) == Interval(3.5, 3.5, 3.5, 1)
    assert ratio_over_tasks({"a": (1, 4)}, seed=1) == Interval(0.25, 0.25, 0.25, 1)


def test_a_mean_has_about_the_normal_interval() -> None:
    values = [float(i % 17) for i in range(200)]
    found = mean_over_tasks(by_task(values), seed=1)
    assert found.value == pytest.approx(sum(values) / 200)
    assert (found.high - found.low) / 2 == pytest.approx(1.96 * stdev(values) / 200**0.5, rel=0.08)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([1.0, 0.0, 0.0, 1.0], wilson(2, 4)),
        ([0.0] * 5, wilson(0, 5)),
        ([1.0], wilson(1, 1)),
        ([0.5] * 5, Interval(0.5, wilson(2, 5).low, wilson(3, 5).high, 5)),
    ],
)
def test_shares_that_have_a_closed_form(values: list[float], expected: Interval) -> None:
    assert share_over_tasks(by_task(values), seed=1) == pytest.approx(expected)


def test_a_ratio_is_of_sums_not_a_mean_of_ratios() -> None:
    found = ratio_over_tasks({"a": (1, 10), "b": (0, 100), "c": (1, 10), "d": (1, 10)}, seed=1)
    assert found is not None
    assert found.value == pytest.approx(3 / 130)
    assert (found.low, found.high) == pytest.approx((1 / 310, 1 / 10))  # three times b, and never b


def test_a_ratio_over_nothing_is_none_and_samples_over_nothing_are_passed_over() -> None:
    assert ratio_over_tasks({"a": (1, 0), "b": (2, 0)}, seed=1) is None
    found = ratio_over_tasks({"a": (1, 0), "b": (2, 4)}, seed=1)
    assert found is not None
    assert found.value == 3 / 4


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20), st.randoms())
def test_limits_hold_the_value_and_no_order_matters(values: list[float], random: object) -> None:
    found = share_over_tasks(by_task(values), seed=2)
    assert -1e-9 <= found.low <= found.value + 1e-9
    assert found.value - 1e-9 <= found.high <= 1 + 1e-9
    mixed = list(by_task(values).items())
    random.shuffle(mixed)  # type: ignore[attr-defined]
    assert share_over_tasks(dict(mixed), seed=2) == found


def test_nothing_and_what_is_no_share_are_refused() -> None:
    with pytest.raises(ValueError, match="nothing was measured"):
        mean_over_tasks({}, seed=1)
    with pytest.raises(ValueError, match=r"1\.5 is not a share"):
        share_over_tasks({"a": 1.5}, seed=1)


def mean(values: list[float]) -> Any:
    return lambda weights: weights @ values / weights.sum(1)


def test_a_bootstrap_is_the_same_for_the_same_seed_and_holds_its_value() -> None:
    values = [float(i % 3 == 0) + i / 1e6 for i in range(60)]
    one = bootstrap(range(60), mean(values), seed=4)
    assert one == bootstrap(range(60), mean(values), seed=4)
    assert one != bootstrap(range(60), mean(values), seed=5)
    assert one == pytest.approx(wilson(20, 60), abs=0.03)


def test_a_statistic_without_a_value_has_no_interval() -> None:
    assert isnan(bootstrap([], mean([]), seed=0).value)
    assert isnan(bootstrap(range(3), lambda weights: weights[:, 0] * nan, seed=0).value)


def test_groups_are_drawn_whole_and_count_the_same() -> None:
    found = bootstrap(["a"] * 9 + ["b"], mean([1.0] * 9 + [0.0]), seed=1)
    assert found == pytest.approx((0.5, 0.0, 1.0, 2))
