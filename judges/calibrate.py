"""Calibrates a judge on pairs that people have labelled, before anything is built from its verdicts, and holds it
against limits: no pairs are built from a judge that does not beat "the longer one wins".

What each number is says `agreement`. A pointwise judge rates both answers and the higher rating wins: it has no
orders, so P(first) and consistency are None, with a note.

    calibration = await calibrate(judge, load_labelled(Path("labels.jsonl")), seed=0)
    Path("calibration.json").write_text(calibration.model_dump_json(indent=2))
    verdict = gate(calibration, GateSettings())
    if not verdict.passed: raise RecipeError("; ".join(verdict.failures))

Failures can depend on what an answer says: a judge that refuses one kind of answer, or that cannot read long ones,
looks better on what is left. Each question put to the judge counts once: an order of a pair, or a rating of one
answer.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple, cast

from pydantic import Field

from stillroom.common.settings import Settings
from stillroom.common.stats.intervals import Interval
from stillroom.errors import InputError
from stillroom.judges.agreement import JudgedPair, compared, measures, rated
from stillroom.judges.human_labels import LabelledPair
from stillroom.judges.records import FAILURES, JudgeState, PairwiseJudge, PointwiseJudge, together

Kind = Literal["pairwise", "pointwise"]
_ROUNDING = 1e-9  # 0.6 - 0.5 must not fall on the wrong side of 0.1
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


class FailureCount(Settings):
    """Questions put to the judge that got no judgement."""

    failed: int
    asked: int


class FailureReport(Settings):
    """Failures by people's label of the answer, by length, and by who wrote it."""

    by_answer: dict[str, FailureCount]
    by_length: dict[str, FailureCount]
    by_source: dict[str, FailureCount]


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

    async def judged(pair: LabelledPair) -> JudgedPair:
        if used == "pairwise":
            comparing = cast("PairwiseJudge", judge)
            return compared(pair, await comparing.compare(pair.task, pair.a, pair.b))
        rating = cast("PointwiseJudge", judge)
        return rated(pair, *await together(rating.rate(pair.task, pair.a), rating.rate(pair.task, pair.b)))

    found = await together(*(judged(pair) for pair in pairs))
    return summarise(found, judge=judge.identity, kind=used, seed=seed)


def summarise(judged: Sequence[JudgedPair], *, judge: str, kind: Kind, seed: int) -> Calibration:
    """The calibration of what was judged already."""
    asked = questions(judged)
    measured = {name: Estimate.of(found) for name, found in measures(judged, seed=seed).items()}
    ties = sum(one.pair.label == "tie" for one in judged)
    final = Counter("failed" if one.final is None else "tie" if one.final == "tie" else "winner" for one in judged)
    notes = [_UNORDERED] if kind == "pointwise" else []
    if failed := final["failed"]:
        notes.append(f"{failed} of {len(judged)} pairs got no judgement and count for nothing here: see failures")
    longer = measured["longer_accuracy"]
    if longer is not None and longer.high < 0.5:
        notes.append(
            f"the longer answer is the better one in {longer.value:.0%} of these pairs: beating 'longer wins' says "
            "little here, as a judge that always takes the shorter one does; calibrate on other pairs as well"
        )
    if kind == "pairwise" and any(len(one.orders) < 2 for one in judged):
        notes.append("some pairs were shown in one order only: consistency rests on the others")
    return Calibration(
        judge=judge,
        kind=kind,
        seed=seed,
        pairs=len(judged),
        judged=len(judged) - failed,
        calls=sum(one.calls for one in judged),
        labels={"winner": len(judged) - ties, "tie": ties},  # which of a and b won means nothing
        final={name: final[name] for name in ("winner", "tie", "failed")},
        states={state.value: n for state in JudgeState if (n := sum(one.state is state for one in asked))},
        # Does it fail on the answers that people like less? On long ones? On whose? A comparison counts for both.
        failures=FailureReport(
            by_answer=_grouped((one.about, one) for one in asked),
            by_length=by_length(asked),
            by_source=_grouped((source, one) for one in asked for source in dict.fromkeys(one.sources)),
        ),
        notes=tuple(notes),
        **measured,
    )


class Asked(NamedTuple):
    """One question. `about`: by people's label, which answer was rated ("better", "worse", "equal") or shown first
    ("better first", "worse first", "equal"; "one order" where only one was asked). `length`: characters of all
    answers shown. `sources`: who wrote them."""

    state: JudgeState
    about: str
    length: int
    sources: tuple[str, ...]


