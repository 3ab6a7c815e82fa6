"""Filters: which traces become SFT rows, each with a reason for those that do not.

In a recipe's model the list is a field of type `Filters`. `Screen` applies it. What each filter does is in
docs/filters.md.
"""

from stillroom.traces.filters.apply import FilterCount, Reject, RejectFiles, Screen, admits_of
from stillroom.traces.filters.base import Filters, Finding

__all__ = ["FilterCount", "Filters", "Finding", "Reject", "RejectFiles", "Screen", "admits_of"]
