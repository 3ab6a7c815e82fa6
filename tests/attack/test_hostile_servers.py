"""Servers that send what no server should: a run ends with a message or goes on, and never pays for it twice.

Replies are generated: every hostile value in every place of an answer, an error, a stream and a list of models.
"""

from __future__ import annotations

import asyncio
import io
import itertools
import json
import random
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stillroom import run, status
from stillroom.common.outside import DEEPEST, MOST_TOKENS, NotJson, logprob_in, read_json, tokens_in
from stillroom.common.printing import Terminal
from stillroom.common.records import Completion, Request, SamplingParams, Usage, user
from stillroom.errors import InputError, Interrupted, RequestFailed, StillroomError
from stillroom.pipeline.run.progress import UNCOUNTED, Display
from stillroom.sampling.ledger import Ledger
from stillroom.sampling.teachers.openai import OpenAISettings
from stillroom.sampling.teachers.openai.answer import LONGEST_LINE, StreamedAnswer
from stillroom.sampling.teachers.openai.http import NoAnswer, Patience, parse_retry_after
from stillroom.sampling.teachers.openai.teacher import OpenAITeacher
from tests.conftest import ModelServer, Reply, completion, served_by, sum_answer, write_sums

# JSON texts, in the place of a value. Some are no JSON.
NUMBERS = ["-1", "1e300", "1e999", "NaN", "-Infinity", "true", '"7"', "null", "[]", "{}", "9" * 5000, "1.5"]
NUMBERS += [str(2**k + by) for k in (31, 63) for by in (-1, 0)] + [str(10**k) for k in (9, 18, 300)]
DEEP = ["[" * n + "]" * n for n in (150, 990, 100_000)] + ['{"a":' * 100_000]
TEXTS = ['"\\ud83d"', '"\\udc00 4"', '"\\ud83d\\ud83d\\ude00"', '"\\u0000\\u001b[2J"', '"[/] [bold]"', '"\xff"']
ODD = [*NUMBERS, *DEEP, *TEXTS]

PLACES: dict[str, str] = {
    "content": '{"choices":[{"message":{"content":%s},"finish_reason":"stop"}]}',
    "reasoning": '{"choices":[{"message":{"content":"4","reasoning":%s},"finish_reason":"stop"}]}',
    "finish": '{"choices":[{"message":{"content":"4"},"finish_reason":%s}]}',
    "usage": '{"choices":[{"message":{"content":"4"},"finish_reason":"stop"}],"usage":%s}',
    "prompt_tokens": '{"choices":[{"message":{"content":"4"}}],"usage":{"prompt_tokens":%s,"completion_tokens":3}}',
    "completion_tokens": '{"choices":[{"message":{"content":"4"}}],"usage":{"completion_tokens":%s}}',
    "logprobs": '{"choices":[{"message":{"content":"4"},"logprobs":{"content":%s}}]}',
    "logprob": '{"choices":[{"message":{"content":"4"},"logprobs":{"content":[{"token":"4","logprob":%s}]}}]}',
    "top": '{"choices":[{"message":{"content":"4"},"logprobs":'
    '{"content":[{"token":"4","logprob":-1,"top_logprobs":[{"token":"4","logprob":%s}]}]}}]}',
    "message": '{"choices":[{"message":%s}]}',
    "choices": '{"choices":%s}',
    "beside": '{"choices":[{"message":{"content":"4"}}],"junk":%s}',
    "whole": "%s",
}
ERRORS = ['{"error":{"message":%s}}', '{"error":%s}', '{"error":{"message":"no","code":%s}}', '{"detail":%s}', "%s"]


def request(draw: int = 0, **sampling: Any) -> Request:
    return Request("t", draw, user("2 + 2?"), SamplingParams(**sampling), 7)


def raw(text: str) -> bytes:
    return text.encode("latin-1") if "\xff" in text else text.encode()


def sse(*parts: str) -> bytes:
    return b"".join(b"data: " + raw(part) + b"\n\n" for part in (*parts, "[DONE]"))


