"""Rows from one ledger to another: what a shard may need to know, and what it found out.

    hand_over(run.path, {shard: requests_of(tasks)})      # before: what is on record of a shard's tasks
    absorb(run.path, shard.path)                          # after: everything that the shard has, once
    as_one(run.path, work)                                # meanwhile: a copy with all that the shards have so far

Both may be called again, and killed at any moment: a row that is there is not written twice. Of two
verdicts by one scorer on one attempt, the one stays that was given after more tries.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from stillroom.sampling.ledger.file import connect, explained

SHARDS = "shards"
"""In a run's folder, while its shards have ledgers that were not added to the run's."""
_PAGE = 500
_ATTEMPT = (
    "request, draw, max_tokens, task_id, teacher, text, reasoning, finish_reason, prompt_tokens, completion_tokens, "
    "logprobs, latency_s, at, choices"
)
_VERDICT = "scorer, state, reason, score, detail, seconds, at, seq, tries"
_FAILURE = "request, draw, task_id, error, at, kind"
_CANCELLED = "request, draw, task_id, prompt_tokens, completion_tokens, at"
# Rows of these tables have no key: the time at which one was written tells it from others of its request.
_ONCE = "WHERE NOT EXISTS (SELECT 1 FROM main.{0} m WHERE m.request = s.request AND m.draw = s.draw AND m.at = s.at)"


class Absorbed(NamedTuple):
    """What was new in a shard's ledger."""

    attempts: int
    failures: int


class Wanted(NamedTuple):
    """What a shard asks for. `requests`: the keys of its tasks' draws; `tasks`: their ids, for requests *about* a
    task, such as a judge's (`task-7/draw-2`)."""

    requests: frozenset[str]
    tasks: frozenset[str]

    def has(self, request: str, task_id: str) -> bool:
        """Whether an attempt is about one of the tasks."""
        return request in self.requests or any(about in self.tasks for about in _abouts(task_id))


def _abouts(task_id: str) -> Iterator[str]:
    """What a request may be about: the part of its name before each `/`."""
    at = task_id.find("/")
    while at >= 0:
        yield task_id[:at]
        at = task_id.find("/", at + 1)


def absorb(run: Path, shard: Path) -> Absorbed:
    """Adds all that `shard` has to the ledger at `run`; both are files, and nobody writes either meanwhile.

    Raises LedgerError (damaged, disk full) and RunFolderError (no ledger).
    """
    connect(shard, write=True).close()  # brings its write-ahead log in, or says what is wrong with it
    with explained(run), closing(_attached(run, shard)) as db, db:
        db.execute("BEGIN IMMEDIATE")
        new = db.execute(
            f"INSERT OR IGNORE INTO main.attempts ({_ATTEMPT}) SELECT {_ATTEMPT} FROM shard.attempts ORDER BY id"
        ).rowcount
        last = db.execute("SELECT COALESCE(MAX(seq), 0) FROM main.verdicts").fetchone()[0]
        # In the order in which they came, behind all that are there: a later verdict counts.
        db.execute(
            f"INSERT OR IGNORE INTO main.verdicts (attempt, {_VERDICT}) SELECT a.id, v.scorer, v.state, v.reason, "
            "v.score, v.detail, v.seconds, v.at, ? + v.seq, v.tries FROM shard.verdicts v "
            "JOIN shard.attempts s ON s.id = v.attempt JOIN main.attempts a ON a.request = s.request "
            "AND a.draw = s.draw AND a.max_tokens = s.max_tokens",
            (last,),
        )
        # Scored again on the shard: its latest word takes the place of ours.
        db.execute(
            "UPDATE main.verdicts SET (state, reason, score, detail, seconds, at, seq, tries) = (SELECT v.state, "
            "v.reason, v.score, v.detail, v.seconds, v.at, ?1 + v.seq, v.tries FROM shard.verdicts v "
            "JOIN shard.attempts s ON s.id = v.attempt JOIN main.attempts a ON a.id = verdicts.attempt "
            "AND a.request = s.request AND a.draw = s.draw AND a.max_tokens = s.max_tokens "
            "WHERE v.scorer = verdicts.scorer) WHERE EXISTS (SELECT 1 FROM shard.verdicts v "
            "JOIN shard.attempts s ON s.id = v.attempt JOIN main.attempts a ON a.id = verdicts.attempt "
            "AND a.request = s.request AND a.draw = s.draw AND a.max_tokens = s.max_tokens "
            "WHERE v.scorer = verdicts.scorer AND v.tries > verdicts.tries)",
            (last,),
        )
        once = _ONCE.format("failures")
        failures = db.execute(
            f"INSERT INTO main.failures ({_FAILURE}) SELECT {_FAILURE} FROM shard.failures s {once}"
        ).rowcount
        db.execute(
            f"INSERT INTO main.cancelled ({_CANCELLED}) SELECT {_CANCELLED} FROM shard.cancelled s "
            f"{_ONCE.format('cancelled')}"
        )
        return Absorbed(new, failures)


