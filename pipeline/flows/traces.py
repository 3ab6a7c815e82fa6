"""Runs a recipe of traces from end to end: tasks, sampling, filters, students, evaluation.

Each stage is done once: attempts are in the ledger, and a stage whose inputs did not change is not done again. So the
same command resumes a run that was stopped or killed anywhere, and a finished run costs nothing to run again.

    with opened(folder, loaded, display) as context:
        run_traces(context, loaded).result
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from stillroom.common.datasets import HasRows
from stillroom.common.files import at_home
from stillroom.common.formatting import money
from stillroom.common.printing import Terminal, terminal
from stillroom.common.records import Outcome, ScoredAttempt, State
from stillroom.errors import NothingLeft, RunFolderError, TeacherDown
from stillroom.evaluation.results import Evaluation
from stillroom.pipeline.config.kinds import Loaded
from stillroom.pipeline.config.recipe import Recipe
from stillroom.pipeline.planning.forecast import PilotResult, choose, forecast
from stillroom.pipeline.planning.plan import plan
from stillroom.pipeline.run.flow import Flow, FlowResult, Planned, flows
from stillroom.pipeline.run.folder import WRITTEN, RunContext, RunFolder, now, opened
from stillroom.pipeline.run.progress import Display, sampled_in_words
from stillroom.pipeline.stages.agreement import Agreement, compare
from stillroom.pipeline.stages.evaluate import Evaluated, Evaluator
from stillroom.pipeline.stages.filter import Asked, Distilled, Outcomes, distil
from stillroom.pipeline.stages.forgetting import check_forgetting
from stillroom.pipeline.stages.labelled import label_traces, learned_from
from stillroom.pipeline.stages.labels import LabelReport
from stillroom.pipeline.stages.plots import figures_of
from stillroom.pipeline.stages.sample import Answers, Elsewhere, open_sampler, tell_grades, tell_recording
from stillroom.pipeline.stages.train import STUDENT, gate_of, lint_traces, model_in, require, student_to_lint, train
from stillroom.pipeline.stages.verify import hold_verifier_to_its_gate
from stillroom.report.evaluation_table import eval_table
from stillroom.sampling.ledger import Ledger
from stillroom.sampling.policy import ONCE
from stillroom.sampling.teachers.base import Teacher, identity_of
from stillroom.sampling.teachers.recorded import RecordedTeacher
from stillroom.students.lint.report import LintReport
from stillroom.traces.earlier import check_earlier
from stillroom.traces.filters import Screen, admits_of
from stillroom.traces.rows import DATA_FILE
from stillroom.traces.tasks import TaskSet, load_tasks


@dataclass(frozen=True, slots=True)
class RunResult(FlowResult, HasRows):
    """What a run came to. `evaluation` and `agreement` are None where the recipe asks for none, `labels` where its
    scorer is not `label`."""

    folder: Path
    tasks: int
    attempts: int
    accepted: int
    rows: int
    evaluation: Evaluation | None = field(default=None, repr=False)
    agreement: Agreement | None = field(default=None, repr=False)
    labels: LabelReport | None = field(default=None, repr=False)

    def show(self, console: Terminal | None = None) -> None:
        console = console or terminal()
        if self.agreement is not None:
            self.agreement.show(console)
        if self.labels is not None:
            self.labels.show(console)
        if self.evaluation is not None:
            console.print(eval_table(self.evaluation))
        rows = f"{self.rows:,} rows in {self.folder / 'sft'}"
        console.print(f"{rows}; everything else in {self.folder}", soft_wrap=True)

    def figures(self) -> dict[str, Any]:
        return figures_of(self.evaluation)

    def _rows(self) -> Path:
        return self.folder / "sft" / DATA_FILE


@dataclass(frozen=True, slots=True)
class FinishedRun:
    """A run that is done, and what the next runs of a loop or a chain read of it. Its outcomes are read from its
    ledger, which is open as long as its context is. `evaluated`: None where the recipe asks for no evaluation."""

    context: RunContext
    recipe: Recipe
    tasks: TaskSet
    distilled: Distilled
    result: RunResult
    evaluated: Evaluated | None = None

    @property
    def folder(self) -> Path:
        """Its folder."""
        return self.context.folder.path

    @property
    def model(self) -> str:
        """The student that it trained, as a model's name. The path is absolute: other runs name it."""
        return model_in((self.folder / STUDENT).resolve())

    def answers(self, who: str) -> dict[str, ScoredAttempt]:
        """One greedy answer to each held-out task, of one that the evaluation measured."""
        return {} if self.evaluated is None else self.evaluated.answers.get(who, {})


