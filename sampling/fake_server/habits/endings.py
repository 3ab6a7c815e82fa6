"""Habits about why an answer ended: the words of all servers for it, by turns, and those that say nothing.

The words are those of `sampling.teachers.endings`, which names where they are documented.
"""

from __future__ import annotations

from typing import Any

from stillroom.sampling.fake_server.exchange import Asked
from stillroom.sampling.fake_server.habits import Habit, Parts, dropping, in_choices, setting

STOPS = ("eos", "end_turn", "stop_sequence", "STOP", "COMPLETE", "eos_token", "FinishReason.STOP")
LENGTHS = ("max_tokens", "MAX_TOKENS", "model_length", "length_limit", "max_output_tokens", "token_limit")
FILTERS = ("content_filter", "SAFETY", "RECITATION", "PROHIBITED_CONTENT", "refusal", "guardrail_intervened")
FAILURES = ("error", "abort", "cancelled", "ERROR_LIMIT", "insufficient_system_resource")


def _by_turns(words: tuple[str, ...]) -> Any:
    return in_choices(lambda choice, asked: choice.update(finish_reason=words[asked.number % len(words)]))


def _cut(choice: dict[str, Any], asked: Asked) -> None:
    """Half the text, as if a limit had come."""
    text = choice["message"]["content"]
    choice["message"]["content"] = text[: len(text) // 2]
    choice["finish_reason"] = LENGTHS[asked.number % len(LENGTHS)]


def _cut_natively(choice: dict[str, Any], asked: Asked) -> None:
    """Half the text, of which the proxy before the server makes `stop`."""
    _cut(choice, asked)
    native = {"native_finish_reason": choice["finish_reason"]}
    choice |= {"finish_reason": "stop", **(native if asked.number % 2 else {"provider_specific_fields": native})}


def _failed(choice: dict[str, Any], asked: Asked) -> None:
    if not asked.again:
        choice["finish_reason"] = FAILURES[asked.number % len(FAILURES)]
        choice["message"]["content"] = choice["message"]["content"][:4]


def _camel_case(choice: dict[str, Any], asked: Asked) -> None:
    choice["finishReason"] = choice["finish_reason"].upper()
    choice["finish_reason"] = None


def _empty_in_each(parts: Parts, asked: Asked) -> Parts:
    for part in parts:
        for choice in part["choices"] if isinstance(part, dict) else ():
            choice["finish_reason"] = choice.get("finish_reason") or ""
    return parts


def _tool_calls(choice: dict[str, Any], asked: Asked) -> None:
    call = {"id": "call_1", "type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}}
    choice["message"] |= {"content": None, "tool_calls": [call]}
    choice["finish_reason"] = "tool_calls"


HABITS = (
    Habit(
        "finish_stop_words", "`end_turn`, `eos`, `STOP`, `COMPLETE`, … for `stop`, by turns", change=_by_turns(STOPS)
    ),
    Habit("finish_length_words", "half the text, with `MAX_TOKENS`, `model_length`, …", change=in_choices(_cut)),
    Habit("finish_filter_words", "`SAFETY`, `RECITATION`, `refusal`, …, by turns", change=_by_turns(FILTERS)),
    Habit(
        "finish_failed_words",
        "half an answer that ends with `error`, `abort`, …, once for each request",
        change=in_choices(_failed),
    ),
    Habit("finish_unknown_always", "a word that nobody knows", change=in_choices(setting(finish_reason="glorp"))),
    Habit("finish_null", "`finish_reason: null`", change=in_choices(setting(finish_reason=None))),
    Habit("finish_missing", "no `finish_reason`", change=in_choices(dropping("finish_reason"))),
    Habit("finish_empty", '`finish_reason: ""`', change=in_choices(setting(finish_reason=""))),
    Habit(
        "finish_object",
        '`finish_reason: {"type": "stop"}` (SGLang)',
        change=in_choices(lambda choice, asked: choice.update(finish_reason={"type": choice["finish_reason"]})),
    ),
    Habit(
        "finish_in_camel_case",
        '`finish_reason: null` next to `finishReason: "STOP"` (Gemini)',
        change=in_choices(_camel_case),
    ),
    Habit(
        "finish_native_only",
        "half the text, with `stop` next to `native_finish_reason: MAX_TOKENS` (OpenRouter, LiteLLM)",
        change=in_choices(_cut_natively),
    ),
    Habit(
        "finish_empty_in_each_part",
        '`finish_reason: ""` in each part of a stream but the last (Ollama, SGLang)',
        parts=_empty_in_each,
        recipe="stream: true",
    ),
    Habit("tool_calls_only", "a call of a tool in the place of an answer", change=in_choices(_tool_calls)),
)
