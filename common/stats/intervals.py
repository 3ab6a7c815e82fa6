"""Intervals and tests for shares of tasks, in the standard library alone.

Every interval here has a closed form and holds near 0 and 1, where small students live and the textbook
interval (estimate ± 1.96 standard errors) does not. Nothing here corrects for many comparisons.

>>> wilson(81, 263)
Interval(value=0.3079..., low=0.2552..., high=0.3662..., n=263)
>>> mcnemar_exact(1, 7)
0.0703125

Sources:
    Wilson (1927), Probable inference, the law of succession, and statistical inference, JASA 22, 209–212.
    Newcombe (1998a), Two-sided confidence intervals for the single proportion, Stat. Med. 17, 857–872: method 3.
    Newcombe (1998b), Improved confidence intervals for the difference between binomial proportions based on
        paired data, Stat. Med. 17, 2635–2650: method 10.
    McNemar (1947), Psychometrika 12, 153–157; the exact form is the binomial test of Fagerland, Lydersen and
        Laake (2013), BMC Med. Res. Methodol. 13:91, section "exact conditional".
    Korn and Graubard (1998), Confidence intervals for proportions with small expected number of positive counts
        estimated from survey data, Survey Methodology 24, 193–201: the effective sample size. Dean and Pagano (2015),
        J. Surv. Stat. Methodol. 3, 484–503: Wilson's interval with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, floor, ldexp, sqrt
from statistics import NormalDist, fmean, stdev
from typing import NamedTuple

Z = NormalDist().inv_cdf(0.975)
"""The two-sided normal quantile: every interval here is at 95 %."""


class Interval(NamedTuple):
    """An estimate with its confidence limits: `low <= value <= high`. `n`: on how many it rests."""

    value: float
    low: float
    high: float
    n: int


class PairedCounts(NamedTuple):
    """Tasks by what two models got on them. `only_a`: a had it right, b did not."""

    both: int
    only_a: int
    only_b: int
    neither: int

    @property
    def n(self) -> int:
        """Tasks that both were asked."""
        return sum(self)


def wilson(successes: int, n: int) -> Interval:
    """Wilson's score interval for a share, at 95 % and without continuity correction.

    Raises ValueError if n < 1 or successes is not in 0..n.
    """
    if n < 1 or not 0 <= successes <= n:
        raise ValueError(f"{successes} successes of n = {n}: an interval needs n >= 1 and 0 <= successes <= n")
    share = successes / n
    low, high = _wilson_limits(share, n)
    # The limits touch 0 and 1 exactly there; rounding would put them slightly off the estimate.
    return Interval(share, 0.0 if successes == 0 else low, 1.0 if successes == n else high, n)


def _wilson_limits(share: float, n: float) -> tuple[float, float]:
    """`n`: tries, which need not be a whole number."""
    centre = share + Z * Z / (2 * n)
    spread = Z * sqrt(share * (1 - share) / n + Z * Z / (4 * n * n))
    scale = 1 + Z * Z / n
    return (centre - spread) / scale, (centre + spread) / scale


def wilson_in_part(successes: float, n: int) -> Interval:
    """Wilson's interval where a success may count in part, a tie as a half: from that of the lower whole count to
    that of the upper, which is wider than it need be. Raises as `wilson` does."""
    low, high = wilson(floor(successes), n), wilson(ceil(successes), n)
    return Interval(successes / n, low.low, high.high, n)


def clustered_share(clusters: Sequence[tuple[float, int]]) -> Interval | None:
    """Wilson's interval for successes that are counted several times a cluster, and are not independent within it: a
    judge sees a pair in both orders.

    `clusters`: (successes, tries) of each. The interval is that of as many tries as the spread between the clusters
    is worth, never of more than there were. `n` of the answer: the tries. None without any.

    >>> clustered_share([(2, 2), (1, 2), (2, 2)]).value
    0.8333333333333334
    """
    used = [(successes, n) for successes, n in clusters if n]
    tries = sum(n for _, n in used)
    if not tries:
        return None
    share, worth = sum(successes for successes, _ in used) / tries, float(len(used))
    # Where all agree the spread says nothing, and each cluster is worth one try.
    if share not in (0.0, 1.0) and len(used) > 1:
        variance = sum((successes - share * n) ** 2 for successes, n in used) / tries**2
        worth = tries if variance == 0 else min(tries, share * (1 - share) / variance)
    low, high = _wilson_limits(share, worth)
    return Interval(share, min(max(0.0, low), share), max(min(1.0, high), share), tries)


def mcnemar_exact(only_a: int, only_b: int) -> float:
    """Two-sided exact p that both models are equally often right alone, given how often either was.

    Twice the smaller binomial tail at 1/2, at most 1: conservative, valid at every n. No task on which they
    differ gives 1.
    """
    if min(only_a, only_b) < 0:
        raise ValueError(f"counts are {only_a} and {only_b}: they must not be negative")
    n, term, tail = only_a + only_b, 1, 0
    for k in range(min(only_a, only_b) + 1):
        tail, term = tail + term, term * (n - k) // (k + 1)  # term: n over k
    # 2 · tail / 2^n, in integers to the end: at n > 1,000 both sides of the quotient outgrow a float.
    shift = max((2 * tail).bit_length() - 64, 0)
    return min(1.0, ldexp(2 * tail >> shift, shift - n))


def paired_difference(counts: PairedCounts) -> Interval:
    """Share right of a minus that of b, with Newcombe's hybrid score interval (method 10).

    Joins the two Wilson intervals by square-and-add, with the correlation of the pairs taken into account and a
    continuity correction in it. Limits lie in [-1, 1]. Raises ValueError if there is no pair.
    """
    both, only_a, only_b, neither = counts
    a = wilson(both + only_a, counts.n)
    b = wilson(both + only_b, counts.n)
    # Newcombe's φ: 0 where a margin is empty; a positive numerator is shrunk by n/2, but not below 0.
    margins = (both + only_a) * (only_b + neither) * (both + only_b) * (only_a + neither)
    numerator: float = both * neither - only_a * only_b
    if numerator > 0:
        numerator = max(numerator - counts.n / 2, 0.0)
    phi = numerator / sqrt(margins) if margins else 0.0

    def half_width(x: float, y: float) -> float:
        # Rounding can take the sum below 0 where phi is 1 and x equals y.
        return sqrt(max(0.0, x * x - 2 * phi * x * y + y * y))

    difference = (only_a - only_b) / counts.n
    below = half_width(a.value - a.low, b.high - b.value)
    above = half_width(a.high - a.value, b.value - b.low)
    return Interval(difference, max(-1.0, difference - below), min(1.0, difference + above), counts.n)


def mean_interval(values: Sequence[float]) -> Interval:
    """Mean with its normal interval: for lengths and times. One value has no spread: limits at the value itself.

    Raises ValueError if there is none.
    """
    if not values:
        raise ValueError("the mean of no values: give at least one")
    mean, n = fmean(values), len(values)
    half = Z * stdev(values) / sqrt(n) if n > 1 else 0.0
    return Interval(mean, mean - half, mean + half, n)
