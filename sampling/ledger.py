"""The ledger: every attempt and verdict of a run, on disk before anything depends on it.

One SQLite file in WAL mode. An attempt is keyed by the hash of what decides it (messages, sampling parameters,
seed of the run, teacher's identity), its draw index and its `max_tokens`; so changed filters, `keep`, tasks or
scorer re-use every attempt that still applies, and only a changed request is paid for again. A verdict is keyed by
attempt, scorer identity and reference: a corrected gold answer is scored anew.

It refuses a second process on one run, a file of a newer version, and a damaged file, each with a message.

    with Ledger.open(folder) as ledger:
        key = request_key(messages, sampling, teacher.identity, seed)
        ledger.add_attempt(key, sampling.max_tokens, attempt)
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, Self

from filelock import FileLock, Timeout

from stillroom.errors import LedgerError, RunFolderError
from stillroom.sampling.hashing import digest
from stillroom.sampling.records import Attempt, Messages, SamplingParams, State, Usage, Verdict

FILE = "ledger.sqlite"
VERSION = 1

_SCHEMA = """
CREATE TABLE attempts (
  id INTEGER PRIMARY KEY,
  request TEXT NOT NULL,             -- request_key()
  draw INTEGER NOT NULL,             -- draw index, from 0
  max_tokens INTEGER NOT NULL,       -- the limit it was drawn under
  task_id TEXT NOT NULL, teacher TEXT NOT NULL, text TEXT NOT NULL, reasoning TEXT,
  finish_reason TEXT NOT NULL, prompt_tokens INTEGER NOT NULL, completion_tokens INTEGER NOT NULL,
  logprobs TEXT, latency_s REAL NOT NULL, at REAL NOT NULL,
  UNIQUE (request, draw, max_tokens));
CREATE TABLE verdicts (
  attempt INTEGER NOT NULL REFERENCES attempts(id),
  scorer TEXT NOT NULL,              -- scorer_key()
  state TEXT NOT NULL, reason TEXT NOT NULL, score REAL, detail TEXT NOT NULL,
  seconds REAL NOT NULL, at REAL NOT NULL,
  PRIMARY KEY (attempt, scorer)) WITHOUT ROWID;
CREATE TABLE failures (
  request TEXT NOT NULL, draw INTEGER NOT NULL, task_id TEXT NOT NULL, error TEXT NOT NULL, at REAL NOT NULL);
CREATE TABLE cancelled (
  request TEXT NOT NULL, draw INTEGER NOT NULL, task_id TEXT NOT NULL,
  prompt_tokens INTEGER, completion_tokens INTEGER, at REAL NOT NULL);   -- NULL: the teacher could not tell
"""


def request_key(messages: Messages, sampling: SamplingParams, teacher: str, seed: int) -> str:
    """The key of all draws of one request. `max_tokens` is left out: an attempt that ended by itself within a
    new limit still counts."""
    params = sampling.model_dump(exclude={"max_tokens"})
    return digest([[m.as_dict() for m in messages], params, teacher, seed])


def scorer_key(identity: str, reference: str | None) -> str:
    """The key of a scorer's verdicts against one reference."""
    return digest([identity, reference])


class Recorded(NamedTuple):
    """An attempt from the ledger, its row id, and its verdict by the scorer asked for (None: not scored yet)."""

    row: int
    attempt: Attempt
    verdict: Verdict | None


class Totals(NamedTuple):
    """What the ledger holds. Cancelled tokens count what teachers could tell; `cancelled_unknown` could not."""

    attempts: int
    prompt_tokens: int
    completion_tokens: int
    failures: int
    cancelled: int
    cancelled_tokens: int
    cancelled_unknown: int


