"""What a recipe may say about its pairs and their audit: `pairs:` and `audit:` in the YAML.

    pairs: {strategy: best_worst, length: matched, max_ratio: 1.25, test: 0.1}
    audit: {judge_failures: 0.1}

An unknown key, a wrong type and a setting that the strategy would not look at are refused.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from stillroom.common.settings import Settings

Strategy = Literal["best_worst", "best_sigma", "margin_quantile", "margin", "on_policy", "tournament"]
LengthControl = Literal["none", "matched", "residual"]

Share = Annotated[float, Field(ge=0, le=1)]


class PairSettings(Settings):
    """How candidates become pairs. What each strategy does is said in `preferences/strategies.py`."""

    strategy: Strategy = "best_worst"
    """Which answers of a task meet in a pair."""
    quantile: float = Field(default=0.5, ge=0, lt=1)
    """For `margin_quantile`: the quantile of the judge's own gaps from which a pair is taken."""
    margin: float | None = Field(default=None, gt=0)
    """For `margin`: least gap, in points of the judge's scale."""
    on_policy: Literal["both", "one"] = "both"
    """For `on_policy`: whether both sides or one must be the student's."""
    length: LengthControl = "none"
    """Length control: none; `matched` bounds the ratio of lengths; `residual` takes out of the scores what length
    explains."""
    max_ratio: float = Field(default=1.25, ge=1)
    """For `matched`: longer side over shorter side at most, in characters."""
    per_task: int = Field(default=4, ge=1)
    """Pairs of one task at most, for the two margin strategies (the others make one)."""
    test: Annotated[int, Field(ge=0, strict=True)] | Annotated[float, Field(gt=0, lt=1, strict=True)] = 0
    """Held-out pairs, by prompt: a number, or a share between 0 and 1."""

    @model_validator(mode="after")
    def _fits_together(self) -> PairSettings:
        if (self.margin is None) is (self.strategy == "margin"):
            raise ValueError("margin is the least gap of the strategy margin: give both, or neither")
        for name, strategy in (("quantile", "margin_quantile"), ("on_policy", "on_policy")):
            if self.strategy != strategy and getattr(self, name) != type(self).model_fields[name].default:
                raise ValueError(
                    f"{name} is for the strategy {strategy}, not for {self.strategy}: drop one of the two"
                )
        if self.strategy == "tournament" and self.length == "residual":
            raise ValueError("a tournament gives no scores to take the length out of: choose length: matched or none")
        return self


class AuditSettings(Settings):
    """Limits of the audit's warnings; what is broken is refused whatever they say.

    Shares are of pairs where nothing else is said.
    """

    near_similarity: float = Field(default=0.9, gt=0, le=1)
    """Jaccard similarity of word triples from which two sides count as nearly the same."""
    near_identical: Share = 0.05
    """Share of pairs whose sides are nearly the same."""
    judge_ties: Share = 0.3
    """Share of tasks that give no pair because all scores are equal."""
    judge_failures: Share = 0.05
    """Share of candidates that the judge failed on."""
    length_effect: float = Field(default=0.3, ge=0)
    """Difference of the mean lengths in standard deviations, either way."""
    longer_chosen: float = Field(default=0.65, ge=0.5, le=1)
    """Share of pairs in which the longer side is chosen; the shorter has the same limit."""
    off_policy: Share = 0.5
    """Share of pairs with no side of the student."""
    repeated_prompts: Share = 0.75
    """Share of pairs whose prompt an earlier pair has."""
    both_roles: Share = 0.2
    """Share of pairs with a side that is chosen in one pair and rejected in another."""
    refusals_chosen: Share = 0.02
    """Share of pairs whose chosen side is a refusal."""
    leak_similarity: float = Field(default=0.8, gt=0, le=1)
    """Jaccard similarity of word triples from which a prompt counts as one of the held-out ones."""
    label_noise: Share = 0.25
    """Expected share of wrong labels."""
    examples: int = Field(default=5, ge=0)
    """Ids listed for a finding."""
