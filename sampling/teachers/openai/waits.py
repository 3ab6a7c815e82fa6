"""When a server that refused a request wants it again: one reader for all the ways in which servers say so.

Looked at in this order, the first that can be read counts: `retry-after-ms` and `retry-after` (seconds, a duration, a
date); in the body gRPC's RetryInfo (`"retryDelay": "26s"`), a field `retry_after`, "try again in 26.42s"; the times
when limits are reset (`x-ratelimit-reset-requests: 6m0s`, Anthropic's dates), of those that are used up where the
server says which; a rate in words ("5 requests per minute": one request's share of it). A proxy puts a prefix before
a header (`llm_provider-retry-after`), or quotes the body of the server behind it in its own: both are read.

It never waits. What a server says is bounded by whoever waits.

>>> when_again({"llm_provider-retry-after": "26"}, "", 0.0)
26.0
>>> when_again({}, "Rate limit reached. Please try again in 6m0s.", 0.0)
360.0
>>> when_again({"x-ratelimit-reset-tokens": "120ms"}, "", 0.0)
0.12

Where the forms are documented: OpenAI (https://platform.openai.com/docs/guides/rate-limits), Anthropic
(https://docs.anthropic.com/en/api/rate-limits), Google (https://cloud.google.com/apis/design/errors#retry_info), HTTP
(RFC 9110, 10.2.3), LiteLLM's prefix (https://docs.litellm.ai/docs/proxy/response_headers).
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime

from stillroom.sampling.teachers.openai.http import parse_retry_after

# Characters of a body that are looked at.
_LOOKED_AT = 65_536
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
_UNIT = r"(?:ms|milliseconds?|millis|s|secs?|seconds?|m|mins?|minutes?|h|hrs?|hours?|d|days?)"
_PART = re.compile(rf"(\d{{1,12}}(?:\.\d{{1,9}})?)\s{{0,3}}({_UNIT})(?![a-z])", re.IGNORECASE)
_DURATION = rf"(?:\d{{1,12}}(?:\.\d{{1,9}})?\s{{0,3}}{_UNIT}(?![a-z])[\s,]{{0,3}}(?:and\s)?){{1,4}}"
# Quoted within a string of another body, its quotes have backslashes: the more, the more proxies quoted it.
_BETWEEN = r"[\\\"'\s:={]{1,24}"
_RETRY_INFO = re.compile(rf"retry_?delay{_BETWEEN}(?:seconds{_BETWEEN})?(\d[\d.]{{0,20}}(?:ms|s)?)", re.IGNORECASE)
_FIELD = re.compile(
    rf"retry_?after(?:_?(ms|millis|seconds|secs|s|in))?{_BETWEEN}(\d[\d.]{{0,20}})\s?(ms|s)?\b", re.IGNORECASE
)
_IN_WORDS = re.compile(
    r"(?:try|retry|wait|again|available|come back|resets?)(?:\s(?:again|after|for|in|at least|about)){1,3}"
    rf"\s({_DURATION})",
    re.IGNORECASE,
)
_RATE = re.compile(
    r"(\d{1,6})\s?(?:requests?|reqs?|calls?)\s?(?:per|/|an?|every)\s?(second|sec|minute|min|hour|hr)\b"
    r"|\b(\d{1,6})\s?(rpm|rps)\b",
    re.IGNORECASE,
)
_WINDOWS = {"second": 1.0, "sec": 1.0, "rps": 1.0, "minute": 60.0, "min": 60.0, "rpm": 60.0, "hour": 3600.0}
_RESETS = ("ratelimit-reset-requests", "ratelimit-reset-tokens", "requests-reset", "tokens-reset", "ratelimit-reset")
# A number above this is not a wait but a time, in seconds since 1970; above the second one in milliseconds.
_EPOCH, _EPOCH_MS = 1e9, 1e12


def when_again(headers: Mapping[str, str], body: str, now_s: float, *, resets: bool = True) -> float | None:
    """Seconds to wait, never below 0; None where nothing is said. Names of headers are in lower case.

    `now_s`: seconds since 1970. `resets`: whether the times at which limits are reset, and rates, count too: they
    stand in every answer, and say something of a refusal only where it was one for the rate.
    """
    for wait in (*_asked(headers, now_s), *_said(body[:_LOOKED_AT])):
        return wait
    if not resets:
        return None
    until = _until_reset(headers, now_s)
    return _share_of_rate(body[:_LOOKED_AT]) if until is None else until


def duration_s(text: str) -> float | None:
    """Seconds of `6m0s`, `26.42s`, `120ms`, `1 minute 5 seconds`, or of a bare number; None for anything else.

    >>> duration_s("6m0s"), duration_s("26.42s"), duration_s("7"), duration_s("soon")
    (360.0, 26.42, 7.0, None)
    """
    text = text.strip()
    try:
        bare = float(text)
    except ValueError:
        pass
    else:
        return max(0.0, bare) if math.isfinite(bare) else None
    if not re.fullmatch(_DURATION, text, re.IGNORECASE):
        return None
    return math.fsum(float(n) * _UNITS[_short(unit)] for n, unit in _PART.findall(text))


def _short(unit: str) -> str:
    unit = unit.lower()
    return "ms" if unit.startswith(("ms", "mil")) else unit[0]


def _named(headers: Mapping[str, str], name: str) -> Iterator[str]:
    """The values of a header, its own first, then under the prefix of a proxy."""
    if name in headers:
        yield headers[name]
    yield from (value for key, value in headers.items() if key.endswith(f"-{name}"))


def _asked(headers: Mapping[str, str], now_s: float) -> Iterator[float]:
    for value in _named(headers, "retry-after-ms"):
        if (ms := duration_s(value)) is not None:
            yield ms / 1000 if value.strip()[-1:].isdigit() else ms
    for value in _named(headers, "retry-after"):
        seconds = parse_retry_after(value, now_s)
        if seconds is None:
            seconds = _wait(value, now_s)
        if seconds is not None:
            yield seconds


def _said(body: str) -> Iterator[float]:
    """What the body says, in fields and in words."""
    for found in _RETRY_INFO.finditer(body):
        if (wait := duration_s(found[1])) is not None:
            yield wait
    for found in _FIELD.finditer(body):
        unit = (found[1] or found[3] or "s").lower()
        if (wait := duration_s(found[2])) is not None:
            yield wait / 1000 if unit in ("ms", "millis") else wait
    for found in _IN_WORDS.finditer(body):
        if (wait := duration_s(re.sub(r"[\s,]*(?:and)?[\s,]*$", "", found[1].replace(" and ", " ")))) is not None:
            yield wait


def _until_reset(headers: Mapping[str, str], now_s: float) -> float | None:
    """The longest wait among limits that are used up, or among all where none says that it is."""
    waits, used_up = list[float](), list[float]()
    for name in _RESETS:
        for value in _named(headers, name):
            if (wait := _wait(value, now_s)) is None:
                continue
            waits.append(wait)
            left = next(_named(headers, name.replace("reset", "remaining")), "").strip()
            if left in ("0", "-1"):
                used_up.append(wait)
    return max(used_up or waits, default=None)


def _wait(value: str, now_s: float) -> float | None:
    """The wait until a time, or the duration, that a header holds."""
    if (wait := duration_s(value)) is not None:
        if wait >= _EPOCH:
            wait = max(0.0, (wait / 1000 if wait >= _EPOCH_MS else wait) - now_s)
        return wait
    try:
        when = datetime.fromisoformat(value.strip().replace("Z", "+00:00"))
        return max(0.0, (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp() - now_s)
    except (ValueError, OverflowError):
        return parse_retry_after(value, now_s)


def _share_of_rate(body: str) -> float | None:
    """One request's share of a rate in words: 12 seconds of "5 requests per minute"."""
    for found in _RATE.finditer(body):
        number, window = int(found[1] or found[3]), (found[2] or found[4]).lower()
        if number:
            return _WINDOWS.get(window, 3600.0) / number
    return None