class Ledger:
    """An open ledger. Not for several threads; one process at a time."""

    def __init__(self, connection: sqlite3.Connection, path: Path, lock: FileLock | None) -> None:
        self._db = connection
        self._lock = lock
        self.path = path

    @classmethod
    def open(cls, folder: Path) -> Ledger:
        """Opens or creates the ledger of a run and holds its lock until closed or the process ends.

        Raises LedgerError (in use, damaged, disk full) and RunFolderError (written by a newer version).
        """
        path = folder / FILE
        lock = FileLock(folder / ".lock", timeout=0)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            lock.acquire()
        except Timeout:
            raise LedgerError(
                f"another process is working on {folder}: wait for it to end, or give this run another --out"
            ) from None
        except OSError as error:
            raise LedgerError(f"cannot write in {folder}: {error.strerror or error}") from error
        try:
            return cls(_connect(path, write=True), path, lock)
        except BaseException:
            lock.release()
            raise

    @classmethod
    def read(cls, folder: Path) -> Ledger:
        """Opens an existing ledger for reading only; a run may be writing it."""
        path = folder / FILE
        if not path.is_file():
            raise RunFolderError(f"{folder} holds no ledger ({FILE}): it is not the folder of a run")
        return cls(_connect(path, write=False), path, None)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the file and gives the lock back."""
        self._db.close()
        if self._lock is not None:
            self._lock.release()

    def add_attempt(self, key: str, max_tokens: int, attempt: Attempt) -> int:
        """Writes an attempt and returns its row id."""
        a = attempt
        logprobs = None if a.logprobs is None else json.dumps(a.logprobs)
        row = (key, a.index, max_tokens, a.task_id, a.teacher, a.text, a.reasoning, a.finish_reason, a.prompt_tokens)
        row += (a.completion_tokens, logprobs, a.latency_s, time.time())  # type: ignore[assignment]
        sql = "INSERT OR REPLACE INTO attempts VALUES (NULL,?,?,?,?,?,?,?,?,?,?,?,?,?)"
        return int(self._write(sql, row).lastrowid or 0)

    def add_verdict(self, row: int, scorer: str, v: Verdict) -> None:
        """Writes the verdict of a scorer (scorer_key) on the attempt with that row id."""
        values = (row, scorer, v.state.value, v.reason, v.score, v.detail, v.seconds, time.time())
        self._write("INSERT OR REPLACE INTO verdicts VALUES (?,?,?,?,?,?,?,?)", values)

    def add_failure(self, key: str, index: int, task_id: str, error: str) -> None:
        """Writes that a request got no answer."""
        self._write("INSERT INTO failures VALUES (?,?,?,?,?)", (key, index, task_id, error, time.time()))

    def add_cancelled(self, key: str, index: int, task_id: str, usage: Usage) -> None:
        """Writes what a cancelled request had cost."""
        values = (key, index, task_id, usage.prompt_tokens, usage.completion_tokens, time.time())
        self._write("INSERT INTO cancelled VALUES (?,?,?,?,?,?)", values)

    def find(self, key: str, max_tokens: int, task_id: str, scorer: str) -> dict[int, Recorded]:
        """What is on record for a request, by draw index: attempts that apply under `max_tokens`."""
        sql = (
            "SELECT a.*, v.state, v.reason AS v_reason, v.score, v.detail, v.seconds FROM attempts a "
            "LEFT JOIN verdicts v ON v.attempt = a.id AND v.scorer = ? WHERE a.request = ? "
            "AND (a.max_tokens = ? OR (a.finish_reason != 'length' AND a.completion_tokens <= ?)) "
            # the exact limit wins over one that merely applies
            "ORDER BY a.draw, a.max_tokens = ? DESC, a.max_tokens"
        )
        found: dict[int, Recorded] = {}
        for row in self._read(sql, (scorer, key, max_tokens, max_tokens, max_tokens)):
            found.setdefault(row["draw"], Recorded(row["id"], _attempt(row, task_id), _verdict(row)))
        return found

    def rows(self) -> Iterator[dict[str, Any]]:
        """Every attempt with the latest verdict on it, in the order they were written: for export."""
        sql = (
            "SELECT a.*, v.state, v.reason AS v_reason, v.score, v.detail FROM attempts a "
            "LEFT JOIN verdicts v ON v.attempt = a.id "
            "AND v.at = (SELECT MAX(at) FROM verdicts w WHERE w.attempt = a.id) ORDER BY a.id"
        )
        return (dict(row) for row in self._read(sql, ()))

    def totals(self) -> Totals:
        """Sums over the whole ledger."""
        attempts = self._one(
            "SELECT COUNT(*), COALESCE(SUM(prompt_tokens),0), COALESCE(SUM(completion_tokens),0) FROM attempts"
        )
        failures = self._one("SELECT COUNT(*) FROM failures")
        cancelled = self._one(
            "SELECT COUNT(*), COALESCE(SUM(COALESCE(prompt_tokens,0) + COALESCE(completion_tokens,0)),0), "
            "COALESCE(SUM(completion_tokens IS NULL),0) FROM cancelled"
        )
        return Totals(*attempts, *failures, *cancelled)

    def verdict_counts(self) -> dict[str, int]:
        """How many attempts have each state by any scorer's latest verdict; `none`: not scored."""
        counts: dict[str, int] = {}
        for row in self.rows():
            state = row["state"] or "none"
            counts[state] = counts.get(state, 0) + 1
        return counts

    def _write(self, sql: str, values: tuple[Any, ...]) -> sqlite3.Cursor:
        with _explained(self.path):
            return self._db.execute(sql, values)

    def _read(self, sql: str, values: tuple[Any, ...]) -> list[sqlite3.Row]:
        with _explained(self.path):
            return self._db.execute(sql, values).fetchall()

    def _one(self, sql: str) -> tuple[int, ...]:
        return tuple(self._read(sql, ())[0])