async def outcome(teacher: OpenAITeacher, draw: int = 0) -> Completion | StillroomError:
    """What comes of a request: nothing else may."""
    try:
        return await teacher.sample(request(draw, top_logprobs=2), Usage())
    except StillroomError as error:
        return error


def check(found: Completion | StillroomError) -> None:
    """Within bounds, and fit to be written, whatever it is."""
    if isinstance(found, StillroomError):
        assert len(str(found)) < 1000
        str(found).encode()
        return
    assert 0 <= found.prompt_tokens <= MOST_TOKENS
    assert 0 <= found.completion_tokens <= MOST_TOKENS
    assert all(-9999 <= value <= 0 for value in found.logprobs or ())
    f"{found.text}{found.reasoning}{found.choices}".encode()


async def test_every_odd_value_in_every_place_of_an_answer(model_server: ModelServer) -> None:
    bodies = [raw(place % odd) for place, odd in itertools.product(PLACES.values(), ODD)]
    for stream in (False, True):
        teacher = OpenAITeacher(OpenAISettings(kind="openai", model="m", base_url=model_server.url, stream=stream))
        for number, body in enumerate(bodies):
            model_server.script = lambda _, body=body: Reply(body)  # type: ignore[misc]
            check(await outcome(teacher, number))
        await teacher.close()


async def test_every_odd_value_in_every_place_of_a_stream(model_server: ModelServer) -> None:
    deltas = [place.replace('"message"', '"delta"') for place in PLACES.values()]
    last = '{"choices":[{"delta":{},"finish_reason":"stop"}]}'
    headers = {"content-type": "text/event-stream"}
    teacher = OpenAITeacher(OpenAISettings(kind="openai", model="m", base_url=model_server.url, stream=True))
    for number, (place, odd) in enumerate(itertools.product(deltas, ODD)):
        body = sse('{"choices":[{"delta":{"content":"4"}}]}', place % odd, last)
        model_server.script = lambda _, body=body: Reply(body, headers=headers)  # type: ignore[misc]
        check(await outcome(teacher, number))
    await teacher.close()


@pytest.mark.parametrize("status", [400, 404, 500, 307])
async def test_every_odd_value_in_every_place_of_an_error(model_server: ModelServer, status: int) -> None:
    model_server.models = Reply(b'{"data":[{"id":' + b"[" * 100_000)
    teacher = OpenAITeacher(OpenAISettings(kind="openai", model="m", base_url=model_server.url))
    for number, (place, odd) in enumerate(itertools.product(ERRORS, ODD)):
        body = raw(place % odd)
        model_server.script = lambda _, body=body: Reply(body, status=status)  # type: ignore[misc]
        found = await outcome(teacher, number)
        assert isinstance(found, StillroomError)
        check(found)
    await teacher.close()


async def test_every_odd_list_of_models(model_server: ModelServer) -> None:
    lists = [raw(place % odd) for place in ('{"data":[{"id":%s}]}', '{"data":%s}', "%s") for odd in ODD]
    model_server.script = lambda _: Reply({"error": "no such model"}, status=404)
    for number, body in enumerate(lists):
        model_server.models = Reply(body)
        teacher = OpenAITeacher(OpenAISettings(kind="openai", model="m", base_url=model_server.url))
        found = await outcome(teacher, number)
        assert isinstance(found, StillroomError)
        check(found)
        await teacher.close()


_leaves = st.one_of(
    st.none(), st.booleans(), st.integers(-(10**40), 10**40), st.floats(), st.text(max_size=8), st.just("x" * 10_000)
)
_names = st.sampled_from(["choices", "message", "content", "usage", "logprobs", "logprob", "token", "error", "data"])
_values = st.recursive(
    _leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_names, inner, max_size=4)
)


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(value=_values, cut=st.integers(0, 40), junk=st.binary(max_size=6))
def test_whatever_is_sent_is_read_or_refused(value: Any, cut: int, junk: bytes) -> None:
    data = json.dumps(value).encode()
    for body in (data, data[: len(data) - cut], data[:cut] + junk + data[cut:]):
        try:
            found = read_json(body)
        except NotJson:
            continue
        json.dumps(found, ensure_ascii=False).encode()


