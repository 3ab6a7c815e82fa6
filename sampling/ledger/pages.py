"""Reads the rows of an SQLite file page by page, without SQLite, which refuses a file that is damaged anywhere.

Every page that holds rows is looked at by itself: neither the file's header nor the tree above the rows is needed.
The write-ahead log is read along, up to its last whole commit. Checks only that a row is well formed; whether it
makes sense is for the caller to say. The format: https://www.sqlite.org/fileformat2.html

    with Pages(Path("ledger.sqlite"), Path("ledger.sqlite-wal")) as pages:
        for row in pages.rows(): ...
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple, Self

Value = int | float | str | None

_PAGE_SIZE = 4096  # SQLite's default, which ledgers have: for a file whose header is gone
_TABLE_LEAF, _INDEX_LEAF, _INDEX_INNER = 0x0D, 0x0A, 0x02
_INTEGER_BYTES = {1: 1, 2: 2, 3: 3, 4: 4, 5: 6, 6: 8}


class Row(NamedTuple):
    """A row as it is stored. `rowid`: None for a row of an index or of a table without rowids."""

    rowid: int | None
    values: tuple[Value, ...]


class Broken(ValueError):
    """Bytes that are not a row."""


class Pages:
    """The pages of a file, those in its log in the place of the older ones."""

    def __init__(self, path: Path, log: Path) -> None:
        self._file = path.open("rb")
        self._log: BinaryIO | None = log.open("rb") if log.is_file() else None
        self.size = _page_size(self._file.read(100))
        self.count = -(-path.stat().st_size // self.size)
        self._in_log: dict[int, int] = {}
        if self._log is not None:
            self._read_log(self._log)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        if self._log is not None:
            self._log.close()

    def rows(self) -> Iterator[Row | None]:
        """Every row on every page but the first, which holds the schema; None for one that is broken."""
        for number in range(2, self.count + 1):
            page = self.page(number)
            if page[0] in (_TABLE_LEAF, _INDEX_LEAF, _INDEX_INNER):
                yield from self._rows_of(page)

    def page(self, number: int) -> bytes:
        """A page, by its number from 1; what the file lacks of it is zeros."""
        if self._log is not None and number in self._in_log:
            self._log.seek(self._in_log[number])
            return self._log.read(self.size)
        self._file.seek((number - 1) * self.size)
        return self._file.read(self.size).ljust(self.size, b"\0")

    def _rows_of(self, page: bytes) -> Iterator[Row | None]:
        header = 12 if page[0] == _INDEX_INNER else 8
        cells = min(int.from_bytes(page[3:5]), (self.size - header) // 2)
        for at in struct.unpack_from(f">{cells}H", page, header):
            try:
                yield self._row(page, at)
            except (Broken, IndexError, struct.error, UnicodeDecodeError):
                yield None

    def _row(self, page: bytes, at: int) -> Row:
        kind, rowid = page[0], None
        length, at = _varint(page, at + 4 if kind == _INDEX_INNER else at)
        if kind == _TABLE_LEAF:
            rowid, at = _varint(page, at)
        return Row(rowid, _values(self._payload(page, at, length, kind == _TABLE_LEAF)))

    def _payload(self, page: bytes, at: int, length: int, table: bool) -> bytes:
        """The bytes of a row: those in the page, and those in the chain of pages that the rest went to."""
        here = _local(length, self.size, table)
        if at + here > self.size or length > self.count * self.size:
            raise Broken
        parts, left = [page[at : at + here]], length - here
        following = int.from_bytes(page[at + here : at + here + 4]) if left else 0
        while left > 0:
            if not 2 <= following <= self.count:
                raise Broken
            more = self.page(following)
            following = int.from_bytes(more[:4])
            parts.append(more[4 : 4 + left])
            left -= self.size - 4
        if following:  # a chain that goes on belongs to another row
            raise Broken
        return b"".join(parts)

    def _read_log(self, log: BinaryIO) -> None:
        """Notes where the log has which page, up to the last commit whose checksums are right."""
        header = log.read(32)
        if len(header) < 32 or header[:4] not in (b"\x37\x7f\x06\x82", b"\x37\x7f\x06\x83"):
            return
        words, size = ("<" if header[3] == 0x82 else ">"), int.from_bytes(header[8:12])
        if size != self.size:
            return
        sums, since_commit = _checksum(words, header[:24], (0, 0)), dict[int, int]()
        if sums != struct.unpack(">II", header[24:32]):
            return
        while len(frame := log.read(24)) == 24 and len(page := log.read(size)) == size:
            number, pages_then = struct.unpack(">II", frame[:8])
            sums = _checksum(words, page, _checksum(words, frame[:8], sums))
            if frame[8:16] != header[16:24] or sums != struct.unpack(">II", frame[16:24]):
                return
            since_commit[number] = log.tell() - size
            if pages_then:
                self._in_log.update(since_commit)
                self.count = max(self.count, pages_then)
                since_commit.clear()


def _page_size(header: bytes) -> int:
    size = int.from_bytes(header[16:18])
    known = header.startswith(b"SQLite format 3\0") and size >= 512 and size & (size - 1) == 0
    return size if known else _PAGE_SIZE


def _local(length: int, size: int, table: bool) -> int:
    """How many of a row's bytes are in its own page ("Cell Payload Overflow Pages")."""
    most = size - 35 if table else (size - 12) * 64 // 255 - 23
    if length <= most:
        return length
    least = (size - 12) * 32 // 255 - 23
    filling = least + (length - least) % (size - 4)
    return filling if filling <= most else least


def _checksum(words: str, data: bytes, sums: tuple[int, int]) -> tuple[int, int]:
    a, b = sums
    for x, y in struct.iter_unpack(f"{words}II", data):
        a = (a + x + b) & 0xFFFFFFFF
        b = (b + y + a) & 0xFFFFFFFF
    return a, b


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """A number of one to nine bytes, and where it ends."""
    value = 0
    for i in range(8):
        byte = data[at + i]
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            return value, at + i + 1
    return value << 8 | data[at + 8], at + 9


def _values(payload: bytes) -> tuple[Value, ...]:
    header, at = _varint(payload, 0)
    body, values = header, list[Value]()
    while at < header:
        kind, at = _varint(payload, at)
        value, body = _value(payload, body, kind)
        values.append(value)
    if at != header or body != len(payload) or not values:
        raise Broken
    return tuple(values)


def _value(payload: bytes, at: int, kind: int) -> tuple[Value, int]:
    if kind == 0:
        return None, at
    if kind in (8, 9):
        return kind - 8, at
    if kind == 7:
        return float(struct.unpack_from(">d", payload, at)[0]), at + 8
    length = _INTEGER_BYTES.get(kind) or (kind - 13) // 2
    if kind in (10, 11) or (kind >= 12 and kind % 2 == 0) or at + length > len(payload):  # ledgers hold no blobs
        raise Broken
    found = payload[at : at + length]
    return (found.decode() if kind >= 13 else int.from_bytes(found, signed=True)), at + length
