"""A teacher behind any OpenAI-compatible server: OpenAI, vLLM, llama.cpp, Ollama, a gateway.

One HTTP request per draw, through the openai SDK. It never retries by itself (the core does) and tells apart what
asking again can mend (429, 5xx, broken connections, half a body), what it cannot (a prompt that is refused), and what
makes asking anybody pointless (a refused key, a missing model, nobody at the address). Thinking is read from
`reasoning_content` or `reasoning`, or split off the text. The key never reaches a message.

    teacher = OpenAITeacher("Qwen/Qwen3-8B", base_url="http://localhost:8000/v1")
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from stillroom.errors import InputError, MissingKey, RequestFailed, TeacherDown
from stillroom.sampling.records import Completion, FinishReason, Request, Usage
from stillroom.sampling.thinking import Split, split_thinking

if TYPE_CHECKING:
    from openai import APIStatusError, AsyncOpenAI
    from openai.types.chat.chat_completion import ChatCompletion, Choice

_FINISH: dict[str, FinishReason] = {"stop": "stop", "length": "length", "content_filter": "content_filter"}


class OpenAITeacher:
    """Asks one model on one server; at most `concurrency` requests at a time.

    Raises MissingKey when OpenAI itself is asked and the environment variable `api_key_env` is not set.
    """

    def __init__(
        self,
        model: str,
        *,
        base_url: str | None = None,
        api_key_env: str = "OPENAI_API_KEY",
        concurrency: int = 64,
        timeout_s: float = 600.0,
        send_seed: bool = True,
        max_tokens_field: str = "max_tokens",
        extra_body: Mapping[str, Any] | None = None,
    ) -> None:
        self._model, self._base_url, self._concurrency = model, base_url, concurrency
        self._key_env, self._timeout_s = api_key_env, timeout_s
        self._send_seed, self._max_tokens_field = send_seed, max_tokens_field
        self._extra_body = dict(extra_body or {})
        self._key = os.environ.get(api_key_env, "")
        if not self._key and base_url is None:
            raise MissingKey(
                f"the environment variable {api_key_env} is not set: export it with your key, "
                "or set teacher.base_url to the address of a server that needs none"
            )
        self._client: AsyncOpenAI | None = None
        self._greeting: asyncio.Task[None] | None = None

    @property
    def identity(self) -> str:
        """The model's name and what is sent along; not the address."""
        extra = f" {sorted(self._extra_body.items())}" if self._extra_body else ""
        return f"openai:{self._model}{extra}"

    @property
    def concurrency(self) -> int:
        """Requests in flight at most."""
        return self._concurrency

    async def sample(self, request: Request, usage: Usage) -> Completion:
        """Sends one chat completion request."""
        client = self._connect()
        await self._greet_once(client)
        answer = await self._send(client, request)
        completion = _completion(answer)
        usage.prompt_tokens, usage.completion_tokens = completion.prompt_tokens, completion.completion_tokens
        return completion

    async def close(self) -> None:
        """Closes the connections."""
        if self._greeting is not None:
            self._greeting.cancel()
        if self._client is not None:
            await self._client.close()
        self._client = self._greeting = None

    def _connect(self) -> AsyncOpenAI:
        if self._client is None:
            from openai import AsyncOpenAI

            # A local server ignores the key, but the SDK insists on one.
            key = self._key or "none"
            self._client = AsyncOpenAI(
                api_key=key, base_url=self._base_url, max_retries=0, timeout=self._timeout_s, default_headers={}
            )
        return self._client

    async def _greet_once(self, client: AsyncOpenAI) -> None:
        """Asks for the list of models first, so that a wrong address or key is found before 64 requests wait."""
        if self._greeting is None:
            self._greeting = asyncio.create_task(self._greet(client))
        await asyncio.shield(self._greeting)

    async def _greet(self, client: AsyncOpenAI) -> None:
        import openai

        try:
            await client.models.list()
        except openai.APITimeoutError:
            raise TeacherDown(f"{self._where} did not answer within {self._timeout_s:g} s") from None
        except openai.APIConnectionError as error:
            raise TeacherDown(
                f"nothing answers at {self._where} ({_root(error)}): start the server, or correct teacher.base_url"
            ) from None
        except (openai.AuthenticationError, openai.PermissionDeniedError) as error:
            raise self._key_refused(error.status_code) from None
        except (openai.OpenAIError, ValueError):
            return  # many servers have no such list; the first real request will tell

    async def _send(self, client: AsyncOpenAI, request: Request) -> ChatCompletion:
        import openai

        try:
            answer: ChatCompletion = await client.chat.completions.create(**self._arguments(request))
        except openai.APITimeoutError:
            raise RequestFailed(f"no answer within {self._timeout_s:g} s", retryable=True) from None
        except openai.APIConnectionError as error:
            raise RequestFailed(f"the connection broke: {self._safe(_root(error))}", retryable=True) from None
        except openai.APIStatusError as error:
            raise await self._status_error(client, error) from None
        except (openai.OpenAIError, ValueError) as error:  # ValueError: half a body is no JSON
            raise RequestFailed(f"the answer is unreadable: {self._safe(str(error))}", retryable=True) from None
        return answer

    def _arguments(self, request: Request) -> dict[str, Any]:
        s = request.sampling
        body = {k: v for k, v in (("top_k", s.top_k), ("min_p", s.min_p)) if v is not None} | self._extra_body
        arguments: dict[str, Any] = {
            "model": self._model,
            "messages": [m.as_dict() for m in request.messages],
            "temperature": s.temperature,
            "top_p": s.top_p,
            self._max_tokens_field: s.max_tokens,
        }
        optional = {
            "stop": list(s.stop),
            "logprobs": s.logprobs,
            "seed": request.seed if self._send_seed else None,
            "extra_body": body,
        }
        return arguments | {k: v for k, v in optional.items() if v}

    async def _status_error(self, client: AsyncOpenAI, error: APIStatusError) -> Exception:
        code = error.status_code
        text = f"HTTP {code}: {self._safe(_reason(error))}"
        if code in (401, 403):
            return self._key_refused(code)
        if code == 404:
            offered = await _offered(client)
            return InputError(f"{self._where} knows no model {self._model!r}{offered}: correct teacher.model")
        if getattr(error, "code", None) == "insufficient_quota":
            return TeacherDown(f"{text}: the account's quota is used up; what was answered is kept")
        retryable = code in (408, 409, 425, 429) or code >= 500
        return RequestFailed(text, retryable=retryable, retry_after_s=_retry_after(error))

    def _key_refused(self, code: int) -> MissingKey:
        have = "is set, but was refused" if self._key else "is not set"
        return MissingKey(f"{self._where} answered {code}: the key was refused; the variable {self._key_env} {have}")

    @property
    def _where(self) -> str:
        return self._base_url or "OpenAI"

    def _safe(self, text: str) -> str:
        """Servers quote keys in their errors."""
        clean = text.replace(self._key, "***") if len(self._key) > 3 else text
        return " ".join(clean.split())[:300]


