"""The fake server itself: what a well-behaved one answers, what it notes, what it refuses; and its command."""

from __future__ import annotations

import http.client
import json
import re
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from stillroom.errors import InputError
from stillroom.sampling.fake_server.answers import SENTENCE, answer, text_for
from stillroom.sampling.fake_server.exchange import prompt_of
from stillroom.sampling.fake_server.habits import GROUPS, grouped, habits, named_habits
from stillroom.sampling.fake_server.serve import table
from stillroom.sampling.fake_server.server import FakeServer, Seen
from tests.conftest import command, stillroom, write_sums


def asked(prompt: str, **more: Any) -> dict[str, Any]:
    return {"model": "m", "messages": [{"role": "user", "content": prompt}], **more}


# -- answers -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("prompt", "said"),
    [
        ("What is 3 + 4?", "#### 7"),
        ("12 × 12", "#### 144"),
        ("9 - 12", "#### -3"),
        ("9*8", "#### 72"),
        ("Hello!", SENTENCE),
        ("1234567890123 + 1", SENTENCE),
        ("", SENTENCE),
    ],
)
def test_sums_are_right_and_anything_else_is_one_sentence(prompt: str, said: str) -> None:
    assert text_for(asked(prompt)).endswith(said)


def test_a_seed_chooses_the_wording() -> None:
    assert len({text_for(asked("3 + 4", seed=seed)) for seed in range(20)}) == 4


def test_a_limit_and_a_stop_hold() -> None:
    cut = answer(asked("3 + 4", max_completion_tokens=2, seed=0))
    assert cut["choices"][0]["message"]["content"] == "Take 3"
    assert (cut["choices"][0]["finish_reason"], cut["usage"]["completion_tokens"]) == ("length", 2)
    assert answer(asked("3 + 4", stop=["####"], seed=0))["choices"][0]["message"]["content"].endswith("makes 7.\n")


def test_choices_and_logprobs_as_asked_for() -> None:
    whole = answer(asked("3 + 4", n=3, logprobs=True, top_logprobs=2))
    assert [choice["index"] for choice in whole["choices"]] == [0, 1, 2]
    tokens = whole["choices"][0]["logprobs"]["content"]
    assert "".join(token["token"] for token in tokens) == whole["choices"][0]["message"]["content"]
    assert {len(token["top_logprobs"]) for token in tokens} == {2}


@pytest.mark.parametrize(
    ("body", "prompt"),
    [
        (asked("a"), "a"),
        ({"messages": [{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "image_url"}]}]}, "a "),
        ({"messages": "a"}, ""),
        ({"messages": [3, None, {"role": "user", "content": 5}]}, ""),
        ({"prompt": "a"}, "a"),
        ({"prompt": ["a", "b"]}, "a b"),
        ({}, ""),
    ],
)
def test_a_prompt_is_found_in_any_body(body: dict[str, Any], prompt: str) -> None:
    assert prompt_of(body) == prompt
    assert answer(body)["choices"]


# -- over the wire -----------------------------------------------------------------------------------------------


@pytest.fixture
def running() -> Iterator[subprocess.Popen[str]]:
    """The command, with a habit, on a free port; ended after the test."""
    words = command("fake-server", "--port", 0, "--habit", "retry_after_seconds", "--minute", 0.06)
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    yield process
    process.kill()
    process.communicate()


def greeting(process: subprocess.Popen[str]) -> str:
    """The lines before the first request."""
    assert process.stdout is not None
    lines = [process.stdout.readline()]
    while lines[-1] not in ("", "Ctrl-C ends it\n"):
        lines.append(process.stdout.readline())
    return "".join(lines)


def address(said: str) -> str:
    """host:port, from the greeting."""
    found = re.search(r"http://(127\.0\.0\.1:\d+)/v1", said)
    assert found is not None, said
    return found[1]


def call(place: str, method: str, path: str, body: bytes | None = None) -> tuple[int, Any]:
    connection = http.client.HTTPConnection(place, timeout=30)
    connection.request(method, path, body, {"Authorization": "Bearer sk-secret-a1B2c3D4"})
    reply = connection.getresponse()
    found = json.loads(reply.read())
    connection.close()
    return reply.status, found


def test_the_command_says_what_to_do_logs_each_request_and_ends_cleanly(running: subprocess.Popen[str]) -> None:
    said = greeting(running)
    place = address(said)
    post = json.dumps(asked("What is 3 + 4?\x1b[2J")).encode()
    assert call(place, "GET", "/v1/models") == (
        200,
        {"object": "list", "data": [{"id": "fake", "object": "model", "owned_by": "stillroom"}]},
    )
    status, refused = call(place, "POST", "/v1/chat/completions", post)
    assert (status, refused["error"]["message"]) == (429, "Rate limit reached.")
    status, found = call(place, "POST", "/any/prefix/chat/completions", post)
    assert status == 200
    assert found["choices"][0]["message"]["content"].endswith("#### 7")
    assert call(place, "POST", "/v1/completions", b'{"prompt": "3 + 4"}')[0] == 429
    assert call(place, "POST", "/v1/completions", b'{"prompt": "3 + 4"}')[1]["choices"][0]["text"].endswith("#### 7")
    assert call(place, "POST", "/v1/chat/completions", b'{"mess')[0] == 400
    assert call(place, "GET", "/v1/embeddings")[0] == 404
    assert call(place, "GET", "/v1/chat/completions")[0] == 400
    running.send_signal(signal.SIGINT)
    out, err = running.communicate(timeout=30)
    assert (running.returncode, err) == (0, "")
    assert f'teacher: {{kind: openai, model: fake, base_url: "http://{place}/v1"}}' in said
    assert "retry_after_seconds: 429 once for each request, with `Retry-After: 2`" in said
    assert re.search(r'#2  POST /v1/chat/completions  429  retry_after_seconds "What is 3 \+ 4\?\\u001b', out)
    assert "8 requests (3 × 200, 2 × 400, 1 × 404, 2 × 429)" in out
    assert "secret" not in said + out