@given(st.one_of(_leaves, st.lists(_leaves)))
def test_a_number_from_outside_is_one_or_none(value: Any) -> None:
    tokens, logprob = tokens_in(value), logprob_in(value)
    assert tokens is None or 0 <= tokens <= MOST_TOKENS
    assert logprob is None or -9999 <= logprob <= 0


@pytest.mark.parametrize("depth", [1, DEEPEST - 1, DEEPEST + 1, 900, 10_000, 1_000_000])
def test_depth_has_a_bound(depth: int) -> None:
    for opened, closed in (("[", "]"), ('{"a":', "}"), ('[{"a":', "}]")):
        text = opened * depth + "1" + closed * depth
        levels = depth * len(closed)
        if levels < DEEPEST:
            read_json(text)
        elif levels > DEEPEST:
            with pytest.raises(NotJson):
                read_json(text)


@given(st.text(max_size=60) | st.integers().map(str) | st.floats().map(str))
def test_whatever_a_server_asks_to_wait(value: str) -> None:
    found = parse_retry_after(value, 0.0)
    assert found is None or found >= 0


# -- a whole run ---------------------------------------------------------------------------------------------------


def sums_with(change: Callable[[dict[str, Any]], object], **more: Any) -> Callable[[dict[str, Any]], Reply]:
    """Right and wrong answers to sums, each changed."""

    def script(body: dict[str, Any]) -> Reply:
        said = completion(sum_answer(body["messages"][-1]["content"], body["seed"]))
        change(said)
        return Reply(said, **more)

    return script


def start(server: ModelServer, folder: Path, display: Display | None = None, **changes: Any) -> None:
    teacher = served_by(server, **changes.pop("teacher", {}))
    recipe = write_sums(folder, teacher=teacher, **changes)
    run(recipe, out=folder / "run", display=display or Display(quiet=True))


@pytest.mark.parametrize("odd", [10**300, 2**63 - 1, 2**64, -5, "many", None, 1.5, True, [1], {}], ids=repr)
def test_no_count_of_tokens_loses_an_answer_or_breaks_the_status(
    model_server: ModelServer, tmp_path: Path, odd: Any
) -> None:
    model_server.script = sums_with(lambda said: said.update(usage={"prompt_tokens": odd, "completion_tokens": odd}))
    start(model_server, tmp_path)
    found = status(tmp_path / "run")
    assert found.totals.attempts == len(model_server.bodies) - found.totals.cancelled
    assert found.totals.failures == 0
    assert 0 < found.totals.completion_tokens < 100_000


def test_a_ledger_of_before_with_such_counts_still_has_a_status(model_server: ModelServer, tmp_path: Path) -> None:
    model_server.script = sums_with(lambda said: None)
    start(model_server, tmp_path)
    with Ledger.open(tmp_path / "run") as ledger:
        sound = ledger.totals()
        row = "INSERT INTO attempts SELECT NULL,request,1000,max_tokens,task_id,teacher,text,reasoning,finish_reason"
        for _ in range(2):
            ledger._db.execute(f"{row},{2**63 - 1},{2**63 - 1},logprobs,latency_s,at,choices FROM attempts LIMIT 1")
            row = row.replace("1000", "1001")
    found = status(tmp_path / "run").totals
    assert (found.attempts, found.completion_tokens) == (sound.attempts + 2, sound.completion_tokens)


@pytest.mark.parametrize("text", ["\ud83d", "\udc00 x", "a\ud83d\ud83d\ude00", "\ud800" * 50], ids=ascii)
@pytest.mark.parametrize("field", ["content", "reasoning"])
@pytest.mark.parametrize("stream", [False, True])
def test_half_a_surrogate_pair_costs_no_answer(
    model_server: ModelServer, tmp_path: Path, text: str, field: str, stream: bool
) -> None:
    def script(body: dict[str, Any]) -> Reply:
        said = completion(sum_answer(body["messages"][-1]["content"], body["seed"]))
        message = said["choices"][0]["message"]
        message[field] = f"{text} {message['content']}"
        if not stream:
            return Reply(said)
        parts = [{"delta": {name: value}} for name, value in message.items() if name != "role"]
        lines = [json.dumps({"choices": [part]}) for part in (*parts, {"delta": {}, "finish_reason": "stop"})]
        return Reply(sse(*lines), headers={"content-type": "text/event-stream"})

    model_server.script = script
    start(model_server, tmp_path, teacher={"stream": stream, "retry": {"attempts": 6, "base_s": 0}})
    found = status(tmp_path / "run").totals
    assert found.failures == 0
    assert found.attempts + found.cancelled == len(model_server.bodies)  # each was asked for once


