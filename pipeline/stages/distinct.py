"""Refuses a recipe in which two who write, or two who judge, are one: the ledger could not tell them apart.

The second source would be given the answers of the first, the second judge its judgements.

    identities(recipe, base)            # {"teacher": "openai:big", "student": "openai:small"}
"""

from __future__ import annotations

from pathlib import Path

from stillroom.common.records import Task, user
from stillroom.common.run_async import run_async
from stillroom.errors import RecipeError
from stillroom.judges.registry import Place
from stillroom.pipeline.config.preferences import PreferenceRecipe
from stillroom.sampling.ledger import Ledger, request_key
from stillroom.sampling.teachers.factory import identity_of

_ANY_TASK = Task("", user(""), None, "")


def identities(recipe: PreferenceRecipe, base: Path) -> dict[str, str]:
    """The identity of each source of candidates, by its name.

    Raises RecipeError for two that ask the same of the same model, or what `make_teacher` raises.
    """
    found = {source.name: identity_of(source.teacher, base) for source in recipe.candidates}
    asked: dict[str, str] = {}
    for source in recipe.candidates:
        settings, identity = source.teacher, found[source.name]
        key = request_key(settings.teacher_prompt.messages(_ANY_TASK), settings.sampling, identity, recipe.seed)
        if (first := asked.setdefault(key, source.name)) != source.name:
            raise RecipeError(
                f"candidates: {first!r} and {source.name!r} ask the same of one model ({identity}), so each would be "
                "given the other's answers: raise the draws of one and drop the other, or change its model, system "
                "or temperature"
            )
    return found


def refuse_same_judges(recipe: PreferenceRecipe, ledger: Ledger, base: Path) -> None:
    """Raises RecipeError where a judge of the evaluation is one that the recipe names already: it would repeat what
    the other said, and a student would be measured by the judge that it was trained to please."""
    if recipe.evaluate is None:
        return
    also = ((f"evaluate.also.{n}", judge) for n, judge in enumerate(recipe.evaluate.also))
    judges = (("judge", recipe.judge), ("evaluate.judge", recipe.evaluate.judge), *also)
    place = Place(ledger, base, recipe.seed)
    known: dict[str, str] = {}
    for name, settings in judges:
        made = settings.make(place)
        try:
            first = known.setdefault(made.identity, name)
        finally:
            run_async(made.close())
        if first != name:
            raise RecipeError(
                f"{name} is the same judge as {first} ({made.identity}): give it another model or rubric"
            )
