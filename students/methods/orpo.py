"""Odds ratio preference optimisation (ORPO): a student learns the chosen answers and away from the rejected, at once.

    settings = Orpo(model="embedded:smollm2-135m-instruct", orpo={"weight": 0.1})
    trained = settings.train(run / "dpo", run / "student", seed=7, on_step=print)
    trained.measures[-1]["log_odds_ratio"]             # of the last step's pairs

The loss of Hong et al. 2024 (https://arxiv.org/abs/2403.07691, equations 1, 6 and 7), for each pair, with the mean
log-probability of an answer's tokens in the place of log p:

    −log p(chosen) + weight · −log σ(log odds(chosen) − log odds(rejected)),   odds(p) = p / (1 − p)

There is no reference model, and none in memory. The loss is ours, since trl's is experimental; it differs in that the
prompt is not in it, and in that every pair counts alike, in whatever batches the pairs come. Pairs, encoding and what
is left out are those of DPO. On a CPU the same pairs, settings and seed give the same student.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple

from pydantic import Field, field_validator, model_validator

from stillroom.common.marks import NamedMarks
from stillroom.common.records import Task
from stillroom.common.settings import Settings
from stillroom.students.data.encode import IGNORED, EncodedPairs, encode_pairs
from stillroom.students.data.rows import Row, read_pairs, with_system
from stillroom.students.methods.batches import check_pairs
from stillroom.students.methods.common import enough_memory, finish, fits, run, training
from stillroom.students.methods.cpu_passes import can_flatten, use_pair_pass
from stillroom.students.methods.registry import Source, StudentSettings, methods
from stillroom.students.methods.trainer import (
    OwnRows,
    Steps,
    lora_config,
    pair_columns,
    report_to,
    unwrapped,
    watch,
    whole_numbers,
)
from stillroom.students.methods.trl_config import config_of, reshaped
from stillroom.students.methods.validation import Held
from stillroom.students.records import OnStep, Plan, Trained, TrainingPlace

if TYPE_CHECKING:
    from stillroom.students.lint.report import LintReport
    from stillroom.students.records import Checker

MEASURED = {
    "orpo/nll": "nll_chosen",
    "orpo/odds": "odds_ratio_loss",
    "orpo/log_odds": "log_odds_ratio",
    "orpo/accuracy": "accuracy",
}
"""What is told of each step, by its name in the logs. `log_odds_ratio`: chosen minus rejected. `accuracy`: share of
pairs whose chosen answer is the likelier one by token."""

ALMOST_CERTAIN = -1e-6
"""The highest mean log-probability that odds are taken of: those of 0 are infinite."""


class OrpoSettings(Settings):
    """Odds ratio preference optimisation (Hong et al. 2024, arXiv:2403.07691)."""

    weight: float = Field(default=0.1, gt=0)
    """Weight of the odds ratio (the paper's λ, trl's beta) against the likelihood of the chosen answer."""


class OddsLoss(NamedTuple):
    """Of B pairs: `nll` of the chosen answer by token, `odds`: the loss of the odds ratio, without its weight;
    `log_odds`: chosen minus rejected. All (B,)."""

    nll: Any
    odds: Any
    log_odds: Any

    def total(self, weight: float) -> Any:
        """The loss of each pair (B,)."""
        return self.nll + weight * self.odds


def odds_loss(chosen: Any, rejected: Any) -> OddsLoss:
    """`chosen`, `rejected`: mean log-probability of the tokens of either answer (B,)."""
    import torch

    log_odds = _log_odds(chosen) - _log_odds(rejected)
    return OddsLoss(-chosen, -torch.nn.functional.logsigmoid(log_odds), log_odds)


def _log_odds(mean: Any) -> Any:
    """log(p / (1 − p)) of p = exp(mean), with 1 − p by expm1: finite for a p near 1, and so is its gradient."""
    import torch

    mean = mean.clamp(max=ALMOST_CERTAIN)
    return mean - torch.log(-torch.expm1(mean))


def make_orpo_trainer(
    model: Any,
    tokenizer: Any,
    encoded: EncodedPairs,
    settings: StudentSettings,
    orpo: OrpoSettings,
    plan: Plan,
    work: Path,
    on_step: OnStep | None = None,
) -> Any:
    """A trainer whose first batch has passed the checks. `work`: a folder for whatever trl wants to keep."""
    import datasets
    import transformers

    arguments = config_of(
        settings,
        "DPOConfig",
        plan,
        work,
        precompute_ref_log_probs=settings.lora is None,  # which keeps trl from loading a reference
        train_sampling_strategy="group_by_length",
        length_column_name="length",
        remove_unused_columns=False,  # it would take the lengths away before the rows are grouped by them
    )
    steps = Steps(on_step, "orpo", MEASURED)
    rows = pair_columns(encoded)
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
    trainer.steps, trainer.weight = steps, orpo.weight
    first = settings.batch_size
    check_pairs(trainer.data_collator(rows[:first]), encoded.rows[:first], encoded.end_id)
    plain = unwrapped(trainer.model)
    if plan.device == "cpu" and can_flatten(plain.config) and not reshaped(settings):
        use_pair_pass(plain)
    return trainer


def _held(trainer: Any, held: EncodedPairs | None, batch_size: int) -> list[Held]:
    """The batches that the loss is measured on."""
    import torch

    rows = [] if held is None else pair_columns(held)
    parts = [rows[start : start + batch_size] for start in range(0, len(rows), batch_size)]
    return [Held(trainer.data_collator(part), len(part), torch.tensor(len(part))) for part in parts]


def _trainer_class() -> Any:
    """trl's trainer for pairs with our loss; made here because trl is loaded only where it is used."""
    import torch
    import trl

    class OddsTrainer(OwnRows, trl.DPOTrainer):  # type: ignore[misc]  # trl has no types we follow
        weight: float
        loss_is_scaled_for_ga = True  # by the pairs of the whole step, so that parts of a batch give what it gives

        def get_batch_samples(self, epoch_iterator: Any, num_batches: int, device: Any) -> Any:
            batches = list(itertools.islice(epoch_iterator, num_batches))
            pairs = torch.tensor(sum(len(batch["input_ids"]) // 2 for batch in batches), device=device)
            if self.args.world_size > 1:
                pairs = self.accelerator.gather(pairs[None]).sum()
            return batches, pairs

        def compute_loss(
            self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
        ) -> Any:
            self.steps.tokens += int(inputs["attention_mask"].sum())
            found = self.losses(model, inputs)
            self._tell(found)
            total, pairs = found.total(self.weight).sum(), len(found.nll)
            # Processes average their gradients, and each divides by the pairs of all.
            loss = total / pairs if num_items_in_batch is None else total / num_items_in_batch * self.args.world_size
            return (loss, None) if return_outputs else loss

        def losses(self, model: Any, batch: Any) -> OddsLoss:
            """Of the pairs of a batch, whose chosen answers are the first half of its rows."""
            labels = batch["input_ids"].masked_fill(batch["completion_mask"] == 0, IGNORED)
            scores = model(
                input_ids=batch["input_ids"],
                attention_mask=batch["attention_mask"],
                labels=labels,
                fused_lm_head=True,
            ).log_probs  # (2 B, T - 1), 0 where nothing is labelled
            means = scores.sum(1) / (labels[:, 1:] != IGNORED).sum(1)
            return odds_loss(*means.chunk(2))

        def _tell(self, found: OddsLoss) -> None:
            told = self._metrics["train" if self.model.training else "eval"]
            told["orpo/nll"].append(found.nll.detach().mean().item())
            told["orpo/odds"].append(found.odds.detach().mean().item())
            told["orpo/log_odds"].append(found.log_odds.detach().mean().item())
            told["orpo/accuracy"].append((found.log_odds > 0).double().mean().item())

    return OddsTrainer


@methods.register
class Orpo(StudentSettings):
    """Odds ratio preference optimisation on pairs: likelihood and preference in one loss, without a reference."""

    learns_from: ClassVar[Source] = "pairs"
    trl_config: ClassVar[str] = "DPOConfig"
    unfit: ClassVar[Mapping[str, str]] = {
        "padding_free": "trl has switched it off for pairs",
        **dict.fromkeys(
            (
                "beta",
                "discopop_tau",
                "f_alpha_divergence_coef",
                "f_divergence_type",
                "label_smoothing",
                "label_smoothing_factor",
                "ld_alpha",
                "loss_type",
                "loss_weights",
                "precompute_ref_log_probs",
                "router_aux_loss_coef",
                "use_weighting",
            ),
            "its loss is the odds ratio's, whose one setting is `student.orpo.weight`",
        ),
    }

    method: Literal["orpo"] = "orpo"
    learning_rate: float = Field(default=5e-5, gt=0, le=1)
    """Highest learning rate."""
    orpo: OrpoSettings = OrpoSettings()
    """Settings of the loss."""

    @field_validator("orpo", mode="before", json_schema_input_type=OrpoSettings | None)
    @classmethod
    def _defaults(cls, value: Any) -> Any:
        return {} if value is None else value

    @model_validator(mode="after")
    def _method_fits(self) -> Orpo:
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
        """See the base class. Rows hold conversational `prompt`, `chosen` and `rejected`."""
        found = [row._replace(prompt=with_system(row.prompt, self.system)) for row in read_pairs(rows)]
        place = place or TrainingPlace()
        with training(self, out, seed, place, found, encode_pairs) as begun:
            with fits(self), enough_memory(self):
                trainer = make_orpo_trainer(
                    begun.model, begun.tokenizer, begun.encoded, self, self.orpo, begun.plan, begun.scratch, on_step
                )
                watch(trainer, begun.curve, _held(trainer, begun.held, self.batch_size))
            return finish(begun, trainer, self, out, run(trainer, self, begun.kept.of("orpo"), place))

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

        return lint_pairs(rows, self, test=test, reference=None, thinking=thinking)
