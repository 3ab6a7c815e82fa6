from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stillroom.common.stats.intervals import mcnemar_exact
from stillroom.common.stats.significance import detectable_mean, detectable_share, holm, sign_flip

# -- exchanging signs ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("differences", "expected"),
    [
        ([], 1),
        ([0, 0, 0], 1),
        ([0.5], 1),  # one difference may as well be the other way round
        ([1, 1], 1 / 2),
        ([1, 1, 1], 1 / 4),
        ([1, 2, 3], 2 / 8),
        ([1, 2, -3], 1),
        ([3, 1, -1], 6 / 8),  # sums are ±5, ±3, ±3, ±1: six of eight are as far from 0 as 3
        ([0.1, 0.2, 0.3], 2 / 8),  # what floats make of 0.1 + 0.2 plays no part
    ],
)
def test_signs_by_hand(differences: list[float], expected: float) -> None:
    assert sign_flip(differences, seed=1) == expected


@given(st.integers(0, 6), st.integers(0, 7), st.integers(0, 5))
def test_of_shares_it_is_mcnemars_exact_test(up: int, down: int, ties: int) -> None:
    found = sign_flip([1.0] * up + [0.0] * ties + [-1.0] * down, seed=3)
    assert found == pytest.approx(mcnemar_exact(up, down), abs=1e-12)


@pytest.mark.parametrize(("up", "down"), [(20, 10), (30, 8), (25, 25), (60, 0)])
def test_drawn_signs_come_near_it(up: int, down: int) -> None:
    found = sign_flip([1.0] * up + [-1.0] * down, seed=3)
    assert found == pytest.approx(mcnemar_exact(up, down), abs=0.015)
    assert found > 0


@given(st.lists(st.floats(-1, 1), max_size=30), st.randoms())
def test_order_and_direction_do_not_matter(differences: list[float], random: object) -> None:
    mixed = [-d for d in differences]
    random.shuffle(mixed)  # type: ignore[attr-defined]
    found = sign_flip(differences, seed=3)
    assert 0 < found <= 1
    assert found == sign_flip(mixed, seed=3)


# -- many comparisons ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ps", "expected"),
    [
        ([], []),
        ([0.04], [0.04]),
        ([0.01, 0.04, 0.03], [0.03, 0.06, 0.06]),
        ([0.01, 0.02, 0.03, 0.04], [0.04, 0.06, 0.06, 0.06]),
        ([0.5, 0.6], [1, 1]),
        ([0.02, 0.02], [0.04, 0.04]),
        ([1, 0], [1, 0]),
    ],
)
def test_holm_by_hand(ps: list[float], expected: list[float]) -> None:
    assert holm(ps) == pytest.approx(tuple(expected))


@given(st.lists(st.floats(0, 1), max_size=12))
def test_holm_lies_between_the_p_and_bonferronis_and_keeps_the_order(ps: list[float]) -> None:
    found = holm(ps)
    assert all(p <= q <= min(1, len(ps) * p) + 1e-12 for p, q in zip(ps, found, strict=True))
    order = sorted(range(len(ps)), key=lambda i: ps[i])
    assert [found[i] for i in order] == sorted(found)


@pytest.mark.parametrize("p", [-0.1, 1.1, float("nan")])
def test_what_is_no_probability_is_refused(p: float) -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        holm([0.5, p])


# -- what could have been shown ------------------------------------------------------------------------------------


def exact_power(n: int, psi: float, delta: float) -> float:
    """The chance that McNemar's exact test finds it, from the binomial distributions themselves."""
    from math import comb

    total = 0.0
    for m in range(n + 1):
        here = comb(n, m) * psi**m * (1 - psi) ** (n - m)
        if here < 1e-9:
            continue
        p = (psi + delta) / (2 * psi)
        total += here * sum(
            comb(m, x) * p**x * (1 - p) ** (m - x) for x in range(m + 1) if mcnemar_exact(x, m - x) <= 0.05
        )
    return total


@pytest.mark.parametrize(("n", "discordant"), [(50, 10), (100, 30), (100, 2), (200, 20), (300, 120)])
def test_a_difference_of_that_size_is_found_about_four_times_in_five(n: int, discordant: int) -> None:
    delta = detectable_share(n, discordant)
    psi = max(delta, (discordant + 1) / (n + 2))
    assert 0.74 < exact_power(n, psi, delta) < 0.82


def test_detectable_by_hand() -> None:
    # ψ = 31/102, z = 1.95996 and 0.84162: both sides of δ√n = 1.95996·√ψ + 0.84162·√(ψ − δ²) are 1.526
    assert detectable_share(100, 30) == pytest.approx(0.1526, abs=1e-4)


@pytest.mark.parametrize("n", [1, 5])
def test_so_few_tasks_can_show_nothing(n: int) -> None:
    assert detectable_share(n, n) == 1


@given(st.integers(6, 3000), st.data())
def test_more_tasks_show_more_and_more_disagreement_hides_more(n: int, data: st.DataObject) -> None:
    discordant = data.draw(st.integers(0, n))
    found = detectable_share(n, discordant)
    assert 0 < found <= 1
    assert detectable_share(4 * n, 4 * discordant) <= found
    assert detectable_share(n, min(n, discordant + n // 4)) >= found - 1e-9


@pytest.mark.parametrize(("n", "discordant"), [(0, 0), (5, 6), (5, -1)])
def test_impossible_counts_are_refused(n: int, discordant: int) -> None:
    with pytest.raises(ValueError, match=r"discordant is in 0\.\.n"):
        detectable_share(n, discordant)


@pytest.mark.parametrize(
    ("differences", "expected"),
    [([], None), ([1], None), ([2, 2, 2], None), ([1, -1] * 50, 2.80158 * 1.005038 / 10)],
)
def test_detectable_means(differences: list[float], expected: float | None) -> None:
    found = detectable_mean(differences)
    assert found == (None if expected is None else pytest.approx(expected, abs=1e-5))
