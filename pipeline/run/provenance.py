"""What a run was made from, for `run.json`: hashes of its tasks, of its recipe and of every file it reads.

They say later whether a dataset comes from what lies before you. Times and places do not enter: the same tasks have
the same hash on every machine.

    made_from(loaded, tasks)    # {"recipe": {…}, "hashes": {"tasks": …, "test_tasks": …, "recipe": …, "files": {…}}}
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from stillroom.common.files import at_home
from stillroom.common.records import Task
from stillroom.errors import MissingFile
from stillroom.pipeline.config.kinds import Loaded
from stillroom.pipeline.config.load import dump
from stillroom.traces.tasks import TaskSet


def made_from(loaded: Loaded[Any], tasks: TaskSet) -> dict[str, Any]:
    """Facts for `run.json`. `recipe`: where it was read, and the folder that its relative paths start at.
    `hashes`: SHA-256 in hex. Raises MissingFile for an input file that went away."""
    hashes = {
        "recipe": hashlib.sha256(dump(loaded.recipe).encode()).hexdigest(),
        "tasks": tasks_hash(tasks.train),
        "test_tasks": tasks_hash(tasks.test),
        "files": {name: file_hash(path) for name, path in input_files(loaded).items()},
    }
    return {"recipe": {"path": str(loaded.path.resolve()), "base": str(loaded.base.resolve())}, "hashes": hashes}


def tasks_hash(tasks: Iterable[Task]) -> str:
    """The content of tasks in their order: id, messages, reference, metadata; not where they stood."""
    found = hashlib.sha256()
    for task in tasks:
        content = [task.id, [m.as_dict() for m in task.messages], task.reference, dict(task.metadata)]
        # repr for what JSON has no form for (a date, say): stable, and no run fails over its fingerprint.
        found.update(json.dumps(content, sort_keys=True, default=repr).encode() + b"\n")
    return found.hexdigest()


def input_files(loaded: Loaded[Any]) -> dict[str, Path]:
    """The local files that a recipe reads, by the path that the recipe gives; a folder's files one by one."""
    found: dict[str, Path] = {}
    for given in loaded.recipe.files:
        path = loaded.base / at_home(given)
        if path.is_dir():
            inside = sorted(p for p in path.rglob("*") if p.is_file())
            found.update({f"{given}/{p.relative_to(path).as_posix()}": p for p in inside})
        elif path.is_file():
            found[given] = path
    return found


def file_hash(path: Path) -> str:
    """SHA-256 of a file, in hex."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise MissingFile(f"the input file {path} cannot be read: {error.strerror}") from None
