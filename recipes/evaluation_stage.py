"""What a recipe's evaluation measures: whom it names, on the held-out tasks, and what was not trained.

    evaluate_run(run, tasks, distilled, student)         # eval.json, plots, and the rows and comparisons in them

The student, those that it is held against, several answers to each task, other seeds, what was forgotten: all that
is measured goes into one `eval.json`, and every comparison is corrected for all that stand there. What was answered
or trained before is not done again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from stillroom.recipes.answering import How, of_student, of_teacher, once, several
from stillroom.recipes.controls_stage import LABELS, label, train_controls, train_seeds
from stillroom.recipes.distil import Distilled
from stillroom.recipes.folder import WRITTEN
from stillroom.recipes.forgetting import forgetting_results, measure_forgetting
from stillroom.recipes.plotting import FOLDER as PLOTS
from stillroom.recipes.plotting import draw
from stillroom.recipes.preference_writing import Measured
from stillroom.sampling.records import Outcome, ScoredAttempt
from stillroom.students.evaluate.comparing import corrected
from stillroom.students.evaluate.measure import at_k, evaluate_answers, over_trainings
from stillroom.students.evaluate.results import AFTER, BEFORE, TEACHER, Evaluation, write_eval
from stillroom.traces.tasks import TaskSet

if TYPE_CHECKING:
    from stillroom.recipes.runner import Run

FILE = "eval.json"
SHORT = {BEFORE: "before", AFTER: "after", **LABELS}
"""What the display calls the models: its margin is narrow."""


def evaluate_run(
    run: Run,
    tasks: TaskSet,
    distilled: Distilled,
    student: str,
    *,
    notes: Sequence[str] = (),
    sampled: bool = True,
) -> Evaluation:
    """Trains the controls, measures whom and what the recipe names, writes `eval.json` and the plots.

    `student`: the trained model. `notes`: what a reader must know besides. `sampled`: also plots how the traces were
    come by. Fills the run's `answers`, `validation` and `forgetting`.
    """
    controls = train_controls(run, tasks, distilled)
    models = _models(run, student, controls.models)
    run.answers = _answers(run, tasks, models)
    run.validation = _validated(run, tasks, models)
    found = _greedy(run, tasks)
    parts = [_forgotten(run, student), _at_k(run, tasks, models), _over_seeds(run, tasks, distilled)]
    evaluation = Evaluation(
        results=(*found.results, *(row for part in parts for row in part.results)),
        comparisons=corrected([*found.comparisons, *(c for part in parts for c in part.comparisons)]),
        notes=(*found.notes, *notes, *controls.notes, *(note for part in parts for note in part.notes)),
    )
    run.folder.tell_lost("evaluation", run.display)
    write_eval(evaluation, run.folder.path / FILE)
    draw(run, evaluation, *((tasks, distilled) if sampled else ()))
    run.folder.mark("evaluation", WRITTEN, run.folder.path / FILE, run.folder.path / PLOTS)
    return evaluation


def _models(run: Run, student: str, controls: Mapping[str, str]) -> dict[str, str]:
    """Local models by who they are, in the order in which they are shown."""
    assert run.recipe.student is not None
    assert run.recipe.evaluate is not None
    base = run.recipe.student.model if BEFORE in run.recipe.evaluate.baselines else None
    models = {BEFORE: base, AFTER: student, **controls}
    return {who: model for who, model in models.items() if model is not None}


def _answers(run: Run, tasks: TaskSet, models: Mapping[str, str]) -> dict[str, dict[str, ScoredAttempt]]:
    """Everybody's one greedy answer to each held-out task; the teacher's only where it was not asked before."""
    assert run.recipe.evaluate is not None
    found = {who: _first(of_student(run, tasks.test, SHORT[who], model, once(run))) for who, model in models.items()}
    if TEACHER in run.recipe.evaluate.baselines:
        found[TEACHER] = run.teacher_answers or _first(of_teacher(run, tasks.test, once(run)))
    return found


def _validated(run: Run, tasks: TaskSet, models: Mapping[str, str]) -> dict[str, dict[str, ScoredAttempt]]:
    """Likewise to the tasks of validation: of the student and the model before it alone, for no number rests on
    them."""
    if not tasks.validation:
        return {}
    return {
        who: _first(of_student(run, tasks.validation, SHORT[who], models[who], once(run), kind="validation"))
        for who in (BEFORE, AFTER)
        if who in models
    }


def _first(outcomes: Sequence[Outcome]) -> dict[str, ScoredAttempt]:
    """The one answer of each task that got one."""
    return {o.task.id: o.attempts[0] for o in outcomes if o.attempts}


def _greedy(run: Run, tasks: TaskSet) -> Evaluation:
    prices = {TEACHER: run.recipe.prices} if run.recipe.prices is not None else None
    return evaluate_answers(run.answers, seed=run.recipe.seed, tasks=[task.id for task in tasks.test], prices=prices)


def _forgotten(run: Run, student: str) -> Measured:
    """What was not trained, before and after."""
    assert run.recipe.student is not None
    assert run.recipe.evaluate is not None
    settings = run.recipe.evaluate.forgotten
    if settings is None:
        return Measured([], [], [])
    trained = run.recipe.student
    for who, model in {BEFORE: trained.model, AFTER: student}.items():
        run.forgetting[who] = measure_forgetting(
            run, settings, who, model, system=trained.system, dtype=trained.dtype
        )
    return forgetting_results(run.forgetting, after=AFTER, before=BEFORE, seed=run.recipe.seed)


def _at_k(run: Run, tasks: TaskSet, models: Mapping[str, str]) -> Measured:
    """Several answers to each held-out task: of the student before and after, and of the teacher."""
    assert run.recipe.evaluate is not None
    settings = run.recipe.evaluate.samples
    if settings is None:
        return Measured([], [], [])
    how = several(run, settings)
    drawn = {
        who: of_student(run, tasks.test, SHORT[who], models[who], how) for who in (BEFORE, AFTER) if who in models
    }
    if TEACHER in run.recipe.evaluate.baselines:
        drawn[TEACHER] = of_teacher(run, tasks.test, how)
    said = settings.model_dump(include={"draws", "temperature", "top_p"})
    rows = [
        row
        for who, outcomes in drawn.items()
        for row in at_k(who, _attempts(outcomes), said, ks=settings.ks, seed=run.recipe.seed)
    ]
    return Measured(rows, [], [note for who, outcomes in drawn.items() for note in _fewer(who, outcomes, how)])


def _attempts(outcomes: Sequence[Outcome]) -> dict[str, tuple[ScoredAttempt, ...]]:
    return {outcome.task.id: outcome.attempts for outcome in outcomes}


def _fewer(who: str, outcomes: Sequence[Outcome], how: How) -> list[str]:
    """Tasks that got fewer answers than asked for are left out of the measures at a k that they do not reach."""
    few = sum(len(outcome.attempts) < how.policy.draws for outcome in outcomes)
    return [f"{who}: {few:,} of {len(outcomes):,} tasks got fewer than {how.policy.draws} answers"] if few else []


def _over_seeds(run: Run, tasks: TaskSet, distilled: Distilled) -> Measured:
    """The student over several trainings, each from another seed."""
    assert run.recipe.evaluate is not None
    if run.recipe.evaluate.seeds == 1:
        return Measured([], [], [])
    others = train_seeds(run, tasks, distilled)
    more = [_first(of_student(run, tasks.test, label(each.seed), each.model, once(run))) for each in others]
    against = {who: run.answers[who] for who in (BEFORE, "control_unfiltered") if who in run.answers}
    rows = over_trainings([run.answers[AFTER], *more], against, seed=run.recipe.seed)
    return Measured(rows, [], [] if rows else ["no held-out task was answered after every training"])
