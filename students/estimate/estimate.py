"""What a step of a training takes, told before the first one: memory, and time.

    found = estimate(settings, model.config, encoded, plan)
    found.need, found.seconds, found.steps                # bytes, of a step, steps in all
    before_training(settings, model.config, encoded, plan, tell=print)
    # estimate: 1.4 of 23 GB, about 3 s a step, 7 min 00 s in all

`before_training` raises NoRoom where a step does not fit, with what would: smaller batches that give the same steps,
then settings that change something else. Each is computed, not guessed. How far estimates are from what was measured
is in docs/training.md, and `ERROR` allows for it: a training is refused only where it cannot fit. Trainings that take
next to nothing are not told about, nor models whose pass cannot be told (`dry_pass.CannotTell`).
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from stillroom.common.formatting import duration
from stillroom.errors import NoRoom
from stillroom.students.data.encode import Encoded, EncodedPairs
from stillroom.students.data.labelled import EncodedAnswers
from stillroom.students.estimate.batches import Sizes, length, sizes
from stillroom.students.estimate.dry_pass import CannotTell, Costs, Shape, dry_pass
from stillroom.students.estimate.machine import Room, memory
from stillroom.students.estimate.timing import measure
from stillroom.students.methods.cpu_passes import can_flatten
from stillroom.students.methods.registry import LoraSettings, StudentSettings, longest
from stillroom.students.methods.trl_config import reshaped
from stillroom.students.records import Plan
from stillroom.students.whitebox.sides import config_of

ERROR = 0.1
"""By how much less than the estimate a training may take, as a share of it: twice the most that was measured."""
CLOSE = 0.75
"""Share of the memory from which on a note is given: more than the estimate was measured, too, for what an allocator
adds."""
ADAMW = 8
"""Bytes that AdamW keeps for each number that is trained: two in float32."""
STATES = {"8bit": 2, "4bit": 1, "adafactor": 0, "sgd": 0, "lion": 4}
"""Those of other optimisers, by what is in their name."""
SLIGHT_S, SLIGHT_FLOPS, SLIGHT = 20.0, 1e11, 0.1
"""A training that takes less time in seconds, or fewer operations, and a smaller share of the memory is not told
about."""
CUT = ("ACCELERATE_USE_FSDP", "ACCELERATE_USE_DEEPSPEED", "ACCELERATE_USE_MEGATRON_LM")
"""What accelerate sets where weights are cut among processes: how, is not known here."""

Rows = Encoded | EncodedPairs | EncodedAnswers


class Estimate(NamedTuple):
    """Bytes: `weights` of the student and its adapter; `states` of the optimiser; `others`: weights of other models;
    `passes`: the most that activations, logits and gradients take at once. `seconds`: of a step, None where the speed
    is not known; `steps`: of the optimiser."""

    weights: int
    states: int
    others: int
    passes: int
    seconds: float | None
    steps: int

    @property
    def need(self) -> int:
        """Bytes in all."""
        return self.weights + self.states + self.others + self.passes

    def told(self, room: Room) -> str:
        """In a line. `room`: what this training can have, its weights included."""
        parts = [f"{gb(self.need)} of {gb(room.free)} GB"]
        if self.seconds is not None:
            parts.append(f"about {_short(self.seconds)} a step")
            parts.append(f"{duration(self.seconds * self.steps)} in all")
        return "estimate: " + ", ".join(parts)


def estimate(
    settings: StudentSettings, config: Any, rows: Rows, plan: Plan, *, timed: bool = True, held: int | None = None
) -> Estimate:
    """Of a step on the dearest batch; `timed`: also the mean time of a step, which is measured. `held`: bytes of the
    model's weights where they are held in fewer bits. Raises CannotTell."""
    if settings.trainer.get("activation_offloading"):
        raise CannotTell("activations are kept elsewhere, as far as they are large")
    found = _sizes(settings, config, rows, plan)
    shape = shape_of(settings, config, plan)
    costs = dry_pass(shape, found.dearest)
    others = [_asked(name, plan, found) for name in settings.asked.models]
    best = settings.validation is not None and settings.validation.best
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    cost = costs.whole
    return Estimate(
        weights=int(cost.weights if held is None else held + 4 * cost.trained),
        states=int(cost.trained * (_states(settings) + (4 if best and plan.device == "cpu" else 0))),
        others=int(sum(each.whole.weights for each in others)),
        # The other models read while the student's activations are kept.
        passes=int(max([cost.peak, *(cost.kept + each.whole.peak for each in others)])),
        seconds=_seconds(shape, found, costs, others, plan, settings.gradient_accumulation) if timed else None,
        steps=math.ceil(math.ceil(found.passes / settings.gradient_accumulation / processes) * settings.epochs),
    )


