"""What a recipe says of its teacher, by kind. The factory that builds one is in `factory.py`.

>>> OpenAISettings(kind="openai", model="m", base_url="http://localhost:8000/v1").concurrency
64
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from stillroom.sampling.pacing import RateLimits
from stillroom.sampling.prompt import Example, Prompt
from stillroom.sampling.records import SamplingParams
from stillroom.sampling.retry import RetrySettings
from stillroom.sampling.secret_names import secrets_in

Dtype = Literal["auto", "float32", "bfloat16", "float16"]
"""What a local model computes in; `auto` is what this machine does fast (see `models.pick_dtype`)."""


class _Settings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    sampling: SamplingParams = SamplingParams()
    licence: str | None = None
    system: str | None = None
    examples: tuple[Example, ...] = ()
    retry: RetrySettings = RetrySettings()

    @property
    def teacher_prompt(self) -> Prompt:
        """The system prompt and worked examples as they are put before a task."""
        return Prompt(system=self.system, examples=self.examples)


class OpenAISettings(_Settings):
    """Any OpenAI-compatible server. The key is read from the environment variable named `api_key_env`; a local
    server needs none. `base_url` null is the address in OPENAI_BASE_URL, else OpenAI itself; a list names several
    servers of the same model, which are used in balance. `concurrency` and `rate_limits` hold for all together.
    `name`: what its answers go on record under, where another server offers another model under the same name; null:
    the model's name says it all.

    `timeout_s` bounds a whole request. `stream`: answers come in parts, so that a server that stalls is told from one
    that has much to say: `first_token_s` bounds the wait for the first part, `idle_s` that for each next one.
    `extra_body` is sent along as it is; it is kept with the run, so a key has no place in it."""

    kind: Literal["openai"]
    model: str = Field(min_length=1)
    base_url: str | Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    name: Annotated[str, Field(min_length=1, max_length=500)] | None = None
    api_key_env: str = "OPENAI_API_KEY"
    concurrency: int = Field(default=64, ge=1)
    rate_limits: RateLimits = RateLimits()
    timeout_s: float = Field(default=600.0, gt=0)
    stream: bool = False
    first_token_s: float | None = Field(default=None, gt=0)
    idle_s: float | None = Field(default=None, gt=0)
    send_seed: bool = True
    max_tokens_field: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    extra_body: dict[str, Any] = {}

    @field_validator("base_url")
    @classmethod
    def _addresses(cls, url: str | tuple[str, ...] | None) -> str | tuple[str, ...] | None:
        for one in (url,) if isinstance(url, str) else url or ():
            _check_address(one)
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


def no_address(url: str) -> str:
    """Why nothing can be reached at this address, whoever it names; empty where something might."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as error:  # brackets of IPv6 that do not close, a port that is no number or above 65535
        return str(error).partition("'")[0].strip()[:60] or "its host is none"  # what is quoted may be a secret
    if not url.isprintable() or any(c.isspace() for c in url):
        return "it holds a space or a character that cannot be seen"
    if not host:
        return "it names no host"
    return "its port is 0" if port == 0 else ""


def _check_address(url: str) -> None:
    why = no_address(url)
    parts = urlsplit("" if why else url)
    if not url.startswith(("http://", "https://")) or url.startswith(("http:///", "https:///")):
        raise ValueError("base_url must begin with http:// or https://, such as http://localhost:8000/v1")
    if why:
        raise ValueError(f"base_url is no address ({why}): it looks like http://localhost:8000/v1")
    if "@" in parts.netloc:
        raise ValueError("base_url holds a user name or password: put the key in an environment variable")
    if parts.query or parts.fragment:
        raise ValueError("base_url must end with its path: a key in a query belongs in an environment variable")


class TransformersSettings(_Settings):
    """A local model in this process. `model`: a hub name, a folder, or `embedded:smollm2-135m-instruct`."""

    kind: Literal["transformers"]
    model: str = Field(min_length=1)
    concurrency: int = Field(default=64, ge=1)
    dtype: Dtype = "auto"
    device: str = "auto"


class VllmSettings(_Settings):
    """vLLM's engine in this process. `engine` is handed to it as it is (tensor_parallel_size, max_model_len, …);
    `dtype` may be named there too, in vLLM's words, but not in both places."""

    kind: Literal["vllm"]
    model: str = Field(min_length=1)
    concurrency: int = Field(default=256, ge=1)
    dtype: Dtype = "auto"
    engine: dict[str, Any] = {}

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


class RecordedColumn(BaseModel):
    """Where one attempt stands in a row that holds several: dotted paths of its text and of a grade, if any."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    text: str
    grade: str | None = None


class RecordedSettings(_Settings):
    """Replays attempts from a JSONL file, in the order of their field `index`, or in which they stand there.

    A row belongs to the task whose id is in its field `task_id`, or, where `prompt` names a field, to the task whose
    last user message is that text, followed by what the field `input` holds, if one is named. `text` (or `columns`,
    for several attempts in one row), `reasoning`, `finish_reason`, `prompt_tokens`, `completion_tokens` and `grade`
    name fields; dots go into nested objects.
    """

    kind: Literal["recorded"]
    path: str
    model: str = "recorded"
    task_id: str = "task_id"
    prompt: str | None = None
    input: str | None = None
    index: str = "index"
    text: str = "text"
    columns: tuple[RecordedColumn, ...] = ()
    reasoning: str = "reasoning"
    finish_reason: str = "finish_reason"
    prompt_tokens: str = "prompt_tokens"
    completion_tokens: str = "completion_tokens"
    grade: str | None = None
    concurrency: int = Field(default=64, ge=1)


TeacherSettings = Annotated[
    OpenAISettings | TransformersSettings | VllmSettings | RecordedSettings, Field(discriminator="kind")
]
