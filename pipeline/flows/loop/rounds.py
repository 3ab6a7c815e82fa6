"""The rounds of a loop, one after the other, and the guard between them.

A round is an ordinary run in `rounds/<number>`. When it is done, the guard holds it against the last round that was
kept: what got worse beyond its tolerance rolls the round back, and the loop ends there. A round after the first that
leaves nothing to train on, or whose rows the lint refuses, is rolled back, too.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from stillroom.common.records import ScoredAttempt, State
from stillroom.errors import NoRoom, NothingLeft, TrainingError
from stillroom.evaluation.guard import NAMES, GuardReport, RoundFacts, facts_of, guard
from stillroom.evaluation.metrics import right
from stillroom.evaluation.results import AFTER, BEFORE
from stillroom.pipeline.config.kinds import Loaded
from stillroom.pipeline.config.loop import LoopRecipe
from stillroom.pipeline.config.round_recipe import RoundPlan, names_teacher, round_recipe
from stillroom.pipeline.flows.chain import Chain
from stillroom.pipeline.flows.loop.tasks import HeldOut, of_level, tasks_at
from stillroom.pipeline.flows.traces import FinishedRun
from stillroom.pipeline.run.folder import RunFolder
from stillroom.pipeline.run.progress import Display
from stillroom.traces.trace import traces_in

ROUNDS = "rounds"


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

    @property
    def recipe(self) -> LoopRecipe:
        """The loop's."""
        return self.loaded.recipe

    def run(self) -> Iterator[Round]:
        """The rounds in order; ends after one that was rolled back."""
        done: list[Round] = []
        for number in range(1, self.recipe.loop.rounds + 1):
            found = self._round(self._plan(number, done), done)
            done.append(found)
            yield found
            if not found.kept:
                return

    def path(self, number: int) -> Path:
        """The folder of a round."""
        return self.folder.path / ROUNDS / str(number)

    # -- planning ----------------------------------------------------------------------------------------------

    def _plan(self, number: int, done: Sequence[Round]) -> RoundPlan:
        loop = self.recipe.loop
        if not done:
            return RoundPlan(number)
        level = self._level(done)
        taken = sum(each.plan.level == level for each in done) if loop.tasks == "fresh" else 0
        sampler = None if names_teacher(self.recipe, number) else self._sampler(done)
        earlier = [str((self.path(each.number) / "sft").resolve()) for each in done]
        return RoundPlan(
            number,
            sampler=sampler,
            start=done[-1].run.model if loop.start == "continue" and done[-1].run else None,
            level=level,
            skip=taken * (tasks_at(self.recipe, level if loop.levels else None).limit or 0),
            earlier=tuple(earlier) if loop.traces == "accumulate" else (),
        )

    def _sampler(self, done: Sequence[Round]) -> str:
        """The student that teaches next: the last, or the best; of equals the later."""
        students = {(each.accuracy, each.number): each.run.model for each in done if each.run is not None}
        best = max(students) if self.recipe.loop.teacher == "best" else list(students)[-1]
        return students[best]

    def _level(self, done: Sequence[Round]) -> int:
        """The level of the round before, or the next one if that became easy."""
        last, levels = done[-1], len(self.recipe.loop.levels)
        easy = last.first_right >= self.recipe.loop.advance_at
        return min(last.plan.level + easy, max(levels - 1, 0))

    # -- running -----------------------------------------------------------------------------------------------

    def _round(self, plan: RoundPlan, done: Sequence[Round]) -> Round:
        self.display.line(f"round {plan.number}", self._told(plan, done))
        recipe = round_recipe(self.recipe, plan)
        given = None
        if self.recipe.loop.levels:
            given = of_level(recipe.tasks, self.held, self.loaded.base, self.recipe.seed)
        loaded = Loaded(recipe, self.loaded.base, self.loaded.path)
        try:
            found = self.chain.run(loaded, self.path(plan.number), given=given)
        except (NothingLeft, TrainingError) as error:
            if not done or isinstance(error, NoRoom):
                raise
            return self._failed(plan, str(error))
        return self._guarded(plan, found, done)

    def _told(self, plan: RoundPlan, done: Sequence[Round]) -> str:
        of = f"of {self.recipe.loop.rounds}"
        who = "the teacher" if plan.sampler is None else f"the student of round {self._number_of(plan, done)}"
        level = f", level {plan.level + 1} of {len(self.recipe.loop.levels)}" if self.recipe.loop.levels else ""
        return f"{of}: {who} samples{level}"

    def _number_of(self, plan: RoundPlan, done: Sequence[Round]) -> int:
        return next(each.number for each in done if each.run is not None and each.run.model == plan.sampler)

    def _failed(self, plan: RoundPlan, why: str) -> Round:
        self.display.line("guard", f"round {plan.number} came to no student and is rolled back: {why}")
        return Round(plan, None, RoundFacts(), None, 0.0, why)

    def _guarded(self, plan: RoundPlan, run: FinishedRun, done: Sequence[Round]) -> Round:
        facts = facts_of_student(run, AFTER)
        before = done[-1].facts if done else facts_of_student(run, BEFORE)
        settings = self.recipe.loop.guard
        report = guard(facts, before, settings, seed=self.recipe.seed) if settings is not None else None
        found = Round(plan, run, facts, report, first_right(run))
        self._say(found)
        return found

    def _say(self, found: Round) -> None:
        if found.guard is None:
            return
        for name, why in found.guard.not_checked.items() if found.number > 1 else ():
            self.display.note(f"guard: {NAMES.get(name, name)} is not checked: {why}")
        if found.kept:
            self.display.line("guard", f"round {found.number} is kept: nothing got worse beyond its tolerance")
            return
        self.display.line("guard", f"round {found.number} is rolled back: {found.why}")


def facts_of_student(run: FinishedRun, who: str) -> RoundFacts:
    """What a round measured of its student, or of the model before it; the traces are those of the round. Where tasks
    are held out for validation, on those alone."""
    if run.evaluated is None:
        return RoundFacts()
    forgotten = run.evaluated.forgetting.get(who)
    return facts_of(
        run.evaluated.validation.get(who, {}) if run.tasks.validation else answers_of(run, who),
        traces={} if who == BEFORE else traces_of_round(run),
        untrained={} if forgotten is None else {k: dict(v) for k, v in forgotten.right.items()},
        losses={} if forgotten is None else forgotten.losses,
    )


def answers_of(run: FinishedRun, who: str) -> dict[str, ScoredAttempt]:
    """One greedy answer to each held-out task."""
    return {} if run.evaluated is None else run.evaluated.answers.get(who, {})


def accepted_of(run: FinishedRun) -> int:
    """Accepted attempts among those that count, whose number the run's result says: what was answered after a task
    had stopped is in the ledger alone."""
    outcomes = run.distilled.outcomes
    return sum(a.verdict.state is State.ACCEPTED for outcome in outcomes for a in outcome.attempts)


def accuracy_of(run: FinishedRun) -> float:
    """Of the student, on the held-out tasks that are reported."""
    answers = answers_of(run, AFTER).values()
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
