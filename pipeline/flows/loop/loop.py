"""Runs a loop: a model samples, keeps its checked best, trains on it, and does it again, under a guard.

    run("self_distill")                  # stillroom.pipeline.flows.run

A round is an ordinary run in `rounds/<number>` and resumes like one, so a loop that was killed anywhere goes on
where it was, and a finished one costs nothing to run again. The folder holds `student` (the last that was kept),
`eval.json` (one evaluation of all rounds), `rounds.json` (what each round was and what the guard said about it) and
`report.html`.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from stillroom.common.printing import Terminal
from stillroom.errors import RunError, RunFolderError
from stillroom.evaluation.results import Evaluation, write_eval
from stillroom.pipeline.config.kinds import Loaded
from stillroom.pipeline.config.load import dump
from stillroom.pipeline.config.loop import LoopRecipe
from stillroom.pipeline.config.recipe import Recipe
from stillroom.pipeline.config.round_recipe import RoundPlan, names_teacher, round_recipe
from stillroom.pipeline.flows.chain import Chain
from stillroom.pipeline.flows.loop.controls import ControlStage, LoopControls
from stillroom.pipeline.flows.loop.evaluation import evaluate_loop
from stillroom.pipeline.flows.loop.report import report_of, rounds_figure, write_report
from stillroom.pipeline.flows.loop.rounds import Round, Rounds, accepted_of, accuracy_of
from stillroom.pipeline.flows.loop.tasks import HeldOut, held_out
from stillroom.pipeline.flows.traces import FinishedRun
from stillroom.pipeline.run.flow import Flow, FlowResult, flows
from stillroom.pipeline.run.folder import RunFolder, now, versions
from stillroom.pipeline.run.progress import Display
from stillroom.pipeline.run.provenance import made_from
from stillroom.pipeline.stages import train as students_stage
from stillroom.pipeline.stages.forgetting import check_forgetting
from stillroom.report.loop import LoopReport, show_loop
from stillroom.sampling.ledger import FILE as LEDGER
from stillroom.sampling.limits import Meter
from stillroom.traces.filters import Screen
from stillroom.traces.tasks import TaskSet


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
        return {
            "folder": str(self.folder),
            "rounds": list(self.rounds),
            "kept": self.kept,
            "student": str(self.student) if self.student is not None else None,
            "stopped": self.stopped,
            "evaluation": self.evaluation.model_dump(mode="json", exclude_none=True),
        }

    def show(self, console: Terminal | None = None) -> None:
        show_loop(self.report, console)

    def figures(self) -> dict[str, Any]:
        return {"rounds": rounds_figure(self.report)}


@flows.register(name="loop")
class Loop(Flow[LoopRecipe]):
    """Recipes of traces, round after round."""

    def run(self, loaded: Loaded[LoopRecipe], folder: RunFolder, display: Display) -> LoopResult:
        folder.tell(display)
        return LoopRun(loaded, folder, display).execute()

    def allow_code(self, loaded: Loaded[LoopRecipe], folder: RunFolder, *, trust: bool) -> None:
        """As `Flow.allow_code`, for the recipe of every round: each may name other code."""
        super().allow_code(loaded, folder, trust=trust)
        for number in range(1, loaded.recipe.loop.rounds + 1):
            for level in range(max(1, len(loaded.recipe.loop.levels))):
                plan = RoundPlan(number, level=level)
                folder.allow_code(round_recipe(loaded.recipe, plan), loaded.base, trust=trust)


@dataclass(slots=True)
class LoopRun:
    """One loop in its folder."""

    loaded: Loaded[LoopRecipe]
    folder: RunFolder
    display: Display
    rounds: list[Round] = field(default_factory=list)

    @property
    def recipe(self) -> LoopRecipe:
        """The recipe."""
        return self.loaded.recipe

    def execute(self) -> LoopResult:
        """All rounds, the controls, and the evaluation of all."""
        _refuse_a_run(self.folder.path)
        students_stage.require(self.recipe.student)
        held = self._prepare()
        with Chain(self.display, Meter(self.recipe.limits)) as chain:
            for each in Rounds(self.loaded, self.folder, chain, self.display, held).run():
                self.rounds.append(each)
                self._note_rounds()
            return self._finish(chain, held)

    def _prepare(self) -> HeldOut:
        """Finds out before anything is paid for whether every round can be run."""
        recipes = [self._check_round(number) for number in range(1, self.recipe.loop.rounds + 1)]
        if self.recipe.evaluate.retention is not None:
            check_forgetting(self.recipe.evaluate.retention, base=self.loaded.base, seed=self.recipe.seed)
        held = held_out(self.recipe, self.loaded.base)
        for recipe in recipes:
            Screen(recipe.filters, test=held.all, base=self.loaded.base)  # refuses what it cannot work with
        self.folder.note(
            started=self.folder["started"] or now(),
            seed=self.recipe.seed,
            versions=versions(),
            **dict.fromkeys(("finished", "kept", "stopped", "parts")),  # of a run under other settings
            tasks={"test": len(held.test), "validation": len(held.validation)},
            **made_from(self.loaded, TaskSet((), held.test)),
        )
        self.folder.write("recipe.yaml", dump(self.recipe))
        return held

    def _check_round(self, number: int) -> Recipe:
        """A student of a round before can be asked, and gone on from; any other teacher and model has to be there."""
        student = number > 1 and not names_teacher(self.recipe, number)
        for level in range(max(1, len(self.recipe.loop.levels))):
            plan = RoundPlan(number, sampler="student" if student else None, level=level)
            recipe = round_recipe(self.recipe, plan)
        if not student:
            recipe.teacher.make(self.loaded.base)
        if recipe.student is not None and recipe.student.model != self.recipe.student.model:
            students_stage.require(recipe.student)
        return recipe

    def _note_rounds(self) -> None:
        """What each round was, after each: a loop that is killed has said what it knew."""
        self.folder.write("rounds.json", json.dumps([facts(each) for each in self.rounds], indent=2) + "\n")

    def _finish(self, chain: Chain, held: HeldOut) -> LoopResult:
        kept = [each for each in self.rounds if each.kept]
        runs = [each.run for each in kept if each.run is not None]
        student = self._keep_student(runs)
        controls = LoopControls({}, [])
        if runs:
            context = replace(runs[-1].context, folder=self.folder)  # which says what was trained there
            controls = ControlStage(self.loaded, context, chain, runs, held.test).run()
        evaluation = evaluate_loop(self.recipe, self.rounds, held.test, controls)
        write_eval(evaluation, self.folder.path / "eval.json")
        stopped = why_stopped(self.rounds, self.recipe.loop.rounds)
        report = report_of(self.recipe, self.rounds, evaluation, stopped)
        write_report(report, self.recipe, self.rounds, self.folder.path, self.display)
        parts = chain.parts(self.folder.path)
        self.folder.note(finished=now(), kept=kept[-1].number if kept else 0, stopped=stopped, parts=parts)
        if not kept:
            raise RunError(_first_rolled_back(self.rounds[0]))
        result = LoopResult(
            self.folder.path, tuple(map(facts, self.rounds)), kept[-1].number, student, stopped, evaluation, report
        )
        self.display.line("loop", stopped)
        return result

    def _keep_student(self, kept: Sequence[FinishedRun]) -> Path | None:
        """`student` in the loop's folder: the student of the last round that was kept."""
        place = self.folder.path / "student"
        _remove(place)
        if not kept:
            return None
        own = kept[-1].folder / students_stage.STUDENT
        try:
            place.symlink_to(os.path.relpath(own, place.parent), target_is_directory=True)
        except OSError:  # a file system without links
            shutil.copytree(own, place)
        return place


def _refuse_a_run(path: Path) -> None:
    """The folder of a run without rounds: its student and its evaluation would be taken for the loop's."""
    if (path / LEDGER).exists():
        raise RunFolderError(f"{path} is the folder of a run without a loop: give another folder with --out")


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


def _remove(place: Path) -> None:
    if place.is_symlink():
        place.unlink()
    elif place.is_dir():
        shutil.rmtree(place)


def _first_rolled_back(first: Round) -> str:
    return (
        f"the guard rolled the first round back, so there is no student: {first.why}. report.html says more; look at "
        "the traces in rounds/1/sft, then correct the teacher or the filters, or widen loop.guard"
    )
