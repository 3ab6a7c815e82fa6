"""vLLM's engine in this process as a teacher: its settings. The teacher itself is loaded when it is made."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from stillroom.common.secrets import secrets_in
from stillroom.sampling.teachers.base import Dtype, Teacher, TeacherBase, teachers


@teachers.register
class VllmSettings(TeacherBase):
    """vLLM's engine in this process."""

    local: ClassVar[bool] = True

    kind: Literal["vllm"]
    model: str = Field(min_length=1)
    """Hub name or local folder."""
    concurrency: int = Field(default=256, ge=1)
    """Answers in flight."""
    dtype: Dtype = "auto"
    """Number format; `auto` is what this machine computes fast."""
    engine: dict[str, Any] = Field(default_factory=dict)
    """Arguments of vLLM's engine (tensor_parallel_size, max_model_len, …), with `dtype` here or above, not both."""

    @field_validator("engine")
    @classmethod
    def _no_key(cls, engine: dict[str, Any]) -> dict[str, Any]:
        if (place := next(secrets_in(engine), None)) is not None:
            raise ValueError(f"{place} looks like a secret: vLLM reads it from the environment (HF_TOKEN)")
        return engine

    @model_validator(mode="after")
    def _one_dtype(self) -> VllmSettings:
        if self.dtype != "auto" and "dtype" in self.engine:
            raise ValueError(f"dtype is {self.dtype} and engine.dtype {self.engine['dtype']}: name it once")
        return self

    def make(self, base: Path) -> Teacher:
        from stillroom.sampling.teachers.vllm.teacher import VllmTeacher

        return VllmTeacher(self.model, concurrency=self.concurrency, dtype=self.dtype, engine=self.engine)
