"""What a recipe's evaluation measures: the models that it names, on the held-out tasks, and what was not trained.

    evaluator = Evaluator(context, recipe, recipe.student, recipe.evaluate)
    evaluator.evaluate(tasks, distilled, student).evaluation       # also in eval.json, with plots

The student, its baselines and controls, several answers to each task, other seeds, retention, the KL to base and
teacher: everything goes into one `eval.json`, and every comparison is corrected for all that stand there. What was
answered or trained before is not done again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from stillroom.common.formatting import duration
from stillroom.common.records import Attempt, SamplingParams, ScoredAttempt, Task
from stillroom.evaluation.comparisons import corrected
from stillroom.evaluation.evaluate import COMPARED, at_k, evaluate_answers, over_trainings
from stillroom.evaluation.forgetting import Forgotten, forgetting_results
from stillroom.evaluation.results import AFTER, BEFORE, TEACHER, VARIANT, Evaluation, Measured, write_eval
from stillroom.pipeline.config.recipe import CONTROLS, EvaluateSettings, Recipe
from stillroom.pipeline.run.folder import WRITTEN, RunContext
from stillroom.pipeline.stages.controls import Controls, train_control, train_seeds
from stillroom.pipeline.stages.filter import Distilled
from stillroom.pipeline.stages.forgetting import measure_forgetting
from stillroom.pipeline.stages.plots import FOLDER as PLOTS
from stillroom.pipeline.stages.plots import draw
from stillroom.pipeline.stages.sample import Answers, answer, as_teacher, write_answers
from stillroom.pipeline.stages.token_kl import measure_kl, measure_kl_to_teacher
from stillroom.pipeline.stages.train import LABELS, gate_of
from stillroom.report.evaluation_table import eval_table
from stillroom.sampling.policy import ONCE, Policy
from stillroom.students.methods.registry import StudentSettings
from stillroom.traces.tasks import TaskSet

FILE = "eval.json"
SHORT = {BEFORE: "before", AFTER: "after", **LABELS}
"""What the display calls the models: its margin is narrow."""

ByModel = dict[str, dict[str, ScoredAttempt]]
"""One greedy answer to each held-out task, by model and task id."""


class Trained(NamedTuple):
    """A student of one seed, and its greedy answer to each held-out task."""

    model: str
    answers: dict[str, ScoredAttempt]


@dataclass(frozen=True, slots=True)
class Evaluated:
    """An evaluation and what it rests on. `validation`: the answers to the tasks of validation; empty without any.
    `forgetting`: by model; empty where the recipe measures none."""

    evaluation: Evaluation
    answers: ByModel
    validation: ByModel = field(default_factory=dict)
    forgetting: Mapping[str, Forgotten] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Evaluator:
    """Measures the students of a recipe. `student`, `settings`: the recipe's, which are there."""

    context: RunContext
    recipe: Recipe
    student: StudentSettings
    settings: EvaluateSettings

    def evaluate(
        self,
        tasks: TaskSet,
        distilled: Distilled,
        student: str,
        *,
        teacher: Answers | None = None,
        notes: Sequence[str] = (),
        sampled: bool = True,
    ) -> Evaluated:
        """Trains the controls, measures everything the recipe names, writes `eval.json` and the plots.

        `student`: the trained model. `teacher`: its answers to the held-out tasks, where it was asked before.
        `notes`: what a reader must know besides. `sampled`: also plots how the traces were come by.
        """
        context, settings, base = self.context, self.settings, self.student.model
        models: dict[str, str] = {BEFORE: base} if BEFORE in settings.baselines else {}
        models[AFTER] = student
        answers: ByModel = {who: self._held_out(tasks, who, model) for who, model in models.items()}
        controls = Controls({}, [])
        for number, who in enumerate(who for who in CONTROLS if who in settings.baselines):
            train_control(context, self.recipe, self.student, who, tasks, distilled, controls)
            if who in controls.models:
                models[who] = controls.models[who]
                answers[who] = self._held_out(tasks, who, models[who])
            if number == 0:
                # The rest takes as long again: whoever waits sees the gain by now.
                context.display.console.print(eval_table(self._greedy(tasks, answers)))
        variants = {name: self._variant(tasks, name, distilled) for name in settings.variants}
        answers |= {VARIANT + name: of[0].answers for name, of in variants.items()}
        if TEACHER in settings.baselines:
            found = teacher or self.ask(tasks.test, TEACHER, None)
            write_answers(context.folder, TEACHER, found.outcomes)
            answers[TEACHER] = found.first

        validation = self._validation(tasks, models)
        forgetting: dict[str, Forgotten] = {}
        if settings.retention is not None:
            sides, scorer, at_once = {BEFORE: base, AFTER: student}, self.recipe.measuring, settings.concurrency
            forgetting = measure_forgetting(
                context, settings.retention, sides, self.student, scorer=scorer, concurrency=at_once
            )
        greedy, others = self._greedy(tasks, answers), self._other_seeds(tasks, distilled)
        trained = {AFTER: [Trained(student, answers[AFTER]), *others]}
        trained |= {VARIANT + name: of for name, of in variants.items()}
        parts = [
            self._kl_to_base(tasks, answers, student),
            self._kl_to_teacher(tasks, answers, trained),
            forgetting_results(forgetting, after=AFTER, before=BEFORE, seed=self.recipe.seed),
            self._at_k(tasks, models),
            self._over_seeds(answers, trained),
        ]
        evaluation = Evaluation(
            results=(*greedy.results, *(row for part in parts for row in part.results)),
            comparisons=corrected([*greedy.comparisons, *(c for part in parts for c in part.comparisons)]),
            notes=(*greedy.notes, *notes, *controls.notes, *(note for part in parts for note in part.notes)),
        )
        self._write(evaluation, answers, tasks if sampled else None, distilled)
        return Evaluated(evaluation, answers, validation, forgetting)

    def _write(self, evaluation: Evaluation, answers: ByModel, tasks: TaskSet | None, distilled: Distilled) -> None:
        folder = self.context.folder
        folder.tell_lost("evaluation", self.context.display)
        write_eval(evaluation, folder.path / FILE)
        if self.settings.plots:
            draw(self.context, evaluation, answers, tasks, distilled)
        folder.mark("evaluation", WRITTEN, folder.path / FILE, folder.path / PLOTS)

    # -- answers ---------------------------------------------------------------------------------------------

    def ask(
        self,
        tasks: Sequence[Task],
        label: str,
        model: str | None,
        policy: Policy = ONCE,
        sampling: SamplingParams | None = None,
        *,
        kind: str = "held-out",
    ) -> Answers:
        """The answers of a local model under the student's own prompt; nobody is paid for them. `model`: None for the
        recipe's teacher, asked as for traces, which counts towards the run's limits. `sampling`: None for one greedy
        answer. `kind`: of the tasks, for the display."""
        context, params = self.context, sampling or self.recipe.greedy
        scorer, teacher = self.recipe.measuring.make(context.place()), self.recipe.teacher
        if model is not None:
            teacher = as_teacher(model, self.student, self.settings.concurrency)
        found = answer(context, tasks, teacher, scorer, policy, params, label=label, paid=model is None)
        answered = sum(bool(o.attempts) for o in found.outcomes)
        attempts = sum(len(o.attempts) for o in found.outcomes)
        what = f"{kind} tasks" if attempts == answered else f"answers to {answered:,} {kind} tasks"
        took = duration(found.counts.elapsed_s)
        context.display.line(label, f"{found.counts.accepted:,} of {attempts:,} {what} right, in {took}")
        return found

    def _held_out(self, tasks: TaskSet, who: str, model: str) -> dict[str, ScoredAttempt]:
        found = self.ask(tasks.test, SHORT[who], model)
        write_answers(self.context.folder, who, found.outcomes)
        return found.first

    def _validation(self, tasks: TaskSet, models: Mapping[str, str]) -> ByModel:
        """Of the student and the model before it alone: no number that is reported rests on these tasks."""
        asked = [who for who in (BEFORE, AFTER) if who in models and tasks.validation]
        return {who: self.ask(tasks.validation, SHORT[who], models[who], kind="validation").first for who in asked}

    # -- measures --------------------------------------------------------------------------------------------

    def _greedy(self, tasks: TaskSet, answers: ByModel) -> Evaluation:
        prices = {TEACHER: self.recipe.prices} if self.recipe.prices is not None else None
        ids = [task.id for task in tasks.test]
        compared = [*COMPARED, *((AFTER, VARIANT + name) for name in self.settings.variants)]
        return evaluate_answers(answers, seed=self.recipe.seed, compared=compared, tasks=ids, prices=prices)

    def _kl_to_base(self, tasks: TaskSet, answers: ByModel, student: str) -> Measured:
        return measure_kl(self.context, self.student, student, tasks.test, _attempts(answers, BEFORE))

    def _kl_to_teacher(self, tasks: TaskSet, answers: ByModel, trained: Mapping[str, list[Trained]]) -> Measured:
        models = {BEFORE: [self.student.model]} if BEFORE in answers else {}
        models |= {who: [each.model for each in of] for who, of in trained.items()}
        return measure_kl_to_teacher(self.context, self.student, models, tasks.test, _attempts(answers, TEACHER))

    def _at_k(self, tasks: TaskSet, models: Mapping[str, str]) -> Measured:
        """Several answers to each held-out task: of the student before and after, and of the teacher."""
        settings = self.settings.samples
        if settings is None:
            return Measured([], [], [])
        policy, sampling = settings.policy, settings.sampling(self.recipe.greedy)
        drawn = {
            who: self.ask(tasks.test, SHORT[who], models[who], policy, sampling)
            for who in (BEFORE, AFTER)
            if who in models
        }
        if TEACHER in self.settings.baselines:
            drawn[TEACHER] = self.ask(tasks.test, TEACHER, None, policy, sampling)
        told, found = settings.model_dump(include={"draws", "temperature", "top_p"}), Measured([], [], [])
        for who, answers in drawn.items():
            attempts = {o.task.id: o.attempts for o in answers.outcomes}
            found.results.extend(at_k(who, attempts, told, ks=settings.ks, seed=self.recipe.seed))
            # Tasks that got fewer answers are left out of the measures at a k that they do not reach.
            if few := sum(len(outcome.attempts) < settings.draws for outcome in answers.outcomes):
                of = f"{few:,} of {len(answers.outcomes):,} tasks"
                found.notes.append(f"{who}: {of} got fewer than {settings.draws} answers")
        return found

    def _variant(self, tasks: TaskSet, name: str, distilled: Distilled) -> list[Trained]:
        """Trains a variant from every seed, and asks each."""
        student, found = self.recipe.variant(name), list[Trained]()
        for each in train_seeds(self.context, student, self.settings.seeds, distilled, variant=name):
            answers = self.ask(tasks.test, each.label, each.model)
            if not found:
                write_answers(self.context.folder, VARIANT + name, answers.outcomes)
            found.append(Trained(each.model, answers.first))
        return found

    def _other_seeds(self, tasks: TaskSet, distilled: Distilled) -> list[Trained]:
        """The student trained again, each time from another seed, and asked."""
        if self.settings.seeds == 1:
            return []
        gate = gate_of(self.context, self.recipe, self.student, tasks)
        others = train_seeds(self.context, self.student, self.settings.seeds, distilled, gate)
        return [Trained(each.model, self.ask(tasks.test, each.label, each.model).first) for each in others]

    def _over_seeds(self, answers: ByModel, trained: Mapping[str, list[Trained]]) -> Measured:
        """The student over several trainings, each from another seed, and its variants."""
        if self.settings.seeds == 1:
            return Measured([], [], [])
        against = {who: [answers[who]] for who in (BEFORE, "control_unfiltered") if who in answers}
        against |= {who: [each.answers for each in of] for who, of in trained.items() if who != AFTER}
        rows = over_trainings([each.answers for each in trained[AFTER]], against, seed=self.recipe.seed)
        return Measured(rows, [], [] if rows else ["no held-out task was answered after every training"])


def _attempts(answers: ByModel, who: str) -> dict[str, Attempt]:
    return {task: scored.attempt for task, scored in answers.get(who, {}).items()}
