"""Which files a path names: a file, a pattern of several, or a folder that `datasets` saved.

A pattern gives its files in the order of their names, numbers by value, so that shard 10 follows shard 9. A folder is
taken only if `save_to_disk` wrote it; of any other nobody knows which files are meant, and the message names them.

    files_of(Path("shards/*.parquet"), "tasks.path")     # [shards/1.parquet, shards/2.parquet, shards/10.parquet]
"""

from __future__ import annotations

import difflib
import glob
import json
import re
from pathlib import Path

from stillroom.common.files import reachable
from stillroom.errors import InputError, MissingFile

STATE, SPLITS = "state.json", "dataset_dict.json"
"""What `save_to_disk` writes into the folder of a data set, and of one with splits."""
INFO = frozenset({"dataset_info.json", "dataset_infos.json", SPLITS, STATE, "croissant.json"})
"""What tools write about data next to it; a pattern leaves it out."""
_PATTERN = re.compile(r"[*?[]")


def files_of(path: Path, key: str, *, split: str | None = None) -> list[Path]:
    """The files that `path` names, at least one. `key`: what the path is of, for messages. `split`: of a saved data
    set with several.

    Raises MissingFile where there is none, and InputError for a saved data set without that split.
    """
    path = reachable(path, key)
    if path.is_file():
        return [path]
    if path.is_dir():
        return _saved(path, key, split)
    if _PATTERN.search(str(path)):
        if found := matching(path):
            return found
        raise MissingFile(f"{key}: no file matches {path}{near_names(path)}")
    raise MissingFile(f"{key}: there is no file {path}{near_names(path)}")


def matching(path: Path) -> list[Path]:
    """The files that match a pattern, in the order of their names; none where it is not a pattern. Hidden files, and
    those that only describe data (`INFO`), are not meant."""
    names = glob.glob(str(path), recursive=True) if _PATTERN.search(str(path)) else ()
    return sorted((file for file in map(Path, names) if file.is_file() and file.name not in INFO), key=_in_order)


def _in_order(path: Path) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"([0-9]+)", str(path))]


def _saved(folder: Path, key: str, split: str | None) -> list[Path]:
    """The data files of a folder that `save_to_disk` wrote."""
    if (folder / STATE).is_file():
        return [folder / name for name in _names(folder / STATE)]
    if not (folder / SPLITS).is_file():
        names = sorted(item.name for item in folder.iterdir() if item.is_file() and not item.name.startswith("."))
        inside = f" ({', '.join(names[:3])})" if names else ""
        ending = Path(names[0]).suffix if names else ".jsonl"
        raise MissingFile(
            f"{key}: {folder} is a folder, a file is needed: name the file in it{inside}, or several with a pattern "
            f"such as {folder.name or '.'}/*{ending}"
        )
    names = sorted(item.name for item in folder.iterdir() if (item / STATE).is_file())
    wanted = split or ("train" if "train" in names else None)
    if wanted in names:
        return _saved(folder / str(wanted), key, None)
    if split is None and len(names) == 1:
        return _saved(folder / names[0], key, None)
    asked = "several splits" if split is None else f"no split {split!r}"
    raise InputError(f"{key}: {folder} has {asked}: name the folder of one, {', '.join(names) or 'of which none is'}")


def _names(state: Path) -> list[str]:
    """The names of the data files, which lie in the folder itself. Raises InputError."""
    try:
        found = [str(each["filename"]) for each in json.loads(state.read_text(encoding="utf-8"))["_data_files"]]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise InputError(
            f"{state} is not what `save_to_disk` writes ({type(error).__name__}): save it again"
        ) from None
    wrong = [name for name in found if Path(name).name != name or not (state.parent / name).is_file()]
    if wrong or not found:
        what = f"{wrong[0]!r}, which is not in the folder" if wrong else "no data file"
        raise InputError(f"{state} names {what}: the data set was not saved or copied whole")
    return found


def near_names(path: Path) -> str:
    """`: did you mean …?`, from the files next to a missing one; or which folder is missing already."""
    parent = path.parent
    if not parent.is_dir():
        return f": the folder {parent} does not exist"
    names = sorted(item.name for item in parent.iterdir())
    near = difflib.get_close_matches(path.name, names, n=3, cutoff=0.6)
    count = "1 entry" if len(names) == 1 else f"{len(names):,} entries"
    return f": did you mean {' or '.join(near)}?" if near else f": {count} in {parent}, none with a near name"
