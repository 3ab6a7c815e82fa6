"""The openai teacher with several servers, streams and limits, over real HTTP on loopback."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from email.utils import formatdate
from typing import Any

import pytest
from pydantic import ValidationError

from stillroom.common.records import Completion, Request, SamplingParams, Usage, user
from stillroom.errors import MissingKey, RequestFailed, TeacherDown
from stillroom.sampling.rate_limit import REFUSALS_TO_HOLD, RateLimits
from stillroom.sampling.requests import with_retries
from stillroom.sampling.teachers.base import RetrySettings
from stillroom.sampling.teachers.openai import OpenAISettings
from stillroom.sampling.teachers.openai.http import parse_retry_after
from stillroom.sampling.teachers.openai.teacher import OpenAITeacher
from tests.conftest import ModelServer, Reply, completion


@pytest.fixture
def servers(model_server: ModelServer) -> Iterator[list[ModelServer]]:
    """Three of them; the first is the usual one."""
    others = [ModelServer(), ModelServer()]
    yield [model_server, *others]
    for server in others:
        server.close()


@pytest.fixture
def nobody() -> str:
    """An address where nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return f"http://127.0.0.1:{taken.getsockname()[1]}/v1"


def request(task: str = "t", index: int = 0) -> Request:
    return Request(task, index, user("2 + 2?"), SamplingParams(max_tokens=50), index)


@asynccontextmanager
async def teacher(*urls: str, **settings: Any) -> AsyncIterator[OpenAITeacher]:
    made = OpenAITeacher(OpenAISettings(kind="openai", model="m", base_url=urls, **settings))
    try:
        yield made
    finally:
        await made.close()


async def ask_many(asked: OpenAITeacher, number: int) -> list[Completion | BaseException]:
    return await asyncio.gather(
        *(asked.sample(request(index=i), Usage()) for i in range(number)), return_exceptions=True
    )


async def held_back(asked: OpenAITeacher) -> bool:
    """Whether another request waits for its turn."""
    waiting = asyncio.create_task(asked.sample(request(), Usage()))
    while not waiting.done() and not asked.in_line:  # noqa: ASYNC110 - no event tells of a line
        await asyncio.sleep(0)
    waits = asked.in_line == 1
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    return waits


def leave(server: ModelServer) -> None:
    """Connections that are open end with the next request on them."""
    server.script = lambda body: Reply(drop=True)
    server.close()


# -- several servers ---------------------------------------------------------------------------------------------


async def test_servers_are_asked_in_balance(servers: list[ModelServer]) -> None:
    for server in servers:
        server.script = lambda body: Reply(completion(), wait=True)
    async with teacher(*(server.url for server in servers)) as asked:
        asking = asyncio.create_task(ask_many(asked, 12))
        for server in servers:
            assert await asyncio.to_thread(server.wait_for, waiting=4)
        for server in servers:
            server.release()
        assert all(isinstance(answer, Completion) for answer in await asking)
    assert [len(server.bodies) for server in servers] == [4, 4, 4]


async def test_a_server_that_is_not_there_costs_nothing(model_server: ModelServer, nobody: str) -> None:
    async with teacher(nobody, model_server.url) as asked:
        assert all(isinstance(answer, Completion) for answer in await ask_many(asked, 8))
    assert len(model_server.bodies) == 8


async def test_a_server_that_goes_away_costs_nothing(servers: list[ModelServer]) -> None:
    first, leaving = servers[:2]
    async with teacher(first.url, leaving.url) as asked:
        assert all(isinstance(answer, Completion) for answer in await ask_many(asked, 8))
        leave(leaving)
        asked_again = RetrySettings(attempts=2, base_s=0)
        answers = [await with_retries(lambda: asked.sample(request(), Usage()), asked_again) for _ in range(20)]
    assert len(answers) == 20
    assert len(first.bodies) == 4 + 20


async def test_nobody_at_any_address_stops_the_run(nobody: str) -> None:
    async with teacher(nobody, nobody.replace("/v1", "/v2")) as asked:
        with pytest.raises(TeacherDown, match="nothing answers at"):
            await asked.sample(request(), Usage())


async def test_all_that_went_away_are_a_request_that_failed(servers: list[ModelServer]) -> None:
    one, other = servers[1:]
    async with teacher(one.url, other.url) as asked:
        await asked.sample(request(), Usage())
        leave(one)
        leave(other)
        for _ in range(3):
            with pytest.raises(RequestFailed, match="the connection broke") as caught:
                await asked.sample(request(), Usage())
            assert caught.value.retryable


async def test_a_key_that_one_server_refuses_stops_the_run(servers: list[ModelServer]) -> None:
    for server in servers:
        server.models = Reply({"error": "no"}, 401)
        server.script = lambda body: Reply({"error": "no"}, 401)
    async with teacher(*(server.url for server in servers)) as asked:
        with pytest.raises(MissingKey):
            await asked.sample(request(), Usage())


