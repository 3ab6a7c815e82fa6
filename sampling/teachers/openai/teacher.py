"""A teacher behind any OpenAI-compatible server: OpenAI, vLLM, llama.cpp, Ollama, a gateway; or behind several.

One HTTP request per draw, to the endpoint that has least in flight, when its turn comes (`sampling.rate_limit`: rate
limits, `Retry-After`, how much a server bears, endpoints that are dead). It never retries by itself: the core does,
by what a refusal means. Told apart: what asking again can fix (429, 5xx), what it cannot (a prompt that is refused),
and what makes asking anybody pointless (a refused key, a missing model, a used-up quota). Thinking is read from
`reasoning_content` or `reasoning`, or split off the text. Servers quote keys: no message of ours does.
A refused key or model is only believed where nobody was answered before: gateways refuse one prompt in the same way.

First each server is greeted: asked for its list of models. The first that is there lets the run begin; those where
nobody answers are taken out. Many servers have no such list, which says nothing; one that refuses the key there
makes a doubt of it (`doubt`).

    servers = ("http://gpu-1:8000/v1", "http://gpu-2:8000/v1")
    teacher = OpenAITeacher(OpenAISettings(kind="openai", model="Qwen/Qwen3-8B", base_url=servers))
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import time
from collections.abc import Awaitable, Callable, Mapping
from http.client import responses
from pathlib import Path
from typing import Any, NamedTuple, TypeVar
from urllib.parse import urlencode, urlsplit

from stillroom.common.files import at_home, storable
from stillroom.common.outside import NotJson, read_json
from stillroom.common.records import Completion, Request, Usage
from stillroom.common.secrets import keep_address, keep_key, named, named_in
from stillroom.errors import InputError, MissingKey, RequestFailed, TeacherDown
from stillroom.sampling.limits import Costs, cost_of
from stillroom.sampling.rate_limit import End, Pace, Turn
from stillroom.sampling.teachers.openai import VARIABLE, OpenAISettings, no_address
from stillroom.sampling.teachers.openai.answer import (
    ErrorInside,
    StreamedAnswer,
    looks_streamed,
    read_answer,
    without_done,
)
from stillroom.sampling.teachers.openai.doubt import Doubt
from stillroom.sampling.teachers.openai.faults import error_in, fields_of, said_in, status_of
from stillroom.sampling.teachers.openai.http import Http, HttpReply, NoAnswer, Patience, place_of
from stillroom.sampling.teachers.openai.learned import Learned, learned_of
from stillroom.sampling.teachers.openai.network import certificates
from stillroom.sampling.teachers.openai.waits import when_again

T = TypeVar("T")

OPENAI = "https://api.openai.com/v1"
# How a request ended, by the HTTP status of its answer.
_ENDS = {429: End.REFUSED, 503: End.OVERLOADED, 529: End.OVERLOADED, 408: End.TIMED_OUT, 504: End.TIMED_OUT}
# Where the recipe asks for what is sent under another name.
_SETTINGS = {
    "response_format": "sampling.json_schema",
    "max_tokens": "max_tokens_field",
    "max_completion_tokens": "max_tokens_field",
    "stream": "stream",
}
# Characters of a server's text that a message quotes, and of those that are looked at for secrets before it is cut.
_QUOTED, _LOOKED_AT = 300, 65_536


class Server:
    """One address. `name`: how messages call it, without a user, a password or a query, any of which may be a secret.
    `has_user`: whether the address says who asks. `learned`: what it turned out not to take."""

    def __init__(self, base_url: str, learned: Learned, query: Mapping[str, str] | None = None) -> None:
        keep_address(base_url)
        self.learned = learned
        self._query = urlencode(query or {})
        self._parts = urlsplit(base_url)
        self.name = place_of(base_url)
        self.has_user = "@" in self._parts.netloc

    def url(self, path: str) -> str:
        """The address of `path` on it; what it holds behind a question mark stays behind."""
        query = "&".join(filter(None, (self._parts.query, self._query)))
        return self._parts._replace(path=f"{self._parts.path.rstrip('/')}/{path}", query=query).geturl()


def filled(place: str, given: Mapping[str, str]) -> dict[str, str]:
    """The values with their environment variables, which are secrets from here on. Raises MissingKey for one that is
    not set, or holds what no header does."""

    def value(found: re.Match[str]) -> str:
        held = os.environ.get(found[1], "").strip()
        if not held:
            raise MissingKey(
                f"the environment variable {found[1]} is not set, which teacher.{place} names: export it"
            )
        if not (held.isascii() and held.isprintable()):
            raise MissingKey(f"the environment variable {found[1]} holds characters that fit in no HTTP header")
        keep_key(held)
        return held

    return {name: VARIABLE.sub(value, text) for name, text in given.items()}


def _headers(settings: OpenAISettings) -> dict[str, str]:
    """The recipe's own headers, organisation and project included. Raises MissingKey."""
    named = (("OpenAI-Organization", "organization"), ("OpenAI-Project", "project"))
    found = filled("headers", settings.headers)
    for header, setting in named:
        if (value := getattr(settings, setting)) is not None:
            found |= filled(setting, {header: value})
    return found


