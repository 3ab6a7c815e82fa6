"""The samples of a log that Inspect wrote in its own format: a zip archive with one JSON file for each sample.

    samples/7_epoch_1.json     {"id": 7, "epoch": 1, "input": "2 + 2?", "output": {"choices": [{…}]}, …}

Archives of newer versions are packed with Zstandard, which Python's zipfile does not read before 3.14: pyarrow does.
Samples that are kept in several pieces are refused with the command that converts them.

for row in log_rows(Path("logs/2026-11-30_arith.eval"), parse_json): ...
"""

from __future__ import annotations

import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from stillroom.common.row_files.records import Fault, FileRow
from stillroom.errors import InputError

_FIRST = (b"_journal/", b"header.json", b"samples/")
"""What the first file of such an archive is called."""
_NAME_AT = 30  # bytes of a local header before the name
_ZSTANDARD = 93
_MOST_BYTES = 1 << 28


def is_log_archive(start: bytes) -> bool:
    """Whether a zip archive that begins so is a log of Inspect."""
    return start.startswith(b"PK\x03\x04") and start[_NAME_AT:].startswith(_FIRST)


def log_rows(path: Path, parse: Callable[[str], Any]) -> Iterator[FileRow]:
    """The samples in the order of the archive. Raises InputError for one that cannot be read."""
    try:
        with zipfile.ZipFile(path) as archive:
            entries = [each for each in archive.infolist() if each.filename.startswith("samples/")]
            if pieces := [each.filename for each in entries if each.filename.count("/") > 1]:
                raise InputError(
                    f"{path} keeps each sample in several files (such as {pieces[0][:80]}): convert it with `inspect "
                    "log convert --to json`"
                )
            for number, entry in enumerate((each for each in entries if each.filename.endswith(".json")), 1):
                yield FileRow(path, number, "item", _parsed(_unpacked(archive, entry), parse))
    except (zipfile.BadZipFile, EOFError, NotImplementedError, zlib.error, struct.error, OSError) as error:
        raise InputError(f"{path} cannot be unpacked ({error}): it is damaged or cut off; copy it again") from None


def _parsed(data: bytes, parse: Callable[[str], Any]) -> dict[str, Any] | Fault:
    try:
        value = parse(data.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        return Fault("json", str(error))
    return value if isinstance(value, dict) else Fault("object", "not an object with fields")


def _unpacked(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> bytes:
    """The bytes of one file of the archive. Raises InputError for more than a sample has."""
    if entry.file_size > _MOST_BYTES:
        raise InputError(f"{archive.filename}: {entry.filename[:80]} is longer than {_MOST_BYTES >> 20} MiB")
    if entry.compress_type != _ZSTANDARD:
        with archive.open(entry) as stream:
            return stream.read(_MOST_BYTES)
    import pyarrow as pa

    file: Any = archive.fp
    file.seek(entry.header_offset)
    head = file.read(_NAME_AT)
    name, extra = struct.unpack("<HH", head[26:_NAME_AT])
    file.seek(entry.header_offset + _NAME_AT + name + extra)
    packed = pa.CompressedInputStream(pa.BufferReader(file.read(entry.compress_size)), "zstd")
    return bytes(packed.read(_MOST_BYTES))
