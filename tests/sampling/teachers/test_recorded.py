"""The recorded teacher: what it replays, in which order, and which lines it refuses."""

from __future__ import annotations

import asyncio
import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from stillroom.common.records import Completion, Request, SamplingParams, Task, Usage, user
from stillroom.errors import InputError, MissingFile, RequestFailed
from stillroom.sampling.teachers.base import OutOfAttempts
from stillroom.sampling.teachers.recorded import RecordedSettings, RecordedTeacher


def write(folder: Path, *rows: Any) -> Path:
    path = folder / "recording.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def open_teacher(folder: Path, **settings: Any) -> RecordedTeacher:
    return RecordedTeacher(RecordedSettings(kind="recorded", path="recording.jsonl", **settings), base=folder)


async def draw(teacher: RecordedTeacher, index: int, task: str = "a", question: str = "q?") -> Completion:
    return await teacher.sample(Request(task, index, user(question), SamplingParams(), 0), Usage())


async def test_replays_the_attempts_of_a_task_in_the_order_of_the_file(tmp_path: Path) -> None:
    write(tmp_path, *({"task_id": t, "text": text} for t, text in [("a", "1"), ("b", "1"), ("a", "2")]))
    teacher = open_teacher(tmp_path)
    assert [(await draw(teacher, i)).text for i in (0, 1)] == ["1", "2"]
    assert (await draw(teacher, 0, task="b")).text == "1"


@pytest.mark.parametrize(("task", "index"), [("a", 2), ("a", 9), ("nobody", 0)])
async def test_has_nothing_beyond_the_last_attempt(tmp_path: Path, task: str, index: int) -> None:
    write(tmp_path, {"task_id": "a", "text": "1"}, {"task_id": "a", "text": "2"})
    with pytest.raises(OutOfAttempts):
        await draw(open_teacher(tmp_path), index, task=task)


async def test_a_lines_own_index_decides(tmp_path: Path) -> None:
    write(tmp_path, {"task_id": "a", "text": "third", "index": 2}, {"task_id": "a", "text": "first", "index": 0})
    teacher = open_teacher(tmp_path)
    assert [(await draw(teacher, i)).text for i in (0, 2)] == ["first", "third"]
    with pytest.raises(RequestFailed, match="no draw 1 of this task") as caught:  # a gap: later ones are there
        await draw(teacher, 1)
    assert not caught.value.retryable


async def test_finds_tasks_by_their_prompt(tmp_path: Path) -> None:
    write(tmp_path, {"question": "What is\n 2 + 2?", "text": "4"})
    teacher = open_teacher(tmp_path, prompt="question")
    assert (await draw(teacher, 0, task="any", question=" What is 2 + 2?")).text == "4"


async def test_finds_tasks_by_their_prompt_and_the_input_that_follows_it(tmp_path: Path) -> None:
    write(tmp_path, {"q": "Shorten:\n", "about": " A B ", "text": "A"}, {"q": "Sing.", "about": None, "text": "La"})
    teacher = open_teacher(tmp_path, prompt="q", input="about")
    assert (await draw(teacher, 0, question="Shorten:\n\nA B")).text == "A"
    assert (await draw(teacher, 0, question="Sing.")).text == "La"
    assert teacher.identity != open_teacher(tmp_path, prompt="q").identity


