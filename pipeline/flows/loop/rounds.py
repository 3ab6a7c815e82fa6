"""The rounds of a loop, one after the other, the tasks of each, and the guard between them.

A round is an ordinary run in `rounds/<number>`. When it is done, the guard holds it against the last round that was
kept: what got worse beyond its tolerance rolls the round back, and the loop ends there. A round after the first that
leaves nothing to train on, or whose rows the lint refuses, is rolled back, too.

The held-out tasks are those of the recipe's own `tasks`, the same in every round, so that rounds can be compared.
Where `loop.levels` change the tasks, a round's training tasks are those of its level, without any that is held out,
in whatever words it is asked there. A loop that would run out of tasks is refused before anything is paid for.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

from pydantic import TypeAdapter

from stillroom.common.records import State, Task
from stillroom.errors import NoRoom, NothingLeft, RecipeError, TaskError, TrainingError
from stillroom.evaluation.forgetting import Facts
from stillroom.evaluation.guard import NAMES, GuardReport, RoundFacts, facts_of, guard
from stillroom.evaluation.metrics import right
from stillroom.evaluation.results import AFTER, BEFORE
from stillroom.pipeline.config.kinds import Loaded
from stillroom.pipeline.config.loop import LoopRecipe, RoundPlan, laid_over, names_teacher, round_recipe
from stillroom.pipeline.flows.chain import Chain
from stillroom.pipeline.flows.traces import FinishedRun
from stillroom.pipeline.run.folder import RunFolder
from stillroom.pipeline.run.progress import Display
from stillroom.traces.tasks import GymTasks, TaskSet, TaskSettings, load_tasks
from stillroom.traces.tasks.load import TEST_PREFIX
from stillroom.traces.trace import traces_in


@dataclass(frozen=True, slots=True)
class Round:
    """A round that was run. `run`: None where it came to no student, and `failed` says why. `guard`: None where
    nothing was compared. `first_right`: share of its tasks that the sampler got right at the first attempt."""

    plan: RoundPlan
    run: FinishedRun | None
    facts: RoundFacts
    guard: GuardReport | None
    first_right: float
    failed: str = ""

    @property
    def number(self) -> int:
        """From 1."""
        return self.plan.number

    @property
    def kept(self) -> bool:
        """Whether it was not rolled back."""
        return self.run is not None and (self.guard is None or self.guard.passed)

    @property
    def why(self) -> str:
        """Why it was rolled back; empty where it was kept."""
        if self.failed or self.guard is None:
            return self.failed
        return "; ".join(check.sentence for check in self.guard.failures)

    @property
    def accuracy(self) -> float:
        """On the held-out tasks that choices rest on."""
        return fmean(self.facts.right.values()) if self.facts.right else 0.0


@dataclass(slots=True)
class Rounds:
    """Runs the rounds of a loop. `held`: the held-out tasks of all of them."""

    loaded: Loaded[LoopRecipe]
    folder: RunFolder
    chain: Chain
    display: Display
    held: HeldOut

    def run(self) -> Iterator[Round]:
        """The rounds in order; ends after one that was rolled back."""
        done: list[Round] = []
        for number in range(1, self.loaded.recipe.loop.rounds + 1):
            found = self._round(self._plan(number, done), done)
            done.append(found)
            yield found
            if not found.kept:
                return

    def _plan(self, number: int, done: Sequence[Round]) -> RoundPlan:
        recipe, loop = self.loaded.recipe, self.loaded.recipe.loop
        if not done:
            return RoundPlan(number)
        last = done[-1]
        easy = last.first_right >= loop.advance_at
        level = min(last.plan.level + easy, max(len(loop.levels) - 1, 0))
        taken = sum(each.plan.level == level for each in done) if loop.tasks == "fresh" else 0
        sampler = None
        if not names_teacher(recipe, number):  # the last student, or the best; of equals the later
            students = {(each.accuracy, each.number): each.run.model for each in done if each.run is not None}
            sampler = students[max(students) if loop.teacher == "best" else list(students)[-1]]
        earlier = [str((self._path(each.number) / "sft").resolve()) for each in done]
        return RoundPlan(
            number,
            sampler=sampler,
            start=last.run.model if loop.start == "continue" and last.run else None,
            level=level,
            skip=taken * (tasks_at(recipe, level if loop.levels else None).limit or 0),
            earlier=tuple(earlier) if loop.traces == "accumulate" else (),
        )

    def _path(self, number: int) -> Path:
        return self.folder.path / "rounds" / str(number)

    def _round(self, plan: RoundPlan, done: Sequence[Round]) -> Round:
        recipe, number, line = self.loaded.recipe, plan.number, self.display.line
        who = "the teacher"
        if plan.sampler is not None:
            teaches = (each.number for each in done if each.run is not None and each.run.model == plan.sampler)
            who = f"the student of round {next(teaches)}"
        level = f", level {plan.level + 1} of {len(recipe.loop.levels)}" if recipe.loop.levels else ""
        line(f"round {number}", f"of {recipe.loop.rounds}: {who} samples{level}")
        own, given = round_recipe(recipe, plan), None
        if recipe.loop.levels:
            given = of_level(own.tasks, self.held, self.loaded.base, recipe.seed)
        loaded = Loaded(own, self.loaded.base, self.loaded.path)
        try:
            run = self.chain.run(loaded, self._path(number), given=given)
        except (NothingLeft, TrainingError) as error:
            if not done or isinstance(error, NoRoom):
                raise
            line("guard", f"round {number} came to no student and is rolled back: {error}")
            return Round(plan, None, RoundFacts(), None, 0.0, str(error))

        facts, settings = facts_of_student(run, AFTER), recipe.loop.guard
        before = done[-1].facts if done else facts_of_student(run, BEFORE)
        report = guard(facts, before, settings, seed=recipe.seed) if settings is not None else None
        found = Round(plan, run, facts, report, first_right(run))
        if report is not None:
            for name, why in report.not_checked.items() if number > 1 else ():
                self.display.note(f"guard: {NAMES.get(name, name)} is not checked: {why}")
            kept, back = "is kept: nothing got worse beyond its tolerance", f"is rolled back: {found.why}"
            line("guard", f"round {number} {kept if found.kept else back}")
        return found


def facts_of_student(run: FinishedRun, who: str) -> RoundFacts:
    """What a round measured of its student, or of the model before it; the traces are those of the round. Where tasks
    are held out for validation, on those alone."""
    if run.evaluated is None:
        return RoundFacts()
    forgotten = run.evaluated.forgetting.get(who)
    return facts_of(
        run.evaluated.validation.get(who, {}) if run.tasks.validation else run.answers(who),
        traces={} if who == BEFORE else traces_of_round(run),
        untrained={} if forgotten is None else _as_numbers(forgotten.right),
        lenient={} if forgotten is None else _as_numbers(forgotten.lenient),
        losses={} if forgotten is None else forgotten.losses,
    )


def _as_numbers(facts: Facts) -> dict[str, dict[str, float]]:
    return {name: dict(of) for name, of in facts.items()}


def accepted_of(run: FinishedRun) -> int:
    """Accepted attempts among those that count, whose number the run's result says: what was answered after a task
    had stopped is in the ledger alone."""
    outcomes = run.distilled.outcomes
    return sum(a.verdict.state is State.ACCEPTED for outcome in outcomes for a in outcome.attempts)


def accuracy_of(run: FinishedRun) -> float:
    """Of the student, on the held-out tasks that are reported."""
    answers = run.answers(AFTER).values()
    return fmean(right(answer) for answer in answers) if answers else 0.0


def traces_of_round(run: FinishedRun) -> dict[str, list[str]]:
    """The texts of the rows that the round wrote, by task."""
    found: dict[str, list[str]] = {}
    for row in run.distilled.rows:
        found.setdefault(row["task_id"], []).append(row["completion"][-1]["content"])
    return found


def first_right(run: FinishedRun) -> float:
    """Share of the round's tasks whose first attempt was accepted; a task without attempts is not."""
    firsts = [next(traces_in(outcome), None) for outcome in run.distilled.outcomes]
    return sum(f is not None and f.verdict.state is State.ACCEPTED for f in firsts) / max(1, len(firsts))


