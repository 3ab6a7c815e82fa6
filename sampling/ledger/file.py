"""A ledger's file: what it looks like, how it is opened, and what is wrong with a bad one.

Its form is given by the steps that lead from nothing to today's version. A new ledger goes through every step, an
older one through those it lacks, so both end alike. A step is never edited once it was released: what it made is on
somebody's disk. A new version is a new step at the end.

An older file is copied to `ledger.sqlite.v1` before it is touched, and changed in one transaction: killed at any
moment, the file is either the old one or the new one. A reader changes nothing and reads any version so far.

    db = connect(Path("runs/sums/ledger.sqlite"), write=True)
"""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from stillroom.common.records import TokenChoice
from stillroom.errors import LedgerError, RunFolderError

# A new ledger is made under this name, so that a file of the right name that is empty has lost what it held.
_NEW = ".ledger.sqlite.new"

_ATTEMPTS = """CREATE TABLE attempts (
  id INTEGER PRIMARY KEY,
  request TEXT NOT NULL,             -- request_key()
  draw INTEGER NOT NULL,             -- draw index, from 0
  max_tokens INTEGER NOT NULL,       -- the limit it was drawn under
  task_id TEXT NOT NULL, teacher TEXT NOT NULL, text TEXT NOT NULL, reasoning TEXT,
  finish_reason TEXT NOT NULL, prompt_tokens INTEGER NOT NULL, completion_tokens INTEGER NOT NULL,
  logprobs TEXT, latency_s REAL NOT NULL, at REAL NOT NULL,
  UNIQUE (request, draw, max_tokens))"""
_VERDICTS = """CREATE TABLE verdicts (
  attempt INTEGER NOT NULL REFERENCES attempts(id),
  scorer TEXT NOT NULL,              -- scorer_key()
  state TEXT NOT NULL, reason TEXT NOT NULL, score REAL, detail TEXT NOT NULL,
  seconds REAL NOT NULL, at REAL NOT NULL,
  PRIMARY KEY (attempt, scorer)) WITHOUT ROWID"""
_FAILURES = """CREATE TABLE failures (
  request TEXT NOT NULL, draw INTEGER NOT NULL, task_id TEXT NOT NULL, error TEXT NOT NULL, at REAL NOT NULL)"""
_CANCELLED = """CREATE TABLE cancelled (
  request TEXT NOT NULL, draw INTEGER NOT NULL, task_id TEXT NOT NULL,
  prompt_tokens INTEGER, completion_tokens INTEGER, at REAL NOT NULL)   -- NULL: the teacher could not tell"""
_KIND = "ALTER TABLE failures ADD COLUMN kind TEXT NOT NULL DEFAULT 'failed'"
_OUTCOMES = """CREATE TABLE outcomes (
  position INTEGER PRIMARY KEY,      -- of the task among the run's, from 0
  task_id TEXT NOT NULL, stop TEXT NOT NULL,
  draws TEXT NOT NULL,               -- JSON: draw indexes of the attempts that count, in draw order
  kept TEXT NOT NULL,                -- JSON: those of them that are kept
  failed INTEGER NOT NULL, at REAL NOT NULL)"""
# JSON: [token, log-probability, [[token, log-probability], …]] for each token; NULL: not asked for.
_CHOICES = "ALTER TABLE attempts ADD COLUMN choices TEXT"
# The order in which verdicts were written, whatever the clock said; 0: before this was kept. A clock can be set back.
_SEQ = "ALTER TABLE verdicts ADD COLUMN seq INTEGER NOT NULL DEFAULT 0"
# How often this scorer has scored this attempt.
_TRIES = "ALTER TABLE verdicts ADD COLUMN tries INTEGER NOT NULL DEFAULT 1"

STEPS: tuple[tuple[str, ...], ...] = (
    (_ATTEMPTS, _VERDICTS, _FAILURES, _CANCELLED),
    (_KIND, _OUTCOMES),
    (_CHOICES,),
    (_SEQ, _TRIES),
)
VERSION = len(STEPS)


def read_choices(text: str | None) -> tuple[TokenChoice, ...] | None:
    """What is in the column `choices`. Raises ValueError or TypeError where the ledger did not write it."""
    if text is None:
        return None
    return tuple(TokenChoice(token, p, tuple((other, q) for other, q in top)) for token, p, top in json.loads(text))


