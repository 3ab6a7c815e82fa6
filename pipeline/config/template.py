"""A recipe to start from: what `stillroom new` writes.

    template("traces", "my_tutor").text

Keys that have to be there are live; every other one is a comment with its default and meaning, so that taking away a
`#` changes nothing. All of it comes from the schema. What only you can know is `FILL_IN`.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from stillroom.errors import InputError
from stillroom.pipeline.config.schema import SHIPPED, Schema, schema

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
