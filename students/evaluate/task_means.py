"""Means and ratios over tasks, with intervals of a bootstrap over tasks.

    mean_over_tasks({"t1": 20.0, "t2": 31.5}, seed=7)                # of lengths, times, costs
    share_over_tasks({"t1": 1.0, "t2": 0.25}, seed=7)                # of values in [0, 1]
    ratio_over_tasks({"t1": (1.0, 20.0), "t2": (0.0, 31.5)}, seed=7) # right answers per token

Tasks are the unit: what was measured on one task is drawn together. They are taken in the order of their ids, so
that the order in which they are given changes nothing. Refuses an empty set.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import ceil, floor
from typing import Any

from stillroom.sampling.statistics import Interval, mean_interval, wilson
from stillroom.students.evaluate.resampling import Limits, bootstrap


def mean_over_tasks(values: Mapping[str, float], *, seed: int) -> Interval:
    """The mean of one value a task, in any unit. One task has no spread: limits at the value itself."""
    tasks = _sorted(values)
    given = [values[task] for task in tasks]
    return _around(_weighted_mean(given), mean_interval(given).value, tasks, seed)


def share_over_tasks(values: Mapping[str, float], *, seed: int) -> Interval:
    """The mean of one value in [0, 1] a task.

    Wilson's interval where every value is 0 or 1, as for an accuracy; it also holds where all are alike, and every
    bootstrap sample would be too: of as many tasks, from the lower whole count to the upper.
    """
    if outside := [value for value in values.values() if not 0 <= value <= 1]:
        raise ValueError(f"{outside[0]} is no share: values of a share over tasks lie between 0 and 1")
    tasks = _sorted(values)
    given = [values[task] for task in tasks]
    if len(set(given)) > 1 and not set(given) <= {0, 1}:
        return mean_over_tasks(values, seed=seed)
    n, total = len(given), sum(given) if len(set(given)) > 1 else given[0] * len(given)
    return Interval(total / n, wilson(floor(total), n).low, wilson(ceil(total), n).high, n)


def ratio_over_tasks(pairs: Mapping[str, tuple[float, float]], *, seed: int) -> Interval | None:
    """Sum of the first over sum of the second. None where the second sums to 0; samples where it does are passed
    over."""
    tasks = _sorted(pairs)
    above, below = ([pairs[task][side] for task in tasks] for side in (0, 1))
    if not sum(below):
        return None
    return _around(_weighted_ratio(above, below), sum(above) / sum(below), tasks, seed)


def _around(statistic: Callable[[Any], Any], value: float, tasks: Sequence[str], seed: int) -> Interval:
    """Limits that hold the value: percentiles of a skewed sample may miss it by a hair."""
    limits = bootstrap(tasks, statistic, seed=seed) if len(tasks) > 1 else Limits(value, value)
    return Interval(value, min(value, limits.low), max(value, limits.high), len(tasks))


def _weighted_mean(values: Sequence[float]) -> Callable[[Any], Any]:
    def statistic(weights: Any) -> Any:
        import numpy as np

        return weights @ np.asarray(values, dtype=float) / weights.sum(1)

    return statistic


def _weighted_ratio(above: Sequence[float], below: Sequence[float]) -> Callable[[Any], Any]:
    def statistic(weights: Any) -> Any:
        import numpy as np

        under = weights @ np.asarray(below, dtype=float)
        return weights @ np.asarray(above, dtype=float) / np.where(under > 0, under, np.nan)

    return statistic


def _sorted(values: Mapping[str, object]) -> list[str]:
    if not values:
        raise ValueError("nothing was measured on any task: give at least one")
    return sorted(values)
