"""The openai teacher against a real HTTP server: what it sends, what it reads, and what each failure becomes."""

from __future__ import annotations

import asyncio
import json
import socket
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from stillroom.common.records import (
    Attempt,
    Completion,
    Message,
    Request,
    SamplingParams,
    State,
    Task,
    TokenChoice,
    Usage,
    Verdict,
    user,
)
from stillroom.errors import InputError, MissingKey, RequestFailed, StillroomError, TeacherDown
from stillroom.sampling.core import Core
from stillroom.sampling.ledger import Ledger
from stillroom.sampling.policy import Until
from stillroom.sampling.teachers.base import RetrySettings
from stillroom.sampling.teachers.openai import OpenAISettings
from stillroom.sampling.teachers.openai.teacher import OpenAITeacher
from tests.conftest import Body, ModelServer, Reply, completion

KEY = "sk-proj-a1B2c3D4e5F6g7H8"


def request(**sampling: Any) -> Request:
    messages = (Message("system", "Be brief."), Message("user", "2 + 2?"))
    return Request("t", 0, messages, SamplingParams(**sampling), 1234)


async def ask(server: ModelServer, asked: Request | None = None, **settings: Any) -> Completion:
    teacher = OpenAITeacher(OpenAISettings(kind="openai", model="m", base_url=server.url, **settings))
    try:
        return await teacher.sample(asked or request(), Usage())
    finally:
        await teacher.close()


async def failure(server: ModelServer, reply: Reply, **settings: Any) -> StillroomError:
    """What the teacher raises when the server replies so."""
    server.script = lambda body: reply
    with pytest.raises(StillroomError) as caught:
        await ask(server, **settings)
    return caught.value


# -- what is sent ------------------------------------------------------------------------------------------------


async def test_sends_messages_sampling_and_the_seed_of_the_draw(model_server: ModelServer) -> None:
    await ask(model_server, request(temperature=0.5, top_p=0.9, max_tokens=77, stop=("Q:",)))
    assert model_server.bodies == [
        {
            "model": "m",
            "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "2 + 2?"}],
            "temperature": 0.5,
            "top_p": 0.9,
            "max_tokens": 77,
            "stop": ["Q:"],
            "seed": 1234,
        }
    ]


@pytest.mark.parametrize(
    ("settings", "sampling", "sent", "not_sent"),
    [
        ({}, {"top_k": 20, "min_p": 0.1}, {"top_k": 20, "min_p": 0.1}, []),
        ({"extra_body": {"top_k": 5, "x": {"y": 1}}}, {"top_k": 20}, {"top_k": 5, "x": {"y": 1}}, []),
        ({"max_tokens_field": "max_completion_tokens"}, {}, {"max_completion_tokens": 1024}, ["max_tokens"]),
        ({"send_seed": False}, {}, {}, ["seed"]),
        ({}, {"logprobs": True}, {"logprobs": True}, ["top_logprobs"]),
        ({}, {"top_logprobs": 20}, {"logprobs": True, "top_logprobs": 20}, []),
        (
            {},
            {"json_schema": '{"type": "object"}'},
            {
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"name": "answer", "schema": {"type": "object"}, "strict": True},
                }
            },
            ["logprobs"],
        ),
        ({}, {}, {}, ["logprobs", "top_logprobs", "response_format", "top_k", "min_p", "stop", "extra_body"]),
        ({}, {"temperature": 0}, {"temperature": 0}, []),
    ],
)
async def test_body_holds_what_was_asked_for_and_nothing_else(
    model_server: ModelServer,
    settings: dict[str, Any],
    sampling: dict[str, Any],
    sent: dict[str, Any],
    not_sent: list[str],
) -> None:
    await ask(model_server, request(**sampling), **settings)
    [body] = model_server.bodies
    assert {name: body.get(name) for name in sent} == sent
    assert not [name for name in not_sent if name in body]


