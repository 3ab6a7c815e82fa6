"""`finished`, `max_tokens`, `min_tokens`: how an attempt ended, and after how many tokens.

A cut attempt teaches a student to stop in the middle, or never to stop. Tokens are as the teacher counted them; the
student's tokenizer may count otherwise: what must fit the student's context is checked before training.

    filters: [finished, {max_tokens: 2048}, {min_tokens: 20}]
    filters: [{finished: {unknown: keep}}]   # a recording that does not say how its attempts ended
"""

from __future__ import annotations

from typing import ClassVar, Literal, NamedTuple

from pydantic import Field

from stillroom.common.marks import thinking_mark, unclosed_mark
from stillroom.common.records import Attempt
from stillroom.common.text import excerpt
from stillroom.traces.filters.base import Finding, Stateless, filters
from stillroom.traces.trace import Trace

_REASONS = {"length": "truncated", "content_filter": "content_filtered", "unknown": "unknown_end"}
_BYTES_PER_TOKEN = 4  # the rule of thumb that the recorded teacher uses too


@filters.register
class Finished(Stateless):
    """Reasons: truncated, content_filtered, unknown_end, thinking_not_closed, thinking_tag_in_answer, empty."""

    name: Literal["finished"] = "finished"
    unknown: Literal["drop", "keep"] = "drop"
    """What to do where it is not known why an answer ended."""

    def check(self, trace: Trace) -> Finding | None:
        finish = trace.attempt.finish_reason
        if finish != "stop" and not (finish == "unknown" and self.unknown == "keep"):
            detail = f"finish reason {finish!r} after {trace.attempt.completion_tokens:,} tokens"
            return Finding(_REASONS[finish], detail)
        answer = trace.answer
        if not answer:
            if mark := unclosed_mark(trace.attempt.text):
                return Finding("thinking_not_closed", f"{mark} is never closed")
            return Finding("empty", "there is thinking but no answer" if trace.reasoning else "there is no text")
        # A second thinking part would reach the student as text, or end its thinking twice.
        if mark := thinking_mark(answer) or thinking_mark(trace.reasoning or ""):
            return Finding("thinking_tag_in_answer", f"a second {mark}: {excerpt(answer)}")
        return None


@filters.register
class MaxTokens(Stateless):
    """At most `limit` completion tokens. Reason: too_long."""

    name: Literal["max_tokens"] = "max_tokens"
    short: ClassVar[str | None] = "limit"
    limit: int = Field(ge=1)
    """Completion tokens at most."""

    def check(self, trace: Trace) -> Finding | None:
        count, said = _tokens(trace.attempt)
        return Finding("too_long", f"{said} tokens, the limit is {self.limit:,}") if count > self.limit else None


@filters.register
class MinTokens(Stateless):
    """At least `limit` completion tokens. Reason: too_short."""

    name: Literal["min_tokens"] = "min_tokens"
    short: ClassVar[str | None] = "limit"
    limit: int = Field(ge=1)
    """Completion tokens at least."""

    def check(self, trace: Trace) -> Finding | None:
        count, said = _tokens(trace.attempt)
        return Finding("too_short", f"{said} tokens, the least is {self.limit:,}") if count < self.limit else None


class _Count(NamedTuple):
    tokens: int
    said: str


def _tokens(attempt: Attempt) -> _Count:
    """The teacher's count and how to say it. A count of 0 for a text was never made: it is estimated."""
    text = attempt.text + (attempt.reasoning or "")
    if attempt.completion_tokens or not text:
        return _Count(attempt.completion_tokens, f"{attempt.completion_tokens:,}")
    estimate = -(-len(text.encode("utf-8", "replace")) // _BYTES_PER_TOKEN)
    return _Count(estimate, f"about {estimate:,} (estimated, the teacher counted none)")
