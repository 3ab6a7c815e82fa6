"""Supervised fine-tuning of a student on traces: trl's trainer, a LoRA or all weights, loss on the answer alone.

    settings = StudentSettings(model="embedded:smollm2-135m-instruct", epochs=3, learning_rate=5e-4)
    trained = train_sft(run / "sft", settings, run / "student", seed=7, on_step=print)
    load_model(str(trained.model))                     # stillroom.sampling.models

Refuses to train what would fail in silence (see `preflight`), to cut rows, to go on after a loss that is no number,
and to leave half a student behind. On a CPU the same rows, settings and seed give the same student.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from stillroom.sampling.models import fingerprint, load_model, load_tokenizer
from stillroom.students.encoding import Encoded, LeftOut, encode_rows, prepare_tokenizer
from stillroom.students.quiet import quiet_training
from stillroom.students.rows import Row, read_rows, with_system
from stillroom.students.saving import check_room, whole_folder, write_record
from stillroom.students.settings import StudentSettings
from stillroom.students.trainer import OnStep, Plan, StepInfo, make_trainer
from stillroom.students.training import (
    TRL,
    Trained,
    bytes_to_save,
    fits,
    load_dtype,
    longest,
    make_plan,
    make_record,
    places,
    run,
    save,
)

__all__ = ["LeftOut", "StepInfo", "Trained", "train_sft"]


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
        plan = make_plan(settings, seed)
        model = load_model(settings.model, load_dtype(settings, plan), plan.device)
        encoded = encode_rows(found, tokenizer, longest(settings, model))
        prepare_tokenizer(tokenizer, encoded.end_id)
        check_room(work, bytes_to_save(model))
        with fits(settings):
            trainer = make_trainer(model, tokenizer, encoded, settings, plan, work / TRL, on_step)
        seconds = run(trainer, settings)
        return _finish(trainer, tokenizer, encoded, settings, plan, work, out, seconds)


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
    adapter, merged = places(settings, out)
    trained = Trained(
        folder=out,
        adapter=adapter,
        merged=merged,
        rows=len(encoded.rows),
        left_out=encoded.left_out,
        losses=tuple(trainer.steps.losses),
        tokens=trainer.steps.tokens,
        seconds=seconds,
    )
    save(trainer.model, tokenizer, settings, plan, work)
    record = make_record(trained, tokenizer, settings, plan, model=fingerprint(settings.model), data=encoded.digest())
    write_record(record, work)
    return trained
