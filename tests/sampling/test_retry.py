"""Retries: who is asked again, how often, and after how long."""

from __future__ import annotations

import pytest

from stillroom.errors import RequestFailed
from stillroom.sampling.rate_limit import MAX_RETRY_AFTER_S
from stillroom.sampling.requests import with_retries
from stillroom.sampling.teachers.base import RetrySettings


class Flaky:
    """Fails `times` times with `error`, then answers."""

    def __init__(self, times: int, error: RequestFailed) -> None:
        self.left, self.error, self.calls = times, error, 0

    async def __call__(self) -> str:
        self.calls += 1
        if self.left > 0:
            self.left -= 1
            raise self.error
        return "answer"


class Clock:
    def __init__(self) -> None:
        self.waits: list[float] = []

    async def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)


async def test_backs_off_within_its_bounds() -> None:
    clock, flaky = Clock(), Flaky(5, RequestFailed("HTTP 500", retryable=True))
    assert await with_retries(flaky, RetrySettings(attempts=6, base_s=1, cap_s=4), clock.sleep) == "answer"
    assert len(clock.waits) == 5
    assert all(0 <= wait <= limit for wait, limit in zip(clock.waits, [1, 2, 4, 4, 4], strict=True))


async def test_waits_at_least_as_long_as_the_server_asked() -> None:
    clock, flaky = Clock(), Flaky(1, RequestFailed("HTTP 429", retryable=True, retry_after_s=20))
    await with_retries(flaky, RetrySettings(base_s=0), clock.sleep)
    assert clock.waits == [20]


@pytest.mark.parametrize(
    "error",
    [
        RequestFailed("HTTP 400", retryable=False),
        RequestFailed("HTTP 429", retryable=True, retry_after_s=MAX_RETRY_AFTER_S + 1),
    ],
)
async def test_a_no_is_taken_for_an_answer(error: RequestFailed) -> None:
    clock, flaky = Clock(), Flaky(1, error)
    with pytest.raises(RequestFailed):
        await with_retries(flaky, RetrySettings(base_s=0), clock.sleep)
    assert flaky.calls == 1


async def test_gives_up_after_the_last_attempt() -> None:
    clock, flaky = Clock(), Flaky(99, RequestFailed("HTTP 503", retryable=True))
    with pytest.raises(RequestFailed, match="503"):
        await with_retries(flaky, RetrySettings(attempts=3, base_s=0), clock.sleep)
    assert flaky.calls == 3
