"""`python`: a function of the user's as a filter.

    filters: [finished, {python: "mine.py:keep"}, {python: {path: "mine.py:short", most: 200}}]

    def keep(trace) -> bool | str: ...     # True keeps; False, or the reason as a text, drops

What the function raises, or does not end in time, drops the trace with the reason `error` or `timeout`: a trace that
nobody could look at is not one to learn from.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Literal

from stillroom.common.records import Task
from stillroom.sampling.live import Live, LiveFunction
from stillroom.sampling.plugins import ERROR, Hosted, PythonCode
from stillroom.traces.filters.base import Check, Finding, Stateless, filters
from stillroom.traces.trace import Trace

DROPPED = "dropped"


@filters.register
class PythonFilter(Stateless, PythonCode):
    """A function of the user's (see docs/plugins.md). Reasons: its own texts, dropped, error, timeout, over_limit."""

    short: ClassVar[str | None] = "path"
    given: ClassVar[tuple[str, ...]] = ("trace",)
    may_be: ClassVar[frozenset[str]] = frozenset({"plain"})

    name: Literal["python"] = "python"

    @property
    def kept_under(self) -> str:
        return f"python_{self.function_part}"

    def start_in(self, base: Path, test: Sequence[Task]) -> Check:
        """The check. It raises InputError for code that nobody has agreed to."""
        return _check(self.hosted(base, "filters.python"), self.function_part)


@filters.register
class FunctionFilter(Stateless, LiveFunction):
    """A function of the program that makes the run, as for `python`."""

    short: ClassVar[str | None] = "function"

    name: Literal["function"] = "function"

    @property
    def kept_under(self) -> str:
        return f"python_{self.called.rpartition('.')[2]}"

    def start_in(self, base: Path, test: Sequence[Task]) -> Check:
        return _check(self.live(PythonFilter.given), self.called)


def _check(function: Hosted | Live, name: str) -> Check:
    def check(trace: Trace) -> Finding | None:
        returned = function.call(trace)
        if returned.reason:
            return Finding(returned.reason, returned.detail)
        if returned.value is True:
            return None
        if returned.value is False:
            return Finding(DROPPED, f"{name} returned False")
        if isinstance(returned.value, str):
            return Finding(" ".join(returned.value.split())[:80] or DROPPED, "")
        return Finding(ERROR, f"it returned {returned.value!r:.100}, expected True, False or a reason")

    return check
