"""What a server's refusal means: for the next request (how it ended), and for the run (which error).

Told apart: what asking again can fix (429, 5xx), what it cannot (a prompt that is refused), and what makes asking
anybody pointless (a refused key, a missing model, a used-up quota). Servers quote keys: no message of ours does.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from http.client import responses
from typing import Any

from stillroom.common.files import storable
from stillroom.common.outside import NotJson, read_json
from stillroom.common.secrets import keep_key, named
from stillroom.errors import MissingKey, RequestFailed, TeacherDown
from stillroom.sampling.rate_limit.limiter import End
from stillroom.sampling.retry import parse_retry_after
from stillroom.sampling.teachers.openai.http import HttpReply, place_of

_NEWS = {429: End.REFUSED, 503: End.OVERLOADED, 529: End.OVERLOADED, 408: End.TIMED_OUT, 504: End.TIMED_OUT}


# Characters of a server's text that a message quotes, and of those that are looked at for secrets before it is cut.
_QUOTED, _LOOKED_AT = 300, 65_536


class Key:
    """A key, "" for none, and where it is from; blots it out of messages."""

    def __init__(self, value: str, variable: str) -> None:
        self.value, self.variable = value, variable
        keep_key(value)

    def refused(self, where: str, status: int) -> MissingKey:
        """The error for a server that takes no such key."""
        have = "is set, but was refused" if self.value else "is not set"
        return MissingKey(f"{where} answered {status}: the key was refused; the variable {self.variable} {have}")

    def blot(self, text: str) -> str:
        """`text` on one line, without the key, at a length that fits a message."""
        clean = named(storable(text[:_LOOKED_AT]))  # a header may hold bytes that are not text
        if len(self.value) > 3:  # one that is too short to be looked for everywhere is looked for here
            clean = clean.replace(self.value, "***")
        return " ".join(clean.split())[:_QUOTED]


def end_of(status: int) -> End:
    """How a request ended that was answered with this HTTP status."""
    return _NEWS.get(status, End.BROKEN if status >= 500 else End.ANSWERED)


def error_of(reply: HttpReply, key: Key, where: str, now: Callable[[], float] = time.time) -> Exception:
    """The error for a reply that is not an answer; 404 is the caller's, who knows what else to ask."""
    status = reply.status
    inner = _inner(reply.body)
    text = f"HTTP {status}: {key.blot(_reason(inner, status))}"
    if status in (401, 403):
        return key.refused(where, status)
    if 300 <= status < 400:
        return RequestFailed(_redirected(reply, key), retryable=False)
    names = (inner.get("code"), inner.get("type")) if isinstance(inner, dict) else ()
    if status == 402 or "insufficient_quota" in names:
        return TeacherDown(
            f"{text}: the account's quota is used up; what was answered is kept: raise it and run the same "
            "command again"
        )
    retryable = status in (408, 409, 425, 429) or status >= 500
    return RequestFailed(text, retryable=retryable, retry_after_s=retry_after_s(reply, now))


def retry_after_s(reply: HttpReply, now: Callable[[], float] = time.time) -> float | None:
    """Seconds that the server asks to wait. `now`: seconds since 1970, for a server that gives a date."""
    return parse_retry_after(reply.headers.get("retry-after", ""), now())


def _inner(body: bytes) -> Any:
    """The error as the server wrote it: the object in `error`, or whatever there is."""
    try:
        found = read_json(body)
    except NotJson:
        return body[:_LOOKED_AT].decode("utf-8", "replace")
    return found.get("error", found) if isinstance(found, dict) else found


def _redirected(reply: HttpReply, key: Key) -> str:
    place = key.blot(place_of(reply.headers.get("location", ""))) or "another address"
    return (
        f"HTTP {reply.status}: the server redirects to {place}, and neither prompts nor keys are sent to another "
        "server than the recipe's: set teacher.base_url to the address that answers"
    )


def _reason(inner: Any, status: int) -> str:
    message = inner.get("message") if isinstance(inner, dict) else inner
    return str(message or inner or responses.get(status, "no reason given"))
