"""Draws the candidates: every source answers every prompt, through the core and its ledger.

An attempt that ended by itself and says something is a candidate; one that was cut off, or is empty, is unscored and
never judged. Nothing is judged here. Two sources that are one are refused: the ledger could not tell them apart, and
the second would be given the answers of the first.

    identities(recipe, base)            # {"teacher": "openai:big", "student": "openai:small"}
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from stillroom.common.records import Task, user
from stillroom.errors import RecipeError
from stillroom.pipeline.config.preferences import CandidateSource, PreferenceRecipe
from stillroom.pipeline.run.folder import RunContext
from stillroom.pipeline.run.progress import sampled_in_words
from stillroom.pipeline.stages.sample import Elsewhere, open_sampler, tell_recording
from stillroom.preferences.candidates import Drawn
from stillroom.sampling.ledger import request_key
from stillroom.sampling.policy import Fixed
from stillroom.sampling.scorers.none import FinishedScorer, NoneSettings
from stillroom.sampling.teachers.base import identity_of


def identities(recipe: PreferenceRecipe, base: Path) -> dict[str, str]:
    """The identity of each source of candidates, by its name.

    Raises RecipeError for two that ask the same of the same model, or what `TeacherBase.make` raises.
    """
    found = {source.name: identity_of(source.teacher, base) for source in recipe.candidates}
    asked, any_task = dict[str, str](), Task("", user(""), None, "")
    for source in recipe.candidates:
        settings, identity = source.teacher, found[source.name]
        key = request_key(settings.teacher_prompt.messages(any_task), settings.sampling, identity, recipe.seed)
        if (first := asked.setdefault(key, source.name)) != source.name:
            raise RecipeError(
                f"candidates: {first!r} and {source.name!r} ask the same of one model ({identity}), so each would be "
                "given the other's answers: raise the draws of one and drop the other, or change its model, system "
                "or temperature"
            )
    return found


class Candidates(NamedTuple):
    """What every source wrote, in the order of the recipe, and what that took, by source."""

    drawn: list[Drawn]
    counts: dict[str, dict[str, Any]]


async def draw_candidates(context: RunContext, recipe: PreferenceRecipe, tasks: Sequence[Task]) -> Candidates:
    """Every source answers every task. Raises what asking a teacher raises."""
    found = Candidates([], {})
    for source in recipe.candidates:
        async with open_sampler(
            context, source.teacher, FinishedScorer(), who=source.name, elsewhere=Elsewhere(NoneSettings(kind="none"))
        ) as sampler:
            tell_recording(context, sampler.teacher, tasks, source.name)
            answers = await sampler.answer(tasks, policy_of(source), label=source.name)
        context.display.line(
            "drawn", f"{source.name}: {sampled_in_words(answers.counts, replayed=source.teacher.replays)}"
        )
        if answers.counts.last_failure:
            context.display.note(f"last failure: {answers.counts.last_failure}")
        found.drawn.append(Drawn(source.name, answers.outcomes, on_policy=source.wrote_as(recipe.student)))
        found.counts[source.name] = answers.counts.as_dict()
    return found


def policy_of(source: CandidateSource) -> Fixed:
    """As many answers as the recipe says; as many again may be cut off or empty."""
    return Fixed(policy="fixed", attempts=source.draws, max_unscored=source.draws)
