"""The held-out tasks, answered by students and by the teacher: once and greedily, or several times.

    of_student(run, tasks.test, "after", model, once(run))       # a local model, under the student's own prompt
    of_teacher(run, tasks.test, several(run, settings))          # as it was asked for traces; paid for

Everything is in the ledger, so nothing is asked twice and a killed evaluation goes on. Local students cost nothing;
what the teacher is asked counts towards the run's limits.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from stillroom.recipes.display import duration
from stillroom.recipes.evaluation_schema import SampleSettings
from stillroom.recipes.sampling_stage import run_async, sample
from stillroom.sampling.counts import Counts
from stillroom.sampling.policy import Fixed, Policy, Tally, Until
from stillroom.sampling.prompt import Prompt
from stillroom.sampling.records import Outcome, SamplingParams, StopReason, Task
from stillroom.sampling.teachers.base import dtype_of
from stillroom.sampling.teachers.factory import make_teacher

if TYPE_CHECKING:
    from stillroom.recipes.runner import Run


class EveryDraw(Fixed):
    """So many draws of each task, whatever comes out of them: what cannot be scored is not drawn anew, which would
    make their number depend on how they came out, and every measure over them wrong."""

    def stop(self, tally: Tally) -> StopReason | None:
        """When all are drawn."""
        if tally.spent + tally.unscored < self.attempts:
            return None
        return StopReason.SATISFIED if tally.accepted else StopReason.EXHAUSTED

    def needed(self, tally: Tally) -> int:
        """All that are left."""
        return max(0, self.attempts - tally.spent - tally.unscored)


class How(NamedTuple):
    """How tasks are answered."""

    policy: Policy
    sampling: SamplingParams


def once(run: Run) -> How:
    """Greedily: what a user of the model would get."""
    return How(Until(per_task=1, max_attempts=1), run.greedy())


def several(run: Run, settings: SampleSettings) -> How:
    """Drawn at a temperature, within the same limit of tokens."""
    drawn = {"temperature": settings.temperature, "top_p": settings.top_p}
    return How(EveryDraw(policy="fixed", attempts=settings.draws), run.greedy().model_copy(update=drawn))


def of_student(
    run: Run, tasks: Sequence[Task], label: str, model: str, how: How, *, kind: str = "held-out"
) -> list[Outcome]:
    """The answers of a local model, under the student's own prompt. `kind`: of the tasks, for the display."""
    return run_async(_of_student(run, tasks, label, model, how, kind))


def of_teacher(run: Run, tasks: Sequence[Task], how: How) -> list[Outcome]:
    """The answers of the run's teacher, asked with the prompt that it was asked for traces with."""
    return run_async(_of_teacher(run, tasks, how))


async def _of_student(run: Run, tasks: Sequence[Task], label: str, model: str, how: How, kind: str) -> list[Outcome]:
    from stillroom.sampling.teachers.transformers import TransformersTeacher

    assert run.recipe.student is not None
    assert run.recipe.evaluate is not None
    student = TransformersTeacher(model, concurrency=run.recipe.evaluate.concurrency, dtype=run.recipe.student.dtype)
    scorer = run.scorer()
    try:
        prompt = Prompt(system=run.recipe.student.system)
        core = run.core(student, scorer, how.policy, how.sampling, paid=False, prompt=prompt)
        found = await sample(core, tasks, label, run.display)
    finally:
        run.folder.note_dtype(label, dtype_of(student))
        await student.close()
        await scorer.close()
    run.display.line(label, _told(found, core.counts, kind))
    return found


async def _of_teacher(run: Run, tasks: Sequence[Task], how: How) -> list[Outcome]:
    settings = run.recipe.teacher
    teacher, scorer = make_teacher(settings, base=run.loaded.base), run.scorer()
    more: dict[str, Any] = {"prompt": settings.teacher_prompt, "retry": settings.retry}
    try:
        core = run.core(teacher, scorer, how.policy, how.sampling, **more)
        found = await sample(core, tasks, "teacher", run.display)
    finally:
        run.folder.note_dtype("teacher", dtype_of(teacher))
        await teacher.close()
        await scorer.close()
    run.display.line("teacher", _told(found, core.counts))
    return found


def _told(outcomes: Sequence[Outcome], counts: Counts, kind: str = "held-out") -> str:
    answered, attempts = sum(bool(o.attempts) for o in outcomes), sum(len(o.attempts) for o in outcomes)
    what = f"{kind} tasks" if attempts == answered else f"answers to {answered:,} {kind} tasks"
    return f"{counts.accepted:,} of {attempts:,} {what} right, in {duration(counts.elapsed_s)}"
