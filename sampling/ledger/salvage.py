"""Saves what can be read of a damaged ledger: a new ledger with every attempt and verdict that is still whole.

Nothing that makes no sense is taken over: a row must have the right number of values, each of its kind, and a text
without the zero bytes that a lost block leaves behind. What is lost is asked again by the next run. How tasks ended
is not taken over: the next run finds it again from the attempts, at no cost. The damaged file is kept.

SQLite refuses a file that is damaged anywhere, so the rows are read without it. Every page that holds rows is looked
at by itself: neither the file's header nor the tree above the rows is needed. The write-ahead log is read along, up
to its last whole commit. The format: https://www.sqlite.org/fileformat2.html

SQLite has no checksums: bytes that changed within a text, and left it a text, are not found.

    salvage(Path("runs/sums/ledger.sqlite")).attempts
"""

from __future__ import annotations

import json
import math
import os
import shutil
import sqlite3
import struct
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import BinaryIO, NamedTuple, cast, get_args

from stillroom.common.records import FinishReason, State
from stillroom.errors import LedgerError
from stillroom.sampling.ledger.file import explained, make, read_choices

Value = int | float | str | None

_PAGE_SIZE = 4096  # SQLite's default, which ledgers have: for a file whose header is gone
_TABLE_LEAF, _INDEX_LEAF, _INDEX_INNER = 0x0D, 0x0A, 0x02
_INTEGER_BYTES = {1: 1, 2: 2, 3: 3, 4: 4, 5: 6, 6: 8}


class Salvaged(NamedTuple):
    """What was saved. `broken`: rows that were found but are damaged; `missing`: attempts whose number is not among
    those found, damaged ones included; `orphans`: verdicts left out since their attempt is lost. `kept`: where the
    damaged file is now."""

    attempts: int
    verdicts: int
    failures: int
    cancelled: int
    broken: int
    missing: int
    orphans: int
    kept: Path


def salvage(path: Path) -> Salvaged:
    """Puts a new ledger in the place of the damaged one at `path`; the caller holds the run's lock.

    Killed at any moment, it can be called again. Raises LedgerError where there is no room for the copy.
    """
    new = path.with_name(f".{path.name}.salvaged")
    new.unlink(missing_ok=True)
    number, kept = 1, Path(f"{path}.damaged")
    while kept.exists() and not kept.samefile(path):
        number += 1
        kept = Path(f"{path}.damaged{number}")
    log, moved = Path(f"{path}-wal"), Path(f"{kept}-wal")
    if moved.exists() and not log.exists():  # by a salvage that was killed
        log = moved
    try:
        with explained(path), closing(Pages(path, log)) as pages, closing(make(new)) as db:
            broken = _copy_rows(pages, db)
            # The row ids of attempts count them, and verdicts name them.
            ids = "SELECT MAX(COALESCE(MAX(id), 0), (SELECT COALESCE(MAX(attempt), 0) FROM verdicts)) FROM attempts"
            highest = int(db.execute(ids).fetchone()[0])
            orphans = db.execute("DELETE FROM verdicts WHERE attempt NOT IN (SELECT id FROM attempts)").rowcount
            attempts, verdicts, failures, cancelled = (
                int(db.execute(f"SELECT COUNT(*) FROM {table.name}").fetchone()[0]) for table in _TABLES
            )
        _put_in_place(path, kept, new)
    except OSError as error:
        raise error if isinstance(error, LedgerError) else LedgerError(f"cannot salvage {path}: {error}") from error
    return Salvaged(attempts, verdicts, failures, cancelled, broken, highest - attempts, orphans, kept)


def _put_in_place(path: Path, kept: Path, new: Path) -> None:
    """In an order that loses nothing: the log goes before the new file comes, which it would be applied to."""
    if not kept.exists():
        try:
            os.link(path, kept)
        except OSError:  # a file system without links
            part = kept.with_name(f".{kept.name}.part")
            shutil.copyfile(path, part)
            os.replace(part, kept)
    with suppress(FileNotFoundError):
        os.replace(f"{path}-wal", f"{kept}-wal")
    Path(f"{path}-shm").unlink(missing_ok=True)
    os.replace(new, path)