def connect(path: Path, *, write: bool) -> sqlite3.Connection:
    """An open connection to a ledger of today's version; when only reading, of today's or an older one.

    Raises LedgerError (damaged, in use, disk full) and RunFolderError (no ledger, or of a newer version).
    """
    with explained(path):
        if write and not path.exists():
            new = path.with_name(_NEW)
            for left in path.parent.glob(f"{_NEW}*"):  # of one that was killed here, or had no room
                left.unlink()
            make(new).close()
            os.replace(new, path)
        db = _open(path, write) if write else _open_to_read(path)
        try:
            version = version_of(db)
            if version > VERSION:
                raise RunFolderError(
                    f"{path} was written by a newer Stillroom (ledger version {version}, this one reads {VERSION}): "
                    "upgrade"
                )
            if version <= 0:
                raise damaged(path, "it is empty" if path.stat().st_size == 0 else f"its version is {version}")
            if write:
                db.execute("PRAGMA journal_mode=WAL")
                db.execute("PRAGMA synchronous=NORMAL")
                db.execute("PRAGMA wal_autocheckpoint=10000")  # 40 MB: fewer, larger checkpoints
            if write and version < VERSION:
                # Kept as it was: a whole copy, the WAL included, under its name only when it is complete.
                part = path.with_name(f".{path.name}.v{version}.part")
                part.unlink(missing_ok=True)
                with closing(sqlite3.connect(part)) as copy:
                    db.backup(copy)
                os.replace(part, f"{path}.v{version}")
                _take_steps(db, version)
        except BaseException:
            db.close()
            raise
        return db


def version_of(db: sqlite3.Connection) -> int:
    """The version of the file; 0 for one that holds nothing yet."""
    return int(db.execute("PRAGMA user_version").fetchone()[0])


def damaged(path: Path, what: str) -> LedgerError:
    """The error for a file that cannot be trusted."""
    return LedgerError(
        f"{path} is damaged ({what}): `stillroom status {path.parent} --salvage` saves what can be read of it and "
        "keeps the damaged file; or bring the file back from a copy, or start over in another folder with --out"
    )


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turns SQLite's errors into messages that say what to do."""
    try:
        yield
    except sqlite3.OperationalError as error:
        text = str(error)
        if "full" in text or "disk I/O" in text:
            fix = "free some space and run the same command again; what was answered before is kept"
            raise LedgerError(f"cannot write {path}: {text}: {fix}") from error
        if "decode" in text or "no such table" in text or "no such column" in text:
            raise damaged(path, text) from error
        raise LedgerError(f"cannot use {path}: {text}") from error
    except sqlite3.Error as error:
        if type(error) is sqlite3.DatabaseError:
            raise damaged(path, str(error)) from error
        # Its subclasses and InterfaceError: closed, of another thread, a value that fits no column.
        raise LedgerError(f"{path} was used in a way that it does not allow, and is as it was: {error}") from error


def make(path: Path) -> sqlite3.Connection:
    """A new, empty ledger at `path`, without a WAL: one file."""
    db = sqlite3.connect(path, isolation_level=None)
    try:
        _take_steps(db, 0)
    except BaseException:
        db.close()
        raise
    return db


def _take_steps(db: sqlite3.Connection, version: int) -> None:
    db.execute("BEGIN IMMEDIATE")
    try:
        for step in STEPS[version:]:
            for statement in step:
                db.execute(statement)
        db.execute(f"PRAGMA user_version={VERSION}")
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise


def _open(path: Path, write: bool) -> sqlite3.Connection:
    # Autocommit: each record is on disk when the call returns. NORMAL survives the death of the process at
    # any moment; only a power cut can lose the last records.
    uri = f"{path.resolve().as_uri()}?mode={'rw' if write else 'ro'}"
    db = sqlite3.connect(uri, uri=True, isolation_level=None, timeout=30)
    db.row_factory = sqlite3.Row
    return db


def _open_to_read(path: Path) -> sqlite3.Connection:
    """As `_open`, also in a folder that cannot be written: SQLite wants to make a file there to read a ledger with a
    log. Without a log the file is read as it is, with one a copy of both is."""
    db = _open(path, write=False)
    try:
        version_of(db)
    except sqlite3.OperationalError as error:
        db.close()
        if not any(said in str(error) for said in ("unable to open", "readonly", "read-only")):
            raise
    else:
        return db
    log = Path(f"{path}-wal")
    if not log.exists() or not log.stat().st_size:
        db = sqlite3.connect(f"{path.resolve().as_uri()}?immutable=1", uri=True, isolation_level=None)
        db.row_factory = sqlite3.Row
        return db
    folder = tempfile.TemporaryDirectory(prefix="stillroom-")
    try:
        # The log is copied first: what a run moves from it into the file meanwhile is in the file then.
        for source in (log, path):
            shutil.copyfile(source, Path(folder.name) / source.name)
        copy = sqlite3.connect(Path(folder.name) / path.name, isolation_level=None, factory=_Copy)
    except BaseException:
        folder.cleanup()
        raise
    copy.folder, copy.row_factory = folder, sqlite3.Row
    return copy


class _Copy(sqlite3.Connection):
    """A connection to a copy of a ledger, which goes when it is closed."""

    folder: tempfile.TemporaryDirectory[str]

    def close(self) -> None:
        """Closes it and removes the copy."""
        super().close()
        self.folder.cleanup()