# -- tasks -------------------------------------------------------------------------------------------------------


class HeldOut(NamedTuple):
    """What no round learns from. `test`: what is reported rests on them; `validation`: choices do, where there are
    any (else on `test`, too)."""

    test: tuple[Task, ...]
    validation: tuple[Task, ...] = ()

    @property
    def all(self) -> tuple[Task, ...]:
        """Both."""
        return (*self.test, *self.validation)


def held_out(recipe: LoopRecipe, base: Path) -> HeldOut:
    """The held-out tasks. Raises TaskError where there are too few training tasks for all rounds, RecipeError where
    rounds could not be told apart by their tasks."""
    rounds, levels = recipe.loop.rounds, len(recipe.loop.levels)
    for level in range(levels):
        _enough(recipe, level, base, max(1, rounds - level))  # a round more for each level before it
    if levels:  # nothing is learned from the tasks of the recipe itself
        found = load_tasks(recipe.tasks.model_copy(update={"limit": 1}), base=base, seed=recipe.seed)
    else:
        found = _enough(recipe, None, base, rounds)
    return HeldOut(found.test, found.validation)


def of_level(settings: TaskSettings, held: HeldOut, base: Path, seed: int) -> TaskSet:
    """Training tasks as `settings` say, without those that are held out; held out is what `held` says.

    The same task: the same messages, or, where ids are hashes of the row's prompt, the same row in other words."""
    loaded = load_tasks(settings, base=base, seed=seed)
    messages = {task.messages for task in held.all}
    ids = {task.id.removeprefix(TEST_PREFIX) for task in held.all} if settings.id is None else set()
    train = [task for task in loaded.train if task.messages not in messages and task.id not in ids]
    same, spare = len(loaded.train) - len(train), sum(task.messages not in messages for task in loaded.held_out)
    notes = [*loaded.notes]
    if same:
        notes.append(f"{same:,} tasks are held out, and not learned from")
    if spare and not isinstance(settings, GymTasks):  # which makes as many as are wanted
        notes.append(f"{spare:,} tasks of this level are used by nobody: with test: 1 in the level most would be")
    return TaskSet(train, held.test, loaded.left_out, loaded.beyond_limit, tuple(notes), held.validation)


