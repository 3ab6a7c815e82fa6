"""Direct preference optimisation of a student on pairs: trl's DPOTrainer, a LoRA or all weights.

    settings = StudentSettings(model="embedded:smollm2-135m-instruct", method="dpo", dpo={"beta": 0.1})
    trained = train_dpo(run / "dpo", settings, run / "student", seed=7, on_step=print)
    trained.rewards[-1].accuracy                       # of the last step's pairs

With `dpo.sft_first` the student first learns the chosen answers; DPO then starts from there, with that as reference.
Refuses what `train_sft` refuses. Pairs that are too long are left out and counted; trl would cut them. On a CPU the
same pairs, settings and seed give the same student.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stillroom.errors import RecipeError
from stillroom.sampling.models import fingerprint, load_model, load_tokenizer
from stillroom.students.dpo_trainer import make_dpo_trainer
from stillroom.students.encoding import prepare_tokenizer
from stillroom.students.pair_encoding import EncodedPairs, encode_pairs
from stillroom.students.quiet import quiet_training
from stillroom.students.rows import Row, read_pairs, with_system
from stillroom.students.saving import check_room, whole_folder, write_record
from stillroom.students.settings import StudentSettings
from stillroom.students.trainer import OnStep, Plan, Rewards, make_trainer
from stillroom.students.training import (
    TRL,
    Trained,
    bytes_to_save,
    enough_memory,
    fits,
    load_dtype,
    longest,
    make_plan,
    make_record,
    places,
    run,
    save,
)

REFERENCE = "ref"
"""What trl calls the copy of an adapter that it keeps as the reference."""


@dataclass(frozen=True, slots=True)
class TrainedDpo(Trained):
    """A student finished with DPO. `rows` counts pairs. `rewards`: one a step, as `losses`. `tokens`: of both sides.
    `sft_losses`: of the steps on the chosen answers before; empty where there were none. `seconds`: of both."""

    rewards: tuple[Rewards, ...]
    sft_losses: tuple[float, ...]


def train_dpo(
    rows: Path | str | Iterable[Row],
    settings: StudentSettings,
    out: Path,
    *,
    seed: int,
    on_step: OnStep | None = None,
) -> TrainedDpo:
    """Trains a student on pairs (a folder of parquet, or the rows themselves) and writes it to `out`.

    Rows hold conversational `prompt`, `chosen` and `rejected`. `seed`: the run's; the settings' own goes before it.
    `on_step` hears of every step of the optimiser; `phase` tells the steps of `sft_first` from those of DPO.
    Raises InputError for rows, model or settings that cannot be used, TrainingError when training fails.
    """
    if settings.dpo is None:
        raise RecipeError(f"`student.method` is {settings.method}: set `method: dpo` to train on pairs")
    found = [row._replace(prompt=with_system(row.prompt, settings.system)) for row in read_pairs(rows)]
    with quiet_training(), whole_folder(out) as work:
        tokenizer = load_tokenizer(settings.model)
        plan = make_plan(settings, seed)
        model = load_model(settings.model, load_dtype(settings, plan), plan.device)
        encoded = encode_pairs(found, tokenizer, longest(settings, model))
        prepare_tokenizer(tokenizer, encoded.end_id)
        check_room(work, bytes_to_save(model))
        first = _sft_first(model, tokenizer, encoded, settings, plan, work, on_step)
        with fits(settings), enough_memory(settings):
            trainer = make_dpo_trainer(first.model, tokenizer, encoded, settings, plan, work / TRL, on_step)
        seconds = first.seconds + run(trainer, settings)
        trained = _trained(trainer, first, encoded, settings, out, seconds)
        _finish(trainer, trained, tokenizer, encoded, settings, plan, work)
        return trained


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
    settings: StudentSettings,
    plan: Plan,
    work: Path,
    on_step: OnStep | None,
) -> _First:
    """Trains on the chosen answers where the settings ask for it."""
    assert settings.dpo is not None
    wanted = settings.dpo.sft_first
    if wanted is None:
        return _First(model)
    own = settings.model_copy(update={"epochs": wanted.epochs, "learning_rate": wanted.learning_rate})
    with fits(settings):
        trainer = make_trainer(model, tokenizer, encoded.chosen(), own, plan, work / TRL, on_step)
    seconds = run(trainer, own)
    return _First(trainer.model, tuple(trainer.steps.losses), trainer.steps.tokens, seconds)


def _trained(
    trainer: Any, first: _First, encoded: EncodedPairs, settings: StudentSettings, out: Path, seconds: float
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
    settings: StudentSettings,
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
