r"""Preferences in files, whatever the layout: which of two answers is better, or what each answer to a prompt scored.

    found = read_preferences(Path("hh.jsonl"), "the pairs", Reading(bad_rows="skip"))
    found.layout, found.rows[0].winner, found.counts()     # "hh_rlhf", "a", {"rows": …, "ties": …, …}

A layout says how a row is read. It is named, or detected if the first rows are plainly of one, and a note says so.

A new layout is one class in a module of this package:

    @layouts.register(name="mine")
    class Mine(Layout):
        about = "the fields q, good and bad"

        def fits(self, values: Values) -> bool: ...
        def read(self, values: Values, prefer: str | None) -> Preferred: ...
"""

from stillroom.common.preferred.base import Answer, Layout, Preferred, Reading, RowFault, Values, Winner, layouts
from stillroom.common.preferred.read import PreferenceRows, read_preferences

__all__ = [
    "Answer",
    "Layout",
    "PreferenceRows",
    "Preferred",
    "Reading",
    "RowFault",
    "Values",
    "Winner",
    "layouts",
    "read_preferences",
]
