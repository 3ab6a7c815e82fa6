"""Rows of text: JSON Lines, a JSON array, objects one after the other, CSV and TSV. One row is in memory at a time.

list(array_rows(path, io.BytesIO(b'[{"a": 1},\\n {"a": 2}]'), parse_json))     # the second is on line 2
"""

from __future__ import annotations

import codecs
import csv
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

from stillroom.common.row_files.opening import SNIFFED, delimiter_of, sep_hint
from stillroom.common.row_files.records import Fault, FileRow, kind_of
from stillroom.errors import InputError

Parse = Callable[[str], Any]
"""Gives the value of a text of JSON. Raises ValueError (or RecursionError, where it is nested without end)."""

MOST_BYTES = 1 << 28
"""Bytes of the longest row. A longer one is not a row, and would fill the memory."""
_TO_UTF_8 = "convert the file with `iconv -f WINDOWS-1252 -t UTF-8`"
_CELL = 1 << 26  # characters of a cell; the csv module's own limit, 131,072, is less than a long trace has


def parse_json(text: str) -> Any:
    """The value, by the letter of the standard: no NaN and no infinities, and no key twice in one object, of which
    one value would be lost."""
    return json.loads(text, parse_constant=_refuse_constant, object_pairs_hook=_each_once)


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON: write null, or a text")


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key {twice[:60]!r} stands twice in one object")
    return found


def lines_of(path: Path, stream: IO[bytes]) -> Iterator[tuple[int, bytes]]:
    """Lines with their numbers. Raises InputError for one that has no end."""
    number = 0
    while line := stream.readline(MOST_BYTES + 1):
        number += 1
        if len(line) > MOST_BYTES:
            raise InputError(f"{path}:{number}: the line is longer than {MOST_BYTES >> 20} MiB: these are not rows")
        yield number, line


def line_rows(path: Path, stream: IO[bytes], parse: Parse, *, blanks: bool) -> Iterator[FileRow]:
    """Rows of JSON Lines. `blanks`: blank lines are faults; else they are not rows."""
    for number, line in lines_of(path, stream):
        if line.strip():
            yield FileRow(path, number, "line", _line(line, parse))
        elif blanks:
            yield FileRow(path, number, "line", Fault("blank", "an empty line"))


def _line(line: bytes, parse: Parse) -> dict[str, Any] | Fault:
    try:
        return _object(line.decode("utf-8").rstrip("\r\n"), parse)
    except UnicodeDecodeError as error:
        return _not_utf8(line, error)


def _not_utf8(line: bytes, error: UnicodeDecodeError) -> Fault:
    return Fault("encoding", f"not UTF-8: byte 0x{line[error.start]:02x} at {error.start}; {_TO_UTF_8}")


def _object(text: str, parse: Parse) -> dict[str, Any] | Fault:
    try:
        value = parse(text)
    except json.JSONDecodeError as error:
        return Fault("json", f"{error.msg} at column {error.colno}{_why(text, error)}")
    except (ValueError, RecursionError) as error:
        return Fault("json", str(error))
    if (turns := _conversation(value)) is not None:
        return turns
    return value if isinstance(value, dict) else Fault("object", f"{kind_of(value)}, not an object with fields")


def _conversation(value: Any) -> dict[str, Any] | None:
    """A row that is a conversation without a name for it, as one with the usual name; None for anything else."""
    if not isinstance(value, list) or not value or not all(isinstance(turn, dict) for turn in value):
        return None
    for name, fields in (("conversations", {"from", "value"}), ("messages", {"role", "content"})):
        if all(fields <= turn.keys() for turn in value):
            return {name: value}
    return None


def _why(text: str, error: json.JSONDecodeError) -> str:
    """What was probably meant by a line that is not JSON; empty where nothing is known."""
    rest = text[error.pos :].strip()
    if error.msg == "Extra data" and rest.startswith("{"):
        return ": another object follows, a line feed is missing between two rows"
    if error.msg == "Extra data" and rest == ",":
        return ": JSON Lines has no comma after a row"
    if text.lstrip().startswith(("//", "#")):
        return ": JSON has no comments"
    if error.msg.startswith("Expecting property name") and rest.startswith("'"):
        return ": the row is as Python prints it, write it with `json.dumps`"
    return ""


# -- JSON that does not keep to lines ----------------------------------------------------------------------------

# Only where a value ends is asked of it; what it is says the caller's `parse`.
_EXTENT = json.JSONDecoder(strict=False, parse_constant=str, parse_int=str, parse_float=str)
_SPACE = " \t\r\n"


