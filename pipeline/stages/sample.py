"""Asks models: the one way in which a run puts tasks to a teacher or a student, through the core and its ledger.

    answer(context, tasks.test, as_teacher(model, student, 64), scorer, once, greedy, label="after", paid=False)

    async with open_sampler(context, recipe.teacher, scorer, who="teacher") as sampler:      # for more than one round
        await sampler.answer(tasks.train, recipe.keep, label="sampling", take=outcomes.add)

The first Ctrl-C stops drawing: what is in flight is answered and kept. The second ends at once; what was answered is
kept all the same.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import signal
import threading
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from stillroom.common.files import replaced, storable
from stillroom.common.records import Outcome, SamplingParams, ScoredAttempt, Task
from stillroom.common.run_async import stopped_by
from stillroom.errors import Interrupted
from stillroom.pipeline.run.call import told
from stillroom.pipeline.run.folder import RunContext, RunFolder
from stillroom.pipeline.run.progress import ODD, UNCOUNTED, UNKNOWN_END, Display, strays_in_words
from stillroom.sampling.core import Core
from stillroom.sampling.counts import Counts
from stillroom.sampling.draws import Admits
from stillroom.sampling.limits import Meter
from stillroom.sampling.plugins import trusted
from stillroom.sampling.policy import Policy
from stillroom.sampling.scorers.base import Scorer, ScorerSettings
from stillroom.sampling.scorers.recorded import RecordedScorer
from stillroom.sampling.shards.core import ShardedCore
from stillroom.sampling.shards.plan import Job, Shards
from stillroom.sampling.teachers.base import Teacher, TeacherSettings, dtype_of
from stillroom.sampling.teachers.recorded import RecordedTeacher
from stillroom.sampling.teachers.transformers import TransformersSettings
from stillroom.students.methods.registry import StudentSettings

PRICES_OF_BATCHES = (
    "batches are counted at the prices of the recipe as they stand (${:g} and ${:g} for a million tokens): many "
    "servers bill batches lower, OpenAI at half, so write what a batch costs into prices"
)


class Answers(NamedTuple):
    """Outcomes in the order of the tasks, and what they took."""

    outcomes: list[Outcome]
    counts: Counts

    @property
    def first(self) -> dict[str, ScoredAttempt]:
        """The first attempt at each task that has one, by task id."""
        return {o.task.id: o.attempts[0] for o in self.outcomes if o.attempts}


def write_answers(folder: RunFolder, who: str, outcomes: Iterable[Outcome]) -> None:
    """`answers/<who>.jsonl`: what a model answered to each held-out task, with the gold answer and the verdict."""
    with replaced(folder.path / "answers" / f"{who}.jsonl") as file:
        for outcome in outcomes:
            for scored in outcome.attempts:
                attempt, verdict = scored.attempt, scored.verdict
                line = {
                    "who": who,
                    "task_id": outcome.task.id,
                    "index": attempt.index,
                    "question": outcome.task.messages[-1].content,
                    "gold": outcome.task.reference,
                    "answer": attempt.text,
                    "reasoning": attempt.reasoning,
                    "verdict": verdict.state.value,
                    "reason": verdict.reason,
                    "detail": verdict.detail,
                    "finish_reason": attempt.finish_reason,
                    "completion_tokens": attempt.completion_tokens,
                }
                file.write(storable(json.dumps(line, ensure_ascii=False)).encode() + b"\n")


class Elsewhere(NamedTuple):
    """What makes scorer and filters again in other processes, where the run has shards."""

    scorer: ScorerSettings
    admits: Callable[[], Admits] | None = None


@dataclass(frozen=True, slots=True)
class Sampler:
    """A teacher and a scorer, open on a run's ledger (see `open_sampler`). `paid`: what it is asked counts towards
    the run's limits; a local student costs nothing. `elsewhere`: None: in this process alone."""

    context: RunContext
    settings: TeacherSettings
    teacher: Teacher
    scorer: Scorer
    paid: bool
    elsewhere: Elsewhere | None = None

    async def answer(
        self,
        tasks: Sequence[Task],
        policy: Policy,
        sampling: SamplingParams | None = None,
        *,
        label: str,
        ahead: bool = True,
        admits: Admits | None = None,
        take: Callable[[int, Outcome], object] | None = None,
    ) -> Answers:
        """All outcomes. `take`: gets each as it comes, with the place of its task in `tasks`, and none is held.

        `sampling`: None for the teacher's own. `label`: in the display's margin. `ahead`, `admits`: as in the core.
        Raises what Core.run raises, Interrupted after Ctrl-C.
        """
        found: dict[int, Outcome] = {}
        ahead, sampling = ahead and getattr(self.settings, "draws_ahead", True), sampling or self.settings.sampling

        def in_this_process(meter: Meter | None) -> Core:
            return Core(
                self.teacher,
                self.scorer,
                policy,
                self.context.ledger,
                sampling=sampling,
                seed=self.context.seed,
                prompt=self.settings.teacher_prompt,
                retry=self.settings.retry,
                meter=meter,
                prices=None if meter is None else self.context.prices,
                ahead=ahead,
                admits=admits,
                again=self.context.again,
            )

        core: Core | ShardedCore
        if self.context.shards is None or self.elsewhere is None or self.settings.replays:
            core = in_this_process(self.context.meter if self.paid else None)
        else:
            job = self._job(self.elsewhere, policy, sampling, ahead, admits=admits is not None)
            core = self._sharded(self.context.shards, job, lambda: in_this_process(None))
        if self.context.again is not None and ((failures := core.failures(tasks)) or self.paid):
            self.context.display.note(told(failures, f"({label})"))
        await run_core(core, tasks, label, self.context.display, take or found.__setitem__, self.context.meter)
        return Answers([] if take else [found[place] for place in range(len(tasks))], core.counts)

    def _job(
        self, elsewhere: Elsewhere, policy: Policy, sampling: SamplingParams, ahead: bool | int, *, admits: bool
    ) -> Job:
        context = self.context
        return Job(
            self.settings,
            elsewhere.scorer,
            policy,
            sampling,
            context.seed,
            context.base.resolve(),
            context.prices,
            ahead,
            elsewhere.admits if admits else None,
            trusted(),
            context.again is not None,
        )

    def _sharded(self, shards: Shards, job: Job, over: Callable[[], Core]) -> ShardedCore:
        context, identity = self.context, self.teacher.identity
        tell = context.display.note
        return ShardedCore(shards, job, context.ledger, over, identity=identity, meter=context.meter, tell=tell)


