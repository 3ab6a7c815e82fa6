"""Habits about what a request may and must hold: parameters that are refused, by the messages of those who do.

A refused parameter is one that was sent at all; its value does not matter, unless the habit says so.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from stillroom.sampling.fake_server.exchange import Asked, Reply, as_json, error, limit_of
from stillroom.sampling.fake_server.habits import Habit, in_choices, setting

_KNOWN = frozenset({"model", "messages", "prompt", "temperature", "top_p", "max_tokens", "stop", "stream", "n"})
NEEDED_HEADER, NEEDED_QUERY = "api-key", "api-version"
_MOST_TOKENS = 16


def _unsupported(name: str) -> Callable[[Asked], Reply | None]:
    """As OpenAI refuses a parameter that a model does not have."""
    said = f"Unsupported parameter: '{name}' is not supported with this model."
    return lambda asked: (
        error(400, said, param=name, code="unsupported_parameter") if asked.body.get(name) is not None else None
    )


def _only_default(name: str) -> Callable[[Asked], Reply | None]:
    """As OpenAI refuses a value."""

    def refuse(asked: Asked) -> Reply | None:
        value = asked.body.get(name)
        said = f"Unsupported value: '{name}' does not support {value} with this model. Only the default (1) value"
        refused = value not in (None, 1)
        return error(400, f"{said} is supported.", param=name, code="unsupported_value") if refused else None

    return refuse


def _deprecated(name: str) -> Callable[[Asked], Reply | None]:
    """As Anthropic refuses, without naming the parameter in a field."""
    said = f"`{name}` is deprecated for this model."
    return lambda asked: error(400, said) if asked.body.get(name) is not None else None


def _wants(wanted: str, sent: str) -> Callable[[Asked], Reply | None]:
    said = f"Unsupported parameter: '{sent}' is not supported with this model. Use '{wanted}' instead."
    return lambda asked: error(400, said, param=sent, code="unsupported_parameter") if sent in asked.body else None


def _extra_forbidden(asked: Asked) -> Reply | None:
    """As servers behind FastAPI and pydantic refuse what they do not know."""
    more = [name for name in asked.body if name not in _KNOWN]
    found = [
        {"type": "extra_forbidden", "loc": ["body", name], "msg": "Extra inputs are not permitted"} for name in more
    ]
    return as_json({"detail": found}, 422) if more else None


def _extra_in_message(asked: Asked) -> Reply | None:
    """As Mistral puts the same into the message of an error."""
    refused = _extra_forbidden(asked)
    if refused is None:
        return None
    more = [name for name in asked.body if name not in _KNOWN]
    found = [
        {"type": "extra_forbidden", "loc": ["body", name], "msg": "Extra inputs are not permitted"} for name in more
    ]
    return as_json(
        {"object": "error", "message": {"detail": found}, "type": "invalid_request_error", "code": None}, 422
    )


def _no_logprobs(asked: Asked) -> Reply | None:
    wants = asked.body.get("logprobs") or asked.body.get("top_logprobs")
    return error(400, "logprobs are not supported with reasoning models.", param="logprobs") if wants else None


def _no_system(asked: Asked) -> Reply | None:
    messages: Any = asked.body.get("messages") or []
    system = any(isinstance(each, dict) and each.get("role") == "system" for each in messages)
    return error(400, "System role not supported") if system else None


def _too_many_tokens(asked: Asked) -> Reply | None:
    most = limit_of(asked.body)
    said = f"max_tokens is too large: {most}. This model supports at most {_MOST_TOKENS} completion tokens."
    return error(400, said, param="max_tokens") if most is not None and most > _MOST_TOKENS else None


def _needs_header(asked: Asked) -> Reply | None:
    said = "Access denied due to missing subscription key."
    return None if asked.headers.get(NEEDED_HEADER) else error(401, said, code="401")


def _needs_query(asked: Asked) -> Reply | None:
    return None if asked.query.get(NEEDED_QUERY) else error(404, "Resource not found", code="404")


def _needs_stream(said: str) -> Callable[[Asked], Reply | None]:
    return lambda asked: None if asked.streams else error(400, said, code="invalid_parameter_error")


def _needs_stream_detail(asked: Asked) -> Reply | None:
    return None if asked.streams else as_json({"detail": "Stream must be set to true"}, 400)


HABITS = (
    Habit("refuses_temperature", "400 for a `temperature` (o-series)", _unsupported("temperature")),
    Habit("refuses_temperature_but_1", "400 for a `temperature` other than 1 (GPT-5)", _only_default("temperature")),
    Habit("refuses_top_p", "400 for a `top_p`, which only the message names (Claude)", _deprecated("top_p")),
    Habit(
        "wants_max_completion_tokens",
        "400 for `max_tokens`: `max_completion_tokens` instead (o-series)",
        _wants("max_completion_tokens", "max_tokens"),
    ),
    Habit(
        "wants_max_tokens",
        "400 for `max_completion_tokens`: `max_tokens` instead",
        _wants("max_tokens", "max_completion_tokens"),
    ),
    Habit("refuses_seed", "400 for a `seed`", _unsupported("seed")),
    Habit(
        "refuses_stream_options", "400 for `stream_options`", _unsupported("stream_options"), recipe="stream: true"
    ),
    Habit("refuses_stop", "400 for `stop`", _unsupported("stop")),
    Habit(
        "refuses_n",
        "400 for an `n` above 1",
        lambda asked: _unsupported("n")(asked) if asked.body.get("n") != 1 else None,
    ),
    Habit("refuses_logprobs", "400 for log-probabilities", _no_logprobs),
    Habit("refuses_response_format", "400 for a `response_format`", _unsupported("response_format")),
    Habit("refuses_system", "400 for a system prompt (Gemma)", _no_system),
    Habit("refuses_unknown", "422 for anything unknown, with a list of details (FastAPI)", _extra_forbidden),
    Habit("refuses_unknown_quoted", "the same within a message (Mistral)", _extra_in_message),
    Habit("refuses_many_tokens", f"400 for a limit above {_MOST_TOKENS} tokens", _too_many_tokens),
    Habit(
        "ignores_n",
        "one answer, whatever `n` is, and no error",
        change=lambda whole, asked: {**whole, "choices": whole["choices"][:1]},
    ),
    Habit("ignores_logprobs", "no log-probabilities, and no error", change=in_choices(setting(logprobs=None))),
    Habit(
        "needs_header",
        f"401 without a header `{NEEDED_HEADER}` (Azure)",
        _needs_header,
        recipe=f"headers: {{{NEEDED_HEADER}: $FAKE_KEY}}",
    ),
    Habit(
        "needs_query",
        f"404 without `?{NEEDED_QUERY}=…` (Azure)",
        _needs_query,
        recipe=f"query: {{{NEEDED_QUERY}: 2024-10-21}}",
    ),
    Habit(
        "needs_stream",
        "400 unless the answer may stream (QwQ)",
        _needs_stream("This model only support stream mode, please enable the stream parameter to access the model."),
    ),
    Habit(
        "needs_stream_to_think",
        "400 for thinking unless the answer may stream (Qwen3)",
        _needs_stream("parameter.enable_thinking must be set to false for non-streaming calls"),
    ),
    Habit("needs_stream_detail", "the same as a `detail` (relays)", _needs_stream_detail),
)
