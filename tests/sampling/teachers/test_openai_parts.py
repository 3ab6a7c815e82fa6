"""Content and thinking in any packing, and what stands next to a paid answer: never a reason to buy it twice."""

from __future__ import annotations

import json
from typing import Any

import pytest

from stillroom.common.records import Completion, Request, SamplingParams, Usage, user
from stillroom.sampling.teachers.openai import OpenAISettings
from stillroom.sampling.teachers.openai.parts import words_of
from stillroom.sampling.teachers.openai.teacher import OpenAITeacher
from tests.conftest import ModelServer, Reply, completion


async def ask(server: ModelServer, reply: Reply, usage: Usage, *, stream: bool = False, top: int = 0) -> Completion:
    server.script = lambda body: reply
    settings = OpenAISettings(kind="openai", model="m", base_url=server.url, stream=stream)
    teacher = OpenAITeacher(settings)
    try:
        return await teacher.sample(Request("t", 0, user("q"), SamplingParams(top_logprobs=top), 1), usage)
    finally:
        await teacher.close()


def text(words: str) -> dict[str, str]:
    return {"type": "text", "text": words}


MESSAGES: list[tuple[dict[str, Any], str | None, str]] = [
    ({"content": [text("4"), text("2")]}, None, "42"),
    ({"content": ["4", text("2")]}, None, "42"),
    ({"content": text("42")}, None, "42"),
    ({"content": [{"type": "thinking", "thinking": [text("hm")]}, text("42")]}, "hm", "42"),
    ({"content": [{"type": "thinking", "thinking": "hm", "signature": "x"}, text("42")]}, "hm", "42"),
    ({"content": [{"type": "reasoning", "text": "hm"}, {"type": "output_text", "text": "42"}]}, "hm", "42"),
    ({"content": [{"text": "hm", "thought": True}, {"text": "42"}]}, "hm", "42"),
    ({"content": "42", "reasoning": {"content": "hm", "tokens": 3}}, "hm", "42"),
    ({"content": "42", "reasoning": ["h", "m"]}, "hm", "42"),
    ({"content": "42", "reasoning_details": [{"type": "reasoning.text", "text": "hm"}]}, "hm", "42"),
    ({"content": "42", "reasoning": "hm", "reasoning_details": [{"summary": "hm"}]}, "hm", "42"),
    ({"content": "42", "thinking_blocks": [{"type": "thinking", "thinking": "hm"}]}, "hm", "42"),
    ({"content": "42", "reasoning_details": [{"type": "reasoning.encrypted", "data": "gAAAA"}]}, None, "42"),
    ({"content": "42", "reasoning": 7}, None, "42"),
    ({"content": "42", "reasoning": {"effort": "high"}}, None, "42"),
    ({"content": "42", "reasoning": True}, None, "42"),
    ({"content": [text("42"), {"type": "image_url", "image_url": {"url": "x"}}]}, None, "42"),
    ({"content": None, "refusal": [{"refusal": "no"}]}, None, "no"),
]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("message", "thinking", "said"), MESSAGES)
async def test_words_are_taken_out_and_thinking_kept_apart(
    model_server: ModelServer, message: dict[str, Any], thinking: str | None, said: str, stream: bool
) -> None:
    reply = Reply({"choices": [{"message": message, "finish_reason": "stop"}]})
    if stream:
        lines = [{"choices": [{"delta": message}]}, {"choices": [{"delta": {}, "finish_reason": "stop"}]}]
        body = "".join(f"data: {json.dumps(line)}\n\n" for line in lines).encode()
        reply = Reply(body, headers={"content-type": "text/event-stream"})
    answer = await ask(model_server, reply, Usage(), stream=stream)
    assert (answer.reasoning, answer.text) == (thinking, said)
    assert len(model_server.bodies) == 1


def test_what_is_nested_without_end_has_no_words() -> None:
    value: Any = "deep"
    for _ in range(5000):
        value = [value]
    assert words_of(value) == ""


def logprob(value: Any) -> dict[str, Any]:
    return {"logprobs": {"content": [{"token": "4", "logprob": -0.5}, {"token": "2", "logprob": value}]}}


@pytest.mark.parametrize(
    ("choice", "more", "odd"),
    [
        (logprob(None), b"", True),
        (logprob("-inf"), b"", True),
        ({"logprobs": None}, b"", True),  # they were asked for
        (logprob(-0.25), b"", False),
        (logprob(-0.25), {"usage": {"prompt_tokens": -1, "completion_tokens": 3}}, True),
        (logprob(-0.25), {"usage": {"prompt_tokens": 7, "completion_tokens": 12.5}}, True),
        (logprob(-0.25), {"usage": [7]}, True),
        (logprob(-0.25), {"usage": None}, False),  # estimated, and counted as that
        (logprob(-0.25), {"system_fingerprint": {"a": [1]}, "created": "now"}, False),
    ],
)
async def test_a_side_field_never_costs_the_answer_and_is_counted(
    model_server: ModelServer, choice: dict[str, Any], more: Any, odd: bool
) -> None:
    body = completion("42")
    body["choices"][0] |= choice
    usage = Usage()
    answer = await ask(model_server, Reply(body | (more or {})), usage, top=1)
    assert (answer.text, usage.odd, len(model_server.bodies)) == ("42", odd, 1)
    assert (answer.logprobs is None) == (choice != logprob(-0.25))


@pytest.mark.parametrize("value", ["-Infinity", "NaN", "1e999"])
async def test_numbers_that_json_has_not(model_server: ModelServer, value: str) -> None:
    body = completion("42 \ud800")
    body["choices"][0] |= logprob(0)
    wire = json.dumps(body).replace('"logprob": 0}', f'"logprob": {value}}}').encode()
    answer = await ask(model_server, Reply(wire), usage := Usage(), top=1)
    assert (answer.text, answer.logprobs, usage.odd) == ("42 \ufffd", None, True)