async def test_sends_the_key_of_the_named_variable(
    model_server: ModelServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "another")
    monkeypatch.setenv("MY_KEY", f" {KEY}\n")  # as `export MY_KEY="$(cat file)"` may leave it
    await ask(model_server, api_key_env="MY_KEY")
    assert model_server.headers[0]["authorization"] == f"Bearer {KEY}"


async def test_needs_no_key_for_a_server_of_ones_own(model_server: ModelServer) -> None:
    assert (await ask(model_server)).text == "4"


# -- what is read ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("message", "finish", "reasoning", "text"),
    [
        (completion("4"), "stop", None, "4"),
        (completion("4", reasoning_content="two and two"), "stop", "two and two", "4"),
        (completion("\n\n4", reasoning=" two and two\n"), "stop", "two and two", "4"),
        (completion("<think>two and two</think>\n4"), "stop", "two and two", "4"),
        # Cut by the limit: the thinking part comes as content, never closed, or as reasoning alone.
        (completion("<think>two and", finish="length"), "length", "two and", ""),
        (completion(None, finish="length", reasoning_content="two and"), "length", "two and", ""),
        (completion("the tag <think> in prose"), "stop", None, "the tag <think> in prose"),
        (completion("", reasoning_content=""), "stop", None, ""),
        (completion(None), "stop", None, ""),
        (completion(None, refusal="I cannot help."), "stop", None, "I cannot help."),
        (completion("4", finish="content_filter"), "content_filter", None, "4"),
        (completion("4", finish="tool_calls"), "unknown", None, "4"),
        (completion("é 你好 \u2028"), "stop", None, "é 你好 \u2028"),
    ],
)
async def test_reads_answer_thinking_and_how_it_ended(
    model_server: ModelServer, message: dict[str, Any], finish: str, reasoning: str | None, text: str
) -> None:
    model_server.script = lambda body: Reply(message)
    answer = await ask(model_server)
    assert (answer.finish_reason, answer.reasoning, answer.text) == (finish, reasoning, text)


async def test_reads_usage(model_server: ModelServer) -> None:
    teacher, usage = OpenAITeacher(OpenAISettings(kind="openai", model="m", base_url=model_server.url)), Usage()
    answer = await teacher.sample(request(), usage)
    await teacher.close()
    assert (answer.prompt_tokens, answer.completion_tokens) == (7, 3)
    assert (usage.prompt_tokens, usage.completion_tokens) == (7, 3)


@pytest.mark.parametrize("usage", [None, {}, {"prompt_tokens": None, "completion_tokens": None}])
async def test_tokens_nobody_counted_are_zero(model_server: ModelServer, usage: Any) -> None:
    model_server.script = lambda body: Reply({**completion(), "usage": usage})
    answer = await ask(model_server)
    assert (answer.prompt_tokens, answer.completion_tokens) == (0, 0)


@pytest.mark.parametrize(
    ("logprobs", "read"),
    [
        ({"content": [{"token": "4", "logprob": -0.5}, {"token": ".", "logprob": -1}]}, (-0.5, -1.0)),
        ({"content": []}, ()),
        ({"content": None}, None),
        (None, None),
    ],
)
async def test_reads_logprobs(model_server: ModelServer, logprobs: Any, read: tuple[float, ...] | None) -> None:
    body = completion()
    body["choices"][0]["logprobs"] = logprobs
    model_server.script = lambda _: Reply(body)
    assert (await ask(model_server, request(logprobs=True))).logprobs == read


def likely(token: str, logprob: float, **top: float) -> dict[str, Any]:
    others = [{"token": other, "logprob": p, "bytes": None} for other, p in top.items()]
    return {"token": token, "logprob": logprob, "bytes": None, "top_logprobs": others}


FOUR = likely("4", -1.5, **{"4": -1.5, "five": -0.25, "é": -3.0})