def tasks_at(recipe: LoopRecipe, level: int | None) -> TaskSettings:
    """What a level (None: the recipe itself) says about the tasks. Raises pydantic's ValidationError where
    `round_recipe` has not checked it."""
    block = {"tasks": recipe.tasks.model_dump(mode="json", by_alias=True)}
    changed = block if level is None else laid_over(block, {"tasks": recipe.loop.levels[level]})
    return TypeAdapter[TaskSettings](TaskSettings).validate_python(changed["tasks"])


def _enough(recipe: LoopRecipe, level: int | None, base: Path, rounds: int) -> TaskSet:
    """The tasks of a level, as many as `rounds` rounds take."""
    settings, fresh = tasks_at(recipe, level), recipe.loop.tasks == "fresh" and rounds > 1
    if fresh and settings.limit is None:  # it would hand a task to two rounds
        key = "tasks" if level is None else f"loop.levels.{level + 1}"
        raise RecipeError(f"loop.tasks is fresh, but {key}.limit is null: say how many tasks each round takes")
    wanted = settings.limit * rounds if fresh and settings.limit is not None else settings.limit
    tasks = load_tasks(settings.model_copy(update={"limit": wanted}), base=base, seed=recipe.seed)
    if fresh and wanted is not None and len(tasks.train) < wanted:
        at = "" if level is None else f" at level {level + 1}"
        raise TaskError(
            f"{rounds} rounds of {settings.limit:,} fresh tasks take {wanted:,}, and there are "
            f"{len(tasks.train):,}{at}: lower tasks.limit or loop.rounds, or set loop.tasks: same"
        )
    return tasks
