"""Preferences that somebody else has judged become pairs: no candidate is drawn, and nobody is asked.

    given = given_pairs(read_preferences(path, "given.path"), PairSettings(length="matched"))
    given.built.pairs, given.built.counts, given.left_out

Where rows say which of two answers is better, that is the pair (`strategy: labelled` in its row). Where answers have
scores, the strategy of the settings chooses, as it does for a judge's. Left out with a reason, and counted: ties, a
prompt with a single answer (`too_few`), answers without a score, and those with a chat template's marks inside.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

from stillroom.common.preferred import PreferenceRows
from stillroom.common.preferred.base import Answer
from stillroom.common.preferred.read import Placed
from stillroom.common.records import Task
from stillroom.errors import InputError
from stillroom.judges.records import JudgeState
from stillroom.preferences.candidates import unfit_text
from stillroom.preferences.pairs import Built, build_pairs
from stillroom.preferences.records import Candidate, Judged, LeftOut, Slate
from stillroom.preferences.settings import PairSettings

LABELLED = "labelled"
"""The strategy of a pair that is as somebody judged it."""
UNNAMED = "given"
"""The source of an answer of which nobody says who wrote it."""


class GivenPairs(NamedTuple):
    """`left_out`: rows and answers that came to no slate; what the building left out is in `built`. `labelled`: the
    pairs are as they were judged, not by a strategy."""

    built: Built
    slates: tuple[Slate, ...]
    left_out: tuple[LeftOut, ...]
    labelled: bool


def given_pairs(
    found: PreferenceRows, settings: PairSettings, *, system: str | None = None, seed: int = 0
) -> GivenPairs:
    """The pairs of a file. Raises InputError for settings that need scores where there are none."""
    labelled = any(row.what.winner is not None for row in found.rows)
    if labelled:
        settings = _compared(found, settings)
    left_out = [LeftOut(left.place, left.reason.value, left.detail) for left in found.left_out]
    slates = tuple(_slate(row, left_out) for row in found.rows)
    built = build_pairs(slates, settings, system=system, seed=seed)
    if labelled:
        built = built._replace(pairs=tuple(replace(pair, strategy=LABELLED) for pair in built.pairs))
    return GivenPairs(built, slates, tuple(left_out), labelled)


def _compared(found: PreferenceRows, settings: PairSettings) -> PairSettings:
    """Settings for rows that only say which answer is better."""
    default = PairSettings()
    named = [
        name for name in ("strategy", "margin", "quantile", "on_policy") if _of(settings, name) != _of(default, name)
    ]
    if settings.length == "residual":
        named.append("length: residual")
    if named:
        raise InputError(
            f"pairs.{named[0]} chooses by scores, and rows of the layout {found.layout} say which answer is better: "
            "leave it out, or use length: matched"
        )
    return settings.model_copy(update={"strategy": "tournament"})


def _of(settings: PairSettings, name: str) -> object:
    return getattr(settings, name)


def _slate(row: Placed, left_out: list[LeftOut]) -> Slate:
    what = row.what
    task = Task(row.name, what.prompt, None, row.place, dict(what.rest))
    by_place = [_candidate(task, place, answer) for place, answer in enumerate(what.answers)]
    judged = []
    for candidate, answer in zip(by_place, what.answers, strict=True):
        if (reason := unfit_text(candidate.text)) is not None:
            left_out.append(LeftOut(candidate.id, reason))
        else:
            judged.append(Judged(candidate, JudgeState.OK, answer.score))
    best = worst = None
    if what.winner is not None:
        best, worst = (by_place[place].id for place in {"a": (0, 1), "b": (1, 0), "tie": (0, 0)}[what.winner])
        if what.winner == "tie":  # also where scores differ: most people said so
            judged = [replace(each, score=None) for each in judged]
    return Slate(task, tuple(judged), best, worst)


def _candidate(task: Task, place: int, answer: Answer) -> Candidate:
    return Candidate(task.id, answer.model or UNNAMED, place, answer.text.strip())


def sources_of(given: GivenPairs) -> Iterator[str]:
    """Who wrote the answers of the pairs, in order of appearance."""
    sides = (side.candidate.source for pair in given.built.pairs for side in (pair.chosen, pair.rejected))
    yield from dict.fromkeys(sides)