def _completion(answer: ChatCompletion) -> Completion:
    choices = getattr(answer, "choices", None)
    if not choices or choices[0].message is None:
        raise RequestFailed(f"the answer holds no choices: {str(answer)[:200]!r}", retryable=True)
    choice, usage = choices[0], answer.usage
    reasoning, text = _split(choice)
    return Completion(
        text=text,
        reasoning=reasoning,
        finish_reason=_FINISH.get(choice.finish_reason or "", "unknown"),
        prompt_tokens=usage.prompt_tokens if usage else 0,
        completion_tokens=usage.completion_tokens if usage else 0,
        logprobs=_logprobs(choice),
    )


def _split(choice: Choice) -> Split:
    """The thinking part and the answer. One that was cut by the limit may come back as plain content, `<think>` and
    all: split_thinking keeps it thinking."""
    message = choice.message
    extra = message.model_extra or {}
    reasoning = extra.get("reasoning_content") or extra.get("reasoning")
    text = message.content or ""
    if isinstance(reasoning, str) and reasoning:
        return Split(reasoning.strip(), text.lstrip())
    return split_thinking(text)


def _logprobs(choice: Choice) -> tuple[float, ...] | None:
    content = choice.logprobs.content if choice.logprobs is not None else None
    return None if content is None else tuple(token.logprob for token in content)


def _retry_after(error: APIStatusError) -> float | None:
    """Seconds the server asked to wait. A date is not understood: backoff serves then."""
    value = error.response.headers.get("retry-after", "")
    try:
        return max(0.0, float(value))
    except ValueError:
        return None


def _reason(error: APIStatusError) -> str:
    body = error.body
    if isinstance(body, dict):
        inner = body.get("error", body)
        message = inner.get("message") if isinstance(inner, dict) else inner
        return str(message or inner)
    return str(body or error.response.reason_phrase)


def _root(error: BaseException) -> str:
    while error.__cause__ is not None:
        error = error.__cause__
    return str(error) or type(error).__name__


async def _offered(client: AsyncOpenAI) -> str:
    import openai

    try:
        names = [model.id for model in (await client.models.list()).data or []]
    except (openai.OpenAIError, ValueError):
        return ""
    return f" (it offers {', '.join(names[:5])})" if names else ""
