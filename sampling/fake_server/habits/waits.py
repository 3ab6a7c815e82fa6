"""Habits about when the client may come back: limits of the rate, in every way in which servers name them.

Those that refuse a request once let it through the next time. The forms are those of
`sampling.teachers.openai.waits`, which names where they are documented.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import format_datetime
from math import ceil

from stillroom.sampling.fake_server.exchange import Asked, Reply, error, page
from stillroom.sampling.fake_server.habits import Habit, always, at_first

_MESSAGE = "Rate limit reached."
_PER_MINUTE = 5


def duration_text(seconds: float) -> str:
    """A duration as OpenAI's headers write it.

    >>> duration_text(360.0), duration_text(26.42), duration_text(0.12)
    ('6m0s', '26.42s', '120ms')
    """
    if seconds < 1:
        return f"{seconds * 1000:.4g}ms"
    minutes, rest = divmod(seconds, 60)
    return f"{int(minutes)}m{rest:.4g}s" if minutes else f"{rest:.4g}s"


def _limited(
    seconds: float, headers: Callable[[float, Asked], dict[str, str]], status: int = 429
) -> Callable[[Asked], Reply]:
    """A refusal whose headers, made of the wait and the request, name the wait."""

    def refuse(asked: Asked) -> Reply:
        wait_s = asked.wait(seconds)
        made = headers(wait_s, asked)
        return error(status, _MESSAGE, headers=made, wait_s=wait_s, type="rate_limit_error")

    return refuse


def _in_body(seconds: float, message: Callable[[float], str]) -> Callable[[Asked], Reply]:
    """A refusal whose message names the wait."""

    def refuse(asked: Asked) -> Reply:
        wait_s = asked.wait(seconds)
        return error(429, message(wait_s), wait_s=wait_s, type="tokens", code="rate_limit_exceeded")

    return refuse


def _http_date(wait_s: float, asked: Asked) -> dict[str, str]:
    """A date has no parts of a second: the next whole one."""
    return {"Retry-After": format_datetime(datetime.fromtimestamp(ceil(asked.now_s + wait_s), UTC), usegmt=True)}


def _iso_date(wait_s: float, asked: Asked) -> dict[str, str]:
    until = datetime.fromtimestamp(asked.now_s + wait_s, UTC).isoformat().replace("+00:00", "Z")
    return {"anthropic-ratelimit-requests-remaining": "0", "anthropic-ratelimit-requests-reset": until}


def _reset(prefix: str = "") -> Callable[[float, Asked], dict[str, str]]:
    return lambda wait_s, asked: {
        f"{prefix}x-ratelimit-limit-requests": str(_PER_MINUTE),
        f"{prefix}x-ratelimit-remaining-requests": "0",
        f"{prefix}x-ratelimit-reset-requests": duration_text(wait_s),
        f"{prefix}x-ratelimit-remaining-tokens": "149984",
        f"{prefix}x-ratelimit-reset-tokens": duration_text(wait_s * 100),
    }


def _retry_info(asked: Asked) -> Reply:
    wait_s = asked.wait(26)
    details = [
        {"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": [{"quotaValue": "5"}]},
        {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": f"{wait_s:.9g}s"},
    ]
    return error(
        429, "You exceeded your current quota.", wait_s=wait_s, code=429, status="RESOURCE_EXHAUSTED", details=details
    )


def _retry_info_proxied(asked: Asked) -> Reply:
    """A proxy quotes the body of the server behind it, as a text in its own."""
    inner = _retry_info(asked)
    quoted = f"litellm.RateLimitError: VertexAIException - {json.dumps(inner.body.decode())}"
    return error(429, quoted, wait_s=inner.asked_to_wait_s, code="429", type="throttling_error")


def _field(asked: Asked) -> Reply:
    wait_s = asked.wait(26)
    return error(429, _MESSAGE, wait_s=wait_s, retry_after=wait_s)


def _cooldown(wait_s: float) -> str:
    """LiteLLM's words where all servers behind it are left alone for a while."""
    return f"No deployments available for selected model, Try again in {wait_s:.9g} seconds. Passed model=fake."


def _five_a_minute(asked: Asked) -> Reply | None:
    """As many as five answers within a minute; the wait until the next stands in the message alone."""
    recent = [at for at in asked.granted if at > asked.now_s - asked.minute_s]
    if len(recent) < _PER_MINUTE:
        return None
    wait_s = recent[-_PER_MINUTE] + asked.minute_s - asked.now_s
    said = f"Rate limit reached: limit {_PER_MINUTE} / min. Please try again in {duration_text(wait_s)}."
    return error(429, said, wait_s=wait_s, code="rate_limit_exceeded", type="requests")


def _five_a_minute_undated(asked: Asked) -> Reply | None:
    refused = _five_a_minute(asked)
    return refused and error(429, f"You are limited to {_PER_MINUTE} requests at a time. Slow down.")


def _error_in_200(asked: Asked) -> Reply:
    wait_s = asked.wait(2)
    return error(200, f"Slow down, try again in {duration_text(wait_s)}", wait_s=wait_s, code=429)