def _seconds(shape: Shape, found: Sizes, costs: Costs, others: Sequence[Costs], plan: Plan, passes: int) -> float:
    """Of a step of `passes` passes, on average."""
    speed = measure(shape, next(read for read in found.dearest if read.trained), plan.device)
    computed = speed.seconds(costs) + sum(each.whole.flops / speed.layers for each in others)
    # The optimiser reads weight, gradient and states of each number, and writes all but the gradient.
    optimiser = 4 * 3 * costs.whole.trained / speed.written
    return found.mean * computed * passes + optimiser


def shape_of(settings: StudentSettings, config: Any, plan: Plan) -> Shape:
    """How the student is trained, as `trl_config` says it to trl."""
    again = settings.trainer.get("gradient_checkpointing", plan.device != "cpu")
    return Shape(
        config=config,
        dtype="float32" if settings.trains_weights else plan.dtype,
        autocast=settings.trains_weights and plan.dtype == "bfloat16",
        lora=settings.lora,
        recompute=bool(again),
        accumulates=settings.gradient_accumulation > 1,
    )


def _sizes(settings: StudentSettings, config: Any, rows: Rows, plan: Plan) -> Sizes:
    flat = plan.device == "cpu" and can_flatten(config) and not reshaped(settings)
    return sizes(rows, settings, flat=flat, plan=plan, most=longest(settings, config))


def _states(settings: StudentSettings) -> int:
    """Bytes that the optimiser keeps for each number that is trained."""
    name = str(settings.trainer.get("optim", "adamw"))
    return next((size for kind, size in STATES.items() if kind in name), ADAMW)


def _asked(name: str, plan: Plan, found: Sizes) -> Costs:
    """Another model that reads the batches, without a gradient."""
    config = config_of(name)
    if config is None:
        raise CannotTell(f"{name} has no configuration")
    reads = [read._replace(head="none", trained=False) for read in found.dearest if read.trained][:1]
    return dry_pass(Shape(config, plan.dtype), reads)