async def test_a_pair_that_comes_in_two_parts_is_a_character(model_server: ModelServer) -> None:
    parts = ['{"choices":[{"delta":{"content":"\\ud83d"}}]}', '{"choices":[{"delta":{"content":"\\ude00"}}]}']
    last = '{"choices":[{"delta":{},"finish_reason":"stop"}]}'
    model_server.script = lambda _: Reply(sse(*parts, last), headers={"content-type": "text/event-stream"})
    teacher = OpenAITeacher(OpenAISettings(kind="openai", model="m", base_url=model_server.url, stream=True))
    found = await outcome(teacher)
    await teacher.close()
    assert isinstance(found, Completion)
    assert found.text == "\U0001f600"


# -- servers that count nothing ------------------------------------------------------------------------------------

WITHOUT: dict[str, Callable[[dict[str, Any]], object]] = {
    "none": lambda said: said.pop("usage"),
    "null": lambda said: said.update(usage=None),
    "zero": lambda said: said.update(usage={"prompt_tokens": 0, "completion_tokens": 0}),
    "half": lambda said: said["usage"].pop("completion_tokens"),
    "lies": lambda said: said.update(usage={"prompt_tokens": 10**18, "completion_tokens": 10**18}),
}
LIMITS: dict[str, dict[str, Any]] = {
    "tokens": {"limits": {"tokens": 300}},
    "usd": {"limits": {"usd": 0.0003}, "prices": {"prompt": 1.0, "completion": 1.0}},
    "budget": {"keep": {"policy": "budget", "tokens": 300, "per_task": 16, "max_attempts": 16}},
}


@pytest.mark.parametrize("without", WITHOUT)
@pytest.mark.parametrize("limit", LIMITS)
@pytest.mark.parametrize("stream", [False, True])
def test_a_server_that_counts_nothing_is_stopped_all_the_same(
    model_server: ModelServer, tmp_path: Path, without: str, limit: str, stream: bool
) -> None:
    plain = sums_with(WITHOUT[without])

    def script(body: dict[str, Any]) -> Reply:
        reply = plain(body)
        if not stream:
            return reply
        content = reply.body["choices"][0]["message"]["content"]  # in one part: parts are no count either
        parts = [{"choices": [{"delta": {"content": content}, "finish_reason": "stop"}]}]
        parts += [{"choices": [], "usage": reply.body.get("usage")}]
        return Reply(sse(*map(json.dumps, parts)), headers={"content-type": "text/event-stream"})

    model_server.script = script
    file = io.StringIO()
    display = Display(Terminal(file=file, width=1000))
    with suppress(Interrupted):
        start(model_server, tmp_path, display, teacher={"stream": stream, "concurrency": 1}, **LIMITS[limit])
    assert len(model_server.bodies) < 40  # 24 of 256 draws or so
    assert file.getvalue().count(UNCOUNTED) == 1


# -- redirects -----------------------------------------------------------------------------------------------------


