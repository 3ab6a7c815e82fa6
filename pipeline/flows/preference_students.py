"""Trains the student on the pairs with DPO, and measures what it has become on prompts that it has not seen.

Before and after answer the same held-out prompts. The judge that built the pairs scores what they write, another one
compares it; both with length taken out. What was not trained is measured, too: a task whose answers can be
checked. A student that was trained on the same pairs with the same settings before is not trained again.
"""

from __future__ import annotations

import asyncio
import json
from functools import partial

from stillroom.common.hashing import digest
from stillroom.evaluation.forgetting import forgetting_results
from stillroom.evaluation.results import AFTER, BEFORE, Evaluation, Measured, Result, write_eval
from stillroom.pipeline.config.preferences import PreferenceRecipe
from stillroom.pipeline.run.context import RunContext
from stillroom.pipeline.run.folder import WRITTEN
from stillroom.pipeline.stages.evaluate_writing import Writing
from stillroom.pipeline.stages.forgetting import measure_forgetting
from stillroom.pipeline.stages.pairs import Paired
from stillroom.pipeline.stages.train import STUDENT, train
from stillroom.preferences.rows import dpo_row
from stillroom.students.methods.dpo import Dpo
from stillroom.students.methods.registry import StudentSettings
from stillroom.traces.scorers.answer import AnswerScorerSettings
from stillroom.traces.tasks import TaskSet

PAIRS_FILE = "held_out_pairs.json"


def train_and_evaluate(
    context: RunContext, recipe: PreferenceRecipe, student: StudentSettings, tasks: TaskSet, paired: Paired
) -> Evaluation | None:
    """Trains, and measures what the recipe asks for; writes `eval.json`. None where nothing is to be measured."""
    rows = [dpo_row(pair) for pair in paired.train]
    lint = partial(student.lint, rows, test=tasks.held_out)
    model = train(context, student, rows, context.folder.path / STUDENT, STUDENT, lint=lint)
    if recipe.evaluate is None:
        return None
    models = {BEFORE: student.model, AFTER: model}
    results = _pair_results(context, student, paired, model)
    writing = Writing(context, recipe, student, recipe.evaluate)
    written = {who: writing.write(tasks.test, who, model) for who, model in models.items()}
    parts = (asyncio.run(writing.judge(tasks.test, written)), _retention(context, recipe, student, models))
    results += [row for part in parts for row in part.results]
    evaluation = Evaluation(
        results=tuple(results),
        comparisons=tuple(c for part in parts for c in part.comparisons),
        notes=tuple(note for part in parts for note in part.notes),
    )
    file = context.folder.path / "eval.json"
    context.folder.tell_lost("evaluation", context.display)
    write_eval(evaluation, file)
    context.folder.mark("evaluation", WRITTEN, file)
    return evaluation


def _retention(
    context: RunContext, recipe: PreferenceRecipe, student: StudentSettings, models: dict[str, str]
) -> Measured:
    """What was not trained, before and after."""
    wanted = None if recipe.evaluate is None else recipe.evaluate.retention
    if recipe.evaluate is None or wanted is None:
        return Measured([], [], ["what was forgotten is not measured: see evaluate.retention"])
    concurrency, scorer = recipe.evaluate.concurrency, AnswerScorerSettings()
    found = measure_forgetting(context, wanted, models, student, scorer=scorer, concurrency=concurrency)
    return forgetting_results(found, after=AFTER, before=BEFORE, seed=recipe.seed)


def _pair_results(context: RunContext, student: StudentSettings, paired: Paired, model: str) -> list[Result]:
    """Implicit rewards on the held-out pairs; measured once for the same student and pairs."""
    from stillroom.evaluation.implicit_rewards import implicit_rewards

    folder, display = context.folder, context.display
    if not paired.test or not isinstance(student, Dpo):
        why = f"{student.method} has none" if paired.test else "there are no held-out pairs"
        display.note(f"implicit rewards are not measured: {why}")
        return []
    rows, file = [dpo_row(pair) for pair in paired.test], folder.path / PAIRS_FILE
    inputs = digest([rows, folder["stages"][STUDENT], folder.made(STUDENT)])
    if folder.done("held_out_pairs", inputs):
        lost = folder.lost("held_out_pairs")
        if not lost:
            return [Result.model_validate(row) for row in json.loads(file.read_text(encoding="utf-8"))]
        display.note(f"{lost}: the held-out pairs are measured again")
    found = implicit_rewards(
        model, student.model, rows, beta=student.dpo.beta, system=student.system, max_length=student.max_length
    )
    results = found.results()
    folder.write(PAIRS_FILE, json.dumps([row.model_dump(mode="json", exclude_none=True) for row in results]))
    folder.mark("held_out_pairs", inputs, file)
    a = found.accuracy
    display.line("pairs", f"{a.value:.1%} of {a.n:,} held-out pairs preferred the right way (implicit rewards)")
    return results
