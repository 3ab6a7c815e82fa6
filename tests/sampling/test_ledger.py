"""The ledger: keys, locking, versions, damage."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stillroom.common.records import (
    Attempt,
    Message,
    Outcome,
    SamplingParams,
    ScoredAttempt,
    State,
    StopReason,
    Task,
    TokenChoice,
    Usage,
    Verdict,
    user,
)
from stillroom.errors import LedgerError, RunFolderError
from stillroom.sampling.ledger import FILE, READS_METADATA, Ledger, StoredOutcome, request_key, scorer_key
from stillroom.sampling.ledger.file import VERSION


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


_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
_LIKELY = st.tuples(_TEXT, st.floats(max_value=0, allow_nan=False))
_CHOICE = st.builds(TokenChoice, _TEXT, st.floats(max_value=0), st.lists(_LIKELY, max_size=3).map(tuple))


@settings(max_examples=30, deadline=None)
@given(st.none() | st.lists(_CHOICE, max_size=4).map(tuple))
def test_gives_back_the_choices_that_were_written(choices: tuple[TokenChoice, ...] | None) -> None:
    with tempfile.TemporaryDirectory() as folder, Ledger.open(Path(folder)) as ledger:
        ledger.add_attempt(KEY, 64, replace(attempt(), choices=choices))
        found = ledger.find(KEY, 64, "t", "scorer")[0].attempt
    assert found == replace(attempt(), choices=choices)
    assert all(type(choice) is TokenChoice for choice in found.choices or ())


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


def test_a_corrected_reference_is_scored_again() -> None:
    task = Task("1", user("?"), "18", "by hand", {"tests": "assert f(2) == 4"})
    assert scorer_key("answer", task) != scorer_key("answer", replace(task, reference="19"))


def test_another_answer_type_is_scored_again() -> None:
    task = Task("1", user("?"), "18", "by hand")
    assert scorer_key("answer", task) != scorer_key("answer", replace(task, answer_type="integer"))
    assert scorer_key("answer", task) == scorer_key("answer", replace(task, answer_type=""))


def test_edited_metadata_are_scored_again_by_a_scorer_that_reads_them() -> None:
    task = Task("1", user("?"), None, "by hand", {"tests": "assert f(2) == 4"})
    edited = replace(task, metadata={"tests": "assert f(2) == 5"})
    assert scorer_key("answer", task) == scorer_key("answer", edited)
    reads = "unit_tests-1" + READS_METADATA
    assert scorer_key(reads, task) == scorer_key(reads, replace(task))
    assert scorer_key(reads, task) != scorer_key(reads, edited)


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


# -- what grows with the tasks -----------------------------------------------------------------------------------


def outcome(position: int, stop: StopReason = StopReason.SATISFIED) -> Outcome:
    task = Task(f"t{position}", user("2 + 2?"), "4", "x")
    scored = tuple(ScoredAttempt(attempt(i), Verdict(State.ACCEPTED, "equal")) for i in (0, 2))
    return Outcome(task, scored, (2,), stop, failed=1)


def test_outcomes_come_back_in_the_order_of_the_tasks_and_the_last_counts(tmp_path: Path) -> None:
    order = [*range(700, -1, -1), 3]  # more than are fetched at once
    with Ledger.open(tmp_path) as ledger:
        for n, position in enumerate(order):
            stop = StopReason.EXHAUSTED if n == len(order) - 1 else StopReason.SATISFIED
            ledger.add_outcome(position, outcome(position, stop))
        found = list(ledger.outcomes())
        assert [o.position for o in found] == list(range(701))
        assert found[5] == StoredOutcome(5, "t5", StopReason.SATISFIED, (0, 2), (2,), 1)
        assert [o.stop for o in found].count(StopReason.EXHAUSTED) == 1
        ledger.clear_outcomes()
        assert list(ledger.outcomes()) == []


def test_outcomes_are_read_as_they_are_asked_for_while_others_are_written(tmp_path: Path) -> None:
    with Ledger.open(tmp_path) as ledger:
        for position in range(1200):
            ledger.add_outcome(position, outcome(position))
        seen = 0
        for stored in ledger.outcomes():
            ledger.add_outcome(stored.position, outcome(stored.position, StopReason.GAVE_UP))
            seen += 1
        assert seen == 1200
        assert {o.stop for o in ledger.outcomes()} == {StopReason.GAVE_UP}


def test_rows_have_each_attempt_once_with_the_latest_verdict(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where two scorers spoke in the same instant, which a clock cannot tell apart: the last to be written."""
    monkeypatch.setattr("time.time", lambda: 1000.0)
    with Ledger.open(tmp_path) as ledger:
        for i in range(1100):
            row = ledger.add_attempt(KEY, 64, attempt(i))
            if i != 7:
                ledger.add_verdict(row, "a", Verdict(State.ACCEPTED, "equal"))
                ledger.add_verdict(row, "b", Verdict(State.REJECTED, "different"))
        monkeypatch.setattr("time.time", lambda: 2000.0)
        ledger.add_verdict(1, "b", Verdict(State.UNSCORED, "timeout"))
        assert [row["draw"] for row in ledger.rows()] == list(range(1100))
        assert list(ledger.rows_by_task()) == list(ledger.rows())
        assert ledger.verdict_counts() == {"rejected": 1098, "unscored": 1, "none": 1}
        assert (ledger.last_state(1), ledger.last_state(8)) == (State.UNSCORED, None)


def test_requests_are_named_once_with_their_task_and_teacher(tmp_path: Path) -> None:
    with Ledger.open(tmp_path) as ledger:
        for i in range(1300):
            ledger.add_attempt(f"{i // 2:032x}", 64, replace(attempt(i % 2), task_id=f"t{i // 2}"))
        found = list(ledger.requests())
        assert [(r.key, r.task_id, r.teacher) for r in found] == [
            (f"{i:032x}", f"t{i}", "teacher") for i in range(650)
        ]
        assert ledger.draws(f"{3:032x}") == {0, 1}
        assert ledger.mean_tokens("teacher") == (7, 5)
        assert ledger.mean_tokens("another") is None
