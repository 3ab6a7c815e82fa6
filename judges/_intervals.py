"""Intervals for what is counted twice a pair: a judge sees a pair in both orders, and the two are not independent.

>>> clustered_share([(2, 2), (1, 2), (2, 2)]).value
0.8333333333333334

Sources:
    Korn and Graubard (1998), Confidence intervals for proportions with small expected number of positive counts
        estimated from survey data, Survey Methodology 24, 193–201: the effective sample size.
    Dean and Pagano (2015), Evaluating confidence interval methods for binomial proportions in clustered surveys,
        J. Surv. Stat. Methodol. 3, 484–503: Wilson's interval with it.
    Efron and Tibshirani (1993), An introduction to the bootstrap, chapter 13: the percentile interval.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import floor, sqrt
from random import Random

from stillroom.sampling.statistics import Interval, z_value

Sums = tuple[float, ...]
RESAMPLES = 1000


def clustered_share(clusters: Sequence[tuple[float, int]], confidence: float = 0.95) -> Interval | None:
    """Share of successes over pairs of (successes, tries), with Wilson's interval for as many tries as the spread
    between the pairs is worth; never for more than there were. `n` of the answer: the tries. None without any."""
    tries = sum(n for _, n in clusters)
    if tries == 0:
        return None
    used = [(successes, n) for successes, n in clusters if n]
    share = sum(successes for successes, _ in used) / tries
    return _wilson(share, _effective(used, share, tries), tries, confidence)


def _effective(used: Sequence[tuple[float, int]], share: float, tries: int) -> float:
    """Independent tries that would be as uncertain. Where all agree the spread says nothing: one per pair."""
    k = len(used)
    if share in (0.0, 1.0) or k < 2:
        return k
    variance = sum((successes - share * n) ** 2 for successes, n in used) / tries**2
    return tries if variance == 0 else min(tries, share * (1 - share) / variance)


def _wilson(share: float, n: float, tries: int, confidence: float) -> Interval:
    """Wilson (1927) for a number of tries that need not be whole."""
    z = z_value(confidence)
    scale = 1 + z * z / n
    centre = (share + z * z / (2 * n)) / scale
    half = z * sqrt(share * (1 - share) / n + z * z / (4 * n * n)) / scale
    low, high = max(0.0, centre - half), min(1.0, centre + half)
    return Interval(share, min(low, share), max(high, share), tries)


def bootstrap(
    pairs: Sequence[Sums],
    statistic: Callable[[Sums], float | None],
    *,
    n: int,
    seed: int,
    resamples: int = RESAMPLES,
    confidence: float = 0.95,
) -> Interval | None:
    """A statistic of the sums over the pairs, with the percentile interval over pairs drawn with replacement.

    `pairs`: what each pair adds to the sums. `n`: what the statistic rests on, for the answer. None where the
    statistic has no value; a resample without one is left out.
    """
    value = statistic(_total(pairs)) if pairs else None
    if value is None:
        return None
    rng = Random(seed)
    draws = (statistic(_total(rng.choices(pairs, k=len(pairs)))) for _ in range(resamples))
    drawn = sorted(draw for draw in draws if draw is not None) or [value]
    tail = (1 - confidence) / 2 * (len(drawn) - 1)
    low, high = drawn[floor(tail)], drawn[len(drawn) - 1 - floor(tail)]
    return Interval(value, min(low, value), max(high, value), n)


def _total(pairs: Sequence[Sums]) -> Sums:
    return tuple(map(sum, zip(*pairs, strict=True)))
