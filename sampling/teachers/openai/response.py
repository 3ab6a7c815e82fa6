"""Reads the body of a chat completion: what servers send in place of one is told apart, never guessed at.

Servers differ in what they leave out, so only what an attempt needs is looked at. Without a message there is no
answer, and the body is Unreadable. What comes along with it may be missing or nonsense and costs nobody the answer:
a reason to end that nobody knows is `unknown`, counts and log-probabilities that cannot be any are absent.

>>> read_answer(b'{"choices": [{"message": {"content": "4"}, "finish_reason": "stop"}]}').completion.text
'4'
"""

from __future__ import annotations

from typing import Any, NamedTuple

from pydantic import BaseModel, Field, ValidationError

from stillroom.common.marks import Split, split_thinking
from stillroom.common.outside import NotJson, logprob_in, read_json, tokens_in
from stillroom.common.records import Completion, FinishReason, TokenChoice
from stillroom.common.secrets import named

_FINISH: dict[str, FinishReason] = {"stop": "stop", "length": "length", "content_filter": "content_filter"}
# Characters of a body that a message quotes, and of those that are looked at for secrets before it is cut.
_QUOTED, _LOOKED_AT = 120, 65_536


class Unreadable(ValueError):
    """The body is not a chat completion. Says where it is wrong, and how it begins without a secret."""


class Read(NamedTuple):
    """A completion, and what the server counted of it: None for what it did not, which is 0 in the completion."""

    completion: Completion
    prompt_tokens: int | None
    completion_tokens: int | None


class _Message(BaseModel):
    content: str | None = None
    refusal: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None


class _Choice(BaseModel):
    message: _Message
    finish_reason: Any = None
    logprobs: Any = None


class _Answer(BaseModel):
    choices: list[_Choice] = Field(min_length=1)
    usage: Any = None


def read_answer(body: bytes, *, choices: bool = False) -> Read:
    """The completion of a body. `choices`: whether the likeliest tokens at each place were asked for.

    Raises Unreadable.
    """
    answer = _answer(body)
    choice, usage = answer.choices[0], answer.usage if isinstance(answer.usage, dict) else {}
    reasoning, text = _split(choice.message)
    tokens = _tokens(choice.logprobs)
    prompt, completed = tokens_in(usage.get("prompt_tokens")), tokens_in(usage.get("completion_tokens"))
    if text or reasoning:
        completed = completed or None  # no text comes of no tokens
    completion = Completion(
        text=text,
        reasoning=reasoning,
        finish_reason=_FINISH.get(str(choice.finish_reason), "unknown"),
        prompt_tokens=prompt or 0,
        completion_tokens=completed or 0,
        logprobs=None if tokens is None else tuple(token.logprob for token in tokens),
        choices=tokens if choices else None,
    )
    return Read(completion, prompt or None, completed)  # nor is there a prompt of none


def _answer(body: bytes) -> _Answer:
    try:
        return _Answer.model_validate(read_json(body))
    except NotJson as error:
        raise Unreadable(f"the body is not JSON: {error}; {_beginning(body)}") from None
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"])) or "the body"
        raise Unreadable(f"{where}: {first['msg']}; {_beginning(body)}") from None


def _beginning(body: bytes) -> str:
    return f"it begins {named(body[:_LOOKED_AT].decode('utf-8', 'replace'))[:_QUOTED]!r}"


def _split(message: _Message) -> Split:
    """The thinking part and the answer. One that was cut by the limit may come back as plain content, `<think>` and
    all: split_thinking keeps it thinking."""
    text = message.content or message.refusal or ""
    reasoning = message.reasoning_content or message.reasoning
    return Split(reasoning.strip(), text.lstrip()) if reasoning else split_thinking(text)


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