def test_identity_does_not_depend_on_the_addresses() -> None:
    many = OpenAITeacher(
        OpenAISettings(kind="openai", model="m", base_url=["http://a:1/v1", "http://b:1/v1"], stream=True)
    )
    assert many.identity == OpenAITeacher(OpenAISettings(kind="openai", model="m", base_url="http://c/v1")).identity


# -- proxies -----------------------------------------------------------------------------------------------------


async def test_a_proxy_of_the_environment_is_used(model_server: ModelServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", model_server.url.removesuffix("/v1"))
    monkeypatch.setenv("no_proxy", "")
    async with teacher("http://model.invalid/v1") as asked:
        assert (await asked.sample(request(), Usage())).text == "4"
    assert model_server.headers[0]["host"] == "model.invalid"


async def test_what_needs_no_proxy_goes_past_it(
    model_server: ModelServer, nobody: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", nobody.removesuffix("/v1"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    async with teacher(model_server.url) as asked:
        assert (await asked.sample(request(), Usage())).text == "4"


# -- limits ------------------------------------------------------------------------------------------------------


async def test_refusals_in_a_row_hold_back_those_that_wait(model_server: ModelServer) -> None:
    """While the server is held back nothing more arrives there, though a slot is free."""
    model_server.script = lambda body: Reply({"error": "slow down"}, 429, {"retry-after": "250"})
    async with teacher(model_server.url, concurrency=1) as asked:
        for _ in range(REFUSALS_TO_HOLD):
            with pytest.raises(RequestFailed) as caught:
                await asked.sample(request(), Usage())
            assert caught.value.retry_after_s == 250
        assert await held_back(asked)
    assert len(model_server.bodies) == REFUSALS_TO_HOLD


async def test_the_rate_of_requests_is_kept(model_server: ModelServer) -> None:
    async with teacher(model_server.url, rate_limits=RateLimits(requests_per_minute=1)) as asked:
        await asked.sample(request(), Usage())
        assert await held_back(asked)
    assert len(model_server.bodies) == 1


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("7", 7.0),
        (" 0.5 ", 0.5),
        ("-1", 0.0),
        ("inf", None),
        ("nan", None),
        ("soon", None),
        ("", None),
        (formatdate(1_000_090, usegmt=True), 90.0),
        (formatdate(999_000, usegmt=True), 0.0),
        ("Wed, 99 Oct 2026 07:28:00 GMT", None),
    ],
)
def test_reads_what_a_server_asks_to_wait(value: str, seconds: float | None) -> None:
    assert parse_retry_after(value, now_s=1_000_000.0) == seconds


# -- streams -----------------------------------------------------------------------------------------------------


def part(finish: str | None = None, usage: Any = None, logprobs: Any = None, **delta: Any) -> dict[str, Any]:
    choice: dict[str, Any] = {"index": 0, "delta": delta, "finish_reason": finish}
    return {"choices": [choice | ({"logprobs": logprobs} if logprobs else {})], "usage": usage}


def events(*parts: Any, done: bool = True) -> bytes:
    lines = [f"data: {part if isinstance(part, str) else json.dumps(part)}\r\n\r\n" for part in parts]
    return b": welcome\n\n" + "".join(lines).encode() + (b"data: [DONE]\n\n" if done else b"")


def streamed(body: bytes, **more: Any) -> Reply:
    return Reply(body, headers={"content-type": "text/event-stream; charset=utf-8"}, **more)


COUNTED = {"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 3}}


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (
            events(
                part(role="assistant", content=""), part(content="4 is"), part(content=" é\n"), part("stop"), COUNTED
            ),
            Completion("4 is é\n", "stop", 7, 3),
        ),
        (
            events(part(reasoning_content="two"), part(content="4"), part("length")),
            Completion("4", "length", 0, 2, "two"),
        ),
        (events(part(reasoning="two"), part("stop", content="4"), done=False), Completion("4", "stop", 0, 2, "two")),
        (events(part(content="<think>a</think>4"), part("stop")), Completion("4", "stop", 0, 1, "a")),
        (events(part("stop")), Completion("", "stop", 0, 0)),
        (
            events(
                part(content="4", logprobs={"content": [{"logprob": -0.5}]}),
                part("stop", content=".", logprobs={"content": [{"logprob": -1}]}),
            ),
            Completion("4.", "stop", 0, 2, None, (-0.5, -1.0)),
        ),
    ],
)
async def test_reads_streams(model_server: ModelServer, body: bytes, expected: Completion) -> None:
    model_server.script = lambda _: streamed(body)
    async with teacher(model_server.url, stream=True) as asked:
        assert await asked.sample(request(), Usage()) == expected
    assert model_server.bodies[0]["stream"] is True
    assert model_server.bodies[0]["stream_options"] == {"include_usage": True}


