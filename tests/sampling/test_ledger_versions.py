"""A ledger of an older version is brought up to date, or left as it was."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from stillroom.common.records import Outcome, SamplingParams, State, StopReason, Task, TokenChoice, Verdict, user
from stillroom.errors import LedgerError
from stillroom.sampling.ledger import FILE, Ledger, request_key
from stillroom.sampling.ledger.file import VERSION, make

# What version 1 wrote, word for word; never to be changed.
V1 = """
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
PRAGMA user_version=1;
"""
# What version 2 added, word for word; never to be changed.
V2 = """
ALTER TABLE failures ADD COLUMN kind TEXT NOT NULL DEFAULT 'failed';
CREATE TABLE outcomes (
  position INTEGER PRIMARY KEY,      -- of the task among the run's, from 0
  task_id TEXT NOT NULL, stop TEXT NOT NULL,
  draws TEXT NOT NULL,               -- JSON: draw indexes of the attempts that count, in draw order
  kept TEXT NOT NULL,                -- JSON: those of them that are kept
  failed INTEGER NOT NULL, at REAL NOT NULL);
PRAGMA user_version=2;
"""
# What version 3 added, word for word; never to be changed.
V3 = """
ALTER TABLE attempts ADD COLUMN choices TEXT;
PRAGMA user_version=3;
"""
KEY = request_key(user("2 + 2?"), SamplingParams(), "teacher", 0)


@pytest.fixture
def v1(tmp_path: Path) -> Path:
    """The folder of a run that version 1 wrote."""
    with closing(sqlite3.connect(tmp_path / FILE, isolation_level=None)) as db:
        db.execute("PRAGMA journal_mode=WAL")
        db.executescript(V1)
        values = (KEY, 0, 64, "t", "teacher", "4", None, "stop", 7, 5, "[-0.5]", 0.25, 1000.0)
        db.execute("INSERT INTO attempts VALUES (NULL,?,?,?,?,?,?,?,?,?,?,?,?,?)", values)
        db.execute("INSERT INTO verdicts VALUES (1,'scorer','accepted','equal',NULL,'4',0.1,1000.5)")
        db.execute("INSERT INTO failures VALUES (?,1,'t','HTTP 500',1001.0)", (KEY,))
        db.execute("INSERT INTO cancelled VALUES (?,2,'t',7,NULL,1002.0)", (KEY,))
    return tmp_path


@pytest.fixture
def v2(v1: Path) -> Path:
    """The folder of a run that version 2 wrote: an attempt more, and how the task ended."""
    with closing(sqlite3.connect(v1 / FILE, isolation_level=None)) as db:
        db.executescript(V2)
        values = (KEY, 3, 64, "t", "teacher", "5", "hm", "length", 7, 64, None, 0.25, 1003.0)
        db.execute("INSERT INTO attempts VALUES (NULL,?,?,?,?,?,?,?,?,?,?,?,?,?)", values)
        db.execute("INSERT INTO failures VALUES (?,4,'t','HTTP 429',1004.0,'busy')", (KEY,))
        db.execute("INSERT INTO outcomes VALUES (0,'t','satisfied','[0, 3]','[0]',1,1005.0)")
    return v1


@pytest.fixture
def v3(v2: Path) -> Path:
    """The folder of a run that version 3 wrote: two scorers more saw the first attempt."""
    with closing(sqlite3.connect(v2 / FILE, isolation_level=None)) as db:
        db.executescript(V3)
        db.execute("INSERT INTO verdicts VALUES (1,'later','rejected','different',NULL,'5',0.1,1006.0)")
        db.execute("INSERT INTO verdicts VALUES (1,'earlier','unscored','timeout',NULL,'',0.1,1000.0)")
    return v2


def schema(path: Path) -> list[tuple[str, ...]]:
    with closing(sqlite3.connect(path)) as db:
        tables = db.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name").fetchall()
        return [(name, *map(str, row[1:])) for (name,) in tables for row in db.execute(f"PRAGMA table_info({name})")]


def holds(folder: Path) -> tuple[object, ...]:
    with Ledger.read(folder) as ledger:
        found = list(ledger.find(KEY, 64, "t", "scorer").values())
        return ledger.version, found, ledger.totals(), ledger.failure_counts(), list(ledger.outcomes())


def test_version_1_is_brought_up_to_date_and_kept_beside(v1: Path) -> None:
    before = holds(v1)
    assert before[0] == 1
    with Ledger.open(v1) as ledger:
        ledger.add_failure(KEY, 3, "t", "HTTP 429", "busy")
        ledger.add_outcome(0, Outcome(Task("t", user("2 + 2?"), "4", "x"), (), (0,), StopReason.SATISFIED))
        assert ledger.failure_counts() == {"failed": 1, "busy": 1}
    after = holds(v1)
    assert (after[0], after[1]) == (VERSION, before[1])
    make(v1 / "new").close()
    assert schema(v1 / FILE) == schema(v1 / "new")
    (v1 / f"{FILE}.v1").replace(v1 / FILE)
    assert holds(v1) == before


def test_version_2_is_brought_up_to_date_and_takes_choices(v2: Path) -> None:
    before = holds(v2)
    assert before[0] == 2
    choices = (TokenChoice("5", -0.25, (("5", -0.25), ("4", -1.5))),)
    with Ledger.open(v2) as ledger:
        assert ledger.failure_counts() == {"failed": 1, "busy": 1}
        old = ledger.find(KEY, 64, "t", "scorer")[3].attempt
        assert (old.text, old.choices) == ("5", None)
        ledger.add_attempt(KEY, 128, replace(old, choices=choices))
        assert ledger.find(KEY, 128, "t", "scorer")[3].attempt.choices == choices
        assert [row["choices"] for row in ledger.rows()] == [None, None, '[["5",-0.25,[["5",-0.25],["4",-1.5]]]]']
    after = holds(v2)
    assert (after[0], after[1], after[4]) == (VERSION, before[1], before[4])
    make(v2 / "new").close()
    assert schema(v2 / FILE) == schema(v2 / "new")
    (v2 / f"{FILE}.v2").replace(v2 / FILE)
    assert holds(v2) == before


def test_version_3_is_brought_up_to_date_and_keeps_the_order_of_verdicts(v3: Path) -> None:
    """Verdicts of before are ordered by the clock, later ones by sequence, after them."""
    before = holds(v3)
    assert before[0] == 3
    with Ledger.read(v3) as ledger:
        assert ledger.last_state(1) is State.REJECTED
    with Ledger.open(v3) as ledger:
        assert ledger.last_state(1) is State.REJECTED
        ledger.add_verdict(1, "earlier", Verdict(State.ACCEPTED, "equal"))
        assert ledger.last_state(1) is State.ACCEPTED
        assert ledger.find(KEY, 64, "t", "earlier")[0].tries == 2
        assert ledger.find(KEY, 64, "t", "later")[0].tries == 1
    after = holds(v3)
    assert after[1:] == before[1:]
    make(v3 / "new").close()
    assert schema(v3 / FILE) == schema(v3 / "new")


def test_what_version_2_wrote_is_salvaged(v2: Path) -> None:
    before = holds(v2)
    found = Ledger.salvage(v2)
    assert found[:-1] == (2, 1, 2, 1, 0, 0, 0)
    after = holds(v2)
    assert after[1:4] == before[1:4]


def test_a_reader_leaves_version_1_as_it_is(v1: Path) -> None:
    content = (v1 / FILE).read_bytes()
    with Ledger.read(v1) as ledger:
        assert ledger.failure_counts() == {"failed": 1}
        assert list(ledger.outcomes()) == []
        assert ledger.verdict_counts() == {State.ACCEPTED.value: 1}
    assert (v1 / FILE).read_bytes() == content
    assert not (v1 / f"{FILE}.v1").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL")
@pytest.mark.parametrize("after", [0, 1, 2])
def test_killed_while_it_is_brought_up_to_date(v1: Path, after: int) -> None:
    """After so many statements of the step. Then it is as it was, and the next try succeeds."""
    script = f"""
