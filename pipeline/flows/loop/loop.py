"""Runs a loop: a model samples, keeps its checked best, trains on it, and does it again, under a guard.

    run("self_distill")                  # stillroom.pipeline.flows.run

A round is an ordinary run in `rounds/<number>` and resumes like one, so a loop that was killed anywhere goes on
where it was, and a finished one costs nothing to run again. The folder holds `student` (the last that was kept),
`eval.json` (one evaluation of all rounds), `rounds.json` (what each round was and what the guard said about it) and
`report.html`, in which everything was measured or set: nothing is computed for it that is not in the folder.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from stillroom.common.printing import Terminal
from stillroom.errors import MissingExtra, RunError, RunFolderError
from stillroom.evaluation.results import AFTER, BEFORE, Evaluation, write_eval
from stillroom.pipeline.config.kinds import Loaded
from stillroom.pipeline.config.loop import LoopRecipe, RoundPlan, names_teacher, round_recipe
from stillroom.pipeline.config.recipe import Recipe
from stillroom.pipeline.flows.chain import Chain
from stillroom.pipeline.flows.loop.evaluation import ControlStage, LoopControls, evaluate_loop, shift_of
from stillroom.pipeline.flows.loop.rounds import HeldOut, Round, Rounds, accepted_of, accuracy_of, held_out
from stillroom.pipeline.run.flow import Flow, FlowResult, flows
from stillroom.pipeline.run.folder import RunFolder, now
from stillroom.pipeline.run.progress import Display
from stillroom.pipeline.stages import train as students_stage
from stillroom.pipeline.stages.forgetting import check_forgetting
from stillroom.report.loop import LoopReport, RoundRow, show_loop, write_loop_report
from stillroom.report.plots import loop as loop_plots
from stillroom.report.plots import run as run_plots
from stillroom.report.plots.learning import curve_of, plot_learning
from stillroom.report.plots.style import Plot
from stillroom.sampling.ledger import FILE as LEDGER
from stillroom.sampling.limits import Meter
from stillroom.students.export.save import read_record
from stillroom.traces.filters import Screen
from stillroom.traces.tasks import TaskSet

TRACES = 3
"""Traces of each round that the page shows."""


@dataclass(frozen=True, slots=True)
class LoopResult(FlowResult):
    """What a loop came to. `rounds`: the facts of all that were run, as in `rounds.json`; `kept`: number of the last
    that was kept, whose student is `student`. `stopped`: why it ended; `report`: what is shown of it."""

    folder: Path
    rounds: tuple[dict[str, Any], ...] = field(repr=False)
    kept: int
    student: Path | None
    stopped: str
    evaluation: Evaluation = field(repr=False)
    report: LoopReport = field(repr=False)

    def as_dict(self) -> dict[str, Any]:
        return {key: value for key, value in FlowResult.as_dict(self).items() if key != "report"}

    def show(self, console: Terminal | None = None) -> None:
        show_loop(self.report, console)

    def figures(self) -> dict[str, Any]:
        return {"rounds": rounds_figure(self.report)}


@flows.register(name="loop")
class Loop(Flow[LoopRecipe]):
    """Recipes of traces, round after round."""

    def run(self, loaded: Loaded[LoopRecipe], folder: RunFolder, display: Display) -> LoopResult:
        """All rounds, the controls, and the evaluation of all."""
        folder.tell(display)
        if (folder.path / LEDGER).exists():  # its student and its evaluation would be taken for the loop's
            raise RunFolderError(
                f"{folder.path} is the folder of a run without a loop: give another folder with --out"
            )
        students_stage.require(loaded.recipe.student, loaded.base, loaded.recipe.seed)
        held, rounds = _prepare(loaded, folder), list[Round]()
        with Chain(display, Meter(loaded.recipe.limits)) as chain:
            for each in Rounds(loaded, folder, chain, display, held).run():
                rounds.append(each)
                # After each round: a loop that is killed has said what it knew.
                folder.write("rounds.json", json.dumps(list(map(facts, rounds)), indent=2) + "\n")
            return _finish(loaded, folder, display, rounds, chain, held)

    def allow_code(self, loaded: Loaded[LoopRecipe], folder: RunFolder, *, trust: bool) -> None:
        """As `Flow.allow_code`, for the recipe of every round: each may name other code."""
        super().allow_code(loaded, folder, trust=trust)
        for number in range(1, loaded.recipe.loop.rounds + 1):
            for level in range(max(1, len(loaded.recipe.loop.levels))):
                plan = RoundPlan(number, level=level)
                folder.allow_code(round_recipe(loaded.recipe, plan), loaded.base, trust=trust)


def _prepare(loaded: Loaded[LoopRecipe], folder: RunFolder) -> HeldOut:
    """Finds out before anything is paid for whether every round can be run."""
    recipe, base = loaded.recipe, loaded.base
    recipes = [_check_round(loaded, number) for number in range(1, recipe.loop.rounds + 1)]
    if recipe.evaluate.retention is not None:
        check_forgetting(recipe.evaluate.retention, base=base, seed=recipe.seed)
    held = held_out(recipe, base)
    for each in recipes:
        Screen(each.filters, test=held.all, base=base)  # refuses what it cannot work with
    folder.begin(
        loaded,
        TaskSet((), held.test),
        tasks={"test": len(held.test), "validation": len(held.validation)},
        **dict.fromkeys(("finished", "kept", "stopped", "parts")),  # of a run under other settings
    )
    return held


def _check_round(loaded: Loaded[LoopRecipe], number: int) -> Recipe:
    """A student of a round before can be asked, and gone on from; any other teacher and model has to be there."""
    own = loaded.recipe
    student = number > 1 and not names_teacher(own, number)
    for level in range(max(1, len(own.loop.levels))):
        plan = RoundPlan(number, sampler="student" if student else None, level=level)
        recipe = round_recipe(own, plan)
    if not student:
        recipe.teacher.make(loaded.base)
    if recipe.student is not None and recipe.student.model != own.student.model:
        students_stage.require(recipe.student, loaded.base, recipe.seed)
    return recipe


def _finish(
    loaded: Loaded[LoopRecipe],
    folder: RunFolder,
    display: Display,
    rounds: Sequence[Round],
    chain: Chain,
    held: HeldOut,
) -> LoopResult:
    recipe = loaded.recipe
    kept = [each for each in rounds if each.kept]
    runs = [each.run for each in kept if each.run is not None]

    # `student`: that of the last round that was kept.
    student = folder.path / "student"
    if student.is_symlink():
        student.unlink()
    elif student.is_dir():
        shutil.rmtree(student)
    if runs:
        own = runs[-1].folder / students_stage.STUDENT
        try:
            student.symlink_to(os.path.relpath(own, student.parent), target_is_directory=True)
        except OSError:  # a file system without links
            shutil.copytree(own, student)

    controls = LoopControls({}, [])
    if runs:
        context = replace(runs[-1].context, folder=folder)  # which says what was trained there
        controls = ControlStage(loaded, context, chain, runs, held.test).run()
    evaluation = evaluate_loop(recipe, rounds, held.test, controls, shift_of(recipe, rounds, held.test))
    write_eval(evaluation, folder.path / "eval.json")
    stopped = why_stopped(rounds, recipe.loop.rounds)
    report = report_of(recipe, rounds, evaluation, stopped)
    write_report(report, recipe, rounds, folder.path, display)
    number = kept[-1].number if kept else 0
    folder.note(finished=now(), kept=number, stopped=stopped, parts=chain.parts(folder.path))
    if not kept:
        raise RunError(
            f"the guard rolled the first round back, so there is no student: {rounds[0].why}. report.html "
            "says more; look at the traces in rounds/1/sft, then correct the teacher or the filters, or widen "
            "loop.guard"
        )
    display.line("loop", stopped)
    every = tuple(map(facts, rounds))
    return LoopResult(folder.path, every, number, student if runs else None, stopped, evaluation, report)


def why_stopped(rounds: Sequence[Round], wanted: int) -> str:
    """Why the loop ended, for people."""
    last = rounds[-1]
    if last.kept:
        return f"all {wanted} rounds are done" if wanted > 1 else "its one round is done"
    return f"round {last.number} was rolled back, and the loop ended there: {last.why}"


def facts(each: Round) -> dict[str, Any]:
    """A round as plain data, for JSON."""
    run = each.run
    return {
        "round": each.number,
        "kept": each.kept,
        "why": each.why or None,
        "level": each.plan.level,
        "tasks": None if run is None else run.result.tasks,
        "attempts": None if run is None else run.result.attempts,
        "accepted": None if run is None else accepted_of(run),
        "first_right": None if run is None else each.first_right,
        "rows": None if run is None else run.result.rows,
        "rows_trained_on": None if run is None else len(run.distilled.training),
        "accuracy": None if run is None else accuracy_of(run),
        "validation_accuracy": each.accuracy if run is not None and run.tasks.validation else None,
        "guard": None if each.guard is None else each.guard.as_dict(),
    }


# -- the report ---------------------------------------------------------------------------------------------------


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
    who = "the teacher" if each.number == 1 else "its own teacher"
    if each.plan.sampler is not None:  # `.../rounds/2/student/merged`
        *_, number, student, _ = ("", "", *Path(each.plan.sampler).parts)
        which = f"round {number}" if student == students_stage.STUDENT else "an earlier round"
        who = f"the student of {which}"
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


def _plots(report: LoopReport, rounds: Sequence[Round], folder: Path) -> Iterator[Path]:
    yield _plot_rounds(report, [each.number for each in rounds if not each.kept], folder).svg
    runs = {r.number: r.run for r in rounds if r.run is not None}
    shown = {"before": run_plots.lengths(runs[1].answers(BEFORE))}
    shown |= {f"round {number}": run_plots.lengths(run.answers(AFTER)) for number, run in runs.items()}
    yield run_plots.plot_lengths({who: of for who, of in shown.items() if of.all}, folder).svg
    for number, run in runs.items():
        if curve := curve_of(read_record(run.context.folder.path / students_stage.STUDENT)):
            yield plot_learning(curve, folder, f"learning_round_{number}").svg


def _plot_rounds(report: LoopReport, rolled_back: Sequence[int], folder: Path) -> Plot:
    points = loop_plots.round_points(report.evaluation, rolled_back=rolled_back)
    return loop_plots.plot_rounds(points, folder, controls=loop_plots.other_results(report.evaluation))


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
