"""The keys of a recipe as they stand in its YAML, `--set` and environment variables in them, each with its line.

Only plain data is read (no tags that build objects). A key that stands twice is refused, and so is what no recipe
needs and what takes memory or time without end: values by the thousand (aliases of aliases), nesting without end,
numbers of hundreds of digits.

`${NAME}` and `${NAME:-default}` in a string are replaced by the environment variable; nothing else is expanded, and
only names in capitals are, so that LaTeX's `${x}` in a prompt stays as it is. A recipe is kept with its run, so a
variable whose name says that it holds a secret is refused, as is what looks like a key. Of every other variable the
records keep the name, and its value is taken out of what is kept, shown or logged (`stillroom.common.secrets`).

Pydantic's errors become messages: key, file, line, what was found, what is allowed.
"""

from __future__ import annotations

import os
import re
import typing
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from stillroom.common import registry
from stillroom.common.registry import Kinds
from stillroom.common.secrets import is_key, keep_value, named, names_a_secret
from stillroom.common.text import did_you_mean
from stillroom.errors import MissingFile, RecipeError

Loc = tuple[str | int, ...]

MOST_VALUES, DEEPEST, LONGEST_NUMBER = 50_000, 50, 100
"""Values with those that aliases repeat; levels of nesting; characters of a number."""
_NUMBERS = ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")
_KEY_TAGS = ("tag:yaml.org,2002:str", "tag:yaml.org,2002:merge")


@dataclass(slots=True)
class Located:
    """The values, and by location of a key or list item its line from 1. `overridden`: keys set from outside."""

    path: Path
    values: dict[str, Any]
    lines: dict[Loc, int]
    overridden: set[tuple[str, ...]] = field(default_factory=set)

    def override(self, changes: Sequence[str] | Mapping[str, Any]) -> None:
        """Sets `a.b=c`, c read as YAML, or `a.b` to a value. Messages name the key alone, for the value may be a
        secret."""
        if isinstance(changes, Mapping):
            for dotted, value in changes.items():
                self._set(dotted, value)
            return
        for change in changes:
            dotted, equals, text = change.partition("=")
            dotted = dotted.strip()
            if not equals:
                raise RecipeError(f"--set {dotted[:200]}: {_SETTING}")
            try:
                value = _read(text, {}, Path("the value"))
            except yaml.YAMLError as error:
                why = f"the value is not YAML: {getattr(error, 'problem', None) or ''}"
                raise RecipeError(f"--set {dotted}: {why}") from None
            except ValueError as error:
                raise RecipeError(f"--set {dotted}: {error}") from None
            self._set(dotted, value)

    def _set(self, dotted: str, value: Any) -> None:
        keys = dotted.split(".")
        if not all(keys):
            raise RecipeError(f"--set {dotted[:200]}: {_SETTING}")
        if len(keys) > DEEPEST:
            raise RecipeError(f"--set {dotted[:40]}…: {len(keys):,} keys within each other, no recipe is so deep")
        parent = self.values
        for key in keys[:-1]:
            if parent.get(key) is None:
                parent[key] = {}
            parent = parent[key]
            if not isinstance(parent, dict):
                kind = "a list" if isinstance(parent, list) else "a plain value"
                raise RecipeError(f"--set {dotted}: {key} is {kind} and holds no keys")
        parent[keys[-1]] = plain(value)
        self.overridden.add(tuple(keys))

    def expanded(self) -> Any:
        """The values with environment variables in them. Raises RecipeError for a key or a secret among them, and for
        a variable that is not set."""
        return self._expanded(self.values, ())

    def _expanded(self, value: Any, loc: Loc) -> Any:
        if isinstance(value, dict):
            return {k: self._expanded(v, (*loc, str(k))) for k, v in value.items()}
        if isinstance(value, list):
            return [self._expanded(v, (*loc, i)) for i, v in enumerate(value)]
        if not isinstance(value, str):
            return value
        kept = (
            "and a recipe is kept with its run: a teacher's key is read from the variable that teacher.api_key_env "
            "names"
        )
        if is_key(value):
            raise RecipeError(f"{place(loc, self)}: this looks like a key, {kept}")

        def variable(match: re.Match[str]) -> str:
            name, default = match[1], match[2]
            if names_a_secret(name):
                raise RecipeError(f"{place(loc, self)}: ${{{name}}} looks like a secret, {kept}")
            if (given := os.environ.get(name)) is not None:
                keep_value(given, name, repr(self.values))
                return given
            if default is None:
                raise RecipeError(
                    f"{place(loc, self)}: the environment variable {name} is not set: export it, or write "
                    f"${{{name}:-default}}"
                )
            return str(default)

        return _VARIABLE.sub(variable, value)


_VARIABLE = re.compile(r"\$\{([A-Z_][A-Z0-9_]*)(?::-([^}]*))?\}")
_SETTING = "expected KEY=VALUE, such as keep.per_task=2"


def plain(value: Any) -> Any:
    """A copy in the types that YAML has; what is not plain data is left for the validation to name."""
    if isinstance(value, Mapping):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    return str(value) if isinstance(value, Path) else value


