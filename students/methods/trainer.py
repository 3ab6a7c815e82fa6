"""trl's SFTTrainer, set up for a student: quiet, seeded, stopped at the first loss that is not a number.

    trainer = make_trainer(model, tokenizer, encoded, settings, Plan("cpu", "bfloat16", 7), work, on_step=print)
    trainer.train()

Rows come tokenised and with labels. A wrong loss mask fails silently (the loss falls, and the student echoes its
prompt or never stops), so the first batch is looked at as the collator makes it (`batches.py`). Nothing is printed;
progress goes to `on_step`, checkpoints to `kept` (`resume.py`), losses to trackers that are named.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from stillroom.errors import TrainingError
from stillroom.students.data.encode import IGNORED, Encoded, EncodedPairs
from stillroom.students.methods.batches import check_batch, check_packed
from stillroom.students.methods.cpu_passes import answer_loss, can_flatten, flatten
from stillroom.students.methods.ranks import Ranks, Together, take_losses
from stillroom.students.methods.registry import LoraSettings, StudentSettings, longest
from stillroom.students.methods.resume import Resumable
from stillroom.students.methods.trl_config import config_of, reshaped
from stillroom.students.methods.validation import Curve, Held, Validated
from stillroom.students.records import OnStep, Phase, Plan, Rewards, StepInfo

Batch = Mapping[str, Any]


class StepLoss(Protocol):
    """A loss of our own. A step of the optimiser is seen whole before its batches are, since only its tokens can
    divide what they sum up to."""

    def step(self, batches: Sequence[Batch]) -> list[Any]:
        """What the batches of a step train on. Each comes as `row`, the numbers of the rows that were drawn (B,)."""

    def counts(self, batches: Sequence[Any]) -> Any:
        """What sums are divided by: a tensor that is added up over processes."""

    def tokens(self, batch: Any) -> int:
        """Of prompts and answers, without padding."""

    def held(self, rows: Sequence[int]) -> Any:
        """The batch of rows that the loss is measured on and that are not trained on."""

    def part(self, batch: Any, ranks: Ranks) -> Any:
        """What one of several processes trains on of a batch; empty for nothing."""

    def add_up(self, summed: Callable[[Sequence[float]], list[float]]) -> None:
        """Adds up over processes what was summed up since the last step."""

    def drop(self) -> None:
        """Forgets what was summed up since the last step: it was no step of the training."""

    def state(self) -> dict[str, Any]:
        """What the steps so far have made of it, as JSON."""

    def restore(self, state: dict[str, Any]) -> None:
        """Takes back what `state` gave."""

    def __call__(self, model: Any, batch: Any, counts: Any) -> Any:
        """The batch's part of the step's mean loss: a scalar tensor."""


def make_trainer(
    model: Any,
    tokenizer: Any,
    encoded: Encoded,
    settings: StudentSettings,
    plan: Plan,
    work: Path,
    on_step: OnStep | None = None,
    own: StepLoss | None = None,
    sampler: Any = None,
) -> Any:
    """A trainer whose first batch has passed the checks. `work`: a folder for whatever trl wants to keep.

    `own`: the loss, where it is not the cross-entropy of the labels. `sampler`: gives the order of the rows, None for
    the trainer's own.
    """
    import datasets
    import transformers

    flat = plan.device == "cpu" and can_flatten(model.config) and not reshaped(settings)
    packed = bool(settings.trainer.get("packing"))
    # A flat batch and a packed row have no padding, so rows need no sorting.
    order = "random" if flat or packed else "group_by_length"
    rows: list[dict[str, Any]] = [{"input_ids": row.input_ids, "labels": row.labels} for row in encoded.rows]
    if own is not None:
        rows = [row | {"row": i} for i, row in enumerate(rows)]
    steps = Steps(on_step)
    trainer = trainer_class()(
        model=model,
        args=config_of(
            settings,
            "SFTConfig",
            plan,
            work,
            train_sampling_strategy=order,
            remove_unused_columns=own is None,
            max_length=longest(settings, model.config) if packed else None,
        ),
        train_dataset=datasets.Dataset.from_list(rows),
        processing_class=tokenizer,
        peft_config=lora_config(settings.lora, model.config) if settings.lora else None,
        callbacks=[report_to(steps)],
    )
    trainer.remove_callback(transformers.PrinterCallback)
    whole_numbers(trainer.model)
    trainer.steps, trainer.own, trainer.sampler = steps, own, sampler
    # Processes keep step with each other in what trl measures of a pass; ours skips it where it fits.
    trainer.flat = flat and trainer.ranks.size == 1
    if own is not None and trainer.ranks.size > 1:
        take_losses(trainer.model)
    first = settings.batch_size
    batch = trainer.data_collator([trainer.train_dataset[i] for i in range(min(first, len(trainer.train_dataset)))])
    if trainer.padding_free:
        check_packed(batch, encoded.rows, encoded.end_id)
    else:
        check_batch(batch, encoded.rows[:first], encoded.end_id)
    if own is not None:
        trainer.data_collator = row_numbers
    return trainer


def pair_columns(encoded: EncodedPairs) -> list[dict[str, Any]]:
    """The pairs as trl's collator takes them."""
    return [
        {
            "prompt_ids": row.prompt_ids,
            "chosen_ids": row.chosen_ids,
            "rejected_ids": row.rejected_ids,
            "length": row.longest,
        }
        for row in encoded.rows
    ]


