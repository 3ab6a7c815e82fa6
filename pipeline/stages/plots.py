"""The plots of a run, in its folder's `plots/`: who got what, what was kept, lengths, learning curve, difficulty,
filters.

    draw(context, evaluation, answers, tasks, distilled)      # after a run
    draw(context, evaluation, answers, None, distilled)       # after its student alone was measured again

They say again what `eval.json` and the ledger hold, so nothing depends on them: where `evaluate.plots` is false
they are left out, and where matplotlib is not installed, which a line says. What cannot be drawn (no levels, say) is
not there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from stillroom.common.records import ScoredAttempt, Task
from stillroom.errors import MissingExtra
from stillroom.evaluation.metrics import SHARE_IN_FORM
from stillroom.evaluation.results import ACCURACY, AFTER, BEFORE, Evaluation
from stillroom.pipeline.run.folder import RunContext
from stillroom.pipeline.stages.filter import Distilled
from stillroom.pipeline.stages.train import STUDENT
from stillroom.report.plots import run as plots
from stillroom.report.plots.learning import curve_of, plot_learning
from stillroom.report.plots.retention import kinds_of, plot_retention
from stillroom.students.export.save import read_record
from stillroom.traces.tasks import TaskSet

FOLDER = "plots"
DRAWN = (ACCURACY, SHARE_IN_FORM)
MOST_LEVELS = 10
"""Values that a level of difficulty may have, at most: with more, each has too few tasks to say anything."""
LEVELS = ("level", "difficulty")
"""Fields of a task that name its difficulty, where they hold one value."""


def draw(
    context: RunContext,
    evaluation: Evaluation,
    answers: Mapping[str, Mapping[str, ScoredAttempt]],
    tasks: TaskSet | None,
    distilled: Distilled,
) -> None:
    """Who got what, right and in form; retention; lengths of `answers` (by model and task) before and after; how the
    student learned. With
    `tasks` also yield and pass rate by difficulty, where the tasks have levels, and what each filter took."""
    folder = context.folder.path / FOLDER
    try:
        for metric in DRAWN:
            if any(row.metric == metric for row in evaluation.results):
                plots.plot_results(evaluation, folder, metric=metric)
        if kinds_of(evaluation):
            plot_retention(evaluation, folder)
        sides = {"before": BEFORE, "after": AFTER}
        if shown := {name: plots.lengths(answers[who]) for name, who in sides.items() if answers.get(who)}:
            plots.plot_lengths(shown, folder)
        if curve := curve_of(read_record(context.folder.path / STUDENT)):
            plot_learning(curve, folder)
        if tasks is None:
            return
        found = level_of(tasks.train)
        if found is not None and (levels := plots.by_level(distilled.outcomes, found.of)):
            plots.plot_difficulty([level._replace(label=found.shown(level.label)) for level in levels], folder)
        if distilled.counts and distilled.counts[0].seen:
            plots.plot_filters(distilled.counts, distilled.written, folder)
    except MissingExtra as error:
        context.display.note(f"no plots: {error}")


def figures_of(evaluation: Evaluation | None) -> dict[str, Any]:
    """Who got what, as figures of matplotlib by their names. Raises MissingExtra where it is not installed."""
    if evaluation is None:
        return {}
    there = [metric for metric in DRAWN if any(row.metric == metric for row in evaluation.results)]
    with TemporaryDirectory() as folder:
        return {metric: plots.plot_results(evaluation, Path(folder), metric=metric).figure for metric in there}


# -- levels ------------------------------------------------------------------------------------------------------


class Levels(NamedTuple):
    """Where tasks say how hard they are: the key that leads there."""

    path: tuple[str, ...]

    def of(self, task: Task) -> str | float | None:
        """The level of a task; None where it says none."""
        value: object = task.metadata
        for key in self.path:
            value = value.get(key) if isinstance(value, Mapping) else None
        return value if isinstance(value, str | int | float) and not isinstance(value, bool) else None

    def shown(self, label: str) -> str:
        """The label of a level: `digits: 2` for a value 2 of `num_digits`."""
        name = self.path[-1].removeprefix("num_").replace("_", " ")
        return label if name in LEVELS else f"{name}: {label}"


def level_of(tasks: Sequence[Task]) -> Levels | None:
    """Where the level of these tasks is found; None where they have none, or all the same.

    `level` or `difficulty` among a task's fields. Tasks of reasoning-gym name the settings that make them hard in
    `metadata.difficulty`, and many families say what an item got of each: the first of these that differs.
    """
    if not tasks:
        return None
    inner = tasks[0].metadata.get("metadata")
    settings = inner.get("difficulty") if isinstance(inner, Mapping) else None
    places: list[tuple[str, ...]] = [(name,) for name in LEVELS]
    if isinstance(settings, Mapping):
        places += [("metadata", str(key)) for key in settings]
    for found in map(Levels, places):
        if 2 <= len({found.of(task) for task in tasks} - {None}) <= MOST_LEVELS:
            return found
    return None
