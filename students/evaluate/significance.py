"""Tests beside McNemar's: for values that are no shares of 0 and 1, and for many comparisons at once.

>>> sign_flip([1, 1, 1, 1, 1, -1], seed=7)        # as McNemar's exact test, of 5 against 1
0.21875
>>> holm([0.01, 0.04, 0.03])
(0.03, 0.06, 0.06)

Sources: Fisher (1935), The Design of Experiments, section 21, for the test by exchanging signs; Phipson and Smyth
(2010, arXiv:1603.05766) for the 1 that is added where it draws at random, so that no p is 0; Holm (1979), A simple
sequentially rejective multiple test procedure, Scand. J. Stat. 6, 65–70.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

FLIPS = 9_999
EXACT = 13
"""Differences other than 0 up to which all 2^13 = 8,192 signs are gone through."""
AT_ONCE = 1_000  # flips: bounds the memory at AT_ONCE × differences


def sign_flip(differences: Sequence[float], *, seed: int) -> float:
    """Two-sided p that differences are as likely up as down: how often their sum is as far from 0 as it is, were
    every sign drawn anew. Exact for up to 13 differences other than 0, and then the same for every seed."""
    import numpy as np

    apart = np.sort([abs(d) for d in differences if d != 0])  # sorted, so that no order matters
    found = abs(sum(differences)) - 1e-9 * float(apart.sum())
    if not len(apart):
        return 1.0
    if len(apart) <= EXACT:
        signs = 1 - 2 * ((np.arange(2 ** len(apart))[:, None] >> np.arange(len(apart))) & 1)
        return float((np.abs(signs @ apart) >= found).mean())
    draw, as_far = np.random.default_rng(seed), 0
    for start in range(0, FLIPS, AT_ONCE):
        as_far += _as_far(draw, apart, found, min(AT_ONCE, FLIPS - start))
    return (1 + as_far) / (1 + FLIPS)


def _as_far(draw: Any, apart: Any, found: float, flips: int) -> int:
    import numpy as np

    signs = 1 - 2 * draw.integers(0, 2, size=(flips, len(apart)))
    return int((np.abs(signs @ apart) >= found).sum())


def holm(ps: Sequence[float]) -> tuple[float, ...]:
    """Each p corrected for all of them, in their order: below α, it may be called shown, and the chance that any such
    claim is wrong stays below α, however the tests hang together. Raises ValueError outside [0, 1]."""
    if wrong := [p for p in ps if not 0 <= p <= 1]:
        raise ValueError(f"p is {wrong[0]}: a probability lies between 0 and 1")
    order = sorted(range(len(ps)), key=lambda i: ps[i])
    corrected, highest = [0.0] * len(ps), 0.0
    for rank, i in enumerate(order):
        highest = max(highest, min(1.0, (len(ps) - rank) * ps[i]))
        corrected[i] = highest
    return tuple(corrected)
