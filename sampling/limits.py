"""What a run may cost: prices, and limits that stop it cleanly.

>>> Prices(prompt=0.5, completion=2.0).of(1_000_000, 500_000)
1.5
"""

from __future__ import annotations

from pydantic import Field

from stillroom.common.formatting import money
from stillroom.common.settings import Settings
from stillroom.sampling.counts import Counts


class Prices(Settings):
    """Prices of a million tokens."""

    prompt: float = Field(default=0.0, ge=0)
    """US dollars for a million prompt tokens."""
    completion: float = Field(ge=0)
    """US dollars for a million completion tokens."""

    def of(self, prompt_tokens: int, completion_tokens: int) -> float:
        """US dollars for these tokens."""
        return (self.prompt * prompt_tokens + self.completion * completion_tokens) / 1e6

    def usd(self, counts: Counts) -> float:
        """US dollars for what a sampling run has used, what was cancelled included."""
        return self.of(counts.prompt_tokens, counts.completion_tokens + counts.cancelled_tokens)


class Limits(Settings):
    """Totals for one call of a run. At a limit no more is drawn, what is in flight is answered and kept, and the run
    ends saying so; the same command with a higher limit goes on."""

    tokens: int | None = Field(default=None, ge=1)
    """Prompt and completion tokens, estimated where a server does not count them; null: no limit."""
    usd: float | None = Field(default=None, gt=0)
    """US dollars; needs prices; null: no limit."""
    minutes: float | None = Field(default=None, gt=0)
    """Minutes since sampling began; null: no limit."""


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
        self._watched: list[tuple[Counts, Prices | None]] = []

    def watch(self, counts: Counts, prices: Prices | None) -> Counts:
        """Adds someone to what is summed up; gives `counts` back."""
        self._watched.append((counts, prices))
        return counts

    def reached(self) -> str:
        """Which limit is reached, in words; empty if none."""
        limits, used = self._limits, sum(counts.tokens for counts, _ in self._watched)
        about = "about " if self.estimated else ""
        if limits.tokens is not None and used >= limits.tokens:
            return f"{about}{used:,} tokens used, limits.tokens is {limits.tokens:,}"
        if limits.usd is not None and (usd := self.usd()) >= limits.usd:
            return f"{about}{money(usd)} spent, limits.usd is {money(limits.usd)}"
        minutes = max((counts.elapsed_s for counts, _ in self._watched), default=0.0) / 60
        if limits.minutes is not None and minutes >= limits.minutes:
            return f"{minutes:.1f} minutes used, limits.minutes is {limits.minutes:g}"
        return ""

    @property
    def estimated(self) -> int:
        """Answers whose tokens nobody counted."""
        return sum(counts.estimated for counts, _ in self._watched)

    def usd(self) -> float:
        """US dollars so far, of those whose prices are known."""
        return sum(prices.usd(counts) for counts, prices in self._watched if prices is not None)