HABITS = (
    Habit(
        "retry_after_seconds",
        "429 once for each request, with `Retry-After: 2`",
        at_first(_limited(2, lambda wait_s, asked: {"Retry-After": f"{wait_s:.6g}"})),
    ),
    Habit(
        "retry_after_date", "429 once for each request, `Retry-After` is a date", at_first(_limited(2, _http_date))
    ),
    Habit(
        "retry_after_ms",
        "429 once for each request, with `retry-after-ms: 1500` (Azure)",
        at_first(_limited(1.5, lambda wait_s, asked: {"retry-after-ms": f"{wait_s * 1000:.6g}"})),
    ),
    Habit(
        "retry_after_proxied",
        "429 once for each request, with `llm_provider-retry-after: 2` (LiteLLM)",
        at_first(_limited(2, lambda wait_s, asked: {"llm_provider-retry-after": f"{wait_s:.6g}"})),
    ),
    Habit(
        "ratelimit_reset_duration",
        "429 once for each request, with `x-ratelimit-reset-requests: 6m0s` (OpenAI)",
        at_first(_limited(360, _reset())),
    ),
    Habit(
        "ratelimit_reset_proxied",
        "the same for 26.42 s, under a proxy's prefix `llm_provider-`",
        at_first(_limited(26.42, _reset("llm_provider-"))),
    ),
    Habit(
        "ratelimit_reset_epoch",
        "429 once for each request, `x-ratelimit-reset` is a time in seconds since 1970",
        at_first(_limited(7, lambda wait_s, asked: {"x-ratelimit-reset": str(ceil(asked.now_s + wait_s))})),
    ),
    Habit(
        "ratelimit_reset_iso",
        "429 once for each request, `anthropic-ratelimit-requests-reset` is a date",
        at_first(_limited(7, _iso_date)),
    ),
    Habit("retry_info_grpc", "429 once for each request, with RetryInfo in the body (Gemini)", at_first(_retry_info)),
    Habit(
        "retry_info_proxied",
        "the same as a text within the body of a proxy (LiteLLM)",
        at_first(_retry_info_proxied),
    ),
    Habit(
        "try_again_in_text",
        '429 once for each request, with "try again in 26.42s" in the message',
        at_first(
            _in_body(26.42, lambda wait_s: f"{_MESSAGE} Please try again in {duration_text(wait_s)}. Visit us.")
        ),
    ),
    Habit(
        "retry_after_in_text",
        '429 once for each request, with "Please retry after 26 seconds" in the message (Azure)',
        at_first(_in_body(26, lambda wait_s: f"Exceeded token rate limit. Please retry after {wait_s:.9g} seconds.")),
    ),
    Habit(
        "retry_after_in_body", "429 once for each request, with a field `retry_after` in the error", at_first(_field)
    ),
    Habit(
        "cooldown_in_words",
        '429 once for each request: no server is free, "Try again in 5 seconds" (LiteLLM)',
        at_first(_in_body(5, _cooldown)),
    ),
    Habit(
        "retry_after_zero",
        "429 twice for each request, with `Retry-After: 0`",
        at_first(_limited(0, lambda wait_s, asked: {"Retry-After": "0"}), 2),
    ),
    Habit(
        "429_html",
        "an HTML page with status 429 once for each request (Cloudflare)",
        at_first(lambda asked: page(429, "Error 1015", "You are being rate limited")),
    ),
    Habit("limit_5_a_minute", "five answers a minute; only the message of the 429 says until when", _five_a_minute),
    Habit("limit_5_undated", "five answers a minute; the 429 says nothing about the time", _five_a_minute_undated),
    Habit(
        "429_without_date",
        "429 once for each request, without a time",
        at_first(_in_body(0, lambda wait_s: "Too many requests.")),
    ),
    Habit("429_in_200", "an error with code 429 in a 200 reply, once for each request", at_first(_error_in_200)),
    Habit(
        "retry_after_a_day",
        "429 always, with `Retry-After: 86400`: a daily limit is used up",
        always(_limited(86_400, lambda wait_s, asked: {"Retry-After": f"{wait_s:.6g}"})),
    ),
    Habit(
        "quota_used_up",
        "429 always, with code `insufficient_quota`: the account is empty",
        lambda asked: error(429, "You exceeded your current quota.", code="insufficient_quota"),
    ),
    Habit("402_no_credit", "402 always: the account is empty", lambda asked: error(402, "Insufficient credits.")),
    Habit(
        "529_overloaded",
        "529 once for each request (Anthropic)",
        at_first(lambda asked: error(529, "Overloaded", type="overloaded_error")),
    ),
    Habit(
        "503_html",
        "an HTML page with status 503 once for each request",
        at_first(lambda asked: page(503, "503 Service Temporarily Unavailable", "nginx")),
    ),
    Habit(
        "503_retry_after",
        "503 with `Retry-After: 2` once for each request: the model is being loaded",
        at_first(_limited(2, lambda wait_s, asked: {"Retry-After": f"{wait_s:.6g}"}, 503)),
    ),
    Habit(
        "524_html",
        "an HTML page with status 524 once for each request (a gateway's time-out)",
        at_first(lambda asked: page(524, "524: A timeout occurred", "The origin took too long.")),
    ),
    Habit("408_once", "408 once for each request", at_first(lambda asked: error(408, "Request timed out."))),
    Habit(
        "500_now_and_then",
        "500 for each fifth request",
        lambda asked: error(500, "Internal server error", type="server_error") if asked.number % 5 == 4 else None,
    ),
)
