"""Draws the candidates: every source answers every prompt, through the core and its ledger.

An attempt that ended by itself and says something is a candidate; one that was cut off, or is empty, is unscored and
never judged. Nothing is judged here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from stillroom.common.formatting import duration
from stillroom.common.records import Task
from stillroom.pipeline.config.preferences import CandidateSource, PreferenceRecipe
from stillroom.pipeline.run.context import RunContext
from stillroom.pipeline.run.progress import verdicts
from stillroom.pipeline.stages.sample import open_sampler
from stillroom.preferences.candidates import Drawn
from stillroom.sampling.counts import Counts
from stillroom.sampling.policy import Fixed
from stillroom.sampling.scorers.none import FinishedScorer


class Candidates(NamedTuple):
    """What every source wrote, in the order of the recipe, and what that took, by source."""

    drawn: list[Drawn]
    counts: dict[str, dict[str, Any]]


async def draw_candidates(context: RunContext, recipe: PreferenceRecipe, tasks: Sequence[Task]) -> Candidates:
    """Every source answers every task. Raises what asking a teacher raises."""
    found = Candidates([], {})
    for source in recipe.candidates:
        async with open_sampler(context, source.teacher, FinishedScorer(), who=source.name) as sampler:
            answers = await sampler.answer(tasks, policy_of(source), label=source.name)
        _report(context, source, answers.counts)
        found.drawn.append(Drawn(source.name, answers.outcomes, on_policy=source.wrote_as(recipe.student)))
        found.counts[source.name] = answers.counts.as_dict()
    return found


def policy_of(source: CandidateSource) -> Fixed:
    """As many answers as the recipe says; as many again may be cut off or empty."""
    return Fixed(policy="fixed", attempts=source.draws, max_unscored=source.draws)


def _report(context: RunContext, source: CandidateSource, counts: Counts) -> None:
    reused = f" ({counts.reused:,} of them from the ledger)" if counts.reused else ""
    what = "replayed" if source.teacher.replays else "new"
    tokens = f"{counts.completion_tokens:,} {what} tokens in {duration(counts.elapsed_s)}"
    context.display.line("drawn", f"{source.name}: {verdicts(counts)}{reused}; {tokens}")
    if counts.last_failure:
        context.display.note(f"last failure: {counts.last_failure}")
