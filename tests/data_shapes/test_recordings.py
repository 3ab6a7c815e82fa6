"""Recordings as other tools write them: what is replayed, how the rows are joined to tasks, and what is refused."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from stillroom.common.records import Completion, Request, SamplingParams, Task, Usage, user
from stillroom.errors import InputError
from stillroom.sampling.teachers.recorded import RecordedSettings, RecordedTeacher

FOLDER = Path(__file__).parent / "recordings"
SHAPES = [
    ("openai_batch", "openai_batch", "hm", 3, r"wrong\.jsonl:2: not an output line of a batch"),
    ("messages", "messages", "hm", 2, r"wrong\.jsonl:1: .*does not end with a question and its answer"),
    ("openthoughts", "messages", "hm", None, "turn 2 has no role and content, or from and value"),
    ("openr1", "openr1", "hm", 2, "1 correctness_math_verify, but 2 generations"),
]


def opened(file: str, **given: Any) -> RecordedTeacher:
    return RecordedTeacher(RecordedSettings(kind="recorded", path=f"{file}.jsonl", **given), base=FOLDER)


def draw(teacher: RecordedTeacher, index: int = 0) -> Completion:
    request = Request("t1", index, user("2 + 2?"), SamplingParams(), 0)
    return asyncio.run(teacher.sample(request, Usage()))


@pytest.mark.parametrize(("file", "layout", "thought", "tokens", "wrong"), SHAPES)
def test_a_recording_is_replayed(file: str, layout: str, thought: str, tokens: int | None, wrong: str) -> None:
    found = draw(opened(file, layout=layout))
    assert (found.text.strip(), (found.reasoning or "").strip(), found.finish_reason) == ("4", thought, "stop")
    assert tokens is None or found.completion_tokens in (tokens, 1)
    with pytest.raises(InputError, match=wrong):
        opened(f"{file}.wrong", layout=layout)


@pytest.mark.parametrize(("file", "layout"), [(shape[0], shape[1]) for shape in SHAPES])
def test_a_layout_is_detected_where_no_field_is_named_and_told(file: str, layout: str) -> None:
    assert draw(opened(file)) == draw(opened(file, layout=layout))
    told = opened(file).matched([Task("t1", user("2 + 2?"), None, "")])
    assert told.startswith(f"recording: read with teacher.layout: {layout}, ")
    with pytest.raises(InputError, match="no field 'other'"):
        opened(file, task_id="other")


def test_several_attempts_and_their_grades_are_in_one_row() -> None:
    teacher = opened("openr1", layout="openr1")
    assert draw(teacher, 1).finish_reason == "length"
    assert [teacher.grade("t1", user("2 + 2?"), index) for index in range(2)] == [True, False]


def test_what_matched_is_told_and_what_failed_is_counted() -> None:
    tasks = [Task(name, user(text), None, "") for name, text in [("t1", "2 + 2?"), ("t9", "other")]]
    told = opened("openai_batch", layout="openai_batch").matched(tasks)
    assert told == ("recording: 1 of 1 attempts are of 1 of the 2 tasks to learn from; 2 rows hold no answer")
    assert "2 of 2 attempts are of 1 of the 2 tasks" in opened("openr1", layout="openr1").matched(tasks)


@pytest.mark.parametrize("given", [{"prompt": "q"}, {"text": "t"}, {"reasoning": "r"}, {"task_id": "id"}])
def test_a_layout_leaves_no_field_to_name(given: dict[str, str]) -> None:
    with pytest.raises(ValidationError, match=f"leave out {next(iter(given))}, or layout"):
        opened("messages", layout="messages", **given)
