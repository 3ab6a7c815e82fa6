"""When the next request of a teacher may go out, and to which of its endpoints.

One line for all requests, first come first served. A request goes to the endpoint that has least in flight of those
that are in use and bear one more, when the rate limits allow it. Nothing polls: a request that ends, or the one timer
there is, wakes the next in line.

An endpoint is held back when it asked for patience (`Retry-After`), or refused without saying for how long: then for
a pause that grows while it goes on refusing, and shrinks when it answers. One refusal among answers may be the fault
of one replica behind a gateway and holds back its own request alone; when several requests in a row are refused, all
are held back. An endpoint is taken out when nobody accepts connections there, or several requests in a row ended
without an answer. After a pause one request is sent there to try; while that fails, the pauses grow.

It refuses nothing and retries nothing: where every endpoint is taken out, requests go to the one that is to be tried
next and fail there as they would without it. One Pace belongs to one event loop.

    pace = Pace(endpoints=2, concurrency=64, limits=RateLimits(requests_per_minute=600))
    turn = await pace.turn(tokens=900)              # an estimate
    try:
        ...                                         # ask endpoint turn.endpoint
        turn.end(End.ANSWERED, tokens=1_234)
    finally:
        turn.drop()                                 # nothing more to do after end()
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from enum import Enum, auto

from pydantic import Field

from stillroom.common.settings import Settings

# Requests without an answer, in a row, before an endpoint is taken out. Three in a row happen by chance.
FAILURES_TO_TAKE_OUT = 4
# Requests refused in a row before all are held back. A gateway that refuses one in twenty at any load will refuse two
# in a row once in a few hundred, and the whole run would wait each time.
REFUSALS_TO_HOLD = 3
# A server that asks for more patience than this is not waited for, and is treated as one that said no.
MAX_RETRY_AFTER_S = 3600.0
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


class RateLimits(Settings):
    """What the teacher's owner allows, over all endpoints together. Both are spent evenly over the minute."""

    requests_per_minute: float | None = Field(default=None, gt=0)
    """Requests per minute; null: no limit."""
    tokens_per_minute: float | None = Field(default=None, gt=0)
    """Tokens of prompts and completions per minute; null: no limit."""


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
            fastest, slow = self._fastest, False
            if self._tokens and self._rounds > WARM_UP_ROUNDS:
                pace = self._seconds / self._tokens
                self._fastest = pace if fastest is None else min(pace, fastest * FORGET)
                slow = fastest is not None and pace > SLOW * fastest
            if slow and self._busy:
                self._decrease()
                return
            if self._busy:
                self._value = min(self._ceiling, self._value + self._step)
            self._new_round()

    def _decrease(self) -> None:
        self._value = max(1.0, self._value * DECREASE)
        self.epoch += 1
        self._new_round()


class Endpoint:
    """One endpoint of a teacher: what is in flight there, how much it bears, whether it is held back or taken out.

    Bookkeeping without any waiting; `now` is seconds of one clock throughout.
    """

    def __init__(self, index: int, ceiling: int) -> None:
        self.index, self.in_flight, self.sent = index, 0, 0
        self.asked = 0  # the owner's mark: when it was last chosen, as a count of choices
        self.limit = Limit(ceiling)
        self.held_until = -math.inf
        self.try_at: float | None = None  # None: it is in use; else when it may be tried next
        self._pause = FIRST_PAUSE_S
        self._trying, self._failures = False, 0
        self._hold_pause, self._shrunk = FIRST_PAUSE_S, True  # of refusals that name no time
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
        if end is End.ANSWERED and not self._shrunk:  # once after each hold: answers come in bursts
            self._hold_pause, self._shrunk = max(FIRST_PAUSE_S, self._hold_pause / 2), True
        if end is not End.REFUSED and (end is not End.OVERLOADED or retry_after_s is None):
            return
        self._refused.append(sent)
        # By the order of sending: answers take long, refusals come at once and would always look in a row.
        around = range(sent - REFUSALS_TO_HOLD + 1, sent + 1)
        in_a_row = any(all(i + j in self._refused for j in range(REFUSALS_TO_HOLD)) for i in around)
        if not in_a_row:
            return
        if retry_after_s is not None and retry_after_s <= MAX_RETRY_AFTER_S:
            self.held_until = max(self.held_until, now + retry_after_s)
        elif retry_after_s is None and now >= self.held_until:
            self.held_until = now + self._hold_pause
            self._hold_pause, self._shrunk = min(LONGEST_PAUSE_S, self._hold_pause * 2), False


class Bucket:
    """A token bucket: so much per minute, evenly, with one second's worth to spend at once; any amount where
    `per_minute` is infinite. Times are seconds of any clock that only goes forward.

    What something costs is often known only afterwards: it is estimated before, and the difference is settled. One
    thing dearer than the bucket holds is let through when the bucket is full and leaves it in debt, so nothing waits
    for ever.

    >>> bucket = Bucket(per_minute=60)
    >>> bucket.take(1, now=0.0); bucket.wait_s(1, now=0.25)
    0.75
    """

    def __init__(self, per_minute: float) -> None:
        self._rate = per_minute / 60.0
        # More in hand would let a minute exceed its limit by as much; less than 1 would never let one through.
        self._capacity = max(1.0, self._rate)
        self._level, self._at = self._capacity, 0.0

    def wait_s(self, amount: float, now: float) -> float:
        """Seconds until `amount` may be taken; 0: now."""
        self._fill(now)
        missing = min(amount, self._capacity) - self._level
        # Rounding must not leave something waiting for a billionth of a unit.
        return missing / self._rate if missing > 1e-9 else 0.0

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


