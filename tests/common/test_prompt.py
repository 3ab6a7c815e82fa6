"""How a teacher is prompted: order of the turns, and whose system prompt wins."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from stillroom.common.records import Example, Message, Prompt, Task, user

EXAMPLE = Example(prompt="1 + 1?", answer="2")
OWN = Message("system", "the task's own")


def turns(prompt: Prompt, *messages: Message) -> list[tuple[str, str]]:
    task = Task("t", messages, "4", "test")
    return [(m.role, m.content) for m in prompt.messages(task)]


def test_without_anything_it_is_the_task_itself() -> None:
    assert turns(Prompt(), OWN, *user("2 + 2?")) == [("system", "the task's own"), ("user", "2 + 2?")]


def test_examples_come_before_the_task_and_after_the_system_prompt() -> None:
    prompt = Prompt(examples=(EXAMPLE, Example(prompt="3 + 3?", answer="6")))
    assert turns(prompt, OWN, *user("2 + 2?")) == [
        ("system", "the task's own"),
        ("user", "1 + 1?"),
        ("assistant", "2"),
        ("user", "3 + 3?"),
        ("assistant", "6"),
        ("user", "2 + 2?"),
    ]


@pytest.mark.parametrize(("system", "seen"), [(None, "the task's own"), ("the teacher's", "the teacher's")])
def test_the_teachers_system_prompt_replaces_the_tasks(system: str | None, seen: str) -> None:
    assert turns(Prompt(system=system), OWN, *user("2 + 2?")) == [("system", seen), ("user", "2 + 2?")]


def test_longer_conversations_keep_their_order() -> None:
    conversation = (Message("user", "a"), Message("assistant", "b"), Message("user", "c"))
    assert turns(Prompt(examples=(EXAMPLE,)), *conversation)[2:] == [("user", "a"), ("assistant", "b"), ("user", "c")]


def test_the_task_is_left_as_it_was() -> None:
    task = Task("t", (OWN, *user("2 + 2?")), "4", "test")
    Prompt(system="other", examples=(EXAMPLE,)).messages(task)
    assert task.messages == (OWN, *user("2 + 2?"))


@pytest.mark.parametrize(
    "example", [{"prompt": "", "answer": "2"}, {"prompt": "1 + 1?"}, {"prompt": "a", "answr": "b"}]
)
def test_half_an_example_is_refused(example: dict[str, str]) -> None:
    with pytest.raises(ValidationError):
        Prompt.model_validate({"examples": [example]})
