"""Laws, and worked examples as published; each names its source."""

from __future__ import annotations

import random
from math import comb

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stillroom.common.stats.intervals import (
    PairedCounts,
    clustered_share,
    mcnemar_exact,
    mean_interval,
    paired_difference,
    wilson,
)

COUNTS = st.builds(PairedCounts, *[st.integers(0, 60)] * 4).filter(lambda counts: counts.n > 0)
SHARES = st.integers(1, 400).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_as_in_table_1_of_newcombe_1998a(successes: int, n: int, low: float, high: float) -> None:
    found = wilson(successes, n)
    assert (found.value, found.n) == (successes / n, n)
    assert [found.low, found.high] == pytest.approx([low, high], abs=5e-5)


@pytest.mark.parametrize(
    ("counts", "low", "high", "source"),
    [
        ((36, 12, 2, 0), 0.0569, 0.3404, "Newcombe 1998b, table II, method 10"),
        ((1, 1, 7, 12), -0.507, -0.026, "Fagerland, Lydersen and Laake 2014, Stat. Med. 33: airway data"),
        ((14, 5, 0, 22), 0.011, 0.226, "Altman et al. 2000, Statistics with Confidence, p. 52: thallium data"),
    ],
)
def test_paired_difference_as_published(counts: tuple[int, ...], low: float, high: float, source: str) -> None:
    found = paired_difference(PairedCounts(*counts))
    assert [found.low, found.high] == pytest.approx([low, high], abs=6e-4), source


@pytest.mark.parametrize(
    ("only_a", "only_b", "p"),
    [
        (1, 7, 0.0703125),  # Fagerland, Lydersen and Laake 2013: airway data, 0.070
        (6, 16, 0.0524788),  # the same: complete response data, 0.053
        (0, 0, 1.0),
        (5, 5, 1.0),
        (0, 10, 2 / 1024),
    ],
)
def test_mcnemar_exact_as_published(only_a: int, only_b: int, p: float) -> None:
    assert mcnemar_exact(only_a, only_b) == pytest.approx(p, rel=1e-5)


@given(SHARES)
def test_wilson_holds_the_estimate_and_stays_a_share(share: tuple[int, int]) -> None:
    found = wilson(*share)
    assert 0 <= found.low <= found.value <= found.high <= 1
    assert found.low < found.high


@given(SHARES)
def test_wilson_of_the_failures_is_the_mirror(share: tuple[int, int]) -> None:
    successes, n = share
    right, wrong = wilson(successes, n), wilson(n - successes, n)
    assert [wrong.low, wrong.high] == pytest.approx([1 - right.high, 1 - right.low])


@given(COUNTS)
def test_the_difference_lies_in_its_interval(counts: PairedCounts) -> None:
    found = paired_difference(counts)
    assert -1 <= found.low <= found.value <= found.high <= 1


@given(COUNTS)
def test_swapping_the_models_mirrors_the_difference(counts: PairedCounts) -> None:
    ab, ba = (
        paired_difference(counts),
        paired_difference(PairedCounts(counts.both, counts.only_b, counts.only_a, counts.neither)),
    )
    assert (ba.value, ba.low, ba.high) == pytest.approx((-ab.value, -ab.high, -ab.low))


@given(st.integers(0, 2000), st.integers(0, 2000))
def test_mcnemar_is_a_p_value_and_symmetric(only_a: int, only_b: int) -> None:
    assert 0 <= mcnemar_exact(only_a, only_b) <= 1
    assert mcnemar_exact(only_a, only_b) == mcnemar_exact(only_b, only_a)


@given(st.integers(1, 60), st.data())
def test_mcnemar_is_the_binomial_test(n: int, data: st.DataObject) -> None:
    k = data.draw(st.integers(0, n))
    as_extreme = sum(comb(n, j) for j in range(n + 1) if comb(n, j) <= comb(n, k)) / 2**n
    assert mcnemar_exact(k, n - k) == pytest.approx(as_extreme)


@pytest.mark.parametrize(("n", "k"), [(999, 450), (1001, 451), (3000, 1400)])
def test_mcnemar_is_smooth_where_floats_overflow(n: int, k: int) -> None:
    terms = [comb(n, j) * 10**30 // 2**n for j in range(k + 1)]
    assert mcnemar_exact(k, n - k) == pytest.approx(2 * sum(terms) / 1e30, rel=1e-9)


@pytest.mark.parametrize("share", [0.05, 0.5, 0.97])
def test_wilson_covers_the_truth_about_as_often_as_it_says(share: float) -> None:
    rng, n, runs = random.Random(7), 80, 2000
    intervals = [wilson(sum(rng.random() < share for _ in range(n)), n) for _ in range(runs)]
    covered = sum(found.low <= share <= found.high for found in intervals) / runs
    assert 0.92 < covered < 0.98


@pytest.mark.parametrize(("right_b", "kept", "gained"), [(0.1, 0.9, 0.4), (0.5, 0.8, 0.2), (0.9, 0.95, 0.5)])
def test_the_paired_interval_covers_the_truth(right_b: float, kept: float, gained: float) -> None:
    """b is right with `right_b`; a keeps what b has with `kept` and gains the rest with `gained`."""
    rng, n, runs = random.Random(7), 100, 1500
    truth, covered = right_b * kept + (1 - right_b) * gained - right_b, 0
    for _ in range(runs):
        cells = [0, 0, 0, 0]
        for _ in range(n):
            b = rng.random() < right_b
            a = rng.random() < (kept if b else gained)
            cells[0 if a and b else 1 if a else 2 if b else 3] += 1
        found = paired_difference(PairedCounts(*cells))
        covered += found.low <= truth <= found.high
    assert 0.92 < covered / runs < 0.99


def test_mean_interval() -> None:
    found = mean_interval([10.0, 20.0, 30.0])
    assert (found.value, found.n) == (20, 3)
    assert found.high - found.value == pytest.approx(1.959964 * 10 / 3**0.5, rel=1e-6)
    assert mean_interval([4.0]) == (4, 4, 4, 1)


@pytest.mark.parametrize(("successes", "n"), [(0, 0), (-1, 5), (6, 5)])
def test_wilson_refuses_what_is_no_share(successes: int, n: int) -> None:
    with pytest.raises(ValueError, match=f"{successes} successes of n = {n}"):
        wilson(successes, n)


def test_other_refusals() -> None:
    with pytest.raises(ValueError, match="must not be negative"):
        mcnemar_exact(-1, 3)
    with pytest.raises(ValueError, match="n = 0"):
        paired_difference(PairedCounts(0, 0, 0, 0))
    with pytest.raises(ValueError, match="no values"):
        mean_interval([])


# -- shares that are counted several times a cluster ----------------------------------------------------------------

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
