"""Builds the judge that a recipe names, on a run's ledger.

made = make_judge(recipe.judge, ledger=ledger, base=Path("."), seed=0)
rating = await made.pointwise.rate(task, attempt)       # or made.pairwise.compare(task, a, b)
await made.close()
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

from stillroom.errors import InputError
from stillroom.judges.dialogue import Asks
from stillroom.judges.jury import Jury, JuryPairwise
from stillroom.judges.pairwise import Pairwise
from stillroom.judges.pointwise import Pointwise
from stillroom.judges.readability import ReadabilityJudge
from stillroom.judges.recorded import RecordedPairwise, open_recorded
from stillroom.judges.records import PairwiseJudge, PointwiseJudge
from stillroom.judges.reference import ReferenceJudge
from stillroom.judges.rubric import load_rubric
from stillroom.judges.scripted import Noise, ScriptedJudge
from stillroom.judges.settings import (
    JudgeSettings,
    JurySettings,
    LlmJudgeSettings,
    ReadabilityJudgeSettings,
    RecordedJudgeSettings,
    ReferenceJudgeSettings,
    ScriptedJudgeSettings,
    StyleJudgeSettings,
)
from stillroom.judges.style import StyleJudge
from stillroom.sampling.asking import Asker
from stillroom.sampling.hashing import digest
from stillroom.sampling.ledger import Ledger
from stillroom.sampling.limits import Meter, Prices
from stillroom.sampling.records import Attempt
from stillroom.sampling.teachers.base import Teacher
from stillroom.sampling.teachers.factory import make_teacher

QUALITIES: dict[str, Callable[[Attempt], float]] = {
    "longer": lambda attempt: len(attempt.text) / 200,
    "shorter": lambda attempt: -len(attempt.text) / 200,
    "random": lambda attempt: int(digest(["quality", attempt.text], 8), 16) / 2**31 - 1,
}
"""What a scripted judge takes for the truth, about -1 to 1 for usual answers."""


@dataclass(frozen=True, slots=True)
class Made:
    """A judge that rates (`pointwise`) or compares (`pairwise`): one of the two. `teachers`: the models it asks."""

    pointwise: PointwiseJudge | None
    pairwise: PairwiseJudge | None
    teachers: tuple[Teacher, ...] = ()

    @property
    def judge(self) -> PointwiseJudge | PairwiseJudge:
        """The one there is."""
        judge = self.pointwise or self.pairwise
        assert judge is not None  # every constructor below gives one
        return judge

    @property
    def kind(self) -> Literal["pointwise", "pairwise"]:
        """Whether it rates or compares."""
        return "pairwise" if self.pointwise is None else "pointwise"

    @property
    def identity(self) -> str:
        """The judge's."""
        return self.judge.identity

    async def close(self) -> None:
        """Closes it."""
        await self.judge.close()


class Place(NamedTuple):
    """Where a judge works. `ledger`: keeps its requests; `base`: relative paths start there; `seed`: the run's.
    `meter`, `prices`: limits that it shares with others, and what its tokens cost. `asks`: makes what asks, in the
    place of an Asker."""

    ledger: Ledger
    base: Path
    seed: int = 0
    meter: Meter | None = None
    prices: Prices | None = None
    asks: Callable[[Teacher, LlmJudgeSettings], Asks] | None = None


def make_judge(settings: JudgeSettings, place: Place) -> Made:
    """The judge of `settings`.

    Loads no model yet. Raises InputError (a rubric or a file that is not there, a missing extra or key).
    """
    match settings:
        case LlmJudgeSettings():
            return _llm(settings, place)
        case RecordedJudgeSettings(path=path, pairs=pairs, judge=judge, method=method):
            recorded = open_recorded(place.base / path, place.base / pairs, judge=judge, method=method)
            return Made(None, recorded) if isinstance(recorded, RecordedPairwise) else Made(recorded, None)
        case StyleJudgeSettings():
            return Made(StyleJudge(settings.weights or None), None)
        case ReadabilityJudgeSettings():
            return Made(ReadabilityJudge(), None)
        case ReferenceJudgeSettings():
            return Made(ReferenceJudge(), None)
        case ScriptedJudgeSettings():
            return _scripted(settings)
        case JurySettings():
            return _jury(settings, place)


def _llm(s: LlmJudgeSettings, place: Place) -> Made:
    teacher = make_teacher(s.teacher, base=place.base)
    rubric = load_rubric(s.rubric, place.base)
    ask = _asker(s, teacher, place) if place.asks is None else place.asks(teacher, s)
    if s.mode == "pointwise":
        judge = Pointwise(ask, rubric, logprobs=s.logprobs, structured=s.structured, reasons=s.reasons)
        return Made(judge, None, (teacher,))
    reasons = s.reasons is not False
    pairwise = Pairwise(ask, rubric, structured=s.structured, reasons=reasons, both_orders=s.both_orders)
    return Made(None, pairwise, (teacher,))


def _asker(s: LlmJudgeSettings, teacher: Teacher, place: Place) -> Asker:
    more: dict[str, Any] = {"seed": place.seed, "retry": s.teacher.retry, "meter": place.meter}
    ask = Asker(teacher, place.ledger, s.teacher.sampling, **more)
    if place.meter is not None:
        place.meter.watch(ask.counts, place.prices)
    return ask


def _scripted(s: ScriptedJudgeSettings) -> Made:
    noise = Noise(
        error=s.error,
        spread=s.spread,
        position_bias=s.position_bias,
        tie_width=s.tie_width,
        failures=s.failures,
    )
    judge = ScriptedJudge(QUALITIES[s.quality], s.quality, noise, seed=s.seed, expected=s.expected)
    return Made(judge, None) if s.mode == "pointwise" else Made(None, judge)


def _jury(s: JurySettings, place: Place) -> Made:
    members = [make_judge(member, place) for member in s.members]
    rating = [member.pointwise for member in members if member.pointwise is not None]
    comparing = [member.pairwise for member in members if member.pairwise is not None]
    if rating and comparing:
        raise InputError(
            f"{len(rating)} members of the jury rate and {len(comparing)} compare: give all of them one mode"
        )
    teachers = tuple(teacher for member in members for teacher in member.teachers)
    if rating:
        return Made(Jury(rating, s.how), None, teachers)
    return Made(None, JuryPairwise(comparing, s.how), teachers)
