"""The controls of a loop: students that show what its gain is made of, on the same budget as its last kept student.

- Those that the recipe names are trained on the control's rows of every round whose rows that student learned from,
  as many of each, and no more in all than that student: unchecked attempts, for instance, of the same samplers at the
  same tasks. With `start: continue`, where the student was trained once a round, they are trained once, and a note
  says so.
- `control_one_round` is trained once on what the first teacher gives on the tasks of all kept rounds. What it lacks
  of the loop's student is what going round is worth. Where all rounds had the same tasks, it would be round 1 once
  more, and is not trained.

They live in `controls/` of the loop's folder. Nothing that was trained or answered is done again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from stillroom.common.records import ScoredAttempt, Task
from stillroom.errors import NoRoom, NothingLeft, TrainingError
from stillroom.evaluation.results import AFTER
from stillroom.pipeline.config.evaluation import CONTROLS, Baseline
from stillroom.pipeline.config.kinds import Loaded
from stillroom.pipeline.config.loop import LoopRecipe
from stillroom.pipeline.config.recipe import Recipe
from stillroom.pipeline.config.round_recipe import RoundPlan, round_recipe
from stillroom.pipeline.flows.chain import Chain
from stillroom.pipeline.flows.loop.rounds import answers_of
from stillroom.pipeline.flows.traces import FinishedRun
from stillroom.pipeline.run.context import RunContext
from stillroom.pipeline.stages.control_rows import control_rows
from stillroom.pipeline.stages.controls import LABELS
from stillroom.pipeline.stages.evaluate import Evaluator
from stillroom.pipeline.stages.lint import lint_traces
from stillroom.pipeline.stages.sample import write_answers
from stillroom.pipeline.stages.train import not_trained_on, train
from stillroom.traces.rows import SftRow
from stillroom.traces.tasks import TaskSet

ONE_ROUND = "control_one_round"
PLACE = ONE_ROUND.removeprefix("control_")
"""Its folder, and the end of its run's name."""


@dataclass(frozen=True, slots=True)
class LoopControls:
    """`answers`: of each trained control, to the held-out tasks. `notes`: what a reader must know of them."""

    answers: dict[str, dict[str, ScoredAttempt]]
    notes: list[str]


@dataclass(frozen=True, slots=True)
class ControlStage:
    """Trains and asks the controls. `context`: of the last kept round, in the loop's folder. `kept`: the rounds that
    were kept, in order, at least one."""

    loaded: Loaded[LoopRecipe]
    context: RunContext
    chain: Chain
    kept: Sequence[FinishedRun]
    test: tuple[Task, ...]

    @property
    def recipe(self) -> LoopRecipe:
        """The loop's."""
        return self.loaded.recipe

    def run(self) -> LoopControls:
        """All of them."""
        found, loop = LoopControls({}, []), self.recipe.loop
        named = [who for who in CONTROLS if who in self.recipe.evaluate.baselines]
        if named and loop.start == "continue" and len(self.kept) > 1:
            found.notes.append(self._less_training())
        for who in named:
            self._trained(who, found)
        if loop.control_one_round and len(self.kept) > 1:
            self._once(found)
        return found

    def _less_training(self) -> str:
        """With `continue` the student was trained once a round, and a control is trained once."""
        if self.recipe.loop.traces == "accumulate":
            return (
                f"controls are trained once, from the base model, on rows of all {len(self.kept)} rounds; the "
                "student was trained in each of them (start: continue): what it has beyond them is more training, too"
            )
        return (
            "controls stand for the last round alone: they start where its student did (start: continue), which had "
            "learned from checked traces before"
        )

    # -- the first teacher, in one round ---------------------------------------------------------------------

    def _once(self, found: LoopControls) -> None:
        first, *later = (run.tasks.train for run in self.kept)
        known = {task.id for task in first}
        tasks = list({task.id: task for each in later for task in each if task.id not in known}.values())
        if not tasks:
            found.notes.append(f"{ONE_ROUND} is not trained: the later rounds had no tasks that round 1 had not")
            return
        try:
            run = self._one_round(tasks)
        except (NothingLeft, TrainingError) as error:  # the rounds stand without it
            if isinstance(error, NoRoom):
                raise
            found.notes.append(f"{ONE_ROUND} came to no student, and is not there: {error}")
            return
        found.answers[ONE_ROUND] = answers_of(run, AFTER)
        draws, rows = run.result.attempts, len(run.distilled.training)
        found.notes.append(
            f"{ONE_ROUND} is trained on {rows:,} rows; beyond round 1 its teacher drew {draws:,} times"
        )

    def _one_round(self, tasks: Sequence[Task]) -> FinishedRun:
        """As round 1, on these tasks, with the rows of round 1 before its own."""
        first = self.kept[0]
        self.context.display.line("control", f"{ONE_ROUND}: one student of the first teacher, on as many tasks")
        plan = RoundPlan(1, skip=len(first.tasks.train), earlier=(str((first.folder / "sft").resolve()),))
        values = round_recipe(self.recipe, plan).model_dump(mode="json", by_alias=True)
        values["name"] = f"{self.recipe.name}-{PLACE}"
        values["evaluate"] |= {"baselines": [], "retention": None, "samples": None, "seeds": 1}
        values["tasks"]["limit"] = len(tasks)
        loaded = Loaded(Recipe.model_validate(values), self.loaded.base, self.loaded.path)
        folder = self.context.folder.path / "controls" / PLACE
        return self.chain.run(loaded, folder, given=TaskSet(tasks, self.test))

    # -- those that the recipe names -------------------------------------------------------------------------

    def _trained(self, who: Baseline, found: LoopControls) -> None:
        last, rows = self.kept[-1], self._rows(who, found.notes)
        if not rows:
            found.notes.append(f"{who} has no rows to be trained on, and is not there")
            return
        student = last.recipe.student or self.recipe.student
        if self.recipe.loop.traces == "accumulate":  # rows of all rounds: from where the first of them began
            student = student.model_copy(update={"model": self.recipe.student.model})
        out = self.context.folder.path / "controls" / who.removeprefix("control_")
        try:
            lint = partial(lint_traces, last.recipe, student, last.tasks, rows, check=False)
            model = train(self.context, student, rows, out, LABELS[who], lint=lint)
        except TrainingError as error:  # the rounds stand without it
            if isinstance(error, NoRoom):
                raise
            found.notes.append(f"{who} came to no student, and is not there: {error}")
            return
        found.notes.extend(not_trained_on(who, out))
        evaluator = Evaluator(self.context, last.recipe, student, last.recipe.evaluate or self.recipe.evaluate)
        answers = evaluator.ask(self.test, LABELS[who], model)
        write_answers(self.context.folder, who, answers.outcomes)
        found.answers[who] = answers.first

    def _rows(self, who: Baseline, notes: list[str]) -> list[SftRow]:
        """The control's rows of every round that counts, without any that says the same as another, and no more than
        the student's."""
        accumulated = self.recipe.loop.traces == "accumulate"
        runs = self.kept if accumulated else self.kept[-1:]  # those whose rows the last kept student learned from
        parts = [control_rows(who, run.distilled, run.tasks, run.recipe) for run in runs]
        rows = {repr((row["prompt"], row["completion"])): row for part in parts for row in part.rows}
        told = zip(runs, parts, strict=True)
        notes += [f"round {run.folder.name}: {part.note}" for run, part in told if part.note is not None]
        wanted = len(runs[-1].distilled.training)
        if 0 < len(rows) < wanted:
            notes.append(f"{who} is trained on {len(rows):,} rows, the last student on {wanted:,}: there are no more")
        return list(rows.values())[:wanted]
