"""One endpoint of a teacher: what is in flight there, how much it bears, whether it is held back or taken out.

Held back: it asked for patience (`Retry-After`). One refusal among answers may be the fault of one replica behind a
gateway and holds back its own request alone; when several requests in a row are refused, all are held back.

Taken out: nobody accepts connections there, or several requests in a row ended without an answer. After a pause one
request is sent there to try; while that fails, the pauses grow.
"""

from __future__ import annotations

import math
from collections import deque
from enum import Enum, auto

# Requests without an answer, in a row, before an endpoint is taken out. Three in a row happen by chance.
FAILURES_TO_TAKE_OUT = 4
# Requests refused in a row before all are held back. A gateway that refuses one in twenty at any load will refuse two
# in a row once in a few hundred, and the whole run would wait each time.
REFUSALS_TO_HOLD = 3
# A server that asks for more patience than this is not waited for, and is treated as one that said no.
MAX_RETRY_AFTER_S = 300.0
# Seconds before the first try, and at most between tries.
FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 60.0
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


class End(Enum):
    """How a request ended, as far as it concerns the next one."""

    ANSWERED = auto()  # an answer, or a no that is about the request itself
    REFUSED = auto()  # too many requests (429)
    OVERLOADED = auto()  # the server cannot (503)
    TIMED_OUT = auto()  # no answer in time
    BROKEN = auto()  # the connection broke, or the server failed (500)
    UNREACHED = auto()  # no connection at all


OVERLOAD = frozenset({End.REFUSED, End.OVERLOADED, End.TIMED_OUT})
"""Signs that an endpoint has too many requests."""


class Limit:
    """The requests in flight that an endpoint is thought to bear, from 1 to `ceiling`: additive increase,
    multiplicative decrease (AIMD).

    The rule is that of Chiu and Jain, "Analysis of the increase and decrease algorithms for congestion avoidance in
    computer networks" (1989, https://doi.org/10.1016/0169-7552(89)90019-6): the only linear rule by which clients
    that know nothing of each other come to share a server fairly and fully. We differ in three points. The limit
    starts at its ceiling, which the user chose. One sign of overload says little (a gateway may refuse one request in
    twenty at any load): a round of answers is judged by the share of them. And a decrease is followed by no other
    until requests sent after it come back, as TCP halves once per round trip.

    `epoch` counts the decreases: what was sent in an earlier epoch says nothing of the limit now.
    """

    def __init__(self, ceiling: int) -> None:
        self._ceiling, self._value = ceiling, float(ceiling)
        self._step = max(1.0, ceiling / ROUNDS_TO_CEILING)
        self._fastest: float | None = None
        self._rounds = 0
        self.epoch = 0
        self._new_round()

    def _new_round(self) -> None:
        """Forgets the round that was going on."""
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


class Endpoint:
    """Bookkeeping without any waiting; `now` is seconds of one clock throughout."""

    def __init__(self, index: int, ceiling: int) -> None:
        self.index, self.in_flight, self.sent = index, 0, 0
        self.asked = 0  # the owner's mark: when it was last chosen, as a count of choices
        self.limit = Limit(ceiling)
        self.held_until = -math.inf
        self.try_at: float | None = None  # None: it is in use; else when it may be tried next
        self._pause = FIRST_PAUSE_S
        self._trying = False
        self._failures = 0
        self._refused: deque[int] = deque(maxlen=64)  # which requests were refused of late, counted as in `sent`

    @property
    def out(self) -> bool:
        """Whether it is taken out."""
        return self.try_at is not None

    def bears_one_more(self, now: float) -> bool:
        """Whether another request may be sent there, were it not taken out."""
        return self.in_flight < self.limit.value and now >= self.held_until

    def ready(self, now: float) -> bool:
        """Whether another request should be sent there: the usual one, or the one that tries whether it is back."""
        return self.bears_one_more(now) and (self.try_at is None or (now >= self.try_at and not self._trying))

    def next_event(self, now: float) -> float | None:
        """When it may become ready by the passing of time alone, or None."""
        times = [self.held_until] if self.held_until > now else []
        if self.try_at is not None and self.try_at > now:
            times.append(self.try_at)
        return max(times) if times else None

    def send(self) -> bool:
        """Notes a request; whether the limit is reached with it."""
        self.in_flight += 1
        self.sent += 1
        self._trying = self._trying or self.out
        return self.in_flight >= self.limit.value

    def leave(self, tried: bool) -> None:
        """Notes that a request is in flight no more, however it ended. `tried`: it was sent while this was out."""
        self.in_flight -= 1
        self._trying = self._trying and not tried

    def note(self, end: End, now: float, retry_after_s: float | None, sent: int) -> None:
        """Learns from the end of the request that was the `sent`-th."""
        if end in (End.ANSWERED, End.REFUSED):  # it is alive
            self._failures, self._pause, self.try_at = 0, FIRST_PAUSE_S, None
        else:
            self._failures += 1
            if self.try_at is None:
                if end is End.UNREACHED or self._failures >= FAILURES_TO_TAKE_OUT:
                    self.try_at = now + self._pause
            elif now >= self.try_at:  # a try; what else was in flight when it was taken out says nothing new
                self._pause = min(LONGEST_PAUSE_S, self._pause * 2)
                self.try_at = now + self._pause
        if end not in (End.REFUSED, End.OVERLOADED) or retry_after_s is None:
            return
        self._refused.append(sent)
        # By the order of sending: answers take long, refusals come at once and would always look in a row.
        around = range(sent - REFUSALS_TO_HOLD + 1, sent + 1)
        in_a_row = any(all(i + j in self._refused for j in range(REFUSALS_TO_HOLD)) for i in around)
        if in_a_row and retry_after_s <= MAX_RETRY_AFTER_S:
            self.held_until = max(self.held_until, now + retry_after_s)
