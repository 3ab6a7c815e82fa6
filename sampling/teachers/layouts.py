"""Layouts of recordings: rows as other tools write answers down, made into rows with the fields of our own.

    openai_batch    an output line of OpenAI's Batch API or of vLLM's run-batch; its task is `custom_id`
    messages        a conversation that ends with the answer, as `messages` or `conversations` (OpenThoughts too)
    openr1          a `problem` with several `generations` and their grades

What a batch reports as failed gives no attempt, and is counted. A row that is not of the layout is refused.

>>> laid_out("messages", {"messages": [{"role": "user", "content": "2 + 2?"}, {"role": "assistant", "content": "4"}]})
[{'prompt': '2 + 2?', 'text': '4'}]
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from stillroom.common.fields import found_at, no_field
from stillroom.common.turns import are_turns, content_in, turns_in
from stillroom.errors import InputError

Values = Mapping[str, Any]

BY_TASK = "openai_batch"
"""The layout that names tasks by id; the others hold the prompt."""
_SOLUTION = ("<|begin_of_solution|>", "<|end_of_solution|>")


def laid_out(layout: str, row: Values) -> list[dict[str, Any]]:
    """The attempts of a row, each with text, and prompt or task_id; none where the request had failed. Raises
    InputError for a row of another kind."""
    return LAYOUTS[layout](row)


def plainly(row: Values) -> str | None:
    """The layout that a row is plainly of; None for one that has fields of our own, or is of none."""
    if {"text", "task_id"} & row.keys():
        return None
    if "custom_id" in row and "response" in row:
        return "openai_batch"
    if "problem" in row and isinstance(row.get("generations"), list):
        return "openr1"
    return "messages" if are_turns(row.get("messages", row.get("conversations"))) else None


def _openai_batch(row: Values) -> list[dict[str, Any]]:
    if not isinstance(row.get("custom_id"), str) or not ("response" in row or "error" in row):
        raise InputError(
            f"not an output line of a batch, which has custom_id and response: {no_field(row, 'custom_id')}"
        )
    body, status = found_at(row, "response.body"), found_at(row, "response.status_code")
    failed = row.get("error") or (isinstance(status, int) and status != 200)
    if failed or not isinstance(body, Mapping) or body.get("error"):
        return []
    choices = body.get("choices")
    if not isinstance(choices, list) or not choices:
        raise InputError("response.body has no choices")
    return [_choice(row["custom_id"], choice, body if len(choices) == 1 else {}) for choice in choices]


def _choice(task: str, choice: Any, body: Values) -> dict[str, Any]:
    message = choice.get("message") if isinstance(choice, Mapping) else None
    if not isinstance(message, Mapping):
        raise InputError("a choice of response.body has no message")
    text = message.get("content")
    found = {
        "task_id": task,
        "text": "" if text is None else content_in(text, 1),
        "reasoning": _thinking(message),
        "finish_reason": choice.get("finish_reason"),
        "prompt_tokens": found_at(body, "usage.prompt_tokens"),
        "completion_tokens": found_at(body, "usage.completion_tokens"),
    }
    return {name: value for name, value in found.items() if value is not None}


def _thinking(turn: Values) -> str | None:
    for name in ("reasoning_content", "reasoning", "thinking"):
        if isinstance(turn.get(name), str) and turn[name]:
            return str(turn[name])
    return None


def _messages(row: Values) -> list[dict[str, Any]]:
    field = next((name for name in ("messages", "conversations") if name in row), None)
    if field is None:
        raise InputError(f"not a conversation: {no_field(row, 'messages')}")
    turns = turns_in(row[field])
    if len(turns) < 2 or turns[-1].role != "assistant" or turns[-2].role != "user":
        raise InputError(f"the field {field!r} does not end with a question and its answer")
    begin, end = _SOLUTION
    text = turns[-1].content.replace(begin, "", 1).replace(end, "", 1)
    found = {"prompt": turns[-2].content, "text": text, "reasoning": _thinking(row[field][-1])}
    return [{name: value for name, value in found.items() if value is not None}]


def _openr1(row: Values) -> list[dict[str, Any]]:
    prompt, texts = row.get("problem"), row.get("generations")
    if not isinstance(prompt, str) or not isinstance(texts, list):
        missing = "problem" if not isinstance(prompt, str) else "generations"
        raise InputError(f"not a problem with generations: {no_field(row, missing)}")
    found: list[dict[str, Any]] = [{"prompt": prompt, "text": text} for text in texts]
    for name, field in (("grade", "correctness_math_verify"), ("finish_reason", "finish_reasons")):
        values = row.get(field)
        if not isinstance(values, list):
            continue
        if len(values) != len(texts):
            raise InputError(f"{len(values)} {field}, but {len(texts)} generations")
        found = [{**each, name: value} for each, value in zip(found, values, strict=True)]
    return found


LAYOUTS: dict[str, Callable[[Values], list[dict[str, Any]]]] = {
    "openai_batch": _openai_batch,
    "messages": _messages,
    "openr1": _openr1,
}
