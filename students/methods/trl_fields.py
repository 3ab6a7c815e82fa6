"""Which of trl's own fields `student.trainer` may name: all but those that would break a promise.

    student: {method: sft, trainer: {packing: true, model_init_kwargs: {attn_implementation: sdpa}}}

A field is checked by name, type and value against the trl that is installed. Refused, with the reason: fields that
have a setting in `student`, and those that decide what is masked, cut, saved, seeded or told to others.
"""

from __future__ import annotations

import dataclasses
import re
import typing
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

from pydantic import ConfigDict, JsonValue, TypeAdapter, ValidationError

from stillroom.common.models.quiet import import_torch
from stillroom.common.text import did_you_mean, first_line
from stillroom.errors import MissingExtra, RecipeError

Fields = Mapping[str, JsonValue]

INSTEAD = {
    "num_train_epochs": "epochs",
    "learning_rate": "learning_rate",
    "per_device_train_batch_size": "batch_size",
    "gradient_accumulation_steps": "gradient_accumulation",
    "warmup_steps": "warmup_ratio",
    "weight_decay": "weight_decay",
    "max_grad_norm": "max_grad_norm",
    "max_length": "max_length",
    "seed": "seed",
    "data_seed": "seed",
    "bf16": "dtype",
    "fp16": "dtype",
    "report_to": "report_to",
    "save_strategy": "checkpoints",
    "save_steps": "checkpoints",
    "save_total_limit": "checkpoints",
    "resume_from_checkpoint": "checkpoints",
    "eval_strategy": "validation",
    "eval_steps": "validation",
    "load_best_model_at_end": "validation",
    "metric_for_best_model": "validation",
    "greater_is_better": "validation",
}
"""Fields of trl by the setting of `student` that decides them."""

_REASONS: Mapping[str, tuple[str, ...]] = {
    "rows come in tokens, with the answer alone under labels, and nothing of trl's may change what is trained on": (
        "assistant_only_loss",
        "chat_template_path",
        "completion_only_loss",
        "dataset_kwargs",
        "dataset_num_proc",
        "dataset_text_field",
        "eos_token",
        "label_names",
        "length_column_name",
        "pad_token",
        "remove_unused_columns",
    ),
    "rows over student.max_length are left out and counted, never cut": ("truncation_mode",),
    "it would leave rows out without a word": ("dataloader_drop_last",),
    "rows are drawn in an order that the seed decides; for another use train_sampling_strategy": ("shuffle_dataset",),
    "batches would change in size while the run says nothing": ("auto_find_batch_size",),
    "the loss is a mean over the tokens of all processes": ("average_tokens_across_devices",),
    "checkpoints hold all that a training needs to go on to the same student": (
        "enable_jit_checkpoint",
        "ignore_data_skip",
        "restore_callback_states_from_checkpoint",
        "save_on_each_node",
        "save_only_model",
    ),
    "the loss on rows that are not trained on is measured by student.validation": (
        "batch_eval_metrics",
        "bf16_full_eval",
        "do_eval",
        "do_predict",
        "eval_accumulation_steps",
        "eval_delay",
        "eval_do_concat_batches",
        "eval_on_start",
        "eval_packing",
        "eval_use_gather_object",
        "fp16_full_eval",
        "include_for_metrics",
        "per_device_eval_batch_size",
        "prediction_loss_only",
    ),
    "every step is shown and recorded": (
        "disable_tqdm",
        "include_num_input_tokens_seen",
        "log_level",
        "log_level_replica",
        "log_on_each_node",
        "logging_first_step",
        "logging_nan_inf_filter",
        "logging_steps",
        "logging_strategy",
    ),
    "nothing is sent to a hub: push the finished folder yourself": (
        "hub_always_push",
        "hub_model_id",
        "hub_private_repo",
        "hub_revision",
        "hub_strategy",
        "hub_token",
        "push_to_hub",
    ),
    "trackers are told the names of recipe and student": ("project", "run_name"),
    "code from a model's repository is not run": ("trust_remote_code",),
    "the student's folder and machine are the run's": ("do_train", "local_rank", "output_dir", "use_cpu"),
    "processes are set up by accelerate's own file": (
        "accelerator_config",
        "deepspeed",
        "fsdp",
        "fsdp_config",
        "parallelism_config",
    ),
    "the reference is computed once, without dropout, and stays as it is": (
        "disable_dropout",
        "precompute_ref_batch_size",
        "ref_model_mixup_alpha",
        "ref_model_sync_steps",
        "sync_ref_model",
    ),
}
REFUSED: dict[str, str] = {name: reason for reason, names in _REASONS.items() for name in names}
"""Fields that would break a promise, each with the reason."""

