"""The shipped kinds of teacher: the settings of each, and how it is built.

>>> OpenAISettings(kind="openai", model="m", base_url="http://localhost:8000/v1").concurrency
64
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from stillroom.common.secret_names import secrets_in
from stillroom.sampling.rate_limit.limiter import RateLimits
from stillroom.sampling.teachers.base import Teacher
from stillroom.sampling.teachers.openai.address import check_address
from stillroom.sampling.teachers.recorded import RecordedColumn, RecordedSettings
from stillroom.sampling.teachers.registry import TeacherBase, TeacherSettings, teachers

__all__ = [
    "Dtype",
    "OpenAISettings",
    "RecordedColumn",
    "RecordedSettings",
    "TeacherSettings",
    "TransformersSettings",
    "VllmSettings",
]

Dtype = Literal["auto", "float32", "bfloat16", "float16"]
"""What a local model computes in; `auto` is what this machine does fast (see `models.pick_dtype`)."""


@teachers.register
class OpenAISettings(TeacherBase):
    """Any OpenAI-compatible server."""

    kind: Literal["openai"]
    model: str = Field(min_length=1)
    """Name of the model on the server."""
    base_url: str | Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    """Address of the server, or of several that serve the same model, used in balance; null: `OPENAI_BASE_URL`,
    else OpenAI itself."""
    name: Annotated[str, Field(min_length=1, max_length=500)] | None = None
    """What its answers are recorded under, where another server has another model of the same name; null: `model`."""
    api_key_env: str = "OPENAI_API_KEY"
    """Environment variable that holds the key; a local server needs none."""
    concurrency: int = Field(default=64, ge=1)
    """Requests in flight, over all servers together."""
    rate_limits: RateLimits = RateLimits()
    """Limits that the owner of the server sets, over all servers together."""
    timeout_s: float = Field(default=600.0, gt=0)
    """Time limit of a whole request, in seconds."""
    stream: bool = False
    """Receive answers in parts, to tell a stalled server from a long answer."""
    first_token_s: float | None = Field(default=None, gt=0)
    """Longest wait for the first part, in seconds; needs `stream`."""
    idle_s: float | None = Field(default=None, gt=0)
    """Longest wait for each further part, in seconds; needs `stream`."""
    send_seed: bool = True
    """Send a seed with each request; false for servers that refuse one."""
    max_tokens_field: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    """Name of the token limit in requests, which servers differ on."""
    extra_body: dict[str, Any] = Field(default_factory=dict)
    """Further keys of the request. They are kept with the run, so anything that looks like a secret is refused."""

    @field_validator("base_url")
    @classmethod
    def _addresses(cls, url: str | tuple[str, ...] | None) -> str | tuple[str, ...] | None:
        for one in (url,) if isinstance(url, str) else url or ():
            check_address(one)
        return url

    @model_validator(mode="after")
    def _streams(self) -> OpenAISettings:
        if not self.stream and (self.first_token_s is not None or self.idle_s is not None):
            raise ValueError("first_token_s and idle_s are about answers that come in parts: set stream: true")
        return self

    @field_validator("api_key_env")
    @classmethod
    def _is_a_name(cls, name: str) -> str:
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
            raise ValueError("api_key_env is the name of an environment variable, never the key itself")
        return name

    @field_validator("extra_body")
    @classmethod
    def _no_key(cls, body: dict[str, Any]) -> dict[str, Any]:
        if (place := next(secrets_in(body), None)) is not None:
            raise ValueError(f"{place} looks like a secret: name its environment variable in api_key_env")
        return body

    def make(self, base: Path) -> Teacher:
        """As `TeacherBase.make`."""
        from stillroom.sampling.teachers.openai.teacher import OpenAITeacher

        return OpenAITeacher(
            self.model,
            base_url=self.base_url,
            name=self.name,
            api_key_env=self.api_key_env,
            concurrency=self.concurrency,
            timeout_s=self.timeout_s,
            stream=self.stream,
            first_token_s=self.first_token_s,
            idle_s=self.idle_s,
            rate_limits=self.rate_limits,
            send_seed=self.send_seed,
            max_tokens_field=self.max_tokens_field,
            extra_body=self.extra_body,
        )


@teachers.register
class TransformersSettings(TeacherBase):
    """A local model in this process."""

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
        """As `TeacherBase.make`."""
        from stillroom.sampling.teachers.transformers.teacher import TransformersTeacher

        return TransformersTeacher(self.model, concurrency=self.concurrency, dtype=self.dtype, device=self.device)


@teachers.register
class VllmSettings(TeacherBase):
    """vLLM's engine in this process."""

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
        """As `TeacherBase.make`."""
        from stillroom.sampling.teachers.vllm.teacher import VllmTeacher

        return VllmTeacher(self.model, concurrency=self.concurrency, dtype=self.dtype, engine=self.engine)