@flows.register(name="traces")
class Traces(Flow[Recipe]):
    """Recipes of traces."""

    def run(self, loaded: Loaded[Recipe], folder: RunFolder, display: Display) -> RunResult:
        with self._opened(loaded, folder, display) as context:
            return run_traces(context, loaded).result

    def pilot(self, loaded: Loaded[Recipe], folder: RunFolder, display: Display, count: int) -> PilotResult:
        with self._opened(loaded, folder, display) as context:
            return pilot_traces(context, loaded, count)

    def plan(self, loaded: Loaded[Recipe], ledger: Ledger, facts: dict[str, Any]) -> Planned:
        return Planned(plan(loaded, ledger, (facts.get("teacher") or {}).get("identity")))

    def tasks(self, loaded: Loaded[Recipe]) -> TaskSet:
        return load_tasks(loaded.recipe.tasks, base=loaded.base, seed=loaded.recipe.seed)

    def lint(self, loaded: Loaded[Recipe], folder: Path) -> LintReport:
        recipe, rows = loaded.recipe, learned_from(loaded.recipe.student, folder)
        student = student_to_lint(recipe.student, loaded, rows)
        return lint_traces(recipe, student, self.tasks(loaded), rows)

    def _opened(
        self, loaded: Loaded[Recipe], folder: RunFolder, display: Display
    ) -> AbstractContextManager[RunContext]:
        if (folder.path / "rounds").is_dir():
            raise RunFolderError(f"{folder.path} is the folder of a loop: give another folder with --out")
        return opened(folder, loaded, display)


def run_traces(context: RunContext, loaded: Loaded[Recipe], *, given: TaskSet | None = None) -> FinishedRun:
    """All stages of a recipe of traces. `given`: tasks in the place of those that the recipe names.

    Raises InputError before anything is paid for, RunError after.
    """
    recipe, base, folder = loaded.recipe, loaded.base, context.folder
    require(recipe.student, base, recipe.seed)
    teacher = recipe.teacher.make(base)
    earlier = [base / at_home(path) for path in recipe.earlier]
    for each in earlier:
        check_earlier(each)
    tasks = given or load_tasks(recipe.tasks, base=base, seed=recipe.seed)
    _report_tasks(context, tasks)
    Screen(recipe.filters, test=tasks.held_out, base=base)  # refuses what it cannot work with, before paying
    if recipe.evaluate is not None and recipe.evaluate.retention is not None:
        check_forgetting(recipe.evaluate.retention, base=base, seed=recipe.seed)
    named = {"identity": teacher.identity, "licence": recipe.teacher.licence}
    folder.begin(loaded, tasks, teacher=named, finished=None)

    hold_verifier_to_its_gate(context, recipe)
    sampled = asyncio.run(_sample(context, recipe, tasks, teacher))
    distilled = _distil(context, recipe, tasks, sampled.outcomes, teacher.identity, earlier)
    evaluated = None
    if (student := recipe.student) is not None:
        rows = distilled.rows_for(student)
        lint = partial(lint_traces, recipe, student, tasks, rows)
        gate = gate_of(context, recipe, student, tasks)
        model = train(context, student, rows, folder.path / STUDENT, STUDENT, lint=lint, gate=gate)
        if recipe.evaluate is not None:
            evaluator = Evaluator(context, recipe, student, recipe.evaluate)
            evaluated = evaluator.evaluate(tasks, distilled, model, teacher=sampled.held_out)
    folder.note(finished=now(), rows=distilled.written)
    result = RunResult(
        folder=folder.path,
        tasks=len(tasks.train),
        attempts=sampled.outcomes.attempts,
        accepted=distilled.kept,
        rows=distilled.written,
        evaluation=None if evaluated is None else evaluated.evaluation,
        agreement=sampled.agreement,
        labels=distilled.labels,
    )
    return FinishedRun(context, recipe, tasks, distilled, result, evaluated)


def pilot_traces(context: RunContext, loaded: Loaded[Recipe], count: int) -> PilotResult:
    """Samples `count` tasks, chosen at random, and forecasts the whole run, whose ledger holds what it samples."""
    recipe = loaded.recipe
    tasks = load_tasks(recipe.tasks, base=loaded.base, seed=recipe.seed)
    _report_tasks(context, tasks)
    chosen = choose(tasks.train, count, recipe.seed)
    named = {"identity": identity_of(recipe.teacher, loaded.base), "licence": recipe.teacher.licence}
    context.folder.begin(loaded, tasks, teacher=named)
    hold_verifier_to_its_gate(context, recipe)

    async def sampled() -> list[Outcome]:
        scorer, admits = recipe.scorer.make(context.place()), admits_of(recipe.filters, context.base)
        async with open_sampler(context, recipe.teacher, scorer, who="teacher") as sampler:
            return (await sampler.answer(chosen, recipe.keep, label="pilot", ahead=False, admits=admits)).outcomes

    slots, total = recipe.teacher.concurrency, len(tasks.train)
    return forecast(context.folder.path, asyncio.run(sampled()), total, slots, recipe.prices, recipe.seed)


