"""An OpenAI-compatible server on loopback that behaves well, but for the habits it is given.

It answers `/chat/completions`, `/completions` and `/models` under any prefix, at once and without a model, and has a
batch API (`/files`, `/batches`) that answers the same, with the faults that it is given. Each
request is put on record in a line: what was asked, what was replied, and whether the client came back before the time
that it was told. It listens on loopback only, keeps no header and no key, and reads no more than 64 MiB of a request.

    server = FakeServer(["limit_5_a_minute"])
    await server.start()
    …                                        # ask at server.url
    print(server.seen[-1].line(), server.early)
    await server.close()
"""

from __future__ import annotations

import asyncio
import json
import re
import socket
import struct
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import NamedTuple

from stillroom.common.hashing import digest
from stillroom.common.outside import NotJson, read_json
from stillroom.errors import InputError
from stillroom.sampling.fake_server.answers import answer, legacy, parts_of, prompt_logprobs
from stillroom.sampling.fake_server.batches import Batches, BatchFaults
from stillroom.sampling.fake_server.exchange import Asked, Reply, as_json, as_stream, error, prompt_of
from stillroom.sampling.fake_server.habits import Habit, named_habits
from stillroom.sampling.fake_server.http import BadRequest, HttpRequest, head_of, read_request

HOST = "127.0.0.1"
_PATHS = ("chat/completions", "completions", "models")
_BATCHES = re.compile(r"/(files|batches)(?:/([\w.-]{1,100}(?:/content)?))?/?$")
_REMEMBERED = 1000  # answers, for limits per minute
_SHOWN = 60  # characters of a prompt in a line
# A client that comes back a moment early is not early: clocks differ in their last digits.
_SLACK_S = 0.005


class Seen(NamedTuple):
    """A request and what became of it. `at_s`: since 1970. `habits`: those that had a part in the reply.
    `early_s`: how much too early it came, by what it was told before; 0 for in time."""

    at_s: float
    number: int
    method: str
    path: str
    status: int
    habits: tuple[str, ...]
    prompt: str
    early_s: float

    def line(self) -> str:
        """The record as one line of printable characters."""
        clock = time.strftime("%H:%M:%S", time.localtime(self.at_s)) + f".{int(self.at_s % 1 * 1000):03}"
        what = f" {json.dumps(self.prompt[:_SHOWN])}" if self.prompt else ""
        early = f"  {self.early_s:.3g} s too early" if self.early_s else ""
        path, names = json.dumps(self.path[:_SHOWN])[1:-1], ",".join(self.habits) or "-"
        return f"{clock}  #{self.number}  {self.method} {path}  {self.status}  {names}{what}{early}"


