"""What all training methods share: how a training begins, what may go wrong, and how a student is finished.

with training(settings, out, seed, place, rows, encode_rows) as begun:
    with fits(settings):
        trainer = make_trainer(begun.model, begun.tokenizer, begun.encoded, settings, begun.plan, begun.scratch)
    trained = finish(begun, trainer, settings, out, run(trainer, settings, begun.kept.of("sft"), place))
"""

from __future__ import annotations

import logging
import platform
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

from stillroom.common.models.quiet import import_torch, quiet_transformers
from stillroom.common.models.resolve import fingerprint, load_model, load_tokenizer, pick_device, pick_dtype
from stillroom.errors import MissingExtra, NoRoom, RecipeError
from stillroom.students.data.encode import Encoded, EncodedPairs, prepare_tokenizer
from stillroom.students.data.labelled import EncodedAnswers
from stillroom.students.estimate.estimate import before_training
from stillroom.students.export.save import ADAPTER, MERGED, save_student, whole_folder, write_record
from stillroom.students.methods import validation
from stillroom.students.methods.checkpoints import Checkpoints
from stillroom.students.methods.ranks import Ranks
from stillroom.students.methods.registry import StudentSettings, longest
from stillroom.students.methods.resume import trained
from stillroom.students.methods.trackers import check_trackers, reporting
from stillroom.students.methods.validation import Curve, Rows, apart
from stillroom.students.records import Plan, Trained, TrainingPlace

E = TypeVar("E", Encoded, EncodedPairs, EncodedAnswers)
LOGGERS = ("trl", "peft", "accelerate", "datasets", "bitsandbytes")
PACKAGES = ("stillroom", "torch", "transformers", "trl", "peft", "accelerate", "tokenizers")


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


class Begun(NamedTuple, Generic[E]):
    """What a training starts from. `work`: the folder that becomes the student's; `scratch`: what trl keeps in it;
    `kept`: its checkpoints, which are next to the student until it is finished. `held`, `curve`: rows to measure the
    loss on and what was measured, None without validation."""

    model: Any
    tokenizer: Any
    encoded: E
    plan: Plan
    work: Path
    scratch: Path
    kept: Checkpoints
    held: E | None
    curve: Curve | None


@contextmanager
def training(
    settings: StudentSettings,
    out: Path,
    seed: int,
    place: TrainingPlace,
    rows: Rows,
    encode: Callable[[Any, Any, int], E],
) -> Iterator[Begun[E]]:
    """Loads model and tokenizer and encodes the rows; `out` appears when the block ends well.

    `encode`: makes tokens of the rows, with a tokenizer and the tokens that one may have. Raises NoRoom where the
    disk or the memory is too small.
    """
    check_trackers(settings.report_to)
    ranks = Ranks.here()
    with quiet_training(), ExitStack() as at_end, whole_folder(own_folder(out, ranks)) as work:
        if not ranks.main:
            at_end.callback(shutil.rmtree, own_folder(out, ranks), ignore_errors=True)
        tokenizer, device = load_tokenizer(settings.model), pick_device()
        dtype = pick_dtype(device, settings.dtype)
        plan = Plan(device, dtype, seed if settings.seed is None else settings.seed)
        held_in = "float32" if settings.trains_weights else dtype
        quantised = settings.lora.quantise if settings.lora else None
        model = load_model(settings.model, held_in, device, settings.attention, quantised)
        encoded = encode(rows, tokenizer, longest(settings, model.config))
        prepare_tokenizer(tokenizer, encoded.end_id)
        held, curve = None, None
        if (wanted := settings.validation) is not None:
            encoded, held = apart(encoded, rows, wanted, plan.seed)
            curve = Curve(wanted, len(held.rows))
        # Before hours are spent: the weights as they will be, and a tenth for adapter and tokenizer.
        needed = int(1.1 * model.num_parameters() * getattr(import_torch(), held_in).itemsize)
        free = shutil.disk_usage(work).free
        if free < needed:
            raise NoRoom(
                f"the student needs {needed / 1e6:,.0f} MB in {work.parent}, {free / 1e6:,.0f} MB are free: make "
                "room, or write the run to another disk with --out"
            )
        weights = sum(weight.numel() * weight.element_size() for weight in model.parameters())
        before_training(settings, model.config, encoded, plan, held=weights, tell=place.tell)
        data = [side.digest() for side in (encoded, held) if side is not None]
        kept = checkpoints(settings, out, place, plan, data)
        yield Begun(model, tokenizer, encoded, plan, work, work / "trl", kept, held, curve)
        at_end.callback(kept.remove)


