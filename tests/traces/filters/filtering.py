"""Filters as a recipe lists them, applied to a list of traces."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import TypeAdapter

from stillroom.common.records import Task
from stillroom.traces.filters import FilterCount, Filters, Reject, Screen
from stillroom.traces.filters.base import FilterSettings
from stillroom.traces.trace import Trace

_FILTERS: TypeAdapter[Filters] = TypeAdapter(Filters)


class Filtered(NamedTuple):
    """`kept` and `rejects` in the order of the traces, `counts` in the filters'."""

    kept: list[Trace]
    rejects: list[Reject]
    counts: list[FilterCount]


def build_filters(spec: Iterable[Any]) -> Filters:
    return _FILTERS.validate_python(tuple(spec))


def apply_filters(
    traces: Iterable[Trace], wanted: Sequence[FilterSettings], *, test: Sequence[Task], base: Path = Path()
) -> Filtered:
    screen = Screen(wanted, test=test, base=base)
    kept: list[Trace] = []
    rejects: list[Reject] = []
    for trace in traces:
        reject = screen.look(trace)
        if reject is None:
            kept.append(trace)
        else:
            rejects.append(reject)
    return Filtered(kept, rejects, screen.counts)