async def test_reads_several_attempts_and_grades_from_one_row(tmp_path: Path) -> None:
    write(tmp_path, {"question": "q?", "small": {"text": "3", "right": False}, "large": {"text": "4", "right": True}})
    columns = [{"text": "small.text", "grade": "small.right"}, {"text": "large.text", "grade": "large.right"}]
    teacher = open_teacher(tmp_path, prompt="question", columns=columns)
    assert [(await draw(teacher, i)).text for i in (0, 1)] == ["3", "4"]
    assert [teacher.grade("any", user("q?"), i) for i in (0, 1, 2)] == [False, True, None]


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"text": "12345678"}, Completion("12345678", "stop", 0, 2)),
        ({"text": "123456789"}, Completion("123456789", "stop", 0, 3)),
        ({"text": "4", "prompt_tokens": 9, "completion_tokens": 5}, Completion("4", "stop", 9, 5)),
        ({"text": "4", "completion_tokens": None}, Completion("4", "stop", 0, 1)),
        ({"text": "4", "finish_reason": "length"}, Completion("4", "length", 0, 1)),
        ({"text": "<think>two</think>4"}, Completion("4", "stop", 0, 1, reasoning="two")),
        ({"text": "4", "reasoning": "two and two"}, Completion("4", "stop", 0, 3, reasoning="two and two")),
        # Kept apart already: a <think> in the answer is part of the answer.
        (
            {"text": "<think>x</think>4", "reasoning": "y"},
            Completion("<think>x</think>4", "stop", 0, 5, reasoning="y"),
        ),
        ({"text": "4", "reasoning": ""}, Completion("4", "stop", 0, 1)),
        ({"text": "4", "reasoning": None}, Completion("4", "stop", 0, 1)),
        ({"text": ""}, Completion("", "stop", 0, 0)),
    ],
)
async def test_reads_what_a_row_holds(tmp_path: Path, row: dict[str, Any], expected: Completion) -> None:
    write(tmp_path, {"task_id": "a", **row})
    usage, teacher = Usage(), open_teacher(tmp_path)
    assert await teacher.sample(Request("a", 0, user("q?"), SamplingParams(), 0), usage) == expected
    assert (usage.prompt_tokens, usage.completion_tokens) == (expected.prompt_tokens, expected.completion_tokens)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b"{", "not JSON"),
        (b"[1]", "an array, not an object"),
        (b'"text"', "a text, not an object"),
        (b"\xff\xfe", "not UTF-8: byte 0xff"),
        (b"[" * 100_000, "not JSON"),
        (b"{}", "no field 'task_id'"),
        (b'{"task_id": "a"}', r"no field 'text' \(the row has: 'task_id'\)"),
        (b'{"task_id": 1, "text": "4"}', "'task_id' is a number, not text"),
        (b'{"task_id": "a", "text": ["4"]}', "'text' is an array, not text"),
        (b'{"task_id": "a", "text": "4", "reasoning": 3}', "'reasoning' is a number, not text"),
        (
            b'{"task_id": "a", "text": "4", "finish_reason": "weird"}',
            "finish_reason is 'weird', expected one of stop",
        ),
        (b'{"task_id": "a", "text": "4", "finish_reason": 3}', "finish_reason is 'int', expected one of stop"),
        (b'{"task_id": "a", "text": "4", "index": "first"}', "index is 'first', expected a whole number from 0"),
        (b'{"task_id": "a", "text": "4", "index": -1}', "index is -1"),
        (b'{"task_id": "a", "text": "4", "index": true}', "index is True"),
        (b'{"task_id": "a", "text": "4", "index": 0}', "draw 0 of this task stands there twice"),
    ],
)
def test_refuses_lines_that_are_no_attempts(tmp_path: Path, line: bytes, said: str) -> None:
    path = write(tmp_path, {"task_id": "a", "text": "fine"})
    path.write_bytes(path.read_bytes() + b"\n" + line + b"\n")
    with pytest.raises(InputError, match=rf"recording.jsonl:3: .*{said}"):
        open_teacher(tmp_path, grade="right")


def test_a_grade_that_nobody_understands_costs_no_answer_and_is_counted(tmp_path: Path) -> None:
    grades = [True, "no", 1, "maybe", None, 7, ["C"]]
    write(tmp_path, *({"task_id": "a", "text": "4", "right": grade} for grade in grades))
    teacher = open_teacher(tmp_path, grade="right")
    found = [teacher.grade("a", user("q"), index) for index in range(len(grades))]
    assert found == [True, False, True, None, None, None, None]
    said = teacher.matched([Task("a", user("q"), None, "")])
    assert "; 3 grades say neither right nor wrong, the first 'maybe' in " in said
    assert "recording.jsonl:4" in said


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (
            {"reasoning": "reasonig"},
            r"teacher\.reasoning: in no row of .*no field 'reasonig' .*did you mean 'reasoning'",
        ),
        ({"grade": "rihgt"}, r"teacher\.grade: .*did you mean 'right'"),
        ({"completion_tokens": "usage.completion"}, r"teacher\.completion_tokens: .*'usage.completion_tokens'"),
        ({"columns": [{"text": "text", "grade": "wrong"}]}, r"teacher\.columns\.0\.grade: .*no field 'wrong'"),
    ],
)
def test_a_named_field_that_no_row_has_is_refused(tmp_path: Path, given: dict[str, Any], said: str) -> None:
    """Without it, a typo gives rows without thinking and nobody is told."""
    row = {"task_id": "a", "reasoning": "r", "right": True, "usage": {"completion_tokens": 3}}
    write(tmp_path, {**row, "text": "4"}, {**row, "text": "5"})
    with pytest.raises(InputError, match=said):
        open_teacher(tmp_path, **given)


def test_a_named_field_that_one_row_has_is_enough_and_a_default_name_is_optional(tmp_path: Path) -> None:
    write(tmp_path, {"task_id": "a", "text": "4"}, {"task_id": "a", "text": "5", "why": None})
    spelled_out = RecordedSettings(kind="recorded", path="recording.jsonl", reasoning="why").model_dump()
    assert asyncio.run(draw(open_teacher(tmp_path, reasoning="why"), 1)).text == "5"
    assert RecordedTeacher(RecordedSettings.model_validate(spelled_out), base=tmp_path).concurrency == 64


