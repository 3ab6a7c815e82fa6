"""Habits about whose fault it is: one prompt's, the key's, the model's, the address's, or the server's own.

"One prompt" is the third one that the server was asked, however often it comes.
"""

from __future__ import annotations

from typing import Any

from stillroom.sampling.fake_server.exchange import Asked, Reply, as_json, as_stream, error, page
from stillroom.sampling.fake_server.habits import ANSWERS, Habit, Parts, always, at_first, one_prompt

_PROVIDER = {"message": "Provider returned error", "code": 502, "metadata": {"provider_name": "fake"}}


def _in_choice(whole: dict[str, Any], asked: Asked) -> dict[str, Any]:
    """Half an answer, with an error in its choice; the same request is answered next time."""
    if asked.again:
        return whole
    for choice in whole["choices"]:
        text = choice["message"]["content"]
        choice |= {"finish_reason": "error", "error": _PROVIDER}
        choice["message"]["content"] = text[: len(text) // 2]
    return whole


def _mid_stream(parts: Parts, asked: Asked) -> Parts:
    return parts if asked.again else [*parts[: len(parts) // 2], {"error": _PROVIDER}, "[DONE]"]


def _event(parts: Parts, asked: Asked) -> Parts:
    """An event that is named an error, as Anthropic writes it; its data have no `choices`."""
    data = b'{"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}'
    return parts if asked.again else [*parts[: len(parts) // 2], b"event: error\ndata: " + data + b"\n\n"]


def _error_in_200(asked: Asked) -> Reply:
    body = {"error": _PROVIDER, "user_id": "u"}
    return as_stream([body]) if asked.streams else as_json(body)


def _too_long(asked: Asked) -> Reply:
    said = "This model's maximum context length is 8192 tokens. However, your messages resulted in 9000 tokens."
    return error(400, said, code="context_length_exceeded", param="messages")


def _filtered(asked: Asked) -> Reply:
    inner = {"code": "ResponsibleAIPolicyViolation", "content_filter_result": {"hate": {"filtered": True}}}
    said = "The response was filtered due to the prompt triggering content management policy."
    return error(400, said, code="content_filter", innererror=inner)


def _no_model(asked: Asked) -> Reply:
    return error(404, f"The model `{asked.body.get('model')}` does not exist.", code="model_not_found")


HABITS = (
    Habit(
        "403_for_one_prompt",
        "403 for one prompt",
        one_prompt(lambda asked: error(403, "This prompt was blocked by our policy.")),
    ),
    Habit(
        "html_page_for_one_prompt",
        "an HTML page with status 403 for one prompt (a firewall)",
        one_prompt(lambda asked: page(403, "Blocked", "Your request was blocked. Ray ID 7.")),
    ),
    Habit(
        "200_html_for_one_prompt",
        "an HTML page with status 200 for one prompt",
        one_prompt(lambda asked: page(200, "Sign in", "Please sign in.")),
    ),
    Habit("401_for_one_prompt", "401 for one prompt", one_prompt(lambda asked: error(401, "Not for this prompt."))),
    Habit("too_long_for_one_prompt", "400 for one prompt: it is longer than the context", one_prompt(_too_long)),
    Habit("filtered_for_one_prompt", "400 for one prompt: a content filter (Azure)", one_prompt(_filtered)),
    Habit(
        "500_for_one_prompt",
        "500 for one prompt, however often it is asked",
        one_prompt(lambda asked: error(500, "Internal server error", type="server_error")),
    ),
    Habit("401_always", "401 always: the key is wrong", always(lambda asked: error(401, "Incorrect API key."))),
    Habit(
        "401_everywhere",
        "401 always, for the list of models too",
        always(lambda asked: error(401, "Incorrect API key.")),
        on=ANSWERS | {"models"},
    ),
    Habit(
        "403_always",
        "403 always, as an HTML page",
        always(lambda asked: page(403, "Access denied", "You do not have access.")),
    ),
    Habit("404_path", "404 always: no such path", always(lambda asked: as_json({"detail": "Not Found"}, 404))),
    Habit("404_model", "404 always: no such model", always(_no_model)),
    Habit("400_always", "400 always, in words of its kind", always(lambda asked: as_json({"detail": "bad"}, 400))),
    Habit("500_always", "500 always", always(lambda asked: error(500, "Internal server error", type="server_error"))),
    Habit(
        "error_as_text",
        "an error that is a text, with status 500, once for each request",
        at_first(lambda asked: as_json({"error": "CUDA out of memory"}, 500)),
    ),
    Habit("error_in_200", "an error in a 200 reply, once for each request (OpenRouter)", at_first(_error_in_200)),
    Habit(
        "error_in_choice",
        "half an answer with an error in its choice, once for each request",
        change=_in_choice,
    ),
    Habit(
        "error_mid_stream",
        "an error in the middle of a stream, once for each request",
        parts=_mid_stream,
        recipe="stream: true",
    ),
    Habit(
        "error_event",
        "an event named `error` in the middle of a stream, once for each request",
        parts=_event,
        recipe="stream: true",
    ),
)
