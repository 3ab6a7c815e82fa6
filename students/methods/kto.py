"""Kahneman-Tversky optimisation (KTO): a student learns from single answers, each desirable or not, as they are.

    settings = Kto(model="embedded:smollm2-135m-instruct", kto={"beta": 0.1})
    trained = settings.train(run / "kto", run / "student", seed=7, on_step=print)
    trained.measures[-1]["reward_desirable"]           # β·(log π − log π_ref), mean over the last step's rows

The loss is trl's KTOTrainer's (Ethayarajh et al. 2024, https://arxiv.org/abs/2402.01306). Its reference point, an
estimate of the KL divergence from the reference model, comes from answers that stand under the prompts of other rows
of the batch. So a batch has 2 rows or more, and which rows make a batch is laid down by the seed before the first
step (`mismatched.py`); trl, too, goes through them in one order. The reference is the model with its adapter off; for
full fine-tuning its log-probabilities are computed before the first step. On a CPU the same rows, settings and seed
give the same student.

Where there are more answers of one kind than of the other, the classes are weighted (`class_weights`).
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from stillroom.common.marks import NamedMarks
from stillroom.common.records import Task
from stillroom.errors import TrainingError
from stillroom.students.data.encode import IGNORED
from stillroom.students.data.labelled import EncodedAnswer, EncodedAnswers, encode_labelled, read_labelled
from stillroom.students.data.mismatched import Placed, batches_of
from stillroom.students.data.rows import Row, with_system
from stillroom.students.methods.batches import check_batch
from stillroom.students.methods.class_weights import ClassWeights, KtoSettings, class_weights
from stillroom.students.methods.common import enough_memory, finish, fits, run, training
from stillroom.students.methods.cpu_passes import can_flatten, use_row_pass
from stillroom.students.methods.registry import Source, StudentSettings, longest, methods
from stillroom.students.methods.trainer import (
    OwnRows,
    Steps,
    lora_config,
    report_to,
    unwrapped,
    whole_numbers,
)
from stillroom.students.methods.trl_config import config_of
from stillroom.students.records import Asked, OnStep, Plan, Reference, Trained, TrainingPlace

if TYPE_CHECKING:
    from stillroom.students.lint.report import LintReport
    from stillroom.students.records import Checker

MEASURED = {
    "kl": "kl",
    "rewards/chosen": "reward_desirable",
    "rewards/rejected": "reward_undesirable",
    "rewards/margins": "reward_margin",
}
"""What is told of each step, by its name in trl's logs; a reward only where the step has rows of that kind."""


def make_kto_trainer(
    model: Any,
    tokenizer: Any,
    encoded: EncodedAnswers,
    settings: StudentSettings,
    kto: KtoSettings,
    plan: Plan,
    work: Path,
    on_step: OnStep | None = None,
) -> Any:
    """A trainer whose first batch has passed the checks. `work`: a folder for whatever trl wants to keep.

    Raises TrainingError where there are rows of one kind only."""
    import datasets
    import transformers

    weights = weights_of(encoded, kto)
    arguments = config_of(
        settings,
        "KTOConfig",
        plan,
        work,
        beta=kto.beta,
        loss_type=kto.loss_type,
        desirable_weight=weights.desirable,
        undesirable_weight=weights.undesirable,
        precompute_ref_log_probs=kto.precompute_ref,
        train_sampling_strategy="sequential",  # in the order of `batches_of`
        remove_unused_columns=False,
    )
    steps = Steps(on_step, "kto", MEASURED)
    kl = kto.loss_type == "kto"
    if kl:
        most = longest(settings, model.config)
        placed = batches_of(encoded.rows, settings.batch_size, plan.seed, most)
    else:
        placed = _shuffled(encoded.rows, plan.seed)
    rows = [_fed(each, kl=kl) for each in placed]
    trainer = _trainer_class()(
        model=model,
        args=arguments,
        train_dataset=datasets.Dataset.from_list(rows),
        processing_class=tokenizer,
        peft_config=lora_config(settings.lora, model.config) if settings.lora else None,
        callbacks=[report_to(steps)],
    )
    trainer.remove_callback(transformers.PrinterCallback)
    whole_numbers(trainer.model)
    trainer.steps = steps
    first = settings.batch_size
    check_answers(trainer.data_collator(rows[:first]), placed[:first], encoded.end_id)
    plain = unwrapped(trainer.model)
    if plan.device == "cpu" and can_flatten(plain.config):
        use_row_pass(plain)
    if trainer.precompute_ref_logps:
        trainer.train_dataset = _with_reference(trainer, rows, settings.batch_size)
    return trainer


