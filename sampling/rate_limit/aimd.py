"""How many requests an endpoint gets at once: additive increase, multiplicative decrease (AIMD).

The rule is that of Chiu and Jain, "Analysis of the increase and decrease algorithms for congestion avoidance in
computer networks" (1989, https://doi.org/10.1016/0169-7552(89)90019-6): the only linear rule by which clients that
know nothing of each other come to share a server fairly and fully. We differ in three points. The limit starts at its
ceiling, which the user chose. One sign of overload says little (a gateway may refuse one request in twenty at any
load): a round of answers is judged by the share of them. And a decrease is followed by no other until requests sent
after it come back, as TCP halves once per round trip.

>>> limit = Limit(ceiling=64)
>>> for _ in range(20): limit.note(overloaded=True, epoch=limit.epoch, busy=True)
>>> limit.value
32
"""

from __future__ import annotations

import math

DECREASE = 0.5
# The share of a round's answers that must be signs of overload, and how many at least.
OVERLOADED_SHARE, OVERLOADED_LEAST = 0.2, 3
# Answers in a round at least: with a limit of 1 a single one would decide.
ROUND_LEAST = 8
# Rounds from the bottom to the ceiling.
ROUNDS_TO_CEILING = 16
# A round this many times slower, per token, than the fastest one of late counts as overload.
SLOW = 4.0
# The fastest round is slowly forgotten, so that a server that has become slow for good is used in full again.
FORGET = 1.1
# Rounds that set no pace: the first answers to come back are the short ones.
WARM_UP_ROUNDS = 2


class Limit:
    """The requests in flight that an endpoint is thought to bear, from 1 to `ceiling`.

    `epoch` counts the decreases: what was sent in an earlier epoch says nothing of the limit now.
    """

    def __init__(self, ceiling: int) -> None:
        self._ceiling, self._value = ceiling, float(ceiling)
        self._step = max(1.0, ceiling / ROUNDS_TO_CEILING)
        self._fastest: float | None = None
        self._rounds = 0
        self.epoch = 0
        # Of the round that is going on:
        self._answers, self._overloaded, self._tokens = 0, 0, 0
        self._seconds, self._busy = 0.0, False

    @property
    def value(self) -> int:
        """Requests in flight at most, never below 1."""
        return int(self._value)

    def note(self, *, overloaded: bool, epoch: int, busy: bool, seconds: float = 0.0, tokens: int = 0) -> None:
        """Takes the end of one request that was sent in `epoch`.

        `overloaded`: it was refused for load, or timed out. `busy`: the limit was reached while it was in flight.
        `seconds`, `tokens`: how long it took and how many tokens it brought, 0 where it brought none.
        """
        if epoch != self.epoch:
            return
        self._answers += 1
        self._overloaded += overloaded
        self._busy = self._busy or busy
        if tokens:
            self._seconds, self._tokens = self._seconds + seconds, self._tokens + tokens
        size = max(ROUND_LEAST, self.value)
        if self._overloaded >= max(OVERLOADED_LEAST, math.ceil(OVERLOADED_SHARE * size)):
            self._decrease()
        elif self._answers >= size:
            self._end_round()

    def _end_round(self) -> None:
        self._rounds += 1
        if self._is_slow() and self._busy:
            self._decrease()
            return
        if self._busy:
            self._value = min(self._ceiling, self._value + self._step)
        self._new_round()

    def _is_slow(self) -> bool:
        if not self._tokens or self._rounds <= WARM_UP_ROUNDS:
            return False
        pace = self._seconds / self._tokens
        fastest = self._fastest
        self._fastest = pace if fastest is None else min(pace, fastest * FORGET)
        return fastest is not None and pace > SLOW * fastest

    def _decrease(self) -> None:
        self._value = max(1.0, self._value * DECREASE)
        self.epoch += 1
        self._new_round()

    def _new_round(self) -> None:
        self._answers, self._overloaded, self._tokens = 0, 0, 0
        self._seconds, self._busy = 0.0, False
