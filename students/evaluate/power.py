"""The smallest difference that so many tasks could have shown: what "no difference was found" is worth.

>>> round(detectable_share(100, 30), 3), round(detectable_share(1000, 300), 3)
(0.153, 0.048)

Two models on the same n tasks differ on a share ψ of them, and their accuracies by δ. McNemar's test finds it with
power 1 − β at level α, two-sided, where

    δ · √n = z(α/2) · √ψ + z(β) · √(ψ − δ²)

(Miettinen 1968, Biometrics 24, 339–352; Connor 1987, Biometrics 43, 207–211), here solved for δ. ψ is not known and
is taken from the data. Tests are at 5 %, power at 80 %. It is a normal approximation: the power of the exact test at
what it says was 76 to 79 % for 50 to 500 tasks, so read it as about how many points are within reach.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt
from statistics import NormalDist, stdev

ALPHA, POWER = 0.05, 0.8
EXACT_NEEDS = 6
"""Tasks on which models must differ for the exact test to say anything: 2 · 2⁻⁶ is the first below 5 %."""
_A = NormalDist().inv_cdf(1 - ALPHA / 2)
_B = NormalDist().inv_cdf(POWER)


def detectable_share(n: int, discordant: int) -> float:
    """δ, in [0, 1], of n tasks on `discordant` of which the models differ (one right, the other not).

    ψ = (discordant + 1) / (n + 2), so that models which happen to agree everywhere are not taken to be alike. Where
    even all of ψ in one direction would not be found, the answer is the least ψ that would. 1 for n < 6, where
    nothing would be. Raises ValueError for n < 1 or discordant not in 0..n.
    """
    if n < 1 or not 0 <= discordant <= n:
        raise ValueError(f"{discordant} of {n} tasks: there is at least one task, and discordant is in 0..n")
    if n < EXACT_NEEDS:
        return 1.0
    psi = (discordant + 1) / (n + 2)
    delta = _solved(n, psi)
    return delta if delta <= psi else _one_way(n)


def detectable_mean(differences: Sequence[float]) -> float | None:
    """δ of a mean of paired differences, in their unit: (z(α/2) + z(β)) · sd / √n (Cohen 1988, chapter 2). None for
    fewer than two, which have no spread, or where they are all alike."""
    spread = stdev(differences) if len(differences) > 1 else 0.0
    return (_A + _B) * spread / sqrt(len(differences)) if spread > 0 else None


def _solved(n: int, psi: float) -> float:
    """The larger root of (δ√n − A√ψ)² = B²(ψ − δ²); the smaller one is on the other side of A√ψ."""
    return (_A * sqrt(n * psi) + _B * sqrt(psi * (n + _B**2 - _A**2))) / (n + _B**2)


def _one_way(n: int) -> float:
    """δ = ψ: all tasks on which they differ speak for the same model. By bisection; √(δn) − B·√(1 − δ) only rises."""
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (low, middle) if sqrt(n * middle) - _B * sqrt(1 - middle) >= _A else (middle, high)
    return high
