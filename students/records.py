"""Records that the methods, the trainers and the lint share; nothing heavy is imported here."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

from stillroom.common.records import Messages, Task, Verdict
from stillroom.sampling.ledger import Ledger
from stillroom.sampling.scorers.base import Scorer
from stillroom.students.methods.trackers import Watched

Reason = Literal["too_long", "end_token_inside", "same_answers", "both_labels"]
REASONS: dict[Reason, str] = {
    "too_long": "longer than max_length",
    "end_token_inside": "its text holds the token that ends a turn",
    "same_answers": "chosen and rejected are the same tokens",
    "both_labels": "the same answer has both labels",
}


Phase = Literal["sft", "dpo", "kto", "orpo"]
"""Which loss a step is of."""


class LeftOut(NamedTuple):
    """A row that is not trained on, and why. `tokens`: of the prompt and the (longer) answer."""

    name: str
    reason: Reason
    tokens: int

    def __str__(self) -> str:
        return f"{self.name} is not trained on: {self.tokens:,} tokens, {REASONS[self.reason]}"


class Rewards(NamedTuple):
    """Implicit rewards β·(log π − log π_ref), means over the pairs of one step. `margin`: chosen minus rejected.
    `accuracy`: share of pairs with a margin above 0; before the first step all margins are 0, and so is it."""

    chosen: float
    rejected: float
    margin: float
    accuracy: float


class StepInfo(NamedTuple):
    """One step of the optimiser, just done: `step` of `total`. `tokens_per_s`: since the first step, prompt and
    answer without padding. `seconds`: since the first step began. `phase`: `sft` before DPO counts its own steps.
    `rewards`: None but for DPO. `measures`: what else the method tells of the step, by name."""

    step: int
    total: int
    loss: float
    tokens_per_s: float
    learning_rate: float
    epoch: float
    seconds: float
    phase: Phase = "sft"
    rewards: Rewards | None = None
    measures: Mapping[str, float] = MappingProxyType({})


OnStep = Callable[[StepInfo], None]


LIVE_STUDENT = "student:"
"""Begins the identity of a student that answers while it is trained."""


class Gate(NamedTuple):
    """What judges answers to the rows' prompts. `identity`: the scorer's; `scorer`: makes it; `needs_reference`: it
    reads the references of tasks. `task`: the task of a row, by its id and prompt; None where there is none."""

    identity: str
    scorer: Callable[[], Scorer]
    needs_reference: bool
    task: Callable[[str | None, Messages], Task | None]


class TrainingPlace(NamedTuple):
    """What a run lends to a training. `base`: relative paths of the settings start there; `ledger`: keeps the answers
    that are sampled for it, None for a ledger that goes with the training; `store`: a folder in which what was
    computed for it stays for the next training, None for none; `tell`: hears, in a line each, what a user should
    know; `gate`: judges the student's own answers, None for nothing; `watched`: what trackers are told of it."""

    base: Path = Path()
    ledger: Ledger | None = None
    store: Path | None = None
    tell: Callable[[str], object] = lambda text: None
    gate: Gate | None = None
    watched: Watched | None = None


class Signals(NamedTuple):
    """What is kept of a teacher's distribution, and what it lacks. `rows`, `positions`, `bytes`: on disk, whoever
    they are for; `wanted`: rows that would be trained on now; `missing`, `missing_tokens`: those of them that the
    teacher would be asked for, and its tokens, prompts included; None if it cannot be told, and `why` says why.
    """

    rows: int
    positions: int
    bytes: int
    wanted: int | None = None
    missing: int | None = None
    missing_tokens: int | None = None
    why: str = ""


class Asked(NamedTuple):
    """What a training reads and holds next to the student's own pass, so that its memory can be told before.

    `models`: by name, those in memory that read each batch. `sides`: models whose logits the loss looks at together,
    the student's included; 0 for a loss of the labels alone. `again`: how often the student itself reads each batch
    without a gradient. `mismatched`: it reads other answers to each prompt, too. `more_rows`, `more_tokens`: rows of
    another kind for each row of a batch, and the tokens of one.
    """

    models: tuple[str, ...] = ()
    sides: int = 0
    again: int = 0
    mismatched: bool = False
    more_rows: float = 0.0
    more_tokens: int = 0


class Plan(NamedTuple):
    """Where and how a student is trained. `device`: cpu or cuda; `dtype`: what it computes in."""

    device: str
    dtype: str
    seed: int


@dataclass(frozen=True, slots=True)
class Trained:
    """A finished student.

    `adapter`: None for full fine-tuning; `merged`: None if it was not asked for. `rows`: trained on, each epoch;
    `left_out`: not trained on, with the reason. `losses`: one a step, mean over the answers' tokens. `tokens`: seen
    in all epochs, padding not counted. `seconds`: of training, loading and saving not counted. Of DPO, `rows` counts
    pairs, `tokens` those of both sides, and `rewards` has one for each of the `losses`; `sft_losses`: of the steps on
    the chosen answers before, which `tokens` and `seconds` include. `measures`: of KTO and ORPO, one for each of the
    `losses`.
    """

    folder: Path
    adapter: Path | None
    merged: Path | None
    rows: int
    left_out: tuple[LeftOut, ...]
    losses: tuple[float, ...]
    tokens: int
    seconds: float
    rewards: tuple[Rewards, ...] = ()
    sft_losses: tuple[float, ...] = ()
    measures: tuple[Mapping[str, float], ...] = ()

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

    def as_json(self) -> dict[str, Any]:
        """For another process, which `from_json` reads it in."""
        found = {each.name: getattr(self, each.name) for each in fields(self)}
        paths = {name: None if found[name] is None else str(found[name]) for name in ("folder", "adapter", "merged")}
        return found | paths | {"measures": [dict(step) for step in self.measures]}

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> Trained:
        """Takes back what `as_json` gave."""
        paths = {name: None if found[name] is None else Path(found[name]) for name in ("adapter", "merged")}
        return cls(
            folder=Path(found["folder"]),
            **paths,
            rows=found["rows"],
            left_out=tuple(LeftOut(*each) for each in found["left_out"]),
            losses=tuple(found["losses"]),
            tokens=found["tokens"],
            seconds=found["seconds"],
            rewards=tuple(Rewards(*each) for each in found["rewards"]),
            sft_losses=tuple(found["sft_losses"]),
            measures=tuple(found["measures"]),
        )


class Reference(NamedTuple):
    """The model that the losses of pairs are taken against. `model`: what it is, or is made from; `told`: which state
    of it, in words; `trained_first`: on the chosen answers, so that it could have written them."""

    model: str
    told: str
    trained_first: bool


class Answered(NamedTuple):
    """A trained answer for the checker. `task_id`: None where the row names no task. `prompt`: what it answers; tasks
    of several runs may share an id. `text`: what stands under the labels, without thinking and end token."""

    task_id: str | None
    prompt: Messages
    text: str


Checker = Callable[[Sequence[Answered]], Sequence[Verdict | None]]
"""Scores answers as a scorer scores attempts, in their order; None for one that cannot be judged here."""
