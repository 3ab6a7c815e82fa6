"""`kind: answer`: the answer checker as the scorer.

    scorer: {kind: answer, timeout_s: 2, policies: {percent: bare}}

It reads the answer text only, never the reasoning: a right number among the thoughts is not a right answer. It also
looks at what the task asks: a formula that only repeats it is not an answer. An attempt that was cut off by its
length limit is unscored, whatever its last number happens to be.
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field

from stillroom.common.records import Attempt, Task, Verdict
from stillroom.sampling.scorers.base import Place, ScorerBase, scorers
from stillroom.traces.answers.checker import AnswerChecker, identity_of
from stillroom.traces.answers.records import Policies, Reason, verdict
from stillroom.traces.trace import asked


class AnswerScorer:
    """Scores attempts against the task's reference. Closing it closes its checker."""

    # The time ran out, the worker was killed, or it met a limit of its memory: another try may end well.
    accidents: frozenset[str] = frozenset({Reason.TIMEOUT, Reason.OVER_LIMIT})

    def __init__(self, checker: AnswerChecker | None = None) -> None:
        self.checker = checker or AnswerChecker()

    @property
    def identity(self) -> str:
        """The checker's: rules, packages and limits."""
        return self.checker.identity

    async def score(self, task: Task, attempt: Attempt) -> Verdict:
        """The verdict on an attempt. Raises CheckerError only, when no worker can be started."""
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
        """Ends the checker's workers. Safe to call twice."""
        self.checker.close()


@scorers.register
class AnswerScorerSettings(ScorerBase):
    """Compares the final answer with the gold answer."""

    needs_reference: ClassVar[bool] = True

    kind: Literal["answer"] = "answer"
    timeout_s: float = Field(default=5.0, gt=0)
    """Time limit of one check, in seconds."""
    memory_mb: int = Field(default=2048, ge=512)
    """Memory of a worker, in MB."""
    workers: int | None = Field(default=None, ge=1)
    """Worker processes; null: one per core, at most four."""
    policies: Policies = Policies()
    """What is decided by convention, such as whether 10% equals 10."""

    def identity(self, base: Path) -> str:
        return identity_of(self.timeout_s, self.memory_mb, self.policies)

    def make(self, place: Place) -> AnswerScorer:
        return AnswerScorer(self.checker())

    def checker(self) -> AnswerChecker:
        """The answer checker with these settings; close it."""
        return AnswerChecker(self.workers, self.timeout_s, self.memory_mb, policies=self.policies)
