r"""The text around a prompt: `{prompt}` and any other field of the row, by the path language of `common/fields`.

    template: "{prompt}\nGive the answer in {meta.unit}."
    template: "{question}\n\n{choices[*]}\n\nAnswer with a letter."        # a list: each item on a line

A field that a row does not have makes it a bad row; null is left out. Braces that hold no name stay as they are
(`{"a": 1}`, `{}`, `{0}`), as do those of LaTeX (`\boxed{answer}`); `{{unit}}` stands for `{unit}`. What a field holds
is never looked at again, whatever braces are in it.

>>> Template("{q} ({meta.unit}) as \\boxed{n}, {{q}}").fill({"q": "{x}?", "meta": {"unit": "m"}}, "")
'{x}? (m) as \\boxed{n}, {q}'
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from stillroom.common.fields import NoField, value_at
from stillroom.traces.tasks.problems import BadRow, Problem

PROMPT = "prompt"
"""The name that stands for the row's prompt, whichever field holds it."""
_NAME = r"[^\W\d](?:[\w -]*\w)?(?:\.\w[\w-]*|\[(?:-?[0-9]{1,9}|\*)\])*"
_PIECE = re.compile(
    rf"(?P<latex>\\[A-Za-z]+\*?(?:\{{(?!prompt\}})[^{{}}]*\}})+)|\{{(?P<literal>\{{{_NAME}\}})\}}|\{{(?P<name>{_NAME})\}}"
)


class Template:
    """A template that is read once, for many rows. `names`: the fields in it, `prompt` among them, in their order."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.names = tuple(dict.fromkeys(found["name"] for found in _PIECE.finditer(text) if found["name"]))

    @property
    def fields(self) -> tuple[str, ...]:
        """The names of fields other than the prompt."""
        return tuple(name for name in self.names if name != PROMPT)

    def fill(self, values: Mapping[str, Any], prompt: str) -> str:
        """The template with the prompt and the fields of a row. Raises BadRow."""

        def piece(found: re.Match[str]) -> str:
            if found["name"] == PROMPT:
                return prompt
            if found["name"]:
                return _text(values, found["name"])
            return found["literal"] or found.group()

        return _PIECE.sub(piece, self.text)


def _text(values: Mapping[str, Any], name: str) -> str:
    try:
        value = value_at(values, name)
    except NoField as error:
        told = f"the template names {{{name}}}: {error}; for the word in braces write {{{{{name}}}}}"
        raise BadRow(Problem.MISSING_FIELD, told) from None
    items = value if isinstance(value, list | tuple) else [value]
    if any(isinstance(item, Mapping | list | tuple) for item in items):
        inside = f"{name}[*].…" if value is items else f"{name}.…"
        told = f"the template names {{{name}}}, which is not a text: name a field inside it, as {{{inside}}}"
        raise BadRow(Problem.WRONG_TYPE, told)
    return "\n".join(_written(item) for item in items)


def _written(item: Any) -> str:
    if item is None:
        return ""
    return str(item).lower() if isinstance(item, bool) else str(item)