def weights_of(encoded: EncodedAnswers, kto: KtoSettings) -> ClassWeights:
    """The weights of the two kinds of rows. Raises TrainingError where there is one kind only."""
    desirable = encoded.desirable
    undesirable = len(encoded.rows) - desirable
    if not desirable or not undesirable:
        kind = "desirable" if desirable else "undesirable"
        raise TrainingError(
            f"all {len(encoded.rows):,} rows that can be trained on are {kind} ({len(encoded.left_out):,} were left "
            "out), and KTO needs both kinds: give rows of the other kind, "
            + ("or set student.method: sft" if desirable else "such as answers that were accepted")
        )
    return class_weights(desirable, undesirable, given=kto.desirable_weight, given_undesirable=kto.undesirable_weight)


def _shuffled(rows: Sequence[EncodedAnswer], seed: int) -> list[Placed]:
    order = list(rows)
    random.Random(seed).shuffle(order)
    return [Placed(row, []) for row in order]


def _fed(placed: Placed, *, kl: bool) -> dict[str, Any]:
    """The row as trl's collator takes it."""
    row = placed.row
    found = {"prompt_ids": row.prompt_ids, "completion_ids": row.answer_ids, "label": row.label}
    return found | ({"KL_completion_ids": placed.other} if kl else {})


def check_answers(batch: Mapping[str, Any], placed: Sequence[Placed], end_id: int) -> None:
    """`batch`: `input_ids`, `attention_mask`, `completion_mask`, each (B, T), the same with `KL_` before them where
    there is a KL term, and `label` (B,); `placed`: what it was made of, in order."""
    found = batch["label"].tolist()
    for each, label in zip(placed, found, strict=True):
        if label != each.row.label:
            raise TrainingError(
                f"{each.row.name}: the batch holds the label {label}, the row {each.row.label}. Nothing was trained: "
                "the collator is at fault"
            )
    mismatched = [each.row._replace(answer_ids=each.other).row() for each in placed]
    sides = {"": [each.row.row() for each in placed]} | ({"KL_": mismatched} if "KL_input_ids" in batch else {})
    for prefix, rows in sides.items():
        ids, mask = (batch[f"{prefix}{name}"] for name in ("input_ids", "attention_mask"))
        for row, read, seen in zip(rows, ids.tolist(), mask.tolist(), strict=True):
            length = len(row.input_ids)
            if read[:length] != row.input_ids or seen != [1] * length + [0] * (len(read) - length):
                raise TrainingError(
                    f"{row.name}: the batch does not hold its prompt and answer from the left, padded on the right. "
                    "Nothing was trained: the collator is at fault"
                )
        labels = ids.masked_fill(batch[f"{prefix}completion_mask"] == 0, IGNORED)
        check_batch({"input_ids": ids, "attention_mask": mask, "labels": labels}, rows, end_id)


def _with_reference(trainer: Any, rows: list[dict[str, Any]], batch_size: int) -> Any:
    """The data set with the reference's log-probabilities, computed in the batches of the training."""
    found: dict[str, list[float]] = {"ref_logps": [], "ref_KL_logps": []}
    for start in range(0, len(rows), batch_size):
        batch = trainer.data_collator(rows[start : start + batch_size])
        batch = {name: column.to(trainer.accelerator.device) for name, column in batch.items()}
        for name, scores in zip(found, trainer.compute_ref_log_probs(trainer.model, batch), strict=True):
            found[name] += [] if scores is None else scores.tolist()
    dataset = trainer.train_dataset
    for name, scores in found.items():
        dataset = dataset.add_column(name, scores) if scores else dataset
    return dataset


def _trainer_class() -> Any:
    """trl's trainer for rows that come in tokens; made here because trl is loaded only where it is used."""
    import trl

    class AnswerTrainer(OwnRows, trl.KTOTrainer):  # type: ignore[misc]  # trl has no types we follow
        """Its loss is trl's."""

    return AnswerTrainer


