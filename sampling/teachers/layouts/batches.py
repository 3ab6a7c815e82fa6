"""Outputs of batch APIs: one line for each request, found by its `custom_id`.

    {"id": "b1", "custom_id": "t1", "response": {"status_code": 200, "body": {"choices": […]}}, "error": null}
    {"custom_id": "t1", "result": {"type": "succeeded", "message": {"content": […], "stop_reason": "end_turn"}}}

The first is OpenAI's (https://platform.openai.com/docs/guides/batch) and vLLM's
(https://docs.vllm.ai/en/latest/cli/run-batch.html), whose body may be a chat completion, a completion or a response;
the second is Anthropic's (https://docs.anthropic.com/en/docs/build-with-claude/batch-processing).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stillroom.common.fields import found_at, no_field
from stillroom.errors import InputError
from stillroom.sampling.teachers.layouts.base import Laid, Layout, Values, ended, said_in
from stillroom.sampling.teachers.openai.parts import read_parts, words_of


def _id_of(row: Values, *others: str) -> str:
    if isinstance(row.get("custom_id"), str) and any(name in row for name in others):
        return str(row["custom_id"])
    told = no_field(row, "custom_id")
    raise InputError(f"not an output line of a batch, which has custom_id and {others[0]}: {told}")


def _openai_batch(row: Values) -> Laid:
    task = _id_of(row, "response", "error")
    body, status = found_at(row, "response.body"), found_at(row, "response.status_code")
    failed = row.get("error") or (isinstance(status, int) and not 200 <= status < 300)
    if failed or not isinstance(body, Mapping) or body.get("error"):
        return []
    return [{"task_id": task, **each} for each in body_of(body)]


def body_of(body: Values) -> Laid:
    """The attempts in the body of a reply, without task or prompt. Raises InputError for one without answers."""
    if isinstance(body.get("output"), list) and "choices" not in body:
        return [_response(body)]
    choices = body.get("choices")
    if not isinstance(choices, list) or not choices:
        raise InputError(f"the body of the reply has no choices: {no_field(body, 'choices')}")
    counts = _counted(body, "prompt_tokens", "completion_tokens") if len(choices) == 1 else {}
    return [{**_choice(choice), **counts} for choice in choices]


def _choice(choice: Any) -> dict[str, Any]:
    if isinstance(choice, Mapping) and isinstance(choice.get("text"), str) and "message" not in choice:
        return {"text": choice["text"], **ended(choice)}
    message = choice.get("message") if isinstance(choice, Mapping) else None
    if not isinstance(message, Mapping):
        raise InputError("a choice of the reply has no message")
    return {**said_in(message), **ended(choice)}


def _response(body: Values) -> dict[str, Any]:
    """The answer of the Responses API, whose output is a list of messages and of summaries of the thinking."""
    items = [item for item in body["output"] if isinstance(item, Mapping)]
    messages = [item for item in items if item.get("type") == "message"]
    if not messages:
        raise InputError("the output of the reply has no message")
    parts = [read_parts(item.get("content")) for item in messages]
    thinking = "".join(words_of(item) for item in items if item.get("type") == "reasoning")
    said = found_at(body, "incomplete_details.reason") or body.get("status")
    return {
        "text": "".join(each.text for each in parts if each is not None),
        **({"reasoning": thinking} if thinking else {}),
        **({} if said is None else {"finish_reason": said}),
        **_counted(body, "input_tokens", "output_tokens"),
    }


def _counted(body: Values, prompt: str, completion: str) -> dict[str, Any]:
    found = {
        "prompt_tokens": found_at(body, f"usage.{prompt}"),
        "completion_tokens": found_at(body, f"usage.{completion}"),
    }
    return {name: value for name, value in found.items() if value is not None}


def _anthropic_batch(row: Values) -> Laid:
    task, result = _id_of(row, "result"), row["result"]
    if not isinstance(result, Mapping) or not isinstance(result.get("type"), str):
        raise InputError("the result of the batch has no type")
    if result["type"] != "succeeded":
        return []
    message = result.get("message")
    if not isinstance(message, Mapping):
        raise InputError("the result of the batch has no message")
    counts = _counted(message, "input_tokens", "output_tokens")
    return [{"task_id": task, **said_in(message), **ended(message), **counts}]


BATCHES = {
    "openai_batch": Layout(
        "output lines of OpenAI's Batch API or of vLLM's run-batch",
        lambda row: "custom_id" in row and ("response" in row or "error" in row),
        _openai_batch,
        joined_by_id=True,
    ),
    "anthropic_batch": Layout(
        "results of Anthropic's Message Batches",
        lambda row: "custom_id" in row and isinstance(row.get("result"), Mapping),
        _anthropic_batch,
        joined_by_id=True,
    ),
}
