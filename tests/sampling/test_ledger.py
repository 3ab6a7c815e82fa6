"""The ledger: keys, locking, versions, damage."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from stillroom.errors import LedgerError, RunFolderError
from stillroom.sampling.ledger import FILE, VERSION, Ledger, request_key, scorer_key
from stillroom.sampling.records import Attempt, Message, SamplingParams, State, Usage, Verdict, user


def attempt(index: int = 0, text: str = "4", finish: str = "stop", tokens: int = 5) -> Attempt:
    return Attempt("t", index, text, None, finish, 7, tokens, (-0.5, -1.0), 0.25, "teacher")  # type: ignore[arg-type]


KEY = request_key(user("2 + 2?"), SamplingParams(), "teacher", 0)


def test_gives_back_what_was_written(tmp_path: Path) -> None:
    verdict = Verdict(State.ACCEPTED, "equal", 0.5, "4", 0.01)
    with Ledger.open(tmp_path) as ledger:
        row = ledger.add_attempt(KEY, 64, attempt())
        ledger.add_verdict(row, "scorer", verdict)
    with Ledger.open(tmp_path) as ledger:
        found = ledger.find(KEY, 64, "t", "scorer")
        assert ledger.find(KEY, 64, "t", "another scorer")[0].verdict is None
    assert found[0].attempt == attempt()
    assert found[0].verdict == verdict


@pytest.mark.parametrize(
    "other",
    [
        request_key(user("2 + 3?"), SamplingParams(), "teacher", 0),
        request_key((Message("system", "x"), *user("2 + 2?")), SamplingParams(), "teacher", 0),
        request_key(user("2 + 2?"), SamplingParams(temperature=0.5), "teacher", 0),
        request_key(user("2 + 2?"), SamplingParams(stop=("\n",)), "teacher", 0),
        request_key(user("2 + 2?"), SamplingParams(), "another", 0),
        request_key(user("2 + 2?"), SamplingParams(), "teacher", 1),
    ],
)
def test_whatever_decides_an_answer_is_in_the_key(other: str) -> None:
    assert other != KEY


def test_max_tokens_is_not_in_the_key() -> None:
    assert request_key(user("2 + 2?"), SamplingParams(max_tokens=9), "teacher", 0) == KEY


@pytest.mark.parametrize(
    ("drawn_under", "finish", "tokens", "asked_under", "applies"),
    [
        (64, "stop", 10, 64, True),
        (64, "stop", 10, 128, True),
        (64, "stop", 10, 32, True),
        (64, "stop", 40, 32, False),
        (64, "length", 64, 64, True),
        (64, "length", 64, 128, False),
        (64, "length", 64, 32, False),
    ],
)
def test_an_attempt_that_ended_by_itself_within_the_limit_applies(
    tmp_path: Path, drawn_under: int, finish: str, tokens: int, asked_under: int, applies: bool
) -> None:
    with Ledger.open(tmp_path) as ledger:
        ledger.add_attempt(KEY, drawn_under, attempt(finish=finish, tokens=tokens))
        assert bool(ledger.find(KEY, asked_under, "t", "s")) is applies


def test_a_corrected_reference_is_scored_anew() -> None:
    assert scorer_key("answer", "18") != scorer_key("answer", "19")


def test_totals_count_what_teachers_could_not_tell_apart(tmp_path: Path) -> None:
    with Ledger.open(tmp_path) as ledger:
        ledger.add_attempt(KEY, 64, attempt())
        ledger.add_cancelled(KEY, 1, "t", Usage(7, 3))
        ledger.add_cancelled(KEY, 2, "t", Usage())
        ledger.add_failure(KEY, 3, "t", "HTTP 500")
        assert ledger.totals() == (1, 7, 5, 1, 2, 10, 1)


def test_a_second_process_is_refused_and_a_reader_is_not(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from stillroom.sampling.ledger import Ledger\n"
        "with Ledger.open(Path(sys.argv[1])): print('open', flush=True); sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "open\n"
        with pytest.raises(LedgerError, match="another process is working on"):
            Ledger.open(tmp_path)
        with Ledger.read(tmp_path) as ledger:
            assert ledger.totals().attempts == 0
        other.kill()
    Ledger.open(tmp_path).close()  # the lock died with the process


def test_a_newer_version_is_refused(tmp_path: Path) -> None:
    Ledger.open(tmp_path).close()
    with sqlite3.connect(tmp_path / FILE) as db:
        db.execute(f"PRAGMA user_version = {VERSION + 1}")
    db.close()
    with pytest.raises(RunFolderError, match="newer Stillroom"):
        Ledger.open(tmp_path)


def test_a_damaged_file_is_said_to_be_damaged(tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(b"no database at all, " * 400)
    with pytest.raises(LedgerError, match="damaged"):
        Ledger.open(tmp_path)


def test_a_folder_without_a_ledger(tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match="not the folder of a run"):
        Ledger.read(tmp_path)


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(LedgerError, match="cannot write in"):
        Ledger.open(tmp_path / "file" / "run")
