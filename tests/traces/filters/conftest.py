"""Traces to filter, made in one line."""

from __future__ import annotations

from typing import Any, Protocol

import pytest

from stillroom.common.records import Attempt, FinishReason, State, Task, Verdict, user
from stillroom.traces.filters import Finding
from stillroom.traces.trace import Trace
from tests.traces.filters.filtering import apply_filters, build_filters


class MakeTrace(Protocol):
    """Makes a trace from its text."""

    def __call__(
        self,
        text: str,
        *,
        reasoning: str | None = None,
        finish: FinishReason = "stop",
        tokens: int = 100,
        task: str = "t",
        prompt: str = "What is 9 times 2?",
        index: int = 0,
    ) -> Trace: ...


class FindIn(Protocol):
    """What one filter of a recipe says of one trace."""

    def __call__(self, spec: Any, trace: Trace, test: list[Task] | None = None) -> Finding | None: ...


@pytest.fixture
def make_trace() -> MakeTrace:
    def make(
        text: str,
        *,
        reasoning: str | None = None,
        finish: FinishReason = "stop",
        tokens: int = 100,
        task: str = "t",
        prompt: str = "What is 9 times 2?",
        index: int = 0,
    ) -> Trace:
        attempt = Attempt(task, index, text, reasoning, finish, 10, tokens, None, 0.1, "teacher")
        return Trace(Task(task, user(prompt), "18", f"p.jsonl:{task}"), attempt, Verdict(State.ACCEPTED, "equal"))

    return make


@pytest.fixture
def find_in() -> FindIn:
    def find(spec: Any, trace: Trace, test: list[Task] | None = None) -> Finding | None:
        rejects = apply_filters([trace], build_filters([spec]), test=test or []).rejects
        return Finding(rejects[0].reason, rejects[0].detail) if rejects else None

    return find