def _error_in_body(body: bytes) -> Any:
    """The error that stands in the place of an answer; None where there is none, or no JSON."""
    try:
        return error_in(read_json(body))
    except NotJson:
        return None


class _Ready(NamedTuple):
    """What asks once somebody was found to answer."""

    http: Http
    pace: Pace


class OpenAITeacher:
    """Asks one model; at most `concurrency` requests at a time, over all endpoints together.

    Without `base_url` it asks the address in the environment variable OPENAI_BASE_URL, else OpenAI itself. Raises
    MissingKey when OpenAI is asked and the environment variable `api_key_env` is not set, or when what it holds
    cannot be a key; MissingFile or InputError for a `ca_file` that cannot be used, which is looked for from `base`.
    """

    def __init__(self, settings: OpenAISettings, base: Path = Path()) -> None:
        self._settings, self.concurrency, self._costs = settings, settings.concurrency, Costs()
        self._key = os.environ.get(settings.api_key_env, "").strip()  # "" where there is none
        # A line break or a letter beyond ASCII fits in no HTTP header, and would be quoted in the error that says so.
        if not (self._key.isascii() and self._key.isprintable()):
            raise MissingKey(
                f"the environment variable {settings.api_key_env} holds characters that no key has (a line break, "
                "say): export it again"
            )
        keep_key(self._key)
        given = settings.base_url or os.environ.get("OPENAI_BASE_URL") or (OPENAI if self._key else "")
        if not given:
            raise MissingKey(
                f"the environment variable {settings.api_key_env} is not set: export it with your key, "
                "or set teacher.base_url to the address of a server that needs none"
            )
        addresses = (given,) if isinstance(given, str) else tuple(dict.fromkeys(given))
        if why := next(filter(None, map(no_address, addresses)), ""):  # what it says may be a secret: not repeated
            where = "the address" if settings.base_url else "the environment variable OPENAI_BASE_URL"
            raise InputError(f"{where} is not an address ({why}): it looks like http://localhost:8000/v1")
        query, self._headers = filled("query", settings.query), _headers(settings)
        model, limit = settings.model, settings.max_tokens_field
        self._servers = tuple(Server(each, learned_of(each, model, limit), query) for each in addresses)
        self._ca_file = None if settings.ca_file is None else base / at_home(settings.ca_file)
        if self._ca_file is not None:
            certificates(self._ca_file)
        self._http: Http | None = None
        self._pace: Pace | None = None
        self._greeting: asyncio.Task[None] | None = None
        self._answered, self._doubt = False, Doubt()

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
        http, pace = await self._ready()
        characters = sum(len(message.content) for message in request.messages)
        expected = self._costs.estimate(request.task_id, characters, request.sampling.max_tokens)
        return await self._in_turn(pace, expected, usage, lambda turn: self._ask(http, turn, request, usage))

    async def post(self, path: str, given: Mapping[str, Any], tokens: int) -> bytes:
        """Posts to another path than that of chats, for what is not a draw; gives the reply. The model's name and
        `extra_body` are added. `tokens`: what it costs. Raises as `sample` does."""
        http, pace = await self._ready()
        usage = Usage()

        async def once(turn: Turn) -> bytes:
            sent = {"model": self._settings.model, **given, **self._settings.extra_body}
            reply = await http.ask(self._servers[turn.endpoint].url(path), json.dumps(sent).encode())
            if reply.status >= 300:
                raise await self._not_answered(http, turn, reply, usage)
            if len(reply.body) < _LOOKED_AT and (inside := _error_in_body(reply.body)) is not None:
                body = json.dumps({"error": inside}).encode()
                reply = reply._replace(status=status_of(inside), body=body)
                raise await self._not_answered(http, turn, reply, usage, inside=True)
            self._answered = True
            self._doubt.ends()
            turn.end(End.ANSWERED, tokens=tokens, completion_tokens=1)
            return reply.body

        return await self._in_turn(pace, tokens, usage, once)

    async def _ready(self) -> _Ready:
        """Who is there is asked first, so that a wrong address or key is found before 64 requests wait."""
        if self._http is None or self._pace is None:
            own = any(server.has_user for server in self._servers)  # who asks stands in the address, not in a header
            self._http = Http("" if own else self._key, self._settings.timeout_s, self._headers, self._ca_file)
            self._pace = Pace(len(self._servers), self.concurrency, self._settings.rate_limits)
        http, pace = self._http, self._pace
        if self._greeting is None:
            self._greeting = asyncio.create_task(self._greet(http, pace))
        greeting = self._greeting
        if not greeting.done():
            await asyncio.shield(greeting)
        greeting.result()
        return _Ready(http, pace)

    async def _in_turn(self, pace: Pace, expected: float, usage: Usage, ask: Callable[[Turn], Awaitable[T]]) -> T:
        """What `ask` gets when its turn comes; one at a time while it is in doubt whether the key is taken."""
        if self._doubt.holds:
            async with self._doubt.one_at_a_time:
                self._doubt.check()
                if self._doubt.holds:
                    return await self._at_some_server(pace, expected, usage, ask)
        return await self._at_some_server(pace, expected, usage, ask)

    async def _at_some_server(
        self, pace: Pace, expected: float, usage: Usage, ask: Callable[[Turn], Awaitable[T]]
    ) -> T:
        """At another server at once where nobody takes it."""
        for left in reversed(range(len(self._servers))):
            turn = await pace.turn(expected)
            usage.begun = True
            try:
                return await ask(turn)
            except NoAnswer as none:
                usage.prompt_tokens = usage.completion_tokens = None
                turn.end(none.end)
                if none.end is not End.UNREACHED or not left:
                    why = self._blot(str(none))
                    if none.end in (End.UNREACHED, End.BROKEN) and not why.startswith("no chat completion"):
                        why = f"the connection broke: {why}"
                    raise RequestFailed(why, retryable=True) from None
            finally:
                usage.begun = False
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

    async def _ask(self, http: Http, turn: Turn, request: Request, usage: Usage) -> Completion:
        server, settings = self._servers[turn.endpoint], self._settings
        # Known of the task's earlier draws: a request that is cancelled says at least that.
        usage.prompt_tokens = self._costs.prompt_tokens(request.task_id)
        patience = Patience(settings.first_token_s, settings.idle_s) if settings.stream else None
        while True:
            sent, streamed = self._body(request, server.learned), StreamedAnswer(usage)
            # Some servers stream though nobody asked them to.
            reply = await http.ask(server.url("chat/completions"), json.dumps(sent).encode(), streamed.read, patience)
            if reply.status not in (400, 422) or not self._learns(server.learned, reply, sent):
                break
        if reply.status >= 300:
            raise await self._not_answered(http, turn, reply, usage)
        top = request.sampling.top_logprobs > 0
        try:
            body = StreamedAnswer(usage).of(reply.body) if looks_streamed(reply.body) else without_done(reply.body)
            answer = read_answer(body, usage, choices=top, ends=settings.finish_reasons)
        except ErrorInside as inside:
            body = json.dumps({"error": inside.error}).encode()
            reply = reply._replace(status=status_of(inside.error), body=body)
            raise await self._not_answered(http, turn, reply, usage, inside=True) from None
        self._answered = True
        self._doubt.ends()
        self._costs.note(request.task_id, answer.prompt_tokens, answer.completion_tokens)
        cost = cost_of(request, answer, uncounted=usage.uncounted)
        turn.end(End.ANSWERED, tokens=cost.prompt + cost.completion, completion_tokens=cost.completion)
        return answer

    def _learns(self, learned: Learned, reply: HttpReply, sent: dict[str, Any]) -> bool:
        """Whether a refusal is about the way of asking, and another way makes sense. Raises InputError where it is
        about something that the recipe names."""
        try:
            fields = fields_of(read_json(reply.body))
        except NotJson:
            return False
        if learned.take_stream(reply.status, fields, sent):
            return True
        name = learned.parameter(reply.status, fields, sent)
        if name is None or name in ("messages", "model"):
            return False
        own = name in self._settings.extra_body  # named by the recipe
        if not own and learned.take(name, sent[name], fields):
            return True
        where = f"extra_body.{name}" if own else _SETTINGS.get(name, f"sampling.{name}")
        why = f"HTTP {reply.status}: {self._blot(said_in(reply.body))}"
        error = InputError(
            f"the server does not take {name!r}, which the recipe asks for ({why}): remove or change teacher.{where}"
        )
        error.if_answered = RequestFailed(why, retryable=False)
        raise error

    def _body(self, request: Request, learned: Learned) -> dict[str, Any]:
        """What is sent. Temperature and top_p only where somebody named them: some models refuse both."""
        s, settings = request.sampling, self._settings
        stream = settings.stream or learned.streams
        body: dict[str, Any] = {
            "model": settings.model,
            "messages": [m.as_dict() for m in request.messages],
            **{name: getattr(s, name) for name in ("temperature", "top_p") if name in s.model_fields_set},
            learned.limit: s.max_tokens,
        }
        schema = None
        if s.json_schema is not None:  # the name is asked for by servers and means nothing
            schema = {"name": "answer", "schema": json.loads(s.json_schema), "strict": True}
        optional = {
            "stop": list(s.stop),
            "logprobs": s.logprobs or s.top_logprobs > 0,
            "top_logprobs": s.top_logprobs,
            "response_format": schema and {"type": "json_schema", "json_schema": schema},
            "seed": request.seed if settings.send_seed else None,
            "stream": stream,
            "stream_options": {"include_usage": True} if stream else None,
        }
        body |= {k: v for k, v in optional.items() if v}
        body |= {k: v for k, v in (("top_k", s.top_k), ("min_p", s.min_p)) if v is not None}
        return learned.without(body) | settings.extra_body

    # -- the greeting ----------------------------------------------------------------------------------------

    async def _greet(self, http: Http, pace: Pace) -> None:
        """Returns when one server is there. Raises TeacherDown when nobody is anywhere."""
        greetings = [asyncio.create_task(self._greet_one(i, http, pace)) for i in range(len(self._servers))]
        error: TeacherDown | None = None
        try:
            for greeting in asyncio.as_completed(greetings):
                try:
                    return await greeting
                except TeacherDown as down:
                    error = error or down
        finally:
            # Those still silent stay in use: their first request will tell.
            for task in greetings:
                task.cancel()
            await asyncio.gather(*greetings, return_exceptions=True)
        assert error is not None, "a greeting returns or raises"
        raise error

    async def _greet_one(self, index: int, http: Http, pace: Pace) -> None:
        server = self._servers[index]
        try:
            reply = await http.look(server.url("models"))
        except NoAnswer as none:
            if none.end in (End.BROKEN, End.TIMED_OUT):  # a list that hangs says nothing of the answers
                return
            if none.fix:
                raise InputError(f"{server.name} is not asked: {self._blot(str(none))}: {none.fix}") from None
            pace.take_out(index)
            raise TeacherDown(
                f"nothing answers at {server.name} ({self._blot(str(none))}): start the server, or correct "
                "teacher.base_url"
            ) from None
        if reply.status == 401:  # of the list alone, perhaps
            self._doubt.arises()

    # -- what a refusal means --------------------------------------------------------------------------------

    async def _not_answered(
        self, http: Http, turn: Turn, reply: HttpReply, usage: Usage, *, inside: bool = False
    ) -> Exception:
        """Ends the turn of a request that got no answer; the error for it. `inside`: the error stood in a reply that
        should have been an answer."""
        usage.prompt_tokens = usage.completion_tokens = None
        server, end = self._servers[turn.endpoint], _ENDS.get(reply.status)
        end = end or (End.BROKEN if reply.status >= 500 else End.ANSWERED)
        said = reply.body[:_LOOKED_AT].decode("utf-8", "replace")
        after_s = when_again(reply.headers, said, time.time(), resets=end is End.REFUSED)
        turn.end(end, retry_after_s=after_s)
        failed = self._refusal(reply, after_s, "no chat completion but an error: " if inside else "")
        moved = reply.status < 400
        if not (moved or reply.status in (401, 403, 404)) or not isinstance(failed, RequestFailed) or self._answered:
            return failed
        # Nobody was answered so far: it may be about all requests.
        error: InputError
        if moved:
            error = InputError(f"{server.name}: {failed}")
        elif reply.status == 404:
            error = await self._no_such_model(http, server, str(failed))
        else:
            error = self._key_refused(server, reply.status, self._blot(said_in(reply.body)))
        error.if_answered, error.sure = failed, reply.status != 403
        return self._doubt.refused(error) if isinstance(error, MissingKey) else error

    def _refusal(self, reply: HttpReply, after_s: float | None, before: str) -> RequestFailed | TeacherDown:
        """The error for a reply without an answer. `after_s`: seconds that the server asks to wait. `before`: the
        beginning of the message."""
        status = reply.status
        if status < 400:
            place = self._blot(place_of(reply.headers.get("location", "")))
            whole = place.startswith(("http://", "https://")) and re.fullmatch(r"(.*)/chat/completions/?", place)
            return RequestFailed(
                f"HTTP {status}: the server redirects to {place or 'another address'}, and neither prompts nor keys "
                "are sent to another server than the recipe's: set teacher.base_url to "
                + (whole[1] if whole else "the address that answers"),
                retryable=False,
            )
        try:
            fields = fields_of(read_json(reply.body))
        except NotJson:
            fields = {}
        why = before + (self._blot(said_in(reply.body)) or responses.get(status, "no reason given"))
        if status == 402 or "insufficient_quota" in (fields.get("code"), fields.get("type")):
            return TeacherDown(
                f"HTTP {status}: {why}: the account's quota is used up; what was answered is kept: raise it and run "
                "the same command again"
            )
        retryable = status in (408, 409, 425, 429) or status >= 500
        return RequestFailed(
            f"HTTP {status}: {why}", retryable=retryable, retry_after_s=after_s, too_many=status == 429
        )

    async def _no_such_model(self, http: Http, server: Server, why: str) -> InputError:
        """The error for a 404, which quotes it (`why`), and names what the server offers where it says so."""
        model = self._settings.model
        try:
            reply = await http.look(server.url("models"))
            offered = [str(each["id"]) for each in read_json(reply.body)["data"]]
        except (NoAnswer, NotJson, LookupError, TypeError):
            offered = []  # no such list, or one of another shape: the message does without it
        names = self._blot(", ".join(offered[:5]))
        if not names or model in offered:
            has = f"; its list of models has {model!r}" if names else ""
            return InputError(
                f"{server.name} refused the model {model!r} ({why}){has}: correct teacher.model, or "
                "teacher.base_url, which with most servers ends in /v1"
            )
        return InputError(f"{server.name} knows no model {model!r} ({why}; it offers {names}): correct teacher.model")

    def _key_refused(self, server: Server, status: int, said: str = "") -> MissingKey:
        have = "is set, but was refused" if self._key else "is not set"
        variable = self._settings.api_key_env
        quoted = f" ({said})" if said else ""
        listed = ", as its list of models did," if self._doubt.holds else ""
        return MissingKey(
            f"{server.name} answered {status}{quoted}{listed} and nobody was answered before: the key was refused; "
            f"the variable {variable} {have}"
        )

    def _blot(self, text: str) -> str:
        """`text` on one line, without the key, at a length that fits a message."""
        clean = named(storable(text[:_LOOKED_AT]))  # a header may hold bytes that are not text
        if len(self._key) > 3:  # one that is too short to be looked for everywhere is looked for here
            clean = clean.replace(self._key, "***")
        flat = " ".join(clean.split())[:_QUOTED]
        return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in flat)
