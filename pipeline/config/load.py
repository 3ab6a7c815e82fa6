"""Reads a recipe: YAML, environment variables in paths, `--set` overrides, validation that names the line.

    load_recipe("quickstart", ["keep.per_task=2"])     # the name of a shipped recipe, or a path
    load_any("writing_recorded")                       # also recipes of preferences, and of judges

What kind a recipe is, its keys tell: `candidates` or `pairs` are the preference path's, `labelled` with `recordings`
compares judges, `loop` distils round after round, `stages` is a chain of runs, anything else distils traces.

A relative path in a recipe starts at the recipe's folder; in a shipped recipe that does not bring its data, at the
current folder.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from pydantic import BaseModel, ValidationError

from stillroom.common.files import reachable
from stillroom.common.secrets import named_in
from stillroom.common.text import did_you_mean
from stillroom.errors import MissingFile, RecipeError
from stillroom.pipeline.config.kinds import Loaded, RecipeBase, kind_name, kind_of, recipe_kinds
from stillroom.pipeline.config.recipe import Recipe, told_apart
from stillroom.pipeline.config.yaml_source import Loc, Located, explain, plain, read_yaml


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
    located.override(overrides)
    values = located.expanded()
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
    """The recipe as YAML with every default spelled out, but for a temperature and top_p that it leaves to the
    teacher; of what the environment gave, the names."""
    values = named_in(recipe.model_dump(mode="json", by_alias=True, context={"as_given": True}))
    return yaml.safe_dump(values, sort_keys=False, allow_unicode=True, width=110)


def _located(recipe: RecipeLike) -> tuple[Located, Path]:
    """The keys of a recipe, and the folder that its relative paths start at: for a dict the current one."""
    if not isinstance(recipe, Mapping):
        path, base = _find(recipe)
        return read_yaml(path), base
    try:
        values = plain(recipe)
    except RecursionError:
        raise RecipeError(f"{_GIVEN} is nested too deeply: no recipe is so deep") from None

    def locs(value: Any, loc: Loc = ()) -> Iterator[Loc]:
        yield loc
        items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        for key, each in items:
            yield from locs(each, (*loc, key))

    return Located(_GIVEN, values, dict.fromkeys(locs(values), 0)), Path.cwd()  # it has no lines


_GIVEN = Path("the recipe")
"""What messages call one that was given as a dict."""


def _find(recipe: str | Path) -> tuple[Path, Path]:
    path = reachable(Path(recipe), "the recipe")
    if path.is_dir() and (path / "recipe.yaml").is_file():
        path = path / "recipe.yaml"
    if path.is_file():
        return path, path.resolve().parent
    known = shipped()
    if str(recipe) in known:
        found = known[str(recipe)]
        return found, found.parent if any(found.parent.glob("*.jsonl")) else Path.cwd()
    hint = did_you_mean(str(recipe), known)
    raise MissingFile(f"no recipe {str(recipe)!r}: {hint}give the path of a YAML file, or one of {', '.join(known)}")
