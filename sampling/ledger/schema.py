"""What a ledger's file looks like, as the steps that lead from nothing to today's version.

A new ledger goes through every step, an older one through those it lacks, so both end alike. A step is never
edited once it was released: what it made is on somebody's disk. A new version is a new step at the end.

    STEPS[1]    # the statements that make version 2 of version 1
"""

from __future__ import annotations

import json
import sqlite3
from typing import NamedTuple

from stillroom.common.records import Attempt, Outcome, ScoredAttempt, State, StopReason, TokenChoice, Verdict

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


def read_attempt(row: sqlite3.Row, task_id: str) -> Attempt:
    """The attempt in a row of `attempts`, as one at the task `task_id`."""
    return Attempt(
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
        choices=read_choices(row["choices"]) if "choices" in row.keys() else None,  # noqa: SIM118  (a Row has values)
    )


def write_choices(choices: tuple[TokenChoice, ...] | None) -> str | None:
    """The value of the column `choices`."""
    return None if choices is None else json.dumps(choices, separators=(",", ":"))


def read_choices(text: str | None) -> tuple[TokenChoice, ...] | None:
    """What is in the column `choices`. Raises ValueError or TypeError where `write_choices` did not write it."""
    if text is None:
        return None
    return tuple(TokenChoice(token, p, tuple((other, q) for other, q in top)) for token, p, top in json.loads(text))


def read_verdict(row: sqlite3.Row) -> Verdict | None:
    """The verdict joined to a row of `attempts`; None where there is none."""
    if row["state"] is None:
        return None
    return Verdict(State(row["state"]), row["v_reason"], row["score"], row["detail"], row["seconds"])


def outcome_values(position: int, outcome: Outcome) -> tuple[int, str, str, str, str, int]:
    """An outcome as a row of `outcomes`, without its time."""
    draws = json.dumps([s.attempt.index for s in outcome.attempts])
    return position, outcome.task.id, outcome.stop.value, draws, json.dumps(outcome.kept), outcome.failed


def read_outcome(row: sqlite3.Row) -> StoredOutcome:
    """The outcome in a row of `outcomes`."""
    draws, kept = tuple(json.loads(row["draws"])), tuple(json.loads(row["kept"]))
    return StoredOutcome(row["position"], row["task_id"], StopReason(row["stop"]), draws, kept, row["failed"])
