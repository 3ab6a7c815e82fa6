"""Calibrates a verifier on answers that people have labelled, and holds it against limits, before a run believes it.

A verifier is let in to read what no rule can, so the wrong answers that it accepts are what it costs: a student is
trained on them. The gate refuses one that accepts more of them than the recipe names.

    found = await calibrate_verifier(verifier, answers)
    verifier_gate(found, VerifierGate(labelled="labelled.jsonl", max_false_accepts=0.02)).failures
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from pydantic import Field

from stillroom.common.records import Attempt, State, Task, Verdict, user
from stillroom.common.settings import Settings
from stillroom.common.stats.intervals import wilson
from stillroom.errors import InputError
from stillroom.judges.calibrate import Estimate, GateVerdict
from stillroom.judges.records import together
from stillroom.sampling.scorers.base import Scorer

_ROUNDING = 1e-9


class LabelledAnswer(NamedTuple):
    """A final answer that people have labelled. `open`: whether the rules leave it unscored, as what a verifier is
    asked about in a run."""

    question: str
    gold: str
    answer: str
    right: bool
    open: bool = True


class VerifierGate(Settings):
    """Labelled answers on which a verifier is measured before a run, and what it must reach there."""

    labelled: str
    """File of answers with labels, as `stillroom check` reads them: `gold`, `pred`, `expected`, `prompt`."""
    max_false_accepts: float = Field(default=0.05, ge=0, le=1)
    """Most of the wrong answers that it may accept, as a share."""
    min_consistency: float = Field(default=0.8, ge=0, le=1)
    """Least share of answers about which it says the same with the two answers changed round."""
    min_wrong: int = Field(default=20, ge=1)
    """Wrong answers below which no share of them is trusted."""
    required: bool = True
    """Whether a run ends where the verifier fails; false: it says so and goes on."""


class VerifierCalibration(Settings):
    """How a verifier does on labelled answers. None: there was nothing to measure it on.

    `accuracy`: accepted exactly where the label is right, so that what it leaves open counts against it where the
    answer is right; `false_accepts`: of the wrong answers, `false_rejects`: of the right ones; `decided`: accepted or
    rejected; `consistency`: of those where both readings could be read, the same both ways round. The same three for
    the answers that the rules leave open (`open_…`). `said`: what it said, by reason. `calls`, `tokens`: requests and
    tokens of prompts and answers together, those from the ledger included.
    """

    verifier: str
    answers: int
    wrong: int
    accuracy: Estimate | None
    false_accepts: Estimate | None
    false_rejects: Estimate | None
    decided: Estimate | None
    consistency: Estimate | None
    open_answers: int
    open_accuracy: Estimate | None
    open_false_accepts: Estimate | None
    said: dict[str, int]
    calls: int
    tokens: int


class _Judged(NamedTuple):
    given: LabelledAnswer
    verdict: Verdict

    @property
    def accepted(self) -> bool:
        return self.verdict.state is State.ACCEPTED

    @property
    def agrees(self) -> bool:
        return self.accepted is self.given.right


async def calibrate_verifier(verifier: Scorer, answers: Sequence[LabelledAnswer]) -> VerifierCalibration:
    """Asks a verifier about every answer. Raises InputError where there are none, and what makes asking pointless."""
    if not answers:
        raise InputError(
            "a verifier is measured on labelled answers, and there are none: label 20 wrong ones or more"
        )

    async def judged(place: int, given: LabelledAnswer) -> _Judged:
        task = Task(f"labelled {place}", user(given.question), given.gold, "labelled")
        attempt = Attempt(task.id, 0, given.answer, None, "stop", 0, 0, None, 0.0, "labelled")
        return _Judged(given, await verifier.score(task, attempt))

    found = await together(*(judged(place, given) for place, given in enumerate(answers)))
    told = [json.loads(one.verdict.detail) for one in found if one.verdict.detail.startswith("{")]
    both = [said for detail in told if set(said := detail["said"]) <= {"correct", "incorrect", "invalid"}]
    open_ones = [one for one in found if one.given.open]
    return VerifierCalibration(
        verifier=verifier.identity,
        answers=len(found),
        wrong=sum(not one.given.right for one in found),
        accuracy=_share([one.agrees for one in found]),
        false_accepts=_share([one.accepted for one in found if not one.given.right]),
        false_rejects=_share([one.verdict.state is State.REJECTED for one in found if one.given.right]),
        decided=_share([one.verdict.state is not State.UNSCORED for one in found]),
        consistency=_share([len(set(said)) == 1 for said in both]),
        open_answers=len(open_ones),
        open_accuracy=_share([one.agrees for one in open_ones]),
        open_false_accepts=_share([one.accepted for one in open_ones if not one.given.right]),
        said=dict(Counter(f"{one.verdict.state.value} {one.verdict.reason}" for one in found).most_common()),
        calls=sum(detail["calls"] for detail in told),
        tokens=sum(detail["tokens"] for detail in told),
    )


def verifier_gate(found: VerifierCalibration, limits: VerifierGate) -> GateVerdict:
    """Holds a calibration against the limits, by value; what was not measured is not passed."""
    failed = []
    if found.wrong < limits.min_wrong:
        failed.append(f"wrong answers: {found.wrong} of {found.answers}, at least {limits.min_wrong} are needed")
    accepts, same = found.false_accepts, found.consistency
    if accepts is None or accepts.value > limits.max_false_accepts + _ROUNDING:
        told = accepts or "not measured"
        failed.append(f"wrong answers that it accepts: {told}, at most {limits.max_false_accepts:g} is allowed")
    if same is None or same.value < limits.min_consistency - _ROUNDING:
        told = same or "not measured"
        failed.append(f"the same both ways round: {told}, at least {limits.min_consistency:g} is needed")
    return GateVerdict(not failed, tuple(failed))


def _share(hits: Sequence[bool]) -> Estimate | None:
    return Estimate.of(wilson(sum(hits), len(hits))) if hits else None