def read_yaml(path: Path) -> Located:
    """Reads a mapping. Raises MissingFile or RecipeError."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise MissingFile(f"cannot read {path}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise RecipeError(f"{path} is not UTF-8 (byte {error.start}): save it as UTF-8") from None
    lines: dict[Loc, int] = {}
    try:
        values = _read(text, lines, path)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark is not None else ""
        raise RecipeError(f"{path}{where}: not YAML: {getattr(error, 'problem', None) or error}") from None
    except ValueError as error:
        raise error if isinstance(error, RecipeError) else RecipeError(f"{path}: {error}") from None
    if values is None:
        raise RecipeError(f"{path} is empty: a recipe has at least the keys name, tasks and teacher")
    if not isinstance(values, dict):
        raise RecipeError(f"{path}: a recipe is a mapping of keys, found {type(values).__name__}")
    return Located(path, values, lines)


def _read(text: str, lines: dict[Loc, int], path: Path) -> Any:
    """Looks at all that is there before anything is built of it. Raises YAMLError or ValueError."""
    depth = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):  # without end, it would be composed without end
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > DEEPEST:
            raise ValueError(_TOO_DEEP)
    try:
        _walk(yaml.compose(text, Loader=yaml.SafeLoader), (), lines, path)
        return yaml.safe_load(text)
    except RecursionError:
        raise ValueError(_TOO_DEEP) from None


_TOO_DEEP = "nested too deep, or an alias (*name) within its own anchor (&name)"


def _walk(node: yaml.Node | None, loc: Loc, lines: dict[Loc, int], path: Path) -> None:
    """Notes the line of every key. Raises ValueError for what is more than a recipe holds."""
    if len(loc) > DEEPEST:
        raise ValueError(_TOO_DEEP)
    if len(lines) > MOST_VALUES:
        raise ValueError(f"more than {MOST_VALUES:,} values: do its aliases (*name) repeat each other?")
    if isinstance(node, yaml.ScalarNode) and node.tag in _NUMBERS and len(node.value) > LONGEST_NUMBER:
        raise ValueError(f"line {node.start_mark.line + 1}: a number of {len(node.value):,} characters")
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            here = (*loc, str(key.value))
            line = key.start_mark.line + 1
            if key.tag not in _KEY_TAGS:
                raise RecipeError(
                    f"{path}, line {line}: the key {str(key.value)[:60]} is not text: write it in quotes"
                )
            if here in lines:
                dotted = ".".join(map(str, here))
                raise RecipeError(f"{path}, line {line}: {dotted} stands there twice (first in line {lines[here]})")
            lines[here] = line
            _walk(value, here, lines, path)
    elif isinstance(node, yaml.SequenceNode):
        for i, value in enumerate(node.value):
            lines[(*loc, i)] = value.start_mark.line + 1
            _walk(value, (*loc, i), lines, path)


# -- messages -------------------------------------------------------------------------------------------------------

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
    lines = []
    for each in error.errors(include_url=False):
        loc = _in_file(each["loc"], located)
        lines.append(f"{place(loc, located)}: {_what(dict(each), loc, model, located)}")
    return named("\n".join(lines))


def place(loc: Loc, located: Located) -> str:
    """Where a key stands, and its name: `recipe.yaml, line 7: teacher.model`."""
    dotted = _dotted(loc)
    parts = [loc[:length] for length in range(len(loc), 0, -1)]
    for part in parts:
        if tuple(map(str, part)) in located.overridden:
            set_there = f"--set {_dotted(part)}"
            return set_there if part == loc else f"{set_there}: {dotted}"
    line = next((f", line {line}" for part in parts if (line := located.lines.get(part))), "")
    return f"{located.path}{line}: {dotted or 'recipe'}"


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
    parents = {keys[: i + 1] for keys in located.overridden for i in range(len(keys))}
    known: Loc = ()
    for i, part in enumerate(loc):
        last = i == len(loc) - 1
        if last or (*known, part) in located.lines or (*map(str, known), str(part)) in parents:
            known = (*known, part)
    return known


def _dotted(loc: Loc) -> str:
    return ".".join(str(part + 1) if isinstance(part, int) else part for part in loc)


def _keys_at(model: type[BaseModel], loc: Loc, values: Any) -> set[str]:
    """The keys that may stand at `loc` of a recipe with these `values`, which tell the kind of a teacher or judge."""
    places: list[_Place] = [model]
    for part in loc:
        if isinstance(part, str):  # the models of a list are those of its items
            places = [found for place in places for found in _within(place, part, values)]
        values = values[part] if isinstance(values, dict | list) else None  # type: ignore[index]
    keys = set[str]()
    for model_there in (found for place in places if (found := _model(place, values)) is not None):
        fields = model_there.model_fields
        # A filter's name is how it is called in the list, not a key within it.
        implied = "name" in fields and typing.get_origin(fields["name"].annotation) is typing.Literal
        keys |= fields.keys() - ({"name"} if implied else set())
    return keys


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