import os, signal, sys
from pathlib import Path
from stillroom.sampling.ledger import file
from stillroom.sampling.ledger import Ledger
def step(statements):
    for i, statement in enumerate(statements):
        if i == {after}: os.kill(os.getpid(), signal.SIGKILL)
        yield statement
    os.kill(os.getpid(), signal.SIGKILL)
file.STEPS = (file.STEPS[0], step(file.STEPS[1]))
Ledger.open(Path(sys.argv[1]))
"""
    before = holds(v1)
    ended = subprocess.run([sys.executable, "-c", script, str(v1)], timeout=60, check=False)
    assert ended.returncode == -signal.SIGKILL
    assert holds(v1) == before
    Ledger.open(v1).close()
    assert holds(v1)[0] == VERSION


def test_a_step_that_fails_changes_nothing(v1: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from stillroom.sampling.ledger import file as ledger_file

    before = holds(v1)
    steps = (*ledger_file.STEPS[:1], (*ledger_file.STEPS[1], "CREATE TABLE attempts (x)"))
    with monkeypatch.context() as patch:
        patch.setattr(ledger_file, "STEPS", steps)
        with pytest.raises(LedgerError, match="already exists"):
            Ledger.open(v1)
    assert holds(v1) == before


def test_a_ledger_whose_making_was_killed_is_made(tmp_path: Path) -> None:
    (tmp_path / ".ledger.sqlite.new").write_bytes(b"half")
    (tmp_path / ".ledger.sqlite.new-journal").write_bytes(b"half")
    with Ledger.open(tmp_path) as ledger:
        assert ledger.version == VERSION
    assert {p.name for p in tmp_path.iterdir()} == {FILE, ".lock"}
