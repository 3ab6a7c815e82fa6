"""Opens a file for reading: unpacked on the fly, and with its format, both read off its first bytes.

gzip, bzip2 and xz are Python's; Zstandard is read by pyarrow, which comes with `datasets`. What is surely not rows
(an archive, a spreadsheet, a page of HTML, the pointer that Git LFS leaves in place of a file) is refused by name.

    with opened(Path("rows.csv.gz")) as found:
        found.format, found.stream.readline()       # "csv", b"question,answer\\n"
"""

from __future__ import annotations

import csv
import io
import json
import lzma
import re
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, Literal, NamedTuple

from stillroom.common.row_files.inspect_logs import is_log_archive
from stillroom.errors import InputError, MissingFile

Format = Literal["lines", "array", "objects", "csv", "parquet", "arrow", "stream", "log"]
"""`objects`: JSON objects one after the other, each over several lines. `arrow`, `stream`: Arrow's two forms.
`log`: an archive of Inspect."""

SNIFFED = 1 << 16
"""Bytes at the beginning that the format is read off."""
_BOM = b"\xef\xbb\xbf"
_NO_ROWS = (
    (b"PK\x03\x04", "is a zip archive or a spreadsheet: unpack it, or save the sheet as CSV"),
    (b"7z\xbc\xaf\x27\x1c", "is a 7-Zip archive: unpack it"),
    (b"\xff\xfe", "is UTF-16, not UTF-8: convert it with `iconv -f UTF-16 -t UTF-8`"),
    (b"\xfe\xff", "is UTF-16, not UTF-8: convert it with `iconv -f UTF-16 -t UTF-8`"),
    (b"SQLite format 3\0", "is an SQLite database: write the rows out as JSON Lines"),
    (b"version https://git-lfs.github.com", "is the pointer of Git LFS, not the file: fetch it with `git lfs pull`"),
    (b"<!DOCTYPE", "is a page of HTML: download the file itself"),
    (b"<html", "is a page of HTML: download the file itself"),
    (b"\x80\x04\x95", "is a Python pickle, which is not read since it may run code: save it as JSON Lines"),
    (b"\xd0\xcf\x11\xe0", "is a spreadsheet in the old format of Excel: save the sheet as CSV"),
    (b"\x00\x05\x16\x07", "is what macOS keeps of a file's attributes (._name): name the file itself"),
    (b"%PDF", "is a PDF: give JSON Lines, CSV or Parquet"),
)
_PACKED = {".gz", ".bz2", ".xz", ".zst"}
_BINARY: dict[str, str] = {".parquet": "Parquet", ".arrow": "Arrow", ".feather": "Arrow"}


class Opened(NamedTuple):
    """`stream`: the unpacked bytes from the beginning, without a byte order mark before text. `packed`: whether the
    file is compressed, so that its places cannot be reached at once."""

    stream: io.BufferedReader
    format: Format
    packed: bool


@contextmanager
def opened(path: Path) -> Iterator[Opened]:
    """A file and its format. Raises MissingFile where it cannot be opened, and InputError for what cannot hold rows,
    or is damaged; the latter also while the block reads it."""
    try:
        with path.open("rb") as raw:
            unpack = _unpacker(raw.read(6))
            raw.seek(0)
            stream = raw if unpack is None else unpack(raw)
            yield _sniffed(path, io.BufferedReader(stream, SNIFFED), packed=unpack is not None)
    except (EOFError, OSError, lzma.LZMAError, zlib.error) as error:
        if isinstance(error, MissingFile):
            raise
        if isinstance(error, OSError) and error.errno is not None:
            raise MissingFile(f"{path} cannot be read: {error.strerror}") from None
        raise InputError(f"{path} cannot be unpacked ({error}): it is damaged or cut off; copy it again") from None


def _unpacker(start: bytes) -> Callable[[Any], Any] | None:
    """What unpacks a file that begins so; None where nothing has to."""
    if start.startswith(b"\x1f\x8b"):
        import gzip

        return lambda raw: gzip.GzipFile(fileobj=raw)
    if start.startswith(b"BZh"):
        import bz2

        return bz2.BZ2File
    if start.startswith(b"\xfd7zXZ\0"):
        return lzma.LZMAFile
    if start.startswith(b"\x28\xb5\x2f\xfd"):
        import pyarrow as pa

        return lambda raw: pa.CompressedInputStream(pa.PythonFile(raw, mode="r"), "zstd")
    return None


