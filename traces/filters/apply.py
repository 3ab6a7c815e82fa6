"""Applies filters to traces, counts, and keeps what was dropped with its reason.

filtered = apply_filters(traces, build_filters(["finished", "dedup"]), test=tasks.test)
filtered.kept, filtered.counts
write_rejects(filtered.rejects, run / "rejects")
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from stillroom.sampling.records import Task
from stillroom.traces.filters.base import Filter, FilterCount, Filtered, Reject
from stillroom.traces.filters.spec import KNOWN
from stillroom.traces.traces import Trace
from stillroom.traces.writing import remove, replaced, storable


def apply_filters(traces: Iterable[Trace], filters: Sequence[Filter], *, test: Sequence[Task]) -> Filtered:
    """Sends each trace through the filters in order; the first that objects drops it.

    Give the traces by task, then by draw (`traces_of` does): of duplicates the first stays. The same traces and
    filters give the same result, and `filters` can be applied again.
    """
    checks = [each.start(test) for each in filters]
    seen, dropped = [0] * len(checks), [0] * len(checks)
    kept: list[Trace] = []
    rejects: list[Reject] = []
    for trace in traces:
        for number, check in enumerate(checks):
            seen[number] += 1
            found = check(trace)
            if found is not None:
                dropped[number] += 1
                rejects.append(Reject(trace, filters[number].name, found.reason, found.detail))
                break
        else:
            kept.append(trace)
    counts = [FilterCount(each.name, *pair) for each, *pair in zip(filters, seen, dropped, strict=True)]
    return Filtered(kept, rejects, counts)


def write_rejects(rejects: Sequence[Reject], folder: Path) -> list[Path]:
    """Writes `<filter>.jsonl` for each filter that dropped something; says which files were written.

    Files of filters that dropped nothing this time are removed, so that the folder shows this run only. Raises
    RunError where it cannot be written.
    """
    by_filter: dict[str, list[Reject]] = {}
    for reject in rejects:
        by_filter.setdefault(reject.filter, []).append(reject)
    for name in KNOWN.keys() - by_filter.keys():
        remove(folder / f"{name}.jsonl")
    return [_write(folder / f"{name}.jsonl", found) for name, found in by_filter.items()]


def _write(path: Path, rejects: Sequence[Reject]) -> Path:
    with replaced(path) as file:
        for reject in rejects:
            file.write(_line(reject).encode())
    return path


def _line(reject: Reject) -> str:
    attempt = reject.trace.attempt
    row = {
        "task_id": attempt.task_id,
        "index": attempt.index,
        "reason": reject.reason,
        "detail": reject.detail,
        "verdict": reject.trace.verdict.state.value,
        "finish_reason": attempt.finish_reason,
        "completion_tokens": attempt.completion_tokens,
        "reasoning": attempt.reasoning,
        "text": attempt.text,
    }
    return storable(json.dumps(row, ensure_ascii=False)) + "\n"
