"""What a server says went wrong: found in any body, whatever its status, and what HTTP status it amounts to.

Gateways answer 200 and put an `error` where the answer should be, into a choice, or into the middle of a stream. Such
a reply is not an answer, and half a text before it is not half an answer: it is judged by its code, as if the server
had sent that as its status. It decides on nothing else.

>>> error_in({"choices": [{"message": {"content": "half"}, "error": {"code": 429}}]})
{'code': 429}
>>> status_of({"code": 429}), status_of({"type": "invalid_request_error"}), status_of("upstream failed")
(429, 400, 500)
"""

from __future__ import annotations

import re
from typing import Any

from stillroom.common.outside import NotJson, read_json

# Characters of a body that are looked at.
LOOKED_AT = 65_536
# By what stands in the code, type or status of an error; the first that is found counts.
_STATUSES = {
    "insufficient_quota": 402,
    "rate_limit": 429,
    "too_many": 429,
    "resource_exhausted": 429,
    "context_length": 400,
    "invalid_api_key": 401,
    "authentication": 401,
    "unauthenticated": 401,
    "unauthorized": 401,
    "permission": 403,
    "forbidden": 403,
    "not_found": 404,
    "overloaded": 503,
    "unavailable": 503,
    "timeout": 504,
    "deadline": 504,
    "invalid": 400,
    "bad_request": 400,
    "badrequest": 400,
    "unsupported": 400,
    "failed_precondition": 400,
    "content_policy": 400,
    "content_filter": 400,
    "moderation": 400,
}


def error_in(value: Any) -> Any:
    """The error in a reply that should be an answer; None where there is none."""
    if not isinstance(value, dict):
        return None
    if value.get("error"):
        return value["error"]
    if value.get("object") == "error":  # vLLM before 0.10
        return value
    choices = value.get("choices")
    first = choices[0] if isinstance(choices, list) and choices else None
    return (first.get("error") or None) if isinstance(first, dict) else None


def status_of(error: Any) -> int:
    """The HTTP status that an error amounts to; 500 where it does not say."""
    if not isinstance(error, dict):
        return 500
    names = [error.get(name) for name in ("code", "status", "type")]
    for said in names:
        if str(said).isdecimal() and 400 <= int(str(said)[:9]) <= 599:
            return int(str(said))
    plain = [re.sub(r"[^a-z]+", "_", said.lower()) for said in names if isinstance(said, str)]
    return next((status for said in plain for part, status in _STATUSES.items() if part in said), 500)


def said_in(body: bytes) -> str:
    """What a body says in words: the message of its error, the text of an HTML page, or all of it."""
    try:
        found = read_json(body)
    except NotJson:
        found = body[:LOOKED_AT].decode("utf-8", "replace")
    if isinstance(found, list) and found:  # Gemini puts its error into a list
        found = found[0]
    fields = fields_of(found)
    said = str(fields.get("message") or fields.get("detail") or next(iter(fields.values()), ""))[:LOOKED_AT]
    return _words_of_page(said) if re.match(r"\s*<(?:!doctype|html|head|\?xml)", said, re.IGNORECASE) else said


def fields_of(found: Any) -> dict[str, Any]:
    """The error as the server wrote it: the object in `error`, or whatever there is, as a `message`."""
    inner = found.get("error", found) if isinstance(found, dict) else found
    return inner if isinstance(inner, dict) else {"message": inner}


def _words_of_page(page: str) -> str:
    """The title and the text of an HTML page, on one line."""
    page = re.sub(r"<(script|style)\b.*?(?:</\1>|$)", " ", page, flags=re.IGNORECASE | re.DOTALL)
    return "an HTML page: " + " ".join(re.sub(r"<[^<>]*>", " ", page).split())
