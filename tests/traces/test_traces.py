"""Traces of finished tasks: in the order of tasks and draws, whatever the order of arrival."""

from __future__ import annotations

import random

import pytest

from stillroom.sampling.records import Attempt, Outcome, ScoredAttempt, State, StopReason, Task, Verdict, user
from stillroom.traces.traces import Trace, Which, traces_of

TASKS = [Task(name, user(name), "1", name) for name in "abc"]


def outcome(task: Task) -> Outcome:
    states = [State.REJECTED, State.ACCEPTED, State.UNSCORED, State.ACCEPTED, State.ACCEPTED]
    attempts = [
        ScoredAttempt(Attempt(task.id, n, f"{task.id}{n}", None, "stop", 1, 1, None, 0.1, "m"), Verdict(state, "r"))
        for n, state in enumerate(states)
    ]
    random.Random(1).shuffle(attempts)
    return Outcome(task, tuple(attempts), (1, 3), StopReason.SATISFIED)


@pytest.mark.parametrize(("which", "indexes"), [("kept", [1, 3]), ("accepted", [1, 3, 4]), ("all", [0, 1, 2, 3, 4])])
def test_traces_come_by_task_then_by_draw(which: Which, indexes: list[int]) -> None:
    arrived = [outcome(TASKS[n]) for n in (2, 0, 1)]
    found = [trace.attempt.text for trace in traces_of(arrived, order=TASKS, which=which)]
    assert found == [f"{name}{index}" for name in "abc" for index in indexes]


def test_tasks_not_asked_for_or_not_finished_are_left_out() -> None:
    assert {trace.task.id for trace in traces_of([outcome(TASKS[0]), outcome(TASKS[1])], order=TASKS[1:])} == {"b"}


def test_full_text_has_thinking_and_answer_without_tags() -> None:
    scored = outcome(TASKS[0]).attempts[0]
    attempt = Attempt("a", 0, "<think>why</think>18", None, "stop", 1, 1, None, 0.1, "m")
    trace = Trace(TASKS[0], attempt, scored.verdict)
    assert (trace.full_text, trace.reasoning, trace.answer) == ("why\n\n18", "why", "18")
