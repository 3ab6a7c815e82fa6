"""Reads a recipe: YAML, environment variables in paths, `--set` overrides, validation that names the line.

    load_recipe("quickstart", ["keep.per_task=2"])     # the name of a shipped recipe, or a path
    load_any("writing_recorded")                       # also recipes of preferences, and of judges

What kind a recipe is, its keys tell: `candidates` or `pairs` are the preference path's, `labelled` with `recordings`
compares judges, `loop` distils round after round, `stages` is a chain of runs, anything else distils traces.

`${NAME}` and `${NAME:-default}` in a string are replaced by the environment variable; nothing else is expanded, and
only names in capitals are, so that LaTeX's `${x}` in a prompt stays as it is. A recipe is kept with its run, so a
variable whose name says that it holds a secret is refused, as is what looks like a key. Of every other variable the
records keep the name, and its value is taken out of what is kept, shown or logged (`stillroom.common.secrets`). A
relative path in a recipe starts at the recipe's folder, in a shipped recipe at the current folder.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from pydantic import BaseModel, ValidationError

from stillroom.common.files import reachable
from stillroom.common.secrets import is_key, keep_value, named_in, names_a_secret
from stillroom.common.text import did_you_mean
from stillroom.errors import MissingFile, RecipeError
from stillroom.pipeline.config.kinds import Loaded, RecipeBase, kind_name, kind_of, recipe_kinds
from stillroom.pipeline.config.recipe import Recipe
from stillroom.pipeline.config.server_names import told_apart
from stillroom.pipeline.config.validation_errors import explain, place
from stillroom.pipeline.config.yaml_source import DEEPEST, Loc, Located, read_value, read_yaml

_VARIABLE = re.compile(r"\$\{([A-Z_][A-Z0-9_]*)(?::-([^}]*))?\}")


def shipped() -> dict[str, Path]:
    """The recipes that come with Stillroom, by name."""
    room = Path(str(files("stillroom.recipes")))
    return {path.parent.name: path for path in sorted(room.glob("*/recipe.yaml"))}


class Summary(NamedTuple):
    """A shipped recipe in one line."""

    name: str
    kind: str
    description: str


def summaries() -> list[Summary]:
    """The shipped recipes, each with the first clause of the comment at its head."""
    found = []
    for name, path in shipped().items():
        head = re.match(r"(?:#.*\n)*", path.read_text(encoding="utf-8"))
        words = " ".join(line.strip("# ") for line in head[0].splitlines()) if head else ""
        model = kind_of(read_yaml(path).values)
        kind = next(kind for kind, each in recipe_kinds.items() if each is model)
        found.append(Summary(name, kind, re.split(r"[.:](?:\s|$)", words, maxsplit=1)[0]))
    return found


RecipeLike = str | Path | Mapping[str, Any]
"""A recipe as the calls take it: the path of a YAML file, the name of a shipped one, or the keys themselves."""

Overrides = Sequence[str] | Mapping[str, Any]
"""`["keep.per_task=2"]`, as after `--set`, or `{"keep.per_task": 2}`."""


def load_any(recipe: RecipeLike, overrides: Overrides = ()) -> Loaded[RecipeBase]:
    """Reads and validates. Raises MissingFile, or RecipeError naming key, file and line of every mistake."""
    located, base = _located(recipe)
    path = located.path
    if isinstance(overrides, Mapping):
        for dotted, value in overrides.items():
            _set(located, dotted, value)
    else:
        for override in overrides:
            _apply(located, override)
    values = _expand(located.values, (), located)
    model = kind_of(values)
    try:
        return Loaded(told_apart(model.model_validate(values)), base, path)
    except ValidationError as error:
        raise RecipeError(explain(error, model, located)) from None


def load_recipe(recipe: RecipeLike, overrides: Overrides = ()) -> Loaded[Recipe]:
    """As `load_any`, for a recipe that distils traces. Raises RecipeError for another kind, too."""
    found = load_any(recipe, overrides)
    if not isinstance(found.recipe, Recipe) or kind_name(found.recipe) != "traces":
        raise RecipeError(f"{found.path} is not a recipe of traces, and this works with those only")
    return Loaded(found.recipe, found.base, found.path)


def dump(recipe: BaseModel) -> str:
    """The recipe as YAML with every default spelled out; of what the environment gave, the names."""
    values = named_in(recipe.model_dump(mode="json", by_alias=True))
    return yaml.safe_dump(values, sort_keys=False, allow_unicode=True, width=110)


def _located(recipe: RecipeLike) -> tuple[Located, Path]:
    """The keys of a recipe, and the folder that its relative paths start at: for a dict the current one."""
    if not isinstance(recipe, Mapping):
        path, base = _find(recipe)
        return read_yaml(path), base
    try:
        values = _plain(recipe)
    except RecursionError:
        raise RecipeError(f"{_GIVEN} is nested too deeply: no recipe is so deep") from None
    return Located(_GIVEN, values, dict.fromkeys(_locs(values), 0)), Path.cwd()


_GIVEN = Path("the recipe")
"""What messages call one that was given as a dict."""


def _plain(value: Any) -> Any:
    """A copy in the types that YAML has; what is not plain data is left for the validation to name."""
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return str(value) if isinstance(value, Path) else value


def _locs(value: Any, loc: Loc = ()) -> Iterator[Loc]:
    """Where each value stands in a recipe that has no lines."""
    yield loc
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, each in items:
        yield from _locs(each, (*loc, key))


def _find(recipe: str | Path) -> tuple[Path, Path]:
    path = reachable(Path(recipe), "the recipe")
    if path.is_dir() and (path / "recipe.yaml").is_file():
        path = path / "recipe.yaml"
    if path.is_file():
        return path, path.resolve().parent
    known = shipped()
    if str(recipe) in known:
        return known[str(recipe)], Path.cwd()
    hint = did_you_mean(str(recipe), known)
    raise MissingFile(f"no recipe {str(recipe)!r}: {hint}give the path of a YAML file, or one of {', '.join(known)}")


def _apply(located: Located, override: str) -> None:
    """Sets `a.b=c`; c is read as YAML. Messages name the key alone: the value may be a secret."""
    dotted, equals, text = override.partition("=")
    dotted = dotted.strip()
    if not equals:
        raise RecipeError(f"--set {dotted[:200]}: expected KEY=VALUE, such as keep.per_task=2")
    _set(located, dotted, _value(dotted, text))


def _set(located: Located, dotted: str, value: Any) -> None:
    keys = dotted.split(".")
    if not all(keys):
        raise RecipeError(f"--set {dotted[:200]}: expected KEY=VALUE, such as keep.per_task=2")
    if len(keys) > DEEPEST:
        raise RecipeError(f"--set {dotted[:40]}…: {len(keys):,} keys within each other, no recipe is so deep")
    parent = located.values
    for key in keys[:-1]:
        parent = parent[key] if parent.get(key) is not None else _made(parent, key)
        if not isinstance(parent, dict):
            raise RecipeError(f"--set {dotted}: {key} is {_kind(parent)} and holds no keys")
    parent[keys[-1]] = _plain(value)
    located.overridden.add(tuple(keys))


def _value(dotted: str, text: str) -> Any:
    try:
        return read_value(text)
    except ValueError as error:
        raise RecipeError(f"--set {dotted}: {error}") from None


def _kind(value: Any) -> str:
    return "a list" if isinstance(value, list) else "a plain value"


def _made(parent: dict[str, Any], key: str) -> dict[str, Any]:
    parent[key] = {}
    made: dict[str, Any] = parent[key]
    return made


def _expand(value: Any, loc: Loc, located: Located) -> Any:
    if isinstance(value, dict):
        return {k: _expand(v, (*loc, str(k)), located) for k, v in value.items()}
    if isinstance(value, list):
        return [_expand(v, (*loc, i), located) for i, v in enumerate(value)]
    if isinstance(value, str) and is_key(value):
        raise RecipeError(
            f"{place(loc, located)}: this looks like a key, and a recipe is kept with its run: a teacher's key is "
            "read from the variable that teacher.api_key_env names"
        )
    return _VARIABLE.sub(lambda m: _variable(m, loc, located), value) if isinstance(value, str) else value


def _variable(match: re.Match[str], loc: Loc, located: Located) -> str:
    name, default = match[1], match[2]
    if names_a_secret(name):
        raise RecipeError(
            f"{place(loc, located)}: ${{{name}}} looks like a secret, and a recipe is kept with its run: a teacher's "
            "key is read from the variable that teacher.api_key_env names"
        )
    if (given := os.environ.get(name)) is not None:
        keep_value(given, name, repr(located.values))
    value = given if given is not None else default
    if value is None:
        raise RecipeError(
            f"{place(loc, located)}: the environment variable {name} is not set: export it, or write "
            f"${{{name}:-default}}"
        )
    return value
