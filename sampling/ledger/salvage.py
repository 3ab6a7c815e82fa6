"""Saves what can be read of a damaged ledger: a new ledger with every attempt and verdict that is still whole.

Nothing that makes no sense is taken over: a row must have the right number of values, each of its kind, and a text
without the zero bytes that a lost block leaves behind. What is lost is asked again by the next run. How tasks ended
is not taken over: the next run finds it again from the attempts, at no cost. The damaged file is kept.

SQLite has no checksums: bytes that changed within a text, and left it a text, are not found.

    salvage(Path("runs/sums/ledger.sqlite")).attempts
"""

from __future__ import annotations

import json
import math
import os
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import NamedTuple, get_args

from stillroom.common.records import FinishReason, State
from stillroom.errors import LedgerError
from stillroom.sampling.ledger.file import explained, make
from stillroom.sampling.ledger.pages import Pages, Row, Value
from stillroom.sampling.ledger.schema import read_choices


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
    kept, log = _where_kept(path)
    try:
        with explained(path), Pages(path, log) as pages, closing(make(new)) as db:
            broken = _copy_rows(pages, db)
            counts = _count(db)
        _put_in_place(path, kept, new)
    except OSError as error:
        raise error if isinstance(error, LedgerError) else LedgerError(f"cannot salvage {path}: {error}") from error
    return Salvaged(*counts[:4], broken, *counts[4:], kept)


def _where_kept(path: Path) -> tuple[Path, Path]:
    """The name that the damaged file will have, and its log, which a salvage that was killed may have moved."""
    number, kept = 1, Path(f"{path}.damaged")
    while kept.exists() and not kept.samefile(path):
        number += 1
        kept = Path(f"{path}.damaged{number}")
    log, moved = Path(f"{path}-wal"), Path(f"{kept}-wal")
    return kept, moved if moved.exists() and not log.exists() else log


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
        if row is not None and known is not None:
            db.execute(known.sql, known.values(row))
        elif row is None or not _made_anew(row):
            broken += 1
    db.execute("COMMIT")
    return broken


def _count(db: sqlite3.Connection) -> tuple[int, int, int, int, int, int]:
    """Attempts, verdicts, failures, cancelled, missing, orphans; drops the orphans."""
    ids = "SELECT MAX(COALESCE(MAX(id), 0), (SELECT COALESCE(MAX(attempt), 0) FROM verdicts)) FROM attempts"
    highest = int(db.execute(ids).fetchone()[0])
    orphans = db.execute("DELETE FROM verdicts WHERE attempt NOT IN (SELECT id FROM attempts)").rowcount
    one = "SELECT COUNT(*) FROM "
    attempts, verdicts, failures, cancelled = (
        int(db.execute(one + table).fetchone()[0]) for table in ("attempts", "verdicts", "failures", "cancelled")
    )
    return attempts, verdicts, failures, cancelled, highest - attempts, orphans


# -- which table a row is of, and whether it makes sense ------------------------------------------------------------


class _Table(NamedTuple):
    """`checks`: one for each value as it is stored; `least`: values that a row of an older version has; `later`: what
    the others are in such a row."""

    sql: str
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


def _list(value: Value) -> bool:
    try:
        return isinstance(value, str) and isinstance(json.loads(value), list)
    except ValueError:
        return False


def _choices(value: Value) -> bool:
    try:
        return isinstance(value, str) and read_choices(value) is not None
    except (ValueError, TypeError):
        return False


_ATTEMPT = (
    *(_nothing, _word, _whole, _whole, _text, _text, _text, _or_nothing(_text)),
    *(_one_of(*get_args(FinishReason)), _whole, _whole, _or_nothing(_list), _number, _number),
    _or_nothing(_choices),
)
_VERDICT = (_whole, _word, _one_of(*State), _word, _or_nothing(_number), _text, _number, _number, _whole, _whole)
_FAILURE = (_word, _whole, _text, _text, _number, _word)
_CANCELLED = (_word, _whole, _text, _or_nothing(_whole), _or_nothing(_whole), _number)


def _insert(table: str, count: int) -> str:
    return f"INSERT OR IGNORE INTO {table} VALUES ({','.join('?' * count)})"


_TABLES = (
    _Table(_insert("attempts", 15), _ATTEMPT, 14, True, (None,)),
    _Table(_insert("verdicts", 10), _VERDICT, 8, False, (0, 1)),
    _Table(_insert("failures", 6), _FAILURE, 5, True, ("failed",)),
    _Table(_insert("cancelled", 6), _CANCELLED, 6, True),
)


def _made_anew(row: Row) -> bool:
    """Whether a row is of the index of attempts, of outcomes, or of the schema, which are not taken over."""
    count = len(row.values)
    if row.rowid is None:
        return count == 4
    return (count == 7 and row.values[0] is None) or (count == 5 and row.values[0] in ("table", "index"))
