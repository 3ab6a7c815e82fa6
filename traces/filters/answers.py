r"""`one_final_answer` and `not_answer_only`: what a trace states, and whether there is anything beside it.

    filters: [one_final_answer, {not_answer_only: 5}]
    filters: [{one_final_answer: {markers: ["Result:"]}}]

Only what follows the thinking part is searched for answers: thinking may well try several.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from stillroom.common.text import excerpt, is_sign, tokens
from stillroom.traces.answers.extract import find_answer
from stillroom.traces.filters.base import Finding, Stateless, filters
from stillroom.traces.filters.final_answers import different, statements
from stillroom.traces.trace import Trace


@filters.register
class OneFinalAnswer(Stateless):
    """Exactly one final answer; stated again in other words is still one.

    Reasons: no_answer, several_answers (two that differ: the student would learn to hedge). Without any marker, a
    text counts as one answer where the answer checker reads one from it.
    """

    name: Literal["one_final_answer"] = "one_final_answer"
    short: ClassVar[str | None] = "markers"
    markers: tuple[str, ...] = ()
    """Further words that announce a final answer."""

    def check(self, trace: Trace) -> Finding | None:
        answer = trace.answer
        values = different([found.value for found in statements(answer, self.markers)])
        if len(values) > 1:
            return Finding("several_answers", " | ".join(excerpt(value, 40) for value in values[:5]))
        if not values and find_answer(answer) is None:
            return Finding("no_answer", f"ends with: {excerpt(answer.rstrip()[-80:])}")
        return None


@filters.register
class NotAnswerOnly(Stateless):
    """Drops traces that are little more than the answer. Reason: answer_only."""

    name: Literal["not_answer_only"] = "not_answer_only"
    short: ClassVar[str | None] = "min_words"
    min_words: int = Field(default=5, ge=1)
    """Words and numbers required besides the final answer, thinking included."""

    def check(self, trace: Trace) -> Finding | None:
        words = _count(trace.reasoning or "") + _count(_without_statements(trace.answer))
        if words >= self.min_words:
            return None
        return Finding("answer_only", f"{words} words beside the answer, the least is {self.min_words}")


def _count(text: str) -> int:
    return sum(not is_sign(token) for token in tokens(text))


def _without_statements(text: str) -> str:
    """The text with its final answers cut out; nothing is left of a text that is all answer."""
    found = statements(text)
    if not found and find_answer(text) == text.strip().rstrip("."):
        return ""
    kept, position = [], 0
    for statement in found:
        kept.append(text[position : statement.start])
        position = max(position, statement.end)
    return " ".join([*kept, text[position:]])