async def test_a_server_that_does_not_stream_is_read_all_the_same(model_server: ModelServer) -> None:
    async with teacher(model_server.url, stream=True, first_token_s=60, idle_s=60) as asked:
        assert (await asked.sample(request(), Usage())).text == "4"


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        (streamed(events(part(content="4"), done=False)), "broke off"),
        (streamed(events(part(content="4")), length=10_000), "broke"),
        (streamed(b""), "broke off"),
        (streamed(events({"error": {"message": "out of memory"}})), "out of memory"),
        (streamed(events("no JSON")), "no JSON"),
        (streamed(events("null")), "no chat completion"),
        (streamed(events(part(content=[1]), part("stop"))), "no chat completion"),  # never the text "[1]"
        (streamed(events({"choices": ["a"]})), "no chat completion"),
        (streamed(events({"choices": [{"delta": 4}]})), "no chat completion"),
    ],
)
async def test_half_a_stream_is_no_answer(model_server: ModelServer, reply: Reply, said: str) -> None:
    model_server.script = lambda _: reply
    async with teacher(model_server.url, stream=True) as asked:
        with pytest.raises(RequestFailed, match=said) as caught:
            await asked.sample(request(), Usage())
    assert caught.value.retryable


async def test_a_server_that_never_begins_is_given_up(model_server: ModelServer) -> None:
    model_server.script = lambda body: Reply(completion(), wait=True)
    async with teacher(model_server.url, stream=True, first_token_s=0.1, idle_s=60) as asked:
        with pytest.raises(RequestFailed, match=r"nothing within 0.1 s"):
            await asked.sample(request(), Usage())
    assert model_server.wait_for(gone=1)


@asynccontextmanager
async def stalling(first: bytes) -> AsyncIterator[tuple[str, asyncio.Event]]:
    """A server that sends `first` of a stream, then nothing; and whether its client has hung up."""
    gone = asyncio.Event()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().split(b"content-length:")[1].split()[0]) if b"POST" in head else 0
        await reader.readexactly(length)
        if length:
            writer.write(
                b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: 9999\r\n\r\n" + first
            )
            await reader.read()
            gone.set()
        else:
            writer.write(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1", gone


async def test_a_stream_that_stalls_is_given_up_and_its_connection_closed() -> None:
    said = events(part(content="4"), done=False)
    async with stalling(said) as (url, gone), teacher(url, stream=True, first_token_s=60, idle_s=0.1) as asked:
        with pytest.raises(RequestFailed, match=r"nothing more within 0.1 s") as caught:
            await asked.sample(request(), Usage())
        assert caught.value.retryable
        await gone.wait()


async def test_a_stream_that_is_cancelled_says_what_it_had_cost() -> None:
    said = events(
        part(content="4"), part(content="2"), {"choices": [], "usage": {"completion_tokens": 9}}, done=False
    )
    usage = Usage()
    async with stalling(said) as (url, gone), teacher(url, stream=True) as asked:
        asking = asyncio.create_task(asked.sample(request(), usage))
        while usage.completion_tokens != 9:  # noqa: ASYNC110 - no event tells of a number that changes
            await asyncio.sleep(0)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        await gone.wait()
    assert usage.completion_tokens == 9


async def test_a_later_draw_that_is_cancelled_knows_its_prompt(model_server: ModelServer) -> None:
    usage = Usage()
    async with teacher(model_server.url) as asked:
        await asked.sample(request("a"), Usage())
        model_server.script = lambda body: Reply(completion(), wait=True)
        asking = asyncio.create_task(asked.sample(request("a", 1), usage))
        assert await asyncio.to_thread(model_server.wait_for, waiting=1)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
    assert usage == Usage(7, None)


# -- settings ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"base_url": []}, "at least 1 item"),
        ({"base_url": ["http://a/v1", "b:8000"]}, "must begin with http"),
        ({"base_url": ["http://a/v1", "http://me:secret@b/v1"]}, "user name or password"),
        ({"idle_s": 3}, "set stream: true"),
        ({"first_token_s": 3}, "set stream: true"),
        ({"stream": True, "idle_s": 0}, "greater than 0"),
        ({"rate_limits": {"requests_per_minute": 0}}, "greater than 0"),
        ({"rate_limits": {"requests_per_hour": 5}}, "Extra inputs"),
    ],
)
def test_settings_that_cannot_be(given: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        OpenAISettings.model_validate({"kind": "openai", "model": "m", **given})


def test_settings_take_several_addresses_and_limits() -> None:
    made = OpenAISettings.model_validate(
        {
            "kind": "openai",
            "model": "m",
            "base_url": ["http://a/v1", "http://b/v1"],
            "rate_limits": {"requests_per_minute": 600, "tokens_per_minute": 1e6},
            "stream": True,
            "idle_s": 30,
        }
    )
    assert made.base_url == ("http://a/v1", "http://b/v1")
    assert OpenAISettings.model_validate(made.model_dump(mode="json")) == made
