"""Turns pydantic's errors into messages about the recipe: key, file, line, what was found, what is allowed."""

from __future__ import annotations

import re
import typing
from collections.abc import Iterable
from typing import Any

from pydantic import BaseModel, ValidationError

from stillroom.common import registry
from stillroom.common.registry import Kinds
from stillroom.common.secrets import named
from stillroom.common.text import did_you_mean
from stillroom.pipeline.config.yaml_source import Loc, Located

# What stands under such a key is never repeated in a message.
_SECRET = re.compile(r"key|token(?!s)|secret|pass|auth|bearer|credential|cookie", re.IGNORECASE)

_Place = type[BaseModel] | Kinds


_RENAMED = {
    "forgotten": "retention",
    "later": "overrides.from_round_2",
    "in_round": "overrides.round",
    "asked": "prompt",
    "easy_at": "advance_at",
    "one_round": "control_one_round",
}
"""Keys that were called otherwise before."""


def explain(error: ValidationError, model: type[BaseModel], located: Located) -> str:
    """One line for each mistake; of what the environment gave, the name."""
    return named("\n".join(_line(dict(e), model, located) for e in error.errors(include_url=False)))


def _line(error: dict[str, Any], model: type[BaseModel], located: Located) -> str:
    loc = _in_file(error["loc"], located)
    return f"{place(loc, located)}: {_what(error, loc, model, located)}"


def place(loc: Loc, located: Located) -> str:
    """Where a key stands, and its name: `recipe.yaml, line 7: teacher.model`."""
    where = _where(loc, located)
    return where if where == f"--set {_dotted(loc)}" else f"{where}: {_dotted(loc) or 'recipe'}"


def _what(error: dict[str, Any], loc: Loc, model: type[BaseModel], located: Located) -> str:
    kind, message = error["type"], str(error["msg"]).removeprefix("Value error, ")
    match kind:
        case "extra_forbidden":
            if (name := _RENAMED.get(str(loc[-1]))) is not None:
                return f"unknown key; it is called {name} now"
            known = _keys_at(model, loc[:-1], located.values)
            return f"unknown key; {did_you_mean(str(loc[-1]), sorted(known))}known are {', '.join(sorted(known))}"
        case "missing":
            return "this key is missing"
        case "model_type" | "model_attributes_type" | "dict_type":
            return f"expected keys with values, found {_found(error['input'], loc)}"
        case "value_error" | registry.UNKNOWN | registry.MISSING:
            return message
    return f"{message}, found {_found(error['input'], loc)}"


def _found(value: Any, loc: Loc) -> str:
    if any(_SECRET.search(str(part)) for part in loc):
        return "a value that is not shown"
    text = named(repr(value))
    return text if len(text) <= 60 else text[:57] + "…"


def _in_file(loc: Loc, located: Located) -> Loc:
    """Without the parts that pydantic adds for members of a union (`evaluate.forgotten.texts.TextSettings.path`)."""
    known: Loc = ()
    for i, part in enumerate(loc):
        last = i == len(loc) - 1
        if last or (*known, part) in located.lines or (*map(str, known), str(part)) in _parents(located):
            known = (*known, part)
    return known


def _parents(located: Located) -> set[tuple[str, ...]]:
    return {keys[: i + 1] for keys in located.overridden for i in range(len(keys))}


def _where(loc: Loc, located: Located) -> str:
    for length in range(len(loc), 0, -1):
        if tuple(map(str, loc[:length])) in located.overridden:
            return f"--set {_dotted(loc[:length])}"
    for length in range(len(loc), 0, -1):
        if line := located.lines.get(loc[:length]):
            return f"{located.path}, line {line}"
    return str(located.path)


def _dotted(loc: Loc) -> str:
    return ".".join(str(part + 1) if isinstance(part, int) else part for part in loc)


def _keys_at(model: type[BaseModel], loc: Loc, values: Any) -> set[str]:
    """The keys that may stand at `loc` of a recipe with these `values`, which tell the kind of a teacher or judge."""
    places: list[_Place] = [model]
    for part in loc:
        if isinstance(part, str):  # the models of a list are those of its items
            places = [found for place in places for found in _within(place, part, values)]
        values = values[part] if isinstance(values, dict | list) else None  # type: ignore[index]
    models = [found for place in places if (found := _model(place, values)) is not None]
    return {key for found in models for key in found.model_fields if key not in _implied(found)}


def _within(place: _Place, key: str, values: Any) -> list[_Place]:
    """What may stand under a key. A filter's settings stand under its name."""
    if isinstance(place, Kinds) and place.registry.tag not in values and key in place.models():
        return [place.models()[key]]
    model = _model(place, values)
    field = None if model is None else model.model_fields.get(key)
    return [] if field is None else _places(field.annotation, field.metadata)


def _model(place: _Place, values: Any) -> type[BaseModel] | None:
    if not isinstance(place, Kinds):
        return place
    name = values.get(place.registry.tag, place.registry.default) if isinstance(values, dict) else None
    return place.models().get(str(name))


def _places(annotation: Any, metadata: Iterable[Any] = ()) -> list[_Place]:
    kinds: list[_Place] = [each for each in metadata if isinstance(each, Kinds)]
    if kinds:
        return kinds
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    if typing.get_origin(annotation) is typing.Annotated:
        return _places(annotation.__origin__, annotation.__metadata__)
    return [found for each in typing.get_args(annotation) for found in _places(each)]


def _implied(model: type[BaseModel]) -> set[str]:
    """A filter's name is how it is called in the list, not a key within it."""
    field = model.model_fields.get("name")
    return {"name"} if field is not None and typing.get_origin(field.annotation) is typing.Literal else set()
