"""Reads the rows of one file by its format, and hashes what several files hold.

for row in rows_of(Path("train.parquet")): ...
digest_of([Path("a.jsonl"), Path("b.jsonl")])
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from stillroom.common.row_files.columns import arrow_rows, parquet_rows
from stillroom.common.row_files.inspect_logs import log_rows
from stillroom.common.row_files.opening import SNIFFED, Opened, opened
from stillroom.common.row_files.records import FileRow
from stillroom.common.row_files.text import Parse, array_rows, line_rows, object_rows, parse_json, table_rows
from stillroom.common.row_files.wrapped import unwrapped
from stillroom.errors import InputError, MissingFile

_WHOLE = ("parquet", "arrow", "stream", "log")
"""Formats that are not text, and are read from any place in the file."""


def rows_of(path: Path, parse: Parse = parse_json, *, blanks: bool = False) -> Iterator[FileRow]:
    """The rows of a file in their order. `parse`: gives the value of a text of JSON. `blanks`: whether a blank line
    of JSON Lines is a fault; else it is passed over.

    Raises MissingFile where it cannot be opened, InputError where it as a whole is not rows.
    """
    with opened(path) as found:
        if found.format not in _WHOLE:
            yield from _of_text(path, found, parse, blanks=blanks)
            return
        if found.packed:
            raise InputError(f"{path} is compressed as a whole, and its format is compressed already: unpack it")
    # Outside of the block, whose errors are those of a file that is read from its beginning to its end.
    if found.format == "log":
        yield from log_rows(path, parse)
    elif found.format == "parquet":
        yield from parquet_rows(path)
    else:
        yield from arrow_rows(path, stream=found.format == "stream")


def _of_text(path: Path, found: Opened, parse: Parse, *, blanks: bool) -> Iterator[FileRow]:
    if found.format == "array":
        return array_rows(path, found.stream, parse)
    if found.format == "objects":
        return unwrapped(path, object_rows(path, found.stream, parse), lines=False)
    if found.format == "csv":
        return table_rows(path, found.stream, found.stream.peek(SNIFFED))
    return unwrapped(path, line_rows(path, found.stream, parse, blanks=blanks), lines=True)


def digest_of(files: Sequence[Path]) -> str:
    """The SHA-256 of one file's bytes, in hex; of several, that of theirs in order. Raises MissingFile."""
    found = []
    for file in files:
        try:
            with file.open("rb") as stream:
                found.append(hashlib.file_digest(stream, "sha256").hexdigest())
        except OSError as error:
            raise MissingFile(f"{file} cannot be read: {error.strerror}") from None
    return found[0] if len(found) == 1 else hashlib.sha256(" ".join(found).encode()).hexdigest()