@methods.register
class Kto(StudentSettings):
    """Kahneman-Tversky optimisation on single answers, each desirable or not."""

    learns_from: ClassVar[Source] = "labelled rows"
    trl_config: ClassVar[str] = "KTOConfig"
    instead: ClassVar[Mapping[str, str]] = {
        "beta": "kto.beta",
        "loss_type": "kto.loss_type",
        "desirable_weight": "kto.desirable_weight",
        "undesirable_weight": "kto.undesirable_weight",
        "precompute_ref_log_probs": "kto.precompute_ref",
    }
    unfit: ClassVar[Mapping[str, str]] = {
        "train_sampling_strategy": "which rows make a batch is laid down before the first step",
        "label_smoothing_factor": "its loss has no labels to smooth",
    }

    method: Literal["kto"] = "kto"
    learning_rate: float = Field(default=5e-5, gt=0, le=1)
    """Highest learning rate."""
    kto: KtoSettings = KtoSettings()
    """Settings of the loss and its rows."""

    @field_validator("kto", mode="before", json_schema_input_type=KtoSettings | None)
    @classmethod
    def _defaults(cls, value: Any) -> Any:
        return {} if value is None else value

    @model_validator(mode="after")
    def _method_fits(self) -> Kto:
        if self.kto.loss_type == "kto" and self.batch_size < 2:
            raise ValueError(
                f"batch_size is {self.batch_size}, but KTO measures the KL divergence of a row with the answers of "
                "others in its batch: set batch_size: 2 or more"
            )
        if self.validation is not None:
            raise ValueError(
                "kto measures no validation loss, which would need answers to other prompts of a batch: leave it out"
            )
        if self.lora is None and not self.kto.precompute_ref:
            raise ValueError(
                "kto.precompute_ref is false and lora is off: the reference would be a second copy of the model in "
                "memory. Set precompute_ref: true, or train a lora"
            )
        self.refuse_processes("KTO takes the KL divergence from the answers of one batch")
        self.refuse_dropout()
        return self

    @property
    def answers_per_task(self) -> int | None:
        return self.kto.per_task

    def train(
        self,
        rows: Path | str | Iterable[Row],
        out: Path,
        *,
        seed: int,
        on_step: OnStep | None = None,
        place: TrainingPlace | None = None,
    ) -> Trained:
        """See the base class. Rows hold conversational `prompt` and `completion`, and `label` true or false."""
        found = [row._replace(prompt=with_system(row.prompt, self.system)) for row in read_labelled(rows)]
        place = place or TrainingPlace()
        with training(self, out, seed, place, found, encode_labelled) as begun:
            encoded, weights = begun.encoded, weights_of(begun.encoded, self.kto)
            place.tell(told(encoded, weights))
            with fits(self), enough_memory(self):
                trainer = make_kto_trainer(
                    begun.model, begun.tokenizer, encoded, self, self.kto, begun.plan, begun.scratch, on_step
                )
            counts = {"desirable": encoded.desirable, "undesirable": len(encoded.rows) - encoded.desirable}
            more = {"labels": counts, "class_weights": weights._asdict()}
            return finish(begun, trainer, self, out, run(trainer, self, begun.kept.of("kto"), place), more=more)

    def lint(
        self,
        rows: Path | str | Iterable[Row],
        *,
        test: Sequence[Task] = (),
        checker: Checker | None = None,
        thinking: NamedMarks | None = None,
    ) -> LintReport:
        """See the base class. The undesirable answers are not checked."""
        from stillroom.students.lint.labelled import lint_labelled

        return lint_labelled(
            rows, self, self.kto, reference=self.reference, test=test, checker=checker, thinking=thinking
        )

    @property
    def asked(self) -> Asked:
        kl = self.kto.loss_type == "kto"
        return Asked(again=0 if self.kto.precompute_ref else 1 + kl, mismatched=kl)

    @property
    def reference(self) -> Reference:
        """The model that the losses are taken against."""
        start = f"{self.model} as it is"
        if self.lora is None or self.kto.precompute_ref:
            return Reference(self.model, f"{start}, its log-probabilities taken before the first step", False)
        return Reference(self.model, f"{start}, by its adapter switched off", False)


def told(encoded: EncodedAnswers, weights: ClassWeights) -> str:
    """The rows of each kind and their weights, in a line."""
    counts = encoded.desirable, len(encoded.rows) - encoded.desirable
    line = (
        f"{counts[0]:,} desirable rows with weight {weights.desirable:.3g}, {counts[1]:,} undesirable with weight "
        f"{weights.undesirable:.3g}: {weights.ratio:.2f} to 1"
    )
    return line if weights.fit else f"{line}, which the paper puts between 1 and 1.33"
