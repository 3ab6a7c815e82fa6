"""Turns pydantic's errors into messages about the recipe: key, file, line, what was found, what is allowed."""

from __future__ import annotations

import difflib
import re
import typing
from typing import Any, Literal

from pydantic import BaseModel, ValidationError

from stillroom.recipes.yaml_lines import Loc, Located
from stillroom.sampling.secrets import named

# What stands under such a key is never repeated in a message.
_SECRET = re.compile(r"key|token(?!s)|secret|pass|auth|bearer|credential|cookie", re.IGNORECASE)

# The field that says which member of a union is meant.
_TAGS = ("kind", "source", "name", "policy")


def explain(error: ValidationError, model: type[BaseModel], located: Located) -> str:
    """One line for each mistake; of what the environment gave, the name."""
    return named("\n".join(_line(dict(e), model, located) for e in error.errors(include_url=False)))


def _line(error: dict[str, Any], model: type[BaseModel], located: Located) -> str:
    loc = _in_file(error["loc"], located)
    if error["type"].startswith("union_tag"):
        loc = (*loc, error["ctx"]["discriminator"].strip("'"))
    return f"{place(loc, located)}: {_what(error, loc, model)}"


def place(loc: Loc, located: Located) -> str:
    """Where a key stands, and its name: `recipe.yaml, line 7: teacher.model`."""
    where = _where(loc, located)
    return where if where == f"--set {_dotted(loc)}" else f"{where}: {_dotted(loc) or 'recipe'}"


def _what(error: dict[str, Any], loc: Loc, model: type[BaseModel]) -> str:
    kind, message = error["type"], str(error["msg"]).removeprefix("Value error, ")
    here = _at(model, error["loc"])
    match kind:
        case "extra_forbidden":
            known = {f for m in _at(model, error["loc"][:-1]) for f in m.model_fields if f not in _implied(m)}
            return f"unknown key; {_near(str(loc[-1]), known)}known are {', '.join(sorted(known))}"
        case "missing":
            return "this key is missing"
        case "union_tag_not_found":
            return f"this key is missing: give one of {', '.join(_all_tags(here))}"
        case "union_tag_invalid":
            tag, known = str(error["ctx"]["tag"]), set(_all_tags(here))
            return f"there is no {tag!r}; {_near(tag, known)}expected one of {', '.join(_all_tags(here))}"
        case "model_type" | "model_attributes_type" | "dict_type":
            return f"expected keys with values, found {_found(error['input'], loc)}"
        case "value_error":
            return message
    return f"{message}, found {_found(error['input'], loc)}"


def _near(given: str, known: set[str]) -> str:
    close = difflib.get_close_matches(given, sorted(known), 1)
    return f"did you mean {close[0]!r}? " if close else ""


def _found(value: Any, loc: Loc) -> str:
    if any(_SECRET.search(str(part)) for part in loc):
        return "a value that is not shown"
    text = named(repr(value))
    return text if len(text) <= 60 else text[:57] + "…"


def _in_file(loc: Loc, located: Located) -> Loc:
    """Without the parts that pydantic adds for unions (`teacher.openai.model`)."""
    known: Loc = ()
    for i, part in enumerate(loc):
        last = i == len(loc) - 1
        if (
            (*known, part) in located.lines
            or (*map(str, known), str(part)) in _parents(located)
            or (last and not _is_tag(located, known, part))
        ):
            known = (*known, part)
    return known


def _parents(located: Located) -> set[tuple[str, ...]]:
    return {keys[: i + 1] for keys in located.overridden for i in range(len(keys))}


def _is_tag(located: Located, known: Loc, part: str | int) -> bool:
    value: Any = located.values
    for key in known:
        value = value[key] if isinstance(value, dict | list) else {}  # type: ignore[index]
    if known == ("keep",) and part in ("until", "fixed", "budget"):  # `until` need not be named
        return True
    return isinstance(value, dict) and part in (value.get("kind"), value.get("source"))


def _where(loc: Loc, located: Located) -> str:
    for length in range(len(loc), 0, -1):
        if tuple(map(str, loc[:length])) in located.overridden:
            return f"--set {_dotted(loc[:length])}"
    for length in range(len(loc), 0, -1):
        if (line := located.lines.get(loc[:length])) is not None:
            return f"{located.path}, line {line}"
    return str(located.path)


def _dotted(loc: Loc) -> str:
    return ".".join(str(part + 1) if isinstance(part, int) else part for part in loc)


def _at(model: type[BaseModel], loc: Loc) -> list[type[BaseModel]]:
    """The models that may stand at `loc`, which names the members of unions by their tags, as pydantic does."""
    models = [model]
    for part in loc:
        if isinstance(part, int):
            continue  # an item of a list: the models of the list are those of its items
        tagged = [m for m in models if part in _tags(m)]
        fields = [m.model_fields[part] for m in models if part in m.model_fields]
        models = tagged or [found for field in fields for found in _models(field.annotation)]
    return models


def _tags(model: type[BaseModel]) -> tuple[str, ...]:
    hints = [model.model_fields[name].annotation for name in _TAGS if name in model.model_fields]
    return tuple(str(tag) for hint in hints if typing.get_origin(hint) is Literal for tag in typing.get_args(hint))


def _all_tags(models: list[type[BaseModel]]) -> list[str]:
    return [tag for model in models for tag in _tags(model)]


def _implied(model: type[BaseModel]) -> set[str]:
    """A filter's name is how it is called in the list, not a key within it."""
    field = model.model_fields.get("name")
    return {"name"} if field is not None and typing.get_origin(field.annotation) is Literal else set()


def _models(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [m for arg in typing.get_args(annotation) for m in _models(arg)]
