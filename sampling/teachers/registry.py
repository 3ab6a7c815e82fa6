"""Which kinds of teacher there are, and how a recipe names one.

A new kind is a module in this package with one registered class: its settings, and how to build the teacher. Import
what is heavy in `make`, or in the teacher, not at the top of the module.

    @teachers.register
    class EchoSettings(TeacherBase):
        kind: Literal["echo"]
        model: str = "echo"
        concurrency: int = 8

        def make(self, base: Path) -> Teacher:
            return Echo(self.concurrency)
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import BaseModel, ConfigDict

from stillroom.common.prompt import Example, Prompt
from stillroom.common.records import SamplingParams
from stillroom.common.registry import Registry
from stillroom.sampling.retry import RetrySettings
from stillroom.sampling.teachers.base import Teacher


class TeacherBase(BaseModel):
    """Settings that every kind of teacher has.

    `replays`: it hands out answers that are on file, so asking it costs nothing.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)
    replays: ClassVar[bool] = False

    sampling: SamplingParams = SamplingParams()
    """How answers are sampled."""
    licence: str | None = None
    """Licence of the teacher's answers, for the data set card."""
    system: str | None = None
    """System prompt for the teacher only; the student never sees it."""
    examples: tuple[Example, ...] = ()
    """Worked examples for the teacher only, as turns before the task."""
    retry: RetrySettings = RetrySettings()
    """How failed requests are repeated."""

    if TYPE_CHECKING:
        # Every kind declares these itself, since fields are written to recipe.yaml in the order of their declaration.
        kind: str
        model: str
        concurrency: int

    @property
    def teacher_prompt(self) -> Prompt:
        """The system prompt and worked examples as they are put before a task."""
        return Prompt(system=self.system, examples=self.examples)

    @property
    def files(self) -> tuple[str, ...]:
        """The files that decide its answers, as the recipe names them; their hashes go on record."""
        return ()

    @property
    def has_grades(self) -> bool:
        """Whether its answers come with grades to compare our verdicts with."""
        return False

    def make(self, base: Path) -> Teacher:
        """The teacher; relative paths start at `base`. Loads no model yet.

        Raises MissingExtra, MissingKey or MissingFile.
        """
        raise NotImplementedError


teachers: Registry[TeacherBase] = Registry("teacher", tag="kind", where=("stillroom.sampling.teachers",))
"""Every kind of teacher by its name in a recipe."""

TeacherSettings = Annotated[TeacherBase, teachers.field()]
"""The settings of any kind, as the type of a recipe's field."""
