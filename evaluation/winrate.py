"""Does the student write better than before? Win rate and mean score, as they are and at equal length.

Judges like long answers, so a student that merely learned to write more would win.

    duels = [duel("t1", preference, after_length=210, before_length=340), …]      # `after` was a, `before` was b
    win_rate(duels, seed=7).at_equal_length
    score_gain([Scores("t1", 4.0, 3.5, 210, 340), …], seed=7).matched

A judgement that failed is left out and counted by its state; it is neither a tie nor a loss. Ties and order conflicts
count half. Each prompt counts once, however many answers it has. Intervals are at 95 %, over prompts; lengths are in
whatever unit the caller counts.

The win rate at equal length follows AlpacaEval 2 (Dubois et al. 2024, arXiv:2404.04475): the chance of winning is
logistic(θ + φ·tanh(d / sd(d))) with d the difference in length, and logistic(θ) is reported. We differ in three
things: no term for a prompt's difficulty, which one comparison of two models cannot tell; a fixed penalty on φ, not
one chosen by cross-validation; and a bootstrap interval.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from math import isnan, log
from statistics import fmean
from typing import Any, NamedTuple

from stillroom.common.stats.bootstrap import Statistic, bootstrap
from stillroom.common.stats.intervals import Interval, mean_interval, wilson_in_part
from stillroom.judges.records import JudgeState, Preference

PENALTY = 1.0  # φ²/2 is added to the loss: keeps φ finite where length alone decides; d / sd(d) is of order 1
NEWTON_STEPS = 30
STEEPEST = 30.0  # |θ|, |φ|: the chance is 0 or 1 to thirteen digits


def chance_at_equal_length(weights: Any, points: Sequence[float], gaps: Sequence[float]) -> Any:
    """logistic(θ) of points ~ logistic(θ + φ·tanh(gap / sd(gap))), (S,).

    `points` in [0, 1], `gaps` in any unit; sd over all items, in every sample the same. Newton's method; the two
    equations have a closed solution. 0 or 1 where a sample holds losses or wins alone.
    """
    import numpy as np

    y, apart = np.asarray(points), np.asarray(gaps, dtype=float)
    x = np.tanh(apart / np.std(apart)) if np.ptp(apart) > 0 else np.zeros(len(apart))
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


def _tells(weights: Any, x: Any) -> Any:
    """Whether a sample holds different gaps, or none but 0: (S,) of bool."""
    import numpy as np

    there = weights > 0
    low = np.where(there, x, np.inf).min(1)
    high = np.where(there, x, -np.inf).max(1)
    return (high - low > 1e-9) | ((low == 0) & (high == 0))


class Duel(NamedTuple):
    """One comparison of the answer after with that before. `points`: what `after` got, 1, a half or 0; None where the
    judgement failed. `state`: how it ended."""

    task_id: str
    points: float | None
    after_length: float
    before_length: float
    state: str = JudgeState.OK.value


class Scores(NamedTuple):
    """Scores of the answers after and before; None where the judgement failed."""

    task_id: str
    after: float | None
    before: float | None
    after_length: float
    before_length: float


class WinRate(NamedTuple):
    """`at_equal_length`: None where length and winning cannot be told apart, because all differ by the same.
    `extrapolated`: every answer after is longer than the one before, or every one shorter, so that nothing was seen
    near equal length. `wins`, `ties`, `losses`: judged comparisons; `conflicts`: of the ties, those where the two
    orders disagreed. `failed`: left out, by state."""

    raw: Interval
    at_equal_length: Interval | None
    extrapolated: bool
    wins: int
    ties: int
    losses: int
    conflicts: int
    failed: Mapping[str, int]


class ScoreGain(NamedTuple):
    """After minus before, on the judge's scale. `raw`: the mean. `at_equal_length`: what its regression on the log of
    the ratio of lengths gives at ratio 1; None where all ratios are the same. `matched`: the mean over answers whose
    lengths are within `ratio` of each other; None if there are none. `failed`: left out, a score is missing."""

    raw: Interval
    at_equal_length: Interval | None
    matched: Interval | None
    ratio: float
    extrapolated: bool
    failed: int


def duel(task_id: str, preference: Preference, after_length: float, before_length: float) -> Duel:
    """From a judge's preference, in which `after` is a and `before` is b."""
    return Duel(task_id, preference.points, after_length, before_length, preference.state.value)