def _connect(path: Path, *, write: bool) -> sqlite3.Connection:
    with _explained(path):
        # Autocommit: each record is on disk when the call returns. NORMAL survives the death of the process at
        # any moment; only a power cut can lose the last records.
        uri = f"{path.resolve().as_uri()}?mode={'rwc' if write else 'ro'}"
        db = sqlite3.connect(uri, uri=True, isolation_level=None, timeout=30)
        db.row_factory = sqlite3.Row
        try:
            _prepare(db, path, write)
        except BaseException:
            db.close()
            raise
        return db


def _prepare(db: sqlite3.Connection, path: Path, write: bool) -> None:
    version = int(db.execute("PRAGMA user_version").fetchone()[0])
    if version > VERSION:
        raise RunFolderError(
            f"{path} was written by a newer Stillroom (ledger version {version}, this one reads {VERSION}): upgrade"
        )
    if write:
        db.execute("PRAGMA journal_mode=WAL")
        db.execute("PRAGMA synchronous=NORMAL")
    if version == 0:
        if not write:
            raise RunFolderError(f"{path} is empty: the run had not begun")
        db.executescript(f"BEGIN; {_SCHEMA} PRAGMA user_version={VERSION}; COMMIT;")


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Turns SQLite's errors into messages that say what to do."""
    try:
        yield
    except sqlite3.OperationalError as error:
        text = str(error)
        if "full" in text or "disk I/O" in text:
            fix = "free some space and run the same command again; what was answered before is kept"
            raise LedgerError(f"cannot write {path}: {text}: {fix}") from error
        raise LedgerError(f"cannot use {path}: {text}") from error
    except sqlite3.DatabaseError as error:
        raise LedgerError(
            f"{path} is damaged ({error}): move it away to start anew, or bring it back from a copy"
        ) from error


def _attempt(row: sqlite3.Row, task_id: str) -> Attempt:
    logprobs = None if row["logprobs"] is None else tuple(json.loads(row["logprobs"]))
    return Attempt(
        task_id=task_id,
        index=row["draw"],
        text=row["text"],
        reasoning=row["reasoning"],
        finish_reason=row["finish_reason"],
        prompt_tokens=row["prompt_tokens"],
        completion_tokens=row["completion_tokens"],
        logprobs=logprobs,
        latency_s=row["latency_s"],
        teacher=row["teacher"],
    )


def _verdict(row: sqlite3.Row) -> Verdict | None:
    if row["state"] is None:
        return None
    return Verdict(State(row["state"]), row["v_reason"], row["score"], row["detail"], row["seconds"])
