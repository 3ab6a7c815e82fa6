"""`stillroom eval RUN`: measures a run that has trained its student, again or further.

    evaluate("runs/quickstart", set=["evaluate.baselines=[student_before,control_wrong_answers]"])
    evaluate("runs/quickstart", set=["evaluate.samples.draws=4"])

It measures what `stillroom run` does at its end (`pipeline/stages/evaluate.py`), on the same held-out tasks; what was
answered or trained before is not done again, so it costs only what is new. It leaves the student as it is, and asks
the teacher for nothing but held-out answers, where the teacher is a baseline. It refuses a folder without rows or
student, and held-out tasks that are not those of the run.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stillroom.common.run_async import off_the_loop
from stillroom.errors import InputError, MissingFile, RunFolderError
from stillroom.evaluation.results import Evaluation
from stillroom.pipeline.config.kinds import Loaded
from stillroom.pipeline.config.load import Overrides, RecipeLike
from stillroom.pipeline.config.recipe import Recipe
from stillroom.pipeline.planning.status import facts_in, own_recipe, refuse_chain
from stillroom.pipeline.run.context import RunContext, opened
from stillroom.pipeline.run.folder import RunFolder, folder_of, now
from stillroom.pipeline.run.outcomes import Asked, Outcomes
from stillroom.pipeline.run.progress import Display
from stillroom.pipeline.run.provenance import tasks_hash
from stillroom.pipeline.stages.evaluate import Evaluator
from stillroom.pipeline.stages.filter import Distilled
from stillroom.pipeline.stages.train import STUDENT, model_in, require, training_inputs
from stillroom.sampling.teachers.base import identity_of
from stillroom.traces.rows import DATA_FILE, read_sft
from stillroom.traces.tasks import TaskSet, load_tasks

SET = ("evaluate", "limits", "prices")
"""Keys that an evaluation by itself may set: the others say what the student is, and it is trained already."""


@off_the_loop
def evaluate(
    folder: RecipeLike, *, set: Overrides = (), trust: bool = False, display: Display | None = None
) -> Evaluation:
    """Measures a run that has trained its student, again or further; writes `eval.json` and the plots.

    `folder`: of the run, which says what recipe it was made with, or the recipe whose default folder it is. `set`:
    overrides of `evaluate`, `limits` and `prices`. `trust`: lets code run that only the overrides name.
    Raises MissingFile where rows or student are missing, InputError for what cannot be measured, and RunError
    when it fails.
    """
    path = folder_of(folder)
    facts = facts_in(path)
    refuse_chain(path)
    loaded = _of_traces(own_recipe(path, facts, _checked(set)), path)
    student, settings = loaded.recipe.student, loaded.recipe.evaluate
    if student is None:
        raise InputError(f"the recipe of {path} trains no student, so there is nothing to measure: add `student`")
    if settings is None:
        raise InputError(
            f"the recipe of {path} does not say what to measure: --set 'evaluate.baselines=[student_before]'"
        )
    _refuse_untrained(path)
    require(student)
    tasks = load_tasks(loaded.recipe.tasks, base=loaded.base, seed=loaded.recipe.seed)
    _refuse_other_tasks(path, facts, tasks)
    run_folder = RunFolder(path, facts["name"])
    run_folder.allow_code(loaded.recipe, loaded.base, trust=trust)
    with opened(run_folder, loaded, display or Display()) as context:
        if context.folder.made(STUDENT) and (lost := context.folder.lost(STUDENT)):
            raise RunFolderError(
                f"{path}: {lost}, so this is not the student that was trained: `stillroom run` trains it again"
            )
        distilled, notes = _distilled(context, loaded, tasks), []
        if not context.folder.done(STUDENT, training_inputs(distilled.training, student, context.seed)):
            notes = ["the student was trained on other rows, settings or versions than those that are here now"]
        evaluator = Evaluator(context, loaded.recipe, student, settings)
        found = evaluator.evaluate(tasks, distilled, model_in(path / STUDENT), notes=notes, sampled=False)
        context.folder.note(evaluated={"at": now(), "evaluate": settings.model_dump(mode="json")})
        return found.evaluation


def _distilled(context: RunContext, loaded: Loaded[Recipe], tasks: TaskSet) -> Distilled:
    """The rows that the run wrote, and its outcomes as they are in the ledger."""
    recipe, folder = loaded.recipe, context.folder.path / "sft"
    asked = Asked.of(recipe, identity_of(recipe.teacher, loaded.base), loaded.base)
    outcomes = Outcomes(context.ledger, tasks.train, asked, reopened=True)
    earlier = tuple(loaded.base / each for each in recipe.earlier)
    system = recipe.student.system if recipe.student is not None else None
    return Distilled(len(read_sft(folder)), outcomes.kept, (), folder, outcomes, system, earlier)


def _checked(overrides: Overrides) -> Overrides:
    for override in overrides:
        key = override.partition("=")[0].strip()
        if key.split(".")[0] not in SET:
            raise InputError(
                f"--set {key}: an evaluation measures the student as it was trained, so only {', '.join(SET)} can be "
                "set: for anything else change the recipe and `stillroom run` it"
            )
    return overrides


def _of_traces(loaded: Loaded[Any], path: Path) -> Loaded[Recipe]:
    recipe = loaded.recipe
    if not isinstance(recipe, Recipe):
        raise InputError(
            f"{path} is the run of a recipe that trains on no traces, and `stillroom eval` measures those: "
            "`stillroom run` measures it, and does nothing twice"
        )
    return Loaded(recipe, loaded.base, loaded.path)


def _refuse_untrained(path: Path) -> None:
    rows = path / "sft" / DATA_FILE
    if not rows.is_file():
        raise MissingFile(
            f"there are no rows in {rows} yet, so no student to measure: `stillroom run` writes and trains"
        )
    if not Path(model_in(path / STUDENT)).is_dir():
        raise MissingFile(f"there is no student in {path / STUDENT} yet: `stillroom run` trains it, from where it is")


def _refuse_other_tasks(path: Path, facts: Mapping[str, Any], tasks: TaskSet) -> None:
    """Held-out tasks of another file, or another draw, may be among those that the student has learned from."""
    known = (facts.get("hashes") or {}).get("test_tasks")
    if known is not None and known != tasks_hash(tasks.test):
        raise InputError(
            f"the held-out tasks are not those of the run in {path}: the student may have learned from some of them. "
            "Bring its task file back, or `stillroom run` it again; a round of a loop with levels is measured by the "
            "loop alone"
        )