class Turn:
    """The right to send one request to `endpoint` (an index). Call `end` or `drop`; after one, both do nothing."""

    def __init__(self, pace: Pace, endpoint: Endpoint, tokens: float, now: float) -> None:
        self.endpoint = endpoint.index
        self._pace, self._endpoint, self._tokens, self._at = pace, endpoint, tokens, now
        self._epoch = endpoint.limit.epoch
        self._tries = endpoint.out
        self._busy = endpoint.send()
        self._sent = endpoint.sent
        self._open = True

    def end(
        self, end: End, *, tokens: int = 0, completion_tokens: int = 0, retry_after_s: float | None = None
    ) -> None:
        """The request ended so, and cost `tokens` in all, `completion_tokens` of them for the answer."""
        if not self._open:
            return
        now = self._pace.clock.time()
        self._pace.tokens.settle(self._tokens, tokens)
        self._endpoint.limit.note(
            overloaded=end in OVERLOAD,
            epoch=self._epoch,
            busy=self._busy,
            seconds=now - self._at,
            tokens=completion_tokens,
        )
        self._endpoint.note(end, now, retry_after_s, self._sent)
        self.drop()

    def drop(self) -> None:
        """Frees the place and learns nothing: the request was cancelled. What it was to cost stays spent."""
        if self._open:
            self._open = False
            self._endpoint.leave(self._tries)
            self._pace.left()


class Pace:
    """Hands out turns: at most `concurrency` at once over all `endpoints`, within `limits`.

    `clock`: what tells the time and sets timers; the running event loop, unless a test brings another.
    """

    def __init__(
        self, endpoints: int, concurrency: int, limits: RateLimits, clock: asyncio.AbstractEventLoop | None = None
    ) -> None:
        self.clock = clock or asyncio.get_running_loop()
        self.endpoints = tuple(Endpoint(index, concurrency) for index in range(endpoints))
        self._concurrency = concurrency
        self._requests = Bucket(limits.requests_per_minute or math.inf)
        self.tokens = Bucket(limits.tokens_per_minute or math.inf)
        self._line: deque[tuple[float, asyncio.Future[Turn]]] = deque()  # each with its tokens
        self._in_flight = self._asked = 0
        self._timer: asyncio.TimerHandle | None = None

    @property
    def in_line(self) -> int:
        """Requests that wait for their turn."""
        return sum(not future.done() for _, future in self._line)

    async def turn(self, tokens: float = 0) -> Turn:
        """Waits for its turn. `tokens`: what the request is expected to cost, prompt and answer."""
        if not self._line and (turn := self._grant(tokens)) is not None:
            return turn
        future: asyncio.Future[Turn] = asyncio.get_running_loop().create_future()
        self._line.append((tokens, future))
        self._serve()
        try:
            return await future
        except asyncio.CancelledError:
            if future.done() and not future.cancelled():
                future.result().drop()  # it got its turn and was cancelled in the same moment
            self._serve()
            raise

    def take_out(self, endpoint: int) -> None:
        """Nobody is there, as was found without a turn (the first greeting, say)."""
        self.endpoints[endpoint].note(End.UNREACHED, self.clock.time(), None, 0)
        self._serve()

    def left(self) -> None:
        """A request is in flight no more: the next in line may go."""
        self._in_flight -= 1
        self._serve()

    def close(self) -> None:
        """Stops the timer. What still waits must be cancelled by its owner."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _serve(self) -> None:
        """Hands out what turns it can, and sets the timer for when the next in line may go by the passing of time
        alone."""
        while self._line:
            tokens, future = self._line[0]
            if not future.done():
                turn = self._grant(tokens)
                if turn is None:
                    break
                future.set_result(turn)
            self._line.popleft()
        self.close()
        if not self._line:
            return
        now = self.clock.time()
        times = [when for e in self.endpoints if (when := e.next_event(now)) is not None]
        wait = self._rates_wait_s(self._line[0][0], now)
        if wait > 0:
            times.append(now + wait)
        if times:
            self._timer = self.clock.call_at(min(times), self._serve)

    def _grant(self, tokens: float) -> Turn | None:
        now = self.clock.time()
        if self._in_flight >= self._concurrency or self._rates_wait_s(tokens, now) > 0:
            return None
        if all(e.out for e in self.endpoints):
            bearing = [e for e in self.endpoints if e.bears_one_more(now)]
            endpoint = min(bearing, key=lambda e: e.try_at or 0.0, default=None)
        else:
            ready = [e for e in self.endpoints if e.ready(now)]
            # Of equals the one that is to be tried, then the one that was asked longest ago.
            endpoint = min(ready, key=lambda e: (e.in_flight, not e.out, e.asked), default=None)
        if endpoint is None:
            return None
        self._requests.take(1.0, now)
        self.tokens.take(tokens, now)
        self._in_flight += 1
        self._asked += 1
        endpoint.asked = self._asked
        return Turn(self, endpoint, tokens, now)

    def _rates_wait_s(self, tokens: float, now: float) -> float:
        return max(self._requests.wait_s(1.0, now), self.tokens.wait_s(tokens, now))
