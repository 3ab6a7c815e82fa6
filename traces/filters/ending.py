"""`finished`: the attempt ended by itself, and so did its thinking.

A cut attempt teaches a student to stop in the middle, or never to stop.

    filters: [finished]
    filters: [{finished: {unknown: keep}}]   # a recording that does not say how its attempts ended
"""

from __future__ import annotations

from typing import Literal

from stillroom.common.text import CLOSE, OPEN, excerpt
from stillroom.traces.filters.base import Finding, Stateless, filters
from stillroom.traces.trace import Trace

_REASONS = {"length": "truncated", "content_filter": "content_filtered", "unknown": "unknown_end"}


@filters.register
class Finished(Stateless):
    """Reasons: truncated, content_filtered, unknown_end, thinking_not_closed, thinking_tag_in_answer, empty."""

    name: Literal["finished"] = "finished"
    unknown: Literal["drop", "keep"] = "drop"
    """What to do where it is not known why an answer ended."""

    def check(self, trace: Trace) -> Finding | None:
        finish = trace.attempt.finish_reason
        if finish != "stop" and not (finish == "unknown" and self.unknown == "keep"):
            detail = f"finish reason {finish!r} after {trace.attempt.completion_tokens:,} tokens"
            return Finding(_REASONS[finish], detail)
        return _check_form(trace)


def _check_form(trace: Trace) -> Finding | None:
    answer = trace.answer
    if not answer:
        opened = trace.attempt.text.lstrip().startswith(OPEN) and CLOSE not in trace.attempt.text
        if opened:
            return Finding("thinking_not_closed", f"{OPEN} is never closed")
        return Finding("empty", "there is no answer beside the thinking" if trace.reasoning else "there is no text")
    for tag in (OPEN, CLOSE):
        # A second thinking part would reach the student as text, or end its thinking twice.
        if tag in answer or tag in (trace.reasoning or ""):
            return Finding("thinking_tag_in_answer", f"a second {tag}: {excerpt(answer)}")
    return None
