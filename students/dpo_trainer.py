"""trl's DPOTrainer, set up for a student: quiet, seeded, nothing cut, the reference without a second copy.

    trainer = make_dpo_trainer(model, tokenizer, encoded, settings, Plan("cpu", "bfloat16", 7), work, on_step=print)
    trainer.train()

The reference is the model with its adapter off; where SFT came first, a copy of the adapter as SFT left it; for full
fine-tuning, its log-probabilities computed before the first step. Pairs come tokenised, so what `preflight` looks at
is what is trained. On a CPU, models that `shared_prefix` knows take the pass of `pair_pass`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from stillroom.students.pair_encoding import EncodedPair, EncodedPairs
from stillroom.students.pair_pass import use_pair_pass
from stillroom.students.preflight import check_pairs
from stillroom.students.settings import StudentSettings
from stillroom.students.shared_prefix import can_flatten
from stillroom.students.trainer import OnStep, Plan, Steps, common_arguments, lora_config, report_to


def make_dpo_trainer(
    model: Any,
    tokenizer: Any,
    encoded: EncodedPairs,
    settings: StudentSettings,
    plan: Plan,
    work: Path,
    on_step: OnStep | None = None,
) -> Any:
    """A trainer whose first batch has passed the checks. `model`: a peft model goes on with its adapter.
    `work`: a folder for whatever trl wants to keep."""
    import datasets
    import transformers

    adapted = hasattr(model, "peft_config")
    steps = Steps(on_step, "dpo")
    trainer = _trainer_class()(
        model=model,
        args=_arguments(settings, plan, work),
        train_dataset=datasets.Dataset.from_list([_columns(row) for row in encoded.rows]),
        processing_class=tokenizer,
        peft_config=lora_config(settings.lora) if settings.lora and not adapted else None,
        callbacks=[report_to(steps)],
    )
    trainer.remove_callback(transformers.PrinterCallback)
    trainer.steps = steps
    first = encoded.rows[: settings.batch_size]
    check_pairs(trainer.data_collator([_columns(row) for row in first]), first, encoded.end_id)
    plain = trainer.model.get_base_model() if settings.lora else trainer.model
    if plan.device == "cpu" and can_flatten(plain.config):
        use_pair_pass(plain)
    if trainer.precompute_ref_logps:
        trainer.train_dataset = _with_reference(trainer, encoded.rows, settings.batch_size)
    return trainer


def _columns(row: EncodedPair) -> dict[str, Any]:
    ids = {"prompt_ids": row.prompt_ids, "chosen_ids": row.chosen_ids, "rejected_ids": row.rejected_ids}
    return ids | {"length": row.longest}


def _arguments(settings: StudentSettings, plan: Plan, work: Path) -> Any:
    """The settings in trl's words."""
    import trl

    dpo = settings.dpo
    assert dpo is not None  # the settings see to it
    return trl.DPOConfig(
        beta=dpo.beta,
        loss_type=list(dpo.loss_type),
        loss_weights=None if dpo.loss_weights is None else list(dpo.loss_weights),
        label_smoothing=dpo.label_smoothing,
        ld_alpha=dpo.ld_alpha,
        precompute_ref_log_probs=dpo.precompute_ref,
        train_sampling_strategy="group_by_length",
        length_column_name="length",
        remove_unused_columns=False,  # it would take the lengths away before the rows are grouped by them
        **common_arguments(settings, plan, work),
    )


def _with_reference(trainer: Any, rows: list[EncodedPair], batch_size: int) -> Any:
    """The data set with the reference's log-probabilities of both answers, computed in batches of like length."""
    order = sorted(range(len(rows)), key=lambda i: rows[i].longest, reverse=True)
    chosen, rejected = [0.0] * len(rows), [0.0] * len(rows)
    for start in range(0, len(order), batch_size):
        part = order[start : start + batch_size]
        batch = trainer.data_collator([_columns(rows[i]) for i in part])
        batch = {name: column.to(trainer.accelerator.device) for name, column in batch.items()}
        found = trainer.compute_ref_log_probs(trainer.model, batch)
        for i, c, r in zip(part, *(side.tolist() for side in found), strict=True):
            chosen[i], rejected[i] = c, r
    columns = {"ref_chosen_logps": chosen, "ref_rejected_logps": rejected}
    dataset = trainer.train_dataset
    for name, values in columns.items():
        dataset = dataset.add_column(name, values)
    return dataset


def _trainer_class() -> Any:
    """trl's trainer for pairs that come in tokens; made here because trl is loaded only where it is used."""
    import trl

    class PairTrainer(trl.DPOTrainer):  # type: ignore[misc]  # trl has no types we follow
        steps: Steps

        def _prepare_dataset(self, dataset: Any, *_: Any) -> Any:
            """trl's own tokenises, trains what a template writes after the end token, and drops long rows unsaid."""
            return dataset

        def _precompute_ref_logps(self, dataset: Any, *_: Any) -> Any:
            """trl's own prints a progress bar and keeps a cache that does not know of `ld_alpha`; see below."""
            return dataset

        def compute_loss(self, model: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
            self.steps.tokens += int(inputs["attention_mask"].sum())
            return super().compute_loss(model, inputs, *args, **kwargs)

    return PairTrainer
