"""Direct preference optimisation of a student on pairs: trl's DPOTrainer, a LoRA or all weights.

    settings = Dpo(model="embedded:smollm2-135m-instruct", dpo={"beta": 0.1})
    trained = settings.train(run / "dpo", run / "student", seed=7, on_step=print)
    trained.rewards[-1].accuracy                       # of the last step's pairs

The reference is the model with its adapter off; with `dpo.sft_first` the student first learns the chosen answers, and
a copy of the adapter as SFT left it is the reference; for full fine-tuning its log-probabilities are computed before
the first step. On a CPU the same pairs, settings and seed give the same student.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from stillroom.common.marks import NamedMarks
from stillroom.common.records import Task
from stillroom.common.settings import Settings
from stillroom.students.data.encode import EncodedPairs, encode_pairs
from stillroom.students.data.rows import Row, read_pairs, with_system
from stillroom.students.methods.batches import check_pairs
from stillroom.students.methods.common import enough_memory, finish, fits, run, training
from stillroom.students.methods.cpu_passes import can_flatten, use_pair_pass
from stillroom.students.methods.ranks import gather_uneven
from stillroom.students.methods.registry import Source, StudentSettings, methods, on_or_off
from stillroom.students.methods.resume import save_last
from stillroom.students.methods.trainer import (
    OwnRows,
    Steps,
    lora_config,
    make_trainer,
    pair_columns,
    report_to,
    watch,
    whole_numbers,
)
from stillroom.students.methods.trl_config import config_of, reshaped
from stillroom.students.methods.validation import Held
from stillroom.students.records import Asked, OnStep, Plan, Reference, Trained, TrainingPlace

if TYPE_CHECKING:
    from stillroom.students.lint.report import LintReport
    from stillroom.students.records import Checker

LossType = Literal[
    "sigmoid",
    "hinge",
    "ipo",
    "exo_pair",
    "nca_pair",
    "robust",
    "bco_pair",
    "sppo_hard",
    "aot",
    "aot_unpaired",
    "apo_zero",
    "apo_down",
    "discopop",
    "sft",
    "sigmoid_norm",
]
"""The losses of trl's DPOTrainer, by its names."""

SMOOTHED = frozenset({"robust", "exo_pair", "aot", "aot_unpaired"})
"""Losses that look at `label_smoothing`; trl ignores it for the others."""


class SftFirst(Settings):
    """A supervised training on the chosen answers that goes before DPO; what comes out of it is DPO's reference."""

    epochs: Annotated[float, Field(gt=0, le=1000)] = 1
    """Passes over the chosen answers."""
    learning_rate: float = Field(default=2e-4, gt=0, le=1)
    """Highest learning rate."""


class DpoSettings(Settings):
    """Direct preference optimisation (Rafailov et al. 2023, arXiv:2305.18290) as trl has it."""

    beta: float = Field(default=0.1, gt=0)
    """Penalty for leaving the reference model (for `ipo`, its τ)."""
    loss_type: Annotated[tuple[LossType, ...], Field(min_length=1)] = ("sigmoid",)
    """One or several of trl's losses, summed."""
    loss_weights: tuple[float, ...] | None = None
    """Weights of the losses; null: 1 each."""
    label_smoothing: float = Field(default=0.0, ge=0, lt=0.5)
    """Chance that a preference is the wrong way round, for the losses that use it."""
    ld_alpha: float | None = Field(default=None, ge=0, le=1)
    """Weight of the tokens of the longer answer beyond the length of the shorter (LD-DPO, arXiv:2409.06411); null
    and 1 count all alike."""
    precompute_ref: bool = True
    """Compute the reference's log-probabilities once before the first step, not in every epoch. Without it the
    reward before the first step is 0 to the last bit, with it to rounding."""
    sft_first: SftFirst | None = None
    """Train on the chosen answers first; null or false: no."""

    @field_validator("loss_type", mode="before", json_schema_input_type=LossType | tuple[LossType, ...])
    @classmethod
    def _one_loss(cls, value: Any) -> Any:
        """`loss_type: sigmoid` reads as well as a list."""
        return (value,) if isinstance(value, str) else value

    @field_validator("sft_first", mode="before", json_schema_input_type=SftFirst | bool | None)
    @classmethod
    def _switch(cls, value: Any) -> Any:
        return on_or_off(value)

    @model_validator(mode="after")
    def _losses_fit(self) -> DpoSettings:
        if self.loss_weights is not None and len(self.loss_weights) != len(self.loss_type):
            raise ValueError(
                f"loss_weights has {len(self.loss_weights)} numbers, loss_type {len(self.loss_type)} losses: give "
                "one weight for each"
            )
        smoothed = SMOOTHED & set(self.loss_type)
        if self.label_smoothing and not smoothed:
            raise ValueError(
                f"label_smoothing is {self.label_smoothing}, which {', '.join(self.loss_type)} would ignore: choose "
                f"a loss_type of {', '.join(sorted(SMOOTHED))}, or leave it out"
            )
        if "exo_pair" in smoothed and not self.label_smoothing:
            raise ValueError("loss_type exo_pair needs a label_smoothing above 0: its paper takes 0.001")
        return self


