"""Loss on rows that are not trained on: `student.validation`, by task, with early stopping and the best weights.

    student: {validation: 0.05}                                    # a share of the rows, or a number of them
    student: {validation: {rows: 64, every: 20, patience: 3, best: true}}

Rows of one task, or with the same prompt, stand on one side together. They come from the rows of the training, so
never from held-out tasks. The loss is the method's own, without dropout: the mean over the answers' tokens, of DPO
over the pairs; of white-box distillation that of the objectives of rows, without rehearsal and rollouts.
Refuses a split that leaves nothing to train on.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Generic, NamedTuple, TypeVar

from pydantic import Field, field_validator

from stillroom.common.hashing import digest
from stillroom.common.settings import Settings
from stillroom.errors import RecipeError
from stillroom.students.data.encode import Encoded, EncodedPairs
from stillroom.students.data.labelled import EncodedAnswers, LabelledRow
from stillroom.students.data.rows import PairRow, SftRow
from stillroom.students.methods.ranks import Ranks

Rows = Sequence[SftRow] | Sequence[PairRow] | Sequence[LabelledRow]
E = TypeVar("E", Encoded, EncodedPairs, EncodedAnswers)
_Trainer: Any = object

EVALUATIONS = 10
"""How many there are in a training where `every` is not set."""


class ValidationSettings(Settings):
    """Rows that are left out of the training to measure its loss on."""

    rows: float = Field(default=0.05, gt=0)
    """Below 1 a share of the rows, else their number; at least that many, as tasks stay together."""
    every: int | None = Field(default=None, ge=1)
    """Steps between two measurements; null: a tenth of the training."""
    patience: int | None = Field(default=None, ge=1)
    """Stop when this many measurements in a row were not below the lowest; null: never."""
    best: bool = False
    """The student gets the weights with the lowest loss, not the last ones."""

    @field_validator("rows")
    @classmethod
    def _whole_rows(cls, value: float) -> float:
        if value >= 1 and value != int(value):
            raise ValueError(f"{value:g} is neither a share below 1 nor a whole number of rows")
        return value

    def wanted(self, rows: int) -> int:
        """Of that many rows."""
        return int(self.rows) if self.rows >= 1 else max(1, round(self.rows * rows))


class Measured(NamedTuple):
    """The loss on the validation rows behind a step."""

    step: int
    loss: float


class Curve:
    """What was measured so far, and what follows from it. `held`: rows that it is measured on."""

    def __init__(self, settings: ValidationSettings, held: int) -> None:
        self.settings, self.held = settings, held
        self.measured: list[Measured] = []

    def due(self, step: int, total: int) -> bool:
        """Whether the loss is measured behind a step."""
        every = self.settings.every or max(1, total // EVALUATIONS)
        return step % every == 0 or step == total

    @property
    def best(self) -> Measured | None:
        """The lowest, the first of several."""
        return min(self.measured, key=lambda each: each.loss, default=None)

    @property
    def stops(self) -> bool:
        """Whether the training ends here."""
        if self.settings.patience is None or self.best is None:
            return False
        return len(self.measured) - 1 - self.measured.index(self.best) >= self.settings.patience


class Split(NamedTuple):
    """Places of rows, each in their order."""

    training: list[int]
    validation: list[int]


class Apart(NamedTuple, Generic[E]):
    """The rows to train on, and those to measure the loss on."""

    training: E
    validation: E


def apart(encoded: E, rows: Rows, settings: ValidationSettings, seed: int) -> Apart[E]:
    """`rows`: what was encoded. Raises RecipeError where nothing is left to train on."""
    known = {row.name: row for row in rows}
    found = [known[row.name] for row in encoded.rows]
    keys = [(row.task_id, digest([turn.as_dict() for turn in row.prompt])) for row in found]
    split = by_task(keys, settings.wanted(len(keys)), seed)
    if not split.training:
        raise RecipeError(
            f"student.validation takes all {len(keys):,} rows, as rows of one task stay together, and leaves none to "
            "train on: lower it, or train on more tasks"
        )
    training, validation = (encoded._replace(rows=[encoded.rows[i] for i in side]) for side in split)
    return Apart(training, validation)


def by_task(keys: Sequence[tuple[str | None, str]], wanted: int, seed: int) -> Split:
    """At least `wanted` rows for validation: whole tasks, in an order that the seed decides. `keys`: task and prompt
    of each row; rows that share either are of one task."""
    first: dict[str, int] = {}
    group = list(range(len(keys)))

    def root(place: int) -> int:
        while group[place] != place:
            place = group[place]
        return place

    for place, (task, prompt) in enumerate(keys):
        for key in (f"prompt {prompt}", *(() if task is None else (f"task {task}",))):
            group[root(place)] = root(first.setdefault(key, place))
    members: dict[int, list[int]] = {}
    for place in range(len(keys)):
        members.setdefault(root(place), []).append(place)
    chosen: set[int] = set()
    for places in sorted(members.values(), key=lambda places: digest([seed, "validation", keys[places[0]]])):
        if len(chosen) >= wanted:
            break
        chosen.update(places)
    return Split([i for i in range(len(keys)) if i not in chosen], sorted(chosen))


class Held(NamedTuple):
    """A batch of validation rows. `weight`: what its loss is a mean over, tokens or pairs; `counts`: the same as the
    trainer's loss wants it."""

    batch: Any
    weight: int
    counts: Any