def duel_from_scores(scores: Scores, tie: float = 0.0) -> Duel:
    """From a pointwise judge: the higher score wins, a difference of at most `tie` is a tie."""
    lengths = (scores.after_length, scores.before_length)
    if scores.after is None or scores.before is None:
        return Duel(scores.task_id, None, *lengths, "unscored")
    gain = scores.after - scores.before
    if abs(gain) <= tie:
        return Duel(scores.task_id, 0.5, *lengths, JudgeState.TIE.value)
    return Duel(scores.task_id, 1.0 if gain > 0 else 0.0, *lengths)


def win_rate(duels: Sequence[Duel], *, seed: int) -> WinRate:
    """Over all that were judged. Raises ValueError if none was."""
    judged = [(d, d.points) for d in duels if d.points is not None]
    if not judged:
        raise ValueError(f"none of {len(duels)} comparisons came to a judgement: there is no win rate")
    prompts, points = [d.task_id for d, _ in judged], [p for _, p in judged]
    gaps = [d.after_length - d.before_length for d, _ in judged]
    equal = _share(prompts, points, lambda weights: chance_at_equal_length(weights, points, gaps), seed)
    return WinRate(
        raw=_share(prompts, points, lambda weights: weights @ points / weights.sum(1), seed),
        at_equal_length=None if isnan(equal.value) else equal,
        extrapolated=_one_sided(gaps),
        wins=points.count(1.0),
        ties=points.count(0.5),
        losses=points.count(0.0),
        conflicts=sum(d.state == JudgeState.ORDER_CONFLICT for d, _ in judged),
        failed=dict(sorted(Counter(d.state for d in duels if d.points is None).items())),
    )


def score_gain(scores: Sequence[Scores], *, ratio: float = 1.25, seed: int) -> ScoreGain:
    """Paired difference of scores. `ratio`: lengths within it are matched. Raises ValueError if no answer has both
    scores, or the ratio is below 1."""
    both = [(s, s.after - s.before) for s in scores if s.after is not None and s.before is not None]
    if not both or ratio < 1:
        raise ValueError(
            f"{len(both)} of {len(scores)} answers have both scores, and ratio is {ratio}: at least one must have "
            "them, and a ratio is 1 or more"
        )
    prompts, gains = [s.task_id for s, _ in both], [g for _, g in both]
    # An empty answer counts as one of length 1.
    ratios = [log(max(s.after_length, 1.0) / max(s.before_length, 1.0)) for s, _ in both]
    near = [i for i, r in enumerate(ratios) if abs(r) <= log(ratio) + 1e-12]
    equal = bootstrap(prompts, lambda weights: mean_at_equal_length(weights, gains, ratios), seed=seed)
    return ScoreGain(
        raw=_mean_over_prompts(prompts, gains),
        at_equal_length=None if isnan(equal.value) else equal,
        matched=_mean_over_prompts([prompts[i] for i in near], [gains[i] for i in near]) if near else None,
        ratio=ratio,
        extrapolated=_one_sided(ratios),
        failed=len(scores) - len(both),
    )


def _mean_over_prompts(prompts: Sequence[str], values: Sequence[float]) -> Interval:
    of_prompt: defaultdict[str, list[float]] = defaultdict(list)
    for prompt, value in zip(prompts, values, strict=True):
        of_prompt[prompt].append(value)
    return mean_interval([fmean(found) for found in of_prompt.values()])


def _share(prompts: Sequence[str], points: Sequence[float], statistic: Statistic, seed: int) -> Interval:
    """A statistic that is a share, with its bootstrap limits.

    Where all points are alike so is every sample, and the limits would meet: Wilson's are taken, of as many prompts.
    """
    found = bootstrap(prompts, statistic, seed=seed)
    if len(set(points)) > 1:
        return found
    return wilson_in_part(points[0] * found.n, found.n)._replace(value=found.value)


def _one_sided(gaps: Sequence[float]) -> bool:
    return min(gaps) > 0 or max(gaps) < 0
