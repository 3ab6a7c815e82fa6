"""Habits about what the answer is packed in: parts, thinking in a dozen places, nothing at all, or far too much.

They hold for streams as well: a list goes an item at a time, a text a word at a time.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from stillroom.sampling.fake_server.exchange import Asked
from stillroom.sampling.fake_server.habits import Habit, in_choices, in_messages, setting

THOUGHT = "Let me think about it. It is not hard."
_HUGE = 2**20


def _content(made: Callable[[str], Any]) -> Any:
    """The content of each message is made of its text."""
    return in_messages(lambda message, asked: message.update(content=made(message["content"])))


def _text_part(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}


def _parts(text: str) -> list[Any]:
    return [_text_part(text[: len(text) // 2]), _text_part(text[len(text) // 2 :])]


def _thinking_parts(text: str) -> list[Any]:
    """Mistral's thinking part, which holds parts itself."""
    return [{"type": "thinking", "thinking": [_text_part(THOUGHT)], "closed": True}, _text_part(text)]


def _with_image(text: str) -> list[Any]:
    return [_text_part(text), {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}]


def _refusal(message: dict[str, Any], asked: Asked) -> None:
    message |= {"content": None, "refusal": "I cannot help with that."}


def _labelled_twice(message: dict[str, Any], asked: Asked) -> None:
    """OpenRouter sends the same thinking as a text and in details."""
    message |= {"reasoning": THOUGHT, "reasoning_details": [{"type": "reasoning.text", "text": THOUGHT, "index": 0}]}


def _no_choices(whole: dict[str, Any], asked: Asked) -> dict[str, Any]:
    return whole if asked.again else {**whole, "choices": []}


def _null_choices(whole: dict[str, Any], asked: Asked) -> dict[str, Any]:
    return whole if asked.again else {**whole, "choices": None}


def _extra_choices(whole: dict[str, Any], asked: Asked) -> dict[str, Any]:
    """More choices than were asked for."""
    first = whole["choices"][0]
    other = {**first, "index": 1, "message": {**first["message"], "content": "Another answer."}}
    return {**whole, "choices": [*whole["choices"], other]}


def _fewer_choices(whole: dict[str, Any], asked: Asked) -> dict[str, Any]:
    return {**whole, "choices": whole["choices"][:1]}


def _thought_only(choice: dict[str, Any], asked: Asked) -> None:
    """The limit came within the thinking."""
    choice["message"] |= {"content": "", "reasoning_content": THOUGHT}
    choice["finish_reason"] = "length"


def _never_closed(choice: dict[str, Any], asked: Asked) -> None:
    choice["message"]["content"] = f"<think>\n{THOUGHT}"
    choice["finish_reason"] = "length"


def _reasoning(**fields: Any) -> Any:
    return in_messages(setting(**fields))


HABITS = (
    Habit("content_parts", "the content is a list of text parts", change=_content(_parts)),
    Habit("content_object", "the content is an object with a text", change=_content(_text_part)),
    Habit("content_with_image", "a text part and an image", change=_content(_with_image)),
    Habit("content_number", "the content is a number", change=_content(lambda text: 7)),
    Habit("thinking_parts", "a thinking part before the text part (Mistral)", change=_content(_thinking_parts)),
    Habit("reasoning_content", "thinking in `reasoning_content`", change=_reasoning(reasoning_content=THOUGHT)),
    Habit("reasoning_text", "thinking in `reasoning`", change=_reasoning(reasoning=THOUGHT)),
    Habit(
        "reasoning_content_object",
        '`reasoning_content: {"text": …}` (Bedrock behind Envoy)',
        change=_reasoning(reasoning_content={"text": THOUGHT}),
    ),
    Habit(
        "reasoning_details",
        "thinking twice, as a text and in `reasoning_details`",
        change=in_messages(_labelled_twice),
    ),
    Habit(
        "reasoning_list",
        "`reasoning` is a list of parts",
        change=_reasoning(reasoning=[{"type": "summary_text", "text": THOUGHT}]),
    ),
    Habit(
        "reasoning_object",
        "`reasoning` is an object",
        change=_reasoning(reasoning={"content": THOUGHT, "tokens": 9}),
    ),
    Habit(
        "reasoning_encrypted",
        "`reasoning_details` without a word that one can read",
        change=_reasoning(reasoning_details=[{"type": "reasoning.encrypted", "data": "gAAAAAB=="}]),
    ),
    Habit(
        "thinking_blocks",
        "thinking in `thinking_blocks` with a signature (Anthropic by LiteLLM)",
        change=_reasoning(thinking_blocks=[{"type": "thinking", "thinking": THOUGHT, "signature": "c2ln"}]),
    ),
    Habit(
        "think_tags_in_content",
        "`<think>…</think>` before the text",
        change=_content(lambda text: f"<think>\n{THOUGHT}\n</think>\n\n{text}"),
    ),
    Habit(
        "think_tag_closed_only",
        "thinking that only ends, with `</think>`: the template had opened it",
        change=_content(lambda text: f"{THOUGHT}\n</think>\n\n{text}"),
    ),
    Habit("think_never_closed", "thinking that is cut off, within the text", change=in_choices(_never_closed)),
    Habit("thought_only", "thinking that is cut off, and an empty text", change=in_choices(_thought_only)),
    Habit(
        "thought_only_stopped",
        "thinking, `content: null`, and the end that a whole answer has",
        change=_reasoning(content=None, reasoning_content=THOUGHT),
    ),
    Habit(
        "lone_surrogate",
        "half a surrogate pair at the end of the text",
        change=_content(lambda text: f"{text}\ud83d"),
    ),
    Habit(
        "control_characters",
        "NUL and an escape sequence of terminals at the end of the text",
        change=_content(lambda text: f"{text}\x00\x1b[2J"),
    ),
    Habit("empty_content", "an empty text", change=_content(lambda text: "")),
    Habit("null_content", "`content: null`", change=_content(lambda text: None)),
    Habit("refusal", "`content: null` and a `refusal` in words", change=in_messages(_refusal)),
    Habit("no_choices", "`choices: []` once for each request", change=_no_choices),
    Habit("choices_null", "`choices: null` once for each request", change=_null_choices),
    Habit("extra_choices", "one more choice than was asked for", change=_extra_choices),
    Habit("fewer_choices", "one choice, whatever `n` is", change=_fewer_choices),
    Habit(
        "json_in_fences",
        "the answer as JSON between fences",
        change=_content(lambda text: f"```json\n{json.dumps({'answer': text})}\n```"),
    ),
    Habit(
        "huge_answer",
        "1 MiB of text",
        change=_content(lambda text: f"{text}\n" + "word " * (_HUGE // 5)),
    ),
)
