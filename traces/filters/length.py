"""`max_tokens` and `min_tokens`: limits on the tokens of an attempt, as its teacher counted them.

The student's tokenizer may count otherwise: what must fit the student's context is checked before training.

    filters: [{max_tokens: 2048}, {min_tokens: 20}]
"""

from __future__ import annotations

from typing import ClassVar, Literal, NamedTuple

from pydantic import Field

from stillroom.common.records import Attempt
from stillroom.traces.filters.base import Finding, Stateless, filters
from stillroom.traces.trace import Trace

_BYTES_PER_TOKEN = 4  # the rule of thumb that the recorded teacher uses too


class _Count(NamedTuple):
    tokens: int
    said: str


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


def _tokens(attempt: Attempt) -> _Count:
    """The teacher's count and how to say it. A count of 0 beside a text was never made: it is estimated."""
    text = attempt.text + (attempt.reasoning or "")
    if attempt.completion_tokens or not text:
        return _Count(attempt.completion_tokens, f"{attempt.completion_tokens:,}")
    estimate = -(-len(text.encode("utf-8", "replace")) // _BYTES_PER_TOKEN)
    return _Count(estimate, f"about {estimate:,} (estimated, the teacher counted none)")
