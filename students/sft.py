"""Supervised fine-tuning of a student on traces: trl's trainer, a LoRA or all weights, loss on the answer alone.

    settings = StudentSettings(model="embedded:smollm2-135m-instruct", epochs=3, learning_rate=5e-4)
    trained = train_sft(run / "sft", settings, run / "student", seed=7, on_step=print)
    load_model(str(trained.model))                     # stillroom.sampling.models

Refuses to train what would fail in silence (see `preflight`), to cut rows, to go on after a loss that is no number,
and to leave half a student behind. On a CPU the same rows, settings and seed give the same student.
"""

from __future__ import annotations

import platform
import shutil
import time
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from stillroom.errors import RecipeError, TrainingError
from stillroom.sampling.models import fingerprint, load_model, load_tokenizer, pick_device, pick_dtype
from stillroom.students.encoding import Encoded, LeftOut, encode_rows, prepare_tokenizer
from stillroom.students.quiet import quiet_training
from stillroom.students.rows import Row, read_rows, with_system
from stillroom.students.saving import ADAPTER, MERGED, check_room, save_student, whole_folder, write_record
from stillroom.students.settings import StudentSettings
from stillroom.students.trainer import OnStep, Plan, StepInfo, make_trainer

__all__ = ["LeftOut", "StepInfo", "Trained", "train_sft"]

PACKAGES = ("stillroom", "torch", "transformers", "trl", "peft", "accelerate", "tokenizers")


@dataclass(frozen=True, slots=True)
class Trained:
    """A finished student.

    `adapter`: None for full fine-tuning; `merged`: None if it was not asked for. `rows`: trained on, each epoch;
    `left_out`: not trained on, with the reason. `losses`: one a step, mean over the answers' tokens. `tokens`: seen
    in all epochs, padding not counted. `seconds`: of training, loading and saving not counted.
    """

    folder: Path
    adapter: Path | None
    merged: Path | None
    rows: int
    left_out: tuple[LeftOut, ...]
    losses: tuple[float, ...]
    tokens: int
    seconds: float

    @property
    def model(self) -> Path:
        """What to load: the merged model, or the adapter where there is no other."""
        model = self.merged or self.adapter
        assert model is not None  # one of them is always written
        return model

    @property
    def steps(self) -> int:
        """Steps of the optimiser."""
        return len(self.losses)


def train_sft(
    rows: Path | str | Iterable[Row],
    settings: StudentSettings,
    out: Path,
    *,
    seed: int,
    on_step: OnStep | None = None,
) -> Trained:
    """Trains a student on the rows (a folder of parquet, or the rows themselves) and writes it to `out`.

    `seed`: the run's; the settings' own goes before it. `on_step` hears of every step of the optimiser.
    Raises InputError for rows, model or settings that cannot be used, TrainingError when training fails.
    """
    found = [row._replace(prompt=with_system(row.prompt, settings.system)) for row in read_rows(rows)]
    with quiet_training(), whole_folder(out) as work:
        tokenizer = load_tokenizer(settings.model)
        plan = _plan(settings, seed)
        model = load_model(settings.model, _load_dtype(settings, plan), plan.device)
        encoded = encode_rows(found, tokenizer, _longest(settings, model))
        prepare_tokenizer(tokenizer, encoded.end_id)
        check_room(work, _bytes(model))
        trainer = _prepared(model, tokenizer, encoded, settings, plan, work / "trl", on_step)
        seconds = _run(trainer, settings)
        return _finish(trainer, tokenizer, encoded, settings, plan, work, out, seconds)


def _plan(settings: StudentSettings, seed: int) -> Plan:
    device = pick_device()
    dtype = pick_dtype(device) if settings.dtype == "auto" else settings.dtype
    return Plan(device, dtype, seed if settings.seed is None else settings.seed)


def _load_dtype(settings: StudentSettings, plan: Plan) -> str:
    """Weights that are trained themselves are held in float32: a small step would be rounded away in bfloat16."""
    return plan.dtype if settings.lora else "float32"


def _longest(settings: StudentSettings, model: Any) -> int:
    """Tokens a row may have: what was asked for, within the model's context."""
    return min(settings.max_length, getattr(model.config, "max_position_embeddings", None) or settings.max_length)


def _bytes(model: Any) -> int:
    """What saving takes, at most: the weights as they are, and a tenth for adapter and tokenizer."""
    return int(1.1 * sum(weight.numel() * weight.element_size() for weight in model.parameters()))


def _prepared(
    model: Any,
    tokenizer: Any,
    encoded: Encoded,
    settings: StudentSettings,
    plan: Plan,
    work: Path,
    on_step: OnStep | None,
) -> Any:
    """The trainer, ready; what peft and trl refuse is a setting that does not fit the model."""
    try:
        return make_trainer(model, tokenizer, encoded, settings, plan, work, on_step)
    except ValueError as error:
        if isinstance(error, RecipeError):
            raise
        raise RecipeError(f"`student` cannot be set up for {settings.model}: {error}") from error


def _run(trainer: Any, settings: StudentSettings) -> float:
    """Trains; gives the seconds it took."""
    import torch

    began = time.perf_counter()
    try:
        trainer.train()
    except torch.OutOfMemoryError as error:
        raise TrainingError(
            f"the GPU has not enough memory for batches of {settings.batch_size} rows: halve `student.batch_size` "
            "and double `student.gradient_accumulation`, which gives the same steps"
        ) from error
    return time.perf_counter() - began


def _finish(
    trainer: Any,
    tokenizer: Any,
    encoded: Encoded,
    settings: StudentSettings,
    plan: Plan,
    work: Path,
    out: Path,
    seconds: float,
) -> Trained:
    """Saves the student and says what it is."""
    import torch

    lora, merged = settings.lora is not None, settings.save_merged or settings.lora is None
    trained = Trained(
        folder=out,
        adapter=out / ADAPTER if lora else None,
        merged=out / MERGED if merged else None,
        rows=len(encoded.rows),
        left_out=encoded.left_out,
        losses=tuple(trainer.steps.losses),
        tokens=trainer.steps.tokens,
        seconds=seconds,
    )
    save_student(
        trainer.model,
        tokenizer,
        work,
        base=settings.model,
        lora=lora,
        merged=merged,
        dtype=getattr(torch, plan.dtype),
    )
    shutil.rmtree(work / "trl", ignore_errors=True)
    write_record(_record(trained, tokenizer, encoded, settings, plan), work)
    return trained


def _record(
    trained: Trained, tokenizer: Any, encoded: Encoded, settings: StudentSettings, plan: Plan
) -> dict[str, Any]:
    """training.json: all that decided the student, and what the training showed."""
    return {
        "settings": settings.model_dump(mode="json"),
        "model": fingerprint(settings.model),
        "data": encoded.digest(),
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
