"""When the next request of a teacher may go out, and to which of its endpoints.

One line for all requests, first come first served. A request goes to the endpoint that has least in flight of those
that are in use and bear one more (`endpoint`), when the rate limits allow it. Nothing polls: a request that ends, or
the one timer there is, wakes the next in line.

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

from pydantic import Field

from stillroom.common.settings import Settings
from stillroom.sampling.rate_limit.endpoint import OVERLOAD, End, Endpoint


class RateLimits(Settings):
    """What the teacher's owner allows, over all endpoints together. Both are spent evenly over the minute."""

    requests_per_minute: float | None = Field(default=None, gt=0)
    """Requests per minute; null: no limit."""
    tokens_per_minute: float | None = Field(default=None, gt=0)
    """Tokens of prompts and completions per minute; null: no limit."""


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
