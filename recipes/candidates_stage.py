"""Draws the candidates: every source answers every prompt, through the core and its ledger.

An attempt that ended by itself and says something is a candidate; one that was cut off, or is empty, is unscored and
never judged. Nothing is judged here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from stillroom.preferences.candidates import Drawn
from stillroom.recipes.display import duration, verdicts
from stillroom.recipes.preference_schema import CandidateSource
from stillroom.recipes.sampling_stage import sample
from stillroom.sampling.core import Core
from stillroom.sampling.policy import Fixed
from stillroom.sampling.records import Attempt, State, Task, Verdict
from stillroom.sampling.teachers.base import Teacher, dtype_of
from stillroom.sampling.teachers.factory import make_teacher
from stillroom.sampling.teachers.settings import RecordedSettings

if TYPE_CHECKING:
    from stillroom.recipes.preference_runner import PreferenceRun


class FinishedScorer:
    """Accepts every answer that ended by itself and is not empty: what can be a candidate at all."""

    identity = "finished-1"

    async def score(self, task: Task, attempt: Attempt) -> Verdict:
        """Accepted (`finished`), or unscored: `truncated`, `filtered`, `empty`."""
        if attempt.finish_reason == "length":
            return Verdict(State.UNSCORED, "truncated")
        if attempt.finish_reason == "content_filter":
            return Verdict(State.UNSCORED, "filtered")
        if not attempt.text.strip():
            return Verdict(State.UNSCORED, "empty")
        return Verdict(State.ACCEPTED, "finished")

    async def close(self) -> None:
        """Nothing to free."""


class EveryAnswer:
    """Accepts whatever was answered, cut off or empty: what a student writes is measured as it is, and none of it is
    drawn again until it pleases."""

    identity = "every-answer-1"

    async def score(self, task: Task, attempt: Attempt) -> Verdict:
        """Accepted (`answered`)."""
        return Verdict(State.ACCEPTED, "answered")

    async def close(self) -> None:
        """Nothing to free."""


async def draw_candidates(run: PreferenceRun, tasks: Sequence[Task]) -> list[Drawn]:
    """What every source wrote, in the order in which the recipe names them."""
    return [await _draw(run, source, tasks) for source in run.recipe.candidates]


async def _draw(run: PreferenceRun, source: CandidateSource, tasks: Sequence[Task]) -> Drawn:
    teacher = make_teacher(source.teacher, base=run.loaded.base)
    try:
        core = _core(run, source, teacher)
        outcomes = await sample(core, tasks, source.name, run.display)
    finally:
        run.folder.note_dtype(source.name, dtype_of(teacher))
        await teacher.close()
    counts, replayed = core.counts, isinstance(source.teacher, RecordedSettings)
    reused = f" ({counts.reused:,} of them from the ledger)" if counts.reused else ""
    tokens = (
        f"{counts.completion_tokens:,} {'replayed' if replayed else 'new'} tokens in {duration(counts.elapsed_s)}"
    )
    run.display.line("drawn", f"{source.name}: {verdicts(counts)}{reused}; {tokens}")
    if counts.last_failure:
        run.display.note(f"last failure: {counts.last_failure}")
    run.sampled[source.name] = counts.as_dict()
    return Drawn(source.name, outcomes, on_policy=run.is_on_policy(source))


def policy_of(source: CandidateSource) -> Fixed:
    """As many answers as the recipe says; as many again may be cut off or empty."""
    return Fixed(policy="fixed", attempts=source.draws, max_unscored=source.draws)


def _core(run: PreferenceRun, source: CandidateSource, teacher: Teacher) -> Core:
    settings = source.teacher
    return Core(
        teacher,
        FinishedScorer(),
        policy_of(source),
        run.ledger,
        sampling=settings.sampling,
        seed=run.recipe.seed,
        prompt=settings.teacher_prompt,
        retry=settings.retry,
        meter=run.meter,
        prices=run.recipe.prices,
    )
