"""What a recipe may say of its evaluation: which models to compare, on what, and what may have been forgotten.

    evaluate:
      baselines: [student_before, teacher, control_unfiltered, control_wrong_answers]
      samples: {draws: 8, ks: [1, 4, 8]}
      seeds: 3
      retention: {tasks: {letters: {source: reasoning_gym, family: letter_counting, test: 100}}, texts: everyday}

An unknown key is refused, and so is a measure that could not be taken.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from stillroom.common.records import SamplingParams
from stillroom.common.settings import Settings
from stillroom.sampling.policy import EveryDraw
from stillroom.traces.tasks import TaskSettings

Baseline = Literal[
    "student_before", "teacher", "control_unfiltered", "control_answers", "control_gold", "control_wrong_answers"
]
"""What the trained student is compared with; what each control is trained on, `controls.py` says."""

CONTROLS = ("control_unfiltered", "control_answers", "control_gold", "control_wrong_answers")
"""Those that are trained for the comparison alone."""

UNTRAINED = "untrained"
"""The name of tasks that are given without one."""

Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,39}$")]


class TextSettings(Settings):
    """Held-out text for perplexity."""

    path: str = Field(min_length=1)
    """JSON Lines file, relative to the recipe's folder."""
    field: str = Field(default="text", min_length=1)
    """Field that holds the text."""
    limit: int | None = Field(default=None, ge=1)
    """Texts to take from the start; null: all."""


class Forgetting(Settings):
    """What was not trained, measured before and after: what was forgotten."""

    tasks: dict[Name, TaskSettings] = Field(default_factory=dict)
    """Held-out tasks of other kinds, each under a name; their `test` tasks are answered greedily."""
    texts: Literal["everyday"] | TextSettings | None = None
    """Held-out text for perplexity; `everyday` comes with Stillroom."""
    max_tokens: int = Field(default=64, ge=1)
    """Longest answer to these tasks, in tokens."""

    @field_validator("tasks", mode="before", json_schema_input_type=dict[Name, TaskSettings] | TaskSettings)
    @classmethod
    def _one_kind(cls, value: Any) -> Any:
        """`tasks: {source: …}` reads as well as a mapping of names."""
        return {UNTRAINED: value} if isinstance(value, Mapping) and isinstance(value.get("source"), str) else value

    @model_validator(mode="after")
    def _can_be_measured(self) -> Forgetting:
        if not self.tasks and self.texts is None:
            raise ValueError("nothing is named to measure what was forgotten by: give tasks, or texts: everyday")
        for name, tasks in self.tasks.items():
            if tasks.reference is None or not tasks.test:
                raise ValueError(
                    f"tasks.{name}: what was forgotten is measured by answers: it needs a reference, and test above 0"
                )
        return self

    @property
    def files(self) -> tuple[str, ...]:
        """The local files that it reads."""
        texts = (self.texts.path,) if isinstance(self.texts, TextSettings) else ()
        return (*(path for tasks in self.tasks.values() for path in tasks.files), *texts)


class SampleSettings(Settings):
    """Several answers to each held-out task, for pass@k and majority@k."""

    draws: int = Field(default=8, ge=2)
    """Answers to each task."""
    temperature: float = Field(default=0.8, gt=0)
    """Temperature of these answers."""
    top_p: float = Field(default=1.0, gt=0, le=1)
    """Sample from the most likely tokens that add up to this probability."""
    ks: tuple[Annotated[int, Field(ge=1)], ...] = (1, 4, 8)
    """Each k to report, at most `draws`."""

    @model_validator(mode="after")
    def _enough_draws(self) -> SampleSettings:
        if not self.ks or max(self.ks) > self.draws:
            raise ValueError(f"ks is {list(self.ks)} with {self.draws} draws: each k is at most draws; give one")
        return self

    @property
    def policy(self) -> EveryDraw:
        """Number of draws, whatever comes of them."""
        return EveryDraw(policy="fixed", attempts=self.draws)

    def sampling(self, greedy: SamplingParams) -> SamplingParams:
        """At this temperature, within the same limit of tokens as the greedy answer."""
        return greedy.model_copy(update={"temperature": self.temperature, "top_p": self.top_p})


class EvaluateSettings(Settings):
    """Who is compared with the trained student on the held-out tasks, each answering once, greedily."""

    baselines: tuple[Baseline, ...] = ("student_before", "teacher", "control_unfiltered")
    """What the student is compared with. Controls are further students with the same settings and number of rows:
    `control_unfiltered` on traces that nobody checked, `control_answers` on answers without their reasoning,
    `control_gold` on gold solutions of the tasks, `control_wrong_answers` on wrong answers in the right form."""
    max_tokens: int | None = Field(default=None, ge=1)
    """Longest answer, in tokens; null: the teacher's."""
    stop: tuple[Annotated[str, Field(min_length=1)], ...] | None = None
    """Texts at which an answer ends; null: the teacher's."""
    concurrency: int = Field(default=64, ge=1)
    """Answers in flight, for local models the batch."""
    samples: SampleSettings | None = None
    """Also draw several answers, of the student before and after and of the teacher."""
    seeds: int = Field(default=1, ge=1, le=20)
    """Trainings of the student, each from another seed; the first is kept."""
    gold: str | None = None
    """Field of the tasks that holds gold solutions, for `control_gold`."""
    retention: Forgetting | None = None
    """What the student could do before and was not trained on, measured before and after."""
    plots: bool = True
    """Also draw PNG and SVG into `plots/`, if matplotlib is installed."""

    @model_validator(mode="after")
    def _gold_is_named(self) -> EvaluateSettings:
        if "control_gold" in self.baselines and self.gold is None:
            raise ValueError(
                "control_gold is trained on gold solutions: name the field of the tasks that holds them in gold, or "
                "drop it from baselines"
            )
        return self
