"""What a recipe of the preference path is: candidates, a judge, pairs, a student trained with DPO.

    name: my_assistant
    tasks:      {source: jsonl, path: prompts.jsonl, prompt: prompt, reference: null, test: 50}
    candidates: [{name: teacher, draws: 4, teacher: {kind: openai, model: Qwen/Qwen3-8B, base_url: "http://localhost:8000/v1"}}]
    judge:      {kind: llm, rubric: writing_style, teacher: {kind: openai, model: Qwen/Qwen3-32B, base_url: "…"}}
    gate:       {labelled: my_labels.jsonl, required: true}
    pairs:      {strategy: best_worst, length: matched}
    student:    {model: Qwen/Qwen3-0.6B, method: dpo}

A recipe with `pairs` is one of these; one with `labelled` compares judges only. Each part is defined in the room that
acts on it. An unknown key is refused.
"""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from stillroom.judges.gate import GateSettings
from stillroom.judges.registry import JudgeSettings
from stillroom.pipeline.config.evaluation import Forgetting
from stillroom.pipeline.config.kinds import RecipeBase, recipe_kinds
from stillroom.preferences.settings import AuditSettings, PairSettings
from stillroom.sampling.limits import Limits, Prices
from stillroom.sampling.teachers.settings import TeacherSettings
from stillroom.students.methods.registry import Student, StudentSettings
from stillroom.traces.tasks import TaskSettings


class CandidateSource(BaseModel):
    """Who writes candidates. `name`: kept on each of them. `draws`: answers for each task. `on_policy`: it is the
    student that will be trained (true is assumed where both name the same model)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,59}$")]
    teacher: TeacherSettings
    draws: int = Field(default=1, ge=1)
    on_policy: bool = False

    def wrote_as(self, student: StudentSettings | None) -> bool:
        """Whether the student that will be trained wrote it: the recipe says so, or both are of one model."""
        return self.on_policy or (student is not None and self.teacher.model == student.model)


class RecipeGate(GateSettings):
    """The calibration gate of a recipe. `labelled`: pairs with human labels that the judge is measured on first, in
    LLMBar's or our own format. `required`: a judge that fails builds no pairs; otherwise it is said and recorded."""

    labelled: str
    required: bool = True


class PreferenceEvaluation(BaseModel):
    """How the trained student is measured on the held-out prompts, against itself before.

    `judge`: compares what both write; must not be the judge that built the pairs. `also`: further ones. `draws`:
    answers per prompt, at `temperature`. `max_tokens`: of an answer. `length_ratio`: texts count as of matched length
    within this.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    judge: JudgeSettings
    also: tuple[JudgeSettings, ...] = ()
    draws: int = Field(default=1, ge=1, le=16)
    temperature: float = Field(default=0.0, ge=0, le=5)
    max_tokens: int = Field(default=256, ge=1)
    concurrency: int = Field(default=64, ge=1)
    length_ratio: float = Field(default=1.25, gt=1)
    retention: Forgetting | None = None

    @model_validator(mode="after")
    def _draws_differ(self) -> PreferenceEvaluation:
        if self.draws > 1 and self.temperature == 0:
            raise ValueError("several greedy draws are the same answer: give evaluate.temperature, or draws: 1")
        return self


@recipe_kinds.register(name="preferences")
class PreferenceRecipe(RecipeBase):
    """A whole run of the preference path. Without `student` it ends with the pairs. `prices` are of the sources'
    tokens, `judge_prices` of the judge's; `limits` hold for both. `licence`: of the pairs, for their card."""

    marks: ClassVar[frozenset[str]] = frozenset({"candidates", "pairs"})

    seed: int = Field(default=0, ge=0, lt=2**31)
    tasks: TaskSettings
    candidates: Annotated[tuple[CandidateSource, ...], Field(min_length=1)]
    judge: JudgeSettings
    gate: RecipeGate | None = None
    pairs: PairSettings = PairSettings()
    audit: AuditSettings = AuditSettings()
    licence: str | None = None
    prices: Prices | None = None
    judge_prices: Prices | None = None
    limits: Limits = Limits()
    student: Student | None = None
    evaluate: PreferenceEvaluation | None = None

    @field_validator("candidates")
    @classmethod
    def _own_names(cls, found: tuple[CandidateSource, ...]) -> tuple[CandidateSource, ...]:
        names = [source.name for source in found]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"two sources are called {twice[0]!r}: a candidate is named after its source")
        return found

    @model_validator(mode="after")
    def _fits(self) -> PreferenceRecipe:
        if self.evaluate is not None and self.student is None:
            raise ValueError("evaluate measures a student, but there is none: add one, or drop evaluate")
        if self.student is not None and self.student.learns_from != "pairs":
            raise ValueError(f"student.method is {self.student.method}: pairs are learned with method: dpo")
        if self.evaluate is not None and not self.tasks.holds_out:
            raise ValueError("evaluate needs held-out prompts: say how many in tasks.test")
        if self.tasks.validation:
            raise ValueError("tasks.validation is what a loop chooses by, and pairs have no loop: leave it out")
        if self.evaluate is not None and self.judge in (self.evaluate.judge, *self.evaluate.also):
            raise ValueError("evaluate.judge built the pairs: a student trained to please it is measured by another")
        if self.limits.usd is not None and self.prices is None and self.judge_prices is None:
            raise ValueError("a limit in usd needs prices, or judge_prices: prompt and completion, USD per million")
        return self

    @property
    def files(self) -> tuple[str, ...]:
        """Its tasks, recordings, and labelled pairs."""
        labelled = () if self.gate is None else (self.gate.labelled,)
        return (*self.tasks.files, *(path for source in self.candidates for path in source.teacher.files), *labelled)


class RecordedJudges(BaseModel):
    """A judge in a file of recordings, by its name there, with the prompting methods to look at (none named: all)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(min_length=1)
    methods: tuple[str, ...] = ()


@recipe_kinds.register(name="calibration")
class CalibrationRecipe(RecipeBase):
    """Recorded judges measured against human labels, each through the gate; those who pass build pairs, which are
    compared with what the humans preferred. `labelled`: pairs with their labels; `dataset`: what they are called;
    `recordings`: a file of what judges wrote. `judges`: none named, all."""

    marks: ClassVar[frozenset[str]] = frozenset({"labelled"})

    seed: int = Field(default=0, ge=0, lt=2**31)
    labelled: str
    recordings: str
    dataset: str
    judges: tuple[RecordedJudges, ...] = ()
    gate: GateSettings = GateSettings()
