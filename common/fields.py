"""The names of fields in a row: one language for tasks, recordings and whatever else a recipe names a field of.

    a.b          the field b of the object a
    a[0], a.0    the first of the list a
    a[-1]        the last
    a[*].b       the field b of each, as a list; None where one has none

A field whose own name is the whole text comes first, so `a.b` also finds a column that is called "a.b".

>>> row = {"messages": [{"role": "user", "content": "2 + 2?"}, {"role": "assistant", "content": "4"}]}
>>> value_at(row, "messages[-1].content"), value_at(row, "messages[*].role")
('4', ['user', 'assistant'])
>>> no_field({"question": "2 + 2?"}, "qestion")
"no field 'qestion' (the row has: 'question'; did you mean 'question'?)"
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

_PART = re.compile(r"([^\[\]]*)((?:\[(?:-?[0-9]{1,9}|\*)\])*)")
_SHOWN = 8  # names in a message
_COMPARED = 300  # names among which a near one is looked for


class NoField(LookupError):
    """The row has no such field."""


def has_star(name: str) -> bool:
    """Whether the name asks for a value of each item of a list."""
    return "[*]" in name


def value_at(values: Mapping[str, Any], name: str) -> Any:
    """The value under `name`. Raises NoField, whose message names what the row has."""
    if name in values:
        return values[name]
    try:
        return _walk(values, _steps(name))
    except LookupError:
        raise NoField(no_field(values, name)) from None


def found_at(values: Mapping[str, Any], name: str) -> Any:
    """The value under `name`; None where there is no such field."""
    try:
        return values[name] if name in values else _walk(values, _steps(name))
    except LookupError:
        return None


def has_field(values: Mapping[str, Any], name: str) -> bool:
    """Whether the row has the field, whatever it holds."""
    try:
        if name not in values:
            _walk(values, _steps(name))
    except LookupError:
        return False
    return True


@lru_cache(maxsize=256)
def _steps(name: str) -> tuple[str | int | None, ...]:
    """Keys, indexes, and None for each item. Raises LookupError for what is not in the language: it may only be the
    name of a field itself."""
    steps: list[str | int | None] = []
    for part in name.split("."):
        match = _PART.fullmatch(part)
        if match is None or not part:
            raise LookupError(name)
        if match[1]:
            steps.append(match[1])
        steps += [None if each == "*" else int(each) for each in re.findall(r"\[([^\]]*)\]", match[2])]
    return tuple(steps)


def _walk(value: Any, steps: tuple[str | int | None, ...]) -> Any:
    for place, step in enumerate(steps):
        if step is None:
            return _each(value, steps[place + 1 :])
        if isinstance(step, str) and isinstance(value, list | tuple):
            if not re.fullmatch("-?[0-9]{1,9}", step):
                raise LookupError(step)
            step = int(step)
        if isinstance(step, int) != isinstance(value, list | tuple) or not isinstance(value, list | tuple | Mapping):
            raise LookupError(step)
        inside: Any = value
        value = inside[step]
    return value


def _each(value: Any, rest: tuple[str | int | None, ...]) -> list[Any]:
    """What each item has under the rest of the path. Raises LookupError where none has anything, or there is none."""
    if not isinstance(value, list | tuple):
        raise LookupError(rest)
    found, some = [], False
    for item in value:
        try:
            each = _walk(item, rest)
            some = True
        except LookupError:
            each = None
        found += each if None in rest and isinstance(each, list) else [each]
    if not some:
        raise LookupError(rest)
    return found


# -- what a message names ----------------------------------------------------------------------------------------


def no_field(values: Mapping[str, Any], name: str) -> str:
    """`no field 'x' (the row has: …; did you mean …?)`."""
    near = difflib.get_close_matches(name, _names(values), n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    names = ", ".join(repr(str(key)[:30]) for key in list(values)[:_SHOWN]) or "none"
    more = f" and {len(values) - _SHOWN} more" if len(values) > _SHOWN else ""
    return f"no field {name!r} (the row has: {names}{more}{hint})"


def _names(values: Mapping[str, Any]) -> list[str]:
    """The names of fields, nested ones too, outer ones first."""
    found: list[str] = []
    level: list[tuple[str, Any]] = [("", values)]
    while level and len(found) < _COMPARED:
        below = [pair for prefix, value in level for pair in _inside(prefix, value)][:_COMPARED]
        found += [name for name, _ in below]
        level = below
    return found[:_COMPARED]


def _inside(prefix: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for key, item in list(value.items())[:_COMPARED]:
            yield f"{prefix}.{key}" if prefix else str(key), item
    elif isinstance(value, list | tuple) and value:
        yield f"{prefix}[0]", value[0]
        yield f"{prefix}[-1]", value[-1]
