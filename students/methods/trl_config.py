"""The arguments of trl's trainers: the settings of a student in trl's words, and what its recipe adds.

arguments = config_of(settings, "SFTConfig", plan, work, remove_unused_columns=False)     # a trl.SFTConfig
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from stillroom.students.methods.registry import StudentSettings
from stillroom.students.records import Plan

RESHAPES = ("packing", "padding_free", "neftune_noise_alpha", "label_smoothing_factor", "router_aux_loss_coef")
"""Fields under which a batch, or what is computed of it, is trl's alone: our passes for the CPU do not fit."""


def config_of(settings: StudentSettings, kind: str, plan: Plan, work: Path, **own: Any) -> Any:
    """The arguments of one of trl's trainers: those that all trainings have, `own` of this one, and what the recipe
    names of `kind`. `work`: a folder for whatever trl wants to keep."""
    import trl

    config = getattr(trl, kind)
    known = {field.name for field in dataclasses.fields(config)} - {"model_init_kwargs"}
    named = {name: value for name, value in settings.trainer.items() if name in known}
    return config(**_arguments(settings, plan, work) | own | named)


def _arguments(settings: StudentSettings, plan: Plan, work: Path) -> dict[str, Any]:
    """The settings in the words of trl's trainers. Their own defaults are for large GPUs and for printing."""
    return {
        "output_dir": str(work),
        "num_train_epochs": settings.epochs,
        "learning_rate": settings.learning_rate,
        "per_device_train_batch_size": settings.batch_size,
        "gradient_accumulation_steps": settings.gradient_accumulation,
        "warmup_steps": settings.warmup_ratio,  # below 1 it is a share of all steps
        "lr_scheduler_type": settings.scheduler,
        "weight_decay": settings.weight_decay,
        "max_grad_norm": settings.max_grad_norm,
        "seed": plan.seed,
        "data_seed": plan.seed,
        "use_cpu": plan.device == "cpu",
        # A LoRA trains float32 adapters on weights held in bfloat16; trained weights stay float32 and compute in it.
        "bf16": settings.trains_weights and plan.dtype == "bfloat16",
        "gradient_checkpointing": plan.device != "cpu",
        "max_length": None,  # rows over the limit were left out and counted before; nothing is cut here
        "dataloader_pin_memory": plan.device != "cpu",
        "logging_strategy": "steps",
        "logging_steps": 1,
        "logging_nan_inf_filter": False,
        "save_strategy": "no",
        "report_to": list(settings.report_to) or "none",
        "disable_tqdm": True,
    }


def reshaped(settings: StudentSettings) -> bool:
    """Whether a batch, or its loss, is trl's alone."""
    named = settings.trainer
    return any(named.get(name) for name in RESHAPES) or named.get("loss_type", "nll") != "nll"
