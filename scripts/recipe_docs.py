"""Prints docs/recipe-keys.md: every key of every kind of recipe, from the schema."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import yaml

from stillroom.common.registry import Registry
from stillroom.pipeline.config.kinds import recipe_kinds
from stillroom.pipeline.config.schema import COMPONENTS, schema
from stillroom.traces.filters.base import filters

SCHEMA = schema()
DEFS = SCHEMA["$defs"]

HEAD = """<!-- made by `make docs`; a test holds it to the program -->

# Recipe keys

Every key that a recipe may have. `stillroom new KIND` writes a recipe to start from, with these keys as comments. Its
first line, `# yaml-language-server: $schema=…`, makes editors complete and check keys; `stillroom schema` prints the
schema. `a.b` is the key `b` under `a`, and `a[].b` is the key `b` of each item of the list `a`.
"""
WORDS = {
    "string": "text",
    "boolean": "true or false",
    "object": "keys",
    "integer": "integer",
    "number": "number",
    "null": "null",
}
LIMITS = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}


class Row(NamedTuple):
    """One key."""

    key: str
    type: str
    default: str
    meaning: str


def text() -> str:
    """The whole page."""
    return "\n".join(
        [HEAD, *_contents(), *_recipes(), *(line for each in COMPONENTS.values() for line in _components(each))]
    )


def _contents() -> Iterator[str]:
    kinds = ", ".join(f"[{name}](#recipe-{name})" for name in recipe_kinds)
    yield f"- Kinds of recipe: {kinds}"
    for registry in COMPONENTS.values():
        yield f"- {_plural(registry)}: {', '.join(_link(registry, name) for name in registry.in_yaml)}"
    yield ""


def _recipes() -> Iterator[str]:
    for name, model in recipe_kinds.items():
        marks = " or ".join(f"`{mark}`" for mark in sorted(model.marks))
        yield f"## Recipe: {name}\n\n{_about(model)}\n"
        yield (
            f"A recipe with {marks} is of this kind.\n"
            if marks
            else "A recipe without the keys that mark another kind is of this kind.\n"
        )
        base = next((key for key, each in recipe_kinds.items() if each in model.__mro__[1:]), None)
        rows = list(_rows(DEFS[model.__name__]))
        if base is not None:
            yield f"All keys of [{base}](#recipe-{base}), and these:\n"
            known = set(_rows(DEFS[recipe_kinds[base].__name__]))
            rows = [row for row in rows if row not in known]
        yield from _table(rows)


def _components(registry: Registry[Any]) -> Iterator[str]:
    tables = {name: list(_rows(DEFS[kind.__name__])) for name, kind in registry.items() if name in registry.in_yaml}
    first, *others = tables.values()
    common = [row for row in first if all(row in other for other in others)]
    yield f"## {_plural(registry)}\n"
    if registry is filters:
        yield "An item of `filters` is a name, or one name with the keys below it: `{max_tokens: {limit: 2048}}`.\n"
    elif registry.default is not None:
        yield f"Chosen by the key `{registry.tag}`; without it, `{registry.default}`.\n"
    else:
        yield f"Chosen by the key `{registry.tag}`, which is required.\n"
    if common:
        yield "Every kind has these keys:\n"
        yield from _table(common)
    for name, kind in ((name, registry[name]) for name in registry.in_yaml):
        rows = [row for row in tables[name] if row not in common]
        yield f"### {_heading(registry, name)}\n\n{_about(kind)}\n"
        yield from _table(rows) if rows else ["No further keys.\n" if common else "No keys.\n"]


def _rows(node: dict[str, Any], path: str = "") -> Iterator[Row]:
    """The keys of an object and of the objects in it; those of a component have separate tables."""
    for key, each in sorted(node["properties"].items(), key=lambda item: item[0] not in node.get("required", ())):
        if "const" in each:
            continue  # which kind of component it is
        required = key in node.get("required", ())
        yield Row(path + key, _type(each), _default(each, required), each.get("description", ""))
        for inner, name in _inner(each, path + key):
            yield from _rows(inner, f"{name}.")


def _inner(node: dict[str, Any], name: str) -> Iterator[tuple[dict[str, Any], str]]:
    """The objects under a key, with the name of the path to them."""
    if "$ref" in node:
        yield DEFS[node["$ref"].rpartition("/")[2]], name
    for each in node.get("anyOf", ()):
        yield from _inner(each, name)
    if isinstance(node.get("items"), dict):
        yield from _inner(node["items"], f"{name}[]")


def _type(node: dict[str, Any]) -> str:
    if (registry := _registry(node)) is not None:
        names = ", ".join(_link(registry, name) for name in _consts(node))
        return "[filter](#filters)" if registry is filters else f"one of {names}"
    if "$ref" in node:
        return "keys"
    if "anyOf" in node:
        return " or ".join(dict.fromkeys(map(_type, node["anyOf"])))
    if "enum" in node or "const" in node:
        return ", ".join(f"`{value}`" for value in node.get("enum", [node.get("const")]))
    if node.get("type") == "array":
        return f"list of {_type(node['items'])}" if isinstance(node.get("items"), dict) else "list"
    for value in (node.get("additionalProperties"), *node.get("patternProperties", {}).values()):
        if isinstance(value, dict):
            return f"names with {_type(value)}"
    limits = ", ".join(f"{sign} {node[limit]}" for limit, sign in LIMITS.items() if limit in node)
    return f"{WORDS.get(node.get('type', ''), 'any value')}{' ' + limits if limits else ''}"


def _registry(node: dict[str, Any]) -> Registry[Any] | None:
    if any("enum" in each for each in node.get("oneOf", ())):
        return filters
    names = set(_consts(node))
    return next(
        (
            each
            for each in COMPONENTS.values()
            if each is not filters and names and names <= set(each) and _tagged(node, each)
        ),
        None,
    )


def _tagged(node: dict[str, Any], registry: Registry[Any]) -> bool:
    refs = {each["$ref"].rpartition("/")[2] for each in node["oneOf"]}
    return refs <= {kind.__name__ for kind in registry.values()}


def _consts(node: dict[str, Any]) -> list[str]:
    whole = (DEFS[each["$ref"].rpartition("/")[2]] for each in node.get("oneOf", ()) if "$ref" in each)
    return [value["const"] for each in whole for value in each["properties"].values() if "const" in value]


def _default(node: dict[str, Any], required: bool) -> str:
    if required:
        return "required"
    default = node.get("default", {})
    if isinstance(default, dict):
        return ""
    return f"`{yaml.safe_dump(default, default_flow_style=True, width=9999).removesuffix('...' + chr(10)).strip()}`"


def _table(rows: Iterable[Row]) -> Iterator[str]:
    yield "| key | type | default | meaning |\n|---|---|---|---|"
    for row in rows:
        yield "| " + " | ".join(cell.replace("|", "\\|") for cell in row._replace(key=f"`{row.key}`")) + " |"
    yield ""


def _about(model: type[Any]) -> str:
    return " ".join(DEFS[model.__name__]["description"].split())


def _plural(registry: Registry[Any]) -> str:
    what = registry.what.capitalize()
    return f"{what[:-1]}ies" if what.endswith("y") else f"{what}s"


def _heading(registry: Registry[Any], name: str) -> str:
    return f"{registry.what.capitalize()}: {name}"


def _link(registry: Registry[Any], name: str) -> str:
    return f"[{name}](#{_heading(registry, name).lower().replace(':', '').replace(' ', '-')})"


if __name__ == "__main__":
    sys.stdout.write(text())