def test_what_cannot_be_is_refused() -> None:
    ended = stillroom("fake-server", "--habit", "retry_after_second")
    assert ended.returncode == 2
    assert "no habit 'retry_after_second': did you mean retry_after_seconds" in ended.stderr
    with socket.create_server(("127.0.0.1", 0)) as taken:
        ended = stillroom("fake-server", "--port", taken.getsockname()[1])
    assert ended.returncode == 2
    assert "cannot be used" in ended.stderr
    with pytest.raises(InputError, match="no habit 'x'"):
        named_habits(["x"])


async def test_who_comes_back_too_early_is_counted() -> None:
    lines: list[Seen] = []
    server = FakeServer(["retry_after_seconds"], clock=lambda: 1000.0, log=lines.append)
    await server.start()
    import aiohttp

    async with aiohttp.ClientSession() as session:
        for _ in range(2):
            async with session.post(f"{server.url}/chat/completions", json=asked("3 + 4")) as reply:
                await reply.read()
    await server.close()
    assert server.early == 1
    assert lines[-1].early_s == 2.0
    assert lines[-1].line().endswith('"3 + 4"  2 s too early')


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"GET / HTTP/1.1\r\n" + b"x: y\r\n" * 300 + b"\r\n", b""),  # the same header again is one header
        (b"GET / HTTP/1.1\r\n" + b"".join(b"x%d: y\r\n" % i for i in range(300)) + b"\r\n", b"431"),
        (b"GET / HTTP/1.1\r\nx: " + b"y" * 100_000, b"431"),
        (b"nonsense\r\n\r\n", b"400"),
        (b"POST /v1/completions HTTP/1.1\r\ncontent-length: 99999999999\r\n\r\n", b"413"),
        (b"POST /v1/completions HTTP/1.1\r\ncontent-length: x\r\n\r\n", b"400"),
        (b"POST /v1/completions HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n", b"400"),
        (b"POST /v1/completions HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n", b"200"),
        (b"POST /v1/completions HTTP/1.1\r\ncontent-length: 2\r\nexpect: 100-continue\r\n\r\n{}", b"100"),
        (b"POST /v1/completions HTTP/1.1\r\ncontent-length: 7\r\n\r\n", b""),
    ],
)
async def test_what_is_not_a_request_ends_with_an_answer_and_never_the_server(sent: bytes, status: bytes) -> None:
    import asyncio

    server = FakeServer()
    await server.start()
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(sent)
    writer.write_eof()
    said = await reader.read()
    writer.close()
    assert said[9:12] == (status or said[9:12])
    await server.close()


# -- habits ------------------------------------------------------------------------------------------------------


def test_names_are_unique_and_the_list_and_the_table_have_all() -> None:
    names = [habit.name for group in GROUPS for habit in grouped()[group]]
    assert len(names) == len(set(names)) == len(habits())
    assert all(re.fullmatch(r"[a-z0-9_]+", name) for name in names)
    ended = stillroom("fake-server", "--list")
    assert ended.returncode == 0
    assert re.findall(r"^  ([a-z0-9_]+)  ", ended.stdout, re.MULTILINE) == names
    assert re.findall(r"^\| `([a-z0-9_]+)` \|", "\n".join(table()), re.MULTILINE) == names


def test_a_recipe_runs_against_it(running: subprocess.Popen[str], tmp_path: Path) -> None:
    """A whole run, every request of which is refused once: rows, and what is on the screen."""
    teacher = {"kind": "openai", "model": "fake", "base_url": f"http://{address(greeting(running))}/v1"}
    recipe = write_sums(tmp_path, tasks=6, teacher=teacher, keep={"per_task": 2, "max_attempts": 4})
    ended = stillroom("run", recipe, "--out", tmp_path / "run")
    assert ended.returncode == 0, ended.stderr
    assert "accepted" in ended.stdout + ended.stderr
    exported = stillroom("export", tmp_path / "run", "--rows", "messages")
    rows = [json.loads(line) for line in exported.stdout.splitlines()]
    assert len({row["messages"][0]["content"] for row in rows}) == 6
    for row in rows:
        a, b = re.findall(r"\d+", row["messages"][0]["content"])
        assert row["messages"][1]["content"].endswith(str(int(a) + int(b)))
