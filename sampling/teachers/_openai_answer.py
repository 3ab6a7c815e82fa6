"""Reads the body of a chat completion: what servers send in place of one is told apart, never guessed at.

Servers differ in what they leave out, so only what an attempt needs is looked at: the first choice's message, why it
ended, log-probabilities and usage. Anything else in the body is ignored; anything of these in a wrong shape makes the
whole body unreadable.

>>> read_answer(b'{"choices": [{"message": {"content": "4"}, "finish_reason": "stop"}]}').text
'4'
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from pydantic import BaseModel, Field, ValidationError

from stillroom.sampling.records import Completion, FinishReason, TokenChoice
from stillroom.sampling.thinking import Split, split_thinking

_FINISH: dict[str, FinishReason] = {"stop": "stop", "length": "length", "content_filter": "content_filter"}
_Tokens = Annotated[int | None, Field(ge=0)]


class Unreadable(ValueError):
    """The body is no chat completion. Says where it is wrong, and what the server says of it; not the whole body."""


class _Message(BaseModel):
    content: str | None = None
    refusal: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None


class _Likely(BaseModel):
    token: str = ""
    logprob: float


class _Token(_Likely):
    top_logprobs: list[_Likely] | None = None


class _Logprobs(BaseModel):
    content: list[_Token] | None = None


class _Choice(BaseModel):
    message: _Message
    finish_reason: str | None = None
    logprobs: _Logprobs | None = None


class _Usage(BaseModel):
    prompt_tokens: _Tokens = None
    completion_tokens: _Tokens = None


class _Answer(BaseModel):
    choices: list[_Choice] = Field(min_length=1)
    usage: _Usage | None = None


def read_answer(body: bytes, *, choices: bool = False) -> Completion:
    """The completion of a body; tokens that the server did not count are 0. `choices`: whether they were asked for.

    Raises Unreadable.
    """
    try:
        answer = _Answer.model_validate_json(body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"])) or "the body"
        raise Unreadable(f"{where}: {first['msg']}; it begins {body[:120].decode('utf-8', 'replace')!r}") from None
    choice, usage = answer.choices[0], answer.usage or _Usage()
    reasoning, text = _split(choice.message)
    return Completion(
        text=text,
        reasoning=reasoning,
        finish_reason=_FINISH.get(choice.finish_reason or "", "unknown"),
        prompt_tokens=usage.prompt_tokens or 0,
        completion_tokens=usage.completion_tokens or 0,
        logprobs=_logprobs(choice.logprobs),
        choices=_choices(choice.logprobs) if choices else None,
    )


def _split(message: _Message) -> Split:
    """The thinking part and the answer. One that was cut by the limit may come back as plain content, `<think>` and
    all: split_thinking keeps it thinking."""
    text = message.content or message.refusal or ""
    reasoning = message.reasoning_content or message.reasoning
    return Split(reasoning.strip(), text.lstrip()) if reasoning else split_thinking(text)


def _logprobs(found: _Logprobs | None) -> tuple[float, ...] | None:
    if found is None or found.content is None:
        return None
    return tuple(token.logprob for token in found.content)


def _choices(found: _Logprobs | None) -> tuple[TokenChoice, ...] | None:
    if found is None or found.content is None:
        return None
    return tuple(TokenChoice(token.token, token.logprob, _top(token.top_logprobs or ())) for token in found.content)


def _top(likely: Sequence[_Likely]) -> tuple[tuple[str, float], ...]:
    """The likeliest first: some servers put the token that was drawn before all others."""
    return tuple((other.token, other.logprob) for other in sorted(likely, key=lambda other: -other.logprob))
