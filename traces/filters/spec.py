"""The `filters:` part of a recipe: a list of names, or of one name with its settings.

    class Recipe(BaseModel):
        filters: Filters

    filters: [finished, {max_tokens: 2048}, {no_repetition: {share: 0.4}}, {decontaminate: test}]

An unknown name or setting is an error of the field that holds it, at its index, with the known names. Dumped, a
filter is written with every default spelled out (`{max_tokens: {limit: 2048}}`), which can be read again.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, PlainSerializer, TypeAdapter, ValidationError

from stillroom.errors import RecipeError
from stillroom.traces.filters.answers import NotAnswerOnly, OneFinalAnswer
from stillroom.traces.filters.base import Filter, Settings
from stillroom.traces.filters.contamination import Decontaminate
from stillroom.traces.filters.duplicates import Dedup
from stillroom.traces.filters.ending import Finished
from stillroom.traces.filters.language import OneLanguage
from stillroom.traces.filters.length import MaxTokens, MinTokens
from stillroom.traces.filters.refusal import NotRefused
from stillroom.traces.filters.repetition import NoRepetition

_ALL: tuple[type[Settings], ...] = (
    Finished,
    OneFinalAnswer,
    NotAnswerOnly,
    MaxTokens,
    MinTokens,
    NoRepetition,
    Dedup,
    Decontaminate,
    NotRefused,
    OneLanguage,
)
KNOWN: dict[str, type[Settings]] = {model.model_fields["name"].default: model for model in _ALL}
"""Every filter by its name in a recipe."""

_AnyFilter = Annotated[
    Finished
    | OneFinalAnswer
    | NotAnswerOnly
    | MaxTokens
    | MinTokens
    | NoRepetition
    | Dedup
    | Decontaminate
    | NotRefused
    | OneLanguage,
    Field(discriminator="name"),
]


def _spelled_out(value: Any) -> Any:
    """`finished` and `{max_tokens: 2048}` as `{name: …, setting: …}`, which the union of all filters reads."""
    if isinstance(value, Settings):
        return value
    if isinstance(value, str):
        return {"name": _known(value)}
    if not isinstance(value, dict) or len(value) != 1:
        raise ValueError(
            f"a filter is a name or one name with its settings, such as {{max_tokens: 2048}}, not {value!r}"
        )
    [(name, given)] = value.items()
    model = KNOWN[_known(name)]
    if isinstance(given, dict):
        if "name" in given:
            raise ValueError(f"{name} has no setting 'name'")
        return {"name": name, **given}
    if given is None:
        return {"name": name}
    if model.short is None:
        raise ValueError(f"{name} takes no bare value, only settings such as {{{name}: {{{_settings(model)}: …}}}}")
    return {"name": name, model.short: given}


def _known(name: Any) -> str:
    if isinstance(name, str) and name in KNOWN:
        return name
    near = difflib.get_close_matches(str(name), KNOWN, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    raise ValueError(f"there is no filter {name!r}: {hint}the filters are {', '.join(KNOWN)}")


def _settings(model: type[Settings]) -> str:
    return next(field for field in model.model_fields if field != "name")


def _dumped(value: Settings) -> dict[str, Any]:
    settings = value.model_dump(mode="json")
    return {settings.pop("name"): settings}


FilterSpec = Annotated[_AnyFilter, BeforeValidator(_spelled_out), PlainSerializer(_dumped)]
"""One filter of a recipe, as a pydantic type."""

Filters = tuple[FilterSpec, ...]
"""The filters of a recipe in the order in which they are applied."""

_ADAPTER: TypeAdapter[Filters] = TypeAdapter(Filters)


def build_filters(spec: Iterable[Any]) -> list[Filter]:
    """The filters of a list as a recipe has it. Raises RecipeError that names each wrong entry."""
    try:
        return list(_ADAPTER.validate_python(tuple(spec)))
    except ValidationError as error:
        raise RecipeError("\n".join(_line(item["loc"], item["msg"]) for item in error.errors())) from None


def _line(loc: tuple[int | str, ...], message: str) -> str:
    path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in loc)
    return f"filters{path}: {message.removeprefix('Value error, ')}"