def watch(trainer: Any, curve: Curve | None, held: Sequence[Held]) -> None:
    """Has the trainer measure its loss on rows that it does not learn from."""
    trainer.curve, trainer.held = curve, held


def held_rows(trainer: Any, held: Encoded | None, batch_size: int) -> list[Held]:
    """The batches that the loss is measured on; a loss of our own knows their rows, behind those of the training."""
    import torch

    rows, found = [] if held is None else held.rows, list[Held]()
    for start in range(0, len(rows), batch_size):
        part = rows[start : start + batch_size]
        if trainer.own is None:
            columns = [{"input_ids": row.input_ids, "labels": row.labels} for row in part]
            batch = trainer.data_collator(columns)
            counts = torch.tensor(sum(label != IGNORED for row in part for label in row.labels))
        else:
            first = len(trainer.train_dataset) + start
            batch = trainer.own.held(list(range(first, first + len(part))))
            counts = trainer.own.counts([batch])
        found.append(Held(batch, int(counts.sum()), counts.to(trainer.args.device)))
    return found


def trainer_class() -> Any:
    """trl's SFTTrainer with our losses."""
    import trl

    class StudentTrainer(Together, Resumable, Validated, trl.SFTTrainer):  # type: ignore[misc]  # trl has no types we follow
        steps: Steps
        own: StepLoss | None
        flat: bool
        sampler: Any

        def _get_train_sampler(self, *args: Any) -> Any:
            return super()._get_train_sampler(*args) if self.sampler is None else self.sampler

        def get_batch_samples(self, epoch_iterator: Any, num_batches: int, device: Any) -> Any:
            if self.own is None:
                return super().get_batch_samples(epoch_iterator, num_batches, device)
            drawn = list(itertools.islice(epoch_iterator, num_batches))
            self.random_as_saved()
            batches = self.own.step(drawn)
            counts = self.own.counts(batches).to(device)
            if self.ranks.size > 1:
                batches = [self.own.part(batch, self.ranks) for batch in batches]
            return batches, counts

        def _prepare_inputs(self, inputs: Any) -> Any:
            # A loss of our own may have nothing to train on in a batch, which transformers takes for a mistake.
            return inputs if self.own is not None and not inputs else super()._prepare_inputs(inputs)

        def compute_loss(
            self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
        ) -> Any:
            if self.own is not None:
                return self._own_loss(self.own, model, inputs, num_items_in_batch)
            self.count(inputs)
            total = flat_cross_entropy(model, inputs) if self.flat and not return_outputs else None
            if total is None:
                plain = partial(super().compute_loss, model, inputs, return_outputs, num_items_in_batch)
                return self.shared(inputs, plain, mean=False)
            count = (inputs["labels"] != IGNORED).sum() if num_items_in_batch is None else num_items_in_batch
            return total / count

        def _own_loss(self, own: StepLoss, model: Any, inputs: Any, counts: Any) -> Any:
            self.steps.tokens += own.tokens(inputs)
            if not inputs and self.ranks.size > 1:
                return self.through(model, self.nothing)
            # Processes average their gradients, and each has divided by the tokens of all.
            return self.through(model, lambda: own(self.model, inputs, counts)) * self.ranks.size

    return StudentTrainer


def whole_numbers(model: Any) -> None:
    """The weights of adapters in float32 again: trl takes them to bfloat16 where their base is held in fewer bits,
    which would round small steps away."""
    for name, weight in model.named_parameters():
        if weight.requires_grad and "lora_" in name:
            weight.data = weight.data.float()


