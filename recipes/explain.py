"""Turns pydantic's errors into messages about the recipe: key, file, line, what was found, what is allowed."""

from __future__ import annotations

import difflib
import re
import typing
from typing import Any

from pydantic import BaseModel, ValidationError

from stillroom.recipes.yaml_lines import Loc, Located

# What stands under such a key is never repeated in a message.
_SECRET = re.compile(r"key|token|secret|password", re.IGNORECASE)


def explain(error: ValidationError, model: type[BaseModel], located: Located) -> str:
    """One line for each mistake."""
    return "\n".join(_line(dict(e), model, located) for e in error.errors(include_url=False))


def _line(error: dict[str, Any], model: type[BaseModel], located: Located) -> str:
    loc = _in_file(error["loc"], located)
    where = _where(loc, located)
    return f"{where}: {_dotted(loc) or 'recipe'}: {_what(error, loc, model)}"


def _what(error: dict[str, Any], loc: Loc, model: type[BaseModel]) -> str:
    kind, message = error["type"], str(error["msg"]).removeprefix("Value error, ")
    if kind == "extra_forbidden":
        known = sorted(_fields(model, error["loc"][:-1]))
        close = difflib.get_close_matches(str(loc[-1]), known, 1)
        hint = f"did you mean {close[0]!r}? " if close else ""
        return f"unknown key; {hint}known are {', '.join(known)}"
    if kind == "missing":
        return "this key is missing"
    if kind in ("union_tag_invalid", "union_tag_not_found"):
        ctx = error["ctx"]
        return (
            f"{ctx['discriminator']} is {ctx.get('tag', 'missing')!s}, expected one of {ctx.get('expected_tags', '')}"
        )
    return message if kind == "value_error" else f"{message}, found {_found(error['input'], loc)}"


def _found(value: Any, loc: Loc) -> str:
    if any(_SECRET.search(str(part)) for part in loc):
        return "a value that is not shown"
    text = repr(value)
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
        value = value[key] if isinstance(value, (dict, list)) else {}
    return isinstance(value, dict) and part in (value.get("kind"), value.get("source"))


def _where(loc: Loc, located: Located) -> str:
    if tuple(map(str, loc)) in located.overridden:
        return f"--set {_dotted(loc)}"
    for length in range(len(loc), 0, -1):
        if (line := located.lines.get(loc[:length])) is not None:
            return f"{located.path}, line {line}"
    return str(located.path)


def _dotted(loc: Loc) -> str:
    return ".".join(str(part + 1) if isinstance(part, int) else part for part in loc)


def _fields(model: Any, loc: Loc) -> set[str]:
    """Names of the keys that the model at `loc` knows."""
    for candidate in _models(model):
        if not loc:
            return set(candidate.model_fields)
        if loc[0] in candidate.model_fields:
            return _fields(candidate.model_fields[str(loc[0])].annotation, loc[1:])
        tags = {
            str(a)
            for f in ("kind", "source")
            if f in candidate.model_fields
            for a in typing.get_args(candidate.model_fields[f].annotation)
        }
        if str(loc[0]) in tags:
            return _fields(candidate, loc[1:])
    return _fields(model, loc[1:]) if loc else set()


def _models(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [m for arg in typing.get_args(annotation) for m in _models(arg)]