class FakeServer:
    """`habits`: their names. `text`: what to answer whatever is asked. `minute_s`: how long its minute is; all waits
    that habits name get shorter with it. `clock`: seconds since 1970. `log`: who is told of each request. `batches`:
    what goes wrong in its batch API.

    `seen` are the last requests, `counts` how many there were by status, `early` how many came before their time.
    Raises InputError for an unknown habit.
    """

    def __init__(
        self,
        habits: Sequence[str] = (),
        *,
        text: str | None = None,
        minute_s: float = 60.0,
        clock: Callable[[], float] = time.time,
        log: Callable[[Seen], object] = lambda seen: None,
        batches: BatchFaults | None = None,
    ) -> None:
        self.habits = named_habits(habits)
        self.seen: deque[Seen] = deque(maxlen=100_000)
        self.counts: Counter[int] = Counter()
        self.early = self.asked = self.port = 0
        self._text, self._minute_s, self._clock, self._log = text, minute_s, clock, log
        self.batches = Batches(batches, lambda body: answer(body, text), clock)
        self._again: Counter[str] = Counter()
        self._prompts: dict[str, int] = {}
        self._not_before: dict[str, float] = {}
        self._granted: deque[float] = deque(maxlen=_REMEMBERED)
        self._server: asyncio.Server | None = None
        self._fault: Exception | None = None
        self._connections: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        """What goes into `base_url`."""
        return f"http://{HOST}:{self.port}/v1"

    async def start(self, port: int = 0) -> None:
        """Listens; port 0 takes a free one. Raises InputError for a port that cannot be had."""
        try:
            self._server = await asyncio.start_server(self._connected, HOST, port, backlog=1024)
        except (OSError, OverflowError) as failed:
            raise InputError(f"port {port} cannot be used ({failed}): name another, or 0 for a free one") from None
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        """Closes all connections and frees the port. Safe to call twice. Raises what a habit raised."""
        server, self._server = self._server, None
        if server is not None:
            server.close()
        for task in list(self._connections):
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)
        if server is not None:
            await server.wait_closed()
        fault, self._fault = self._fault, None
        if fault is not None:
            raise fault

    # -- connections -----------------------------------------------------------------------------------------

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is not None:
            self._connections.add(task)
            task.add_done_callback(self._connections.discard)
        try:
            with suppress(ConnectionError, asyncio.CancelledError):
                while await self._serve(reader, writer):
                    pass
        except Exception as fault:  # noqa: BLE001 - kept for `close`, which raises it
            self._fault = self._fault or fault
        finally:
            writer.close()
            with suppress(ConnectionError, asyncio.CancelledError):
                await writer.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """One request; whether another may come on the same connection."""
        try:
            request = await read_request(reader, writer)
        except BadRequest as bad:
            await self._send(error(bad.status, str(bad)), writer)
            return False
        if request is None:
            return False
        reply = self._reply(request)
        await self._send(reply, writer)
        if reply.after == "hang":  # until the client goes
            await reader.read()
        return reply.after == "keep" and not request.closes

    async def _send(self, reply: Reply, writer: asyncio.StreamWriter) -> None:
        if reply.after == "reset" and not reply.pieces:
            _reset(writer)
            return
        await asyncio.sleep(reply.wait_s)
        if reply.status:
            writer.write(head_of(reply))
        for piece in reply.pieces:
            if piece.wait_s:
                await writer.drain()
                await asyncio.sleep(piece.wait_s)
            if reply.chunked and piece.data:
                writer.write(b"%x\r\n%b\r\n" % (len(piece.data), piece.data))
            else:
                writer.write(piece.data)
            await writer.drain()
        if reply.chunked and reply.after in ("keep", "close"):
            writer.write(b"0\r\n\r\n")
        await writer.drain()
        if reply.after == "reset":
            _reset(writer)

    # -- replies ---------------------------------------------------------------------------------------------

    def _reply(self, request: HttpRequest) -> Reply:
        """What to reply to a request, which goes on record."""
        if (about := _BATCHES.search(request.path)) is not None:
            given = (request.query, request.body, request.headers)
            return self._noted(request, self.batches.reply(request.method, about[1], about[2] or "", *given))
        path = next((path for path in _PATHS if request.path.endswith(f"/{path}")), "")
        try:
            body = read_json(request.body) if request.body else {}
        except NotJson as bad:
            return self._noted(request, error(400, f"the body is not JSON: {bad}"))
        if not path:
            return self._noted(request, error(404, f"no such path: {request.path[:200]}", code="not_found"))
        if path == "models":
            asked = self._asked(path, request, {}, 0, 0)
            models = as_json({"object": "list", "data": [{"id": "fake", "object": "model", "owned_by": "stillroom"}]})
            return self._with_habits(request, asked, models, 0.0)
        if request.method != "POST" or not isinstance(body, dict):
            return self._noted(request, error(400, "post a JSON object"))
        prompt, very_same = prompt_of(body), digest(body)
        number = self._prompts.setdefault(digest(prompt), len(self._prompts))
        early_s = max(0.0, self._not_before.pop(very_same, 0.0) - self._clock())
        early_s *= early_s > _SLACK_S
        self.early += early_s > 0
        asked = self._asked(path, request, body, self._again[very_same], number)
        self._again[very_same] += 1
        self.asked += 1
        reply = self._with_habits(request, asked, None, early_s)
        if reply.asked_to_wait_s is not None:
            self._not_before[very_same] = asked.now_s + reply.asked_to_wait_s
        return reply

    def _asked(
        self, path: str, request: HttpRequest, body: dict[str, object], again: int, prompt_number: int
    ) -> Asked:
        return Asked(
            path=path,
            body=body,
            headers=request.headers,
            query=request.query,
            number=self.asked,
            again=again,
            prompt_number=prompt_number,
            granted=self._granted,
            now_s=self._clock(),
            minute_s=self._minute_s,
        )

    def _with_habits(self, request: HttpRequest, asked: Asked, reply: Reply | None, early_s: float) -> Reply:
        """The reply after all habits: `reply` where nobody refuses, or an answer."""
        of_it = [habit for habit in self.habits if asked.path in habit.on]
        refused = next(((h, r) for h in of_it if h.refuse is not None and (r := h.refuse(asked)) is not None), None)
        if refused is not None:
            took_part, reply = [refused[0]], refused[1]
        else:
            took_part = [habit for habit in of_it if habit.change or habit.send or (habit.parts and asked.streams)]
            if asked.path != "models":
                self._granted.append(asked.now_s)
                reply = self._answer(asked, of_it)
        if reply is None:
            raise RuntimeError("a list of models or an answer")
        if refused is None:
            for habit in of_it:
                reply = reply if habit.send is None else habit.send(reply, asked)
        return self._noted(request, reply, tuple(habit.name for habit in took_part), asked.prompt, early_s)

    def _answer(self, asked: Asked, habits: Sequence[Habit]) -> Reply:
        whole = answer(asked.body, self._text)
        for habit in habits:
            whole = whole if habit.change is None else habit.change(whole, asked)
        if asked.path == "completions":
            plain, told = legacy(whole), prompt_logprobs(asked.body)
            if told is not None and plain.get("choices"):
                plain["choices"][0]["prompt_logprobs"] = told
            return as_json(plain)
        if not asked.streams:
            return as_json(whole)
        options = asked.body.get("stream_options")
        parts = parts_of(whole, usage=isinstance(options, dict) and options.get("include_usage") is True)
        for habit in habits:
            parts = parts if habit.parts is None else habit.parts(parts, asked)
        return as_stream(parts)

    def _noted(
        self, request: HttpRequest, reply: Reply, habits: tuple[str, ...] = (), prompt: str = "", early_s: float = 0.0
    ) -> Reply:
        number = sum(self.counts.values()) + 1
        self.counts[reply.status] += 1
        seen = Seen(self._clock(), number, request.method, request.path, reply.status, habits, prompt, early_s)
        self.seen.append(seen)
        self._log(seen)
        return replace(reply, after="close") if request.closes and reply.after == "keep" else reply


def _reset(writer: asyncio.StreamWriter) -> None:
    """Resets the connection, as a crashed server's system does."""
    connection = writer.get_extra_info("socket")
    if isinstance(connection, socket.socket) or hasattr(connection, "setsockopt"):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
