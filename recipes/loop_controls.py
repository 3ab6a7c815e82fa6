"""The controls of a loop: students that show what its gain is made of, on the same budget as its last kept student.

- Those that the recipe names are trained on the control's rows of every round whose rows that student learned from,
  as many of each, and no more in all than that student: unchecked attempts, for instance, of the same samplers at the
  same tasks. With `start: go_on`, where the student was trained once a round, they are trained once, and a note says
  so.
- `one_round` is trained once on what the first teacher gives on the tasks of all kept rounds. What it lacks of the
  loop's student is what going round is worth. Where all rounds had the same tasks, it would be round 1 once more, and
  is not trained.

They live in `controls/` of the loop's folder. Nothing that was trained or answered is done again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from stillroom.errors import NoRoom, NothingLeft, TrainingError
from stillroom.recipes.answering import of_student, once
from stillroom.recipes.chain import Chain, Link
from stillroom.recipes.controls import control_rows
from stillroom.recipes.controls_stage import LABELS
from stillroom.recipes.evaluation_schema import CONTROLS, Baseline
from stillroom.recipes.folder import RunFolder
from stillroom.recipes.loading import Loaded
from stillroom.recipes.loop_rounds import AFTER, Round, answers_of
from stillroom.recipes.loop_schema import LoopRecipe
from stillroom.recipes.rounds import RoundPlan, round_recipe
from stillroom.recipes.runner import answers
from stillroom.recipes.schema import Recipe
from stillroom.recipes.students_stage import not_trained_on, train
from stillroom.sampling.records import ScoredAttempt, Task
from stillroom.traces.rows import SftRow
from stillroom.traces.tasks import TaskSet

ONE_ROUND = "one_round"


@dataclass(frozen=True, slots=True)
class LoopControls:
    """`answers`: of each trained control, to the held-out tasks. `notes`: what a reader must know of them."""

    answers: dict[str, dict[str, ScoredAttempt]]
    notes: list[str]


@dataclass(slots=True)
class ControlStage:
    """Trains and asks the controls. `kept`: the rounds that were kept, in order, at least one."""

    loaded: Loaded[LoopRecipe]
    folder: RunFolder
    chain: Chain
    kept: Sequence[Round]
    test: tuple[Task, ...]

    def run(self) -> LoopControls:
        """All of them."""
        found = LoopControls({}, [])
        evaluate = self.loaded.recipe.evaluate
        assert evaluate is not None
        named = [who for who in CONTROLS if who in evaluate.baselines]
        if named and self.loaded.recipe.loop.start == "go_on" and len(self.kept) > 1:
            found.notes.append(self._less_training())
        for who in named:
            self._trained(who, found)
        if self.loaded.recipe.loop.one_round and len(self.kept) > 1:
            self._once(found)
        return found

    def _less_training(self) -> str:
        """With `go_on` the student was trained once a round, and a control is trained once."""
        if self.loaded.recipe.loop.traces == "accumulate":
            return (
                f"controls are trained once, from the base model, on rows of all {len(self.kept)} rounds; the "
                "student was trained in each of them (start: go_on): what it has beyond them is more training, too"
            )
        return (
            "controls stand for the last round alone: they start where its student did (start: go_on), which had "
            "learned from checked traces before"
        )

    def _once(self, found: LoopControls) -> None:
        tasks = self._later_tasks()
        if not tasks:
            found.notes.append(f"{ONE_ROUND} is not trained: the later rounds had no tasks that round 1 had not")
            return
        try:
            link = self._one_round(tasks)
        except (NothingLeft, TrainingError) as error:  # the rounds stand without it
            if isinstance(error, NoRoom):
                raise
            found.notes.append(f"{ONE_ROUND} came to no student, and is not there: {error}")
            return
        found.answers[ONE_ROUND] = answers_of(link, AFTER)
        draws, rows = link.result.attempts, len(link.distilled.training)
        found.notes.append(
            f"{ONE_ROUND} is trained on {rows:,} rows; beyond round 1 its teacher drew {draws:,} times"
        )

    def _trained(self, who: Baseline, found: LoopControls) -> None:
        last = self._links()[-1]
        rows = self._rows(who, found.notes)
        if not rows:
            found.notes.append(f"{who} has no rows to be trained on, and is not there")
            return
        run = replace(last.run, folder=self.folder)  # which says what was trained there: the last round may change
        if self.loaded.recipe.loop.traces == "accumulate":  # rows of all rounds: from where the first of them began
            run.loaded = last.run.loaded._replace(recipe=self._from_the_start(last.run.recipe))
        out = self.folder.path / "controls" / who.removeprefix("control_")
        try:
            model = train(run, last.tasks, rows, out, LABELS[who])
        except TrainingError as error:  # the rounds stand without it
            if isinstance(error, NoRoom):
                raise
            found.notes.append(f"{who} came to no student, and is not there: {error}")
            return
        found.notes.extend(not_trained_on(who, out))
        found.answers[who] = answers(of_student(run, self.test, LABELS[who], model, once(run)))

    def _from_the_start(self, recipe: Recipe) -> Recipe:
        """The recipe of a round, its student starting from the base and not from the student before."""
        student, base = recipe.student, self.loaded.recipe.student
        assert student is not None
        assert base is not None
        return recipe.model_copy(update={"student": student.model_copy(update={"model": base.model})})

    def _rows(self, who: Baseline, notes: list[str]) -> list[SftRow]:
        """The control's rows of every round that counts, without any that says the same as another, and no more than
        the student's."""
        parts = [control_rows(who, link.distilled, link.tasks, link.run.recipe) for link in self._links()]
        rows = {repr((row["prompt"], row["completion"])): row for part in parts for row in part.rows}
        told = zip(self._links(), parts, strict=True)
        notes += [f"round {link.folder.name}: {part.note}" for link, part in told if part.note is not None]
        wanted = len(self._links()[-1].distilled.training)
        if 0 < len(rows) < wanted:
            notes.append(f"{who} is trained on {len(rows):,} rows, the last student on {wanted:,}: there are no more")
        return list(rows.values())[:wanted]

    def _links(self) -> list[Link]:
        """The rounds whose rows the last kept student learned from."""
        links = [each.link for each in self.kept if each.link is not None]
        return links if self.loaded.recipe.loop.traces == "accumulate" else links[-1:]

    def _later_tasks(self) -> list[Task]:
        """Those of the later rounds that round 1 had not, each once."""
        first, *later = [each.link.tasks.train for each in self.kept if each.link is not None]
        known = {task.id for task in first}
        return list({task.id: task for tasks in later for task in tasks if task.id not in known}.values())

    def _one_round(self, tasks: Sequence[Task]) -> Link:
        """As round 1, on these tasks, with the rows of round 1 beside its own."""
        recipe, first = self.loaded.recipe, self.kept[0]
        assert first.link is not None
        first.link.run.display.line("control", f"{ONE_ROUND}: one student of the first teacher, on as many tasks")
        plan = RoundPlan(1, skip=len(first.link.tasks.train), earlier=(str((first.link.folder / "sft").resolve()),))
        values = round_recipe(recipe, plan).model_dump(mode="json", by_alias=True)
        values["name"] = f"{recipe.name}-{ONE_ROUND}"
        values["evaluate"] |= {"baselines": [], "forgotten": None, "samples": None, "seeds": 1}
        values["tasks"]["limit"] = len(tasks)
        loaded = Loaded(Recipe.model_validate(values), self.loaded.base, self.loaded.path)
        given = TaskSet(tasks, self.test)
        return self.chain.run(loaded, self.folder.path / "controls" / ONE_ROUND, given=given)
