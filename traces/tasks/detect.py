"""Which layout rows are of, where the recipe does not say it.

detected([{"conversations": [{"from": "human", "value": "2 + 2?"}]}], settings)    # "sharegpt"
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from stillroom.common.fields import found_at
from stillroom.traces.tasks.layouts.base import Names, layouts
from stillroom.traces.tasks.registry import CommonTasks
from stillroom.traces.tasks.template import PROMPT, Template


def names_of(settings: CommonTasks) -> Names:
    """The fields that a recipe names. A resolved recipe spells the defaults out: they are not named."""
    fields = type(settings).model_fields
    prompt = None if settings.prompt == fields["prompt"].default else settings.prompt
    reference = None if settings.reference == fields["reference"].default else settings.reference
    return Names(prompt, reference, settings.reference is not None)


def detected(rows: Sequence[Mapping[str, Any]], settings: CommonTasks) -> str | None:
    """The one layout that all rows are plainly of; None where there is none, or the recipe names what to read."""
    names, default = names_of(settings), type(settings).model_fields["prompt"].default
    if not rows or settings.layout is not None or settings.input is not None:
        return None
    if PROMPT not in Template(settings.template).names:  # it says itself what is asked
        return None
    if names.prompt is not None:
        turns = layouts["prompt_messages"]()
        fits = all(turns.fits({"prompt": found_at(row, names.prompt)}) for row in rows)
        return "prompt_messages" if fits else None
    readable = all(default in row for row in rows)
    found = []
    for name, kind in layouts.items():
        layout = kind()
        wanted = layout.over_fields and (name != "gsm8k" or _marks_wanted(settings)) if readable else True
        if wanted and all(layout.fits(row) for row in rows):
            found.append(name)
    if len(found) > 1:
        found = sorted({layouts[name].unclear or name for name in found})
    return found[0] if len(found) == 1 else None


def _marks_wanted(settings: CommonTasks) -> bool:
    return names_of(settings) == Names(None, None, True) and settings.reference_after is None
