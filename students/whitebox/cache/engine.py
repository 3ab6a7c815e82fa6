"""vLLM's engine in this process as the teacher: `signal: {kind: vllm, model: …}`, asked for `prompt_logprobs`.

    student:
      method: distil
      teacher: Qwen/Qwen3-8B
      signal: {kind: vllm, model: Qwen/Qwen3-8B, engine: {gpu_memory_utilization: 0.6}}

The engine starts with the first row that is not in the cache, and ends before the student is trained.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from stillroom.sampling.teachers.base import Dtype
from stillroom.sampling.teachers.vllm import VllmSettings
from stillroom.students.whitebox.cache.prompted import PromptedSource
from stillroom.students.whitebox.cache.sources import SignalSettings, Source, signals


@signals.register
class EngineSignal(SignalSettings):
    """vLLM's engine in this process."""

    kind: Literal["vllm"] = "vllm"
    model: str = Field(min_length=1)
    """Hub name or local folder."""
    concurrency: int = Field(default=64, ge=1)
    """Rows in flight."""
    dtype: Dtype = "auto"
    """Number format; `auto` is what this machine computes fast."""
    engine: dict[str, Any] = Field(default_factory=dict)
    """Arguments of vLLM's engine, as of the teacher kind `vllm`."""

    @model_validator(mode="after")
    def _as_a_teacher(self) -> EngineSignal:
        self._settings()
        return self

    def _settings(self) -> VllmSettings:
        given = {name: getattr(self, name) for name in ("model", "concurrency", "dtype")}
        # Its own limit of 20 would refuse a cache of more.
        return VllmSettings(kind="vllm", engine={"max_logprobs": -1, **self.engine}, **given)

    def identity(self, base: Path) -> str:
        return f"{self._settings().make(base).identity} {self.dtype}"

    def make(self, base: Path, vocabulary: int) -> Source:
        from stillroom.sampling.teachers.vllm.teacher import VllmTeacher

        settings = self._settings()
        teacher = VllmTeacher(
            settings.model, concurrency=settings.concurrency, dtype=settings.dtype, engine=settings.engine
        )
        who = f"the engine's model {self.model}"
        return PromptedSource(teacher.prompt_logprobs, teacher.close, vocabulary, who, self.concurrency)
