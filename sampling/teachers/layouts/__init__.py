"""Layouts of recordings: rows as other tools write answers down, made into rows with the fields of our own.

    openai_batch, anthropic_batch      output lines of batch APIs; their task is `custom_id`       batches.py
    lm_eval, inspect                   logs of evaluations                                         evaluations.py
    openr1, distilabel, curator,       data sets of tools that make them                           pipelines.py
    attempts, alpaca, messages

What a tool reports as failed gives no attempt, and is counted. A row that is not of the layout is refused.

>>> laid_out("messages", {"messages": [{"role": "user", "content": "2 + 2?"}, {"role": "assistant", "content": "4"}]})
[{'prompt': '2 + 2?', 'text': '4'}]
"""

from __future__ import annotations

from stillroom.sampling.teachers.layouts.base import Laid, Layout, Values
from stillroom.sampling.teachers.layouts.batches import BATCHES
from stillroom.sampling.teachers.layouts.evaluations import EVALUATIONS
from stillroom.sampling.teachers.layouts.pipelines import PIPELINES

LAYOUTS: dict[str, Layout] = {**BATCHES, **EVALUATIONS, **PIPELINES}
"""Every layout by its name in a recipe; of those that fit a row, the first is meant."""


def laid_out(layout: str, row: Values) -> Laid:
    """The attempts of a row, each with text, and prompt or task_id; none where the request had failed. Raises
    InputError for a row of another kind."""
    return LAYOUTS[layout].read(row)


def plainly(row: Values) -> str | None:
    """The layout that a row is plainly of; None for one that has fields of our own, or is of none."""
    if {"text", "task_id"} & row.keys():
        return None
    return next((name for name, layout in LAYOUTS.items() if layout.fits(row)), None)
