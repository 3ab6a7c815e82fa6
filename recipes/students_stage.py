"""Trains the student and its control, and measures all of them on the held-out tasks.

The control has the same model, settings, number of rows and seed; only the check and the filters are missing. A
student that was trained on the same rows with the same settings before is not trained again.
"""

from __future__ import annotations

from collections import Counter
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from stillroom.errors import MissingExtra
from stillroom.recipes.display import duration
from stillroom.recipes.distil import Distilled, rows_digest
from stillroom.recipes.folder import versions
from stillroom.recipes.preference_schema import PreferenceRecipe
from stillroom.recipes.sampling_stage import run_async, sample
from stillroom.recipes.schema import Recipe
from stillroom.sampling.hashing import digest
from stillroom.sampling.prompt import Prompt
from stillroom.sampling.records import ScoredAttempt
from stillroom.students.evaluate.measure import evaluate_answers
from stillroom.students.evaluate.results import Evaluation, write_eval
from stillroom.traces.rows import SftRow
from stillroom.traces.tasks import TaskSet

if TYPE_CHECKING:
    from stillroom.recipes.runner import Run

_NEEDED = ("torch", "transformers", "trl", "peft", "accelerate")


def require(recipe: Recipe | PreferenceRecipe) -> None:
    """Finds out before anything is paid for whether the student can be trained at all.

    Raises MissingExtra or, for a model that is nowhere, MissingFile.
    """
    if recipe.student is None:
        return
    for package in _NEEDED:
        if find_spec(package) is None:
            raise MissingExtra("training a student", package, "train")
    from stillroom.sampling.models import resolve_model

    resolve_model(recipe.student.model)


def train_and_evaluate(run: Run, tasks: TaskSet, distilled: Distilled) -> Evaluation | None:
    """Trains, and measures whom the recipe names; writes `eval.json`. None where nobody is to be measured."""
    assert run.recipe.student is not None
    evaluate = run.recipe.evaluate
    baselines = evaluate.baselines if evaluate is not None else ()
    by_who: dict[str, dict[str, ScoredAttempt]] = {}
    if "student_before" in baselines:
        by_who["student_before"] = _ask(run, tasks, "before", run.recipe.student.model)
    if "teacher" in baselines:
        by_who["teacher"] = run.teacher_answers
    if "control_unfiltered" in baselines:
        control = _train(run, tasks, distilled.control, run.folder.path / "controls" / "unfiltered", "control")
        by_who["control_unfiltered"] = _ask(run, tasks, "control", control)
    student = _train(run, tasks, distilled.rows, run.folder.path / "student", "student")
    if evaluate is None:
        return None
    by_who["student_after"] = _ask(run, tasks, "after", student)
    found = evaluate_answers(_in_order(by_who), tasks=[task.id for task in tasks.test])
    write_eval(found, run.folder.path / "eval.json")
    return found


def _in_order(by_who: dict[str, dict[str, ScoredAttempt]]) -> dict[str, dict[str, ScoredAttempt]]:
    order = ("student_before", "student_after", "control_unfiltered", "teacher")
    return {who: by_who[who] for who in order if who in by_who}


def _train(run: Run, tasks: TaskSet, rows: list[SftRow], out: Path, label: str) -> str:
    """Lints the rows and trains, unless that was done; gives the folder of the model."""
    from stillroom.recipes.linting import before_training, lint_traces
    from stillroom.students.sft import train_sft

    settings = run.recipe.student
    assert settings is not None
    seed = run.recipe.seed if settings.seed is None else settings.seed
    inputs = digest([rows_digest(rows), settings.model_dump(mode="json"), seed, trained_with()])
    if run.folder.done(label, inputs) and out.is_dir():
        run.display.line(label, f"trained before on the same {len(rows):,} rows")
        return model_in(out)
    checked = label == "student"  # the control's rows are meant to be as they are: told, but no reason to stop
    report = lint_traces(run.recipe, tasks, rows, check=checked)
    before_training(report, run.folder, run.display, name="lint" if checked else f"lint_{label}", stop=checked)
    with run.display.steps(label) as shown:
        trained = train_sft(
            rows, settings, out, seed=seed, on_step=lambda s: shown(s.step, s.total, s.loss, s.tokens_per_s)
        )
    run.folder.mark(label, inputs)
    run.display.line(label, f"trained on {trained.rows:,} rows in {duration(trained.seconds)}")
    if trained.left_out:
        reasons = Counter(left.reason for left in trained.left_out)
        found = ", ".join(f"{n:,} {reason}" for reason, n in reasons.items())
        run.display.note(f"{len(trained.left_out):,} rows were not trained on: {found}")
    return str(trained.model)


def trained_with() -> dict[str, str]:
    """Versions of what a training depends on."""
    return {k: v for k, v in versions().items() if k in ("torch", "transformers", "trl", "peft")}


def model_in(out: Path) -> str:
    """What to load of a student's folder: the merged model, or the adapter where there is no other."""
    merged = out / "merged"
    return str(merged if merged.is_dir() else out / "adapter")


def _ask(run: Run, tasks: TaskSet, label: str, model: str) -> dict[str, ScoredAttempt]:
    """One greedy answer of a local model to each held-out task, under the student's own prompt."""
    return run_async(_answer(run, tasks, label, model))


async def _answer(run: Run, tasks: TaskSet, label: str, model: str) -> dict[str, ScoredAttempt]:
    from stillroom.recipes.runner import ONE_ANSWER, answers
    from stillroom.sampling.teachers.transformers import TransformersTeacher

    assert run.recipe.student is not None
    assert run.recipe.evaluate is not None
    student = TransformersTeacher(model, concurrency=run.recipe.evaluate.concurrency)
    scorer = run.scorer()
    try:
        prompt = Prompt(system=run.recipe.student.system)
        core = run.core(student, scorer, ONE_ANSWER, run.greedy(), paid=False, prompt=prompt)
        found = answers(await sample(core, tasks.test, label, run.display))
    finally:
        await student.close()
        await scorer.close()
    right = core.counts.accepted
    run.display.line(label, f"{right} of {len(found)} held-out tasks right, in {duration(core.counts.elapsed_s)}")
    return found
