"""A token bucket: so much per minute, evenly, with one second's worth to spend at once.

What something costs is often known only afterwards: it is estimated before, and the difference is settled. One thing
dearer than the bucket holds is let through when the bucket is full and leaves it in debt, so nothing waits for ever.

>>> bucket = Bucket(per_minute=60)
>>> bucket.take(1, now=0.0); bucket.wait_s(1, now=0.25)
0.75
"""

from __future__ import annotations

# Rounding must not leave something waiting for a billionth of a unit.
_EPSILON = 1e-9


class Bucket:
    """Holds what may be spent: any amount where `per_minute` is infinite. Times are seconds of any clock that only
    goes forward."""

    def __init__(self, per_minute: float) -> None:
        self._rate = per_minute / 60.0
        # More in hand would let a minute exceed its limit by as much; less than 1 would never let one through.
        self._capacity = max(1.0, self._rate)
        self._level, self._at = self._capacity, 0.0

    def wait_s(self, amount: float, now: float) -> float:
        """Seconds until `amount` may be taken; 0: now."""
        self._fill(now)
        missing = min(amount, self._capacity) - self._level
        return missing / self._rate if missing > _EPSILON else 0.0

    def take(self, amount: float, now: float) -> None:
        """Spends `amount`."""
        self._fill(now)
        self._level -= amount

    def settle(self, estimate: float, actual: float) -> None:
        """Corrects what was taken as an `estimate` to what it was."""
        self._level = min(self._capacity, self._level + estimate - actual)

    def _fill(self, now: float) -> None:
        if now > self._at:
            self._level = min(self._capacity, self._level + (now - self._at) * self._rate)
            self._at = now