class _Window:
    """The part of a text that is looked at, with the line at which it begins."""

    def __init__(self, path: Path, stream: IO[bytes]) -> None:
        self.path, self.text, self.line = path, "", 1
        self._stream, self._decode = stream, codecs.getincrementaldecoder("utf-8")().decode
        self.ended = False

    def more(self) -> None:
        """Reads as much again as there is already, so that a long value is not looked at too often."""
        if len(self.text) > MOST_BYTES:
            raise InputError(
                f"{self.path}:{self.line}: the item that begins here is longer than {MOST_BYTES >> 20} MiB"
            )
        data = self._stream.read(max(SNIFFED, len(self.text)))
        self.ended = not data
        try:
            self.text += self._decode(data, final=self.ended)
        except UnicodeDecodeError as error:
            line = self.line + self.text.count("\n") + error.object[: error.start].count(b"\n")
            byte = error.object[error.start]
            raise InputError(f"{self.path}:{line}: not UTF-8: byte 0x{byte:02x}: convert the file to UTF-8") from None

    def drop(self, count: int) -> None:
        """Leaves the first characters behind."""
        self.line += self.text.count("\n", 0, count)
        self.text = self.text[count:]

    def next(self) -> str:
        """The next character that is not white space, which is left there; "" at the end."""
        while True:
            bare = self.text.lstrip(_SPACE)
            if bare or self.ended:
                self.drop(len(self.text) - len(bare))
                return bare[:1]
            self.more()

    def value(self) -> str:
        """Takes the text of the value that begins here. Raises InputError where there is none, or it breaks off."""
        while True:
            try:
                _, end = _EXTENT.raw_decode(self.text)
            except json.JSONDecodeError as error:
                broken = "Unterminated" not in error.msg and error.pos < len(self.text) - 12
                if self.ended or broken:
                    raise self._no_value(f"{error.msg} at character {error.pos}") from None
            except (ValueError, RecursionError) as error:
                raise self._no_value(str(error)) from None
            else:
                if end < len(self.text) or self.ended:
                    text = self.text[:end]
                    self.drop(end)
                    return text
            self.more()

    def _no_value(self, told: str) -> InputError:
        return InputError(f"{self.path}:{self.line}: the item that begins here is not JSON: {told}")


def array_rows(path: Path, stream: IO[bytes], parse: Parse) -> Iterator[FileRow]:
    """The items of one JSON array. Raises InputError where it breaks off, or something follows it."""
    window = _Window(path, stream)
    window.next()
    window.drop(1)
    while (sign := window.next()) != "]":
        if not sign:
            raise InputError(f"{path}: the array is not closed: the file is cut off")
        line = window.line
        yield FileRow(path, line, "line", _object(window.value(), parse))
        if (sign := window.next()) == ",":
            window.drop(1)
        elif sign not in ("]", ""):
            raise InputError(f"{path}:{window.line}: a comma is missing between two items of the JSON array")
    window.drop(1)
    if window.next():
        raise InputError(f"{path}:{window.line}: something follows the JSON array: give one array, or JSON Lines")


def object_rows(path: Path, stream: IO[bytes], parse: Parse) -> Iterator[FileRow]:
    """Objects that follow each other, each over several lines."""
    window = _Window(path, stream)
    while window.next():
        yield FileRow(path, window.line, "line", _object(window.value(), parse))


# -- tables ------------------------------------------------------------------------------------------------------


class _Cells:
    """Lines as text for the csv module, which takes several for a row. `line`: the last one taken."""

    def __init__(self, path: Path, stream: IO[bytes]) -> None:
        self._path, self._lines, self.line = path, lines_of(path, stream), 0

    def __iter__(self) -> Iterator[str]:
        for number, line in self._lines:
            self.line = number
            try:
                yield line.decode("utf-8")
            except UnicodeDecodeError as error:
                raise InputError(
                    f"{self._path}:{self.line}: {_not_utf8(line, error).told}, or save the table as CSV in UTF-8"
                ) from None


def table_rows(path: Path, stream: IO[bytes], start: bytes) -> Iterator[FileRow]:
    """Rows of CSV or TSV, by the names in the first line; an empty cell is None. `start`: how the text begins."""
    csv.field_size_limit(max(_CELL, csv.field_size_limit()))
    lines = _Cells(path, stream)
    table = csv.reader(lines, delimiter=delimiter_of(path, start), strict=True)
    line, names, hint = 1, None, sep_hint(start) is not None
    try:
        for cells in table:
            at, line = line, lines.line + 1
            if not cells or hint:  # the hint is the first line
                hint = False
                continue
            if names is None:
                names = [cell.strip() for cell in cells]
                twice = sorted({name for name in names if names.count(name) > 1})
                if twice:
                    raise InputError(f"{path}:{at}: two columns are named {twice[0]!r}: rename one")
            elif len(cells) != len(names):
                yield FileRow(
                    path,
                    at,
                    "line",
                    Fault(
                        "cells", f"{len(cells)} {'cell' if len(cells) == 1 else 'cells'}, the header has {len(names)}"
                    ),
                )
            else:
                yield FileRow(path, at, "line", {n: c or None for n, c in zip(names, cells, strict=True)})
    except csv.Error as error:
        raise InputError(
            f"{path}:{line}: the row that begins here is not CSV: {error}; is a quote not closed?"
        ) from None