@pytest.fixture
def other_server() -> Iterator[ModelServer]:
    server = ModelServer()
    yield server
    server.close()


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("form", ["http://{}/v1/chat/completions", "//{}/x", "http://me:word@{}/v1?key=hidden12"])
async def test_another_server_gets_nothing(
    model_server: ModelServer, other_server: ModelServer, monkeypatch: pytest.MonkeyPatch, code: int, form: str
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-a1B2c3D4e5F6g7H8")
    host = other_server.url.removeprefix("http://").removesuffix("/v1")
    model_server.script = lambda _: Reply({}, status=code, headers={"location": form.format(host)})
    model_server.models = model_server.script({})
    teacher = OpenAITeacher(OpenAISettings(kind="openai", model="m", base_url=model_server.url))
    found = await outcome(teacher)
    await teacher.close()
    assert isinstance(found, InputError)  # nobody was answered: it is about the address
    assert isinstance(found.if_answered, RequestFailed)
    assert not found.if_answered.retryable
    assert host in str(found)
    assert "hidden12" not in str(found)
    assert "word" not in str(found)
    assert (other_server.bodies, other_server.headers) == ([], [])
    assert len(model_server.bodies) == 1


@pytest.mark.parametrize("location", ["", "http://[", "http://a:b:c/", "\x00", "http://x:99999999/", "javascript:0"])
async def test_a_redirect_to_nowhere(model_server: ModelServer, location: str) -> None:
    headers = {"location": location.replace("\x00", "%00")}
    model_server.script = lambda _: Reply({}, status=307, headers=headers)
    teacher = OpenAITeacher(OpenAISettings(kind="openai", model="m", base_url=model_server.url))
    check(found := await outcome(teacher))
    await teacher.close()
    one = found.if_answered if isinstance(found, InputError) else found
    assert isinstance(one, RequestFailed)


async def test_a_redirect_within_the_server_is_followed_and_not_for_ever(model_server: ModelServer) -> None:
    def script(body: dict[str, Any]) -> str | Reply:
        return Reply({}, status=307, headers={"location": "/v1/again"}) if len(model_server.bodies) < 3 else "4"

    model_server.script = script
    teacher = OpenAITeacher(OpenAISettings(kind="openai", model="m", base_url=model_server.url))
    found = await outcome(teacher)
    assert isinstance(found, Completion)
    model_server.script = lambda _: Reply({}, status=308, headers={"location": "/v1/again"})
    assert "redirects" in str(await outcome(teacher))
    await teacher.close()


# -- streams -------------------------------------------------------------------------------------------------------


class Pieces:
    """What a StreamReader gives, without a network."""

    def __init__(self, data: bytes, size: int) -> None:
        self._pieces = [data[i : i + size] for i in range(0, len(data), size)]

    async def iter_any(self) -> AsyncIterator[bytes]:
        for piece in self._pieces:
            yield piece


def many_tokens(n: int) -> bytes:
    entry = {"token": "x", "logprob": -1.0, "top_logprobs": [{"token": "y", "logprob": -2.0}]}
    part = json.dumps({"choices": [{"delta": {"content": "x"}, "logprobs": {"content": [entry]}}]})
    return sse(*[part] * n)


def one_line(n: int) -> bytes:
    return sse(json.dumps({"choices": [{"delta": {"content": "x" * 64 * n}, "finish_reason": "stop"}]}))


def seconds(data: bytes, size: int) -> float:
    """Of this process alone, the better of two."""

    def once() -> float:
        began = time.process_time()
        asyncio.run(StreamedAnswer(Usage()).read(Pieces(data, size), Patience(None, None)))  # type: ignore[arg-type]
        return time.process_time() - began

    return min(once() for _ in range(2))


@pytest.mark.parametrize(("make", "size"), [(many_tokens, 200), (one_line, 64)])
def test_a_stream_is_read_in_proportion_to_its_length(make: Callable[[int], bytes], size: int) -> None:
    n = 16_000
    assert seconds(make(4 * n), size) < 8 * seconds(make(n), size)  # 16 times where it is read over and over


@pytest.mark.parametrize("size", [1024, 65_536])
async def test_a_line_without_an_end_is_given_up(size: int) -> None:
    endless = Pieces(b"data: " + b"x" * (LONGEST_LINE + 2 * size), size)
    with pytest.raises(NoAnswer, match="the line of the stream is longer than 8 MiB"):
        await StreamedAnswer(Usage()).read(endless, Patience(None, None))  # type: ignore[arg-type]


@pytest.mark.parametrize("seed", range(20))
async def test_however_a_stream_is_cut_it_is_the_same(seed: int) -> None:
    rng = random.Random(seed)
    words = [rng.choice(["é", "\U0001f600", "a", "\\", '"', "\n", "[DONE]", "data:"]) for _ in range(30)]
    parts = [json.dumps({"choices": [{"delta": {"content": w}}]}, ensure_ascii=seed % 2 == 0) for w in words]
    data = sse(*parts, '{"choices":[{"delta":{},"finish_reason":"stop"}]}')
    if seed % 3 == 0:
        data = data.replace(b"\n\n", b"\r\n\r\n")
    read = await StreamedAnswer(Usage()).read(Pieces(data, rng.randint(1, 40)), Patience(None, None))  # type: ignore[arg-type]
    assert json.loads(read)["choices"][0]["message"]["content"] == "".join(words)


# -- bytes that are hardly HTTP ------------------------------------------------------------------------------------

HEAD = "HTTP/1.1 200 OK\r\n"
ENCODINGS = ["gzip", "deflate", "br", "zstd", "identity", "\xff"]
WIRE = [
    "",
    "\0" * 10,
    f"{HEAD}\r\n",
    f"{HEAD}content-length: -5\r\n\r\n{{}}",
    "HTTP/1.1 99999 X\r\n\r\n",
    "HTTP/9 x\r\n\r\n",
]
WIRE += [f"{HEAD}transfer-encoding: chunked\r\n\r\n{size}\r\nx" for size in ("ZZZ", "f" * 40, "-1", "0")]
WIRE += [f"HTTP/1.1 {code} \x1b[2J[/]\xff\r\ncontent-length: 2\r\n\r\n{{}}" for code in (200, 400, 500, 503)]
WIRE += [
    f"{HEAD}{'a: b' * 300_000}\r\n\r\n",
    HEAD + "a: b\r\n" * 20_000 + "\r\n",
    "HTTP/1.1 100 Go on\r\n\r\n" * 1000,
]
WIRE += [f"{HEAD}content-encoding: {name}\r\ncontent-length: 4\r\n\r\nabcd" for name in ENCODINGS]
WIRE += [f"{HEAD}content-type: \xff;charset=\xfe\r\ncontent-length: 2\r\n\r\n{{}}"]
WIRE += [
    f"HTTP/1.1 307 X\r\nlocation: {place}\r\ncontent-length: 0\r\n\r\n"
    for place in ("http://\xff\xfe/", "//[::1/", "/a b\x01c", "http://x:y/", "x" * 5000)
]
WIRE += [
    f"HTTP/1.1 429 X\r\nretry-after: {wait}\r\ncontent-length: 0\r\n\r\n"
    for wait in ("9" * 4000, "Mon, 99 Foo 99999999999 99:99:99 GMT", "\xff", "-1")
]


def damaged(wire: bytes, rng: random.Random) -> bytes:
    found = bytearray(wire or b"x")
    for _ in range(rng.randint(1, 6)):
        found[rng.randrange(min(len(found), 200))] = rng.randrange(256)
    return bytes(found)


@pytest.mark.parametrize("stream", [False, True])
async def test_what_is_hardly_http_is_a_failed_request(stream: bool) -> None:
    rng, sound = random.Random(7), [wire.encode("latin-1") for wire in WIRE]
    wires = [*sound, *(damaged(rng.choice(sound), rng) for _ in range(100))]
    sent = [b""]

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(sent[0])
            await writer.drain()
        writer.close()

    listening = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = listening.sockets[0].getsockname()[1]
    for wire in wires:
        sent[0] = wire
        teacher = OpenAITeacher(
            OpenAISettings(
                kind="openai", model="m", base_url=f"http://127.0.0.1:{port}/v1", timeout_s=20, stream=stream
            )
        )
        check(await outcome(teacher))
        await teacher.close()
    listening.close()
    await listening.wait_closed()


def test_a_header_that_is_no_text_goes_into_the_ledger(model_server: ModelServer, tmp_path: Path) -> None:
    headers = {"location": "http://\xff\xfe/"}
    away = Reply({}, status=307, headers=headers)
    model_server.script = lambda _: "4" if len(model_server.bodies) == 1 else away
    with suppress(StillroomError):
        start(model_server, tmp_path, teacher={"concurrency": 1})
    assert status(tmp_path / "run").totals.failures > 0