def make_dpo_trainer(
    model: Any,
    tokenizer: Any,
    encoded: EncodedPairs,
    settings: StudentSettings,
    dpo: DpoSettings,
    plan: Plan,
    work: Path,
    on_step: OnStep | None = None,
) -> Any:
    """A trainer whose first batch has passed the checks. `model`: a peft model goes on with its adapter.
    `work`: a folder for whatever trl wants to keep."""
    import datasets
    import transformers

    arguments = config_of(
        settings,
        "DPOConfig",
        plan,
        work,
        beta=dpo.beta,
        loss_type=list(dpo.loss_type),
        loss_weights=None if dpo.loss_weights is None else list(dpo.loss_weights),
        label_smoothing=dpo.label_smoothing,
        ld_alpha=dpo.ld_alpha,
        precompute_ref_log_probs=dpo.precompute_ref,
        train_sampling_strategy="group_by_length",
        length_column_name="length",
        remove_unused_columns=False,  # it would take the lengths away before the rows are grouped by them
    )
    adapted = hasattr(model, "peft_config")
    steps = Steps(on_step, "dpo")
    rows = pair_columns(encoded)
    trainer = _trainer_class()(
        model=model,
        args=arguments,
        train_dataset=datasets.Dataset.from_list(rows),
        processing_class=tokenizer,
        peft_config=lora_config(settings.lora, model.config) if settings.lora and not adapted else None,
        callbacks=[report_to(steps)],
    )
    trainer.remove_callback(transformers.PrinterCallback)
    whole_numbers(trainer.model)
    trainer.steps = steps
    if trainer.ranks.size > 1:
        gather_uneven(trainer.accelerator)
    first = settings.batch_size
    check_pairs(trainer.data_collator(rows[:first]), encoded.rows[:first], encoded.end_id)
    plain = trainer.model.get_base_model() if settings.lora else trainer.model
    if plan.device == "cpu" and can_flatten(plain.config) and not reshaped(settings):
        use_pair_pass(plain)
    if trainer.precompute_ref_logps:
        for name, column in _reference(trainer, rows, settings.batch_size).items():
            trainer.train_dataset = trainer.train_dataset.add_column(name, column)
    return trainer


def held_pairs(trainer: Any, held: EncodedPairs | None, batch_size: int) -> list[Held]:
    """The batches that the loss is measured on, before the first step."""
    rows = [] if held is None else pair_columns(held)
    if trainer.precompute_ref_logps:
        for name, column in _reference(trainer, rows, batch_size).items():
            rows = [row | {name: value} for row, value in zip(rows, column, strict=True)]
    parts = [rows[start : start + batch_size] for start in range(0, len(rows), batch_size)]
    return [Held(trainer.data_collator(part), len(part), None) for part in parts]


def _reference(trainer: Any, rows: list[dict[str, Any]], batch_size: int) -> dict[str, list[float]]:
    """The reference's log-probabilities of both answers by trl's names, computed in batches of like length."""
    order = sorted(range(len(rows)), key=lambda i: rows[i]["length"], reverse=True)
    chosen, rejected = [0.0] * len(rows), [0.0] * len(rows)
    for start in range(0, len(order), batch_size):
        part = order[start : start + batch_size]
        batch = trainer.data_collator([rows[i] for i in part])
        batch = {name: column.to(trainer.accelerator.device) for name, column in batch.items()}
        found = trainer.compute_ref_log_probs(trainer.model, batch)
        for i, c, r in zip(part, *(side.tolist() for side in found), strict=True):
            chosen[i], rejected[i] = c, r
    return {"ref_chosen_logps": chosen, "ref_rejected_logps": rejected}


def _trainer_class() -> Any:
    """trl's trainer for pairs that come in tokens; made here because trl is loaded only where it is used."""
    import trl

    class PairTrainer(OwnRows, trl.DPOTrainer):  # type: ignore[misc]  # trl has no types we follow
        """Its loss is trl's."""

    return PairTrainer


REFERENCE = "ref"
"""What trl calls the copy of an adapter that it keeps as the reference."""


