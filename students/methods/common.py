"""What all training methods share: device and dtype, checks of memory and disk, silence, the record of a training.

plan = make_plan(settings, seed=7)
with quiet_training(), fits(settings):
    trainer = make_trainer(model, tokenizer, encoded, settings, plan, work)
seconds = run(trainer, settings)
"""

from __future__ import annotations

import logging
import platform
import shutil
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from stillroom.common.models.resolve import import_torch, pick_device, pick_dtype, quiet_transformers
from stillroom.errors import MissingExtra, NoRoom, RecipeError
from stillroom.students.export.save import ADAPTER, MERGED, save_student
from stillroom.students.methods.registry import StudentSettings
from stillroom.students.records import Plan, Trained

LOGGERS = ("trl", "peft", "accelerate", "datasets")


@contextmanager
def quiet_training() -> Iterator[None]:
    """Raises MissingExtra if a part of the extra `train` is not installed."""
    try:
        import_torch()  # before peft loads it: its threads shall sleep while they wait
        import datasets
        import peft  # noqa: F401
        import trl  # noqa: F401
    except ImportError as error:
        raise MissingExtra("training a student", error.name or "trl", "train") from error
    with ExitStack() as stack:
        stack.enter_context(quiet_transformers())
        for name in LOGGERS:
            stack.callback(logging.getLogger(name).setLevel, logging.getLogger(name).level)
            logging.getLogger(name).setLevel(logging.ERROR)
        if not datasets.are_progress_bars_disabled():
            stack.callback(datasets.enable_progress_bars)
            datasets.disable_progress_bars()
        yield


TRL = "trl"  # what trl itself wants to keep, within the folder of a student that is not finished; removed at the end
PACKAGES = ("stillroom", "torch", "transformers", "trl", "peft", "accelerate", "tokenizers")


def make_plan(settings: StudentSettings, seed: int) -> Plan:
    """Device, dtype and seed; the settings' own seed goes before the run's."""
    device = pick_device()
    return Plan(device, pick_dtype(device, settings.dtype), seed if settings.seed is None else settings.seed)


def load_dtype(settings: StudentSettings, plan: Plan) -> str:
    """Weights that are trained themselves are held in float32: a small step would be rounded away in bfloat16."""
    return plan.dtype if settings.lora else "float32"


def longest(settings: StudentSettings, model: Any) -> int:
    """Tokens a row may have: what was asked for, within the model's context."""
    return min(settings.max_length, getattr(model.config, "max_position_embeddings", None) or settings.max_length)


def bytes_to_save(model: Any) -> int:
    """What saving takes, at most: the weights as they are, and a tenth for adapter and tokenizer."""
    return int(1.1 * sum(weight.numel() * weight.element_size() for weight in model.parameters()))


@contextmanager
def fits(settings: StudentSettings) -> Iterator[None]:
    """What peft and trl refuse is a setting that does not fit the model: raises RecipeError for it."""
    try:
        yield
    except ValueError as error:
        if isinstance(error, RecipeError):
            raise
        raise RecipeError(f"`student` cannot be set up for {settings.model}: {error}") from error


def run(trainer: Any, settings: StudentSettings) -> float:
    """Trains; gives the seconds it took."""
    began = time.perf_counter()
    with enough_memory(settings):
        trainer.train()
    return time.perf_counter() - began


@contextmanager
def enough_memory(settings: StudentSettings) -> Iterator[None]:
    """Raises NoRoom with what to change where a GPU's memory is too small."""
    import torch

    try:
        yield
    except torch.OutOfMemoryError as error:
        raise NoRoom(
            f"the GPU has not enough memory for batches of {settings.batch_size} rows: halve `student.batch_size` "
            "and double `student.gradient_accumulation`, which gives the same steps"
        ) from error


def places(settings: StudentSettings, out: Path) -> tuple[Path | None, Path | None]:
    """Where adapter and merged model of a student lie; None for the one that is not written."""
    merged = settings.save_merged or settings.lora is None
    return out / ADAPTER if settings.lora else None, out / MERGED if merged else None


def save(model: Any, tokenizer: Any, settings: StudentSettings, plan: Plan, work: Path) -> None:
    """Writes the student into `work`, and removes what trl kept there."""
    import torch

    adapter, merged = places(settings, work)
    save_student(
        model,
        tokenizer,
        work,
        base=settings.model,
        lora=adapter is not None,
        merged=merged is not None,
        dtype=getattr(torch, plan.dtype),
        seed=plan.seed,
    )
    shutil.rmtree(work / TRL, ignore_errors=True)


def make_record(
    trained: Trained, tokenizer: Any, settings: StudentSettings, plan: Plan, *, model: str, data: str
) -> dict[str, Any]:
    """training.json: all that decided the student, and what the training showed. `model`: the fingerprint of what it
    began from; `data`: the digest of the rows."""
    return {
        "settings": settings.model_dump(mode="json"),
        "model": model,
        "data": data,
        "seed": plan.seed,
        "device": plan.device,
        "dtype": plan.dtype,
        "end_token": tokenizer.eos_token,
        "pad_token": tokenizer.pad_token,
        "rows": trained.rows,
        "left_out": [row._asdict() for row in trained.left_out],
        "steps": trained.steps,
        "tokens": trained.tokens,
        "seconds": round(trained.seconds, 3),
        "losses": [round(loss, 6) for loss in trained.losses],
        "versions": {"python": platform.python_version()} | {name: _version(name) for name in PACKAGES},
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
