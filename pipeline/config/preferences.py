"""What a recipe of the preference path is: candidates, a judge, pairs, a student trained with DPO.

    name: my_assistant
    tasks:      {source: jsonl, path: prompts.jsonl, prompt: prompt, reference: null, test: 50}
    candidates: [{name: teacher, draws: 4, teacher: {kind: openai, model: Qwen/Qwen3-8B, base_url: "http://localhost:8000/v1"}}]
    judge:      {kind: llm, rubric: writing_style, teacher: {kind: openai, model: Qwen/Qwen3-32B, base_url: "…"}}
    gate:       {labelled: my_labels.jsonl, required: true}
    pairs:      {strategy: best_worst, length: matched}
    student:    {model: Qwen/Qwen3-0.6B, method: dpo}

A recipe with `pairs` is one of these. Each part is defined in the room that acts on it. An unknown key is refused.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from stillroom.common.preferred import Reading
from stillroom.common.settings import Settings
from stillroom.judges.calibrate import GateSettings
from stillroom.judges.registry import JudgeSettings
from stillroom.pipeline.config.kinds import RecipeBase, recipe_kinds
from stillroom.pipeline.config.recipe import Forgetting
from stillroom.preferences.settings import AuditSettings, PairSettings
from stillroom.sampling.limits import Limits, Prices
from stillroom.sampling.teachers.base import TeacherSettings
from stillroom.students.methods.registry import Student, StudentSettings
from stillroom.traces.tasks import TaskSettings


class CandidateSource(Settings):
    """Who writes candidates."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,59}$")]
    """Name of the source, kept on each candidate."""
    teacher: TeacherSettings
    """The model that writes."""
    draws: int = Field(default=1, ge=1)
    """Answers to each task."""
    on_policy: bool = False
    """It is the student that will be trained; assumed where both name the same model."""

    def wrote_as(self, student: StudentSettings | None) -> bool:
        """Whether the student that will be trained wrote it: the recipe says so, or both are of one model."""
        return self.on_policy or (student is not None and self.teacher.model == student.model)


class RecipeGate(GateSettings):
    """The calibration gate of a recipe."""

    labelled: str
    """File of pairs with human labels: JSON Lines, a spreadsheet saved as CSV, or a known layout of preferences."""
    layout: str | None = None
    """How its rows are laid out; null: as the first rows plainly are."""
    prefer: str | None = None
    """What decides, where a row holds several judgements."""
    bad_rows: Literal["refuse", "skip"] = "refuse"
    """Rows that cannot be read are refused, or left out and counted."""
    source: Literal["file", "hf"] = "file"
    """`file`, or `hf` for a data set of the hub by its name, also a local folder of one."""
    name: str | None = None
    """Configuration of the data set, where it has several."""
    split: str | None = None
    """Split of the data set; null: `train`."""
    required: bool = True
    """A judge that fails builds no pairs; false only reports and records it."""

    @property
    def reading(self) -> Reading:
        """How the labelled pairs are read."""
        return Reading(**{name: getattr(self, name) for name in Reading.model_fields})

    @model_validator(mode="after")
    def _can_be_read(self) -> RecipeGate:
        _ = self.reading
        return self


class PreferenceEvaluation(Settings):
    """How the trained student is measured on the held-out prompts, against itself before."""

    judge: JudgeSettings
    """Compares what both write; must not be the judge that built the pairs."""
    also: tuple[JudgeSettings, ...] = ()
    """Further judges."""
    draws: int = Field(default=1, ge=1, le=16)
    """Answers per prompt."""
    temperature: float = Field(default=0.0, ge=0, le=5)
    """Temperature of these answers."""
    max_tokens: int = Field(default=256, ge=1)
    """Longest answer, in tokens."""
    concurrency: int = Field(default=64, ge=1)
    """Answers in flight, for local models the batch."""
    length_ratio: float = Field(default=1.25, gt=1)
    """Ratio of lengths within which two texts count as matched."""
    retention: Forgetting | None = None
    """What the student could do before and was not trained on, measured before and after."""

    @model_validator(mode="after")
    def _draws_differ(self) -> PreferenceEvaluation:
        if self.draws > 1 and self.temperature == 0:
            raise ValueError("several greedy draws are the same answer: give evaluate.temperature, or draws: 1")
        return self


@recipe_kinds.register(name="preferences")
class PreferenceRecipe(RecipeBase):
    """A whole run of the preference path: candidates, a judge, pairs, a student."""

    marks: ClassVar[frozenset[str]] = frozenset({"candidates", "pairs"})

    seed: int = Field(default=0, ge=0, lt=2**31)
    """Seed of everything drawn at random."""
    tasks: TaskSettings
    """Where the prompts come from."""
    candidates: Annotated[tuple[CandidateSource, ...], Field(min_length=1)]
    """Who writes candidates."""
    judge: JudgeSettings
    """What scores or compares the candidates."""
    gate: RecipeGate | None = None
    """Measure the judge on labelled pairs first; null: do not."""
    pairs: PairSettings = PairSettings()
    """How candidates become pairs."""
    audit: AuditSettings = AuditSettings()
    """Limits of the warnings about the pairs."""
    licence: str | None = None
    """Licence of the pairs, for the data set card."""
    prices: Prices | None = None
    """Prices of the candidates' tokens, to turn them into money."""
    judge_prices: Prices | None = None
    """Prices of the judge's tokens."""
    limits: Limits = Limits()
    """Totals at which a run stops cleanly, candidates and judge together."""
    student: Student | None = None
    """The model to train; null ends the run with the pairs."""
    evaluate: PreferenceEvaluation | None = None
    """How the student is measured on held-out prompts; null measures nothing."""

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
        if self.student is not None and self.student.learns_from == "rows":
            raise ValueError(
                f"student.method is {self.student.method}: pairs are learned with method: dpo, orpo or kto"
            )
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
