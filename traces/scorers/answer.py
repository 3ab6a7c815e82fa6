"""`kind: answer`: the answer checker as the scorer.

    scorer: {kind: answer, timeout_s: 2, policies: {percent: bare}}

It reads the answer text only, never the reasoning: a right number among the thoughts is not a right answer. It also
looks at what the task asks: a formula that only repeats it is not an answer. An attempt that was cut off by its
length limit is unscored, whatever its last number happens to be.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from stillroom.common.records import Attempt, State, Task, Verdict, asked
from stillroom.sampling.scorers.base import Place, Scorer, ScorerBase, scorers
from stillroom.traces.answers.identity import identity_of
from stillroom.traces.answers.records import Policies, Reason, verdict

if TYPE_CHECKING:
    from stillroom.traces.answers.checker import AnswerChecker

OPEN = frozenset({Reason.UNPARSED_GOLD, Reason.UNPARSED_ANSWER, Reason.NEEDS_POLICY})
"""Reasons of what the rules did not understand, as far as no policy left it open."""


class AnswerScorer:
    """Scores attempts against the task's reference. Closing it closes its checker."""

    # The time ran out, the worker was killed, or it met a limit of its memory: another try may end well.
    accidents: frozenset[str] = frozenset({Reason.TIMEOUT, Reason.OVER_LIMIT})

    def __init__(
        self,
        checker: AnswerChecker | None = None,
        fallback: Scorer | None = None,
        settings: AnswerScorerSettings | None = None,
    ) -> None:
        self._given, self._settings, self.fallback = checker, settings or AnswerScorerSettings(), fallback
        self.accidents = self.accidents | getattr(fallback, "accidents", frozenset())

    @property
    def identity(self) -> str:
        """The checker's: rules, packages and limits; and the fallback's."""
        settings = self._settings
        own = (
            identity_of(settings.timeout_s, settings.memory_mb, settings.policies)
            if self._given is None
            else self._given.identity
        )
        return own + ("" if self.fallback is None else f",fallback={self.fallback.identity}")

    def has_failed(self, verdict: Verdict) -> bool:
        """As `sampling.scorers.base.has_failed`. Where the fallback failed, the verdict is that of the rules, and its
        detail names the failure."""
        failures: frozenset[str] = getattr(self.fallback, "failures", frozenset())
        named = verdict.state is State.UNSCORED and any(f"; {reason}: " in verdict.detail for reason in failures)
        return named or verdict.reason in self.accidents | failures

    @cached_property
    def checker(self) -> AnswerChecker:
        """The one that was given, or one with the settings. It is loaded for the first answer: the first requests are
        under way by then."""
        return self._given or self._settings.checker()

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
        ruled = await self.checker.acheck(task.reference, attempt.text, asked(task.messages), task.answer_type)
        from stillroom.traces.answers.extract import find_answer

        # What a policy leaves open was understood, and what has no answer has none that a model could read.
        not_understood = ruled.state is State.UNSCORED and ruled.reason in OPEN and "policy " not in ruled.detail
        if self.fallback is None or not not_understood or not (final := find_answer(attempt.text)):
            return ruled
        second = await self.fallback.score(task, replace(attempt, text=final))
        if second.state is State.UNSCORED and second.reason not in self.accidents:
            detail = f"{ruled.detail}; {second.reason}: {second.detail}"
            return replace(ruled, detail=detail, seconds=(ruled.seconds or 0) + (second.seconds or 0))
        return replace(second, detail=f"{second.detail}; the rules left it open: {ruled.reason}, {ruled.detail}")

    async def close(self) -> None:
        """Ends the checker's workers, and closes the fallback. Safe to call twice."""
        if self._given is not None or "checker" in vars(self):
            self.checker.close()
        if self.fallback is not None:
            await self.fallback.close()


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
    fallback: Annotated[ScorerBase, scorers.field(without={"answer", "recorded"})] | None = None
    """A second opinion, such as a `verifier`, for answers that the rules cannot read; null: they are unscored."""

    @property
    def files(self) -> tuple[str, ...]:
        """The fallback's."""
        return self.fallback.files if self.fallback is not None else ()

    def identity(self, base: Path) -> str:
        own = identity_of(self.timeout_s, self.memory_mb, self.policies)
        return own if self.fallback is None else f"{own},fallback={self.fallback.identity(base)}"

    def make(self, place: Place) -> AnswerScorer:
        return AnswerScorer(None, None if self.fallback is None else self.fallback.make(place), self)

    def checker(self) -> AnswerChecker:
        """The answer checker with these settings; close it."""
        from stillroom.traces.answers.checker import AnswerChecker

        return AnswerChecker(self.workers, self.timeout_s, self.memory_mb, policies=self.policies)