@contextlib.asynccontextmanager
async def open_sampler(
    context: RunContext,
    settings: TeacherSettings,
    scorer: Scorer,
    *,
    who: str,
    paid: bool = True,
    teacher: Teacher | None = None,
    elsewhere: Elsewhere | None = None,
) -> AsyncIterator[Sampler]:
    """Closes teacher and scorer at the end, and notes what the model computed in under `who` in `run.json`.

    `teacher`: one that `settings` made before, None to make it here. `elsewhere`: see Sampler. Raises what
    `TeacherBase.make` raises.
    """
    teacher = teacher or settings.make(context.base)
    if (named := settings.sampling.thinking) and (found := context.ledger.name_marks(teacher.identity, named)):
        context.display.note(
            f"{found:,} answers on record think in {named.open} {named.close}: they are scored again"
        )
    if settings.gathers and paid and (prices := context.prices) is not None:
        context.display.note_once(PRICES_OF_BATCHES.format(prices.prompt, prices.completion))
    try:
        yield Sampler(context, settings, teacher, scorer, paid, elsewhere)
    finally:
        context.folder.note_dtype(who, dtype_of(teacher))
        await teacher.close()
        await scorer.close()


def tell_recording(context: RunContext, teacher: Teacher, tasks: Sequence[Task], who: str) -> None:
    """Of a recording: says how much of it belongs to the tasks, and notes it under `recording` in `run.json`. Raises
    InputError where nothing does."""
    if not isinstance(teacher, RecordedTeacher):
        return
    context.display.note(teacher.matched(tasks) if who == "teacher" else f"{who}: {teacher.matched(tasks)}")
    context.folder.note(recording={**(context.folder["recording"] or {}), who: teacher.counts(tasks)})
    teacher.check_matched(tasks)