class Validated(_Trainer):  # type: ignore[misc]  # stands before one of trl's trainers, which are loaded where used
    """A trainer that measures its loss on rows apart. `curve`, `held`: None and nothing without them."""

    curve: Curve | None = None
    held: Sequence[Held] = ()
    best_weights: dict[str, Any] | None = None

    def measure(self) -> None:
        """The loss on the validation rows as the weights are now; keeps these where they are the best ones."""
        import torch
        import transformers

        if self.curve is None:
            return
        tokens, total = self.steps.tokens, 0.0
        self.model.eval()
        with torch.no_grad():
            for each in self.held:
                inputs = self._prepare_inputs(each.batch)
                with self.compute_loss_context_manager():
                    found = float(self.compute_loss(self.model, inputs, num_items_in_batch=each.counts))
                # What is divided by counts is multiplied by the processes, whose gradients are averaged.
                total += each.weight * (found if each.counts is None else found / Ranks.here().size)
        self.model.train()
        self.steps.tokens = tokens
        if (own := getattr(self, "own", None)) is not None:
            own.drop()
        loss = total / sum(each.weight for each in self.held)
        self.curve.measured.append(Measured(self.state.global_step, loss))
        if self.curve.settings.best and self.curve.best == self.curve.measured[-1]:
            self.best_weights = {n: w.detach().cpu().clone() for n, w in self._trained_weights()}
        # Not trl's, which would count what the steps have shown a second time.
        transformers.Trainer.log(self, {"eval_loss": loss})

    def take_best(self) -> None:
        """Puts the best weights in the place of the last ones, if the settings ask for it."""
        import torch

        if self.best_weights is not None:
            with torch.no_grad():
                for name, weight in self._trained_weights():
                    weight.copy_(self.best_weights[name])

    def _trained_weights(self) -> list[tuple[str, Any]]:
        return [(name, weight) for name, weight in self.model.named_parameters() if weight.requires_grad]


def record(curve: Curve | None) -> dict[str, Any]:
    """As `training.json` has it; nothing without validation."""
    if curve is None:
        return {}
    best = curve.best
    return {
        "validation": {
            "rows": curve.held,
            "losses": [[each.step, round(each.loss, 6)] for each in curve.measured],
            "best_step": None if best is None else best.step,
            "stopped_early": curve.stops,
            "weights_of": "best_step" if curve.settings.best else "last_step",
        }
    }
