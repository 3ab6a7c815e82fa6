"""The keys of a recipe as a JSON schema, for editors, for `stillroom new` and for docs/recipe-keys.md.

    schema("loop")     # one kind of recipe
    schema()           # all kinds: which one is meant, the keys tell

It comes from the models and the registries, plug-ins included. What a key means is the text under its field, or its
`Field(description=…)`. It is read from the source only here: pydantic's `use_attribute_docstrings` would read all of
it at the start of every run (0.25 s). Rules between keys are not in the schema: a recipe that fits may be refused.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from itertools import pairwise
from pathlib import Path
from typing import Any

from pydantic.json_schema import GenerateJsonSchema, models_json_schema
from pydantic_core import core_schema

from stillroom.common.registry import Registry
from stillroom.errors import RecipeError
from stillroom.judges.registry import judges
from stillroom.pipeline.config.kinds import recipe_kinds
from stillroom.sampling.policy import policies
from stillroom.sampling.scorers.base import scorers
from stillroom.sampling.teachers.base import teachers
from stillroom.students.methods.registry import methods
from stillroom.traces.filters.base import filters
from stillroom.traces.tasks.registry import sources

Schema = dict[str, Any]

COMPONENTS: dict[str, Registry[Any]] = {
    "tasks.source": sources,
    "teacher.kind": teachers,
    "scorer.kind": scorers,
    "judge.kind": judges,
    "keep.policy": policies,
    "student.method": methods,
    "filters": filters,
}
"""What a recipe is put together from, by the key that names it. The key of a filter is its name."""

SHIPPED = Path(str(files("stillroom.recipes"))) / "schema.json"
"""The schema of all kinds as it comes with Stillroom; `make docs` writes it."""


def schema(kind: str | None = None) -> Schema:
    """The JSON schema of a kind of recipe, or of all. Raises RecipeError for an unknown kind."""
    if kind is not None and kind not in recipe_kinds:
        raise RecipeError(recipe_kinds.unknown(kind, what=recipe_kinds.what))
    wanted = list(recipe_kinds) if kind is None else [kind]
    made, rest = models_json_schema(
        [(recipe_kinds[name], "validation") for name in wanted], schema_generator=_WithMeanings
    )
    refs = {name: made[recipe_kinds[name], "validation"] for name in wanted}
    defs: Schema = {}
    for name, each in rest["$defs"].items():
        defs[name] = {key: _hoisted(value, defs) for key, value in each.items()}
    top = refs[kind] if kind is not None else _by_marks(refs)
    return {"$schema": "http://json-schema.org/draft-07/schema#", **top, "$defs": dict(sorted(defs.items()))}


def _by_marks(refs: Mapping[str, Schema]) -> Schema:
    """The kind that the keys tell, as `kind_of` does."""
    chosen = refs["traces"]
    for name in reversed([name for name in refs if recipe_kinds[name].marks]):
        marked = {"anyOf": [{"required": [mark]} for mark in sorted(recipe_kinds[name].marks)]}
        chosen = {"if": marked, "then": refs[name], "else": chosen}
    return chosen


def _hoisted(value: Any, defs: Schema) -> Any:
    """With the settings of each kind of component among the definitions, where they stand once."""
    if isinstance(value, list):
        return [_hoisted(each, defs) for each in value]
    if not isinstance(value, dict):
        return value
    value = {key: _hoisted(each, defs) for key, each in value.items()}
    name = value.get("title")
    if isinstance(name, str) and "properties" in value and defs.setdefault(name, value) == value:
        return {"$ref": f"#/$defs/{name}"}
    return value


class _WithMeanings(GenerateJsonSchema):
    def model_schema(self, schema: core_schema.ModelSchema) -> Schema:
        return _explained(super().model_schema(schema), schema["cls"])

    def dataclass_schema(self, schema: core_schema.DataclassSchema) -> Schema:
        return _explained(super().dataclass_schema(schema), schema["cls"])

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False


def _explained(made: Schema, cls: type[object]) -> Schema:
    """With meanings, and the tag required that tells a kind of component from the others."""
    made["description"] = inspect.getdoc(cls) or ""
    for key, meaning in _meanings(cls).items():  # type: ignore[arg-type]  # a class is hashable
        if key in made.get("properties", ()):
            made["properties"][key].setdefault("description", meaning)
    for registry in (each for each in COMPONENTS.values() if each is not filters):
        if any(kind is cls and name != registry.default for name, kind in registry.items()):
            made["required"] = sorted({*made.get("required", ()), registry.tag})
    return made


@cache
def _meanings(cls: type[object]) -> dict[str, str]:
    """By field, the docstring under it; a field that is declared again without one keeps that of the base."""
    found: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        if base.__module__.startswith(("builtins", "pydantic")):
            continue
        try:
            source = textwrap.dedent(inspect.getsource(base))
        except (OSError, TypeError):  # made in an interactive session
            continue
        for field, text in pairwise(ast.walk(ast.parse(source))):
            match field, text:
                case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(meaning))):
                    found[name] = " ".join(meaning.split())
    return found
