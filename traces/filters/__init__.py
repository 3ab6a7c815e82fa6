"""Filters: which traces become SFT rows, each with a reason for those that do not.

    filters = build_filters(["finished", "one_final_answer", "dedup", {"decontaminate": "test"}])
    filtered = apply_filters(traces, filters, test=tasks.test)

In a recipe's model the list is a field of type `Filters`. What each filter does is in docs/filters.md.
"""

from stillroom.traces.filters.apply import RejectFiles, Screen, admits_of, apply_filters
from stillroom.traces.filters.base import Check, Filter, FilterCount, Filtered, FilterSettings, Finding, Reject
from stillroom.traces.filters.registry import KNOWN, Filters, FilterSpec, build_filters

__all__ = [
    "KNOWN",
    "Check",
    "Filter",
    "FilterCount",
    "FilterSettings",
    "FilterSpec",
    "Filtered",
    "Filters",
    "Finding",
    "Reject",
    "RejectFiles",
    "Screen",
    "admits_of",
    "apply_filters",
    "build_filters",
]
