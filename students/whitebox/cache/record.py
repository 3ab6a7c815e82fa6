"""One row's entry in a cache: the teacher's likeliest tokens at each position, and the mass of all others.

    packed = pack(Entry(counts, ids, log_p, log_tail), bits=8)
    packed.positions, unpack(packed).log_p

Log-probabilities are kept as √(−log p) in equal steps, the finest near p = 1. The mass of the tail at each declared
temperature has 16 bits. It stands for log Z_T: the head at T is p^(1/T), scaled so that it sums to 1 − tail
(`signal.Likeliest`). So what was rounded is a distribution at every temperature.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

DEEPEST, DEEPEST_TAIL = 5.0, 6.0
"""√(−log p) at most: a likely token's p is then 1e-11, a tail's 2e-16."""
TAIL_STEPS, NO_TAIL = 65534, 65535
"""The tail's last step, and what stands for a tail that holds nothing."""


class Entry(NamedTuple):
    """N positions. `counts`: (N,), tokens kept of each; `ids`, `log_p`: (ΣK,), position by position, the likeliest
    first, log-probabilities at T = 1; `log_tail`: (N, T), of all others together, at each temperature."""

    counts: NDArray[np.int64]
    ids: NDArray[np.int64]
    log_p: NDArray[np.float64]
    log_tail: NDArray[np.float64]


class Packed(NamedTuple):
    """An entry as it is stored. `steps`: (ΣK,), how many steps of √(−log p) each token lies behind the one before it;
    `tail`: (N, T)."""

    counts: NDArray[np.uint16]
    ids: NDArray[np.uint32]
    steps: NDArray[np.uint16]
    tail: NDArray[np.uint16]
    bits: int

    @property
    def positions(self) -> int:
        """N."""
        return len(self.counts)


def pack(entry: Entry, bits: int) -> Packed:
    """Rounded. `bits`: of each log-probability, 8 or 16."""
    import numpy as np

    most = 2**bits - 1
    depth = np.sqrt(np.clip(-entry.log_p, 0.0, DEEPEST**2))
    codes = np.rint(depth / DEEPEST * most).astype(np.int64)
    steps = np.diff(codes, prepend=0)
    first = np.cumsum(entry.counts) - entry.counts
    steps[first] = codes[first]
    deep = np.sqrt(np.clip(-entry.log_tail, 0.0, DEEPEST_TAIL**2))
    tail = np.where(entry.log_tail == -np.inf, NO_TAIL, np.rint(deep / DEEPEST_TAIL * TAIL_STEPS))
    return Packed(
        entry.counts.astype(np.uint16),
        entry.ids.astype(np.uint32),
        steps.astype(np.uint16),
        tail.astype(np.uint16),
        bits,
    )


def unpack(packed: Packed) -> Entry:
    """What was kept, but for the rounding."""
    import numpy as np

    counts = packed.counts.astype(np.int64)
    summed = np.cumsum(packed.steps.astype(np.int64))
    first = np.cumsum(counts) - counts
    before = np.where(first > 0, summed[first - 1], 0)  # what the positions before have added up to
    codes = summed - np.repeat(before, counts)
    depth = codes / (2**packed.bits - 1) * DEEPEST
    deep = packed.tail / TAIL_STEPS * DEEPEST_TAIL
    log_tail = np.where(packed.tail == NO_TAIL, -np.inf, -(deep**2))
    return Entry(counts, packed.ids.astype(np.int64), -(depth**2), log_tail)
