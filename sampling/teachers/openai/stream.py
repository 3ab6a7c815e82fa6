"""Reads an answer that is streamed (server-sent events) and puts it together as if it had come in one piece.

While it comes, `usage` counts its tokens, so that a request that is cancelled still says what it had cost: one a part
where the server sends no count along, which is what servers send at least. A stream that stops before it says why the
answer ended is not an answer. Time and memory are in proportion to what is sent, and a line has an end.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from stillroom.common.outside import NotJson, read_json, tokens_in
from stillroom.common.records import Usage
from stillroom.sampling.rate_limit.limiter import End
from stillroom.sampling.teachers.openai.http import LONGEST_BODY, NoAnswer, Patience, check_length

if TYPE_CHECKING:
    from aiohttp import StreamReader

_TEXTS = ("content", "refusal", "reasoning_content", "reasoning")
# A part is a few tokens, with the likeliest at each place some kilobytes.
LONGEST_LINE = 8 * 2**20


class StreamedAnswer:
    """One answer in the making. Parts of an unknown shape are passed on, for the reader of the whole to judge."""

    def __init__(self, usage: Usage) -> None:
        self._usage = usage
        self._message: dict[str, list[str]] = {}
        self._logprobs: list[Any] | None = None
        self._finish: Any = None
        self._counted: dict[str, Any] = {}
        self._odd: bytes | None = None  # what was no part of an answer: an error, mostly
        self._done = False

    async def read(self, content: StreamReader, patience: Patience) -> bytes:
        """The whole as JSON. Raises NoAnswer when it ends too early or does not end."""
        line, length = bytearray(), 0
        async for piece in content.iter_any():
            length += len(piece)
            *ends, rest = piece.split(b"\n")
            for end in ends:
                line += end
                # Anything but data is a comment, to keep the connection open.
                if line.startswith(b"data:") and self._odd is None:
                    patience.heard()
                    self._take(bytes(line[5:]).strip())
                line.clear()
            line += rest
            if self._odd is not None:  # the rest would not fix it
                break
            check_length(length, LONGEST_BODY, "answer")
            check_length(len(line), LONGEST_LINE, "line of the stream")
        if self._odd is None and self._finish is None and not self._done:
            raise NoAnswer(End.BROKEN, "the stream broke off")
        return self._whole()

    def _take(self, data: bytes) -> None:
        if data == b"[DONE]":
            self._done = True
            return
        try:
            part = read_json(data, part=True)
            choices, counted = part["choices"], part.get("usage")
            if isinstance(counted, dict):
                self._counted = counted
            if choices:
                self._add(choices[0])
        except (NotJson, LookupError, TypeError, AttributeError):
            self._odd = data
        # A count of the server's own is better than that of the parts.
        if (tokens := tokens_in(self._counted.get("completion_tokens"))) is not None:
            self._usage.completion_tokens = tokens

    def _add(self, choice: dict[str, Any]) -> None:
        delta = choice.get("delta") or {}
        said = [(name, str(delta[name])) for name in _TEXTS if delta.get(name)]
        for name, text in said:
            self._message.setdefault(name, []).append(text)
        if said:
            self._usage.completion_tokens = (self._usage.completion_tokens or 0) + 1
        if isinstance(logprobs := choice.get("logprobs"), dict):
            self._logprobs = [] if self._logprobs is None else self._logprobs
            content = logprobs.get("content")
            self._logprobs.extend(content if isinstance(content, list) else ())
        self._finish = choice.get("finish_reason") or self._finish

    def _whole(self) -> bytes:
        if self._odd is not None:
            return self._odd
        message = {name: "".join(parts) for name, parts in self._message.items()}
        choice = {"message": message, "finish_reason": self._finish}
        if self._logprobs is not None:
            choice["logprobs"] = {"content": self._logprobs}
        usage = {name: self._counted.get(name) for name in ("prompt_tokens", "completion_tokens")}
        return json.dumps({"choices": [choice], "usage": usage}).encode()