SCHEDULERS = ("linear", "cosine", "constant")
"""Those of `student.scheduler`."""


def refuse(fields: Fields, method: str, instead: Mapping[str, str], unfit: Mapping[str, str]) -> None:
    """Raises ValueError for a field that may not be named, whatever trl is installed. `instead`: fields by the
    setting of the method that decides them; `unfit`: fields that the method cannot use, with the reason."""
    known = {**INSTEAD, **instead}
    for name, value in fields.items():
        if name in known:
            raise ValueError(f"trainer.{name} has a setting here: set `student.{known[name]}`")
        if name in REFUSED:
            raise ValueError(f"trainer.{name} cannot be set: {REFUSED[name]}")
        if name in unfit:
            raise ValueError(f"trainer.{name} cannot be set with method {method}: {unfit[name]}")
        if name == "lr_scheduler_type" and value in SCHEDULERS:
            raise ValueError(f"trainer.{name} has a setting here: set `student.scheduler: {value}`")
        if name == "packing_strategy" and value != "bfd":
            raise ValueError(
                f"trainer.packing_strategy is {value!r}, which cuts rows in two: leave it out, or set bfd, which "
                "packs whole rows"
            )
    init = fields.get("model_init_kwargs") or {}
    if not isinstance(init, Mapping) or (set(init) - {"attn_implementation"}):
        raise ValueError(
            f"trainer.model_init_kwargs is {init!r}: attn_implementation alone can be set there; the model is "
            "`student.model`, and its numbers are `student.dtype`"
        )


def check(fields: Fields, kind: str) -> None:
    """Raises RecipeError for a field that the config `kind` of the installed trl does not have, or takes as another
    type or value."""
    if not fields:
        return
    torch = import_torch()
    try:
        import trl
    except ImportError as error:
        raise MissingExtra("training a student", error.name or "trl", "train") from error
    config = getattr(trl, kind)
    known = {field.name for field in dataclasses.fields(config)}
    hints = typing.get_type_hints(config)
    for name, value in fields.items():
        if name not in known:
            raise RecipeError(
                f"student.trainer.{name} is not a setting of trl's {kind} (trl {version('trl')}): "
                f"{did_you_mean(name, known - REFUSED.keys() - INSTEAD.keys())}leave it out, or correct its name"
            )
        wanted = TypeAdapter(hints[name], config=ConfigDict(strict=True, arbitrary_types_allowed=True))
        try:
            wanted.validate_python(value)
        except ValidationError as error:
            raise RecipeError(
                f"student.trainer.{name} is {value!r} ({type(value).__name__}), and trl {version('trl')} takes "
                f"{_told(hints[name])} there"
            ) from error
    try:
        config(**fields, output_dir="unused", report_to="none", use_cpu=not torch.cuda.is_available())
    except (ValueError, TypeError, ImportError, OSError, RuntimeError) as error:
        raise RecipeError(
            f"trl {version('trl')} does not take student.trainer ({', '.join(fields)}): {first_line(error)}"
        ) from error


def _told(hint: Any) -> str:
    """A type in words that a recipe's writer knows."""
    text = getattr(hint, "__name__", "") if isinstance(hint, type) else str(hint)
    text = re.sub(r"\b(?:\w+\.)+(\w+)", r"\1", text)
    return text.replace("NoneType", "null").replace("None", "null").replace(" | ", " or ")
