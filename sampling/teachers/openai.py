"""A teacher behind any OpenAI-compatible server: OpenAI, vLLM, llama.cpp, Ollama, a gateway.

One HTTP request per draw, through the openai SDK. It never retries by itself (the core does) and tells apart what
asking again can mend (429, 5xx, broken connections, half a body), what it cannot (a prompt that is refused), and what
makes asking anybody pointless (a refused key, a missing model, nobody at the address). Thinking is read from
`reasoning_content` or `reasoning`, or split off the text. The key never reaches a message.

    teacher = OpenAITeacher("Qwen/Qwen3-8B", base_url="http://localhost:8000/v1")
"""

from __future__ import annotations

import asyncio
import json
import math
import os
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from stillroom.errors import InputError, MissingKey, RequestFailed, TeacherDown
from stillroom.sampling.records import Completion, Request, Usage
from stillroom.sampling.teachers._openai_answer import Unreadable, read_answer

if TYPE_CHECKING:
    from openai import APIConnectionError, APIStatusError, AsyncOpenAI

# A server that accepts no connection for this long is not there; answers may take far longer.
CONNECT_TIMEOUT_S = 10.0


class OpenAITeacher:
    """Asks one model on one server; at most `concurrency` requests at a time.

    Without `base_url` it asks the address in the environment variable OPENAI_BASE_URL, as the SDK does, else OpenAI
    itself. Raises MissingKey when OpenAI is asked and the environment variable `api_key_env` is not set, or when what
    it holds cannot be a key.
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
        self._model, self._concurrency = model, concurrency
        self._base_url = base_url or os.environ.get("OPENAI_BASE_URL") or None
        self._key_env, self._timeout_s = api_key_env, timeout_s
        self._send_seed, self._max_tokens_field = send_seed, max_tokens_field
        self._extra_body = dict(extra_body or {})
        self._key = _key_from(api_key_env)
        if not self._key and self._base_url is None:
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
        body = await self._send(client, request)
        try:
            completion = read_answer(body)
        except Unreadable as error:
            raise RequestFailed(f"no chat completion: {self._safe(str(error))}", retryable=True) from None
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
            from openai import AsyncOpenAI, Timeout

            # A local server ignores the key, but the SDK insists on one.
            key = self._key or "none"
            timeout = Timeout(self._timeout_s, connect=min(self._timeout_s, CONNECT_TIMEOUT_S))
            self._client = AsyncOpenAI(api_key=key, base_url=self._base_url, max_retries=0, timeout=timeout)
        return self._client

    async def _greet_once(self, client: AsyncOpenAI) -> None:
        """Asks for the list of models first, so that a wrong address or key is found before 64 requests wait."""
        if self._greeting is None:
            self._greeting = asyncio.create_task(self._greet(client))
        await asyncio.shield(self._greeting)

    async def _greet(self, client: AsyncOpenAI) -> None:
        import openai

        try:
            await client.models.with_raw_response.list()
        except openai.APITimeoutError:
            raise TeacherDown(f"{self._where} did not answer within {self._timeout_s:g} s") from None
        except openai.APIConnectionError as error:
            if not _nobody_there(error):
                return
            raise TeacherDown(
                f"nothing answers at {self._where} ({self._safe(_root(error))}): start the server, or correct "
                "teacher.base_url"
            ) from None
        except openai.AuthenticationError as error:
            raise self._key_refused(error.status_code) from None
        except (openai.OpenAIError, ValueError):
            # Many servers have no such list, and a restricted key may not read it: the first real request will tell.
            return

    async def _send(self, client: AsyncOpenAI, request: Request) -> bytes:
        """The body of the server's answer, unread: the SDK would pass on any shape as a chat completion."""
        import openai

        try:
            answer = await client.chat.completions.with_raw_response.create(**self._arguments(request))
        except openai.APITimeoutError:
            raise RequestFailed(f"no answer within {self._timeout_s:g} s", retryable=True) from None
        except openai.APIConnectionError as error:
            raise RequestFailed(f"the connection broke: {self._safe(_root(error))}", retryable=True) from None
        except openai.APIStatusError as error:
            raise await self._status_error(client, error) from None
        return bytes(answer.http_response.content)

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
            return InputError(await self._not_found(client))
        if code == 402 or "insufficient_quota" in (error.code, error.type):
            return TeacherDown(
                f"{text}: the account's quota is used up; what was answered is kept: raise it and run the same "
                "command again"
            )
        retryable = code in (408, 409, 425, 429) or code >= 500
        return RequestFailed(text, retryable=retryable, retry_after_s=_retry_after(error))

    async def _not_found(self, client: AsyncOpenAI) -> str:
        offered = await _offered(client)
        if not offered:
            return (
                f"{self._where} answered 404 for the model {self._model!r}: correct teacher.model, or "
                "teacher.base_url, which with most servers ends in /v1"
            )
        return f"{self._where} knows no model {self._model!r} (it offers {offered}): correct teacher.model"

    def _key_refused(self, code: int) -> MissingKey:
        have = "is set, but was refused" if self._key else "is not set"
        return MissingKey(f"{self._where} answered {code}: the key was refused; the variable {self._key_env} {have}")

    @property
    def _where(self) -> str:
        """The address for messages: without a user, a password or a query, any of which may be a secret."""
        if self._base_url is None:
            return "OpenAI"
        url = urlsplit(self._base_url)
        return f"{url.scheme}://{url.netloc.rpartition('@')[2]}{url.path}"

    def _safe(self, text: str) -> str:
        """Servers quote keys in their errors."""
        clean = text.replace(self._key, "***") if len(self._key) > 3 else text
        return " ".join(clean.split())[:300]


def _key_from(variable: str) -> str:
    """The key, "" where there is none. One with a line break or a letter beyond ASCII fits in no HTTP header, and
    would be quoted in the error that says so."""
    key = os.environ.get(variable, "").strip()
    if not (key.isascii() and key.isprintable()):
        raise MissingKey(
            f"the environment variable {variable} holds characters that no key has (a line break, say): export it "
            "again"
        )
    return key


def _nobody_there(error: APIConnectionError) -> bool:
    """Whether there was no connection at all, rather than one that broke. By name: the SDK's HTTP library varies."""
    return "ConnectError" in {type(cause).__name__ for cause in _causes(error)}


def _retry_after(error: APIStatusError) -> float | None:
    """Seconds the server asked to wait. A date is not understood: backoff serves then."""
    value = error.response.headers.get("retry-after", "")
    try:
        seconds = float(value)
    except ValueError:
        return None
    return None if math.isnan(seconds) else max(0.0, seconds)


def _reason(error: APIStatusError) -> str:
    body = error.body
    if isinstance(body, dict):
        inner = body.get("error", body)
        message = inner.get("message") if isinstance(inner, dict) else inner
        return str(message or inner)
    return str(body or error.response.reason_phrase)


def _root(error: BaseException) -> str:
    *_, root = _causes(error)
    return str(root) or type(root).__name__


def _causes(error: BaseException) -> Iterator[BaseException]:
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__


async def _offered(client: AsyncOpenAI) -> str:
    """Names of models that the server offers; "" where it does not say."""
    import openai

    try:
        answer = await client.models.with_raw_response.list()
        names = [str(model["id"]) for model in json.loads(answer.http_response.content)["data"]]
    except (openai.OpenAIError, ValueError, LookupError, TypeError):
        return ""  # no such list, or one of another shape: the message does without it
    return ", ".join(names[:5])[:300]