def row_numbers(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """A batch for a loss of our own, which has the rows themselves: (B,)."""
    import torch

    return {"row": torch.tensor([row["row"] for row in rows])}


def flat_cross_entropy(model: Any, batch: Mapping[str, Any]) -> Any:
    """Of the labels, summed, in a flat pass; None if that pass would be dearer."""
    flat = flatten(batch["input_ids"], batch["labels"], batch["attention_mask"])
    return None if flat is None else answer_loss(unwrapped(model), flat)


def unwrapped(model: Any) -> Any:
    """The causal language model itself, its adapter's layers within it."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


class OwnRows(Together, Resumable, Validated):
    """Stands before one of trl's trainers for rows that come in tokens: nothing of trl's changes them."""

    steps: Steps

    def _prepare_dataset(self, dataset: Any, *_: Any) -> Any:
        """trl's own tokenises, trains what a template writes after the end token, drops long rows unsaid, and takes
        mismatched answers of KTO from rows of one prompt."""
        return dataset

    def _precompute_ref_logps(self, dataset: Any, *_: Any) -> Any:
        """trl's own prints a progress bar and keeps a cache that does not know of `ld_alpha`."""
        return dataset

    def compute_loss(self, model: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        """trl's own, with its tokens counted."""
        self.count(inputs)
        return self.shared(inputs, partial(super().compute_loss, model, inputs, *args, **kwargs), mean=True)


class Steps:
    """What the steps of a training have shown so far. `measured`: what is kept of a step's logs, by the name there;
    what a step does not log (of a batch without a rejected answer, say) is not among its `measures`."""

    def __init__(
        self, on_step: OnStep | None, phase: Phase = "sft", measured: Mapping[str, str] | None = None
    ) -> None:
        self.on_step = on_step
        self.phase: Phase = phase
        self.measured = measured or {}
        self.measures: list[dict[str, float]] = []
        self.losses: list[float] = []
        self.rewards: list[Rewards] = []
        self.tokens = 0
        self.began = time.perf_counter()
        self.seconds_before, self._tokens_before = 0.0, 0  # of a checkpoint that is gone on with

    def state(self) -> dict[str, Any]:
        """For a checkpoint."""
        seconds = self.seconds_before + time.perf_counter() - self.began
        return {"losses": self.losses, "rewards": self.rewards, "measures": self.measures} | {
            "tokens": self.tokens,
            "seconds": seconds,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Takes back what `state` gave."""
        self.losses, self.rewards = list(state["losses"]), [Rewards(*each) for each in state["rewards"]]
        self.measures = list(state.get("measures", ()))
        self.tokens = self._tokens_before = state["tokens"]
        self.seconds_before = state["seconds"]

    def done(self, step: int, total: int, logs: dict[str, float]) -> None:
        """Records a step; raises TrainingError if its loss or gradient is not a number."""
        loss, norm = float(logs["loss"]), float(logs.get("grad_norm", 0.0))
        if not (math.isfinite(loss) and math.isfinite(norm)):
            raise TrainingError(
                f"step {step} of {total}: the loss is {loss}, the gradient {norm}: the training has diverged. Lower "
                "`student.learning_rate`, or set `student.dtype: float32`"
            )
        self.losses.append(loss)
        rewards = None
        if self.phase == "dpo":
            names = ("chosen", "rejected", "margins", "accuracies")
            rewards = Rewards(*(float(logs[f"rewards/{name}"]) for name in names))
            self.rewards.append(rewards)
        measures = {name: float(logs[key]) for key, name in self.measured.items() if key in logs}
        if self.measured:
            self.measures.append(measures)
        seconds = time.perf_counter() - self.began
        rate, epoch = (self.tokens - self._tokens_before) / seconds if seconds else 0.0, float(logs.get("epoch", 0.0))
        if self.on_step is not None:
            self.on_step(
                StepInfo(
                    step, total, loss, rate, logs["learning_rate"], epoch, seconds, self.phase, rewards, measures
                )
            )


def lora_config(settings: LoraSettings, model: Any) -> Any:
    """The adapter in peft's words. `model`: the configuration of what it adapts."""
    import peft

    targets, whole = settings.target_modules, list(settings.modules_to_save)
    tied = bool(getattr(model, "tie_word_embeddings", False)) and bool({"embed_tokens", "lm_head"} & set(whole))
    return peft.LoraConfig(
        r=settings.r,
        lora_alpha=settings.alpha,
        lora_dropout=settings.dropout,
        target_modules=targets if isinstance(targets, str) else list(targets),
        use_rslora=settings.rslora,
        use_dora=settings.dora,
        modules_to_save=whole or None,
        ensure_weight_tying=tied,  # one weight in two places is trained as one, as it is saved
        task_type="CAUSAL_LM",
    )


def report_to(steps: Steps) -> Any:
    """A callback that tells `steps` of every step."""
    import transformers

    class Report(transformers.TrainerCallback):  # type: ignore[misc]  # transformers has no types we follow
        def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            steps.began = time.perf_counter()

        def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float], **_: Any) -> None:
            if "loss" in logs:  # the summary at the end has none
                steps.done(state.global_step, state.max_steps, logs)

    return Report()
