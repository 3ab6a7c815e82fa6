"""What a run may cost: prices, and limits that stop it cleanly.

>>> Prices(prompt=0.5, completion=2.0).of(1_000_000, 500_000)
1.5
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from stillroom.sampling.counts import Counts


class Prices(BaseModel):
    """US dollars for a million tokens of the teacher."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    prompt: float = Field(default=0.0, ge=0)
    completion: float = Field(ge=0)

    def of(self, prompt_tokens: int, completion_tokens: int) -> float:
        """US dollars for so many tokens."""
        return (self.prompt * prompt_tokens + self.completion * completion_tokens) / 1e6

    def usd(self, counts: Counts) -> float:
        """US dollars for what a sampling run has used, what was cancelled included."""
        return self.of(counts.prompt_tokens, counts.completion_tokens + counts.cancelled_tokens)


class Limits(BaseModel):
    """Totals for one call of a run; null: no limit. At a limit no more is drawn, what is in flight is answered and
    kept, and the run ends saying so; the same command with a higher limit goes on.

    `tokens`: prompt and completion tokens. `usd` needs prices. `minutes`: of sampling.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    tokens: int | None = Field(default=None, ge=1)
    usd: float | None = Field(default=None, gt=0)
    minutes: float | None = Field(default=None, gt=0)

    def reached(self, counts: Counts, prices: Prices | None) -> str:
        """Which limit is reached, in words; empty if none."""
        used = counts.prompt_tokens + counts.completion_tokens + counts.cancelled_tokens
        if self.tokens is not None and used >= self.tokens:
            return f"{used:,} tokens used, limits.tokens is {self.tokens:,}"
        usd = prices.usd(counts) if prices is not None else 0.0
        if self.usd is not None and usd >= self.usd:
            return f"${usd:,.4f} spent, limits.usd is ${self.usd:,.4f}"
        if self.minutes is not None and counts.elapsed_s >= 60 * self.minutes:
            return f"{counts.elapsed_s / 60:.1f} minutes used, limits.minutes is {self.minutes:g}"
        return ""
