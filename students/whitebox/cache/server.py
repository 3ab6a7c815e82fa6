"""A server as the teacher: `signal: {kind: openai, model: …, base_url: …}`, asked for `prompt_logprobs`.

    student:
      method: distil
      teacher: ./qwen3-tokenizer              # a folder with the teacher's tokenizer and chat template
      signal: {kind: openai, model: Qwen/Qwen3-8B, base_url: "http://localhost:8000/v1"}

It speaks vLLM's protocol: `/v1/completions` with token ids as prompt. Keys, retries, rate limits and what a refusal
means are those of the teacher kind `openai`. Start vLLM with `--max-logprobs 32`, or as many tokens as are kept.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from stillroom.common.outside import NotJson, read_json
from stillroom.errors import RequestFailed
from stillroom.sampling.rate_limit import RateLimits
from stillroom.sampling.requests import with_retries
from stillroom.sampling.teachers.base import RetrySettings
from stillroom.sampling.teachers.openai import OpenAISettings
from stillroom.students.whitebox.cache.prompted import PromptedSource
from stillroom.students.whitebox.cache.sources import SignalSettings, Source, signals

NEUTRAL = {"max_tokens": 1, "temperature": 1.0, "top_p": 1.0, "top_k": -1, "min_p": 0.0, "repetition_penalty": 1.0}
"""Nothing that changes a distribution, whatever the server's own defaults are."""
_OWN = {"kind", "model", "retry"}


@signals.register
class ServerSignal(SignalSettings):
    """A server that speaks vLLM's `prompt_logprobs`."""

    kind: Literal["openai"] = "openai"
    model: str = Field(min_length=1)
    """Name of the model on the server."""
    base_url: str | Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    """Address of the server, or of several that serve the same model; null: `OPENAI_BASE_URL`."""
    name: Annotated[str, Field(min_length=1, max_length=500)] | None = None
    """What its distributions are kept under, where another server has another model of the same name; null:
    `model`."""
    api_key_env: str = "OPENAI_API_KEY"
    """Environment variable that holds the key; a local server needs none."""
    concurrency: int = Field(default=16, ge=1)
    """Requests in flight, over all servers together."""
    rate_limits: RateLimits = RateLimits()
    """Limits that the owner of the server sets."""
    timeout_s: float = Field(default=600.0, gt=0)
    """Time limit of a whole request, in seconds."""
    headers: dict[str, str] = Field(default_factory=dict)
    """As of the teacher kind `openai`."""
    query: dict[str, str] = Field(default_factory=dict)
    """As of the teacher kind `openai`."""
    ca_file: Annotated[str, Field(min_length=1)] | None = None
    """As of the teacher kind `openai`."""
    retry: RetrySettings = RetrySettings()
    """How failed requests are repeated."""

    @model_validator(mode="after")
    def _as_a_teacher(self) -> ServerSignal:
        self._settings()
        return self

    def _settings(self) -> OpenAISettings:
        given = {name: getattr(self, name) for name in type(self).model_fields if name not in _OWN}
        return OpenAISettings(kind="openai", model=self.model, retry=self.retry, **given)

    def identity(self, base: Path) -> str:
        return self._settings().make(base).identity

    def make(self, base: Path, vocabulary: int) -> Source:
        from stillroom.sampling.teachers.openai.teacher import OpenAITeacher

        teacher = OpenAITeacher(self._settings(), base)

        async def ask(ids: list[int], k: int) -> Any:
            async def once() -> Any:
                body = {**NEUTRAL, "prompt": ids, "prompt_logprobs": k}
                return told_in(await teacher.post("completions", body, len(ids) + 1))

            return await with_retries(once, self.retry)

        return PromptedSource(ask, teacher.close, vocabulary, f"the server's model {self.model}", self.concurrency)


def told_in(body: bytes) -> Any:
    """The entries in a reply. Raises RequestFailed for a reply without any."""
    try:
        found = read_json(body)
    except NotJson as error:
        raise RequestFailed(f"the reply cannot be read: {error}", retryable=True) from None
    choices = found.get("choices") if isinstance(found, dict) else None
    first = choices[0] if isinstance(choices, list) and choices else None
    told = first.get("prompt_logprobs") if isinstance(first, dict) else None
    if told is None:
        raise RequestFailed(
            "the reply has no prompt_logprobs: the server does not speak that part of vLLM's protocol, so its "
            "distributions cannot be had. Use vLLM, or learn from the teacher's text with `method: sft`",
            retryable=False,
        )
    return told
