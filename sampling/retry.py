"""Asking again: exponential backoff with full jitter; what the server asks for (`Retry-After`) comes first.

Full jitter: https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/

>>> parse_retry_after("7", now_s=0.0), parse_retry_after("Thu, 01 Jan 1970 00:01:00 GMT", now_s=20.0)
(7.0, 40.0)
"""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Awaitable, Callable
from email.utils import parsedate_to_datetime
from typing import TypeVar

from pydantic import Field

from stillroom.common.settings import Settings
from stillroom.errors import RequestFailed

T = TypeVar("T")

# A server that asks for more patience than this is treated as one that said no.
MAX_RETRY_AFTER_S = 300.0


class RetrySettings(Settings):
    """How failed requests are repeated. Waits are random in [0, min(cap_s, base_s · 2^i)]."""

    attempts: int = Field(default=6, ge=1)
    """How often a request is sent in all."""
    base_s: float = Field(default=0.5, ge=0)
    """Longest first wait, in seconds; it doubles each time."""
    cap_s: float = Field(default=30.0, ge=0)
    """Longest wait, in seconds."""


async def with_retries(
    call: Callable[[], Awaitable[T]],
    settings: RetrySettings,
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
) -> T:
    """The result of `call`, asked again while it fails in a way that may pass; else its last RequestFailed."""
    for attempt in range(settings.attempts):
        try:
            return await call()
        except RequestFailed as error:
            jittered = random.uniform(0, min(settings.cap_s, settings.base_s * 2**attempt))
            # At least what the server asked for; jitter on top keeps the clients from coming back all at once.
            wait = jittered + (error.retry_after_s or 0.0)
            if not error.retryable or attempt + 1 == settings.attempts or wait > MAX_RETRY_AFTER_S:
                raise
        await sleep(wait)
    raise AssertionError("unreachable: attempts >= 1")


def parse_retry_after(value: str, now_s: float) -> float | None:
    """Seconds that a `Retry-After` header asks to wait, never below 0; None where it says nothing that can be read.

    It holds seconds, or a date as HTTP writes it. `now_s`: seconds since 1970.
    """
    try:
        seconds = float(value)
    except ValueError:
        try:
            return max(0.0, parsedate_to_datetime(value).timestamp() - now_s)
        except (ValueError, OverflowError, OSError):
            return None
    return max(0.0, seconds) if math.isfinite(seconds) else None
