"""A local model as a teacher, with transformers: its settings. The teacher itself is loaded when it is made."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field

from stillroom.sampling.teachers.base import Dtype, Teacher, TeacherBase, teachers


@teachers.register
class TransformersSettings(TeacherBase):
    """A local model in this process."""

    local: ClassVar[bool] = True

    kind: Literal["transformers"]
    model: str = Field(min_length=1)
    """Hub name, local folder, or `embedded:smollm2-135m-instruct`."""
    concurrency: int = Field(default=64, ge=1)
    """Answers generated at once, in one batch."""
    dtype: Dtype = "auto"
    """Number format; `auto` is what this machine computes fast."""
    device: str = "auto"
    """Torch device; `auto` is a GPU if there is one."""

    def make(self, base: Path) -> Teacher:
        from stillroom.sampling.teachers.transformers.teacher import TransformersTeacher

        return TransformersTeacher(self.model, concurrency=self.concurrency, dtype=self.dtype, device=self.device)
