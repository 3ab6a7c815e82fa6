"""Rows of a JSON Lines file, one line in memory at a time.

A byte order mark is taken off, blank lines are not rows. A line that is not UTF-8, not JSON or not an object is a
`LeftOut` in the stream, not an exception, so that all bad lines of a file are reported together.

    for row in jsonl_rows(Path("problems.jsonl")): ...
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from stillroom.common.files import at_home, reachable
from stillroom.errors import MissingFile, TaskError
from stillroom.traces.tasks.registry import CommonTasks, LeftOut, Name, Problem, Row, Source, sources

_BOM = b"\xef\xbb\xbf"


@sources.register
class JsonlTasks(CommonTasks):
    """A JSON Lines file."""

    source: Literal["jsonl"]
    path: Name
    """The file, relative to the recipe's folder."""
    test_path: Name | None = None
    """File of held-out tasks; null: they are drawn from `path`."""

    @property
    def files(self) -> tuple[str, ...]:
        return (self.path,) if self.test_path is None else (self.path, self.test_path)

    @property
    def holds_out(self) -> bool:
        return self.test_path is not None if self.test is None else bool(self.test)

    def open(self, base: Path, seed: int) -> Source:
        train = jsonl_rows(_existing(base, self.path, "tasks.path"))
        if self.test_path is None:
            return Source(train, None)
        return Source(train, jsonl_rows(_existing(base, self.test_path, "tasks.test_path")))


def _existing(base: Path, name: str, key: str) -> Path:
    """The file `name`, relative to `base` unless absolute. Raises MissingFile (also for a folder)."""
    path = reachable(base / at_home(name), key)
    if path.is_file():
        return path
    if path.is_dir():
        names = sorted(item.name for item in path.glob("*.jsonl"))[:3]
        inside = f" ({', '.join(names)})" if names else ""
        raise MissingFile(f"{key}: {path} is a folder, a file is needed: name the file in it{inside}")
    raise MissingFile(f"{key}: there is no file {path}{near_names(path)}")


def near_names(path: Path) -> str:
    """`: did you mean …?`, from the files next to a missing one; or which folder is missing already."""
    parent = path.parent
    if not parent.is_dir():
        return f": the folder {parent} does not exist"
    names = sorted(item.name for item in parent.iterdir())
    near = difflib.get_close_matches(path.name, names, n=3, cutoff=0.6)
    count = "1 entry" if len(names) == 1 else f"{len(names):,} entries"
    return f": did you mean {' or '.join(near)}?" if near else f": {count} in {parent}, none with a near name"


def jsonl_rows(path: Path) -> Iterator[Row | LeftOut]:
    """Rows in file order. Raises TaskError when the file as a whole is not UTF-8 text."""
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if number == 1:
                # One message for a file of another kind, in place of one for each of its lines.
                if line.startswith((b"\xff\xfe", b"\xfe\xff")):
                    raise TaskError(f"{path} is UTF-16, not UTF-8: convert it with `iconv -f UTF-16 -t UTF-8`")
                if line.startswith(b"\x1f\x8b"):
                    raise TaskError(f"{path} is compressed with gzip: unpack it with `gunzip`")
                line = line.removeprefix(_BOM)
                if line.lstrip().startswith(b"["):
                    raise TaskError(
                        f"{path} starts with '[': it looks like one JSON array, not one object per line: "
                        "convert it with `jq -c '.[]'`"
                    )
            if line.strip():
                yield _row(f"{path.name}:{number}", line)


def _row(source: str, line: bytes) -> Row | LeftOut:
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError as error:
        return LeftOut(source, Problem.WRONG_ENCODING, f"not UTF-8: byte 0x{line[error.start]:02x} at {error.start}")
    try:
        values: Any = json.loads(text, parse_constant=_refuse_constant)
    except json.JSONDecodeError as error:
        return LeftOut(source, Problem.NOT_JSON, f"{error.msg} at column {error.colno}")
    except (ValueError, RecursionError) as error:
        return LeftOut(source, Problem.NOT_JSON, str(error))
    if not isinstance(values, dict):
        return LeftOut(source, Problem.NOT_AN_OBJECT, f"a {type(values).__name__}, not an object with fields")
    return Row(source, values)


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")
