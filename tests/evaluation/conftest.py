from __future__ import annotations

from collections.abc import Callable, Iterable

import pytest

from stillroom.common.records import Attempt, FinishReason, ScoredAttempt, State, Verdict

Scored = dict[str, ScoredAttempt]


def _scored(
    accepted: Iterable[object] = (),
    rejected: Iterable[object] = (),
    unscored: Iterable[object] = (),
    *,
    finish: FinishReason = "stop",
    tokens: int = 20,
) -> Scored:
    given = {State.ACCEPTED: accepted, State.REJECTED: rejected, State.UNSCORED: unscored}
    return {
        str(task): ScoredAttempt(
            Attempt(str(task), 0, "", None, finish, 10, tokens, None, 0.1, "teacher"), Verdict(state, f"was_{state}")
        )
        for state, tasks in given.items()
        for task in tasks
    }


@pytest.fixture(scope="session")
def scored() -> Callable[..., Scored]:
    """scored(accepted=range(3), rejected=[7]): one attempt a task, by the verdict it got."""
    return _scored
