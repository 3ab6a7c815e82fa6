"""Layouts: how the rows of well-known kinds of data sets are read, so that no field has to be named.

    tasks: {source: jsonl, path: sharegpt.json, layout: sharegpt}

Without `layout`, rows are read by the names of fields; if the recipe names no prompt and the rows are unmistakably of
one layout, they are read by that one, and a note says so. `layout: fields` turns this off.

A new layout is a module in this package with one registered class:

    @layouts.register(name="pairs")
    class Pairs(Layout):
        about = "the fields q and a"

        def fits(self, values: Mapping[str, Any]) -> bool: ...
        def read(self, values: Mapping[str, Any], names: Names) -> Laid: ...
"""

from stillroom.traces.tasks.layouts.base import FIELDS, Laid, Layout, Names, layouts

__all__ = ["FIELDS", "Laid", "Layout", "Names", "layouts"]
