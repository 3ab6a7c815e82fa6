"""The `filters:` part of a recipe: a list of names, or of one name with its settings.

    class Recipe(BaseModel):
        filters: Filters

    filters: [finished, {max_tokens: 2048}, {no_repetition: {share: 0.4}}, {decontaminate: test}]

An unknown name or setting is an error of the field that holds it, at its index, with the known names. Dumped, a
filter is written with every default spelled out (`{max_tokens: {limit: 2048}}`), which can be read again.

A filter registers itself (`@filters.register`) in a module of this package, see `base.py`; this module only reads.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from typing import Annotated, Any

from pydantic import (
    BaseModel,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    TypeAdapter,
    ValidationError,
    ValidationInfo,
)
from pydantic_core import CoreSchema, core_schema

from stillroom.common.registry import Kinds
from stillroom.errors import RecipeError
from stillroom.sampling.live import KIND
from stillroom.traces.filters.base import Filter, FilterSettings, filters

KNOWN: Mapping[str, type[FilterSettings]] = filters
"""Every filter by its name in a recipe."""


class _Listed(Kinds):
    """A filter as it stands in the list of a recipe: a name, or one name with its settings."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        written = core_schema.plain_serializer_function_ser_schema(_dumped)
        return core_schema.with_info_plain_validator_function(self._validated, serialization=written)

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        models = {name: model for name, model in self.models().items() if name in filters.in_yaml}
        with_settings = [
            {
                "type": "object",
                "properties": {name: self._settings_schema(model, handler)},
                "required": [name],
                "additionalProperties": False,
            }
            for name, model in models.items()
        ]
        return {"oneOf": [{"enum": list(models)}, *with_settings]}

    def _settings_schema(self, model: type[BaseModel], handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """What may stand under a filter's name: its settings, the bare value of one of them, or nothing."""
        schema = handler.resolve_ref_schema(handler(model.__pydantic_core_schema__))
        settings = {name: each for name, each in schema["properties"].items() if name != "name"}
        required = [name for name in schema.get("required", ()) if name != "name"]
        whole = {**schema, "properties": settings} | ({"required": required} if required else {})
        short = getattr(model, "short", None)
        bare = [settings[short]] if short is not None else []
        return {"anyOf": [whole, *bare, *([] if required else [{"type": "null"}])]}

    def _validated(self, value: Any, info: ValidationInfo) -> BaseModel:
        if isinstance(value, FilterSettings):
            return value
        name, settings = _named(value)
        # Validated as the only value of a mapping, so that a mistake is reported at `max_tokens.limit`.
        return _under_its_name(filters[name]).validate_python({name: settings}, context=info.context)[name]


def _named(value: Any) -> tuple[str, dict[str, Any]]:
    """The filter's name, and its settings with the name among them."""
    if isinstance(value, str):
        return _known(value), {"name": value}
    if callable(value):
        return KIND, {"name": KIND, "function": value}
    if not isinstance(value, dict) or len(value) != 1:
        raise ValueError(
            f"a filter is a name or one name with its settings, such as {{max_tokens: 2048}}, not {value!r}"
        )
    [(key, given)] = value.items()
    name = _known(key)
    model = filters[name]
    if isinstance(given, dict):
        if "name" in given:
            raise ValueError(f"{name} has no setting 'name'")
        return name, {"name": name, **given}
    if given is None:
        return name, {"name": name}
    if model.short is None:
        example = next((field for field in model.model_fields if field != "name"), None)
        if example is None:
            raise ValueError(f"{name} takes no settings")
        raise ValueError(f"{name} takes no bare value, only settings such as {{{name}: {{{example}: …}}}}")
    return name, {"name": name, model.short: given}


def _known(name: Any) -> str:
    if isinstance(name, str) and name in filters:
        return name
    raise ValueError(filters.unknown(name, what=filters.what))


@functools.cache
def _under_its_name(model: type[FilterSettings]) -> TypeAdapter[dict[str, FilterSettings]]:
    return TypeAdapter(dict[str, model])  # type: ignore[valid-type]


def _dumped(value: FilterSettings) -> dict[str, Any]:
    settings = value.model_dump(mode="json")
    return {settings.pop("name"): settings}


FilterSpec = Annotated[FilterSettings, _Listed(filters)]
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
