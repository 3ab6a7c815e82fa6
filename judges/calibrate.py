"""Calibrates a judge on pairs that people have labelled, before anything is built from its verdicts.

What each number is says `agreement`. A pointwise judge rates both answers and the higher rating wins: it has no
orders, so P(first) and consistency are None, with a note.

    calibration = await calibrate(judge, load_labelled(Path("labels.jsonl")), seed=0)
    Path("calibration.json").write_text(calibration.model_dump_json(indent=2))
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Literal, cast

from stillroom.common.settings import Settings
from stillroom.common.stats.intervals import Interval
from stillroom.errors import InputError
from stillroom.judges import agreement, failures
from stillroom.judges.agreement import JudgedPair
from stillroom.judges.failures import FailureReport
from stillroom.judges.human_labels import LabelledPair
from stillroom.judges.pairwise import together
from stillroom.judges.records import PairwiseJudge, PointwiseJudge

Kind = Literal["pairwise", "pointwise"]
_UNORDERED = "the judge rates one answer at a time: P(first) and consistency do not apply"


class Estimate(Settings):
    """A measured value with its 95 % limits. `n`: judgements, answers or pairs that it rests on."""

    value: float
    low: float
    high: float
    n: int

    @classmethod
    def of(cls, interval: Interval | None) -> Estimate | None:
        """None stays None."""
        return None if interval is None else cls(**interval._asdict())

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}] (n = {self.n})"


class Calibration(Settings):
    """How a judge does on labelled pairs. None: not measured, or it does not apply (see `notes`).

    `pairs`: given; `judged`: of them, with a final verdict. `labels`, `final`: how often each. `states`: of the
    questions asked. `calls`: requests that it took.
    """

    judge: str
    kind: Kind
    seed: int
    pairs: int
    judged: int
    calls: int
    accuracy: Estimate | None
    final_accuracy: Estimate | None
    decided_accuracy: Estimate | None
    kappa: Estimate | None
    final_kappa: Estimate | None
    consistency: Estimate | None
    first: Estimate | None
    length_correlation: Estimate | None
    label_length_correlation: Estimate | None
    score_length_correlation: Estimate | None
    longer_accuracy: Estimate | None
    beats_longer: Estimate | None
    labels: dict[str, int]
    final: dict[str, int]
    states: dict[str, int]
    failures: FailureReport
    notes: tuple[str, ...] = ()


async def calibrate(
    judge: PairwiseJudge | PointwiseJudge, pairs: Sequence[LabelledPair], *, seed: int, kind: Kind | None = None
) -> Calibration:
    """Asks the judge about every pair, all at once: the judge bounds what is in flight. `seed`: of the bootstrap.
    `kind`: how a judge that can both compare and rate is used; None: it compares.

    Raises InputError where there are no pairs, and what the judge raises when asking anybody is pointless.
    """
    if not pairs:
        raise InputError("a judge is calibrated on labelled pairs, and there are none: give at least 30")
    used: Kind = kind or ("pairwise" if hasattr(judge, "compare") else "pointwise")
    judged = await together(*(_judge(judge, pair, used) for pair in pairs))
    return summarise(judged, judge=judge.identity, kind=used, seed=seed)


async def _judge(judge: PairwiseJudge | PointwiseJudge, pair: LabelledPair, kind: Kind) -> JudgedPair:
    if kind == "pairwise":
        comparing = cast("PairwiseJudge", judge)
        return agreement.compared(pair, await comparing.compare(pair.task, pair.a, pair.b))
    rating = cast("PointwiseJudge", judge)
    a, b = await together(rating.rate(pair.task, pair.a), rating.rate(pair.task, pair.b))
    return agreement.rated(pair, a, b)


def summarise(judged: Sequence[JudgedPair], *, judge: str, kind: Kind, seed: int) -> Calibration:
    """The calibration of what was judged already."""
    asked = failures.questions(judged)
    measured = {name: Estimate.of(found) for name, found in agreement.measures(judged, seed=seed).items()}
    ties = sum(one.pair.label == "tie" for one in judged)
    final = Counter("failed" if one.final is None else "tie" if one.final == "tie" else "winner" for one in judged)
    return Calibration(
        judge=judge,
        kind=kind,
        seed=seed,
        pairs=len(judged),
        judged=len(judged) - final["failed"],
        calls=sum(one.calls for one in judged),
        labels={"winner": len(judged) - ties, "tie": ties},  # which of a and b won means nothing
        final={name: final[name] for name in ("winner", "tie", "failed")},
        states=failures.by_state(asked),
        failures=failures.report(asked),
        notes=tuple(_notes(judged, kind, final["failed"], measured["longer_accuracy"])),
        **measured,
    )


def _notes(judged: Sequence[JudgedPair], kind: Kind, failed: int, longer: Estimate | None) -> list[str]:
    notes = [_UNORDERED] if kind == "pointwise" else []
    if failed:
        notes.append(f"{failed} of {len(judged)} pairs got no judgement and count for nothing here: see failures")
    if longer is not None and longer.high < 0.5:
        notes.append(
            f"the longer answer is the better one in {longer.value:.0%} of these pairs: beating 'longer wins' says "
            "little here, as a judge that always takes the shorter one does; calibrate on other pairs as well"
        )
    if kind == "pairwise" and any(len(one.orders) < 2 for one in judged):
        notes.append("some pairs were shown in one order only: consistency rests on the others")
    return notes