def _report_tasks(context: RunContext, tasks: TaskSet) -> None:
    reasons = Counter(left.reason.value for left in tasks.left_out)
    left_out = "".join(f", {n:,} left out ({reason})" for reason, n in reasons.items())
    validation = f", {n:,} for validation" if (n := len(tasks.validation)) else ""
    held_out = f"{len(tasks.test):,} held out{validation}"
    context.display.line("tasks", f"{len(tasks.train):,} to learn from, {held_out}{left_out}")
    for note in tasks.notes:
        context.display.note(note)


class _Sampled(NamedTuple):
    """`held_out`: the teacher's answers to the held-out tasks; None where it is not a baseline."""

    outcomes: Outcomes
    held_out: Answers | None
    agreement: Agreement | None


async def _sample(context: RunContext, recipe: Recipe, tasks: TaskSet, teacher: Teacher) -> _Sampled:
    """Samples the tasks to learn from, and with the same open teacher the held-out ones."""
    held_out = agreement = None
    display = context.display
    outcomes = Outcomes(context.ledger, tasks.train, Asked.of(recipe, teacher.identity, context.base))
    scorer, admits = recipe.scorer.make(context.place()), admits_of(recipe.filters, context.base)
    tell_recording(context, teacher, tasks.train, "teacher")
    tell_grades(context, scorer, tasks.train)
    elsewhere = Elsewhere(recipe.scorer, partial(admits_of, recipe.filters, context.base.resolve()))
    async with open_sampler(
        context, recipe.teacher, scorer, who="teacher", teacher=teacher, elsewhere=elsewhere
    ) as sampler:
        keep, take = recipe.keep, outcomes.add
        counts = (await sampler.answer(tasks.train, keep, label="sampling", admits=admits, take=take)).counts
        display.line("sampled", sampled_in_words(counts, replayed=recipe.teacher.replays))
        if recipe.prices is not None:
            display.note(f"{money(recipe.prices.usd(counts))} for the teacher's tokens")
        if recipe.keep.per_task is not None and counts.kept:
            kept, accepted = counts.kept_tokens / counts.kept, counts.accepted_tokens / counts.accepted
            order = "draw order" if recipe.keep.order == "draw" else "order of arrival"
            display.note(f"kept traces have {kept:,.0f} tokens on average, all accepted {accepted:,.0f} ({order})")
        stops = outcomes.stops
        display.note(", ".join(f"{n:,} tasks {name.replace('_', ' ')}" for name, n in stops.items() if n))
        if counts.last_failure:
            display.note(f"last failure: {counts.last_failure}")
        context.folder.note(sampling={**counts.as_dict(), "stops": stops, "seconds": round(counts.elapsed_s, 1)})
        if recipe.evaluate is not None and "teacher" in recipe.evaluate.baselines:
            measuring = replace(sampler, scorer=recipe.measuring.make(context.place()), elsewhere=None)
            held_out = await measuring.answer(tasks.test, ONCE, recipe.greedy, label="teacher")
            await measuring.scorer.close()
        own = recipe.scorer.kind == "recorded"  # grades that are the verdicts agree with them
        if recipe.teacher.has_grades and isinstance(teacher, RecordedTeacher) and not own:
            agreement = compare(outcomes, teacher, recipe.teacher.teacher_prompt, context.folder)
    return _Sampled(outcomes, held_out, agreement)


def _distil(
    context: RunContext,
    recipe: Recipe,
    tasks: TaskSet,
    outcomes: Outcomes,
    teacher: str,
    earlier: Sequence[Path],
) -> Distilled:
    """The rows to learn from. Raises NothingLeft or TeacherDown where no attempt was accepted."""
    if not outcomes.attempts:
        raise TeacherDown(
            f"the teacher answered none of {len(outcomes):,} tasks ({outcomes.failed:,} requests failed): look at "
            "the last failure above, and check that the recording or the server holds these tasks"
        )
    scored = (scored for outcome in outcomes for scored in outcome.attempts)
    if not any(each.verdict.state is State.ACCEPTED for each in scored):
        reasons = Counter(each.verdict.reason for outcome in outcomes for each in outcome.attempts)
        found = ", ".join(f"{reason} {n:,}" for reason, n in reasons.most_common())
        raise NothingLeft(
            f"none of {outcomes.attempts:,} attempts was accepted ({found}): look at some with `stillroom attempts`, "
            "then correct the teacher's prompt, tasks.reference or teacher.sampling.max_tokens"
        )
    folder, display = context.folder, context.display
    folder.tell_lost("rows", display)
    distilled = distil(recipe, tasks, outcomes, folder, teacher, earlier, context.base)
    folder.mark("rows", WRITTEN, distilled.folder)
    dropped = ", ".join(f"{c.name} {c.dropped:,}" for c in distilled.counts if c.dropped) or "nothing"
    kept, written = f"{distilled.kept:,} traces kept", f"{distilled.written:,} rows written"
    display.line("filtered", f"{kept}, {written} (dropped: {dropped})")
    if distilled.said_before:
        display.note(f"{distilled.said_before:,} rows say what others do, and are learned from once")
    return label_traces(context, recipe, tasks, distilled)
