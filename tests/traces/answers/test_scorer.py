from __future__ import annotations

from dataclasses import replace

import pytest

from stillroom.common.records import Attempt, State, Task, user
from stillroom.sampling.scorers.base import Scorer
from stillroom.traces.answers import AnswerChecker, Reason
from stillroom.traces.scorers.answer import AnswerScorer

TASK = Task("1", user("2 * 9?"), "#### 18", "test")
ATTEMPT = Attempt("1", 0, "It is 18.\nA: 18", None, "stop", 5, 5, None, 0.1, "test")


@pytest.mark.parametrize(
    ("attempt", "state", "reason"),
    [
        (ATTEMPT, State.ACCEPTED, Reason.EQUAL),
        (replace(ATTEMPT, text="A: 19"), State.REJECTED, Reason.DIFFERENT),
        (replace(ATTEMPT, finish_reason="length"), State.UNSCORED, Reason.TRUNCATED),
        (replace(ATTEMPT, finish_reason="content_filter"), State.UNSCORED, Reason.NO_ANSWER),
        (replace(ATTEMPT, text=" \n"), State.UNSCORED, Reason.NO_ANSWER),
        (replace(ATTEMPT, text="", reasoning="A: 18"), State.UNSCORED, Reason.NO_ANSWER),
        (replace(ATTEMPT, text="A: 19", reasoning="A: 18"), State.REJECTED, Reason.DIFFERENT),
        (replace(ATTEMPT, finish_reason="unknown"), State.ACCEPTED, Reason.EQUAL),
    ],
)
async def test_what_an_attempt_gets(checker: AnswerChecker, attempt: Attempt, state: State, reason: Reason) -> None:
    scorer: Scorer = AnswerScorer(checker)
    verdict = await scorer.score(TASK, attempt)
    assert (verdict.state, verdict.reason) == (state, reason)


async def test_a_task_without_a_reference_is_unscored(checker: AnswerChecker) -> None:
    verdict = await AnswerScorer(checker).score(replace(TASK, reference=None), ATTEMPT)
    assert (verdict.state, verdict.reason) == (State.UNSCORED, Reason.UNPARSED_GOLD)


async def test_closing_twice_and_identity() -> None:
    scorer = AnswerScorer(AnswerChecker(timeout_s=1))
    assert scorer.identity == scorer.checker.identity
    await scorer.close()
    await scorer.close()