@pytest.mark.parametrize(
    ("content", "read"),
    [
        (
            [FOUR, likely(".", -0.5, **{".": -0.5})],
            (
                TokenChoice("4", -1.5, (("five", -0.25), ("4", -1.5), ("é", -3.0))),  # sorted, likeliest first
                TokenChoice(".", -0.5, ((".", -0.5),)),
            ),
        ),
        ([{"token": "4", "logprob": -0.5, "top_logprobs": None}], (TokenChoice("4", -0.5, ()),)),
        ([{"token": "4", "logprob": -0.5}], (TokenChoice("4", -0.5, ()),)),
        ([], ()),
        (None, None),
    ],
)
async def test_reads_the_most_likely_tokens(
    model_server: ModelServer, content: Any, read: tuple[TokenChoice, ...] | None
) -> None:
    body = completion()
    body["choices"][0]["logprobs"] = {"content": content}
    model_server.script = lambda _: Reply(body)
    asked = await ask(model_server, request(top_logprobs=3))
    assert asked.choices == read
    assert asked.logprobs == (None if read is None else tuple(choice.logprob for choice in read))
    assert (await ask(model_server, request(logprobs=True))).choices is None


async def test_a_server_without_logprobs_gives_no_choices(model_server: ModelServer) -> None:
    assert (await ask(model_server, request(top_logprobs=3))).choices is None


async def test_reads_the_most_likely_tokens_of_a_streamed_answer(model_server: ModelServer) -> None:
    pieces = [
        {"delta": {"content": "4"}, "logprobs": {"content": [FOUR]}},
        {"delta": {"content": "."}, "logprobs": {"content": [likely(".", -0.5)]}},
        {"delta": {}, "logprobs": None, "finish_reason": "stop"},
    ]
    lines = [f"data: {json.dumps({'choices': [piece]})}\n\n" for piece in pieces]
    body = "".join([*lines, "data: [DONE]\n\n"]).encode()
    model_server.script = lambda _: Reply(body, headers={"content-type": "text/event-stream"})
    answer = await ask(model_server, request(top_logprobs=3), stream=True)
    assert answer.text == "4."
    assert answer.choices is not None
    assert [(choice.token, choice.top[:1]) for choice in answer.choices] == [("4", (("five", -0.25),)), (".", ())]


async def test_finish_reason_and_usage_may_be_missing(model_server: ModelServer) -> None:
    model_server.script = lambda body: Reply({"choices": [{"message": {"content": "4"}}]})
    assert await ask(model_server) == Completion("4", "unknown", 0, 0)


# -- failures ----------------------------------------------------------------------------------------------------


def _error(message: str, **more: Any) -> dict[str, Any]:
    return {"error": {"message": message, **more}}


