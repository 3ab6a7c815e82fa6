"""Runs a recipe of the preference path: candidates, judgements, pairs, audit, DPO, evaluation.

As on the other path each request is in the ledger before anything depends on it, and a stage whose inputs did not
change is not done again: the same command resumes, and a finished run costs nothing to run again.

    with opened(folder, loaded, display) as context:
        run_preferences(context, loaded)
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from stillroom.common.datasets import HasRows
from stillroom.common.printing import Terminal, terminal, wide
from stillroom.errors import GateFailed
from stillroom.evaluation.results import Evaluation
from stillroom.judges.calibrate import Calibration, GateVerdict
from stillroom.pipeline.config.kinds import Loaded
from stillroom.pipeline.config.preferences import PreferenceRecipe
from stillroom.pipeline.planning.preference_plan import preference_plan
from stillroom.pipeline.run.flow import Flow, FlowResult, Planned, flows
from stillroom.pipeline.run.folder import RunContext, RunFolder, now, opened
from stillroom.pipeline.run.progress import Display
from stillroom.pipeline.stages.candidates import draw_candidates, identities
from stillroom.pipeline.stages.evaluate_writing import evaluate_writing
from stillroom.pipeline.stages.forgetting import check_forgetting
from stillroom.pipeline.stages.judge import (
    Calibrated,
    calibrated_judge,
    judge_candidates,
    load_pairs,
    refuse_same_judges,
)
from stillroom.pipeline.stages.labelled import learned_from, rows_of_pairs
from stillroom.pipeline.stages.pairs import make_pairs
from stillroom.pipeline.stages.train import STUDENT, require, student_to_lint, train
from stillroom.preferences.audit import Audit
from stillroom.preferences.candidates import gather
from stillroom.preferences.rows import FILES
from stillroom.report.preferences import preference_table
from stillroom.sampling.ledger import Ledger
from stillroom.students.lint.report import LintReport
from stillroom.traces.tasks import TaskSet, load_tasks


@dataclass(frozen=True, slots=True)
class PreferenceResult(FlowResult, HasRows):
    """What a run came to. `calibration` and `gate`: None where the recipe has no gate; `evaluation`: None where it
    asks for none. `pairs` are for training, `test_pairs` held out."""

    folder: Path
    prompts: int
    candidates: int
    judgements: dict[str, int]
    pairs: int
    test_pairs: int
    audit: Audit = field(repr=False)
    calibration: Calibration | None = field(default=None, repr=False)
    gate: GateVerdict | None = field(default=None, repr=False)
    evaluation: Evaluation | None = field(default=None, repr=False)

    def show(self, console: Terminal | None = None) -> None:
        console = wide(console or terminal())
        if self.evaluation is not None:
            console.print(preference_table(self.evaluation))
        held_out = f" and {self.test_pairs:,} held-out ones" if self.test_pairs else ""
        pairs = f"{self.pairs:,} pairs{held_out} in {self.folder / 'dpo'}"
        console.print(f"{pairs}; everything else in {self.folder}", soft_wrap=True)

    def _rows(self) -> Path:
        return self.folder / "dpo" / FILES["train"]


@flows.register(name="preferences")
class Preferences(Flow[PreferenceRecipe]):
    """Recipes of preferences."""

    def run(self, loaded: Loaded[PreferenceRecipe], folder: RunFolder, display: Display) -> PreferenceResult:
        with opened(folder, loaded, display) as context:
            return run_preferences(context, loaded)

    def plan(self, loaded: Loaded[PreferenceRecipe], ledger: Ledger, facts: dict[str, Any]) -> Planned:
        return Planned(preference_plan(loaded, ledger))

    def tasks(self, loaded: Loaded[PreferenceRecipe]) -> TaskSet:
        return load_tasks(loaded.recipe.tasks, base=loaded.base, seed=loaded.recipe.seed)

    def lint(self, loaded: Loaded[PreferenceRecipe], folder: Path) -> LintReport:
        recipe, rows = loaded.recipe, learned_from(loaded.recipe.student, folder)
        student = student_to_lint(recipe.student, loaded, rows)
        return student.lint(rows, test=self.tasks(loaded).held_out)


def run_preferences(context: RunContext, loaded: Loaded[PreferenceRecipe]) -> PreferenceResult:
    """All stages of a recipe of preferences. Raises InputError before anything is paid for, RunError after."""
    recipe, folder = loaded.recipe, context.folder
    require(recipe.student, loaded.base, recipe.seed)
    sources = identities(recipe, loaded.base)
    refuse_same_judges(recipe, context.ledger, loaded.base)
    tasks = load_tasks(recipe.tasks, base=context.base, seed=recipe.seed)
    left = f", {len(tasks.left_out):,} left out" if tasks.left_out else ""
    context.display.line("prompts", f"{len(tasks.train):,} to learn from, {len(tasks.test):,} held out{left}")
    for note in tasks.notes:
        context.display.note(note)
    if recipe.evaluate is not None and recipe.evaluate.retention is not None:
        check_forgetting(recipe.evaluate.retention, base=loaded.base, seed=recipe.seed)
    folder.begin(loaded, tasks, finished=None)
    calibrated = asyncio.run(_calibrate(context, recipe))
    prompts = (*tasks.train, *tasks.test)
    drawn, sampling = asyncio.run(draw_candidates(context, recipe, prompts))
    folder.note(sources=sources, sampling=sampling)
    gathered = gather(drawn, order=prompts)
    judgements = asyncio.run(judge_candidates(context, recipe, gathered))
    paired = make_pairs(context, recipe, tasks, gathered, judgements, sources, calibrated)
    evaluation = None
    if (student := recipe.student) is not None:
        rows = rows_of_pairs(context, recipe, student, paired.train)
        lint = partial(student.lint, rows, test=tasks.held_out)
        model = train(context, student, rows, folder.path / STUDENT, STUDENT, lint=lint)
        if recipe.evaluate is not None:
            evaluation = evaluate_writing(context, recipe, student, recipe.evaluate, tasks, paired, model)
    folder.note(finished=now(), rows=len(paired.train), judge=judgements.judge, judgements=judgements.states())
    return PreferenceResult(
        folder=folder.path,
        prompts=len(prompts),
        candidates=len(judgements.judged),
        judgements=judgements.states(),
        pairs=len(paired.train),
        test_pairs=len(paired.test),
        audit=paired.audit,
        calibration=None if calibrated is None else calibrated.calibration,
        gate=None if calibrated is None else calibrated.gate,
        evaluation=evaluation,
    )


async def _calibrate(context: RunContext, recipe: PreferenceRecipe) -> Calibrated | None:
    """Measures the judge on human labels; None where the recipe has no gate. Raises GateFailed where the gate is
    required and the judge does not pass."""
    wanted = recipe.gate
    if wanted is None:
        return None
    pairs = load_pairs(context, wanted.labelled, wanted.reading, context.base)
    found = await calibrated_judge(context, recipe, pairs, wanted)
    context.folder.write("calibration.json", found.calibration.model_dump_json(indent=2) + "\n")
    if found.gate.passed:
        context.display.line("gate", f"the judge passes, on {len(pairs):,} labelled pairs")
        return found
    failed = "; ".join(found.gate.failures)
    if wanted.required:
        raise GateFailed(
            f"the judge fails the gate on {len(pairs):,} labelled pairs: {failed}. No pairs were built. Choose "
            "another judge or rubric (`stillroom judge calibrate` measures it); gate.required: false builds them "
            "all the same"
        )
    context.display.line("gate", f"the judge FAILS the gate: {failed}")
    return found