def before_training(
    settings: StudentSettings, config: Any, rows: Rows, plan: Plan, *, held: int, tell: Callable[[str], object]
) -> Estimate | None:
    """Tells what a step takes, before the first. `held`: bytes of the student's weights, which are loaded already.

    Raises NoRoom where it does not fit. None where nothing can be told, or the training takes next to nothing."""
    room = memory(plan.device)
    if room is None or any(os.environ.get(name) == "true" for name in CUT):
        return None
    local = int(os.environ.get("LOCAL_WORLD_SIZE", "1")) if plan.device == "cpu" else 1
    room = Room(room.free // local + held, room.total)
    if _slight(settings, config, rows, plan, held, room):
        return None
    fewer = held if settings.lora is not None and settings.lora.quantise is not None else None
    try:
        found = estimate(settings, config, rows, plan, held=fewer)
    except CannotTell:
        return None
    if found.need * (1 - ERROR) > room.free:
        raise NoRoom(
            f"a step of this training takes about {gb(found.need)} GB, and {gb(room.free)} GB are free "
            f"({gb(found.weights + found.others)} GB weights, {gb(found.states)} GB optimiser, {gb(found.passes)} GB "
            f"activations, logits and gradients of {settings.batch_size} rows): "
            + advice(settings, config, rows, plan, room)
        )
    if found.need > CLOSE * room.free:
        tell(f"{found.told(room)}: that is close; {advice(settings, config, rows, plan, room)}")
    elif found.need > SLIGHT * room.free or (found.seconds or 0) * found.steps > SLIGHT_S:
        tell(found.told(room))
    return found


def _slight(settings: StudentSettings, config: Any, rows: Rows, plan: Plan, held: int, room: Room) -> bool:
    """Whether a bound that is easily computed says that the training takes next to nothing."""
    text, found = config.get_text_config(), _sizes(settings, config, rows, plan)
    tokens = sum(read.tokens for read in found.dearest)
    inner = getattr(text, "intermediate_size", None) or 4 * text.hidden_size
    kept = text.num_hidden_layers * 100 * (text.hidden_size + inner) + 32 * text.vocab_size
    most = 8 * held + tokens * kept + sum(_bytes(config_of(name)) for name in settings.asked.models)
    computed = 8 * held / 2 * tokens * found.passes * settings.epochs
    return most < SLIGHT / 2 * room.free and computed < SLIGHT_FLOPS


def advice(settings: StudentSettings, config: Any, rows: Rows, plan: Plan, room: Room) -> str:
    """The first change of the settings with which a step fits well."""
    for change, why in _changes(settings, plan):
        changed = settings.model_copy(update=change)
        within = _within(rows, changed.max_length)
        dtype = changed.dtype if changed.dtype != "auto" else plan.dtype
        try:
            need = estimate(changed, config, within, plan._replace(dtype=dtype), timed=False).need
        except CannotTell:
            break
        if need <= CLOSE * room.free:
            words = ", ".join(f"{name}: {_yaml(value)}" for name, value in change.items())
            return f"with `student: {{{words}}}`, {why}, it would take {gb(need)} GB"
    return "no batch is small enough, so choose a smaller model, or free memory"


def _changes(settings: StudentSettings, plan: Plan) -> Iterator[tuple[dict[str, Any], str]]:
    """Settings that take less memory, and what they mean; those that give the same steps first."""
    size, least = settings.batch_size, 2 if settings.asked.mismatched else 1
    change: dict[str, Any] = {}
    same = "which gives the same steps"
    for rows in range(size - 1, least - 1, -1):
        if size % rows == 0:
            change = {"batch_size": rows, "gradient_accumulation": settings.gradient_accumulation * size // rows}
            yield change, same
    if settings.trl_config and not settings.trainer.get("gradient_checkpointing", plan.device != "cpu"):
        again = {"trainer": {**settings.trainer, "gradient_checkpointing": True}}
        yield again, f"{same}, slower"
        change |= again
        yield dict(change), f"{same}, slower"
    if settings.lora is None:
        change["lora"] = LoraSettings()
        yield dict(change), "which trains an adapter"
    elif plan.dtype == "float32":
        change["dtype"] = "bfloat16"
        yield dict(change), "which rounds more"
    most = settings.max_length
    while (most := most // 2) >= 64:
        yield change | {"max_length": most}, "which leaves longer rows out"


def _yaml(value: Any) -> str:
    """As a recipe has it."""
    return "true" if isinstance(value, LoraSettings) else json.dumps(value).replace('"', "")


def _within(rows: Rows, most: int) -> Rows:
    """Those that are not left out."""
    found: Any = rows
    kept = [row for row in found.rows if length(row) <= most]
    within: Rows = found._replace(rows=kept or found.rows)
    return within


def _bytes(config: Any) -> float:
    """A bound for the weights of a model, in bytes."""
    if config is None:
        return 0.0
    text = config.get_text_config()
    inner = getattr(text, "intermediate_size", None) or 4 * text.hidden_size
    each = 4 * text.hidden_size**2 + 3 * text.hidden_size * inner
    return 4.0 * float(text.num_hidden_layers * each + 2 * text.vocab_size * text.hidden_size)


def gb(size: float) -> str:
    """Bytes in GB with two figures that count.

    >>> gb(345_000_000), gb(9_120_000_000), gb(23_400_000_000)
    ('0.34', '9.1', '23')
    """
    return f"{size / 1e9:.0f}" if size >= 9.95e9 else f"{size / 1e9:.1f}" if size >= 0.995e9 else f"{size / 1e9:.2f}"


def _short(seconds: float) -> str:
    """Of a step: `0.4 s`, `3 s`, `2 min 10 s`."""
    return f"{seconds:.1g} s" if seconds < 1 else duration(seconds)
