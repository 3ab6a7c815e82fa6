"""Reading a run that is there: which folder it is, what its `run.json` says, which recipe it was made with.

    path, facts = one_run("runs/quickstart")
    own_recipe(path, facts).recipe

Nothing is written here; `RunFolder` does that.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, NonNegativeInt, ValidationError

from stillroom.common.files import reachable
from stillroom.errors import InputError, MissingFile, RunFolderError
from stillroom.pipeline.config.kinds import Loaded, RecipeBase
from stillroom.pipeline.config.load import Overrides, RecipeLike, load_any, shipped
from stillroom.sampling.ledger import FILE as LEDGER

FACTS = "run.json"

PLACES = ("rounds/*", "stages/*", "controls/one_round")
"""Where the runs of a chain lie, in its folder."""


# -- which folder ------------------------------------------------------------------------------------------------


def run_path(out: str | Path | None, name: str) -> Path:
    """The folder of a run: `out`, or `runs/<name>`. Raises InputError for one that cannot be."""
    return reachable(Path(out) if out is not None else Path("runs") / name, "the run's folder (--out)")


def folder_of(run: RecipeLike) -> Path:
    """The folder of a run: its path as it is, or the recipe whose default folder it is (the name of a shipped
    one, the path of a YAML file, a dict). Raises InputError for what cannot be one."""
    if not isinstance(run, Mapping):
        path = reachable(Path(run), "the run's folder")
        if path.is_dir() or not (path.suffix in (".yaml", ".yml") or str(run) in shipped()):
            return path
    return run_path(None, load_any(run).recipe.name)


# -- reading a run that is there ---------------------------------------------------------------------------------


def one_run(run: RecipeLike) -> tuple[Path, dict[str, Any]]:
    """The folder of a run that is there, and what its `run.json` says. `run`: as for `folder_of`. Raises as
    `facts_in` does, and InputError for the folder of a loop or a chain, which holds many runs."""
    path = folder_of(run)
    facts = facts_in(path)
    refuse_chain(path, parts_of(path))
    return path, facts


def refuse_chain(path: Path, parts: Sequence[Path]) -> None:
    """Raises InputError for a folder that holds other runs."""
    if parts:
        raise InputError(f"{path} holds {len(parts)} runs: ask of one of them, such as {parts[0]}")


def facts_in(path: Path) -> dict[str, Any]:
    """What `run.json` of a run's folder says. Raises MissingFile, or RunFolderError where it cannot be read."""
    if not path.is_dir():
        raise MissingFile(f"there is no folder {path}: give the folder of a run, such as runs/quickstart")
    try:
        facts, why = read_facts(path), ""
    except ValueError as error:
        facts, why = {}, f" ({error})"
    if facts.get("name") is not None:
        return facts
    way = f", or its recipe has to be run again, which makes run.json again: {path / LEDGER} is there"
    raise RunFolderError(
        f"{path} holds no readable run.json{why}: it is not the folder of a run"
        + (way if (path / LEDGER).is_file() else "")
    )


def own_recipe(path: Path, facts: Mapping[str, Any], overrides: Overrides = ()) -> Loaded[RecipeBase]:
    """The recipe that the run was made with, as resolved, with its paths starting where they did."""
    base = (facts.get("recipe") or {}).get("base")
    if base is None:
        raise RunFolderError(f"{path / FACTS} does not say where the recipe was: name it with --recipe")
    return load_any(path / "recipe.yaml", overrides)._replace(base=Path(base))


def parts_of(folder: Path) -> list[Path]:
    """The folders of the runs of a loop or a chain, in order; none where it is one run. Raises RunFolderError where
    none has begun yet."""
    try:
        wanted = read_facts(folder).get("parts")  # of a finished one: a longer one may have stood here before
    except ValueError:
        wanted = None

    def order(path: Path) -> tuple[int, str]:  # rounds by number, stages by name
        return (int(path.name) if path.name.isdigit() else 0), path.name

    begun = [
        path
        for place in PLACES
        for path in sorted(folder.glob(place), key=order)
        if (path / FACTS).is_file() and (wanted is None or path.relative_to(folder).as_posix() in wanted)
    ]
    kept = recipe_in(folder) or {}
    if not begun and not kept.keys().isdisjoint({"loop", "stages"}):
        raise RunFolderError(f"{folder} holds many runs, and none of them has begun yet: run its recipe")
    return begun


def recipe_in(path: Path) -> dict[str, Any] | None:
    """The keys in the folder's `recipe.yaml`; None where there is none or it is damaged."""
    try:
        found = yaml.safe_load((path / "recipe.yaml").read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def read_facts(path: Path) -> dict[str, Any]:
    """What `run.json` in the folder says; nothing where there is none.

    Raises ValueError, in words, where it cannot be read or no run has written it.
    """
    try:
        facts = json.loads((path / FACTS).read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        raise ValueError(error.strerror or str(error)) from None
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if not isinstance(facts, dict):
        raise ValueError("it holds no facts of a run")
    try:
        _Facts.model_validate(facts)
    except ValidationError as error:
        name = error.errors(include_url=False)[0]["loc"][0]
        raise ValueError(f"its {name} cannot be what a run has written") from None
    return facts


class _Facts(BaseModel, strict=True):
    """Facts that the program itself goes by, and what they must be; any others may stand there, too."""

    name: str | None = None
    started: str | None = None
    finished: str | None = None
    stages: dict[str, str | None] | None = None
    teacher: dict[str, str | None] | None = None
    sources: dict[str, str | None] | None = None
    recipe: dict[str, str | None] | None = None
    dtypes: dict[str, str | None] | None = None
    attempts: NonNegativeInt | None = None
    rows: NonNegativeInt | None = None
    made: dict[str, dict[str, str | None]] | None = None
    hashes: dict[str, Any] | None = None
    parts: list[str] | None = None
    trusted: list[str] | None = None
    seconds: float | None = None
