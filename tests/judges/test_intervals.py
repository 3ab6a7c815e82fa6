"""Intervals for what is counted twice a pair."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stillroom.judges._intervals import bootstrap, clustered_share
from stillroom.sampling.statistics import wilson

CLUSTERS = st.lists(
    st.sampled_from([(0.0, 2), (1.0, 2), (2.0, 2), (0.0, 1), (1.0, 1), (0.0, 0)]), min_size=1, max_size=60
)


@given(CLUSTERS)
def test_limits_hold_the_share_and_lie_between_0_and_1(clusters: list[tuple[float, int]]) -> None:
    found = clustered_share(clusters)
    if found is None:
        assert sum(n for _, n in clusters) == 0
    else:
        assert 0 <= found.low <= found.value <= found.high <= 1
        assert found.n == sum(n for _, n in clusters)


@given(CLUSTERS)
def test_never_narrower_than_if_all_tries_were_independent(clusters: list[tuple[float, int]]) -> None:
    found = clustered_share(clusters)
    if found is not None:
        independent = wilson(round(sum(s for s, _ in clusters)), found.n)
        assert found.low <= independent.low + 1e-9
        assert found.high >= independent.high - 1e-9


@given(st.integers(1, 80), st.integers(0, 80))
def test_two_verdicts_that_always_agree_are_worth_one(right: int, wrong: int) -> None:
    found = clustered_share([(2.0, 2)] * right + [(0.0, 2)] * wrong)
    once = wilson(right, right + wrong)
    assert found is not None
    assert found.value == once.value
    assert (found.low, found.high) == pytest.approx((once.low, once.high))


def test_nothing_was_tried() -> None:
    assert clustered_share([]) is None
    assert clustered_share([(0.0, 0)]) is None


def mean(sums: tuple[float, ...]) -> float:
    return sums[0] / sums[1]


def test_a_bootstrap_is_the_same_for_the_same_seed_and_holds_its_value() -> None:
    pairs = [(float(i % 3 == 0) + i / 1e6, 1.0) for i in range(60)]
    one = bootstrap(pairs, mean, n=60, seed=4)
    assert one is not None
    assert one == bootstrap(pairs, mean, n=60, seed=4)
    assert one != bootstrap(pairs, mean, n=60, seed=5)
    close = wilson(20, 60)
    assert (one.value, one.low, one.high) == pytest.approx((close.value, close.low, close.high), abs=0.03)


def test_a_statistic_without_a_value_has_no_interval() -> None:
    assert bootstrap([], mean, n=0, seed=0) is None
    assert bootstrap([(1.0, 1.0)], lambda sums: None, n=1, seed=0) is None