def own_folder(out: Path, ranks: Ranks) -> Path:
    """`out` for the process that writes the student, a folder next to it for any other, which leaves nothing."""
    return out if ranks.main else out.with_name(f".{out.name}.rank-{ranks.rank}")


@contextmanager
def fits(settings: StudentSettings) -> Iterator[None]:
    """What peft and trl refuse is a setting that does not fit the model: raises RecipeError for it."""
    try:
        yield
    except ValueError as error:
        if isinstance(error, RecipeError):
            raise
        raise RecipeError(f"`student` cannot be set up for {settings.model}: {error}") from error


def checkpoints(
    settings: StudentSettings, out: Path, place: TrainingPlace, plan: Plan, data: list[str]
) -> Checkpoints:
    """Those of a student, under all that its weights depend on. `data`: names the rows in tokens."""
    belongs = {
        "student": settings.decides(),
        "rows": data,
        "models": {name: fingerprint(name) for name in settings.models},
        **plan._asdict(),
        "versions": package_versions(),
    }
    folder = out.with_name(f".{out.name}.checkpoints")
    return Checkpoints(folder, settings.checkpoints, belongs, place.tell, Ranks.here())


def package_versions() -> dict[str, str | None]:
    """Of Python and of all that a training runs on; None for a package that is not installed."""
    versions: dict[str, str | None] = {"python": platform.python_version(), **dict.fromkeys(PACKAGES)}
    for package in PACKAGES:
        with suppress(PackageNotFoundError):
            versions[package] = version(package)
    return versions


def run(trainer: Any, settings: StudentSettings, kept: Checkpoints, place: TrainingPlace) -> float:
    """Trains, from the last checkpoint on where there is one; gives the seconds it took."""
    trainer.kept = kept
    with enough_memory(settings), reporting(trainer, place.watched):
        return trained(trainer)


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


def finish(
    begun: Begun[Encoded] | Begun[EncodedPairs] | Begun[EncodedAnswers],
    trainer: Any,
    settings: StudentSettings,
    out: Path,
    seconds: float,
    *,
    sft_losses: tuple[float, ...] = (),
    sft_tokens: int = 0,
    more: Mapping[str, Any] | None = None,
) -> Trained:
    """Writes the student and its training.json: all that decided it, and what the training showed. `sft_losses`,
    `sft_tokens`: of a training on the chosen answers that went before. `more`: what else the method records."""
    plan, steps = begun.plan, trainer.steps
    found = Trained(
        folder=out,
        adapter=out / ADAPTER if settings.lora else None,
        merged=out / MERGED if settings.save_merged or settings.lora is None else None,
        rows=len(begun.encoded.rows),
        left_out=begun.encoded.left_out,
        losses=tuple(steps.losses),
        tokens=sft_tokens + steps.tokens,
        seconds=seconds,
        rewards=tuple(steps.rewards),
        sft_losses=sft_losses,
        measures=tuple(steps.measures),
    )
    if not trainer.ranks.main:
        return found
    save_student(trainer.model, begun.tokenizer, begun.work, settings, plan)
    shutil.rmtree(begun.scratch, ignore_errors=True)
    record: dict[str, Any] = {
        "settings": settings.model_dump(mode="json"),
        "model": fingerprint(settings.model),
        "data": begun.encoded.digest(),
        "seed": plan.seed,
        "device": plan.device,
        "dtype": plan.dtype,
        "end_token": begun.tokenizer.eos_token,
        "pad_token": begun.tokenizer.pad_token,
        "rows": found.rows,
        "left_out": [row._asdict() for row in found.left_out],
        "steps": found.steps,
        "tokens": found.tokens,
        "seconds": round(found.seconds, 3),
        "losses": [round(loss, 6) for loss in found.losses],
        "versions": package_versions(),
    }
    if settings.learns_from == "pairs":
        rewards = [{name: round(value, 6) for name, value in step._asdict().items()} for step in found.rewards]
        record |= {"rewards": rewards, "sft_losses": [round(loss, 6) for loss in sft_losses]}
    if steps.measured:
        shown = [{name: round(value, 6) for name, value in step.items()} for step in steps.measures]
        record["measures"] = shown
    write_record(record | validation.record(begun.curve) | dict(more or {}), begun.work)
    return found
