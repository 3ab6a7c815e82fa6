"""Rows of a JSON Lines file, one line in memory at a time.

A byte order mark is taken off, blank lines are not rows. A line that is not UTF-8, not JSON or not an object is a
`LeftOut` in the stream, not an exception, so that all bad lines of a file are reported together.

    for row in jsonl_rows(Path("problems.jsonl")): ...
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from stillroom.errors import TaskError
from stillroom.traces.tasks.paths import existing
from stillroom.traces.tasks.records import LeftOut, Problem, Row
from stillroom.traces.tasks.registry import CommonTasks, Name, Source, sources

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
        train = jsonl_rows(existing(base, self.path, "tasks.path"))
        if self.test_path is None:
            return Source(train, None)
        return Source(train, jsonl_rows(existing(base, self.test_path, "tasks.test_path")))


def jsonl_rows(path: Path) -> Iterator[Row | LeftOut]:
    """Rows in file order. Raises TaskError when the file as a whole is not UTF-8 text."""
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if number == 1:
                _refuse_other_formats(path, line)
                line = line.removeprefix(_BOM)
            if line.strip():
                yield _row(f"{path.name}:{number}", line)


def _refuse_other_formats(path: Path, line: bytes) -> None:
    """One message for a file of another kind, in place of one for each of its lines."""
    if line.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise TaskError(f"{path} is UTF-16, not UTF-8: convert it with `iconv -f UTF-16 -t UTF-8`")
    if line.startswith(b"\x1f\x8b"):
        raise TaskError(f"{path} is compressed with gzip: unpack it with `gunzip`")
    if line.removeprefix(_BOM).lstrip().startswith(b"["):
        raise TaskError(
            f"{path} starts with '[': it looks like one JSON array, not one object per line: "
            "convert it with `jq -c '.[]'`"
        )


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
