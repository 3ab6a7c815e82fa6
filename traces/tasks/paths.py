"""Finds the files that a recipe names, and suggests near names for one that is not there.

>>> existing(Path("."), "no/such.jsonl", "tasks.path")
Traceback (most recent call last):
stillroom.errors.MissingFile: tasks.path: there is no file no/such.jsonl ...
"""

from __future__ import annotations

import difflib
from pathlib import Path

from stillroom.common.files import at_home, reachable
from stillroom.errors import MissingFile


def existing(base: Path, name: str, key: str) -> Path:
    """The file `name`, relative to `base` unless absolute. Raises MissingFile (also for a folder)."""
    path = reachable(resolve(base, name), key)
    if path.is_file():
        return path
    if path.is_dir():
        names = sorted(item.name for item in path.glob("*.jsonl"))[:3]
        inside = f" ({', '.join(names)})" if names else ""
        raise MissingFile(f"{key}: {path} is a folder, a file is needed: name the file in it{inside}")
    raise MissingFile(f"{key}: there is no file {path}{near_names(path)}")


def resolve(base: Path, name: str) -> Path:
    """`base / name`, with `~` for the home folder."""
    return base / at_home(name)


def near_names(path: Path) -> str:
    """`: did you mean …?`, from the files next to a missing one; or which folder is missing already."""
    parent = path.parent
    if not parent.is_dir():
        return f": the folder {parent} does not exist"
    names = sorted(item.name for item in parent.iterdir())
    near = difflib.get_close_matches(path.name, names, n=3, cutoff=0.6)
    count = "1 entry" if len(names) == 1 else f"{len(names):,} entries"
    return f": did you mean {' or '.join(near)}?" if near else f": {count} in {parent}, none with a near name"
