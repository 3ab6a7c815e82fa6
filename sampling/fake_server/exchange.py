"""What a fake server is asked and what it replies, as its habits see both.

A `Reply` says what goes over the wire, down to the pauses between its pieces and how the connection ends, so that a
habit can also break the rules of HTTP. Waits that a habit names are scaled: `Asked.wait` turns seconds of a real
server into those of this one.

>>> reply = as_json({"ok": True})
>>> reply.status, reply.pieces
(200, (Piece(data=b'{"ok": true}', wait_s=0.0),))
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from stillroom.common.outside import tokens_in

After = Literal["keep", "close", "reset", "hang"]
"""What becomes of the connection after a reply: it stays open, is closed, is reset, or stays open without a word."""


@dataclass(frozen=True, slots=True)
class Asked:
    """One request."""

    path: str
    """`chat/completions`, `completions` or `models`."""
    body: Mapping[str, Any] = field(default_factory=dict)
    """What was posted; empty for a GET."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Names are in lower case."""
    query: Mapping[str, str] = field(default_factory=dict)
    number: int = 0
    """How many requests for an answer came before."""
    again: int = 0
    """How many of them asked for the very same."""
    prompt_number: int = 0
    """How many other prompts came before this prompt was first asked."""
    granted: Sequence[float] = ()
    """When the last requests were answered, by `now_s`."""
    now_s: float = 0.0
    """Seconds since 1970."""
    minute_s: float = 60.0
    """How long a minute is for this server, in seconds."""

    def wait(self, seconds: float) -> float:
        """Seconds of a real server in those of this one."""
        return seconds * self.minute_s / 60.0

    @property
    def streams(self) -> bool:
        """Whether the answer is wanted in parts."""
        return self.body.get("stream") is True

    @property
    def prompt(self) -> str:
        """The last words of the user."""
        return prompt_of(self.body)


def prompt_of(body: Mapping[str, Any]) -> str:
    """The last user's turn of a request, or its `prompt`; "" where there is none."""
    messages = body.get("messages")
    for message in reversed(messages if isinstance(messages, list) else []):
        if isinstance(message, dict) and message.get("role") == "user":
            return _words(message.get("content"))
    return _words(body.get("prompt"))


def _words(content: Any) -> str:
    if isinstance(content, list):
        return " ".join(_words(part.get("text") if isinstance(part, dict) else part) for part in content[:64])
    return content if isinstance(content, str) else ""


def limit_of(body: Mapping[str, Any]) -> int | None:
    """The tokens that a request wants at most, by either name; None where it names none."""
    return tokens_in(body.get("max_tokens", body.get("max_completion_tokens")))


class Piece(NamedTuple):
    """Bytes of a body, sent at once. `wait_s`: the pause before them."""

    data: bytes
    wait_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Reply:
    """What is sent. `wait_s`: the pause before its first byte."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    pieces: tuple[Piece, ...] = ()
    wait_s: float = 0.0
    length: int | None = None
    """The Content-Length to claim; None: the true one."""
    chunked: bool = False
    """Each piece is a chunk, as streams are sent."""
    after: After = "keep"
    asked_to_wait_s: float | None = None
    """The wait that it names, for the log: who comes back earlier is counted."""

    @property
    def body(self) -> bytes:
        """All pieces in one."""
        return b"".join(piece.data for piece in self.pieces)


def as_json(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Reply:
    """A JSON reply. NaN and infinities are written as Python writes them, as some servers do."""
    data = json.dumps(value).encode()
    return Reply(status, {"Content-Type": "application/json", **(headers or {})}, (Piece(data),))


def error(
    status: int,
    message: str,
    /,
    *,
    headers: Mapping[str, str] | None = None,
    wait_s: float | None = None,
    **fields: Any,
) -> Reply:
    """An error as OpenAI writes it. `wait_s`: the wait that it names."""
    said = {"message": message, "type": "invalid_request_error", "param": None, "code": None, **fields}
    reply = as_json({"error": said}, status, headers)
    return Reply(reply.status, reply.headers, reply.pieces, asked_to_wait_s=wait_s)


def page(status: int, title: str, text: str) -> Reply:
    """An HTML page, as gateways and firewalls send it."""
    body = f"<body><h1>{title}</h1><p>{text}</p></body>"
    html = f"<!DOCTYPE html>\n<html><head><title>{title}</title></head>\n{body}</html>\n"
    return Reply(status, {"Content-Type": "text/html; charset=utf-8"}, (Piece(html.encode()),))


def as_stream(parts: Iterable[Any]) -> Reply:
    """Server-sent events: each part is an event; bytes are sent as they are."""
    pieces = tuple(
        Piece(part if isinstance(part, bytes) else b"data: " + _event(part).encode() + b"\n\n") for part in parts
    )
    return Reply(
        headers={"Content-Type": "text/event-stream", "Cache-Control": "no-cache"}, pieces=pieces, chunked=True
    )


def _event(part: Any) -> str:
    return part if isinstance(part, str) else json.dumps(part)
