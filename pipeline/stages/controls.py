"""Trains the students that an evaluation compares the recipe's own with: controls, and the same from other seeds.

    train_control(context, recipe, student, "control_unfiltered", tasks, distilled, found)
    train_seeds(context, student, 3, distilled)          # [(1, "…/seeds/1/merged"), (2, …)]

Each has the student's model, settings and seed (other seeds apart) and is trained once. `controls.py` says which rows
it is trained on; the rows of earlier runs, where the student has those, come before. A control with fewer rows than
the student is trained all the same and a note says so; one without any is not trained.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

from stillroom.errors import NoRoom, TrainingError
from stillroom.pipeline.config.evaluation import Baseline
from stillroom.pipeline.config.recipe import Recipe
from stillroom.pipeline.run.context import RunContext
from stillroom.pipeline.stages.control_rows import control_rows
from stillroom.pipeline.stages.filter import Distilled
from stillroom.pipeline.stages.lint import lint_traces
from stillroom.pipeline.stages.train import not_trained_on, seed_of, train
from stillroom.students.methods.registry import StudentSettings
from stillroom.traces.tasks import TaskSet

LABELS = {
    "control_unfiltered": "control",
    "control_answers": "answers",
    "control_gold": "gold",
    "control_wrong_answers": "form",
}
"""What the display calls them: its margin is narrow."""


class Controls(NamedTuple):
    """`models`: what to load, by control. `notes`: what a reader must know of their rows."""

    models: dict[str, str]
    notes: list[str]


def train_control(
    context: RunContext,
    recipe: Recipe,
    student: StudentSettings,
    who: Baseline,
    tasks: TaskSet,
    distilled: Distilled,
    found: Controls,
) -> None:
    """Trains a control and adds it to `found`; a control that comes to no student adds a note alone."""
    rows, wanted, note = control_rows(who, distilled, tasks, recipe)
    if note is None and len(rows) < wanted:
        note = f"{who} is trained on {len(rows):,} rows, the student on {wanted:,}: there are no more"
    if note is not None:
        context.display.note(note)
        found.notes.append(note)
    if not rows:
        return
    out = context.folder.path / "controls" / who.removeprefix("control_")
    all_rows = distilled.after_earlier(rows) if distilled.earlier else rows
    lint = partial(lint_traces, recipe, student, tasks, all_rows, check=False)
    try:
        found.models[who] = train(context, student, all_rows, out, LABELS[who], lint=lint)
    except TrainingError as error:  # the student stands without it
        if isinstance(error, NoRoom):
            raise
        found.notes.append(f"{who} came to no student, and is not there: {error}")
    else:
        found.notes.extend(not_trained_on(who, out))


class Seeded(NamedTuple):
    """A student that was trained from another seed."""

    seed: int
    model: str


def train_seeds(context: RunContext, student: StudentSettings, count: int, distilled: Distilled) -> list[Seeded]:
    """Trains the student from the seeds that follow its own, so that there are `count` students with its own."""
    found, first = list[Seeded](), seed_of(student, context.seed)
    for seed in range(first + 1, first + count):
        out, other = context.folder.path / "seeds" / str(seed), student.model_copy(update={"seed": seed})
        stage, rows = f"seed_{seed}", distilled.training
        model = train(context, other, rows, out, label(seed), stage=stage, lint=None)
        found.append(Seeded(seed, model))
    return found


def label(seed: int) -> str:
    """What the display calls the student of a seed."""
    short = f"seed {seed}"
    return short if len(short) < 10 else "seed"
