"""Reads a recipe: YAML, environment variables in paths, `--set` overrides, validation that names the line.

    load_recipe("quickstart", ["keep.per_task=2"])     # the name of a shipped recipe, or a path

`${NAME}` and `${NAME:-default}` in a string are replaced by the environment variable; nothing else is expanded. A
relative path in a recipe starts at the recipe's folder, in a shipped recipe at the current folder.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from pydantic import ValidationError

from stillroom.errors import MissingFile, RecipeError
from stillroom.recipes.explain import explain
from stillroom.recipes.schema import Recipe
from stillroom.recipes.yaml_lines import Located, read_yaml

_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}")


class Loaded(NamedTuple):
    """A recipe, the folder its relative paths start at, and where it was read from."""

    recipe: Recipe
    base: Path
    path: Path


def shipped() -> dict[str, Path]:
    """The recipes that come with Stillroom, by name."""
    room = Path(str(files("stillroom.recipes")))
    return {path.parent.name: path for path in sorted(room.glob("*/recipe.yaml"))}


def load_recipe(recipe: str | Path, overrides: Sequence[str] = ()) -> Loaded:
    """Reads and validates. Raises MissingFile, or RecipeError naming key, file and line of every mistake."""
    path, base = _find(recipe)
    located = read_yaml(path)
    for override in overrides:
        _apply(located, override)
    values = _expand(located.values, path)
    try:
        return Loaded(Recipe.model_validate(values), base, path)
    except ValidationError as error:
        raise RecipeError(explain(error, Recipe, located)) from None


def dump(recipe: Recipe) -> str:
    """The recipe as YAML with every default spelled out."""
    values = recipe.model_dump(mode="json", by_alias=True)
    return yaml.safe_dump(values, sort_keys=False, allow_unicode=True, width=110)


def _find(recipe: str | Path) -> tuple[Path, Path]:
    path = Path(recipe)
    if path.is_dir() and (path / "recipe.yaml").is_file():
        path = path / "recipe.yaml"
    if path.is_file():
        return path, path.resolve().parent
    known = shipped()
    if str(recipe) in known:
        return known[str(recipe)], Path.cwd()
    close = difflib.get_close_matches(str(recipe), known, 1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    raise MissingFile(f"no recipe {str(recipe)!r}: {hint}give the path of a YAML file, or one of {', '.join(known)}")


def _apply(located: Located, override: str) -> None:
    """Sets `a.b=c`; c is read as YAML."""
    dotted, equals, text = override.partition("=")
    keys = dotted.strip().split(".")
    if not equals or not all(keys):
        raise RecipeError(f"--set {override}: expected KEY=VALUE, such as keep.per_task=2")
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise RecipeError(f"--set {override}: the value is no YAML: {error}") from None
    parent = located.values
    for key in keys[:-1]:
        parent = parent.setdefault(key, {}) if parent.get(key) is not None else _made(parent, key)
        if not isinstance(parent, dict):
            raise RecipeError(f"--set {override}: {key} holds no keys")
    parent[keys[-1]] = value
    located.overridden.add(tuple(keys))


def _made(parent: dict[str, Any], key: str) -> dict[str, Any]:
    parent[key] = {}
    made: dict[str, Any] = parent[key]
    return made


def _expand(value: Any, path: Path) -> Any:
    if isinstance(value, dict):
        return {k: _expand(v, path) for k, v in value.items()}
    if isinstance(value, list):
        return [_expand(v, path) for v in value]
    return _VARIABLE.sub(lambda m: _variable(m, path), value) if isinstance(value, str) else value


def _variable(match: re.Match[str], path: Path) -> str:
    name, default = match[1], match[2]
    value = os.environ.get(name, default)
    if value is None:
        raise RecipeError(
            f"{path}: the environment variable {name} is not set: export it, or write ${{{name}:-default}}"
        )
    return value