@pytest.mark.parametrize("code", [401, 403])
async def test_a_refused_key_stops_the_run_and_is_never_quoted(
    model_server: ModelServer, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    monkeypatch.setenv("MY_KEY", KEY)
    error = await failure(model_server, Reply(_error(f"Incorrect API key: {KEY}"), code), api_key_env="MY_KEY")
    assert isinstance(error, MissingKey)
    assert error.exit_code == 2
    assert "MY_KEY" in str(error)
    assert "is set, but was refused" in str(error)
    assert KEY not in _everything(error)


async def eight(server: ModelServer) -> list[Any]:
    """What becomes of eight requests at once."""
    teacher = OpenAITeacher(OpenAISettings(kind="openai", model="m", base_url=server.url, concurrency=8))
    asked = [teacher.sample(request(max_tokens=n), Usage()) for n in range(1, 9)]
    try:
        return await asyncio.gather(*asked, return_exceptions=True)
    finally:
        await teacher.close()


async def test_a_key_that_the_list_of_models_refuses_is_tried_twice_and_one_at_a_time(
    model_server: ModelServer,
) -> None:
    """The second refusal is about all requests: nobody else asks."""
    model_server.script = lambda body: Reply(_error("no"), 401)
    model_server.models = Reply(_error("no"), 401)
    found = await eight(model_server)
    assert (len(model_server.bodies), model_server.peak) == (2, 1)
    assert all(isinstance(each, MissingKey) and "OPENAI_API_KEY is not set" in str(each) for each in found)
    assert [each.if_answered is None for each in found] == [False] + [True] * 7


async def test_an_answer_ends_the_doubt_about_a_key(model_server: ModelServer) -> None:
    model_server.models = Reply(_error("no"), 401)
    peaks: list[int] = []

    def script(body: Body) -> str:
        peaks.append(model_server.peak)
        return "4"

    model_server.script = script
    assert [each.text for each in await eight(model_server)] == ["4"] * 8
    assert peaks[0] == 1


@pytest.mark.parametrize(
    "reply", [Reply(_error("missing scope"), 403), Reply(_error("none"), 404), Reply(b"<html>"), Reply(drop=True)]
)
async def test_a_list_of_models_is_no_condition(model_server: ModelServer, reply: Reply) -> None:
    model_server.models = reply
    assert (await ask(model_server)).text == "4"


@pytest.mark.parametrize(
    "reply",
    [
        Reply(_error(f"bad key {KEY} in header"), 400),
        Reply(_error(f"bad key {KEY} in header"), 500),
        Reply(_error(f"bad key {KEY} in header"), 429),
        Reply(_error(f"bad key {KEY} in header"), 402),
        Reply({"error": f"bad key {KEY}"}),
        Reply(f"bad key {KEY}"),
        Reply(KEY.encode()),
    ],
)
async def test_no_error_repeats_a_key_that_the_server_echoes(
    model_server: ModelServer, monkeypatch: pytest.MonkeyPatch, reply: Reply
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    error = await failure(model_server, reply)
    assert "***" in str(error)
    assert KEY not in _everything(error)


def _everything(error: BaseException) -> str:
    """The error as a traceback would show it, causes and all."""
    import traceback

    return "".join(traceback.format_exception(error)) + repr(error.__dict__)


async def test_a_model_that_is_not_there_names_those_that_are(model_server: ModelServer) -> None:
    error = await failure(model_server, Reply(_error("The model does not exist"), 404))
    assert isinstance(error, InputError)
    assert "(HTTP 404: The model does not exist)" in str(error)
    assert "its list of models has 'm'" in str(error)  # so it is not claimed that there is none
    model_server.models = Reply({"data": [{"id": "n"}]})
    error = await failure(model_server, Reply(_error("The model does not exist"), 404))
    assert "knows no model 'm' (HTTP 404: The model does not exist; it offers n): correct teacher.model" in str(error)


@pytest.mark.parametrize(
    "models", [Reply(_error("none"), 404), Reply({"data": None}), Reply([1]), Reply({"data": ["m"]}), Reply(b"no")]
)
async def test_a_missing_page_says_that_the_address_may_be_wrong(model_server: ModelServer, models: Reply) -> None:
    model_server.models = models
    error = await failure(model_server, Reply(b"<html>Not Found</html>", 404))
    assert isinstance(error, InputError)
    assert "/v1" in str(error)
    assert "teacher.base_url" in str(error)


@pytest.mark.parametrize(
    ("code", "retryable"),
    [(400, False), (413, False), (422, False), (408, True), (429, True), (500, True), (503, True)],
)
async def test_asks_again_only_where_that_can_help(model_server: ModelServer, code: int, retryable: bool) -> None:
    error = await failure(model_server, Reply(_error("context is 4096 tokens"), code))
    assert isinstance(error, RequestFailed)
    assert error.retryable is retryable
    assert f"HTTP {code}: context is 4096 tokens" in str(error)
    assert len(model_server.bodies) == 1  # the SDK itself never asks again


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("7", 7.0), ("0.25", 0.25), ("-3", 0.0), ("nan", None), ("Wed, 21 Oct 2020 07:28:00 GMT", 0.0), ("", None)],
)
async def test_reads_retry_after(model_server: ModelServer, header: str, seconds: float | None) -> None:
    error = await failure(model_server, Reply(_error("slow down"), 429, {"retry-after": header}))
    assert isinstance(error, RequestFailed)
    assert error.retry_after_s == seconds


