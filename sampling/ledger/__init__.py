"""The ledger: every attempt and verdict of a run, on disk before anything depends on it.

One SQLite file in WAL mode. An attempt is keyed by the hash of what decides it (messages, sampling parameters,
seed of the run, teacher's identity), its draw index and its `max_tokens`; so changed filters, `keep`, tasks or
scorer re-use every attempt that still applies, and only a changed request is paid for again. A verdict is keyed by
attempt, scorer identity and reference: a corrected gold answer is scored again.

It brings a file of an older version up to date, and refuses a second process on one run, a file of a newer version,
and a damaged file, each with a message. What can be read of a damaged file is saved by `Ledger.salvage`.

    with Ledger.open(folder) as ledger:
        key = request_key(messages, sampling, teacher.identity, seed)
        ledger.add_attempt(key, sampling.max_tokens, attempt)
"""

from __future__ import annotations

import json
import math
import os
import sqlite3
import tempfile
import time
from array import array
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple, Self

from filelock import FileLock, Timeout

from stillroom.common.hashing import digest
from stillroom.common.marks import NamedMarks, split_named
from stillroom.common.outside import MOST_TOKENS
from stillroom.common.records import (
    Attempt,
    Messages,
    Outcome,
    SamplingParams,
    ScoredAttempt,
    State,
    StopReason,
    Task,
    Usage,
    Verdict,
)
from stillroom.common.secrets import revealed
from stillroom.errors import LedgerError, RunFolderError
from stillroom.sampling.ledger.copying import Absorbed, absorb, as_one, shards_of
from stillroom.sampling.ledger.file import connect, explained, read_choices, version_of
from stillroom.sampling.ledger.salvage import Salvaged, salvage

FILE = "ledger.sqlite"
GROWTH_S = 2.0
"""Seconds between two calls of `Ledger.on_growth`, at least."""
# Rows that are fetched at once where all are read: few enough to hold, enough to be quick.
_PAGE = 500
# Settings that came after ledgers were written, with the value that changes nothing: such a key is as it always was.
_LATER_SETTINGS = {"top_logprobs": 0, "json_schema": None}


def request_key(messages: Messages, sampling: SamplingParams, teacher: str, seed: int) -> str:
    """The key of all draws of one request. `max_tokens` is left out: an attempt that ended by itself within a
    new limit still counts; and `thinking`, which says how an answer is read."""
    params = sampling.model_dump(exclude={"max_tokens", "thinking"})
    for name, absent in _LATER_SETTINGS.items():
        if params[name] == absent:
            del params[name]
    return digest([[m.as_dict() for m in messages], params, revealed(teacher), seed])


READS_METADATA = " reads=metadata"
"""At the end of the identity of a scorer that reads more of a task than its messages and its reference."""


def scorer_key(identity: str, task: Task) -> str:
    """The key of a scorer's verdicts on one task, whose reference, or metadata, may be edited between two runs."""
    read: list[str | None] = [task.reference]
    if identity.endswith(READS_METADATA):
        read.append(str(dict(task.metadata)))
    if task.answer_type:
        read.append(f"type={task.answer_type}")
    return digest([revealed(identity), *read])


class Recorded(NamedTuple):
    """An attempt from the ledger, its row id, and its verdict by the scorer asked for (None: not scored yet).

    `tries`: how often that scorer has scored it; `seq`: the verdict's place among all verdicts of the ledger, in the
    order they were written.
    """

    row: int
    attempt: Attempt
    verdict: Verdict | None
    tries: int = 0
    seq: int = 0

    @property
    def scored(self) -> ScoredAttempt | None:
        """With its verdict; None while it has none."""
        return None if self.verdict is None else ScoredAttempt(self.attempt, self.verdict)


class SpentBy(NamedTuple):
    """What the requests of a teacher have cost; `apart`: those that were asked for by themselves."""

    teacher: str
    apart: bool
    requests: int
    prompt_tokens: int
    completion_tokens: int
    cancelled_tokens: int


class Spent(NamedTuple):
    """What the draws of requests have cost so far: attempts that were answered, and their tokens."""

    attempts: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0

    def plus(self, other: Spent) -> Spent:
        """The sum of both."""
        return Spent(*(a + b for a, b in zip(self, other, strict=True)))


class StoredOutcome(NamedTuple):
    """How a task ended. `draws`: indexes of the attempts that count, `kept`: of those kept, both in draw order."""

    position: int
    task_id: str
    stop: StopReason
    draws: tuple[int, ...]
    kept: tuple[int, ...]
    failed: int


