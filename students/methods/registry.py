"""Training methods and their settings: `student:` in a recipe.

    student: {model: Qwen/Qwen3-0.6B, method: sft, lora: {r: 16, alpha: 32}, epochs: 2, learning_rate: 2.0e-4}

A new method is a module in this package with one registered class. Import what is heavy in its methods, not at the
top of the module.

    @methods.register
    class Distil(StudentSettings):
        method: Literal["distil"] = "distil"
        temperature: float = 1.0

        def train(self, rows, out, *, seed, on_step=None, place=None): ...
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, JsonValue, field_validator, model_validator

from stillroom.common.marks import NamedMarks
from stillroom.common.models.resolve import Quantised, needs_bitsandbytes
from stillroom.common.records import Task
from stillroom.common.registry import Registry
from stillroom.common.settings import Settings
from stillroom.students.data.rows import Row
from stillroom.students.methods import trl_fields
from stillroom.students.methods.checkpoints import CheckpointSettings
from stillroom.students.methods.ranks import enough_gpus
from stillroom.students.methods.trackers import Tracker
from stillroom.students.methods.validation import ValidationSettings

if TYPE_CHECKING:
    from stillroom.students.lint.report import LintReport
    from stillroom.students.records import Asked, Checker, OnStep, Signals, Trained, TrainingPlace


Source = Literal["rows", "pairs", "labelled rows"]
"""What a method is trained on: rows of traces, pairs of preferences, or answers of which each is desirable or not."""

UNTOLD = ("checkpoints", "report_to")
"""Settings that decide nothing of a student, so that they are in no name for it."""

LATER = ("validation", "trainer", "processes")
LATER_LORA = ("rslora", "dora", "modules_to_save", "quantise")
"""Settings that came later: at their default they are left out, so that students of before keep their names."""


class LoraSettings(Settings):
    """A low-rank adapter (Hu et al. 2021, arXiv:2106.09685)."""

    r: int = Field(default=16, ge=1, le=1024)
    """Rank."""
    alpha: float = Field(default=32, gt=0)
    """The update is scaled by alpha / r."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Dropout on the adapter's input."""
    target_modules: str | tuple[str, ...] = "all-linear"
    """`all-linear` (every linear layer but the head), or names as peft takes them."""
    rslora: bool = False
    """Scale the update by alpha / √r instead (Kalajdzievski 2023, arXiv:2312.03732)."""
    dora: bool = False
    """Also train each weight column's magnitude (DoRA, Liu et al. 2024, arXiv:2402.09353)."""
    modules_to_save: tuple[str, ...] = ()
    """Modules that are trained whole, such as `embed_tokens` and `lm_head`."""
    quantise: Quantised | None = None
    """Hold the base's weights in fewer bits while it is trained: `nf4` (QLoRA) or `int8`; null: as they are."""

    @model_validator(mode="after")
    def _quantised_fits(self) -> Self:
        if self.quantise is not None and self.dora:
            raise ValueError(
                f"dora scales the columns of the base's own weights, which quantise: {self.quantise} holds in fewer "
                "bits: leave one of them out"
            )
        return self