@methods.register
class Dpo(StudentSettings):
    """Direct preference optimisation on pairs. Trained on the chosen answers first where `dpo.sft_first` says so."""

    learns_from: ClassVar[Source] = "pairs"
    trl_config: ClassVar[str] = "DPOConfig"
    instead: ClassVar[Mapping[str, str]] = {
        "beta": "dpo.beta",
        "loss_type": "dpo.loss_type",
        "loss_weights": "dpo.loss_weights",
        "label_smoothing": "dpo.label_smoothing",
        "label_smoothing_factor": "dpo.label_smoothing",
        "ld_alpha": "dpo.ld_alpha",
        "precompute_ref_log_probs": "dpo.precompute_ref",
    }
    unfit: ClassVar[Mapping[str, str]] = {"padding_free": "trl has switched it off for pairs"}

    method: Literal["dpo"] = "dpo"
    learning_rate: float = Field(default=5e-5, gt=0, le=1)
    """Highest learning rate."""
    dpo: DpoSettings = DpoSettings()
    """Settings of the loss."""

    @field_validator("dpo", mode="before", json_schema_input_type=DpoSettings | None)
    @classmethod
    def _defaults(cls, value: Any) -> Any:
        return {} if value is None else value

    @model_validator(mode="after")
    def _method_fits(self) -> Dpo:
        if self.lora is None and not self.dpo.precompute_ref:
            raise ValueError(
                "dpo.precompute_ref is false and lora is off: the reference would be a second copy of the model in "
                "memory. Set precompute_ref: true, or train a lora"
            )
        if self.dpo.sft_first is not None and "max_steps" in self.trainer:
            raise ValueError(
                "trainer.max_steps would be that of both trainings: set `student.epochs` and "
                "`student.dpo.sft_first.epochs`, which may be fractions"
            )
        self.refuse_dropout()
        return self

    def train(
        self,
        rows: Path | str | Iterable[Row],
        out: Path,
        *,
        seed: int,
        on_step: OnStep | None = None,
        place: TrainingPlace | None = None,
    ) -> Trained:
        """See the base class. Rows hold conversational `prompt`, `chosen` and `rejected`; `phase` of a step tells
        those of `sft_first` from those of DPO."""
        found = [row._replace(prompt=with_system(row.prompt, self.system)) for row in read_pairs(rows)]
        place = place or TrainingPlace()
        with training(self, out, seed, place, found, encode_pairs) as begun:
            model, tokenizer, encoded, plan, _, scratch, kept, held, curve = begun
            seconds = 0.0
            losses: tuple[float, ...] = ()
            tokens, first_kept = 0, kept.of("sft")
            if (wanted := self.dpo.sft_first) is not None:
                own = self.model_copy(update={"epochs": wanted.epochs, "learning_rate": wanted.learning_rate})
                with fits(self):
                    first = make_trainer(model, tokenizer, encoded.chosen(), own, plan, scratch, on_step)
                seconds, model = run(first, own, first_kept, place), first.model
                save_last(first)
                losses, tokens = tuple(first.steps.losses), first.steps.tokens
                del first  # what its optimiser holds is not needed any more
            with fits(self), enough_memory(self):
                trainer = make_dpo_trainer(model, tokenizer, encoded, self, self.dpo, plan, scratch, on_step)
                watch(trainer, curve, held_pairs(trainer, held, self.batch_size))
            seconds += run(trainer, self, kept.of("dpo", after=first_kept.seal), place)
            if self.lora and REFERENCE in trainer.model.peft_config:
                trainer.model.delete_adapter(REFERENCE)  # a reference that was an adapter is not part of the student
            return finish(begun, trainer, self, out, seconds, sft_losses=losses, sft_tokens=tokens)

    def lint(
        self,
        rows: Path | str | Iterable[Row],
        *,
        test: Sequence[Task] = (),
        checker: Checker | None = None,
        thinking: NamedMarks | None = None,
    ) -> LintReport:
        """See the base class; no answer of a pair is checked."""
        from stillroom.students.lint.lint import lint_pairs

        return lint_pairs(rows, self, test=test, reference=self.reference, thinking=thinking)

    @property
    def asked(self) -> Asked:
        return Asked(again=0 if self.dpo.precompute_ref else 1)

    @property
    def reference(self) -> Reference:
        """The model that the losses are taken against."""
        first = self.dpo.sft_first
        start = f"{self.model} as it is"
        if first is not None:
            start = f"{self.model} after {first.epochs:g} epochs on the chosen answers"
        if self.lora is None or self.dpo.precompute_ref:
            told = f"{start}, its log-probabilities taken before the first step"
        else:
            told = f"{start}, by " + ("its adapter switched off" if first is None else "a copy of its adapter")
        return Reference(self.model, told, first is not None)