class Requested(NamedTuple):
    """A request that has attempts: its key, the task that it was for, and the teacher's identity."""

    key: str
    task_id: str
    teacher: str


class Means(NamedTuple):
    """Mean tokens of an attempt."""

    prompt_tokens: float
    completion_tokens: float


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

    def __init__(
        self, connection: sqlite3.Connection, path: Path, held: FileLock | tempfile.TemporaryDirectory[str] | None
    ) -> None:
        self._db, self.path, self._held = connection, path, held
        self.version = version_of(connection)
        # The order of verdicts on one attempt, the latest first: by sequence, since a clock may be set back.
        self._latest = "seq DESC, at DESC, scorer" if self.version >= 4 else "at DESC, scorer"
        self._last_seq: int | None = None  # of the verdicts, once it was looked up
        self.on_growth: Callable[[], object] | None = None
        """Called after an attempt was written, though not more often than every `GROWTH_S` seconds."""
        self._grew = -math.inf

    @classmethod
    def open(cls, folder: Path) -> Ledger:
        """Opens or creates the ledger of a run and holds its lock until closed or the process ends.

        One of an older version is brought up to date; the old file is kept as `ledger.sqlite.v<version>`.
        Raises LedgerError (in use, damaged, disk full) and RunFolderError (written by a newer version).
        """
        lock = _locked(folder)
        try:
            return cls(connect(folder / FILE, write=True), folder / FILE, lock)
        except BaseException:
            lock.release()
            raise

    @classmethod
    def read(cls, folder: Path) -> Ledger:
        """Opens an existing ledger for reading only, of this version or an older one; a run may be writing it. Where
        a run's shards have ledgers, what they hold so far is read as if it were the run's."""
        path = folder / FILE
        if not path.is_file():
            raise RunFolderError(f"{folder} holds no ledger ({FILE}): it is not the folder of a run")
        if not shards_of(path):
            return cls(connect(path, write=False), path, None)
        copy = tempfile.TemporaryDirectory(prefix="stillroom-")
        try:
            return cls(connect(as_one(path, Path(copy.name)), write=False), path, copy)
        except BaseException:
            copy.cleanup()
            raise

    @classmethod
    def salvage(cls, folder: Path) -> Salvaged:
        """Writes a new ledger with all that can be read of a damaged one, which is kept in the same folder.

        Raises LedgerError (in use, disk full) and RunFolderError (there is none).
        """
        if not (folder / FILE).is_file():
            raise RunFolderError(f"{folder} holds no ledger ({FILE}): there is nothing to salvage")
        with _locked(folder):
            return salvage(folder / FILE)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the file, and gives the lock back or removes the copy that was read."""
        self._db.close()
        if isinstance(self._held, FileLock):
            self._held.release()
        elif self._held is not None:
            self._held.cleanup()

    # -- writing: on disk when the call returns ------------------------------------------------------------

    def add_attempt(self, key: str, max_tokens: int, attempt: Attempt) -> int:
        """Writes an attempt and returns its row id."""
        a = attempt
        logprobs = None if a.logprobs is None else json.dumps(a.logprobs)
        choices = None if a.choices is None else json.dumps(a.choices, separators=(",", ":"))
        answer = (a.text, a.reasoning, a.finish_reason, a.prompt_tokens, a.completion_tokens)
        row = (key, a.index, max_tokens, a.task_id, a.teacher, *answer, logprobs, a.latency_s, time.time(), choices)
        sql = "INSERT OR REPLACE INTO attempts VALUES (NULL,?,?,?,?,?,?,?,?,?,?,?,?,?,?)"
        written = int(self._write(sql, row).lastrowid or 0)
        if self.on_growth is not None and time.monotonic() >= self._grew + GROWTH_S:
            self._grew = time.monotonic()
            self.on_growth()
        return written

    def add_verdict(self, row: int, scorer: str, v: Verdict) -> None:
        """Writes the verdict of a scorer (scorer_key) on the attempt with that row id, in the place of an earlier one
        of the same scorer; counts how often there was one."""
        if self._last_seq is None:
            self._last_seq = self._one("SELECT COALESCE(MAX(seq), 0) FROM verdicts")[0]
        self._last_seq += 1
        values = (row, scorer, v.state.value, v.reason, v.score, v.detail, v.seconds, time.time(), self._last_seq)
        sql = (
            "INSERT INTO verdicts VALUES (?,?,?,?,?,?,?,?,?,1) ON CONFLICT (attempt, scorer) DO UPDATE SET "
            "state = excluded.state, reason = excluded.reason, score = excluded.score, detail = excluded.detail, "
            "seconds = excluded.seconds, at = excluded.at, seq = excluded.seq, tries = tries + 1"
        )
        self._write(sql, values)

    def add_failure(self, key: str, index: int, task_id: str, error: str, kind: str = "failed") -> None:
        """Writes that a request got no answer. `kind`: a word for the sort of failure, to count by."""
        self._write("INSERT INTO failures VALUES (?,?,?,?,?,?)", (key, index, task_id, error, time.time(), kind))

    def add_cancelled(self, key: str, index: int, task_id: str, usage: Usage) -> None:
        """Writes what a cancelled request had cost."""
        values = (key, index, task_id, usage.prompt_tokens, usage.completion_tokens, time.time())
        self._write("INSERT INTO cancelled VALUES (?,?,?,?,?,?)", values)

    def name_marks(self, teacher: str, named: NamedMarks) -> int:
        """Reads a teacher's attempts again by marks of thinking that were named after they were drawn, and says how
        many had such marks. Their verdicts are forgotten: they were given to the thinking, too."""
        sql = "SELECT id, text FROM attempts WHERE teacher = ? AND (instr(text, ?) OR instr(text, ?))"
        found = self._read(sql, (teacher, named.open, named.close))
        with explained(self.path), self._db:
            self._db.execute("BEGIN")
            for row in found:
                split = split_named(row["text"], named)
                self._db.execute("UPDATE attempts SET text = ?, reasoning = COALESCE(?, reasoning) WHERE id = ?",
                                 (split.text, split.reasoning, row["id"]))  # fmt: skip
                self._db.execute("DELETE FROM verdicts WHERE attempt = ?", (row["id"],))
        return len(found)

    def add_outcome(self, position: int, outcome: Outcome) -> None:
        """Writes how the task at that position of the run ended, in the place of what was known of the position."""
        draws, kept = json.dumps([s.attempt.index for s in outcome.attempts]), json.dumps(outcome.kept)
        values = (position, outcome.task.id, outcome.stop.value, draws, kept, outcome.failed, time.time())
        self._write("INSERT OR REPLACE INTO outcomes VALUES (?,?,?,?,?,?,?)", values)

    def clear_outcomes(self) -> None:
        """Forgets how tasks ended: a run with other tasks or another policy begins. Attempts stay."""
        self._write("DELETE FROM outcomes", ())

    def absorb(self, shard: Path) -> Absorbed:
        """Adds all that the ledger in the folder of a shard has; what is here already is not added again."""
        found = absorb(self.path, shard / FILE)
        self._last_seq = None
        return found

    def sync(self) -> int:
        """Sees to it that all is on disk that was written, power cut or not; gives the number of attempts."""
        count = self.count()
        with suppress(OSError), open(f"{self.path}-wal", "rb") as log:  # without a log, all is in the file
            os.fsync(log.fileno())
        return count

    # -- reading -------------------------------------------------------------------------------------------

    def find(self, key: str, max_tokens: int, task_id: str, scorer: str) -> dict[int, Recorded]:
        """What is on record for a request, by draw index: attempts that apply under `max_tokens`."""
        kept = "v.seq, v.tries" if self.version >= 4 else "0 AS seq, v.attempt IS NOT NULL AS tries"
        sql = (
            f"SELECT a.*, v.state, v.reason AS v_reason, v.score, v.detail, v.seconds, {kept} FROM attempts a "
            "LEFT JOIN verdicts v ON v.attempt = a.id AND v.scorer = ? WHERE a.request = ? "
            "AND (a.max_tokens = ? OR (a.finish_reason != 'length' AND a.completion_tokens <= ?)) "
            # the exact limit wins over one that merely applies
            "ORDER BY a.draw, a.max_tokens = ? DESC, a.max_tokens"
        )
        found: dict[int, Recorded] = {}
        for row in self._read(sql, (scorer, key, max_tokens, max_tokens, max_tokens)):
            if row["draw"] in found:
                continue
            attempt = Attempt(
                task_id=task_id,
                index=row["draw"],
                text=row["text"],
                reasoning=row["reasoning"],
                finish_reason=row["finish_reason"],
                prompt_tokens=row["prompt_tokens"],
                completion_tokens=row["completion_tokens"],
                logprobs=None if row["logprobs"] is None else tuple(json.loads(row["logprobs"])),
                latency_s=row["latency_s"],
                teacher=row["teacher"],
                choices=read_choices(row["choices"]) if self.version >= 3 else None,
            )
            said = (row["v_reason"], row["score"], row["detail"], row["seconds"])
            verdict = None if row["state"] is None else Verdict(State(row["state"]), *said)
            found[row["draw"]] = Recorded(row["id"], attempt, verdict, row["tries"] or 0, row["seq"] or 0)
        return found

    def spent(self, key: str) -> Spent:
        """What all draws of a request have cost that were answered, under whatever limit."""
        sums = f"COUNT(*), {_sum('prompt_tokens')}, {_sum('completion_tokens')}"
        return Spent(*self._read(f"SELECT {sums} FROM attempts WHERE request = ?", (key,))[0])

    def cancelled_tokens(self) -> dict[str, int]:
        """By request, the completion tokens of draws that were cancelled, as far as their teacher could tell."""
        sql = f"SELECT request, {_sum('completion_tokens')} FROM cancelled GROUP BY request"
        return dict(map(tuple, self._read(sql, ())))

    def failed_draws(self) -> dict[str, set[int]]:
        """By request, the draws that failed for good, at whatever time; some may be answered by now."""
        found: dict[str, set[int]] = {}
        for row in self._read("SELECT DISTINCT request, draw FROM failures", ()):
            found.setdefault(row["request"], set()).add(row["draw"])
        return found

    def failed_tasks(self) -> set[str]:
        """What the requests that failed for good were for, at whatever time; some may be answered by now."""
        return {row["task_id"] for row in self._read("SELECT DISTINCT task_id FROM failures", ())}

    def outcomes(self) -> Iterator[StoredOutcome]:
        """How tasks ended, in the order of the tasks, read as they are asked for; none in a version 1 ledger."""
        if self.version < 2:
            return
        for row in self._pages("SELECT * FROM outcomes", "position"):
            draws, kept = tuple(json.loads(row["draws"])), tuple(json.loads(row["kept"]))
            stop = StopReason(row["stop"])
            yield StoredOutcome(row["position"], row["task_id"], stop, draws, kept, row["failed"])

    def rows(self) -> Iterator[dict[str, Any]]:
        """Every attempt with the latest verdict on it, in the order they were written: for export."""
        return (dict(row) for row in self._pages(self._with_verdict, "id"))

    @property
    def _with_verdict(self) -> str:
        return (
            "SELECT a.*, v.state, v.reason AS v_reason, v.score, v.detail FROM attempts a "
            "LEFT JOIN verdicts v ON v.attempt = a.id AND v.scorer = "
            f"(SELECT scorer FROM verdicts w WHERE w.attempt = a.id ORDER BY {self._latest} LIMIT 1)"
        )

    def rows_by_task(self) -> Iterator[dict[str, Any]]:
        """The same in draw order: by task, request and draw. SQLite sorts them, on disk where they are many; a number
        for each is in memory."""
        with explained(self.path):
            found = self._db.execute("SELECT id FROM attempts ORDER BY task_id, request, draw, id")
            ids = array("q", (row[0] for row in found))
        for start in range(0, len(ids), _PAGE):
            page = ids[start : start + _PAGE]
            rows = self._read(f"{self._with_verdict} WHERE a.id IN ({','.join('?' * len(page))})", tuple(page))
            by_id = {row["id"]: dict(row) for row in rows}
            yield from (by_id[each] for each in page if each in by_id)

    def count(self) -> int:
        """Attempts. Reads an index alone, so it is quick where there are a million."""
        return self._one("SELECT COUNT(*) FROM attempts")[0]

    def totals(self) -> Totals:
        """Sums over the whole ledger."""
        attempts = self._one(f"SELECT COUNT(*), {_sum('prompt_tokens')}, {_sum('completion_tokens')} FROM attempts")
        failures = self._one("SELECT COUNT(*) FROM failures")
        cancelled = self._one(
            f"SELECT COUNT(*), {_sum('prompt_tokens')} + {_sum('completion_tokens')}, "
            "COALESCE(SUM(completion_tokens IS NULL),0) FROM cancelled"
        )
        return Totals(*attempts, *failures, *cancelled)

    def spent_by(self, apart: str) -> list[SpentBy]:
        """What every teacher has cost, requests for tasks whose id begins with `apart` by themselves. Cancelled
        requests are with the teacher of the other draws of the same request, where there is one."""
        group = "SELECT teacher, task_id LIKE ? || '%' AS apart,"
        prompt, completion = _sum("prompt_tokens"), _sum("completion_tokens")
        sql = (
            "SELECT teacher, apart, SUM(n), SUM(prompt), SUM(completion), SUM(cancelled) FROM ("
            f"{group} COUNT(*) AS n, {prompt} AS prompt, {completion} AS completion, 0 AS cancelled "
            f"FROM attempts GROUP BY 1, 2 UNION ALL {group} 0, 0, 0, COALESCE(SUM(lost), 0) "
            f"FROM (SELECT request, {completion} AS lost FROM cancelled GROUP BY request) c "
            "JOIN (SELECT request, teacher, task_id FROM attempts GROUP BY request) a ON a.request = c.request "
            "GROUP BY 1, 2) GROUP BY 1, 2"
        )
        return [SpentBy(teacher, bool(is_apart), *sums) for teacher, is_apart, *sums in self._read(sql, (apart,) * 2)]

    def verdict_counts(self) -> dict[str, int]:
        """How many attempts have each state by any scorer's latest verdict; `none`: not scored."""
        sql = (
            "SELECT COALESCE((SELECT state FROM verdicts v WHERE v.attempt = a.id "
            f"ORDER BY {self._latest} LIMIT 1), 'none') AS last, COUNT(*) FROM attempts a GROUP BY last"
        )
        return dict(map(tuple, self._read(sql, ())))

    def failure_counts(self) -> dict[str, int]:
        """Failures by kind."""
        if self.version < 2:
            return {"failed": n} if (n := self.totals().failures) else {}
        return dict(map(tuple, self._read("SELECT kind, COUNT(*) FROM failures GROUP BY kind", ())))

    def draws(self, key: str) -> set[int]:
        """Indexes of all draws of a request that are on record, under whatever limit."""
        return {row["draw"] for row in self._read("SELECT DISTINCT draw FROM attempts WHERE request = ?", (key,))}

    def last_state(self, row: int) -> State | None:
        """The latest verdict on an attempt, whichever scorer gave it; None: it was not scored."""
        sql = f"SELECT state FROM verdicts WHERE attempt = ? ORDER BY {self._latest} LIMIT 1"
        found = self._read(sql, (row,))
        return State(found[0]["state"]) if found else None

    def requests(self) -> Iterator[Requested]:
        """Every request that has attempts, with the task that they were for."""
        sql = "SELECT request, task_id, teacher FROM attempts"
        for row in self._pages(sql, "request", "", group=" GROUP BY request"):
            yield Requested(row["request"], row["task_id"], row["teacher"])

    def mean_tokens(self, teacher: str) -> Means | None:
        """Mean prompt and completion tokens of a teacher's attempts; None where it has none."""
        sql = (
            "SELECT AVG(prompt_tokens) AS p, AVG(completion_tokens) AS c FROM attempts WHERE teacher = ? "
            f"AND MAX(prompt_tokens, completion_tokens) <= {MOST_TOKENS}"
        )
        row = self._read(sql, (teacher,))[0]
        return None if row["p"] is None else Means(row["p"], row["c"])

    def _pages(self, select: str, key: str, last: int | str = -1, group: str = "") -> Iterator[sqlite3.Row]:
        """All rows by a key, a page at a time: memory stays flat, and a run may write meanwhile."""
        while page := self._read(f"{select} WHERE {key} > ?{group} ORDER BY {key} LIMIT {_PAGE}", (last,)):
            yield from page
            last = page[-1][key]

    def _write(self, sql: str, values: tuple[Any, ...]) -> sqlite3.Cursor:
        with explained(self.path):
            return self._db.execute(sql, values)

    def _read(self, sql: str, values: tuple[Any, ...]) -> list[sqlite3.Row]:
        with explained(self.path):
            return self._db.execute(sql, values).fetchall()

    def _one(self, sql: str) -> tuple[int, ...]:
        return tuple(self._read(sql, ())[0])


def _sum(column: str) -> str:
    """The sum of a count of tokens. An earlier version wrote counts as servers gave them: what cannot be one is left
    out, for it would break the sum."""
    return f"COALESCE(SUM({column}) FILTER (WHERE {column} BETWEEN 0 AND {MOST_TOKENS}), 0)"


def _locked(folder: Path) -> FileLock:
    """The lock of a run, held."""
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
    return lock