def _copy_rows(pages: Pages, db: sqlite3.Connection) -> int:
    """Copies what makes sense, in one transaction; gives the number of rows that do not."""
    broken = 0
    db.execute("BEGIN")
    for row in pages.rows():
        known = None if row is None else next((t for t in _TABLES if t.fits(row)), None)
        if row is None:
            broken += 1
        elif known is not None:
            places = ",".join("?" * len(known.checks))
            db.execute(f"INSERT OR IGNORE INTO {known.name} VALUES ({places})", known.values(row))
        else:
            # Rows of the index of attempts, of outcomes, and of the schema are made again and not taken over.
            count, first = len(row.values), row.values[0]
            index = row.rowid is None and count == 4
            other = (count == 7 and first is None) or (count == 5 and first in ("table", "index"))
            broken += not (index or (row.rowid is not None and other))
    db.execute("COMMIT")
    return broken


# -- the rows of a damaged file ------------------------------------------------------------------------------------


class Row(NamedTuple):
    """A row as it is stored. `rowid`: None for a row of an index or of a table without rowids."""

    rowid: int | None
    values: tuple[Value, ...]


class Pages:
    """The pages of a file, those in its log in the place of the older ones."""

    def __init__(self, path: Path, log: Path) -> None:
        self._file = path.open("rb")
        self._log: BinaryIO | None = log.open("rb") if log.is_file() else None
        header = self._file.read(100)
        size = int.from_bytes(header[16:18])
        known = header.startswith(b"SQLite format 3\0") and size >= 512 and size & (size - 1) == 0
        self.size = size if known else _PAGE_SIZE
        self.count = -(-path.stat().st_size // self.size)
        self._in_log: dict[int, int] = {}
        if self._log is not None:
            self._read_log(self._log)

    def close(self) -> None:
        """Closes the files."""
        self._file.close()
        if self._log is not None:
            self._log.close()

    def rows(self) -> Iterator[Row | None]:
        """Every row on every page but the first, which holds the schema; None for one that is broken."""
        for number in range(2, self.count + 1):
            page = self.page(number)
            if page[0] not in (_TABLE_LEAF, _INDEX_LEAF, _INDEX_INNER):
                continue
            header = 12 if page[0] == _INDEX_INNER else 8
            cells = min(int.from_bytes(page[3:5]), (self.size - header) // 2)
            for at in struct.unpack_from(f">{cells}H", page, header):
                try:
                    yield self._row(page, at)
                except (ValueError, IndexError, struct.error):  # these bytes are not a row
                    yield None

    def page(self, number: int) -> bytes:
        """A page, by its number from 1; what the file lacks of it is zeros."""
        if self._log is not None and number in self._in_log:
            self._log.seek(self._in_log[number])
            return self._log.read(self.size)
        self._file.seek((number - 1) * self.size)
        return self._file.read(self.size).ljust(self.size, b"\0")

    def _row(self, page: bytes, at: int) -> Row:
        kind, rowid = page[0], None
        length, at = _varint(page, at + 4 if kind == _INDEX_INNER else at)
        if kind == _TABLE_LEAF:
            rowid, at = _varint(page, at)

        # How many of the row's bytes are in its own page ("Cell Payload Overflow Pages").
        most = self.size - 35 if kind == _TABLE_LEAF else (self.size - 12) * 64 // 255 - 23
        least = (self.size - 12) * 32 // 255 - 23
        filling = least + (length - least) % (self.size - 4)
        here = length if length <= most else filling if filling <= most else least
        if at + here > self.size or length > self.count * self.size:
            raise ValueError

        # The others are in a chain of pages.
        parts, left = [page[at : at + here]], length - here
        following = int.from_bytes(page[at + here : at + here + 4]) if left else 0
        while left > 0:
            if not 2 <= following <= self.count:
                raise ValueError
            more = self.page(following)
            following = int.from_bytes(more[:4])
            parts.append(more[4 : 4 + left])
            left -= self.size - 4
        if following:  # a chain that goes on belongs to another row
            raise ValueError
        return Row(rowid, _values(b"".join(parts)))

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
        length, value = 0, cast(Value, None)
        if kind in (8, 9):
            value = kind - 8
        elif kind == 7:
            length, value = 8, float(struct.unpack_from(">d", payload, body)[0])
        elif kind:
            length = _INTEGER_BYTES.get(kind) or (kind - 13) // 2
            blob = kind >= 12 and kind % 2 == 0  # ledgers hold none
            if kind in (10, 11) or blob or body + length > len(payload):
                raise ValueError
            found = payload[body : body + length]
            value = found.decode() if kind >= 13 else int.from_bytes(found, signed=True)
        values.append(value)
        body += length
    if at != header or body != len(payload) or not values:
        raise ValueError
    return tuple(values)


# -- which table a row is of, and whether it makes sense ------------------------------------------------------------


class _Table(NamedTuple):
    """`checks`: one for each value as it is stored; `least`: values that a row of an older version has; `later`: what
    the others are in such a row."""

    name: str
    checks: tuple[Callable[[Value], bool], ...]
    least: int
    rowid: bool
    later: tuple[Value, ...] = ()

    def fits(self, row: Row) -> bool:
        """Whether it is a row of this table."""
        count = len(row.values)
        if not self.least <= count <= len(self.checks) or (row.rowid is not None) != self.rowid:
            return False
        return all(check(value) for check, value in zip(self.checks, row.values, strict=False))

    def values(self, row: Row) -> tuple[Value, ...]:
        """What to insert; the row id stands where the table has its primary key."""
        values = (*row.values, *self.later[len(row.values) - self.least :])
        return (row.rowid, *values[1:]) if self.checks[0] is _nothing else values


def _nothing(value: Value) -> bool:
    return value is None


def _whole(value: Value) -> bool:
    return isinstance(value, int) and value >= 0


def _number(value: Value) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _text(value: Value) -> bool:
    return isinstance(value, str) and "\0" not in value


def _word(value: Value) -> bool:
    return isinstance(value, str) and 0 < len(value) <= 200 and value.isprintable()


def _one_of(*words: str) -> Callable[[Value], bool]:
    return lambda value: value in words


def _or_nothing(check: Callable[[Value], bool]) -> Callable[[Value], bool]:
    return lambda value: value is None or check(value)


def _read_by(read: Callable[[str], object]) -> Callable[[Value], bool]:
    def check(value: Value) -> bool:
        try:
            return isinstance(value, str) and bool(read(value))
        except (ValueError, TypeError):
            return False

    return check


_LIST = _read_by(lambda text: isinstance(json.loads(text), list))
_CHOICES = _read_by(lambda text: read_choices(text) is not None)
_ATTEMPT = (
    *(_nothing, _word, _whole, _whole, _text, _text, _text, _or_nothing(_text)),
    *(_one_of(*get_args(FinishReason)), _whole, _whole, _or_nothing(_LIST), _number, _number),
    _or_nothing(_CHOICES),
)
_VERDICT = (_whole, _word, _one_of(*State), _word, _or_nothing(_number), _text, _number, _number, _whole, _whole)
_FAILURE = (_word, _whole, _text, _text, _number, _word)
_CANCELLED = (_word, _whole, _text, _or_nothing(_whole), _or_nothing(_whole), _number)


_TABLES = (
    _Table("attempts", _ATTEMPT, 14, True, (None,)),
    _Table("verdicts", _VERDICT, 8, False, (0, 1)),
    _Table("failures", _FAILURE, 5, True, ("failed",)),
    _Table("cancelled", _CANCELLED, 6, True),
)
