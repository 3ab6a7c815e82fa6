"""What a run may cost: prices, and limits that stop it cleanly.

>>> Prices(prompt=0.5, completion=2.0).of(1_000_000, 500_000)
1.5
"""

from __future__ import annotations

from typing import NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from stillroom.common.formatting import money
from stillroom.sampling.counts import Counts


class Prices(BaseModel):
    """Prices of a million tokens."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    prompt: float = Field(default=0.0, ge=0)
    """US dollars for a million prompt tokens."""
    completion: float = Field(ge=0)
    """US dollars for a million completion tokens."""

    def of(self, prompt_tokens: int, completion_tokens: int) -> float:
        """US dollars for so many tokens."""
        return (self.prompt * prompt_tokens + self.completion * completion_tokens) / 1e6

    def usd(self, counts: Counts) -> float:
        """US dollars for what a sampling run has used, what was cancelled included."""
        return self.of(counts.prompt_tokens, counts.completion_tokens + counts.cancelled_tokens)


class Limits(BaseModel):
    """Totals for one call of a run. At a limit no more is drawn, what is in flight is answered and kept, and the run
    ends saying so; the same command with a higher limit goes on."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    tokens: int | None = Field(default=None, ge=1)
    """Prompt and completion tokens, estimated where a server does not count them; null: no limit."""
    usd: float | None = Field(default=None, gt=0)
    """US dollars; needs prices; null: no limit."""
    minutes: float | None = Field(default=None, gt=0)
    """Minutes since sampling began; null: no limit."""


class _Watched(NamedTuple):
    counts: Counts
    prices: Prices | None

    @property
    def tokens(self) -> int:
        return self.counts.prompt_tokens + self.counts.completion_tokens + self.counts.cancelled_tokens


class Meter:
    """What one call of a run has spent so far, on teachers and judges together, against its limits.

    >>> meter = Meter(Limits(tokens=100))
    >>> counts = meter.watch(Counts(), None)
    >>> counts.completion_tokens = 120
    >>> meter.reached()
    '120 tokens used, limits.tokens is 100'
    """

    def __init__(self, limits: Limits | None = None) -> None:
        self._limits = limits or Limits()
        self._watched: list[_Watched] = []

    def watch(self, counts: Counts, prices: Prices | None) -> Counts:
        """Adds someone to what is summed up; gives `counts` back."""
        self._watched.append(_Watched(counts, prices))
        return counts

    def reached(self) -> str:
        """Which limit is reached, in words; empty if none."""
        limits, used = self._limits, sum(each.tokens for each in self._watched)
        about = "about " if self.estimated else ""
        if limits.tokens is not None and used >= limits.tokens:
            return f"{about}{used:,} tokens used, limits.tokens is {limits.tokens:,}"
        if limits.usd is not None and (usd := self.usd()) >= limits.usd:
            return f"{about}{money(usd)} spent, limits.usd is {money(limits.usd)}"
        minutes = max((each.counts.elapsed_s for each in self._watched), default=0.0) / 60
        if limits.minutes is not None and minutes >= limits.minutes:
            return f"{minutes:.1f} minutes used, limits.minutes is {limits.minutes:g}"
        return ""

    @property
    def estimated(self) -> int:
        """Answers whose tokens nobody counted."""
        return sum(each.counts.estimated for each in self._watched)

    def usd(self) -> float:
        """US dollars so far, of those whose prices are known."""
        return sum(each.prices.usd(each.counts) for each in self._watched if each.prices is not None)
