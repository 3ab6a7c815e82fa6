"""What the student forgot: a task that was not trained, answered before and after, checked like any answer.

Reported with the gain, never apart from it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from stillroom.recipes.preference_writing import AFTER, BEFORE, Measured, answers_of
from stillroom.recipes.sampling_stage import run_async
from stillroom.sampling.policy import Fixed
from stillroom.sampling.records import SamplingParams, State, Task
from stillroom.sampling.statistics import wilson
from stillroom.students.evaluate.measure import compare_right
from stillroom.students.evaluate.results import Result
from stillroom.traces.answers import AnswerScorer
from stillroom.traces.tasks import load_tasks

if TYPE_CHECKING:
    from stillroom.recipes.preference_runner import PreferenceRun


def forgotten(run: PreferenceRun, models: Mapping[str, str]) -> Measured:
    """Accuracy on tasks that were not trained, before and after, and their paired difference."""
    assert run.recipe.evaluate is not None
    wanted = run.recipe.evaluate.forgotten
    if wanted is None:
        return Measured([], [], ["what was forgotten is not measured: see evaluate.forgotten"])
    tasks = load_tasks(wanted.tasks, base=run.loaded.base, seed=run.recipe.seed).test
    right = {
        who: run_async(_right(run, tasks, f"other {who.removeprefix('student_')}", model, wanted.max_tokens))
        for who, model in models.items()
    }
    results = [
        Result(who=who, metric="untrained_accuracy", **wilson(sum(found.values()), len(found))._asdict())
        for who, found in right.items()
        if found
    ]
    comparison = compare_right(AFTER, right[AFTER], BEFORE, right[BEFORE])
    return Measured(results, [comparison] if comparison is not None else [], [])


async def _right(
    run: PreferenceRun, tasks: Sequence[Task], label: str, model: str, max_tokens: int
) -> dict[str, bool]:
    """Whether the greedy answer to each task is right; what cannot be read is not."""
    scorer, right = AnswerScorer(), dict[str, bool]()
    sampling = SamplingParams(temperature=0, max_tokens=max_tokens)
    once = Fixed(policy="fixed", attempts=1)
    answers = await answers_of(run, tasks, label, model, once, sampling)
    by_id = {task.id: task for task in tasks}
    try:
        for (task_id, _), attempt in answers.items():
            verdict = await scorer.score(by_id[task_id], attempt)
            right[task_id] = verdict.state is State.ACCEPTED
    finally:
        await scorer.close()
    return right
