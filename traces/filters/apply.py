"""Applies filters to traces, counts, and keeps what was dropped with its reason.

screen = Screen(recipe.filters, test=tasks.test)
screen.begin(outcome)                     # the next task, for filters that compare its draws
with RejectFiles(run / "rejects") as rejects:
    reject = screen.look(trace)       # None: it stays
    if reject is not None:
        rejects.add(reject)
screen.counts
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from stillroom.common.files import Growing, remove, storable
from stillroom.common.records import Outcome, ScoredAttempt, Task
from stillroom.sampling.draws import Admits
from stillroom.traces.filters.base import FilterSettings, Stateless, TaskCheck, filters
from stillroom.traces.trace import Trace, traces_in


@dataclass(frozen=True, slots=True)
class Reject:
    """A trace that a filter dropped. `filter`: what it is kept under."""

    trace: Trace
    filter: str
    reason: str
    detail: str


class FilterCount(NamedTuple):
    """How many traces reached a filter, and how many it dropped."""

    name: str
    seen: int
    dropped: int


class Screen:
    """Sends traces through the filters in order, one at a time; the first that objects drops it. Holds no trace.

    Give the traces by task, then by draw (`traces_in` does): of duplicates the first stays. `test`: the held-out
    tasks. `base`: relative paths in a filter's settings start there. Raises InputError where a filter cannot work
    with them.
    """

    def __init__(self, wanted: Sequence[FilterSettings], *, test: Sequence[Task], base: Path = Path()) -> None:
        self._names = [each.kept_under for each in wanted]
        self._checks = [each.start_in(base, test) for each in wanted]
        self._seen, self._dropped = [0] * len(wanted), [0] * len(wanted)

    def begin(self, outcome: Outcome) -> None:
        """Shows all draws of the next task to the filters that compare them."""
        checks = [check for check in self._checks if isinstance(check, TaskCheck)]
        traces = list(traces_in(outcome)) if checks else []
        for check in checks:
            check.begin(traces)

    def look(self, trace: Trace) -> Reject | None:
        """Why the trace goes, or None where it stays."""
        for number, check in enumerate(self._checks):
            self._seen[number] += 1
            found = check(trace)
            if found is not None:
                self._dropped[number] += 1
                return Reject(trace, self._names[number], found.reason, found.detail)
        return None

    @property
    def counts(self) -> list[FilterCount]:
        """How many traces each filter has seen and dropped, in the order of the filters."""
        return [FilterCount(*each) for each in zip(self._names, self._seen, self._dropped, strict=True)]


def admits_of(wanted: Sequence[FilterSettings], base: Path = Path()) -> Admits:
    """Whether an accepted attempt passes the filters that look at one trace at a time. The others (a duplicate, a
    held-out task) depend on the rest of the data, and are asked when there is some."""
    alone = [each for each in wanted if isinstance(each, Stateless)]
    # Functions of the user's come last: each call goes to another process.
    checks = [each.start_in(base, ()) for each in sorted(alone, key=lambda each: each.kept_under != each.name)]

    def admits(task: Task, scored: ScoredAttempt) -> bool:
        trace = Trace(task, scored.attempt, scored.verdict)
        return all(check(trace) is None for check in checks)

    return admits


class RejectFiles:
    """`<filter>.jsonl` for each filter that drops something, written as it drops: each file is whole or not there.

    Files of an earlier run stay until the block ends well; then those of filters that dropped nothing are removed, so
    that the folder shows this run only.

    Raises RunError where the folder cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files: dict[str, Growing] = {}

    def __enter__(self) -> Self:
        return self

    def add(self, reject: Reject) -> None:
        """Writes one as a line of JSON, with what was asked, so that it can be read by itself."""
        attempt, task = reject.trace.attempt, reject.trace.task
        row = {
            "task_id": attempt.task_id,
            "question": task.messages[-1].content,
            "gold": task.reference,
            "index": attempt.index,
            "reason": reject.reason,
            "detail": reject.detail,
            "verdict": reject.trace.verdict.state.value,
            "finish_reason": attempt.finish_reason,
            "completion_tokens": attempt.completion_tokens,
            "reasoning": attempt.reasoning,
            "text": attempt.text,
        }
        line = storable(json.dumps(row, ensure_ascii=False)) + "\n"
        file = self._files.get(reject.filter)
        if file is None:
            file = self._files[reject.filter] = Growing(self._folder / f"{reject.filter}.jsonl")
        with file.writing() as out:
            out.write(line.encode())

    def __exit__(self, kind: type[BaseException] | None, *_: BaseException | TracebackType | None) -> None:
        files = self._files.values()
        try:
            if kind is None:
                of_python = {path.stem for path in self._folder.glob("python_*.jsonl")}  # one for each function
                for name in (filters.keys() | of_python) - self._files.keys():
                    remove(self._folder / f"{name}.jsonl")
                for file in files:
                    file.keep()
        finally:
            for file in files:
                file.discard()
