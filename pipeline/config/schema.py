"""The keys of a recipe as a JSON schema, for editors and docs/recipe-keys.md, and the recipes of `stillroom new`.

    schema("loop")     # one kind of recipe
    schema()           # all kinds: which one is meant, the keys tell
    template("traces", "my_tutor").text

It comes from the models and the registries, plug-ins included. What a key means is the text under its field, or its
`Field(description=…)`. It is read from the source only here: pydantic's `use_attribute_docstrings` would read all of
it at the start of every run (0.25 s). Rules between keys are not in the schema: a recipe that fits may be refused.

In a template, keys that have to be there are live; every other one is a comment with its default and meaning, so that
taking away a `#` changes nothing. What only you can know is `FILL_IN`.
"""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from importlib.resources import files
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from pydantic.json_schema import GenerateJsonSchema, models_json_schema
from pydantic_core import core_schema

from stillroom.common.registry import Registry
from stillroom.errors import InputError, RecipeError
from stillroom.judges.registry import judges
from stillroom.pipeline.config.kinds import recipe_kinds
from stillroom.sampling.policy import policies
from stillroom.sampling.scorers.base import scorers
from stillroom.sampling.teachers.base import teachers
from stillroom.students.methods.registry import methods
from stillroom.students.whitebox.cache.sources import signals
from stillroom.students.whitebox.objectives import objectives
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
    "student.objectives": objectives,
    "student.signal": signals,
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
    top = refs["traces"] if kind is None else refs[kind]
    for name in reversed([name for name in wanted if kind is None and recipe_kinds[name].marks]):
        # The kind that the keys tell, as `kind_of` does.
        marked = {"anyOf": [{"required": [mark]} for mark in sorted(recipe_kinds[name].marks)]}
        top = {"if": marked, "then": refs[name], "else": top}
    return {"$schema": "http://json-schema.org/draft-07/schema#", **top, "$defs": dict(sorted(defs.items()))}


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


# -- templates ------------------------------------------------------------------------------------------------------

PLACEHOLDER = "FILL_IN"

_WIDTH = 79
_BEGIN_WITH = ("jsonl", "openai", "llm")
"""Kinds of component to start from where none is the default."""
_ALSO: Mapping[str, Any] = {
    "loop.tasks.limit": 500,
    "loop.tasks.test": 100,
    "preferences.tasks.reference": None,
    "preferences.student.method": "dpo",
}
"""Keys that have defaults, but not ones that a recipe of that kind can begin with."""


class Template(NamedTuple):
    """The text, and the keys in it that have to be filled in."""

    text: str
    missing: tuple[str, ...]


def template(kind: str, name: str) -> Template:
    """A recipe of that kind, which can be loaded as it is. Raises RecipeError for an unknown kind."""
    made = schema(kind)
    writer = _Writer(made["$defs"], {**_ALSO, f"{kind}.name": name})
    body = "\n".join(writer.block(made, kind))
    about = f"{_first(writer.whole(made)['description'])} Uncomment a key to change it."
    head = "\n".join(f"# {line}" for line in textwrap.wrap(about, _WIDTH - 2))
    return Template(f"# yaml-language-server: $schema={SHIPPED}\n{head}\n{body}\n", tuple(writer.missing))


def write_template(kind: str, path: Path | None = None) -> tuple[Path, tuple[str, ...]]:
    """Writes one; says where and what is missing. The run is named after the file, a `recipe.yaml` after its folder.

    Raises RecipeError for an unknown kind, InputError for a file that is there.
    """
    path = path or Path(f"{kind}.yaml")
    called = path.resolve().parent.name if path.stem == "recipe" else path.stem
    name = re.sub(r"[^A-Za-z0-9_.-]|^[^A-Za-z0-9]", "x", called)[:80] or kind
    made = template(kind, name)
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(made.text)
    except FileExistsError:
        raise InputError(f"{path} is there already: name another file, or remove it first") from None
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror}") from None
    return path, made.missing


