"""Trains the students that a recipe's evaluation holds its own against: controls, and the same student anew.

    train_controls(run, tasks, distilled).models          # {"control_unfiltered": "…/controls/unfiltered/merged", …}
    train_seeds(run, tasks, distilled)                    # [(1, "…/seeds/1/merged"), (2, …)]

Each has the student's model, settings and seed (other seeds apart) and is trained once. What it is trained on says
`controls.py`; the rows of earlier runs, where the student has those, come before. A control with fewer rows than the
student is trained all the same and a note says so, one without any is not trained.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from stillroom.errors import NoRoom, TrainingError
from stillroom.recipes.controls import control_rows
from stillroom.recipes.distil import Distilled
from stillroom.recipes.evaluation_schema import CONTROLS
from stillroom.recipes.students_stage import not_trained_on, seed_of, train
from stillroom.traces.tasks import TaskSet

if TYPE_CHECKING:
    from stillroom.recipes.runner import Run

LABELS = {
    "control_unfiltered": "control",
    "control_answers": "answers",
    "control_gold": "gold",
    "format_only": "form",
}
"""What the display calls them: its margin is narrow."""


class Controls(NamedTuple):
    """`models`: what to load, by control. `notes`: what a reader must know of their rows."""

    models: dict[str, str]
    notes: list[str]


def train_controls(run: Run, tasks: TaskSet, distilled: Distilled) -> Controls:
    """Trains those that the recipe names, in the order of the schema."""
    assert run.recipe.evaluate is not None
    found = Controls({}, [])
    for who in (who for who in CONTROLS if who in run.recipe.evaluate.baselines):
        rows, wanted, note = control_rows(who, distilled, tasks, run.recipe)
        if note is None and len(rows) < wanted:
            note = f"{who} is trained on {len(rows):,} rows, the student on {wanted:,}: there are no more"
        if note is not None:
            run.display.note(note)
            found.notes.append(note)
        if rows:
            out = run.folder.path / "controls" / who.removeprefix("control_")
            all_rows = distilled.after_earlier(rows) if distilled.earlier else rows
            try:
                found.models[who] = train(run, tasks, all_rows, out, LABELS[who])
            except TrainingError as error:  # the student stands without it
                if isinstance(error, NoRoom):
                    raise
                found.notes.append(f"{who} came to no student, and is not there: {error}")
            else:
                found.notes.extend(not_trained_on(who, out))
    return found


class Seeded(NamedTuple):
    """A student that was trained from another seed."""

    seed: int
    model: str


def train_seeds(run: Run, tasks: TaskSet, distilled: Distilled) -> list[Seeded]:
    """Trains the student from the seeds that follow its own, as many as `evaluate.seeds` asks for beyond it."""
    assert run.recipe.evaluate is not None
    first, folder = seed_of(run), run.folder.path / "seeds"
    seeds = range(first + 1, first + run.recipe.evaluate.seeds)
    return [
        Seeded(seed, train(run, tasks, distilled.training, folder / str(seed), label(seed), seed=seed, lint=False))
        for seed in seeds
    ]


def label(seed: int) -> str:
    """What the display calls the student of a seed."""
    short = f"seed {seed}"
    return short if len(short) < 10 else "seed"