def shards_of(run: Path) -> list[Path]:
    """The ledgers of shards next to the one at `run`."""
    return sorted((run.parent / SHARDS).glob(f"*/{run.name}"))


def as_one(run: Path, work: Path) -> Path:
    """A copy of the ledger at `run` in the folder `work`, with all that its shards have by now; others may write them
    meanwhile."""
    whole = _copied(run, work / run.name)
    for number, shard in enumerate(shards_of(run)):
        absorb(whole, _copied(shard, work / f"{number}.sqlite"))
    return whole


def _copied(ledger: Path, to: Path) -> Path:
    with explained(ledger), closing(connect(ledger, write=False)) as db, closing(sqlite3.connect(to)) as copy:
        db.backup(copy)
    return to


def hand_over(run: Path, shards: Mapping[Path, Wanted]) -> dict[Path, int]:
    """Writes what the ledger at `run` has of each shard's tasks into that shard's; gives how many attempts were
    copied to each. A shard's ledger is made if there is none."""
    targets = {path: connect(path, write=True) for path in shards}
    copied = dict.fromkeys(shards, 0)
    try:
        with explained(run), closing(connect(run, write=False)) as db:
            for target in targets.values():
                target.execute("BEGIN")
            for row in _pages(db, f"SELECT id, {_ATTEMPT} FROM attempts", "id"):
                for path, wanted in shards.items():
                    if wanted.has(row["request"], row["task_id"]):
                        copied[path] += _copy_attempt(db, targets[path], row)
                        break
            for row in db.execute(f"SELECT {_FAILURE} FROM failures"):
                for path, wanted in shards.items():
                    if wanted.has(row["request"], row["task_id"]):
                        _once(targets[path], "failures", _FAILURE, row)
                        break
            for target in targets.values():
                target.execute("COMMIT")
    finally:
        for target in targets.values():
            target.close()
    return copied


def _copy_attempt(db: sqlite3.Connection, target: sqlite3.Connection, row: sqlite3.Row) -> int:
    marks = ",".join("?" * (len(row) - 1))
    written = target.execute(f"INSERT OR IGNORE INTO attempts ({_ATTEMPT}) VALUES ({marks})", tuple(row)[1:])
    if written.rowcount < 1:
        return 0
    number = written.lastrowid
    for verdict in db.execute(f"SELECT {_VERDICT} FROM verdicts WHERE attempt = ?", (row["id"],)).fetchall():
        marks = ",".join("?" * len(verdict))
        target.execute(f"INSERT OR IGNORE INTO verdicts (attempt, {_VERDICT}) VALUES (?,{marks})", (number, *verdict))
    return 1


def _once(target: sqlite3.Connection, table: str, columns: str, row: sqlite3.Row) -> None:
    at = (row["request"], row["draw"], row["at"])
    if target.execute(f"SELECT 1 FROM {table} WHERE request = ? AND draw = ? AND at = ?", at).fetchone() is None:
        target.execute(f"INSERT INTO {table} ({columns}) VALUES ({','.join('?' * len(row))})", tuple(row))


def _pages(db: sqlite3.Connection, select: str, key: str) -> Iterator[sqlite3.Row]:
    last = -1
    while page := db.execute(f"{select} WHERE {key} > ? ORDER BY {key} LIMIT {_PAGE}", (last,)).fetchall():
        yield from page
        last = page[-1][key]


def _attached(run: Path, shard: Path) -> sqlite3.Connection:
    db = connect(run, write=True)
    db.execute("ATTACH DATABASE ? AS shard", (str(shard),))
    return db
