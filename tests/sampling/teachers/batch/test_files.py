"""What is on disk about batches: found again by the next process, whatever the last one was doing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from stillroom.errors import LedgerError
from stillroom.sampling.teachers.openai.batch.files import Batch, BatchFiles, Line
from stillroom.sampling.teachers.openai.batch.lines import request_line

NAMES = [f"sr-{i:032x}" for i in range(4)]
BODY = {"choices": [{"message": {"content": "4"}}]}


def written(files: BatchFiles, names: list[str] = NAMES) -> Batch:
    return files.write([Line(name, request_line(name, {})) for name in names])


def result(name: str, status: int = 200, body: Any = BODY) -> str:
    return json.dumps({"custom_id": name, "response": {"status_code": status, "body": body}, "error": None}) + "\n"


def test_requests_are_in_hand_from_the_moment_they_are_written(tmp_path: Path) -> None:
    with BatchFiles(tmp_path) as files:
        batch = written(files)
    with BatchFiles(tmp_path) as again:
        [found] = again.open_batches
        assert (found.name, found.state, found.lines) == (batch.name, "written", 4)
        assert [again.batch_of(name) for name in NAMES] == [found] * 4


def test_what_was_noted_is_known_to_the_next_process(tmp_path: Path) -> None:
    with BatchFiles(tmp_path) as files:
        batch = written(files)
        batch.note("creating", file_id="file-1")
        batch.note("sent", batch_id="batch_1")
    with BatchFiles(tmp_path) as again:
        [found] = again.open_batches
        assert (found.state, found.file_id, found.batch_id) == ("sent", "file-1", "batch_1")


def test_an_answer_wins_over_a_failure_and_the_first_over_the_next(tmp_path: Path) -> None:
    a, b, c, d = NAMES
    other = {"choices": [{"message": {"content": "5"}}]}
    with BatchFiles(tmp_path) as files:
        batch = written(files)
        batch.output.write_text(result(a) + result(b, 500, {"error": "x"}) + result(a, 200, other) + "{torn\n")
        batch.errors.write_text(result(b) + result(a, 500, {"error": "x"}) + result(c, 400, {}) + result("sr-x"))
        taken = files.finish(batch)
        assert taken.answered == {a, b}
        assert set(taken.failed) == {c}
        assert taken.missing == {d}
        assert (taken.unknown, taken.twice, taken.unread) == (1, 2, 1)
    with BatchFiles(tmp_path) as again:
        assert again.open_batches == []
        answer = again.answer(a)
        assert answer is not None
        assert json.loads(answer.body) == BODY
        assert (again.answer(c), again.answer(d), again.batch_of(c)) == (None, None, None)


def test_a_refused_batch_has_nothing_in_hand(tmp_path: Path) -> None:
    with BatchFiles(tmp_path) as files:
        batch = written(files)
        files.refuse(batch)
        assert files.batch_of(NAMES[0]) is None
        assert written(files).name != batch.name
    with BatchFiles(tmp_path) as again:
        assert [found.state for found in again.batches] == ["refused", "written"]


def test_a_second_process_is_refused(tmp_path: Path) -> None:
    with BatchFiles(tmp_path), pytest.raises(LedgerError, match="another process exchanges batches"):
        BatchFiles(tmp_path)


def test_what_others_keep_in_the_folder_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.requests.jsonl").write_text("{}\n")
    with BatchFiles(tmp_path) as files:
        assert files.batches == []
