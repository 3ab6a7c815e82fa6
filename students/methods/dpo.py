"""Direct preference optimisation of a student on pairs: trl's DPOTrainer, a LoRA or all weights.

    settings = Dpo(model="embedded:smollm2-135m-instruct", dpo={"beta": 0.1})
    trained = settings.train(run / "dpo", run / "student", seed=7, on_step=print)
    trained.rewards[-1].accuracy                       # of the last step's pairs

With `dpo.sft_first` the student first learns the chosen answers; DPO then starts from there, with that as reference.
Refuses what SFT refuses. Pairs that are too long are left out and counted; trl would cut them. On a CPU the
same pairs, settings and seed give the same student.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from stillroom.common.models.resolve import fingerprint, load_model, load_tokenizer
from stillroom.common.records import Task
from stillroom.students.data.encode import EncodedPairs, encode_pairs, prepare_tokenizer
from stillroom.students.data.rows import Row, read_pairs, with_system
from stillroom.students.export.save import check_room, whole_folder, write_record
from stillroom.students.methods.common import (
    TRL,
    bytes_to_save,
    enough_memory,
    fits,
    load_dtype,
    longest,
    make_plan,
    make_record,
    places,
    quiet_training,
    run,
    save,
)
from stillroom.students.methods.dpo_trainer import DpoSettings, make_dpo_trainer
from stillroom.students.methods.registry import StudentSettings, methods
from stillroom.students.methods.trainer import make_trainer
from stillroom.students.records import OnStep, Plan, Reference, Rewards, Trained

if TYPE_CHECKING:
    from stillroom.students.lint.report import LintReport
    from stillroom.students.records import Checker

REFERENCE = "ref"
"""What trl calls the copy of an adapter that it keeps as the reference."""


@dataclass(frozen=True, slots=True)
class TrainedDpo(Trained):
    """A student finished with DPO. `rows` counts pairs. `rewards`: one a step, as `losses`. `tokens`: of both sides.
    `sft_losses`: of the steps on the chosen answers before; empty where there were none. `seconds`: of both."""

    rewards: tuple[Rewards, ...]
    sft_losses: tuple[float, ...]


@methods.register
class Dpo(StudentSettings):
    """Direct preference optimisation on pairs. Trained on the chosen answers first where `dpo.sft_first` says so."""

    learns_from: ClassVar[Literal["rows", "pairs"]] = "pairs"

    method: Literal["dpo"] = "dpo"
    learning_rate: float = Field(default=5e-5, gt=0, le=1)
    dpo: DpoSettings = DpoSettings()

    @field_validator("dpo", mode="before")
    @classmethod
    def _defaults(cls, value: Any) -> Any:
        """`dpo:` without keys reads as its defaults."""
        return {} if value is None else value

    @model_validator(mode="after")
    def _method_fits(self) -> Dpo:
        if self.lora is None and not self.dpo.precompute_ref:
            raise ValueError(
                "dpo.precompute_ref is false and lora is off: the reference would be a second copy of the model in "
                "memory. Set precompute_ref: true, or train a lora"
            )
        if self.lora is not None and self.lora.dropout:
            raise ValueError(
                f"lora.dropout is {self.lora.dropout}, but trl switches dropout off for dpo: leave it out"
            )
        return self

    def train(
        self, rows: Path | str | Iterable[Row], out: Path, *, seed: int, on_step: OnStep | None = None
    ) -> TrainedDpo:
        """See the base class. Rows hold conversational `prompt`, `chosen` and `rejected`; `phase` of a step tells
        those of `sft_first` from those of DPO."""
        found = [row._replace(prompt=with_system(row.prompt, self.system)) for row in read_pairs(rows)]
        with quiet_training(), whole_folder(out) as work:
            tokenizer = load_tokenizer(self.model)
            plan = make_plan(self, seed)
            model = load_model(self.model, load_dtype(self, plan), plan.device)
            encoded = encode_pairs(found, tokenizer, longest(self, model))
            prepare_tokenizer(tokenizer, encoded.end_id)
            check_room(work, bytes_to_save(model))
            first = _sft_first(model, tokenizer, encoded, self, plan, work, on_step)
            with fits(self), enough_memory(self):
                trainer = make_dpo_trainer(first.model, tokenizer, encoded, self, self.dpo, plan, work / TRL, on_step)
            seconds = first.seconds + run(trainer, self)
            trained = _trained(trainer, first, encoded, self, out, seconds)
            _finish(trainer, trained, tokenizer, encoded, self, plan, work)
            return trained

    def lint(
        self, rows: Path | str | Iterable[Row], *, test: Sequence[Task] = (), checker: Checker | None = None
    ) -> LintReport:
        """See the base class; no answer of a pair is checked."""
        from stillroom.students.lint import lint_pairs

        return lint_pairs(rows, self, test=test, reference=self.reference)

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


@dataclass(frozen=True, slots=True)
class _First:
    """What DPO starts from: the model, after its training on the chosen answers if there was one."""

    model: Any
    losses: tuple[float, ...] = ()
    tokens: int = 0
    seconds: float = 0.0


def _sft_first(
    model: Any,
    tokenizer: Any,
    encoded: EncodedPairs,
    settings: Dpo,
    plan: Plan,
    work: Path,
    on_step: OnStep | None,
) -> _First:
    """Trains on the chosen answers where the settings ask for it."""
    wanted = settings.dpo.sft_first
    if wanted is None:
        return _First(model)
    own = settings.model_copy(update={"epochs": wanted.epochs, "learning_rate": wanted.learning_rate})
    with fits(settings):
        trainer = make_trainer(model, tokenizer, encoded.chosen(), own, plan, work / TRL, on_step)
    seconds = run(trainer, own)
    return _First(trainer.model, tuple(trainer.steps.losses), trainer.steps.tokens, seconds)


def _trained(
    trainer: Any, first: _First, encoded: EncodedPairs, settings: Dpo, out: Path, seconds: float
) -> TrainedDpo:
    adapter, merged = places(settings, out)
    return TrainedDpo(
        folder=out,
        adapter=adapter,
        merged=merged,
        rows=len(encoded.rows),
        left_out=encoded.left_out,
        losses=tuple(trainer.steps.losses),
        tokens=first.tokens + trainer.steps.tokens,
        seconds=seconds,
        rewards=tuple(trainer.steps.rewards),
        sft_losses=first.losses,
    )


def _finish(
    trainer: Any,
    trained: TrainedDpo,
    tokenizer: Any,
    encoded: EncodedPairs,
    settings: Dpo,
    plan: Plan,
    work: Path,
) -> None:
    """Saves the student with its record; a reference that was an adapter of its own is no part of it."""
    if settings.lora and REFERENCE in trainer.model.peft_config:
        trainer.model.delete_adapter(REFERENCE)
    save(trainer.model, tokenizer, settings, plan, work)
    record = make_record(trained, tokenizer, settings, plan, model=fingerprint(settings.model), data=encoded.digest())
    steps = [{name: round(value, 6) for name, value in step._asdict().items()} for step in trained.rewards]
    first = [round(loss, 6) for loss in trained.sft_losses]
    write_record(record | {"rewards": steps, "sft_losses": first}, work)