def test_several_attempts_in_a_list_of_a_row(tmp_path: Path) -> None:
    samples = [{"text": "3", "why": "r", "ok": False, "stop": "length"}, {"text": "<think>t</think>4", "ok": True}]
    write(tmp_path, {"task_id": "a", "out": samples}, {"task_id": "a", "out": samples[:1]})
    names = {"text": "out[*].text", "reasoning": "out[*].why", "grade": "out[*].ok", "finish_reason": "out[*].stop"}
    teacher = open_teacher(tmp_path, **names)
    found = [asyncio.run(draw(teacher, index)) for index in range(3)]
    assert [(c.text, c.reasoning, c.finish_reason) for c in found] == [
        ("3", "r", "length"),
        ("4", "t", "stop"),
        ("3", "r", "length"),
    ]
    assert [teacher.grade("a", user("q"), index) for index in range(3)] == [False, True, False]


async def test_a_conversation_is_read_by_its_turns(tmp_path: Path) -> None:
    turns = [{"role": "user", "content": "q?"}, {"role": "assistant", "content": "4"}]
    write(tmp_path, {"messages": turns})
    teacher = open_teacher(tmp_path, prompt="messages.0.content", text="messages[-1].content")
    assert (await draw(teacher, 0)).text == "4"


def test_takes_a_byte_order_mark_and_blank_lines(tmp_path: Path) -> None:
    (tmp_path / "recording.jsonl").write_bytes(
        b'\xef\xbb\xbf{"task_id": "a", "text": "4"}\r\n\r\n{"task_id": "a", "text": "5"}'
    )
    teacher = open_teacher(tmp_path)
    assert [asyncio.run(draw(teacher, index)).text for index in range(2)] == ["4", "5"]


@pytest.mark.parametrize(
    ("make", "said"),
    [(lambda path: None, "there is no file .*recording.jsonl"), (Path.mkdir, "recording.jsonl is a folder")],
)
def test_a_recording_that_is_not_there(tmp_path: Path, make: Any, said: str) -> None:
    make(tmp_path / "recording.jsonl")
    with pytest.raises(MissingFile, match=rf"teacher\.path: .*{said}"):
        open_teacher(tmp_path)


def test_a_recording_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path, mode: str = "r") -> bytes:
        raise PermissionError(13, "Permission denied")

    write(tmp_path, {"task_id": "a", "text": "4"})
    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(MissingFile, match=r"recording.jsonl cannot be read: Permission denied"):
        open_teacher(tmp_path)


def test_a_recording_may_be_a_table_packed_or_in_shards(tmp_path: Path) -> None:
    table = 'task_id,index,text,completion_tokens,right\na,0,"4\u2028\nfour",7,true\na,1,5,,false\n'
    (tmp_path / "recording.jsonl").write_bytes(gzip.compress(table.encode()))
    teacher = open_teacher(tmp_path, grade="right")
    first, second = (asyncio.run(draw(teacher, index)) for index in range(2))
    assert (first.text, first.completion_tokens) == ("4\u2028\nfour", 7)
    assert (second.text, second.completion_tokens) == ("5", 1)
    assert [teacher.grade("a", user("q"), index) for index in range(2)] == [True, False]
    for number in range(2):
        (tmp_path / f"r-{number}.jsonl").write_text(json.dumps({"task_id": "a", "text": str(number)}))
    shards = RecordedTeacher(RecordedSettings(kind="recorded", path="r-*.jsonl"), base=tmp_path)
    assert [asyncio.run(draw(shards, index)).text for index in range(2)] == ["0", "1"]


def test_identity_of_a_plain_file_is_what_it_always_was(tmp_path: Path) -> None:
    """Answers in a ledger are found by it: they must not be asked for again."""
    write(tmp_path, {"task_id": "a", "text": "4"})
    assert open_teacher(tmp_path).identity == "recorded@53da971f716f"


def test_identity_follows_the_content_and_how_it_is_read(tmp_path: Path) -> None:
    row = {"task_id": "a", "text": "4", "other": "5", "right": True}
    write(tmp_path, row)
    identity = open_teacher(tmp_path).identity
    assert open_teacher(tmp_path, concurrency=1, licence="mit", grade="right").identity == identity
    assert open_teacher(tmp_path, text="other").identity != identity
    assert open_teacher(tmp_path, model="gpt-3").identity.startswith("gpt-3@")
    write(tmp_path, {**row, "text": "5"})
    assert open_teacher(tmp_path).identity != identity


@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.text(), st.text(min_size=1)), min_size=1, max_size=5))
def test_what_was_exported_is_replayed_as_it_was(tmp_path: Path, said: list[tuple[str, str]]) -> None:
    """Law: a recording with `reasoning` kept apart gives back every text and thought, whatever they hold."""
    rows = [{"task_id": "a", "index": i, "text": t, "reasoning": r} for i, (t, r) in enumerate(said)]
    write(tmp_path, *rows)
    teacher = open_teacher(tmp_path)
    for index, (text, reasoning) in enumerate(said):
        answer = asyncio.run(draw(teacher, index))
        assert (answer.text, answer.reasoning) == (text, reasoning)