def _sniffed(path: Path, stream: io.BufferedReader, *, packed: bool) -> Opened:
    start = stream.peek(SNIFFED)
    found = format_of(path, start)
    if found in ("lines", "csv") and start.count(b"\r") > 1 and b"\n" not in start:
        raise InputError(
            f"{path}: its lines end with a carriage return alone, as old Mac programs write them: convert it with "
            "`tr '\\r' '\\n'`"
        )
    if found not in ("parquet", "arrow", "stream", "log") and start.startswith(_BOM):
        stream.read(len(_BOM))
    return Opened(stream, found, packed)


def format_of(path: Path, start: bytes) -> Format:
    """The format of a file that begins with these bytes. Raises InputError for what cannot hold rows."""
    if start.startswith(b"PAR1"):
        return "parquet"
    if start.startswith(b"ARROW1"):
        return "arrow"
    if start.startswith(b"\xff\xff\xff\xff"):
        return "stream"
    if is_log_archive(start):
        return "log"
    for magic, told in _NO_ROWS:
        if start.lstrip().lower().startswith(magic.lower()):
            raise InputError(f"{path} {told}")
    if start[257:262] == b"ustar":
        raise InputError(f"{path} is a tar archive: unpack it")
    suffixes = [each.lower() for each in path.suffixes]
    ending = next((each for each in reversed(suffixes) if each not in _PACKED), "")
    text = start.removeprefix(_BOM).lstrip()
    first = text.split(b"\n", 1)[0].rstrip()
    if text.startswith(b"["):
        return "csv" if ending in (".csv", ".tsv") and not text[1:].lstrip().startswith((b"{", b"]")) else "array"
    if text.startswith(b"{"):
        return "objects" if first == b"{" else "lines"
    if ending in _BINARY:
        raise InputError(
            f"{path} is not a {_BINARY[ending]} file, though it is named like one: check how it was made"
        )
    if ending in (".csv", ".tsv", ".tab"):
        return "csv"
    return "csv" if _is_table(text, named=ending in (".jsonl", ".json", ".ndjson")) else "lines"


def sep_hint(start: bytes) -> str | None:
    """What parts the cells as the first line of a table says it for Excel (`sep=;`); None where it does not."""
    found = re.match(rb"sep=([\t,;|])\r?(?:\n|\Z)", start.removeprefix(_BOM), re.IGNORECASE)
    return None if found is None else found[1].decode()


def delimiter_of(path: Path, start: bytes) -> str:
    """What parts the cells of a table: what its first line says, else what the header has most of outside quotes, of
    tab, comma, semicolon and upright bar."""
    if (said := sep_hint(start)) is not None:
        return said
    header = start.removeprefix(_BOM).split(b"\n", 1)[0].decode("utf-8", "replace")
    outside = "".join(header.split('"')[::2])
    counts = {each: outside.count(each) for each in "\t,;|"}
    most = max(counts, key=lambda each: counts[each])
    return most if counts[most] else "\t" if ".tsv" in path.suffixes else ","


def _is_table(text: bytes, *, named: bool) -> bool:
    """Whether a text with no JSON at its beginning is a table. `named`: its name says that it is JSON, so the first
    two rows have to look like a table beyond doubt."""
    lines = text.decode("utf-8", "replace").split("\n")[:100]
    if not lines[0].strip() or _is_json(lines[0]):
        return False
    sign = delimiter_of(Path(), lines[0].encode())
    try:
        rows = list(islice(csv.reader((line + "\n" for line in lines), delimiter=sign), 2))
    except csv.Error:
        return False
    cells = [cell.strip() for cell in rows[0]] if rows else []
    if not named:
        return len(cells) > 1
    names = all(cell.replace("_", "").isalnum() for cell in cells) and len(set(cells)) == len(cells)
    return len(cells) > 1 and names and len(rows) == 2 and len(rows[1]) == len(cells)


def _is_json(line: str) -> bool:
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        return False
    return True
