"""`stillroom eval RUN`: measures a run that has trained its student, again or further.

    evaluate("runs/quickstart", set=["evaluate.baselines=[student_before,control_wrong_answers]"])
    evaluate("runs/quickstart", set=["evaluate.samples.draws=4"])

It measures what `stillroom run` does at its end (`pipeline/stages/evaluate.py`), on the same held-out tasks; what was
answered or trained before is not done again, so it costs only what is new. It leaves the student as it is, and asks
the teacher for nothing but held-out answers, where the teacher is a baseline. It refuses a folder without rows or
student, and held-out tasks that are not those of the run.
"""

from __future__ import annotations

from pathlib import Path

from stillroom.common.run_async import off_the_loop
from stillroom.errors import InputError, MissingFile, RunFolderError
from stillroom.evaluation.results import Evaluation
from stillroom.pipeline.config.kinds import Loaded
from stillroom.pipeline.config.load import Overrides, RecipeLike
from stillroom.pipeline.config.recipe import Recipe
from stillroom.pipeline.run.facts import one_run, own_recipe
from stillroom.pipeline.run.folder import RunFolder, now, opened
from stillroom.pipeline.run.progress import Display
from stillroom.pipeline.stages.evaluate import Evaluator
from stillroom.pipeline.stages.filter import distilled_before
from stillroom.pipeline.stages.train import STUDENT, gate_of, model_in, require, training_inputs
from stillroom.traces.rows import DATA_FILE
from stillroom.traces.tasks import load_tasks

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
    path, facts = one_run(folder)
    for key in (override.partition("=")[0].strip() for override in set):
        if key.split(".")[0] not in SET:
            raise InputError(
                f"--set {key}: an evaluation measures the student as it was trained, so only {', '.join(SET)} can be "
                "set: for anything else change the recipe and `stillroom run` it"
            )
    recipe, base, file = own_recipe(path, facts, set)
    if not isinstance(recipe, Recipe):
        raise InputError(
            f"{path} is the run of a recipe that trains on no traces, and `stillroom eval` measures those: "
            "`stillroom run` measures it, and does nothing twice"
        )
    student, settings = recipe.student, recipe.evaluate
    if student is None:
        raise InputError(f"the recipe of {path} trains no student, so there is nothing to measure: add `student`")
    if settings is None:
        raise InputError(
            f"the recipe of {path} does not say what to measure: --set 'evaluate.baselines=[student_before]'"
        )
    rows, model = path / "sft" / DATA_FILE, model_in(path / STUDENT)
    if not rows.is_file():
        raise MissingFile(
            f"there are no rows in {rows} yet, so no student to measure: `stillroom run` writes and trains"
        )
    if not Path(model).is_dir():
        raise MissingFile(f"there is no student in {path / STUDENT} yet: `stillroom run` trains it, from where it is")
    require(student, base, recipe.seed)
    tasks = load_tasks(recipe.tasks, base=base, seed=recipe.seed)
    run_folder = RunFolder(path, facts["name"])
    run_folder.refuse_other_tasks(tasks)
    run_folder.allow_code(recipe, base, trust=trust)
    with opened(run_folder, Loaded(recipe, base, file), display or Display()) as context:
        if run_folder.made(STUDENT) and (lost := run_folder.lost(STUDENT)):
            raise RunFolderError(
                f"{path}: {lost}, so this is not the student that was trained: `stillroom run` trains it again"
            )
        distilled, notes = distilled_before(context, recipe, tasks), []
        inputs = training_inputs(
            distilled.rows_for(student), student, base, context.seed, gate_of(context, recipe, student, tasks)
        )
        if not run_folder.done(STUDENT, inputs):
            notes = ["the student was trained on other rows, settings or versions than those that are here now"]
        evaluator = Evaluator(context, recipe, student, settings)
        found = evaluator.evaluate(tasks, distilled, model, notes=notes, sampled=False)
        run_folder.note(evaluated={"at": now(), "evaluate": settings.model_dump(mode="json")})
        return found.evaluation
