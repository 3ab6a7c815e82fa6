"""What a comparison would show at equal length: two regressions on the difference in length, each read at 0.

Fitted to many weighted samples at once, for the bootstrap: weights are (S, n) for S samples of n items, and what is
read comes as (S,). NaN where a sample says nothing about length, because all its differences are the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

PENALTY = 1.0  # φ²/2 is added to the loss: keeps φ finite where length alone decides; d / sd(d) is of order 1
NEWTON_STEPS = 30
STEEPEST = 30.0  # |θ|, |φ|: the chance is 0 or 1 to thirteen digits


def chance_at_equal_length(weights: Any, points: Sequence[float], gaps: Sequence[float]) -> Any:
    """logistic(θ) of points ~ logistic(θ + φ·tanh(gap / sd(gap))), (S,).

    `points` in [0, 1], `gaps` in any unit; sd over all items, in every sample the same. Newton's method; the two
    equations have a closed solution. 0 or 1 where a sample holds losses or wins alone.
    """
    import numpy as np

    y, x = np.asarray(points), _squashed(np.asarray(gaps, dtype=float))
    theta, phi = np.zeros(len(weights)), np.zeros(len(weights))
    for _ in range(NEWTON_STEPS):
        p = 1 / (1 + np.exp(-(theta[:, None] + phi[:, None] * x)))  # (S, n)
        residual, curve = weights * (y - p), weights * p * (1 - p)
        g0, g1 = residual.sum(1), residual @ x - PENALTY * phi
        h00, h01, h11 = curve.sum(1) + 1e-12, curve @ x, curve @ (x * x) + PENALTY
        det = h00 * h11 - h01 * h01
        step0, step1 = (h11 * g0 - h01 * g1) / det, (h00 * g1 - h01 * g0) / det
        # A step of a nearly flat likelihood may be huge: it is shortened, and the next one goes on from there.
        theta = np.clip(theta + np.clip(step0, -2, 2), -STEEPEST, STEEPEST)
        phi = np.clip(phi + np.clip(step1, -2, 2), -STEEPEST, STEEPEST)
    return np.where(_tells(weights, np.asarray(gaps)), 1 / (1 + np.exp(-theta)), np.nan)


def mean_at_equal_length(weights: Any, values: Sequence[float], gaps: Sequence[float]) -> Any:
    """The intercept of the least-squares line of values on gaps, (S,)."""
    import numpy as np

    y, x = np.asarray(values, dtype=float), np.asarray(gaps, dtype=float)
    total = weights.sum(1)
    mean_x, mean_y = weights @ x / total, weights @ y / total
    apart = x[None] - mean_x[:, None]  # (S, n)
    spread = (weights * apart**2).sum(1)
    slope = (weights * apart * y).sum(1) / np.where(spread > 0, spread, 1)
    return np.where(_tells(weights, x), mean_y - slope * mean_x, np.nan)


def _squashed(gaps: Any) -> Any:
    """tanh(gap / sd(gap)), (n,); 0 where all gaps are the same."""
    import numpy as np

    return np.tanh(gaps / np.std(gaps)) if np.ptp(gaps) > 0 else np.zeros(len(gaps))


def _tells(weights: Any, x: Any) -> Any:
    """Whether a sample holds different gaps, or none but 0: (S,) of bool."""
    import numpy as np

    there = weights > 0
    low = np.where(there, x, np.inf).min(1)
    high = np.where(there, x, -np.inf).max(1)
    return (high - low > 1e-9) | ((low == 0) & (high == 0))