class _Writer:
    def __init__(self, defs: Schema, given: Mapping[str, Any]) -> None:
        self._defs, self._given, self.missing = defs, given, list[str]()

    def block(self, node: Schema, path: str, *, live: bool = True, kinds: str = "") -> Iterator[str]:
        """The lines of an object: what has to be there first. `kinds`: what its tag may be else."""
        node = self.whole(node)
        keys = node["properties"]
        tags = [key for key in keys if "const" in keys[key]]
        needed = [*tags, *node.get("required", ()), *(key for key in keys if f"{path}.{key}" in self._given)]
        needed = needed or [next(iter(keys))]  # an empty block would be null
        for key in dict.fromkeys([*needed, *keys]):
            off = "" if key in needed or not live else "#"
            lines = list(self._key(key, keys[key], f"{path}.{key}", off, live, kinds))
            yield from ([""] if "." not in path and len(lines) > 4 else [])
            yield from lines

    def _key(self, key: str, node: Schema, path: str, off: str, live: bool, kinds: str) -> Iterator[str]:
        meaning, chosen, others = node.get("description", ""), self._chosen(node), ""
        if "oneOf" in chosen:
            chosen, others = self._component(chosen, path)
        item = self._chosen(chosen.get("items", {}))
        if "const" in node:
            yield from _line(f"{key}: {node['const']}", f"or: {kinds}" if kinds else "")
        elif live and "properties" in chosen and (not off or node.get("default", 0) != {}):
            yield from _line(f"{off}{key}:", meaning)
            yield from (f"{off}  {line}" for line in self.block(chosen, path, live=not off, kinds=others))
        elif live and not off and "properties" in item and "default" not in node:
            yield from _line(f"{key}:", meaning)
            lines = list(self.block(item, path))
            dash = next(number for number, line in enumerate(lines) if not line.startswith("#"))
            yield from (f"  {'- ' if number == dash else '  '}{line}" for number, line in enumerate(lines))
        else:
            yield from _line(f"{off}{key}: {self._value(node, path, off or not live)}", meaning)

    def _value(self, node: Schema, path: str, off: object) -> str:
        empty = {} if self._chosen(node).get("type") == "object" else PLACEHOLDER
        value = self._given.get(path, node.get("default", empty))
        if value == PLACEHOLDER and not off:
            self.missing.append(path.partition(".")[2])
        text = yaml.safe_dump({} if isinstance(value, dict) else value, default_flow_style=True, width=9999)
        return text.removesuffix("...\n").strip()

    def _chosen(self, node: Schema) -> Schema:
        """The first that may stand there, null apart."""
        node = self.whole(node)
        return self._chosen(node["anyOf"][0]) if "anyOf" in node else node

    def _component(self, node: Schema, path: str) -> tuple[Schema, str]:
        """The kind to start from, and the names of the others."""
        kinds, wanted = {}, list[str]()
        for each in map(self.whole, node["oneOf"]):
            for tag, name in ((key, value["const"]) for key, value in each["properties"].items() if "const" in value):
                kinds[name] = each
                wanted += [self._given[f"{path}.{tag}"]] if f"{path}.{tag}" in self._given else []
                wanted += [] if tag in each.get("required", ()) else [name]
        first = next(name for name in (*wanted, *_BEGIN_WITH, *kinds) if name in kinds)
        return kinds[first], ", ".join(name for name in kinds if name != first)

    def whole(self, node: Schema) -> Schema:
        """What a reference stands for."""
        return self.whole(self._defs[node["$ref"].rpartition("/")[2]]) if "$ref" in node else node


def _line(code: str, meaning: str) -> Iterable[str]:
    """A key with its meaning, on one line or above it."""
    meaning = _first(meaning)
    if len(code) + len(meaning) + 12 <= _WIDTH:  # 12: room for the indentation of the blocks around it
        return (f"{code}  # {meaning}" if meaning else code,)
    return (*(f"# {line}" for line in textwrap.wrap(meaning, _WIDTH - 12)), code)


def _first(text: str) -> str:
    """The first sentence."""
    return re.split(r"(?<=\.)\s+(?=[A-Z`])", " ".join(text.split()), maxsplit=1)[0]