def tell_grades(context: RunContext, scorer: Scorer, tasks: Sequence[Task]) -> None:
    """Of a scorer that takes recorded grades: says what they are, and notes it under `grades` in `run.json`."""
    if isinstance(scorer, RecordedScorer):
        context.display.note(scorer.matched(tasks))
        context.folder.note(grades=scorer.counts(tasks))


def answer(
    context: RunContext,
    tasks: Sequence[Task],
    teacher: TeacherSettings,
    scorer: Scorer,
    policy: Policy,
    sampling: SamplingParams,
    *,
    label: str,
    paid: bool = True,
) -> Answers:
    """Asks one model about all tasks, through the ledger: nothing that is on record is asked again.

    Closes the scorer. Raises what `TeacherBase.make` and Core.run raise, Interrupted after Ctrl-C.
    """

    async def asked() -> Answers:
        async with open_sampler(context, teacher, scorer, who=label, paid=paid) as sampler:
            return await sampler.answer(tasks, policy, sampling, label=label)

    return asyncio.run(asked())


def as_teacher(model: str, student: StudentSettings, concurrency: int) -> TransformersSettings:
    """A local student as the model that answers, under its own system prompt."""
    return TransformersSettings(
        kind="transformers", model=model, concurrency=concurrency, dtype=student.dtype, system=student.system
    )


async def run_core(
    core: Core | ShardedCore,
    tasks: Sequence[Task],
    label: str,
    display: Display,
    take: Callable[[int, Outcome], object],
    meter: Meter | None = None,
) -> None:
    """Runs the core with progress and Ctrl-C; hands each outcome to `take` with the place of its task. `meter`: what
    else asks meanwhile, a scorer that judges."""
    places: dict[str, int] = {}  # of the tasks that are open in the core
    core.counts.tasks_total = len(tasks)

    def opened() -> Iterator[Task]:
        for place, task in enumerate(tasks):
            places[task.id] = place
            yield task

    with display.sampling(label, core.counts, meter), _ctrl_c(core, display):
        try:
            await core.run(opened(), lambda outcome: take(places.pop(outcome.task.id), outcome))
        except asyncio.CancelledError:
            raise Interrupted("stopped at once; everything answered is kept: run the same command to go on") from None
        finally:
            if core.counts.estimated:
                display.note_once(UNCOUNTED)
            if core.counts.odd:
                display.note_once(ODD)
            if core.counts.unknown_ends:
                display.note_once(UNKNOWN_END.format(core.counts.unknown_end))
            if core.counts.stray_lines:
                display.note_once(strays_in_words(core.counts))


@contextlib.contextmanager
def _ctrl_c(core: Core | ShardedCore, display: Display) -> Iterator[None]:
    loop, current = asyncio.get_running_loop(), asyncio.current_task()
    pressed = 0

    def on_signal() -> None:
        nonlocal pressed
        pressed += 1
        if pressed == 1:
            waiting = core.in_flight
            core.stop_drawing()
            if core.leaves:
                display.note("stopping: batches go on without us; run the same command again to fetch their answers")
                return
            display.note(f"stopping: waiting for {waiting} requests in flight (Ctrl-C again to stop at once)")
        elif current is not None:
            current.cancel()

    if threading.current_thread() is not threading.main_thread():
        with stopped_by(functools.partial(loop.call_soon_threadsafe, on_signal)):
            yield
        return
    try:
        loop.add_signal_handler(signal.SIGINT, on_signal)
    except NotImplementedError:  # Windows: Ctrl-C stays a KeyboardInterrupt; the ledger holds what was answered
        yield
        return
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGINT)
