"""What a layout is, which there are, and what they share.

layouts["sharegpt"]().fits({"conversations": [{"from": "human", "value": "2 + 2?"}]})    # True
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple

from stillroom.common.fields import NoField, found_at, value_at
from stillroom.common.records import Messages
from stillroom.common.registry import Registry
from stillroom.traces.tasks.problems import BadRow, Problem

FIELDS = "fields"
"""The name for: no layout, rows are read by the names of fields."""


class Names(NamedTuple):
    """What a recipe says about the fields. `prompt`, `reference`: the fields that it names itself, None for those of
    the layout. `answered`: whether the tasks have a reference at all."""

    prompt: str | None
    reference: str | None
    answered: bool


class Laid(NamedTuple):
    """A row as it was read. `used`: its fields that are not kept as metadata. `answer_type`: "" for anything."""

    messages: Messages
    reference: str | None
    used: frozenset[str]
    answer_type: str = ""


class Layout:
    """How rows of one kind are read. `about`: its fields, for people. `over_fields`: it fits rows that could be read
    by the default names of fields as well, which would lose something. `unclear`: the layout that rows are read by
    where several fit that name it; it refuses what they read in different ways."""

    about: ClassVar[str]
    over_fields: ClassVar[bool] = False
    unclear: ClassVar[str] = ""

    def fits(self, values: Mapping[str, Any]) -> bool:
        """Whether a row is plainly of this layout, and so of no other."""
        raise NotImplementedError

    def read(self, values: Mapping[str, Any], names: Names) -> Laid:
        """The conversation and the reference of a row. Raises BadRow."""
        raise NotImplementedError


layouts: Registry[Layout] = Registry("layout", tag="layout", where=("stillroom.traces.tasks.layouts",))
"""Every layout by its name in a recipe."""


# -- for layouts -------------------------------------------------------------------------------------------------


def reference_of(values: Mapping[str, Any], names: Names, *fields: str) -> str | None:
    """The answer under the recipe's own field, or under the first of `fields` that the row has; None where the tasks
    have none. Raises BadRow where it is missing."""
    if not names.answered:
        return None
    if names.reference is not None:
        try:
            found = text_in(value_at(values, names.reference))
        except NoField as error:
            raise BadRow(Problem.MISSING_FIELD, str(error)) from None
        if found is None:
            raise BadRow(Problem.EMPTY_REFERENCE, f"the field {names.reference!r} holds no text or number")
        return found
    for field in fields:
        if (found := text_in(found_at(values, field))) is not None:
            return found
    raise missing_answer(*fields)


def missing_answer(*looked_for: str) -> BadRow:
    """The row has no answer."""
    where = " or ".join(looked_for)
    return BadRow(
        Problem.MISSING_FIELD,
        f"no answer in {where}: name its field in tasks.reference, or set it to null if the tasks have none",
    )


def text_in(value: Any) -> str | None:
    """The text of a string or a number; None for anything else, and for an empty one."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return str(value).strip() or None


def prompt_in(values: Mapping[str, Any], field: str) -> str:
    """The text of a prompt. Raises BadRow."""
    try:
        value = value_at(values, field)
    except NoField as error:
        raise BadRow(Problem.MISSING_FIELD, str(error)) from None
    if not isinstance(value, str):
        raise BadRow(Problem.WRONG_TYPE, f"the field {field!r} is {type(value).__name__}, not text")
    if not value.strip():
        raise BadRow(Problem.EMPTY_PROMPT, f"the field {field!r} is empty")
    return value
