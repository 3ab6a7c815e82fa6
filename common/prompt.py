"""How a teacher is prompted: a system prompt and worked examples in front of the task.

They belong to the teacher, not to the task: a student is trained on the task's own messages, so it learns to do
without them.

>>> prompt = Prompt(system="Be brief.", examples=(Example(prompt="1 + 1?", answer="2"),))
>>> [m.role for m in prompt.messages(Task("t", (Message("user", "2 + 2?"),), "4", "by hand"))]
['system', 'user', 'assistant', 'user']
"""

from __future__ import annotations

from pydantic import Field

from stillroom.common.records import Message, Messages, Task
from stillroom.common.settings import Settings


def with_input(instruction: str, text: str) -> str:
    """An instruction and the text that it is about, if any, as one prompt.

    >>> with_input("Make it shorter.", "It was, in fact, raining.")
    'Make it shorter.\\n\\nIt was, in fact, raining.'
    """
    return f"{instruction.strip()}\n\n{text.strip()}" if text.strip() else instruction.strip()


class Example(Settings):
    """A worked example."""

    prompt: str = Field(min_length=1)
    """What is asked."""
    answer: str = Field(min_length=1)
    """The answer as the teacher should write it."""


class Prompt(Settings):
    """`system` replaces the task's own system prompt; `examples` come before the task, as turns."""

    system: str | None = None
    examples: tuple[Example, ...] = ()

    def messages(self, task: Task) -> Messages:
        """What the teacher is sent for a task. The shared part comes first, so that it can be computed once."""
        system = tuple(m for m in task.messages if m.role == "system")
        if self.system is not None:
            system = (Message("system", self.system),)
        turns = tuple(m for m in task.messages if m.role != "system")
        examples = tuple(
            m for e in self.examples for m in (Message("user", e.prompt), Message("assistant", e.answer))
        )
        return system + examples + turns
