"""Whose fault it is: a refusal of one prompt, of the key, of the model; and errors in the place of an answer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from stillroom.common.records import Outcome, Request, SamplingParams, Task, Usage, user
from stillroom.errors import InputError, MissingKey, RequestFailed, StillroomError
from stillroom.sampling.core import Core
from stillroom.sampling.ledger import Ledger
from stillroom.sampling.policy import Until
from stillroom.sampling.scorers.none import FinishedScorer
from stillroom.sampling.teachers.base import RetrySettings
from stillroom.sampling.teachers.openai import OpenAISettings
from stillroom.sampling.teachers.openai.faults import said_in, status_of
from stillroom.sampling.teachers.openai.teacher import OpenAITeacher
from tests.conftest import Body, ModelServer, Reply, completion

PAGE = (
    b"<!DOCTYPE html><html><head><title>Blocked</title><style>p{}</style></head><body><p>Your ID 7</p></body></html>"
)
KEY = "sk-proj-a1B2c3D4e5F6g7H8"
DENIED = {
    "403 page": Reply(PAGE, 403, {"content-type": "text/html"}),
    "403": Reply({"error": {"message": "prompt not allowed"}}, 403),
    "401": Reply({"error": {"message": "prompt not allowed"}}, 401),
    "404": Reply({"detail": "no such prompt"}, 404),
    "200 with 403": Reply({"error": {"code": 403, "message": "prompt not allowed"}}),
}
QUOTED = ["Blocked Your ID 7", "prompt not allowed", "prompt not allowed", "no such prompt", "prompt not allowed"]


def teacher(server: ModelServer, **settings: Any) -> OpenAITeacher:
    return OpenAITeacher(OpenAISettings(kind="openai", model="m", base_url=server.url, **settings))


async def run(folder: Path, server: ModelServer, *, tasks: int = 20, **settings: Any) -> tuple[Core, list[Outcome]]:
    outcomes: list[Outcome] = []
    asked = teacher(server, **settings)
    with Ledger.open(folder) as ledger:
        core = Core(
            asked,
            FinishedScorer(),
            Until(per_task=1, max_attempts=1),
            ledger,
            sampling=SamplingParams(),
            seed=0,
            retry=RetrySettings(attempts=2, base_s=0),
        )
        try:
            await core.run((Task(str(i), user(f"q{i}"), None, "test") for i in range(tasks)), outcomes.append)
        finally:
            await asked.close()
    return core, outcomes


def but_for(prompt: str, reply: Reply) -> Any:
    return lambda body: reply if body["messages"][-1]["content"] == prompt else Reply(completion("4"))


@pytest.mark.parametrize("concurrency", [1, 64])
@pytest.mark.parametrize("prompt", ["q7", "q19"])
@pytest.mark.parametrize(("reply", "said"), list(zip(DENIED.values(), QUOTED, strict=True)), ids=list(DENIED))
async def test_one_prompt_that_is_refused_is_one_failure_also_in_the_rerun(
    model_server: ModelServer, tmp_path: Path, reply: Reply, said: str, prompt: str, concurrency: int
) -> None:
    model_server.script = but_for(prompt, reply)
    for _ in range(2):  # the second call asks for nothing else
        core, outcomes = await run(tmp_path, model_server, concurrency=concurrency)
        assert (core.counts.satisfied, core.counts.gave_up) == (19, 1)
        assert said in core.counts.last_failure
        assert len(outcomes) == 20


async def test_the_first_prompt_may_be_the_one_that_is_refused(model_server: ModelServer, tmp_path: Path) -> None:
    """Its refusals come first, and come alone."""
    model_server.script = but_for("q0", DENIED["403"])
    core, _ = await run(tmp_path, model_server, concurrency=2)
    assert (core.counts.satisfied, core.counts.gave_up) == (19, 1)


@pytest.mark.parametrize("concurrency", [1, 64])
@pytest.mark.parametrize(
    ("name", "error", "said"),
    [
        ("403 page", MissingKey, r"answered 403 \(an HTML page: Blocked Your ID 7\) .* the key was refused"),
        ("401", MissingKey, r"answered 401 \(prompt not allowed\) .* the key was refused"),
        ("404", InputError, r"refused the model 'm' \(HTTP 404: no such prompt\)"),
    ],
)
async def test_where_nobody_was_ever_answered_it_is_the_key_or_the_model(
    model_server: ModelServer, tmp_path: Path, name: str, error: type[Exception], said: str, concurrency: int
) -> None:
    model_server.script = lambda body: DENIED[name]
    with pytest.raises(error, match=said):
        await run(tmp_path, model_server, concurrency=concurrency)


async def test_what_is_quoted_holds_no_key_and_is_short(
    model_server: ModelServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    model_server.script = lambda body: Reply({"error": {"message": f"key {KEY} " + "x" * 10_000}}, 403)
    asked = teacher(model_server)
    with pytest.raises(MissingKey) as caught:
        await asked.sample(request(), Usage())
    await asked.close()
    assert "key *** xxx" in str(caught.value)
    assert KEY not in str(caught.value)
    assert len(str(caught.value)) < 600


# -- an error in the place of an answer -----------------------------------------------------------------------------


def request() -> Request:
    return Request("t", 0, user("2 + 2?"), SamplingParams(), 1)


async def failure(server: ModelServer, reply: Reply, **settings: Any) -> StillroomError:
    server.script = lambda body: reply
    asked = teacher(server, **settings)
    try:
        with pytest.raises(StillroomError) as caught:
            await asked.sample(request(), Usage())
    finally:
        await asked.close()
    return caught.value


def in_choice(error: Any) -> Body:
    body = completion("half", finish="error")
    body["choices"][0]["error"] = error
    return body


def streamed(*pieces: Any) -> Reply:
    lines = [f"data: {piece if isinstance(piece, str) else json.dumps(piece)}\n\n" for piece in pieces]
    return Reply("".join(lines).encode(), headers={"content-type": "text/event-stream"})


HALF = {"choices": [{"delta": {"content": "half"}}]}
SLOW = {"code": 429, "message": "slow down, try again in 7s"}
BAD = {"code": "context_length_exceeded", "message": "too long"}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("error", "retryable", "too_many"),
    [(SLOW, True, True), (BAD, False, False), ({"message": "upstream failed"}, True, False), ("gone", True, False)],
)
@pytest.mark.parametrize("place", ["body", "body with choices", "choice"])
async def test_an_error_is_judged_by_its_code_and_half_a_text_is_nothing(
    model_server: ModelServer, place: str, error: Any, retryable: bool, too_many: bool, stream: bool
) -> None:
    if stream:
        last = {"choices": [{"delta": {}, "error": error}]} if place == "choice" else {"error": error}
        if place == "body with choices":
            last["choices"] = [{"delta": {"content": ""}, "finish_reason": "error"}]
        reply = streamed(HALF, last, "[DONE]")
    else:
        bodies = {"body": {"error": error}, "body with choices": {**completion("half"), "error": error}}
        reply = Reply(bodies.get(place) or in_choice(error))
    found = await failure(model_server, reply, stream=stream)
    assert isinstance(found, RequestFailed)
    assert (found.retryable, found.too_many, found.retry_after_s) == (retryable, too_many, 7.0 if too_many else None)
    assert "no chat completion but an error: " in str(found)


async def test_no_error_is_none(model_server: ModelServer) -> None:
    model_server.script = lambda body: Reply({**completion("4"), "error": None})
    asked = teacher(model_server)
    assert (await asked.sample(request(), Usage())).text == "4"
    await asked.close()


@pytest.mark.parametrize(
    ("error", "status"),
    [
        ({"code": "429"}, 429),
        ({"code": 8, "status": "RESOURCE_EXHAUSTED"}, 429),
        ({"type": "rate_limit_error"}, 429),
        ({"type": "overloaded_error"}, 503),
        ({"type": "BadRequestError", "code": None}, 400),
        ({"type": "invalid_request_error", "code": "invalid_api_key"}, 401),
        ({"code": "model_not_found"}, 404),
        ({"code": 200}, 500),
        ({"code": "9" * 5000}, 500),
        ({"code": {"a": 1}}, 500),
        (["x"], 500),
    ],
)
def test_what_an_error_amounts_to(error: Any, status: int) -> None:
    assert status_of(error) == status


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (PAGE, "an HTML page: Blocked Your ID 7"),
        (b'[{"error": {"message": "no"}}]', "no"),
        (b'{"detail": "no"}', "no"),
        (b"plain", "plain"),
        (b"", ""),
        (b"<html>" + b"<" * 50_000, "an HTML page: " + "<" * 50_000),
    ],
)
def test_what_a_body_says(body: bytes, said: str) -> None:
    assert said_in(body) == said
