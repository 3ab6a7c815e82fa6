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

Servers that offer different models under one name are named after their addresses (`told_apart`), so that an answer
on record is nobody's but who gave it.
"""

from __future__ import annotations

import json
import os
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from stillroom.common.files import reachable
from stillroom.common.secret_names import is_key, names_a_secret
from stillroom.common.secrets import keep_value, named_in
from stillroom.common.text import did_you_mean
from stillroom.errors import MissingFile, RecipeError
from stillroom.pipeline.config.kinds import Loaded, RecipeBase, kind_name, kind_of, recipe_kinds
from stillroom.pipeline.config.recipe import Recipe
from stillroom.pipeline.config.yaml_source import DEEPEST, Loc, Located, explain, place, read_value, read_yaml
from stillroom.sampling.teachers.openai import OpenAISettings

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
        for dotted, equals, text in (override.partition("=") for override in overrides):
            dotted = dotted.strip()
            if not equals:
                raise RecipeError(f"--set {dotted[:200]}: expected KEY=VALUE, such as keep.per_task=2")
            try:
                value = read_value(text)
            except ValueError as error:
                raise RecipeError(f"--set {dotted}: {error}") from None
            _set(located, dotted, value)
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

    def locs(value: Any, loc: Loc = ()) -> Iterator[Loc]:
        yield loc
        items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        for key, each in items:
            yield from locs(each, (*loc, key))

    return Located(_GIVEN, values, dict.fromkeys(locs(values), 0)), Path.cwd()  # it has no lines


_GIVEN = Path("the recipe")
"""What messages call one that was given as a dict."""


def _plain(value: Any) -> Any:
    """A copy in the types that YAML has; what is not plain data is left for the validation to name."""
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return str(value) if isinstance(value, Path) else value


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


def _set(located: Located, dotted: str, value: Any) -> None:
    """Sets `a.b`. Messages name the key alone: the value may be a secret."""
    keys = dotted.split(".")
    if not all(keys):
        raise RecipeError(f"--set {dotted[:200]}: expected KEY=VALUE, such as keep.per_task=2")
    if len(keys) > DEEPEST:
        raise RecipeError(f"--set {dotted[:40]}…: {len(keys):,} keys within each other, no recipe is so deep")
    parent = located.values
    for key in keys[:-1]:
        if parent.get(key) is None:
            parent[key] = {}
        parent = parent[key]
        if not isinstance(parent, dict):
            kind = "a list" if isinstance(parent, list) else "a plain value"
            raise RecipeError(f"--set {dotted}: {key} is {kind} and holds no keys")
    parent[keys[-1]] = _plain(value)
    located.overridden.add(tuple(keys))


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


# -- servers of one name -----------------------------------------------------------------------------------------

M = TypeVar("M", bound=BaseModel)


def told_apart(recipe: M) -> M:
    """The recipe, with a name for each server whose model another server offers under the same name.

    The ledger knows a teacher by its identity, which does not say where it is: a model that moves is still that
    model. In one recipe, the same name at two addresses is taken for two models; each is named after its address,
    unless the recipe names it (`teacher.name`).
    """
    addresses: defaultdict[str, set[str]] = defaultdict(set)

    def asked_for(settings: OpenAISettings) -> str:
        return json.dumps([settings.model, settings.name, settings.extra_body], sort_keys=True)

    def note(settings: OpenAISettings) -> OpenAISettings:
        addresses[asked_for(settings)].add(_address(settings))
        return settings

    def named(settings: OpenAISettings) -> OpenAISettings:
        if settings.name is not None or len(addresses[asked_for(settings)]) < 2:
            return settings
        return settings.model_copy(update={"name": _address(settings)})

    _changed(recipe, note)
    found: M = _changed(recipe, named)
    return found


def _address(settings: OpenAISettings) -> str:
    """Several addresses of one model are one, in whatever order they stand there."""
    given = settings.base_url
    urls = (given,) if isinstance(given, str) else given or ("the default address",)
    return " ".join(sorted({url.rstrip("/") for url in urls}))


def _changed(value: Any, change: Callable[[OpenAISettings], OpenAISettings]) -> Any:
    """A copy of plain settings with each server in it changed; the value itself where nothing changes."""
    if isinstance(value, OpenAISettings):
        return change(value)
    if isinstance(value, tuple):
        return tuple(_changed(each, change) for each in value)
    if not isinstance(value, BaseModel):
        return value
    before = {name: getattr(value, name) for name in type(value).model_fields}
    after = {name: _changed(each, change) for name, each in before.items()}
    update = {name: each for name, each in after.items() if each != before[name]}
    return value.model_copy(update=update) if update else value
