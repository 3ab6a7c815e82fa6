"""`not_refused`: answers that decline to answer.

Only the beginning of the answer is looked at, and only for whole phrases of refusal: in mathematics "cannot" is an
everyday word ("we cannot divide by zero", "it cannot be determined").

    filters: [not_refused]
    filters: [{not_refused: {phrases: ["Request declined"]}}]
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import ClassVar, Literal

from stillroom.sampling.records import Task
from stillroom.traces.filters.base import Check, Finding, Settings
from stillroom.traces.filters.words import excerpt
from stillroom.traces.traces import Trace

OPENING = 240
"""Characters at the beginning of the answer in which a refusal is looked for."""

_CANNOT = r"(?:can\s?not|can't|won't|will not|am unable to|am not able to|must decline to|have to decline to)"
_DECLINED = (
    r"(?:help|assist|comply|fulfil+|answer (?:that|this|your|the)|respond|provide (?:an?|the|that|this|any)"
    r"|do (?:that|this)|discuss|engage|continue with|support|participate)"
)
_REFUSAL = re.compile(
    rf"\bas an? (?:ai|artificial intelligence|(?:large )?language model)\b"
    rf"(?: (?:language )?(?:model|assistant))?,? (?:i|my)\b"
    rf"|\bi(?:'m| am) (?:just |only )?an? (?:ai|language model)\b"
    rf"|\bi {_CANNOT} {_DECLINED}\b"
    rf"|\b(?:sorry|apologi[sz]e)\b[^.\n]{{0,40}}\bi {_CANNOT}\b"
    rf"|\bi(?:'m| am) sorry,? (?:but )?(?:this|that) (?:request|question) (?:violates|goes against)\b"
    rf"|\bi(?:'d| would) (?:rather|prefer) not (?:to )?(?:answer|help|discuss|say)\b",
)


class NotRefused(Settings):
    """Reason: refused. `phrases`: further phrases that are a refusal where an answer begins with them."""

    name: Literal["not_refused"] = "not_refused"
    short: ClassVar[str | None] = "phrases"
    phrases: tuple[str, ...] = ()

    def start(self, test: Sequence[Task]) -> Check:
        """A check without state."""
        return self._check

    def _check(self, trace: Trace) -> Finding | None:
        opening = " ".join(trace.answer[:OPENING].replace("’", "'").casefold().split())
        if _REFUSAL.search(opening) or any(opening.startswith(phrase.casefold()) for phrase in self.phrases):
            return Finding("refused", excerpt(trace.answer))
        return None
