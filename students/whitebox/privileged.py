"""What a teacher is shown that the student is not: a system prompt, worked examples, the answer to the very problem.

    shown = Privileged(system=None, examples=(Example(prompt="1 + 1?", answer="2"),), reference=True)
    shown.prompt(row)      # the examples, the row's own problem with its accepted answer, then the problem again

With the student's base as teacher this is self-distillation (SDFT, Shenfeld et al. 2026, arXiv:2601.19897): the base
with help in its prompt teaches itself without. The paper shows the demonstration within the user's turn and lets the
teacher follow the student by a moving average; here it is a turn like any worked example, and the teacher stays as
it was.
"""

from __future__ import annotations

from typing import NamedTuple

from stillroom.common.records import Example, Messages, Prompt, Task
from stillroom.students.data.rows import SftRow


class Privileged(NamedTuple):
    """`system`: in place of the row's, None for the row's own. `reference`: the row's answer is shown, too."""

    system: str | None = None
    examples: tuple[Example, ...] = ()
    reference: bool = False

    def prompt(self, row: SftRow) -> Messages:
        """What the teacher reads before the answer."""
        found = Prompt(system=self.system, examples=self.examples).messages(
            Task(row.name, row.prompt, None, row.name)
        )
        if not self.reference:
            return found
        return (*found, *row.completion, *(message for message in row.prompt if message.role != "system"))
