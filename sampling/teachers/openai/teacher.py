"""A teacher behind any OpenAI-compatible server: OpenAI, vLLM, llama.cpp, Ollama, a gateway; or behind several.

One HTTP request per draw, to the endpoint that has least in flight, when its turn comes (`sampling.rate_limit`: rate
limits, `Retry-After`, how much a server bears, endpoints that are dead). It never retries by itself: the core does,
by what `errors` makes of a refusal. Thinking is read from `reasoning_content` or `reasoning`, or split off the text.
The key never reaches a message.

    servers = ("http://gpu-1:8000/v1", "http://gpu-2:8000/v1")
    teacher = OpenAITeacher(OpenAISettings(kind="openai", model="Qwen/Qwen3-8B", base_url=servers))
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from stillroom.common.records import Completion, Request, Usage
from stillroom.common.secrets import named_in
from stillroom.errors import InputError, MissingKey, RequestFailed
from stillroom.sampling.rate_limit.cost_estimate import Costs, cost_of
from stillroom.sampling.rate_limit.limiter import End, Pace, Turn
from stillroom.sampling.teachers.openai import OpenAISettings, no_address
from stillroom.sampling.teachers.openai.errors import Key, end_of, error_of, retry_after_s
from stillroom.sampling.teachers.openai.http import Http, HttpReply, NoAnswer, Patience
from stillroom.sampling.teachers.openai.response import Unreadable, read_answer
from stillroom.sampling.teachers.openai.servers import Server, greet, offered
from stillroom.sampling.teachers.openai.stream import StreamedAnswer

OPENAI = "https://api.openai.com/v1"


class OpenAITeacher:
    """Asks one model; at most `concurrency` requests at a time, over all endpoints together.

    Without `base_url` it asks the address in the environment variable OPENAI_BASE_URL, else OpenAI itself. Raises
    MissingKey when OpenAI is asked and the environment variable `api_key_env` is not set, or when what it holds
    cannot be a key.
    """

    def __init__(self, settings: OpenAISettings) -> None:
        self._settings, self.concurrency, self._costs = settings, settings.concurrency, Costs()
        self._key = Key(_key_from(settings.api_key_env), settings.api_key_env)
        self._servers = tuple(map(Server, _addresses(settings.base_url, self._key)))
        self._http: Http | None = None
        self._pace: Pace | None = None
        self._greeting: asyncio.Task[None] | None = None

    @property
    def identity(self) -> str:
        """The model's name, the teacher's own name where it has one, and what is sent along; not the addresses. What
        the environment gave has its name."""
        settings = self._settings
        extra = f" {sorted(named_in(settings.extra_body).items())}" if settings.extra_body else ""
        name = f" at {named_in(settings.name)}" if settings.name is not None else ""
        return f"openai:{named_in(settings.model)}{name}{extra}"

    @property
    def in_line(self) -> int:
        """Requests that are held back: by the rate limits, by what the server asked for, by what it bears."""
        return 0 if self._pace is None else self._pace.in_line

    async def sample(self, request: Request, usage: Usage) -> Completion:
        """Sends one chat completion request when its turn comes; elsewhere at once where nobody takes it."""
        http, pace = self._connect()
        await self._greet_once(http, pace)
        characters = sum(len(message.content) for message in request.messages)
        expected = self._costs.estimate(request.task_id, characters, request.sampling.max_tokens)
        for left in reversed(range(len(self._servers))):
            turn = await pace.turn(expected)
            try:
                return await self._ask(http, turn, request, usage)
            except NoAnswer as none:
                usage.prompt_tokens = usage.completion_tokens = None
                turn.end(none.end)
                if none.end is not End.UNREACHED or not left:
                    raise self._failed(none) from None
            finally:
                turn.drop()
        raise AssertionError("unreachable: there is a server")

    async def close(self) -> None:
        if self._greeting is not None:
            self._greeting.cancel()
        if self._pace is not None:
            self._pace.close()
        http, self._http, self._pace, self._greeting = self._http, None, None, None
        if http is not None:
            await http.close()

    def _connect(self) -> tuple[Http, Pace]:
        if self._http is None or self._pace is None:
            own = any(server.has_user for server in self._servers)  # who asks stands in the address, not in a header
            self._http = Http("" if own else self._key.value, self._settings.timeout_s)
            self._pace = Pace(len(self._servers), self.concurrency, self._settings.rate_limits)
        return self._http, self._pace

    async def _greet_once(self, http: Http, pace: Pace) -> None:
        """Asks who is there first, so that a wrong address or key is found before 64 requests wait."""
        if self._greeting is None:
            self._greeting = asyncio.create_task(greet(self._servers, http, pace, self._key))
        if not self._greeting.done():
            await asyncio.shield(self._greeting)
        self._greeting.result()

    async def _ask(self, http: Http, turn: Turn, request: Request, usage: Usage) -> Completion:
        server = self._servers[turn.endpoint]
        # Known of the task's earlier draws: a request that is cancelled says at least that.
        usage.prompt_tokens = self._costs.prompt_tokens(request.task_id)
        settings = self._settings
        patience = Patience(settings.first_token_s, settings.idle_s) if settings.stream else None
        reader = StreamedAnswer(usage).read if settings.stream else None
        reply = await http.post(server.url("chat/completions"), self._body(request), reader, patience)
        if reply.status >= 300:
            usage.prompt_tokens = usage.completion_tokens = None
            turn.end(end_of(reply.status), retry_after_s=retry_after_s(reply))
            raise await self._refusal(http, server, reply)
        return self._read(reply, turn, request, usage)

    def _read(self, reply: HttpReply, turn: Turn, request: Request, usage: Usage) -> Completion:
        try:
            read = read_answer(reply.body, choices=request.sampling.top_logprobs > 0)
        except Unreadable as error:
            raise NoAnswer(End.BROKEN, f"no chat completion: {error}") from None
        answer = read.completion
        parts = usage.completion_tokens or 0  # of a stream
        usage.uncounted = read.prompt_tokens is None or read.completion_tokens is None
        usage.prompt_tokens, usage.completion_tokens = read.prompt_tokens, read.completion_tokens
        if read.completion_tokens is None:
            answer = replace(answer, completion_tokens=parts)
        self._costs.note(request.task_id, answer.prompt_tokens, answer.completion_tokens)
        cost = cost_of(request, answer, uncounted=usage.uncounted)
        turn.end(End.ANSWERED, tokens=cost.prompt + cost.completion, completion_tokens=cost.completion)
        return answer

    def _body(self, request: Request) -> bytes:
        s, settings = request.sampling, self._settings
        body: dict[str, Any] = {
            "model": settings.model,
            "messages": [m.as_dict() for m in request.messages],
            "temperature": s.temperature,
            "top_p": s.top_p,
            settings.max_tokens_field: s.max_tokens,
        }
        optional = {
            "stop": list(s.stop),
            "logprobs": s.logprobs or s.top_logprobs > 0,
            "top_logprobs": s.top_logprobs,
            "response_format": None if s.json_schema is None else _structured(s.json_schema),
            "seed": request.seed if settings.send_seed else None,
            "stream": settings.stream,
            "stream_options": {"include_usage": True} if settings.stream else None,
        }
        body |= {k: v for k, v in optional.items() if v}
        body |= {k: v for k, v in (("top_k", s.top_k), ("min_p", s.min_p)) if v is not None}
        return json.dumps(body | settings.extra_body).encode()

    def _failed(self, none: NoAnswer) -> RequestFailed:
        why = self._key.blot(str(none))
        broke = none.end in (End.UNREACHED, End.BROKEN) and not why.startswith("no chat completion")
        return RequestFailed(f"the connection broke: {why}" if broke else why, retryable=True)

    async def _refusal(self, http: Http, server: Server, reply: HttpReply) -> Exception:
        model = self._settings.model
        if reply.status != 404:
            return error_of(reply, self._key, server.name)
        names = await offered(server, http, self._key)
        if not names:
            return InputError(
                f"{server.name} answered 404 for the model {model!r}: correct teacher.model, or "
                "teacher.base_url, which with most servers ends in /v1"
            )
        return InputError(f"{server.name} knows no model {model!r} (it offers {names}): correct teacher.model")


def _structured(schema: str) -> dict[str, Any]:
    """The name is asked for by servers and means nothing."""
    return {"type": "json_schema", "json_schema": {"name": "answer", "schema": json.loads(schema), "strict": True}}


def _addresses(base_url: str | Sequence[str] | None, key: Key) -> tuple[str, ...]:
    given = base_url or os.environ.get("OPENAI_BASE_URL")
    if given:
        found = (given,) if isinstance(given, str) else tuple(dict.fromkeys(given))
        if why := next(filter(None, map(no_address, found)), ""):  # what it says may be a secret, and is not repeated
            where = "the address" if base_url else "the environment variable OPENAI_BASE_URL"
            raise InputError(f"{where} is not an address ({why}): it looks like http://localhost:8000/v1")
        return found
    if not key.value:
        raise MissingKey(
            f"the environment variable {key.variable} is not set: export it with your key, "
            "or set teacher.base_url to the address of a server that needs none"
        )
    return (OPENAI,)


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