@pytest.mark.parametrize(
    "reply",
    [
        Reply(_error("You exceeded your current quota", code="insufficient_quota", type="insufficient_quota"), 429),
        Reply(_error("You exceeded your current quota", type="insufficient_quota"), 429),
        Reply(_error("Insufficient Balance"), 402),
    ],
)
async def test_a_used_up_quota_stops_the_run(model_server: ModelServer, reply: Reply) -> None:
    error = await failure(model_server, reply)
    assert isinstance(error, TeacherDown)
    assert "quota" in str(error)
    assert "is kept" in str(error)


@pytest.mark.parametrize(
    "reply",
    [
        Reply(b"<html>502 Bad Gateway</html>"),
        Reply(b""),
        Reply(b'{"choices": [{"message": {"content": "4'),
        Reply(b"\xff\xfe\x00"),
        Reply("a string"),
        Reply([completion()]),
        Reply(None),
        Reply({}),
        Reply(_error("upstream failed")),
        Reply({"choices": None}),
        Reply({"choices": []}),
        Reply({"choices": "none"}),
        Reply({"choices": [None]}),
        Reply({"choices": [{"message": None}]}),
        Reply({"choices": [{"text": "4"}]}),
        Reply(completion([{"type": "text"}])),  # type: ignore[arg-type]
        Reply(completion(4)),  # type: ignore[arg-type]
        Reply(completion([{"type": "image_url", "image_url": {"url": "x"}}])),  # type: ignore[arg-type]
    ],
)
async def test_a_body_of_another_shape_is_a_failed_request(model_server: ModelServer, reply: Reply) -> None:
    error = await failure(model_server, reply)
    assert isinstance(error, RequestFailed)
    assert error.retryable
    assert "no chat completion" in str(error)
    assert len(str(error)) < 400


@pytest.mark.parametrize(
    "more",
    [
        {"usage": {"prompt_tokens": -1, "completion_tokens": "many"}},
        {"usage": "7"},
        {"choices": [{"message": {"content": "4"}, "finish_reason": {}, "logprobs": "none"}]},
        {"choices": [{"message": {"content": "4"}, "logprobs": {"content": [{"logprob": None}]}}]},
        {"choices": [{"message": {"content": "4"}, "logprobs": {"content": [1, FOUR]}}]},
    ],
)
async def test_nonsense_beside_the_message_does_not_cost_the_answer(
    model_server: ModelServer, more: dict[str, Any]
) -> None:
    model_server.script = lambda body: Reply({**completion(), **more})
    answer = await ask(model_server, request(top_logprobs=1))
    assert (answer.text, answer.logprobs, answer.choices) == ("4", None, None)


async def test_nonsense_among_the_likeliest_tokens_is_left_out(model_server: ModelServer) -> None:
    choice = {
        "message": {"content": "4"},
        "logprobs": {"content": [{**FOUR, "top_logprobs": [1, likely("5", -2.0)]}]},
    }
    model_server.script = lambda body: Reply({"choices": [choice]})
    answer = await ask(model_server, request(top_logprobs=1))
    assert answer.choices == (TokenChoice("4", -1.5, (("5", -2.0),)),)


@pytest.mark.parametrize(
    "reply",
    [Reply(completion(), length=10_000), Reply(drop=True), Reply(completion(), headers={"content-encoding": "gzip"})],
    ids=["half a body", "nothing", "not the encoding it says"],
)
async def test_a_broken_connection_is_a_failed_request(model_server: ModelServer, reply: Reply) -> None:
    error = await failure(model_server, reply)
    assert isinstance(error, RequestFailed)
    assert error.retryable


async def test_nobody_at_the_address_stops_the_run_at_once(model_server: ModelServer) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    teacher = OpenAITeacher(OpenAISettings(kind="openai", model="m", base_url=f"http://127.0.0.1:{port}/v1"))
    with pytest.raises(TeacherDown, match=rf"nothing answers at http://127.0.0.1:{port}/v1 .*teacher.base_url"):
        await teacher.sample(request(), Usage())
    await teacher.close()


