"""`on_policy:` of the method `distil`: how much of a training is on the student's own answers, and towards what.

    on_policy: {share: 0.5, objective: reverse_kl, refresh: 1, sampling: {temperature: 1, max_tokens: 256}, keep: all}

Of the rows that are drawn for a step, a share is replaced by the student's own answer to that row's prompt, on which
it learns the teacher's distribution. It refuses the cross-entropy there, which would only make the student surer of
whatever it said, and an estimate from samples where the samples are not the student's distribution.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from stillroom.common.records import SamplingParams
from stillroom.common.settings import Settings
from stillroom.students.whitebox.objectives import AnyObjective, ReverseKl

Keep = Literal["all", "accepted", "rejected"]


class RolloutSampling(Settings):
    """How the student samples its answers. Temperatures of objectives are theirs."""

    temperature: float = Field(default=1.0, ge=0, le=5)
    """0 is greedy."""
    top_p: float = Field(default=1.0, gt=0, le=1)
    """Sample from the most likely tokens that add up to this probability."""
    max_tokens: int = Field(default=256, ge=1)
    """Longest answer, in tokens; one that is cut off is learned from up to there."""

    def params(self) -> SamplingParams:
        """As teachers take them."""
        return SamplingParams(temperature=self.temperature, top_p=self.top_p, max_tokens=self.max_tokens)


class OrItsName:
    """Of a field: its schema takes a name as well. (That of a kind takes the place of what a validator says.)"""

    def __get_pydantic_json_schema__(self, schema: Any, handler: Any) -> dict[str, Any]:
        return {"anyOf": [handler(schema), {"type": "string"}]}


def _by_name(value: Any) -> Any:
    """`objective: jsd` reads as `{kind: jsd}`."""
    return {"kind": value} if isinstance(value, str) else value


class OnPolicy(Settings):
    """Training on the student's own answers."""

    share: float = Field(default=0.5, gt=0, le=1)
    """Of the rows drawn for a step, how many are replaced by the student's own answer to their prompt."""
    objective: Annotated[AnyObjective, BeforeValidator(_by_name), OrItsName()] = ReverseKl()
    """What the student learns on its answers."""
    refresh: int = Field(default=1, ge=1)
    """Steps of the optimiser between two samplings; above 1 the later answers are those of an earlier student."""
    sampling: RolloutSampling = RolloutSampling()
    """How the student samples."""
    keep: Keep = "all"
    """Which answers are learned from, by the verdict of the recipe's scorer."""

    @model_validator(mode="after")
    def _of_own_samples(self) -> OnPolicy:
        if self.objective.learns_from == "labels":
            raise ValueError(
                f"on_policy.objective is {self.objective.kind}: the cross-entropy with its own samples would make "
                "the student surer of whatever it said; give one that looks at a teacher, such as reverse_kl"
            )
        sampling = self.sampling
        if self.objective.own_samples_only and (sampling.temperature, sampling.top_p) != (1, 1):
            raise ValueError(
                f"{self.objective.kind} needs samples of the student's whole distribution, and on_policy.sampling "
                f"has temperature {sampling.temperature:g} and top_p {sampling.top_p:g}: set both to 1, or take "
                "reverse_kl"
            )
        return self


def is_replaced(drawn: int, share: float) -> bool:
    """Whether the row that was drawn after `drawn` others is replaced: spread evenly, `share` of all in the end. The
    rows themselves come in an order of chance."""
    return int((drawn + 1) * share + 1e-9) > int(drawn * share + 1e-9)