class StudentSettings(Settings):
    """What every training method has."""

    learns_from: ClassVar[Source] = "rows"
    """What it is trained on."""
    trl_config: ClassVar[str] = ""
    """The settings of trl that `trainer` may name; empty for a method that is not one of its trainers."""
    instead: ClassVar[Mapping[str, str]] = MappingProxyType({})
    """Fields of trl that the method's own settings decide, by these."""
    unfit: ClassVar[Mapping[str, str]] = MappingProxyType({})
    """Fields of trl that the method cannot use, and why."""

    model: str = Field(min_length=1)
    """Hub name, local folder, or `embedded:…`."""
    method: str
    lora: LoraSettings | None = LoraSettings()
    """The low-rank adapter; null or false trains every weight."""
    epochs: Annotated[float, Field(gt=0, le=1000)] = 3
    """Passes over the rows."""
    learning_rate: float = Field(default=2e-4, gt=0, le=1)
    """Highest learning rate."""
    batch_size: int = Field(default=8, ge=1)
    """Rows (or pairs) in one pass of one process."""
    gradient_accumulation: int = Field(default=1, ge=1)
    """Passes in one step of the optimiser."""
    max_length: int = Field(default=2048, ge=8)
    """Tokens of prompt and completion (of pairs, the longer one); longer rows are left out and counted, never cut."""
    warmup_ratio: float = Field(default=0.05, ge=0, lt=1)
    """Share of the steps in which the learning rate rises."""
    scheduler: Literal["linear", "cosine", "constant"] = "linear"
    """How the learning rate falls after that."""
    weight_decay: float = Field(default=0.0, ge=0)
    """Weight decay of the optimiser."""
    max_grad_norm: float = Field(default=1.0, gt=0)
    """Norm to which gradients are clipped."""
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """Number format of training and answering; `auto` is bfloat16 where the machine computes it natively, else
    float32."""
    seed: int | None = Field(default=None, ge=0, lt=2**31)
    """Seed of the training; null: the run's."""
    system: str | None = None
    """The student's system prompt, in training and ever after; null: the rows' own."""
    save_merged: bool = True
    """Also write the adapter merged into the weights, which every server can load."""
    processes: int = Field(default=1, ge=1, le=1024)
    """Processes that train together on this machine, each on its part of a step: one for each GPU."""
    trainer: Mapping[str, JsonValue] = Field(default_factory=dict)
    """Any other setting of the method's trl config, such as `packing`, `optim` or `neftune_noise_alpha`."""
    report_to: tuple[Tracker, ...] = ()
    """Trackers that are shown the training while it runs, each an extra of its name."""
    validation: ValidationSettings | None = None
    """Rows that the training measures its loss on and does not learn from; null: none."""
    checkpoints: CheckpointSettings | None = CheckpointSettings()
    """When the training is saved, so that the same command goes on with it; null or false: never."""

    @field_validator("lora", mode="before", json_schema_input_type=LoraSettings | bool | None)
    @classmethod
    def _no_lora(cls, value: Any) -> Any:
        return on_or_off(value)

    @field_validator("report_to", mode="before", json_schema_input_type=Tracker | tuple[Tracker, ...])
    @classmethod
    def _one_tracker(cls, value: Any) -> Any:
        """`report_to: trackio` reads as well as a list."""
        return (value,) if isinstance(value, str) else value

    @field_validator("validation", mode="before", json_schema_input_type=ValidationSettings | float | None)
    @classmethod
    def _rows_alone(cls, value: Any) -> Any:
        """`validation: 0.05` reads as well as a block."""
        return {"rows": value} if isinstance(value, int | float) and not isinstance(value, bool) else value

    @field_validator("checkpoints", mode="before", json_schema_input_type=CheckpointSettings | bool | None)
    @classmethod
    def _no_checkpoints(cls, value: Any) -> Any:
        return on_or_off(value)

    @model_validator(mode="before")
    @classmethod
    def _settings_of_another_method(cls, values: Any) -> Any:
        if not isinstance(values, Mapping):
            return values
        others = [name for name in methods if name in values and name not in cls.model_fields]
        for name in others:
            if values[name] is not None:
                method = values.get("method", methods.default)
                raise ValueError(
                    f"there are settings for {name}, but method is {method}: set method: {name}, or leave {name} out"
                )
        return {key: value for key, value in values.items() if key not in others}

    @model_validator(mode="after")
    def _trainer_fits(self) -> Self:
        if self.trainer and not self.trl_config:
            raise ValueError(f"trainer names settings of trl, and method {self.method} is not one of its trainers")
        trl_fields.refuse(self.trainer, self.method, self.instead, self.unfit)
        if not self.trl_config:
            self.refuse_processes(f"method {self.method} is not one of trl's trainers, which share out their steps")
        return self

    def decides(self) -> dict[str, Any]:
        """Those of the settings that decide what a training gives, as JSON: a student whose others have changed is
        not trained again."""
        fields = type(self).model_fields
        later = {name for name in LATER if getattr(self, name) == fields[name].get_default(call_default_factory=True)}
        found = self.model_dump(mode="json", exclude=later | set(UNTOLD))
        if self.lora is not None:
            for name in LATER_LORA:
                if getattr(self.lora, name) == LoraSettings.model_fields[name].default:
                    del found["lora"][name]
        return found

    @property
    def asks_the_scorer(self) -> bool:
        """Whether a training depends on the recipe's scorer by more than its rows."""
        return False

    @property
    def answers_per_task(self) -> int | None:
        """Of labelled rows: answers of each label that one task gives at most; None for all."""
        return None

    @property
    def models(self) -> tuple[str, ...]:
        """The models whose weights a training reads."""
        return (self.model,)

    def refuse_processes(self, why: str) -> None:
        """For what one process alone can do. Raises ValueError."""
        if self.processes > 1:
            raise ValueError(f"processes is {self.processes}, but {why}: leave it out")

    @property
    def asked(self) -> Asked:
        """What a training reads and holds next to the student's own pass."""
        from stillroom.students.records import Asked

        return Asked()

    @property
    def trains_weights(self) -> bool:
        """Whether weights of the model itself are trained. They are held in float32, whatever it computes in:
        bfloat16 would round a small step away."""
        return self.lora is None or bool(self.lora.modules_to_save)

    @property
    def attention(self) -> str | None:
        """The implementation of attention that `trainer` names; None for transformers' own choice."""
        init = self.trainer.get("model_init_kwargs")
        return str(init["attn_implementation"]) if isinstance(init, dict) and init else None

    def refuse_dropout(self) -> None:
        """For methods whose trainer of trl switches it off. Raises ValueError."""
        if self.lora is not None and self.lora.dropout:
            raise ValueError(
                f"lora.dropout is {self.lora.dropout}, but trl switches dropout off for {self.method}: leave it out"
            )

    @property
    def imitates(self) -> str | None:
        """The model, here to be asked, whose distribution the student learns as it is; None for any other student."""
        return None

    @property
    def files(self) -> tuple[str, ...]:
        """The local files that a training reads besides; relative paths start at the recipe."""
        return ()

    def check(self, base: Path, seed: int) -> None:
        """Raises what a training would for files or tasks that are not there, for settings that trl does not know,
        and for more processes than GPUs: called before anything is paid."""
        if self.lora is not None and self.lora.quantise is not None:
            needs_bitsandbytes()
        trl_fields.check(self.trainer, self.trl_config)
        enough_gpus(self.processes)

    def train(
        self,
        rows: Path | str | Iterable[Row],
        out: Path,
        *,
        seed: int,
        on_step: OnStep | None = None,
        place: TrainingPlace | None = None,
    ) -> Trained:
        """Trains a student on the rows (a folder of parquet, or the rows themselves) and writes it to `out`.

        `seed`: the run's; the settings' own goes before it. `on_step` hears of every step of the optimiser. `place`:
        what the run lends, None for nothing.
        Raises InputError for rows, model or settings that cannot be used, TrainingError when training fails.
        """
        raise NotImplementedError

    def signals(self, rows: Path, place: TrainingPlace) -> Signals | None:
        """What `place` holds of a teacher's distribution, and what a training on these rows would ask the teacher
        for; None for a method, or settings, that keep none. Asks nobody, and loads no weights."""
        return None

    def lint(
        self,
        rows: Path | str | Iterable[Row],
        *,
        test: Sequence[Task] = (),
        checker: Checker | None = None,
        thinking: NamedMarks | None = None,
    ) -> LintReport:
        """What training on these rows would get wrong without saying so.

        `test`: the held-out tasks; `checker`: says whether a trained answer is right; `thinking`: marks of the
        teacher's thinking that the user named. Raises MissingFile or MissingExtra for what is not there.
        """
        raise NotImplementedError


methods: Registry[StudentSettings] = Registry(
    "training method", tag="method", where=("stillroom.students.methods",), default="sft"
)
"""Every training method by its name in a recipe."""

Student = Annotated[StudentSettings, methods.field()]
"""The settings of any method, as the type of a recipe's field."""


def on_or_off(value: Any) -> Any:
    """A block that `false` leaves out, and `true` takes with its defaults."""
    if value is False:
        return None
    return {} if value is True else value


def longest(settings: StudentSettings, config: Any) -> int:
    """Tokens a row may have: what was asked for, within the model's context."""
    return min(settings.max_length, getattr(config, "max_position_embeddings", None) or settings.max_length)
