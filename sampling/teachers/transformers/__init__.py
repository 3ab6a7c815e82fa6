"""A local model as a teacher, with transformers: its settings. The teacher itself is loaded when it is made."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from stillroom.sampling.teachers.base import Dtype, Teacher, TeacherBase, teachers


@teachers.register
class TransformersSettings(TeacherBase):
    """A local model in this process. `model`: a hub name, a folder, or `embedded:smollm2-135m-instruct`."""

    kind: Literal["transformers"]
    model: str = Field(min_length=1)
    concurrency: int = Field(default=64, ge=1)
    dtype: Dtype = "auto"
    device: str = "auto"

    def make(self, base: Path) -> Teacher:
        from stillroom.sampling.teachers.transformers.teacher import TransformersTeacher

        return TransformersTeacher(self.model, concurrency=self.concurrency, dtype=self.dtype, device=self.device)
