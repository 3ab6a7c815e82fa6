"""What a filter is, and the `filters:` part of a recipe: a list of names, or of one name with its settings.

    filters: [finished, {max_tokens: 2048}, {no_repetition: {share: 0.4}}, {decontaminate: test}]

A filter is a small frozen settings model with a `name` and a method `start`, which gives the check of one run: a
function from a trace to a `Finding` (why it goes) or None (it stays). State, such as the texts that `dedup` has
seen, lives in that function, so that a filter can be applied again and says the same.

A filter drops nothing by itself: it says why, the caller counts, the reject is kept.

A new filter is a module in this package with one registered class; recipes know it by its name from then on:

    @filters.register
    class NotShouted(FilterSettings):
        name: Literal["not_shouted"] = "not_shouted"

        def start(self, test: Sequence[Task]) -> Check:
            return lambda trace: Finding("capitals", trace.answer[:80]) if trace.answer.isupper() else None

An unknown name or setting is an error of the field that holds it, at its index, with the known names. Dumped, a
filter is written with every default spelled out (`{max_tokens: {limit: 2048}}`), which can be read again.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, NamedTuple

from pydantic import (
    BaseModel,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    TypeAdapter,
    ValidationInfo,
)
from pydantic_core import CoreSchema, core_schema

from stillroom.common.records import Task
from stillroom.common.registry import Kinds, Registry
from stillroom.common.settings import Settings
from stillroom.sampling.live import KIND
from stillroom.traces.trace import Trace


class Finding(NamedTuple):
    """Why a trace goes: a reason from the filter's closed set, and what a person wants to see."""

    reason: str
    detail: str


Check = Callable[[Trace], Finding | None]


class TaskCheck:
    """A check that has to know all draws of a task: it is given them before it is asked of any."""

    def begin(self, traces: Sequence[Trace]) -> None:
        """The traces of the next task, accepted or not, in draw order."""
        raise NotImplementedError

    def __call__(self, trace: Trace) -> Finding | None:
        """Why the trace goes, or None."""
        raise NotImplementedError


class FilterSettings(Settings):
    """Base of the filters. `short`: the setting that a bare value stands for (`max_tokens: 2048`)."""

    short: ClassVar[str | None] = None
    of_tasks: ClassVar[bool] = False
    """Whether its check is a `TaskCheck`."""

    name: str

    @property
    def kept_under(self) -> str:
        """What its counts and rejects are kept under. A filter that a recipe may have several of adds to its name."""
        return self.name

    def start(self, test: Sequence[Task]) -> Check:
        """The check of one run over traces in order. `test`: the held-out tasks, for decontamination."""
        raise NotImplementedError

    def start_in(self, base: Path, test: Sequence[Task]) -> Check:
        """As `start`, for a filter whose settings name a file: relative paths start at `base`."""
        return self.start(test)


filters: Registry[FilterSettings] = Registry("filter", tag="name", where=("stillroom.traces.filters",))
"""Every filter by its name in a recipe."""


class Stateless(FilterSettings):
    """Base of the filters that look at one trace at a time: nothing of it is kept for the next."""

    def start(self, test: Sequence[Task]) -> Check:
        return self.check

    def check(self, trace: Trace) -> Finding | None:
        """Why the trace goes, or None."""
        raise NotImplementedError


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
    if callable(value):
        return KIND, {"name": KIND, "function": value}
    if isinstance(value, str):
        value = {value: None}
    if not isinstance(value, dict) or len(value) != 1:
        raise ValueError(
            f"a filter is a name or one name with its settings, such as {{max_tokens: 2048}}, not {value!r}"
        )
    [(key, given)] = value.items()
    if not isinstance(key, str) or key not in filters:
        raise ValueError(filters.unknown(key, what=filters.what))
    name, model = key, filters[key]
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


@functools.cache
def _under_its_name(model: type[FilterSettings]) -> TypeAdapter[dict[str, FilterSettings]]:
    return TypeAdapter(dict[str, model])  # type: ignore[valid-type]


def _dumped(value: FilterSettings) -> dict[str, Any]:
    settings = value.model_dump(mode="json")
    return {settings.pop("name"): settings}


Filters = tuple[Annotated[FilterSettings, _Listed(filters)], ...]
"""The filters of a recipe in the order in which they are applied."""
