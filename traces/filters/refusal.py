"""`not_refused`: answers that decline to answer.

Only the beginning of the answer is looked at, and only for whole phrases of refusal: in mathematics "cannot" is an
everyday word ("we cannot divide by zero", "it cannot be determined").

    filters: [not_refused]
    filters: [{not_refused: {phrases: ["Request declined"]}}]
"""

from __future__ import annotations

from typing import ClassVar, Literal

from stillroom.common.text import excerpt, is_refusal
from stillroom.traces.filters.base import Finding, Stateless, filters
from stillroom.traces.trace import Trace


@filters.register
class NotRefused(Stateless):
    """Reason: refused."""

    name: Literal["not_refused"] = "not_refused"
    short: ClassVar[str | None] = "phrases"
    phrases: tuple[str, ...] = ()
    """Further phrases that are a refusal if an answer begins with them."""

    def check(self, trace: Trace) -> Finding | None:
        return Finding("refused", excerpt(trace.answer)) if is_refusal(trace.answer, self.phrases) else None
