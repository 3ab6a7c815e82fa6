"""A trace: an attempt with its task and verdict, on its way to becoming an SFT row.

What is thought and what is answered are told apart here once, whether the teacher kept them apart or left its marks
in the text, so that no filter and no row sees a thinking part twice, or the marks of a teacher's chat template.

    for trace in traces_in(outcome):      # the attempts of one task, in the order of its draws
        trace.reasoning, trace.answer
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from stillroom.common.marks import Split, opened_by_template, split_thinking, without_template_marks
from stillroom.common.records import Attempt, Outcome, Task, Verdict


@dataclass(frozen=True, slots=True)
class Trace:
    """One attempt with its task and its verdict."""

    task: Task
    attempt: Attempt
    verdict: Verdict

    @property
    def reasoning(self) -> str | None:
        """The thinking part without its tags, or None."""
        return parts(self.attempt).reasoning

    @property
    def answer(self) -> str:
        """What follows the thinking part: the whole text where there is none."""
        return parts(self.attempt).text

    @property
    def full_text(self) -> str:
        """Thinking and answer as one text, without tags."""
        reasoning, answer = parts(self.attempt)
        return answer if reasoning is None else f"{reasoning}\n\n{answer}"


def parts(attempt: Attempt) -> Split:
    """Tells thinking from answer.

    >>> from stillroom.common.records import Attempt
    >>> parts(Attempt("t", 0, "<think>2 and 2</think>4", None, "stop", 1, 9, None, 0.1, "m"))
    Split(reasoning='2 and 2', text='4')
    """
    reasoning, text = split_thinking(attempt.text, opened=opened_by_template(attempt.text))
    kept_apart = (attempt.reasoning or "").strip()
    both = [part for part in dict.fromkeys((kept_apart, reasoning or "")) if part]
    return Split("\n\n".join(both) or None, without_template_marks(text).strip())


def traces_in(outcome: Outcome) -> Iterator[Trace]:
    """The traces of one finished task in the order of its draws, never in the order of arrival."""
    for scored in sorted(outcome.attempts, key=lambda scored: scored.attempt.index):
        yield Trace(outcome.task, scored.attempt, scored.verdict)
