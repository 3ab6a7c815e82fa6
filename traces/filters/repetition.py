"""`no_repetition`: a model that has run into a loop.

Two signs. **Loops**: the same unit of up to 64 tokens again and again without anything between. A unit with a word in
it is a loop from `repeats` times and `loop_tokens` tokens on; one of numbers and signs alone (1 + 1 + 1 …, rows of a
table, a periodic fraction) only from `number_tokens` on, for arithmetic does repeat itself. **Phrases**: in a trace
of at least `min_tokens`, the share of its runs of six tokens that stood there before, which also finds loops with a
running number in them.

    filters: [no_repetition]
    filters: [{no_repetition: {share: 0.4}}]

The shares of repeated phrases are those of Rae et al. 2021 (Gopher), table A1, https://arxiv.org/abs/2112.11446, in
idea only: its limits are made for web pages and would drop sound arithmetic. Ours are in docs/filters.md.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal, NamedTuple

from pydantic import Field

from stillroom.common.text import excerpt
from stillroom.traces.filters.base import Finding, Stateless, filters
from stillroom.traces.trace import Trace

MAX_UNIT = 64
"""Tokens of the longest unit that is looked for as a loop."""
RUN = 6
"""Tokens of a phrase."""
MIN_RUNS = 50
"""Phrases with a word in them from which a share says something: formulas alone do repeat their parts."""
MAX_TOKENS = 200_000
"""Tokens that are looked at: a longer text is cut, which hides no loop that is not also in its beginning."""

# Digits one by one, so that a periodic fraction is seen as what it is; a LaTeX command is a sign, not a word.
_TOKEN = re.compile(r"\\(?:begin|end)\{\w+\*?\}|\\[a-z]+|\d|[^\W\d_]+|[^\w\s]|_")


class _Loop(NamedTuple):
    start: int
    unit: int
    length: int


@filters.register
class NoRepetition(Stateless):
    """No loops. Reasons: loop, repeated_phrases. Lengths are in tokens: words, digits, signs."""

    name: Literal["no_repetition"] = "no_repetition"
    repeats: int = Field(default=4, ge=2)
    """Repetitions in a row from which a unit with a word in it is a loop."""
    loop_tokens: int = Field(default=24, ge=2)
    """And tokens that these must fill."""
    number_tokens: int = Field(default=256, ge=2)
    """Tokens that repeated numbers and signs must fill, since arithmetic does repeat itself."""
    share: float = Field(default=0.5, gt=0, le=1)
    """Share of phrases of six tokens that may have occurred before."""
    min_tokens: int = Field(default=200, ge=1)
    """Tokens from which a trace's phrases are looked at."""

    def check(self, trace: Trace) -> Finding | None:
        words = _TOKEN.findall(_without_drawings(trace.full_text.casefold()))[:MAX_TOKENS]
        for loop in _loops(words, self.repeats):
            unit = words[loop.start : loop.start + loop.unit]
            if loop.length >= (self.loop_tokens if _has_word(unit) else self.number_tokens):
                times = loop.length // loop.unit
                return Finding("loop", f"{times} times in a row: {excerpt(' '.join(unit))}")
        runs = [tuple(words[i : i + RUN]) for i in range(len(words) - RUN + 1)]
        worded = [run for run in runs if _has_word(run)]
        if len(words) < self.min_tokens or len(worded) < MIN_RUNS:
            return None
        share = 1 - len(set(worded)) / len(worded)
        if share <= self.share:
            return None
        return Finding(
            "repeated_phrases", f"{share:.0%} of its phrases stood there before, the limit is {self.share:.0%}"
        )


def _without_drawings(text: str) -> str:
    """Without Asymptote, as the solutions of MATH have it: it says the same command for every line it draws."""
    kept, position = [], 0
    while (start := text.find("[asy]", position)) >= 0 and (end := text.find("[/asy]", start)) >= 0:
        kept.append(text[position:start])
        position = end + len("[/asy]")
    return "".join([*kept, text[position:]])


def _has_word(unit: Sequence[str]) -> bool:
    return any(len(token) > 1 and token.isalpha() for token in unit)


def _loops(words: list[str], repeats: int) -> list[_Loop]:
    """For each unit length, the longest stretch that repeats with that period at least `repeats` times."""
    import numpy as np

    numbers: dict[str, int] = {}
    ids = np.array([numbers.setdefault(word, len(numbers)) for word in words], dtype=np.int32)
    found: list[_Loop] = []
    for unit in range(1, min(MAX_UNIT, len(words) // repeats) + 1):
        same = np.flatnonzero(ids[unit:] != ids[:-unit])
        # Between two differences everything equals what stood one unit before.
        edges = np.concatenate(([-1], same, [len(ids) - unit]))
        gaps = np.diff(edges) - 1
        longest = int(gaps.argmax())
        length = int(gaps[longest]) + unit
        if length >= unit * repeats:
            found.append(_Loop(int(edges[longest]) + 1, unit, length))
    return found
