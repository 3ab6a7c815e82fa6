"""Applies filters to traces, counts, and keeps what was dropped with its reason.

screen = Screen(build_filters(["finished", "dedup"]), test=tasks.test)
reject = screen.look(trace)       # None: it stays
screen.counts

filtered = apply_filters(traces, build_filters(["finished", "dedup"]), test=tasks.test)   # the same for a list
filtered.kept, filtered.counts
write_rejects(filtered.rejects, run / "rejects")
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from stillroom.sampling.records import Task
from stillroom.traces.filters.base import Filter, FilterCount, Filtered, ReadsFiles, Reject
from stillroom.traces.filters.rejects import RejectFiles
from stillroom.traces.traces import Trace


class Screen:
    """Sends traces through the filters in order, one at a time; the first that objects drops it. Holds no trace.

    Give the traces by task, then by draw (`traces_in` does): of duplicates the first stays. `test`: the held-out
    tasks. `base`: relative paths in a filter's settings start there. Raises InputError where a filter cannot work
    with them.
    """

    def __init__(self, filters: Sequence[Filter], *, test: Sequence[Task], base: Path = Path()) -> None:
        self._names = [each.label if isinstance(each, ReadsFiles) else each.name for each in filters]
        self._checks = [
            each.start_in(base, test) if isinstance(each, ReadsFiles) else each.start(test) for each in filters
        ]
        self._seen, self._dropped = [0] * len(filters), [0] * len(filters)

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


def apply_filters(
    traces: Iterable[Trace], filters: Sequence[Filter], *, test: Sequence[Task], base: Path = Path()
) -> Filtered:
    """Sends each trace through the filters in order (see `Screen`) and holds what stays and what goes.

    The same traces and filters give the same result, and `filters` can be applied again.
    """
    screen = Screen(filters, test=test, base=base)
    kept: list[Trace] = []
    rejects: list[Reject] = []
    for trace in traces:
        reject = screen.look(trace)
        if reject is None:
            kept.append(trace)
        else:
            rejects.append(reject)
    return Filtered(kept, rejects, screen.counts)


def write_rejects(rejects: Iterable[Reject], folder: Path) -> list[Path]:
    """Writes `<filter>.jsonl` for each filter that dropped something; says which files were written.

    Files of filters that dropped nothing this time are removed, so that the folder shows this run only. Raises
    RunError where it cannot be written.
    """
    with RejectFiles(folder) as files:
        for reject in rejects:
            files.add(reject)
    return files.paths
