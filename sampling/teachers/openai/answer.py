"""Reads the answer of a chat completion, whole or streamed: what servers send in place of one is told apart, never
guessed at.

Servers differ in what they leave out, so only what an attempt needs is looked at. Without a message there is no
answer. What comes along with it may be missing or nonsense and costs nobody the answer: a reason to end that nobody
knows is `unknown` and comes along as it was said, counts and log-probabilities that cannot be any are absent.

A stream (server-sent events) is put together as if it had come in one piece. While it comes, `usage` counts its
tokens, so that a request that is cancelled still says what it had cost: one a part where the server sends no count
along, which is what servers send at least. A stream that stops before it says why the answer ended is not an answer.
Time and memory are in proportion to what is sent, and a line has an end.

>>> read_answer(b'{"choices": [{"message": {"content": "4"}, "finish_reason": "stop"}]}', Usage()).text
'4'
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from stillroom.common.marks import split_thinking
from stillroom.common.outside import NotJson, logprob_in, read_json, tokens_in
from stillroom.common.records import Completion, FinishReason, TokenChoice, Usage
from stillroom.common.secrets import named
from stillroom.sampling.rate_limit import End
from stillroom.sampling.teachers.endings import Ending, ending_of
from stillroom.sampling.teachers.openai.faults import error_in
from stillroom.sampling.teachers.openai.http import LONGEST_BODY, NoAnswer, Patience, check_length
from stillroom.sampling.teachers.openai.parts import REASONING, read_parts, words_of

if TYPE_CHECKING:
    from aiohttp import StreamReader

# Characters of a body that a message quotes, and of those that are looked at for secrets before it is cut.
_QUOTED, _LOOKED_AT = 120, 65_536
# A part is a few tokens, with the likeliest at each place some kilobytes.
LONGEST_LINE = 8 * 2**20
# Fields of a message with words in them, but for its content.
_SPOKEN = frozenset(REASONING) | {"refusal"}
# Parts that only say that the server is still there.
_BEATS = ("ping", "keepalive", "keep-alive", "heartbeat")
# A part whose data go over several lines is read again with each of them.
LONGEST_HELD = 64 * 2**10


class ErrorInside(Exception):
    """The reply holds an error in the place of an answer, or next to half of one. `error`: as the server wrote it."""

    def __init__(self, error: Any) -> None:
        super().__init__("an error in the place of an answer")
        self.error = error


class _Message(BaseModel):
    model_config = ConfigDict(extra="allow")  # the fields of thinking, whatever stands in them

    content: Any = None
    refusal: Any = None


class _Choice(BaseModel):
    message: _Message
    finish_reason: Any = None
    finishReason: Any = None  # Gemini's, whose finish_reason is null at times
    native_finish_reason: Any = None  # OpenRouter's and LiteLLM's copy of what the server behind them said
    provider_specific_fields: Any = None
    logprobs: Any = None


class _Answer(BaseModel):
    choices: list[_Choice] = Field(min_length=1)
    usage: Any = None


def read_answer(
    body: bytes, usage: Usage, *, choices: bool = False, ends: Mapping[str, FinishReason] | None = None
) -> Completion:
    """The completion of a body. `choices`: whether the likeliest tokens at each place were asked for; `ends`: what
    further words for the end of an answer mean.

    What the server counted goes into `usage`. Completion tokens that it did not count are those of `usage` as it was,
    which a stream has counted by its parts, or 0. Raises NoAnswer for a body that is not a chat completion, and says
    where it is wrong, and how it begins without a secret; and for half an answer at whose end the server failed.
    Raises ErrorInside where an error stands in it.
    """
    try:
        found = read_json(body)
        if (error := error_in(found)) is not None:
            raise ErrorInside(error)
        answer = _Answer.model_validate(found)
    except (NotJson, ValidationError) as error:
        why = f"the body is not JSON: {error}"
        if isinstance(error, ValidationError):
            first = error.errors(include_url=False, include_input=False)[0]
            why = f"{'.'.join(map(str, first['loc'])) or 'the body'}: {first['msg']}"
        beginning = named(body[:_LOOKED_AT].decode("utf-8", "replace"))[:_QUOTED]
        raise NoAnswer(End.BROKEN, f"no chat completion: {why}; it begins {beginning!r}") from None
    choice, counted = answer.choices[0], answer.usage if isinstance(answer.usage, dict) else {}
    end = _ending(choice, ends)
    if end.failed:
        raise NoAnswer(
            End.BROKEN, f"no chat completion: the server gave up on the answer (finish reason {end.raw!r})"
        )

    text, reasoning, odd = _said(choice.message)
    tokens = _tokens(choice.logprobs)
    usage.odd = odd or (tokens is None and (choices or bool(choice.logprobs))) or _odd_counts(answer.usage)
    prompt = tokens_in(counted.get("prompt_tokens")) or None  # no prompt has none
    completed = tokens_in(counted.get("completion_tokens"))
    if text or reasoning:
        completed = completed or None  # no text comes of no tokens
    parts, usage.prompt_tokens, usage.completion_tokens = usage.completion_tokens, prompt, completed
    usage.uncounted = prompt is None or completed is None
    return Completion(
        text=text,
        reasoning=reasoning,
        finish_reason=end.reason,
        prompt_tokens=prompt or 0,
        completion_tokens=(parts or 0) if completed is None else completed,
        logprobs=None if tokens is None else tuple(token.logprob for token in tokens),
        choices=tokens if choices else None,
        ended=end.raw,
    )


_DONE = re.compile(rb"\s*data: ?\[DONE\]\s*$")


def without_done(body: bytes) -> bytes:
    """A body without the end of a stream that some servers put behind a whole reply."""
    return body[: found.start()] if (found := _DONE.search(body, max(0, len(body) - 64))) is not None else body


def looks_streamed(body: bytes) -> bool:
    """Whether a body is server-sent events, whatever type it was sent with."""
    return re.match(rb"(?:\xef\xbb\xbf)?\s{0,64}(?:data: ?[{\[]|event: ?\w|: ?\w)", body) is not None


def _ending(choice: _Choice, ends: Mapping[str, FinishReason] | None) -> Ending:
    """Why it ended. A proxy makes `stop` of a word that it does not know: if the word says that the answer was cut,
    it counts."""
    end = ending_of(choice.finish_reason or choice.finishReason, ends)
    native = choice.native_finish_reason or _native_in(choice.provider_specific_fields)
    if end.reason == "stop" and native is not None:
        behind = ending_of(native, ends)
        return behind if behind.reason in ("length", "content_filter") else end
    return end


def _native_in(fields: Any) -> Any:
    return fields.get("native_finish_reason") if isinstance(fields, dict) else None


class _Said(NamedTuple):
    text: str
    reasoning: str | None
    odd: bool  # it came with thinking that has no words


def _said(message: _Message) -> _Said:
    """What a message says. Raises NoAnswer where its content is something without words."""
    parts = read_parts(message.content)
    if parts is None:
        kind = type(message.content).__name__
        raise NoAnswer(End.BROKEN, f"no chat completion: the content of the message is a {kind} without words")
    text, thoughts = parts.text or words_of(message.refusal), message.model_extra or {}
    thinking = next(filter(None, (words_of(thoughts.get(name)) for name in REASONING)), parts.thinking)
    if thinking:
        return _Said(text.lstrip(), thinking.strip(), odd=False)
    # A thinking part that was cut by the limit may come back as plain content, `<think>` and all: split_thinking
    # keeps it thinking.
    reasoning, text = split_thinking(text)
    return _Said(text, reasoning, odd=any(thoughts.get(name) for name in REASONING))


def _odd_counts(usage: Any) -> bool:
    """Whether counts came that cannot be any. None at all is another matter: they are estimated."""
    names = ("prompt_tokens", "completion_tokens")
    if not isinstance(usage, dict):
        return usage is not None
    return any(usage.get(name) is not None and tokens_in(usage[name]) is None for name in names)


def _tokens(logprobs: Any) -> tuple[TokenChoice, ...] | None:
    """The tokens, each with the likeliest at its place; None where one of them has no log-probability: a sum over the
    others would say something else."""
    content = logprobs.get("content") if isinstance(logprobs, dict) else None
    if not isinstance(content, list):
        return None
    tokens: list[TokenChoice] = []
    for entry in content:
        likely = _likely(entry)
        if likely is None:
            return None
        # The likeliest first: some servers put the token that was drawn before all others.
        top = entry.get("top_logprobs")
        found = filter(None, map(_likely, top if isinstance(top, list) else ()))
        tokens.append(TokenChoice(*likely, tuple(sorted(found, key=lambda likely: -likely[1]))))
    return tuple(tokens)


def _likely(entry: Any) -> tuple[str, float] | None:
    """A token and its log-probability; None where it has none."""
    logprob = logprob_in(entry.get("logprob")) if isinstance(entry, dict) else None
    if logprob is None:
        return None
    token = entry.get("token")
    return token if isinstance(token, str) else "", logprob


class StreamedAnswer:
    """One answer in the making. Parts of an unknown shape are passed on, for the reader of the whole to judge."""

    def __init__(self, usage: Usage) -> None:
        self._usage = usage
        self._message: dict[str, list[str]] = {}
        self._wordless: dict[str, Any] = {}  # by field, the first value without words
        self._index: Any = None  # of the first choice; the others were not asked for
        self._logprobs: list[Any] | None = None
        self._finish: Any = None
        self._native: Any = None
        self._counted: Any = None
        self._line, self._held, self._length = bytearray(), b"", 0
        self._plain = bytearray()  # JSON that does not stream, though it was sent as a stream
        self._odd: bytes | None = None  # what was no part of an answer: an error, mostly
        self._done = self._began = False

    async def read(self, content: StreamReader, patience: Patience) -> bytes:
        """The whole as JSON. Raises NoAnswer when it ends too early or does not end."""
        async for piece in content.iter_any():
            self._feed(piece, patience)
            if self._odd is not None:  # the rest would not fix it
                break
        return self._whole()

    def of(self, body: bytes) -> bytes:
        """The same for a stream that was sent under another content type, and is all there."""
        self._feed(body + b"\n", Patience(None, None))
        return self._whole()

    def _feed(self, piece: bytes, patience: Patience) -> None:
        self._length += len(piece)
        if b"\r" in piece:  # a line may end with CR LF, or with CR alone
            piece = piece.replace(b"\r", b"\n")
        *ends, rest = piece.split(b"\n")
        for end in ends:
            self._line += end
            # Anything but data is a comment, to keep the connection open.
            if self._line.startswith(b"data:") and self._odd is None:
                patience.heard()
                self._take(bytes(self._line[5:]).strip())
            else:
                self._keep_plain()
            self._line.clear()
        self._line += rest
        check_length(self._length, LONGEST_BODY, "answer")
        check_length(len(self._line), LONGEST_LINE, "line of the stream")

    def _keep_plain(self) -> None:
        """Keeps a line of JSON that is outside of all parts."""
        if self._plain or (not self._began and self._line.startswith(b"{")):
            self._plain += self._line + b"\n"

    def _whole(self) -> bytes:
        self._keep_plain()
        if self._plain and not self._began and self._odd is None:
            return bytes(self._plain)
        if self._odd is not None or self._held:
            return self._odd or self._held
        if self._finish is None and not self._done:
            raise NoAnswer(End.BROKEN, "the stream broke off")
        if not self._began:
            raise NoAnswer(End.BROKEN, "no chat completion: the stream held no choice")
        message = self._wordless | {name: "".join(parts) for name, parts in self._message.items()}
        choice = {"message": message, "finish_reason": self._finish, "native_finish_reason": self._native}
        if self._logprobs is not None:
            choice["logprobs"] = {"content": self._logprobs}
        return json.dumps({"choices": [choice], "usage": self._counted}).encode()

    def _take(self, data: bytes) -> None:
        if data == b"[DONE]":
            self._done = True
            return
        if self._held:
            data = self._held + b"\n" + data
        try:
            part = read_json(data, part=True)
        except NotJson:
            # The data of a part may go on in the next line.
            self._held = data
            if len(data) > LONGEST_HELD:
                self._odd = data
            return
        self._held = b""
        if isinstance(part, dict) and part.get("type") in _BEATS:
            return
        try:
            choices, counted = part["choices"], part.get("usage")
            if isinstance(counted, dict):
                self._counted = {name: counted.get(name) for name in ("prompt_tokens", "completion_tokens")}
            elif self._counted is None:
                self._counted = counted
            if error_in(part) is not None:  # next to half an answer
                self._odd = data
            else:
                for choice in choices or ():
                    self._add(choice)
        except (LookupError, TypeError, AttributeError):
            self._odd = data
        # A count of the server's own is better than that of the parts.
        counted = self._counted if isinstance(self._counted, dict) else {}
        if (tokens := tokens_in(counted.get("completion_tokens"))) is not None:
            self._usage.completion_tokens = tokens

    def _add(self, choice: dict[str, Any]) -> None:
        index = choice.get("index", 0)
        if self._began and index != self._index:
            return
        self._began, self._index = True, index
        # Some send a whole message in the only part.
        delta = choice.get("delta" if "delta" in choice or self._message else "message") or {}
        said = self._said(delta)
        for name, words in said.items():
            self._message.setdefault(name, []).append(words)
        if said:
            self._usage.completion_tokens = (self._usage.completion_tokens or 0) + 1
        if isinstance(logprobs := choice.get("logprobs"), dict):
            self._logprobs = [] if self._logprobs is None else self._logprobs
            content = logprobs.get("content")
            self._logprobs.extend(content if isinstance(content, list) else ())
        if (finish := choice.get("finish_reason") or choice.get("finishReason")) is not None:
            self._finish = finish or self._finish
            native = choice.get("native_finish_reason") or _native_in(choice.get("provider_specific_fields"))
            self._native = native or self._native

    def _said(self, delta: dict[str, Any]) -> dict[str, str]:
        """The words of a part, by field. What came without any is kept for the reader of the whole."""
        said = {name: words_of(value) for name, value in delta.items() if value and name in _SPOKEN}
        for name in [name for name, words in said.items() if not words]:
            del said[name]
            self._wordless.setdefault(name, delta[name])
        content = delta.get("content")
        if isinstance(content, str):
            if content:
                said["content"] = content
        elif content is not None:
            parts = read_parts(content)
            if parts is None:
                self._wordless.setdefault("content", content)
                return said
            if parts.text:
                said["content"] = parts.text
            # Thinking among the parts of the content is the only copy of it, where there is one.
            if parts.thinking:
                said.setdefault(REASONING[0], parts.thinking)
        return said
