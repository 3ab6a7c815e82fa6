"""The bootstrap: intervals for statistics that have none in closed form.

    bootstrap([0, 0, 1, 2], lambda weights: weights @ values / weights.sum(1), seed=7)   # any statistic
    mean_over_tasks({"t1": 20.0, "t2": 31.5}, seed=7)                                    # of lengths, times, costs
    share_over_tasks({"t1": 1.0, "t2": 0.25}, seed=7)                                    # of values in [0, 1]
    ratio_over_tasks({"t1": (1.0, 20.0), "t2": (0.0, 31.5)}, seed=7)                     # right answers per token

Whole groups (tasks, prompts, pairs) are drawn, with everything measured on them: answers to one prompt are not
independent evidence. In each sample every group counts the same, however many items it has. Percentile limits at
95 %, 2,000 samples (Efron and Tibshirani 1993, chapter 13). A statistic that a sample cannot give is NaN there, and
the sample is left out. Tasks are taken in the order of their ids, so the order in which they are given changes
nothing. Refuses an empty set of tasks.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from math import nan
from statistics import fmean
from typing import Any

from stillroom.common.stats.intervals import Interval, wilson_in_part

SAMPLES = 2000
AT_ONCE = 200  # samples: bounds the memory at AT_ONCE × items numbers

Statistic = Callable[[Any], Any]
"""From weights (S, n) of S samples over n items to their S values."""


def bootstrap(groups: Sequence[Hashable], statistic: Statistic, *, seed: int, value: float | None = None) -> Interval:
    """A statistic with its limits; n counts groups. NaN where the items themselves give no value.

    `groups`: of each of the n items. Their order decides the samples, as `seed` does: the same groups and seed are
    the same samples for every statistic. `value`: the statistic of the items, where it is known to the last digit
    (numpy adds in another order than `sum`).
    """
    import numpy as np

    numbers: dict[Hashable, int] = {}
    index = np.array([numbers.setdefault(group, len(numbers)) for group in groups], dtype=int)
    counts = np.bincount(index, minlength=len(numbers))
    if value is None:
        value = float(statistic((1.0 / counts)[index][None])[0]) if len(numbers) else nan
    if np.isnan(value) or len(numbers) == 1:  # one group has no spread
        return Interval(value, value, value, len(numbers))
    draw, found = np.random.default_rng(seed), []
    for _ in range(0, SAMPLES, AT_ONCE):
        times = draw.multinomial(len(counts), np.full(len(counts), 1 / len(counts)), size=AT_ONCE)  # (S, groups)
        found.append(statistic((times / counts)[:, index]))
    return percentiles(value, np.concatenate(found), len(numbers))


def percentiles(value: float, drawn_S: Any, n: int) -> Interval:
    """A value with the 95 % limits of its samples. They hold the value: those of a skewed sample may miss it by a
    hair."""
    import numpy as np

    drawn = drawn_S[~np.isnan(drawn_S)]
    low, high = np.quantile(drawn, [0.025, 0.975]) if len(drawn) else (value, value)
    return Interval(value, min(value, float(low)), max(value, float(high)), n)


def mean_over_tasks(values: Mapping[str, float], *, seed: int) -> Interval:
    """The mean of one value a task, in any unit. One task has no spread: limits at the value itself."""
    import numpy as np

    tasks = _sorted(values)
    given = [values[task] for task in tasks]
    each = np.asarray(given, dtype=float)
    return bootstrap(tasks, lambda weights: weights @ each / weights.sum(1), seed=seed, value=fmean(given))


def share_over_tasks(values: Mapping[str, float], *, seed: int) -> Interval:
    """The mean of one value in [0, 1] a task.

    Wilson's interval where every value is 0 or 1, as for an accuracy; it also holds where all are alike, and every
    bootstrap sample would be too: of as many tasks, from the lower whole count to the upper.
    """
    if outside := [value for value in values.values() if not 0 <= value <= 1]:
        raise ValueError(f"{outside[0]} is not a share: values of a share over tasks lie between 0 and 1")
    given = [values[task] for task in _sorted(values)]
    if len(set(given)) > 1 and not set(given) <= {0, 1}:
        return mean_over_tasks(values, seed=seed)
    n, total = len(given), sum(given) if len(set(given)) > 1 else given[0] * len(given)
    return wilson_in_part(total, n)


def ratio_over_tasks(pairs: Mapping[str, tuple[float, float]], *, seed: int) -> Interval | None:
    """Sum of the first over sum of the second. None where the second sums to 0; samples where it does are left
    out."""
    import numpy as np

    tasks = _sorted(pairs)
    above, below = zip(*(pairs[task] for task in tasks), strict=True)
    if not sum(below):
        return None
    above_T, below_T = np.asarray(above, dtype=float), np.asarray(below, dtype=float)

    def statistic(weights: Any) -> Any:
        under = weights @ below_T
        return weights @ above_T / np.where(under > 0, under, np.nan)

    return bootstrap(tasks, statistic, seed=seed, value=sum(above) / sum(below))


def _sorted(values: Mapping[str, object]) -> list[str]:
    if not values:
        raise ValueError("nothing was measured on any task: give at least one")
    return sorted(values)
