"""Runs a recipe from end to end: tasks, sampling, filters, students, evaluation.

Each stage is done once: attempts are in the ledger, and a stage whose inputs did not change is not done again. So the
same command resumes a run that was stopped or killed anywhere, and a finished run costs nothing to run again.

    run("quickstart")
    run("recipe.yaml", set=["keep.per_task=2"], out="runs/two")
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, overload

from stillroom.errors import MissingFile, NothingLeft, RunFolderError, TeacherDown
from stillroom.recipes import plan, students_stage
from stillroom.recipes.agreement import Agreement, compare
from stillroom.recipes.display import Display, duration, verdicts
from stillroom.recipes.distil import Distilled, distil
from stillroom.recipes.folder import WRITTEN, RunFolder, now, run_path, versions
from stillroom.recipes.forgetting import Forgotten, check_forgetting
from stillroom.recipes.loading import Loaded, dump, load_recipe
from stillroom.recipes.outcomes import Asked, Outcomes
from stillroom.recipes.pilot import PilotResult, choose, forecast
from stillroom.recipes.provenance import made_from
from stillroom.recipes.sampling_stage import off_the_loop, run_async, sample, sample_into
from stillroom.recipes.schema import Recipe
from stillroom.sampling.core import Core
from stillroom.sampling.counts import Counts
from stillroom.sampling.ledger import Ledger
from stillroom.sampling.limits import Meter
from stillroom.sampling.policy import Policy, Until
from stillroom.sampling.records import Outcome, SamplingParams, ScoredAttempt, Task
from stillroom.sampling.teachers.base import Teacher, dtype_of
from stillroom.sampling.teachers.factory import make_teacher
from stillroom.sampling.teachers.recorded import RecordedTeacher
from stillroom.sampling.teachers.settings import RecordedSettings
from stillroom.students.evaluate.results import Evaluation
from stillroom.traces.answers import AnswerChecker, AnswerScorer
from stillroom.traces.rows import DATA_FILE
from stillroom.traces.tasks import TaskSet, load_tasks

# The held-out tasks are answered once, and greedily: what a user of the model would get.
ONE_ANSWER = Until(per_task=1, max_attempts=1)


@dataclass(frozen=True, slots=True)
class RunResult:
    """What a run came to. `evaluation` and `agreement` are None where the recipe asks for none."""

    folder: Path
    tasks: int
    attempts: int
    accepted: int
    rows: int
    evaluation: Evaluation | None = None
    agreement: Agreement | None = None

    def as_dict(self) -> dict[str, Any]:
        """Plain data, for JSON."""
        return {
            "folder": str(self.folder),
            "tasks": self.tasks,
            "attempts": self.attempts,
            "accepted": self.accepted,
            "rows": self.rows,
            "evaluation": None
            if self.evaluation is None
            else self.evaluation.model_dump(mode="json", exclude_none=True),
            "agreement": None if self.agreement is None else self.agreement.as_dict(),
        }


@overload
def run(
    recipe: str | Path,
    *,
    set: Sequence[str] = ...,
    out: str | Path | None = ...,
    pilot: None = ...,
    display: Display | None = ...,
) -> RunResult: ...


@overload
def run(
    recipe: str | Path,
    *,
    set: Sequence[str] = ...,
    out: str | Path | None = ...,
    pilot: int,
    display: Display | None = ...,
) -> PilotResult: ...


@off_the_loop
def run(
    recipe: str | Path,
    *,
    set: Sequence[str] = (),
    out: str | Path | None = None,
    pilot: int | None = None,
    display: Display | None = None,
) -> RunResult | PilotResult:
    """Runs a recipe, or goes on with it.

    `recipe`: a path, or the name of a shipped recipe. `set`: overrides such as "keep.per_task=2". `out`: the run's
    folder, default `runs/<name>`. `pilot`: samples only so many tasks, and forecasts what all will take and bring.
    Raises InputError before anything is paid for, RunError after.
    """
    loaded = load_recipe(recipe, set)
    path = run_path(out, loaded.recipe.name)
    if (path / "rounds").is_dir():
        raise RunFolderError(f"{path} is the folder of a loop: give another folder with --out")
    folder, shown = RunFolder(path, loaded.recipe.name), display or Display()
    with folder.opened(shown) as ledger:
        started = Run(loaded, folder, ledger, shown)
        return started.execute() if pilot is None else started.pilot(pilot)


@dataclass(slots=True)
class Run:
    """One run of a recipe in its folder."""

    loaded: Loaded[Recipe]
    folder: RunFolder
    ledger: Ledger
    display: Display
    teacher_answers: dict[str, ScoredAttempt] = field(default_factory=dict)
    answers: dict[str, dict[str, ScoredAttempt]] = field(default_factory=dict)  # greedy, by model, then task id
    validation: dict[str, dict[str, ScoredAttempt]] = field(default_factory=dict)  # likewise, to tasks.validation
    forgetting: dict[str, Forgotten] = field(default_factory=dict)  # by model
    given: TaskSet | None = None  # in the place of those that the recipe names
    meter: Meter | None = None  # None: one of its own, under the recipe's limits
    tasks: TaskSet | None = None  # once they are loaded
    distilled: Distilled | None = None  # once there are rows

    def __post_init__(self) -> None:
        self.meter = self.meter or Meter(self.recipe.limits)

    @property
    def recipe(self) -> Recipe:
        """The recipe."""
        return self.loaded.recipe

    def execute(self) -> RunResult:
        """All stages."""
        students_stage.require(self.recipe)
        teacher = make_teacher(self.recipe.teacher, base=self.loaded.base)
        self._earlier()
        tasks = self._load_tasks()
        for each in self.recipe.filters:
            each.start(tasks.held_out)  # refuses what it cannot work with, before anything is paid for
        evaluate = self.recipe.evaluate
        if evaluate is not None and evaluate.forgotten is not None:
            check_forgetting(evaluate.forgotten, base=self.loaded.base, seed=self.recipe.seed)
        self._note_start(teacher, tasks)
        self.folder.note(finished=None)  # where the recipe is another now
        outcomes = run_async(self._sample(teacher, tasks))
        agreement = self._compare(outcomes, teacher)
        distilled = self.distilled = self._distil(outcomes, tasks, teacher)
        evaluation = self._train_and_evaluate(tasks, distilled)
        self.folder.note(finished=now(), rows=distilled.written)
        return RunResult(
            folder=self.folder.path,
            tasks=len(tasks.train),
            attempts=outcomes.attempts,
            accepted=distilled.kept,
            rows=distilled.written,
            evaluation=evaluation,
            agreement=agreement,
        )

    def pilot(self, count: int) -> PilotResult:
        """Samples `count` tasks, chosen at random, and forecasts the whole run."""
        tasks = self._load_tasks()
        chosen = choose(tasks.train, count, self.recipe.seed)
        teacher = make_teacher(self.recipe.teacher, base=self.loaded.base)
        self._note_start(teacher, tasks)
        outcomes = run_async(self._sample_some(teacher, chosen))
        return forecast(
            self.folder.path, outcomes, len(tasks.train), teacher.concurrency, self.recipe.prices, self.recipe.seed
        )

    async def _sample_some(self, teacher: Teacher, tasks: Sequence[Task]) -> list[Outcome]:
        scorer, settings = self.scorer(), self.recipe.teacher
        more: dict[str, Any] = {"prompt": settings.teacher_prompt, "retry": settings.retry, "ahead": False}
        try:
            core = self.core(teacher, scorer, self.recipe.keep, settings.sampling, **more)
            return await sample(core, tasks, "pilot", self.display)
        finally:
            self.folder.note_dtype("teacher", dtype_of(teacher))
            await teacher.close()
            await scorer.close()

    def core(
        self,
        teacher: Teacher,
        scorer: AnswerScorer,
        policy: Policy,
        sampling: SamplingParams,
        *,
        paid: bool = True,
        **more: Any,
    ) -> Core:
        """The sampling core on this run's ledger and seed. `paid`: under its limits, which hold for all that one call
        of the run asks; a local student costs nothing."""
        shared: dict[str, Any] = {"sampling": sampling, "seed": self.recipe.seed}
        if paid:
            shared |= {"meter": self.meter, "prices": self.recipe.prices}
        return Core(teacher, scorer, policy, self.ledger, **shared, **more)

    def scorer(self) -> AnswerScorer:
        """The recipe's scorer; close it."""
        s = self.recipe.scorer
        return AnswerScorer(AnswerChecker(s.workers, s.timeout_s, s.memory_mb, policies=s.policies))

    def greedy(self) -> SamplingParams:
        """How the held-out tasks are answered."""
        return plan.greedy(self.recipe)

    # -- stages --------------------------------------------------------------------------------------------

    def _load_tasks(self) -> TaskSet:
        tasks = self.given or load_tasks(self.recipe.tasks, base=self.loaded.base, seed=self.recipe.seed)
        self.tasks = tasks
        reasons: dict[str, int] = {}
        for left in tasks.left_out:
            reasons[left.reason.value] = reasons.get(left.reason.value, 0) + 1
        left_out = "".join(f", {n:,} left out ({reason})" for reason, n in reasons.items())
        held_out = f"{len(tasks.test):,} held out" + (
            f", {n:,} for validation" if (n := len(tasks.validation)) else ""
        )
        self.display.line("tasks", f"{len(tasks.train):,} to learn from, {held_out}{left_out}")
        for note in tasks.notes:
            self.display.note(note)
        return tasks

    def _note_start(self, teacher: Teacher, tasks: TaskSet) -> None:
        self.folder.write("recipe.yaml", dump(self.recipe))
        self.folder.note(
            started=self.folder["started"] or now(),
            seed=self.recipe.seed,
            versions=versions(),
            teacher={"identity": teacher.identity, "licence": self.recipe.teacher.licence},
            tasks={"train": len(tasks.train), "test": len(tasks.test), "left_out": len(tasks.left_out)},
            **made_from(self.loaded, tasks),
        )

    async def _sample(self, teacher: Teacher, tasks: TaskSet) -> Outcomes:
        scorer, settings = self.scorer(), self.recipe.teacher
        more: dict[str, Any] = {"prompt": settings.teacher_prompt, "retry": settings.retry}
        try:
            core = self.core(teacher, scorer, self.recipe.keep, settings.sampling, **more)
            outcomes = self._outcomes(teacher, scorer, tasks)
            await sample_into(core, tasks.train, "sampling", self.display, outcomes.add)
            self._report_sampling(core.counts, outcomes)
            if self.recipe.evaluate is not None and "teacher" in self.recipe.evaluate.baselines:
                core = self.core(teacher, scorer, ONE_ANSWER, self.greedy(), **more)
                held_out = await sample(core, tasks.test, "teacher", self.display)
                self.teacher_answers = answers(held_out)
        finally:
            self.folder.note_dtype("teacher", dtype_of(teacher))
            await teacher.close()
            await scorer.close()
        return outcomes

    def _outcomes(self, teacher: Teacher, scorer: AnswerScorer, tasks: TaskSet) -> Outcomes:
        """Where the outcomes of the tasks to learn from go, and where they are read from."""
        recipe, settings = self.recipe, self.recipe.teacher
        prompt, sampling = settings.teacher_prompt, settings.sampling
        asked = Asked.of(teacher, scorer, prompt, sampling, recipe.keep, recipe.seed)
        return Outcomes(self.ledger, tasks.train, asked)

    def _report_sampling(self, counts: Counts, outcomes: Outcomes) -> None:
        reused = f" ({counts.reused:,} of them from the ledger)" if counts.reused else ""
        took = duration(counts.elapsed_s)
        what = "replayed" if isinstance(self.recipe.teacher, RecordedSettings) else "new"
        tokens = f"{counts.completion_tokens:,} {what} tokens in {took}"
        self.display.line("sampled", f"{verdicts(counts)}{reused}; {tokens}")
        if self.recipe.prices is not None:
            self.display.note(f"${self.recipe.prices.usd(counts):,.4f} for the teacher's tokens")
        if self.recipe.keep.kept is not None and counts.kept:
            kept, accepted = counts.kept_tokens / counts.kept, counts.accepted_tokens / counts.accepted
            order = "draw order" if self.recipe.keep.order == "draw" else "order of arrival"
            lengths = f"{kept:,.0f} tokens on average, all accepted {accepted:,.0f} ({order})"
            self.display.note(f"kept traces have {lengths}")
        found = outcomes.stops
        self.display.note(", ".join(f"{n:,} tasks {name.replace('_', ' ')}" for name, n in found.items() if n))
        if counts.last_failure:
            self.display.note(f"last failure: {counts.last_failure}")
        self.folder.note(sampling={**counts.as_dict(), "stops": found, "seconds": round(counts.elapsed_s, 1)})

    def _compare(self, outcomes: Outcomes, teacher: Teacher) -> Agreement | None:
        if not self.recipe.grades_recorded or not isinstance(teacher, RecordedTeacher):
            return None
        return compare(outcomes, teacher, self.recipe.teacher.teacher_prompt, self.folder)

    def _distil(self, outcomes: Outcomes, tasks: TaskSet, teacher: Teacher) -> Distilled:
        if not outcomes.kept:
            raise (NothingLeft if outcomes.attempts else TeacherDown)(_nothing_accepted(outcomes))
        self.folder.tell_lost("rows", self.display)
        distilled = distil(self.recipe, tasks, outcomes, self.folder, teacher.identity, self._earlier())
        self.folder.mark("rows", WRITTEN, distilled.folder)
        dropped = ", ".join(f"{c.name} {c.dropped:,}" for c in distilled.counts if c.dropped) or "nothing"
        self.display.line(
            "filtered", f"{distilled.kept:,} traces kept, {distilled.written:,} rows written (dropped: {dropped})"
        )
        if distilled.said_before:
            self.display.note(f"{distilled.said_before:,} rows say what others do, and are learned from once")
        return distilled

    def _earlier(self) -> list[Path]:
        """Folders of rows of earlier runs. Raises MissingFile for one without rows."""
        folders = [self.loaded.base / folder for folder in self.recipe.earlier]
        for folder in folders:
            if not (folder / DATA_FILE).is_file():
                raise MissingFile(
                    f"earlier: there are no rows in {folder}: name the sft/ folder of a run that wrote some"
                )
        return folders

    def _train_and_evaluate(self, tasks: TaskSet, distilled: Distilled) -> Evaluation | None:
        if self.recipe.student is None:
            return None
        return students_stage.train_and_evaluate(self, tasks, distilled)


def answers(outcomes: Sequence[Outcome]) -> dict[str, ScoredAttempt]:
    """The one answer of each task that got one."""
    return {o.task.id: o.attempts[0] for o in outcomes if o.attempts}


def _nothing_accepted(outcomes: Outcomes) -> str:
    if not outcomes.attempts:
        return (
            f"the teacher answered none of {len(outcomes):,} tasks ({outcomes.failed:,} requests failed): look at "
            "the last failure above, and check that the recording or the server holds these tasks"
        )
    reasons = Counter(scored.verdict.reason for outcome in outcomes for scored in outcome.attempts)
    found = ", ".join(f"{reason} {n:,}" for reason, n in sorted(reasons.items(), key=lambda item: -item[1]))
    return (
        f"none of {outcomes.attempts:,} attempts was accepted ({found}): look at some with `stillroom attempts`, "
        "then correct the teacher's prompt, tasks.reference or teacher.sampling.max_tokens"
    )