async def test_a_slow_answer_is_given_up_after_the_timeout(model_server: ModelServer) -> None:
    model_server.script = lambda body: Reply(completion(), wait=True)
    with pytest.raises(RequestFailed, match=r"no answer within 0.2 s") as caught:
        await ask(model_server, timeout_s=0.2)
    assert caught.value.retryable
    assert model_server.wait_for(gone=1)


async def test_cancelling_ends_the_request_on_the_server(model_server: ModelServer) -> None:
    model_server.script = lambda body: Reply(completion(), wait=True)
    teacher = OpenAITeacher(OpenAISettings(kind="openai", model="m", base_url=model_server.url))
    asking = asyncio.create_task(teacher.sample(request(), Usage()))
    assert await asyncio.to_thread(model_server.wait_for, waiting=1)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert await asyncio.to_thread(model_server.wait_for, gone=1)
    await teacher.close()


async def test_close_is_safe_twice_and_before_anything() -> None:
    teacher = OpenAITeacher(OpenAISettings(kind="openai", model="m", base_url="http://localhost:1/v1"))
    await teacher.close()
    await teacher.close()


# -- in the core -------------------------------------------------------------------------------------------------


class Fine:
    """Accepts everything."""

    identity = "fine"

    async def score(self, task: Task, attempt: Attempt) -> Verdict:
        return Verdict(State.ACCEPTED, "equal")

    async def close(self) -> None:
        """Nothing to free."""


def written(folder: Path) -> bytes:
    """All that stands in the files of a folder."""
    return b"".join(path.read_bytes() for path in folder.iterdir())


async def run_core(server: ModelServer, folder: Path, tasks: int, concurrency: int = 8) -> None:
    teacher = OpenAITeacher(OpenAISettings(kind="openai", model="m", base_url=server.url, concurrency=concurrency))
    with Ledger.open(folder) as ledger:
        core = Core(
            teacher,
            Fine(),
            Until(max_attempts=1),
            ledger,
            sampling=SamplingParams(),
            seed=0,
            retry=RetrySettings(attempts=2, base_s=0),
        )
        try:
            await core.run([Task(str(i), user(f"{i}?"), "4", "test") for i in range(tasks)], lambda outcome: None)
        finally:
            await teacher.close()


async def test_no_more_in_flight_than_concurrency(model_server: ModelServer, tmp_path: Path) -> None:
    model_server.script = lambda body: Reply(completion(), wait=True)
    running = asyncio.create_task(run_core(model_server, tmp_path, tasks=12, concurrency=3))
    assert await asyncio.to_thread(model_server.wait_for, waiting=3)
    model_server.release()
    await running
    assert model_server.peak == 3
    assert len(model_server.bodies) == 12


async def test_a_failed_request_is_asked_again_and_nothing_else_is(model_server: ModelServer, tmp_path: Path) -> None:
    seen: set[str] = set()

    def flaky(body: dict[str, Any]) -> str | Reply:
        question = body["messages"][-1]["content"]
        if question in seen:
            return "4"
        seen.add(question)
        return Reply(_error("overloaded"), 500)

    model_server.script = flaky
    await run_core(model_server, tmp_path, tasks=6)
    assert len(model_server.bodies) == 12


async def test_a_refused_prompt_is_not_asked_again(model_server: ModelServer, tmp_path: Path) -> None:
    model_server.script = lambda body: (
        Reply(_error("too long"), 400) if body["messages"][-1]["content"] == "3?" else "4"
    )
    await run_core(model_server, tmp_path, tasks=6)
    asked = [body["messages"][-1]["content"] for body in model_server.bodies]
    assert asked.count("3?") == 3  # three draws of it failed for good, each asked once
    assert len(asked) == 5 + 3


