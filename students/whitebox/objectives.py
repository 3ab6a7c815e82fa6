"""What a student can be trained towards, and how much of each: `objectives:` of the method `distil`.

    objectives: [{kind: soft, temperature: 2, weight: 0.7}, {kind: hard, weight: 0.3}, {kind: base_kl, weight: 0.1}]

An objective is a weight and a sum over positions; the trainer adds them up and divides by the tokens of the step.
A new one is a class like those below, in this module or in a plug-in.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, NamedTuple

from pydantic import Field

from stillroom.common.registry import Registry
from stillroom.common.settings import Settings
from stillroom.students.whitebox import divergence

if TYPE_CHECKING:
    from stillroom.students.whitebox.cache.signal import Likeliest

Temperature = Annotated[float, Field(gt=0, le=100)]
Source = Literal["labels", "teacher", "base"]


class Positions(NamedTuple):
    """N positions at which an answer's token is predicted. `student`, `teacher`, `base`: logits (N, V), the last two
    None unless an objective needs them; `labels`: (N,), the token of the row. `kept`: what a cache has of the
    teacher, which is None then."""

    student: Any
    labels: Any
    teacher: Any = None
    base: Any = None
    kept: Likeliest | None = None


class Objective(Settings):
    """What every objective has."""

    learns_from: ClassVar[Source] = "teacher"
    """What it holds the student against."""
    takes_kept: ClassVar[bool] = False
    """Whether the teacher's likeliest tokens and the mass of the others will do, as a cache has them."""
    own_samples_only: ClassVar[bool] = False
    """Whether the tokens have to be the student's own samples."""

    kind: str
    weight: float = Field(default=1.0, gt=0)
    """How much it counts."""

    def summed(self, at: Positions) -> Any:
        """The sum over the positions: a scalar tensor, with the student's gradient."""
        raise NotImplementedError


objectives: Registry[Objective] = Registry("objective", tag="kind", where=("stillroom.students.whitebox.objectives",))
"""Every objective by its name in a recipe."""

AnyObjective = Annotated[Objective, objectives.field()]


@objectives.register
class Hard(Objective):
    """Cross-entropy with the tokens of the rows: what supervised fine-tuning learns."""

    learns_from: ClassVar[Source] = "labels"

    kind: Literal["hard"] = "hard"

    def summed(self, at: Positions) -> Any:
        return divergence.cross_entropy(at.student, at.labels)


@objectives.register
class Soft(Objective):
    """Forward KL from the teacher's distribution (soft labels; Hinton et al. 2015)."""

    takes_kept: ClassVar[bool] = True

    kind: Literal["soft"] = "soft"
    temperature: Temperature = 1.0
    """Of both distributions; the loss and its gradient are multiplied by its square."""
    top_k: int | None = Field(default=None, ge=1)
    """Keep only the teacher's likeliest tokens one by one, all others as one outcome; null: every token."""

    def summed(self, at: Positions) -> Any:
        if at.kept is not None:
            kept = at.kept.top(self.temperature, self.top_k)
            return divergence.top_k_kl(at.student, *kept, temperature=self.temperature)
        if self.top_k is None:
            return divergence.forward_kl(at.student, at.teacher, self.temperature)
        kept = divergence.top_k(at.teacher, min(self.top_k, at.teacher.shape[-1]), self.temperature)
        return divergence.top_k_kl(at.student, *kept, temperature=self.temperature)


@objectives.register
class ReverseKl(Objective):
    """Reverse KL: the student keeps to a part of what the teacher may say, rather than covering all of it."""

    kind: Literal["reverse_kl"] = "reverse_kl"
    temperature: Temperature = 1.0
    """As of `soft`."""

    def summed(self, at: Positions) -> Any:
        return divergence.reverse_kl(at.student, at.teacher, self.temperature)


@objectives.register
class Jsd(Objective):
    """Generalised Jensen-Shannon divergence, between forward and reverse KL."""

    kind: Literal["jsd"] = "jsd"
    beta: float = Field(default=0.5, gt=0, lt=1)
    """Share of the teacher in the mixture: near 0 it is like `soft`, near 1 like `reverse_kl`."""
    temperature: Temperature = 1.0
    """As of `soft`."""

    def summed(self, at: Positions) -> Any:
        return divergence.jsd(at.student, at.teacher, self.beta, self.temperature)


@objectives.register
class SkewKl(Objective):
    """Forward KL to a mixture of teacher and student (DistiLLM)."""

    takes_kept: ClassVar[bool] = True

    kind: Literal["skew_kl"] = "skew_kl"
    alpha: float = Field(default=0.1, gt=0, lt=1)
    """Share of the teacher in the mixture."""
    temperature: Temperature = 1.0
    """As of `soft`."""

    def summed(self, at: Positions) -> Any:
        if at.kept is not None:
            kept = at.kept.top(self.temperature)
            return divergence.top_k_skew_kl(at.student, *kept, alpha=self.alpha, temperature=self.temperature)
        return divergence.skew_kl(at.student, at.teacher, self.alpha, self.temperature)


@objectives.register
class SkewReverseKl(Objective):
    """Reverse KL to a mixture of student and teacher (DistiLLM)."""

    kind: Literal["skew_reverse_kl"] = "skew_reverse_kl"
    alpha: float = Field(default=0.1, gt=0, lt=1)
    """Share of the student in the mixture."""
    temperature: Temperature = 1.0
    """As of `soft`."""

    def summed(self, at: Positions) -> Any:
        return divergence.skew_reverse_kl(at.student, at.teacher, self.alpha, self.temperature)


@objectives.register
class SampledReverseKl(Objective):
    """Reverse KL from the sampled tokens alone, for `on_policy`: unbiased, with more noise than `reverse_kl`."""

    own_samples_only: ClassVar[bool] = True

    kind: Literal["sampled_reverse_kl"] = "sampled_reverse_kl"

    def summed(self, at: Positions) -> Any:
        return divergence.sampled_reverse_kl(at.student, at.teacher, at.labels)


@objectives.register
class BaseKl(Objective):
    """Forward KL from the model as it was before the training: the student keeps what it knew."""

    learns_from: ClassVar[Source] = "base"

    kind: Literal["base_kl"] = "base_kl"
    temperature: Temperature = 1.0
    """As of `soft`."""

    def summed(self, at: Positions) -> Any:
        return divergence.forward_kl(at.student, at.base, self.temperature)
