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
    """How candidates become pairs. What each strategy does is said in `preferences/strategies.py`.

    `quantile`: of the judge's own gaps, for `margin_quantile`. `margin`: the least gap, in points of the judge's
    scale, for `margin`. `on_policy`: whether both sides or one must be the student's, for `on_policy`. `length`: no
    control; `matched`, the longer side at most `max_ratio` times the shorter, in characters; or `residual`, scores
    from which what length explains was taken. `per_task`: pairs of one task at most, for the two margin strategies
    (the others make one). `test`: pairs that are held out, by prompt: a number, or a share between 0 and 1.
    """

    strategy: Strategy = "best_worst"
    quantile: float = Field(default=0.5, ge=0, lt=1)
    margin: float | None = Field(default=None, gt=0)
    on_policy: Literal["both", "one"] = "both"
    length: LengthControl = "none"
    max_ratio: float = Field(default=1.25, ge=1)
    per_task: int = Field(default=4, ge=1)
    test: Annotated[int, Field(ge=0, strict=True)] | Annotated[float, Field(gt=0, lt=1, strict=True)] = 0

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

    Shares are of pairs, but `judge_failures` of candidates and `judge_ties` of tasks. `near_similarity` and
    `leak_similarity`: Jaccard similarity of word triples from which two texts count as nearly the same.
    `length_effect`: difference of the mean lengths in standard deviations, either way. `longer_chosen`: share in
    which the longer side is chosen (its mirror image, the shorter side, has the same limit). `off_policy`: share of
    pairs with no side of the student. `both_roles`: share of pairs of which a side is chosen here and rejected there.
    `label_noise`: expected share of wrong labels. `examples`: ids listed for a finding.
    """

    near_similarity: float = Field(default=0.9, gt=0, le=1)
    near_identical: Share = 0.05
    judge_ties: Share = 0.3
    judge_failures: Share = 0.05
    length_effect: float = Field(default=0.3, ge=0)
    longer_chosen: float = Field(default=0.65, ge=0.5, le=1)
    off_policy: Share = 0.5
    repeated_prompts: Share = 0.75
    both_roles: Share = 0.2
    refusals_chosen: Share = 0.02
    leak_similarity: float = Field(default=0.8, gt=0, le=1)
    label_noise: Share = 0.25
    examples: int = Field(default=5, ge=0)