async def test_a_key_echoed_by_the_server_never_reaches_the_ledger(
    model_server: ModelServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    replies = iter([Reply(_error(f"key {KEY}"), 400), *[Reply(_error(f"key {KEY}"), 401)] * 9])
    model_server.script = lambda body: next(replies)
    with pytest.raises(MissingKey):
        await run_core(model_server, tmp_path, tasks=4, concurrency=1)
    kept = written(tmp_path)
    assert b"HTTP 400: key ***" in kept
    assert KEY.encode() not in kept


# -- settings ----------------------------------------------------------------------------------------------------


def test_identity_says_what_is_asked_and_not_where() -> None:
    a = OpenAITeacher(OpenAISettings(kind="openai", model="m", base_url="http://a:1/v1", concurrency=1, timeout_s=1))
    b = OpenAITeacher(OpenAISettings(kind="openai", model="m", base_url="http://b:2/v1"))
    c = OpenAITeacher(
        OpenAISettings(kind="openai", model="m", base_url="http://a:1/v1", extra_body={"reasoning_effort": "low"})
    )
    assert a.identity == b.identity == "openai:m"
    assert c.identity not in (
        a.identity,
        OpenAITeacher(OpenAISettings(kind="openai", model="n", base_url="http://a:1/v1")).identity,
    )


def test_openai_itself_needs_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(MissingKey, match=r"OPENAI_API_KEY is not set: export it .* or set teacher.base_url"):
        OpenAITeacher(OpenAISettings(kind="openai", model="gpt-x"))


async def test_the_environment_may_name_the_server(
    model_server: ModelServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", model_server.url)
    teacher = OpenAITeacher(OpenAISettings(kind="openai", model="m"))
    assert (await teacher.sample(request(), Usage())).text == "4"
    await teacher.close()


@pytest.mark.parametrize("key", [f"{KEY}\nX-Evil: 1", f"{KEY}é", f"{KEY}\x7f"])
def test_what_cannot_be_a_key_is_refused_without_showing_it(monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    monkeypatch.setenv("MY_KEY", key)
    with pytest.raises(MissingKey, match="MY_KEY holds characters that no key has") as caught:
        OpenAITeacher(
            OpenAISettings(kind="openai", model="m", base_url="http://localhost:1/v1", api_key_env="MY_KEY")
        )
    assert KEY not in _everything(caught.value)


async def test_an_address_with_secrets_is_never_shown_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    monkeypatch.setenv("OPENAI_BASE_URL", f"http://me:{KEY}@127.0.0.1:{port}/v1")
    teacher = OpenAITeacher(OpenAISettings(kind="openai", model="m"))
    with pytest.raises(TeacherDown) as caught:
        await teacher.sample(request(), Usage())
    await teacher.close()
    assert f"http://127.0.0.1:{port}/v1" in str(caught.value)
    assert KEY not in _everything(caught.value)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"base_url": f"http://me:{KEY}@localhost/v1"}, "user name or password"),
        ({"base_url": f"http://{KEY}@localhost/v1"}, "user name or password"),
        ({"base_url": f"http://localhost/v1?key={KEY}"}, "a key in a query"),
        ({"base_url": "localhost:8000/v1"}, "must begin with http"),
        ({"base_url": "http:///v1"}, "must begin with http"),
        ({"base_url": ""}, "must begin with http"),
        ({"api_key_env": KEY}, "never the key itself"),
        ({"extra_body": {"api_key": KEY}}, "looks like a secret"),
        ({"extra_body": {"Authorization": KEY}}, "looks like a secret"),
        ({"api_key": KEY}, "Extra inputs"),
    ],
)
def test_settings_refuse_secrets_without_showing_them(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said) as caught:
        OpenAISettings.model_validate({"kind": "openai", "model": "m", **settings})
    assert KEY not in str(caught.value)


@pytest.mark.parametrize("url", [None, "http://localhost:8000/v1", "https://[::1]:8000/v1", "https://gateway/openai"])
def test_settings_take_addresses(url: str | None) -> None:
    assert OpenAISettings(kind="openai", model="m", base_url=url).base_url == url


def test_settings_take_sampling_settings_with_token_in_their_name() -> None:
    body = {"stop_token_ids": [1], "skip_special_tokens": False, "chat_template_kwargs": {"enable_thinking": False}}
    assert OpenAISettings(kind="openai", model="m", extra_body=body).extra_body == json.loads(json.dumps(body))