def questions(judged: Sequence[JudgedPair]) -> list[Asked]:
    """Every question that was put to the judge."""
    asked: list[Asked] = []
    for one in judged:
        pair, tie = one.pair, one.pair.label == "tie"
        for rating, key, answer in zip(one.ratings or (), ("a", "b"), (pair.a, pair.b), strict=bool(one.ratings)):
            about = "equal" if tie else "better" if pair.label == key else "worse"
            asked.append(Asked(rating.state, about, len(answer.text), (answer.teacher,)))
        for order in () if one.ratings else one.orders:
            about = "better first" if (pair.label == "a") is order.a_first else "worse first"
            if tie or len(one.orders) < 2:  # where one order was asked and failed, nothing tells which
                about = "equal" if tie else "one order"
            length = len(pair.a.text) + len(pair.b.text)
            asked.append(Asked(order.verdict.state, about, length, (pair.a.teacher, pair.b.teacher)))
    return asked


def by_length(asked: Sequence[Asked]) -> dict[str, FailureCount]:
    """By thirds of the length of what was shown; equal lengths stay together, so thirds may differ in size."""
    if not asked:
        return {}
    lengths = sorted(one.length for one in asked)
    lower, upper = lengths[(len(lengths) - 1) // 3], lengths[2 * len(lengths) // 3]

    def third(length: int) -> str:
        if lower == upper:
            return "short" if length < lower else "long" if length > upper else "middle"
        return "short" if length <= lower else "long" if length >= upper else "middle"

    grouped = _grouped((third(one.length), one) for one in asked)
    return {length: grouped[length] for length in ("short", "middle", "long") if length in grouped}


def _grouped(items: Iterable[tuple[str, Asked]]) -> dict[str, FailureCount]:
    asked: Counter[str] = Counter()
    failed: Counter[str] = Counter()
    for key, one in items:
        asked[key] += 1
        failed[key] += one.state in FAILURES
    return {key: FailureCount(failed=failed[key], asked=asked[key]) for key in sorted(asked)}


class GateSettings(Settings):
    """The limits."""

    min_kappa: float = Field(default=0.4, ge=-1, le=1)
    """Least Cohen's κ between judge and people."""
    min_consistency: float = Field(default=0.8, ge=0, le=1)
    """Least share of pairs judged the same in both orders."""
    max_first_bias: float = Field(default=0.1, ge=0, le=0.5)
    """How far the share of wins of the first position may be from a half."""
    beat_longer: bool = True
    """The judge must be more accurate than choosing the longer answer."""
    min_pairs: int = Field(default=30, ge=1)
    """Judged pairs below which no figure is trusted."""


class GateVerdict(NamedTuple):
    """Whether a judge passed. `failures`: each check it failed, with value, interval and limit. `not_applied`: checks
    that do not apply to this kind of judge, with the reason."""

    passed: bool
    failures: tuple[str, ...]
    not_applied: tuple[str, ...] = ()


def gate(calibration: Calibration, settings: GateSettings | None = None) -> GateVerdict:
    """Holds a calibration against the limits. What was not measured is not passed.

    A judge passes with Cohen's κ of at least .4, consistency of at least .8, P(first) within .1 of a half, and an
    accuracy whose paired difference from "longer wins" has an interval above 0. κ, consistency and P(first) are held
    to their limits by value; the interval is shown next to it. Consistency alone proves nothing: a judge can be
    consistently wrong.
    """
    limits = settings or GateSettings()
    failed = []
    if calibration.judged < limits.min_pairs:
        pairs = f"{calibration.judged} of {calibration.pairs}"
        failed.append(f"judged pairs: {pairs}, at least {limits.min_pairs} are needed")
    failed += _at_least("kappa", calibration.kappa, limits.min_kappa)
    beats = calibration.beats_longer
    if limits.beat_longer and not (beats is not None and beats.low > 0):
        told = f"accuracy minus that of 'longer wins': {beats or 'not measured'}, an interval above 0 is needed"
        figures = f" (accuracy {calibration.accuracy}, 'longer wins' {calibration.longer_accuracy})"
        failed.append(told + (figures if beats else ""))
    if calibration.kind == "pointwise":
        skipped = ("consistency, P(first): the judge rates one answer at a time",)
        return GateVerdict(not failed, tuple(failed), skipped)
    failed += _at_least("consistency", calibration.consistency, limits.min_consistency)
    first = calibration.first
    if not (first is not None and abs(first.value - 0.5) <= limits.max_first_bias + _ROUNDING):
        failed.append(f"P(first): {first or 'not measured'}, within {limits.max_first_bias:g} of 0.5 is needed")
    return GateVerdict(not failed, tuple(failed))


def _at_least(name: str, found: Estimate | None, limit: float) -> list[str]:
    if found is not None and found.value >= limit - _ROUNDING:
        return []
    return [f"{name}: {found or 'not measured'}, at least {limit:g} is needed"]
