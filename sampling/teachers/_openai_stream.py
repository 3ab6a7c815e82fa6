"""Reads an answer that is streamed (server-sent events) and puts it together as if it had come in one piece.

While it comes, `usage` counts its tokens, so that a request that is cancelled still says what it had cost: one a part
where the server sends no count along, which is what servers send at least. A stream that stops before it says why the
answer ended is no answer.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from stillroom.sampling.pacing import End
from stillroom.sampling.records import Usage
from stillroom.sampling.teachers._openai_http import LONGEST_BODY, NoAnswer, Patience

if TYPE_CHECKING:
    from aiohttp import StreamReader

_TEXTS = ("content", "refusal", "reasoning_content", "reasoning")


class StreamedAnswer:
    """One answer in the making. Parts in a shape of their own are passed on, for the reader of the whole to judge."""

    def __init__(self, usage: Usage) -> None:
        self._usage = usage
        self._message: dict[str, list[str]] = {}
        self._logprobs: list[Any] | None = None
        self._finish: Any = None
        self._counted: Any = None
        self._odd: str | None = None  # what was no part of an answer: an error, mostly
        self._done = False

    async def read(self, content: StreamReader, patience: Patience) -> bytes:
        """The whole as JSON. Raises NoAnswer when it ends too early or does not end."""
        rest, length = b"", 0
        async for piece in content.iter_any():
            length += len(piece)
            *lines, rest = (rest + piece).split(b"\n")
            for line in lines:
                if line.startswith(b"data:"):  # anything else is a comment, to keep the connection open
                    patience.heard()
                    self._take(line[5:].strip())
            if length > LONGEST_BODY:
                raise NoAnswer(End.BROKEN, f"the answer is longer than {LONGEST_BODY / 2**20:g} MiB")
        if self._odd is None and self._finish is None and not self._done:
            raise NoAnswer(End.BROKEN, "the stream broke off")
        return self._whole()

    def _take(self, data: bytes) -> None:
        if data == b"[DONE]":
            self._done = True
            return
        try:
            part = json.loads(data)
            choices = part["choices"]
            self._counted = part.get("usage") or self._counted
            if choices:
                self._add(choices[0])
        except (ValueError, LookupError, TypeError, AttributeError):
            self._odd = self._odd or data.decode("utf-8", "replace")
        self._count()

    def _add(self, choice: dict[str, Any]) -> None:
        delta = choice.get("delta") or {}
        said = [(name, delta[name]) for name in _TEXTS if delta.get(name)]
        for name, text in said:
            self._message.setdefault(name, []).append(text)
        if said:
            self._usage.completion_tokens = (self._usage.completion_tokens or 0) + 1
        if (logprobs := choice.get("logprobs")) is not None:
            self._logprobs = (self._logprobs or []) + (logprobs.get("content") or [])
        self._finish = choice.get("finish_reason") or self._finish

    def _count(self) -> None:
        """A count of the server's own is better than that of the parts."""
        if isinstance(self._counted, dict) and isinstance(tokens := self._counted.get("completion_tokens"), int):
            self._usage.completion_tokens = tokens

    def _whole(self) -> bytes:
        if self._odd is not None:
            return self._odd.encode()
        message = {name: "".join(map(str, parts)) for name, parts in self._message.items()}
        choice = {"message": message, "finish_reason": self._finish}
        if self._logprobs is not None:
            choice["logprobs"] = {"content": self._logprobs}
        usage = self._counted or {"completion_tokens": self._usage.completion_tokens}
        return json.dumps({"choices": [choice], "usage": usage}).encode()
