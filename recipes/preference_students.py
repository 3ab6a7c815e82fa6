"""Trains the student on the pairs with DPO, and measures what it has become on prompts that it has not seen.

Before and after answer the same held-out prompts. The judge that built the pairs scores what they write, another one
compares it; both with length taken out. What was not trained is measured beside the gain: a task whose answers can be
checked. A student that was trained on the same pairs with the same settings before is not trained again.
"""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING

from stillroom.preferences.rows import dpo_row
from stillroom.recipes.display import duration
from stillroom.recipes.folder import WRITTEN
from stillroom.recipes.forgetting import forgetting_results, measure_forgetting
from stillroom.recipes.pairs_stage import Paired
from stillroom.recipes.preference_writing import AFTER, BEFORE, Measured, judge_writing, write
from stillroom.recipes.sampling_stage import run_async
from stillroom.recipes.students_stage import model_in, trained_with
from stillroom.sampling.hashing import digest
from stillroom.students.evaluate.results import Evaluation, Result, write_eval
from stillroom.students.saving import read_record
from stillroom.traces.tasks import TaskSet

if TYPE_CHECKING:
    from stillroom.recipes.preference_runner import PreferenceRun

PAIRS_FILE = "held_out_pairs.json"


def train_and_evaluate(run: PreferenceRun, tasks: TaskSet, paired: Paired) -> Evaluation | None:
    """Trains, and measures what the recipe asks for; writes `eval.json`. None where nothing is to be measured."""
    if run.recipe.student is None:
        return None
    student = _train(run, tasks, paired)
    if run.recipe.evaluate is None:
        return None
    results = [*_pair_results(run, paired, student)]
    models = _models(run, student)
    written = {who: run_async(write(run, tasks.test, who, model)) for who, model in models.items()}
    parts = (run_async(judge_writing(run, tasks.test, written)), _forgotten(run, models))
    results += [row for part in parts for row in part.results]
    evaluation = Evaluation(
        results=tuple(results),
        comparisons=tuple(c for part in parts for c in part.comparisons),
        notes=tuple(note for part in parts for note in part.notes),
    )
    run.folder.tell_lost("evaluation", run.display)
    write_eval(evaluation, run.folder.path / "eval.json")
    run.folder.mark("evaluation", WRITTEN, run.folder.path / "eval.json")
    return evaluation


def _models(run: PreferenceRun, student: str) -> dict[str, str]:
    assert run.recipe.student is not None
    return {BEFORE: run.recipe.student.model, AFTER: student}


def _forgotten(run: PreferenceRun, models: dict[str, str]) -> Measured:
    """What the recipe names to measure what was forgotten by, before and after."""
    assert run.recipe.student is not None
    assert run.recipe.evaluate is not None
    wanted, trained = run.recipe.evaluate.forgotten, run.recipe.student
    if wanted is None:
        return Measured([], [], ["what was forgotten is not measured: see evaluate.forgotten"])
    found = {
        who: measure_forgetting(run, wanted, who, model, system=trained.system, dtype=trained.dtype)
        for who, model in models.items()
    }
    return forgetting_results(found, after=AFTER, before=BEFORE, seed=run.recipe.seed)


# -- training ------------------------------------------------------------------------------------------------


def _train(run: PreferenceRun, tasks: TaskSet, paired: Paired) -> str:
    """Lints the pairs and trains, unless that was done; gives the folder of the model."""
    from stillroom.recipes.linting import before_training, lint_preferences
    from stillroom.students.dpo import train_dpo

    settings, out = run.recipe.student, run.folder.path / "student"
    assert settings is not None
    rows = [dpo_row(pair) for pair in paired.train]
    inputs = digest([rows, settings.model_dump(mode="json"), run.recipe.seed, trained_with()])
    if run.folder.done("student", inputs):
        lost = run.folder.lost("student")
        if not lost:
            run.display.line("student", f"trained before on the same {len(rows):,} pairs")
            return model_in(out)
        run.display.note(f"{lost}: the student is trained again")
    before_training(lint_preferences(run.recipe, tasks, rows), run.folder, run.display)
    with run.display.steps("student") as shown:
        trained = train_dpo(
            rows,
            settings,
            out,
            seed=run.recipe.seed,
            on_step=lambda s: shown(s.step, s.total, s.loss, s.tokens_per_s),
        )
    run.folder.note_dtype("student", (read_record(out) or {}).get("dtype"))
    run.folder.mark("student", inputs, out)
    run.display.line("student", f"trained on {trained.rows:,} pairs in {duration(trained.seconds)}")
    if trained.left_out:
        reasons = ", ".join(f"{n:,} {why}" for why, n in Counter(left.reason for left in trained.left_out).items())
        run.display.note(f"{len(trained.left_out):,} pairs were not trained on: {reasons}")
    return model_in(out)


# -- held-out pairs --------------------------------------------------------------------------------------------


def _pair_results(run: PreferenceRun, paired: Paired, student: str) -> list[Result]:
    """Implicit rewards on the held-out pairs; measured once for the same student and pairs."""
    from stillroom.students.evaluate.preferences import implicit_rewards

    settings = run.recipe.student
    assert settings is not None
    assert settings.dpo is not None
    if not paired.test:
        run.display.note("there are no held-out pairs: implicit rewards are not measured")
        return []
    rows, file = [dpo_row(pair) for pair in paired.test], run.folder.path / PAIRS_FILE
    inputs = digest([rows, run.folder["stages"]["student"], run.folder.made("student")])
    if run.folder.done("held_out_pairs", inputs):
        lost = run.folder.lost("held_out_pairs")
        if not lost:
            return [Result.model_validate(row) for row in json.loads(file.read_text(encoding="utf-8"))]
        run.display.note(f"{lost}: the held-out pairs are measured again")
    found = implicit_rewards(
        student, settings.model, rows, beta=settings.dpo.beta, system=settings.system, max_length=settings.max_length
    )
    results = found.results()
    run.folder.write(PAIRS_FILE, json.dumps([row.model_dump(mode="json", exclude_none=True) for row in results]))
    run.folder.mark("held_out_pairs", inputs, file)
    a = found.accuracy
    run.display.line("pairs", f"{a.value:.1%} of {a.n:,} held-out pairs preferred the right way (implicit rewards)")
    return results
