"""Puts together what the report of a loop says, draws its plots, and writes its page.

    report = report_of(recipe, rounds, evaluation, stopped)
    write_report(report, folder)

Everything in it was measured or set; nothing is computed here that is not in the folder.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from stillroom.errors import MissingExtra
from stillroom.evaluation.results import AFTER, BEFORE, Evaluation
from stillroom.pipeline.config.loop import LoopRecipe
from stillroom.pipeline.flows.loop.rounds import Round, accepted_of, answers_of
from stillroom.pipeline.run.progress import Display
from stillroom.pipeline.stages.train import STUDENT
from stillroom.report.loop import LoopReport, RoundRow, write_loop_report
from stillroom.report.plots.style import Plot

TRACES = 3
"""Traces of each round that the page shows."""


def report_of(recipe: LoopRecipe, rounds: Sequence[Round], evaluation: Evaluation, stopped: str) -> LoopReport:
    """The report, without plots yet."""
    return LoopReport(
        recipe.name, tuple(map(row_of, rounds)), evaluation, stopped, settings=tuple(settings_in_words(recipe))
    )


def write_report(
    report: LoopReport, recipe: LoopRecipe, rounds: Sequence[Round], folder: Path, display: Display
) -> None:
    """`report.html`, and in `plots/` what it shows; without plots where matplotlib is not installed, and says so."""
    plots: tuple[Path, ...] = ()
    if recipe.evaluate.plots:
        try:
            plots = tuple(_plots(report, rounds, folder / "plots"))
        except MissingExtra as error:
            display.note(f"no plots: {error}")
    write_loop_report(replace(report, plots=plots), folder)


def rounds_figure(report: LoopReport) -> Any:
    """Accuracy round by round, as a figure of matplotlib. Raises MissingExtra where it is not installed."""
    with TemporaryDirectory() as folder:
        return _plot_rounds(report, [row.number for row in report.rounds if row.rolled_back], Path(folder)).figure


def row_of(each: Round) -> RoundRow:
    """A round, as the report shows it."""
    who = "the student of " + _round_named(each.plan.sampler) if each.plan.sampler is not None else _teacher(each)
    row = RoundRow(each.number, sampler=who, rolled_back=not each.kept, why=each.why)
    if each.guard is not None:
        row = replace(row, checks=each.guard.checks, not_checked=each.guard.not_checked)
    if (run := each.run) is None:
        return row
    shown = islice(run.distilled.rows, TRACES)
    return replace(
        row,
        tasks=run.result.tasks,
        attempts=run.result.attempts,
        accepted=accepted_of(run),
        rows=len(run.distilled.training),
        seconds=run.context.folder["seconds"],
        resumed=bool(run.context.folder["resumed"]),
        traces=tuple((row["prompt"][-1]["content"], row["completion"][-1]["content"]) for row in shown),
    )


def _teacher(each: Round) -> str:
    return "the teacher" if each.number == 1 else "its own teacher"


def _round_named(model: str) -> str:
    """`.../rounds/2/student/merged`: round 2."""
    *_, number, student, _ = ("", "", *Path(model).parts)
    return f"round {number}" if student == STUDENT else "an earlier round"


def _plots(report: LoopReport, rounds: Sequence[Round], folder: Path) -> Iterator[Path]:
    from stillroom.report.plots.run import lengths, plot_lengths

    yield _plot_rounds(report, [each.number for each in rounds if not each.kept], folder).svg
    runs = {r.number: r.run for r in rounds if r.run is not None}
    shown = {"before": lengths(answers_of(runs[1], BEFORE))}
    shown |= {f"round {number}": lengths(answers_of(run, AFTER)) for number, run in runs.items()}
    yield plot_lengths({who: of for who, of in shown.items() if of.all}, folder).svg


def _plot_rounds(report: LoopReport, rolled_back: Sequence[int], folder: Path) -> Plot:
    from stillroom.report.plots.loop import other_results, plot_rounds, round_points

    points = round_points(report.evaluation, rolled_back=rolled_back)
    return plot_rounds(points, folder, controls=other_results(report.evaluation))


def settings_in_words(recipe: LoopRecipe) -> Iterator[tuple[str, str]]:
    """Each setting of the loop, and what it means."""
    loop, student = recipe.loop, recipe.student
    limit = f"{recipe.tasks.limit:,} " if recipe.tasks.limit else ""
    yield "rounds", f"{loop.rounds} at most"
    yield "teacher", f"round 1: {recipe.teacher.model}; then the {loop.teacher} student"
    asked = "as it is trained" if loop.prompt == "student" else "with the first teacher's prompt and examples"
    yield "prompt", f"from round 2 on {asked}"
    start = f"from {student.model}" if loop.start == "from_base" else "from the student of the round before"
    yield "start", f"every student starts {start}"
    yield "traces", "of all rounds so far" if loop.traces == "accumulate" else "of this round only"
    each = f"the next {limit}" if loop.tasks == "fresh" else f"the same {limit}"
    yield "tasks", f"{each}in each round ({recipe.tasks.source})"
    if recipe.tasks.validation:
        yield "validation", f"the guard and choices look at {recipe.tasks.validation:,} separate held-out tasks"
    if loop.levels:
        yield (
            "levels",
            f"{len(loop.levels)}, the next one where {loop.advance_at:.0%} were right at the first attempt",
        )
    if loop.overrides.from_round_2:
        yield "overrides", f"from round 2 on: {loop.overrides.from_round_2}"
    for number, change in sorted(loop.overrides.round.items()):
        yield f"round {number}", f"{change}"
