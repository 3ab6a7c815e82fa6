"""Bootstrap over prompts, for numbers that have no interval in closed form.

    limits = bootstrap([0, 0, 1, 2], lambda weights: weights @ values / weights.sum(1), seed=7)

Whole prompts are drawn, with all that was measured on them: answers to one prompt are no independent evidence. In
each sample every prompt weighs the same, however many answers it has. Percentile limits at 95 %, 2,000 samples (Efron
and Tibshirani 1993, chapter 13). A statistic that a sample cannot give may be NaN there, and is passed over.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any, NamedTuple

SAMPLES = 2000
AT_ONCE = 200  # samples: bounds the memory at AT_ONCE × items numbers


class Limits(NamedTuple):
    """95 % limits. `low`, `high`: NaN where no sample gave a number."""

    low: float
    high: float


Statistic = Callable[[Any], Any]
"""From weights (S, n) of S samples over n items to their S values."""


def item_weights(prompts: Sequence[Hashable]) -> Any:
    """Weights (1, n) under which every prompt counts once, whatever its number of items."""
    import numpy as np

    index, counts = _index(prompts)
    return (1.0 / counts)[index][None] if len(prompts) else np.zeros((1, 0))


def bootstrap(prompts: Sequence[Hashable], statistic: Statistic, *, seed: int) -> Limits:
    """Limits of a statistic. `prompts`: of each of the n items; order decides the samples, as `seed` does."""
    import numpy as np

    index, counts = _index(prompts)
    draw, values = np.random.default_rng(seed), []
    for _ in range(0, SAMPLES, AT_ONCE):
        times = draw.multinomial(len(counts), np.full(len(counts), 1 / len(counts)), size=AT_ONCE)  # (S, prompts)
        values.append(statistic((times / counts)[:, index]))
    found = np.concatenate(values)
    found = found[~np.isnan(found)]
    if not len(found):
        return Limits(float("nan"), float("nan"))
    low, high = np.quantile(found, [0.025, 0.975])
    return Limits(float(low), float(high))


def _index(prompts: Sequence[Hashable]) -> tuple[Any, Any]:
    """For each item the number of its prompt, and for each prompt how many items it has."""
    import numpy as np

    numbers: dict[Hashable, int] = {}
    index = np.array([numbers.setdefault(prompt, len(numbers)) for prompt in prompts], dtype=int)
    return index, np.bincount(index, minlength=len(numbers))
