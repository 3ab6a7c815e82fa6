"""What a recipe says of its judge, by kind. Made into a judge by the factory.

>>> StyleJudgeSettings(kind="style").kind
'style'

    judge: {kind: llm, rubric: helpfulness, teacher: {kind: openai, model: Qwen/Qwen3-32B, base_url: "http://…/v1"}}
    judge: {kind: jury, how: majority, members: [{kind: llm, …}, {kind: llm, …}, {kind: llm, …}]}
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from stillroom.sampling.teachers.settings import TeacherSettings

Name = Annotated[str, Field(min_length=1)]


class _Settings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class LlmJudgeSettings(_Settings):
    """A model that judges by a rubric (the name of a shipped one, or a file).

    `mode`: `pointwise` rates each candidate, `pairwise` compares two, `tournament` finds the best and the worst by
    comparisons. `logprobs`: pointwise scores are expected values where the teacher gives log-probabilities.
    `structured`: verdicts as JSON by schema where the server knows that. `reasons`: reasons before the verdict; null:
    where no probabilities are read. `accept`: the least score that is accepted; null: every score. `both_orders`:
    false shows each pair once, at half the cost.
    """

    kind: Literal["llm"]
    teacher: TeacherSettings
    rubric: Name = "helpfulness"
    mode: Literal["pointwise", "pairwise", "tournament"] = "pointwise"
    logprobs: bool = True
    structured: bool = False
    reasons: bool | None = None
    accept: float | None = None
    both_orders: bool = True

    @model_validator(mode="after")
    def _fits(self) -> LlmJudgeSettings:
        if self.accept is not None and self.mode != "pointwise":
            raise ValueError(f"accept is about scores, and mode is {self.mode}: leave one out")
        if not self.both_orders and self.mode == "pointwise":
            raise ValueError("both_orders is about comparisons, and mode is pointwise: leave it out")
        return self


class RecordedJudgeSettings(_Settings):
    """Replays the judgements of `judge`, asked by `method`, from the file `path`. `pairs`: the file of the labelled
    pairs that it judged."""

    kind: Literal["recorded"]
    path: Name
    judge: Name
    method: Name
    pairs: Name


class StyleJudgeSettings(_Settings):
    """A house style by rules, without a model. `weights`: by rule, in the place of the shipped ones; 0 turns one
    off."""

    kind: Literal["style"]
    weights: dict[str, float] = {}


class ReadabilityJudgeSettings(_Settings):
    """A readability formula, without a model."""

    kind: Literal["readability"]


class ReferenceJudgeSettings(_Settings):
    """Overlap with the task's reference answer (chrF), without a model."""

    kind: Literal["reference"]


class ScriptedJudgeSettings(_Settings):
    """A fake with known faults, for trying out everything around a judge. `quality`: what it takes for the truth:
    `longer` or `shorter` answers, or nothing that can be seen (`random`). The widths are in points of its scale, 1 to
    5; see `Noise` in `scripted.py`."""

    kind: Literal["scripted"]
    quality: Literal["longer", "shorter", "random"] = "random"
    mode: Literal["pointwise", "pairwise", "tournament"] = "pointwise"
    seed: int = Field(default=0, ge=0, lt=2**31)
    error: float = Field(default=0.5, ge=0)
    spread: float = Field(default=0.7, ge=0)
    position_bias: float = 0.0
    tie_width: float = Field(default=0.0, ge=0)
    failures: float = Field(default=0.0, ge=0, le=1)
    expected: bool = True


JuryMember = Annotated[
    LlmJudgeSettings
    | RecordedJudgeSettings
    | StyleJudgeSettings
    | ReadabilityJudgeSettings
    | ReferenceJudgeSettings
    | ScriptedJudgeSettings,
    Field(discriminator="kind"),
]


class JurySettings(_Settings):
    """Several judges as one. `how`: the mean of their scores, or what the majority says."""

    kind: Literal["jury"]
    members: Annotated[tuple[JuryMember, ...], Field(min_length=2)]
    how: Literal["mean", "majority"] = "mean"


JudgeSettings = Annotated[
    LlmJudgeSettings
    | RecordedJudgeSettings
    | StyleJudgeSettings
    | ReadabilityJudgeSettings
    | ReferenceJudgeSettings
    | ScriptedJudgeSettings
    | JurySettings,
    Field(discriminator="kind"),
]
