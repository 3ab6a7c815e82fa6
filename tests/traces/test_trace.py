"""Traces of a finished task: in the order of its draws, whatever the order of arrival."""

from __future__ import annotations

import random

from stillroom.common.records import Attempt, Outcome, ScoredAttempt, State, StopReason, Task, Verdict, user
from stillroom.traces.trace import Trace, traces_in

TASK = Task("a", user("a"), "1", "a")


def outcome(task: Task) -> Outcome:
    states = [State.REJECTED, State.ACCEPTED, State.UNSCORED, State.ACCEPTED, State.ACCEPTED]
    attempts = [
        ScoredAttempt(Attempt(task.id, n, f"{task.id}{n}", None, "stop", 1, 1, None, 0.1, "m"), Verdict(state, "r"))
        for n, state in enumerate(states)
    ]
    random.Random(1).shuffle(attempts)
    return Outcome(task, tuple(attempts), (1, 3), StopReason.SATISFIED)


def test_traces_come_by_draw() -> None:
    assert [trace.attempt.text for trace in traces_in(outcome(TASK))] == [f"a{index}" for index in range(5)]


def test_full_text_has_thinking_and_answer_without_tags() -> None:
    scored = outcome(TASK).attempts[0]
    attempt = Attempt("a", 0, "<think>why</think>18", None, "stop", 1, 1, None, 0.1, "m")
    trace = Trace(TASK, attempt, scored.verdict)
    assert (trace.full_text, trace.reasoning, trace.answer) == ("why\n\n18", "why", "18")
