"""A recipe of traces: the whole run as one validated record. `load.py` reads it from YAML.

Each part is defined in the room that acts on it and only put together here; the evaluation is defined here:

    evaluate:
      baselines: [student_before, teacher, control_unfiltered, control_wrong_answers]
      samples: {draws: 8, ks: [1, 4, 8]}
      seeds: 3
      retention: {tasks: {letters: {source: reasoning_gym, family: letter_counting, test: 100}}, texts: everyday}

An unknown key is refused, and so is a measure that could not be taken.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, Field, TypeAdapter, ValidationInfo, field_validator, model_validator

from stillroom.common.records import SamplingParams
from stillroom.common.settings import Settings
from stillroom.pipeline.config.kinds import RecipeBase, recipe_kinds
from stillroom.sampling.limits import Limits, Prices
from stillroom.sampling.policy import Budget, EveryDraw, Policy, Until
from stillroom.sampling.scorers.base import ScorerBase, ScorerSettings
from stillroom.sampling.teachers.base import TeacherBase, TeacherSettings
from stillroom.sampling.teachers.openai import OpenAISettings
from stillroom.students.methods.registry import Student, StudentSettings
from stillroom.traces.filters import Filters
from stillroom.traces.filters.agreement import Agreement
from stillroom.traces.scorers.answer import AnswerScorerSettings
from stillroom.traces.tasks import TaskSettings
from stillroom.traces.tasks.registry import CommonTasks

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
    """File of rows, relative to the recipe's folder; several by a pattern."""
    field: str = Field(default="text", min_length=1)
    """Field that holds the text, such as `body` or `meta.text`."""
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
    variants: dict[Name, dict[str, Any]] = Field(default_factory=dict)
    """Further students on the same rows, each under a name with the settings of `student` in which it differs, such
    as `hard: {objectives: [{kind: hard}]}`; each is trained from as many seeds."""
    gold: str | None = None
    """Field of the tasks that holds gold solutions, for `control_gold`."""
    retention: Forgetting | None = None
    """What the student could do before and was not trained on, measured before and after."""
    plots: bool = True
    """Also draw PNG and SVG into `plots/`, if matplotlib is installed."""

    @field_validator("variants")
    @classmethod
    def _of_the_student(cls, value: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        for name, changes in value.items():
            if name in ("before", "after"):
                raise ValueError(f"variants.{name} would be called student_{name}, as another model is: rename it")
            if fixed := sorted(changes.keys() & {"model", "system", "seed"}):
                raise ValueError(
                    f"variants.{name} changes {fixed[0]}: variants are asked as the student is and start where it "
                    "does; write a recipe for another model, and `stillroom compare` both"
                )
        return value

    @model_validator(mode="after")
    def _gold_is_named(self) -> EvaluateSettings:
        if "control_gold" in self.baselines and self.gold is None:
            raise ValueError(
                "control_gold is trained on gold solutions: name the field of the tasks that holds them in gold, or "
                "drop it from baselines"
            )
        return self


# What a recipe that names no filters gets. They are given as in YAML and validated like it. The last one compares
# with the held-out tasks: it is left out where there are none.
DEFAULT_FILTERS: Any = ("finished", "one_final_answer", "no_repetition", "dedup", {"decontaminate": "test"})


@recipe_kinds.register(name="traces")
class Recipe(RecipeBase):
    """A whole run: tasks, a teacher that answers them, a scorer, filters, a student."""

    seed: int = Field(default=0, ge=0, lt=2**31)
    """Seed of everything drawn at random."""
    tasks: TaskSettings
    """Where the tasks come from."""
    teacher: TeacherSettings
    """The model that answers the tasks."""
    scorer: ScorerSettings = AnswerScorerSettings()
    """What accepts or rejects an answer."""
    keep: Policy = Until()
    """When a task has enough answers, and how many are kept."""
    prices: Prices | None = None
    """Prices of the teacher's tokens, to turn them into money."""
    limits: Limits = Limits()
    """Totals at which a run stops cleanly."""
    filters: Filters = Field(default=DEFAULT_FILTERS, validate_default=True)
    """Filters for accepted traces, in the order in which they are applied: names, or one name with its settings. Of
    the default, `decontaminate` only where tasks are held out."""
    earlier: tuple[str, ...] = ()
    """Rows to train on as well: `sft/` folders of earlier runs, or files of conversations; relative to the
    recipe's folder."""
    student: Student | None = None
    """The model to train; null ends the run with the SFT rows."""
    evaluate: EvaluateSettings | None = None
    """How the student is measured on held-out tasks; null measures nothing."""

    @field_validator("scorer", mode="after")
    @classmethod
    def _with_teacher(cls, scorer: ScorerBase, info: ValidationInfo) -> ScorerBase:
        teacher = info.data.get("teacher")
        return scorer.with_teacher(teacher) if isinstance(teacher, TeacherBase) else scorer

    @field_validator("filters", mode="before")
    @classmethod
    def _what_can_be_compared(cls, value: Any, info: ValidationInfo) -> Any:
        """The default, also where it is spelled out; any other list is taken as it is."""
        tasks = info.data.get("tasks")
        held = not isinstance(tasks, CommonTasks) or tasks.holds_out or tasks.validation > 0
        default = isinstance(value, list | tuple) and tuple(value) == DEFAULT_FILTERS
        return DEFAULT_FILTERS[:-1] if default and not held else value

    @model_validator(mode="after")
    def _fits(self) -> Recipe:
        if self.evaluate is not None and self.student is None:
            raise ValueError("evaluate compares students, but there is no student: add one, or drop evaluate")
        if self.student is not None and self.student.learns_from == "pairs":
            raise ValueError(
                f"student.method is {self.student.method}, which learns from pairs, and this recipe makes traces: "
                "set method: sft or kto, or write a recipe with candidates and pairs"
            )
        if self.evaluate is not None and not self.tasks.holds_out:
            found = "missing" if self.tasks.test is None else "0"
            raise ValueError(f"evaluate needs held-out tasks, but tasks.test is {found}: say how many to hold out")
        dollars = self.limits.usd is not None or (isinstance(self.keep, Budget) and self.keep.usd is not None)
        if dollars and self.prices is None:
            raise ValueError("a limit in usd needs prices: give prices.prompt and prices.completion, USD per million")
        if self.tasks.reference is None and self.scorer.reads_reference:
            raise ValueError(f"scorer.kind {self.scorer.kind} needs a reference: name its field in tasks.reference")
        if self.evaluate is not None and self.tasks.reference is None and self.measuring.reads_reference:
            raise ValueError(
                f"evaluate scores held-out answers with {self.measuring.kind}, which needs a reference: name its "
                "field in tasks.reference, or another scorer in scorer.measure"
            )
        self._can_agree()
        self._have_labels()
        for name in () if self.evaluate is None else self.evaluate.variants:
            self.variant(name)
        shortened = self.evaluate is not None and "control_answers" in self.evaluate.baselines
        if shortened and not isinstance(self.scorer, AnswerScorerSettings):
            raise ValueError(
                f"control_answers is trained on answers that the answer checker finds, and scorer.kind is "
                f"{self.scorer.kind}: drop it from evaluate.baselines"
            )
        return self

    def variant(self, name: str) -> StudentSettings:
        """The student with the settings of a variant. Raises ValueError where they do not fit."""
        changes = {} if self.evaluate is None else self.evaluate.variants[name]
        own = {} if self.student is None else self.student.model_dump(mode="json")
        if changes.get("method", own.get("method")) != own.get("method"):
            own.pop(str(own["method"]), None)  # the settings of the student's method, which the variant's has not
        found: StudentSettings = TypeAdapter(Student).validate_python(own | changes)
        if found.learns_from == "pairs":
            raise ValueError(f"evaluate.variants.{name} has method {found.method}, which learns from pairs")
        if found == self.student:
            raise ValueError(
                f"evaluate.variants.{name} changes nothing of the student: drop it, or name what differs"
            )
        return found

    @property
    def learners_of_labels(self) -> tuple[StudentSettings, ...]:
        """The student and its variants, those of them that learn from answers with labels."""
        own = () if self.student is None else (self.student,)
        variants = () if self.evaluate is None else map(self.variant, self.evaluate.variants)
        return tuple(each for each in (*own, *variants) if each.learns_from == "labelled rows")

    def _have_labels(self) -> None:
        """Refuses a student that learns from answers with labels where there could be none, or other ones."""
        if self.student is None or not (learners := self.learners_of_labels):
            return
        method = learners[0].method
        if self.scorer.kind == "none":
            raise ValueError(
                f"method {method} learns from rejected answers, and scorer.kind none rejects none: take a scorer "
                "that checks, or method: sft"
            )
        if len({each.answers_per_task for each in learners}) > 1:
            raise ValueError("a variant has another kto.per_task: variants are trained on the student's rows")
        if self.student not in learners:
            return
        if self.earlier:
            raise ValueError(
                f"earlier adds SFT rows, and student.method {method} learns from answers with labels: leave it out"
            )
        if self.evaluate is not None and (found := sorted(set(CONTROLS) & set(self.evaluate.baselines))):
            raise ValueError(
                f"{found[0]} is trained on SFT rows, and student.method {method} learns from answers with labels: "
                "set baselines: [student_before, teacher], and compare with variants: {sft: {method: sft}}, which "
                "learns from the accepted answers alone"
            )

    def _can_agree(self) -> None:
        """Refuses a filter `agreement` that could never keep anything."""
        for wanted in (each for each in self.filters if isinstance(each, Agreement)):
            if wanted.by == "label" and self.scorer.kind != "label":
                raise ValueError(
                    f"the filter agreement compares labels, and scorer.kind is {self.scorer.kind}: set kind: label, "
                    "or compare whole answers with {agreement: {by: text}}"
                )
            draws = self.keep.per_task if isinstance(self.keep, Until) else self.keep.draws
            if draws < wanted.min_draws:
                raise ValueError(
                    f"the filter agreement needs {wanted.min_draws} draws of a task, and keep may stop after "
                    f"{draws}: set keep: {{policy: fixed, attempts: 5}}, or lower agreement.min_draws"
                )

    @property
    def files(self) -> tuple[str, ...]:
        """Its tasks, a recording, code of a scorer, what a student reads besides, what retention is measured by."""
        retention = None if self.evaluate is None else self.evaluate.retention
        return (
            *self.tasks.files,
            *self.teacher.files,
            *self.scorer.files,
            *(() if self.student is None else self.student.files),
            *(() if retention is None else retention.files),
        )

    @property
    def measuring(self) -> ScorerBase:
        """The scorer of held-out answers."""
        return self.scorer.measuring()

    @property
    def greedy(self) -> SamplingParams:
        """How the held-out tasks are answered: within the evaluation's limit of tokens, or the teacher's."""
        sampling, evaluate = self.teacher.sampling, self.evaluate
        limit, stop = (None, None) if evaluate is None else (evaluate.max_tokens, evaluate.stop)
        return SamplingParams(
            temperature=0,
            max_tokens=limit or sampling.max_tokens,
            stop=sampling.stop if stop is None else stop,
            thinking=sampling.thinking,
        )


# -- servers of one name -----------------------------------------------------------------------------------------

M = TypeVar("M", bound=BaseModel)


def told_apart(recipe: M) -> M:
    """The recipe, with a name for each server whose model another server offers under the same name.

    The ledger knows a teacher by its identity, which does not say where it is: a model that moves is still that
    model. In one recipe, the same name at two addresses is taken for two models; each is named after its address,
    unless the recipe names it (`teacher.name`).
    """
    addresses: defaultdict[str, set[str]] = defaultdict(set)

    def asked_for(settings: OpenAISettings) -> str:
        return json.dumps([settings.model, settings.name, settings.extra_body], sort_keys=True)

    def note(settings: OpenAISettings) -> OpenAISettings:
        addresses[asked_for(settings)].add(_address(settings))
        return settings

    def named(settings: OpenAISettings) -> OpenAISettings:
        if settings.name is not None or len(addresses[asked_for(settings)]) < 2:
            return settings
        return settings.model_copy(update={"name": _address(settings)})

    _changed(recipe, note)
    found: M = _changed(recipe, named)
    return found


def _address(settings: OpenAISettings) -> str:
    """Several addresses of one model are one, in whatever order they stand there."""
    given = settings.base_url
    urls = (given,) if isinstance(given, str) else given or ("the default address",)
    return " ".join(sorted({url.rstrip("/") for url in urls}))


def _changed(value: Any, change: Callable[[OpenAISettings], OpenAISettings]) -> Any:
    """A copy of plain settings with each server in it changed; the value itself where nothing changes."""
    if isinstance(value, OpenAISettings):
        return change(value)
    if isinstance(value, tuple):
        return tuple(_changed(each, change) for each in value)
    if not isinstance(value, BaseModel):
        return value
    before = {name: getattr(value, name) for name in type(value).model_fields}
    after = {name: _changed(each, change) for name, each in before.items()}
    update = {name: each for name, each in after.items() if each != before[name]}
    return value.model_copy(update=update) if update else value
