"""Builds the judge that a recipe names, on a run's ledger.

made = make_judge(recipe.judge, Place(ledger, base=Path("."), seed=0))
rating = await made.pointwise.rate(task, attempt)       # or made.pairwise.compare(task, a, b)
await made.close()
"""

from __future__ import annotations

from stillroom.judges.registry import JudgeBase, Made, Place

__all__ = ["Made", "Place", "make_judge"]


def make_judge(settings: JudgeBase, place: Place) -> Made:
    """The judge of `settings`.

    Loads no model yet. Raises InputError (a rubric or a file that is not there, a missing extra or key).
    """
    return settings.make(place)
