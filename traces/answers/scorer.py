"""The answer checker as a scorer of the sampling core.

Reads the answer text only, never the reasoning: a right number among the thoughts is not a right answer. It also
looks at what the task asks: a formula that only repeats it is not an answer. An attempt that was cut off by its
length limit is unscored, whatever its last number happens to be.

    scorer = AnswerScorer(AnswerChecker(timeout_s=2))
    verdict = await scorer.score(task, attempt)
"""

from __future__ import annotations

from stillroom.common.records import Attempt, Task, Verdict
from stillroom.traces.answers.checker import AnswerChecker
from stillroom.traces.answers.records import Reason, verdict
from stillroom.traces.trace import asked


class AnswerScorer:
    """Scores attempts against the task's reference. Closing it closes its checker."""

    def __init__(self, checker: AnswerChecker | None = None) -> None:
        self.checker = checker or AnswerChecker()

    @property
    def identity(self) -> str:
        return self.checker.identity

    @property
    def accidents(self) -> frozenset[str]:
        """The time ran out, the worker was killed, or it met a limit of its memory: another try may end well."""
        return frozenset({Reason.TIMEOUT, Reason.OVER_LIMIT})

    async def score(self, task: Task, attempt: Attempt) -> Verdict:
        if task.reference is None:
            return verdict(Reason.UNPARSED_GOLD, "the task has no reference")
        if attempt.finish_reason == "length":
            return verdict(Reason.TRUNCATED, "cut off by its length limit")
        if attempt.finish_reason == "content_filter":
            return verdict(Reason.NO_ANSWER, "withheld by the server's content filter")
        if not attempt.text.strip():
            return verdict(Reason.NO_ANSWER, "the text is empty")
        return await self.checker.acheck(task.reference, attempt.text, asked(task.messages))

    async def close(self) -> None:
        self.checker.close()
