"""Rows of tools that make data: conversations, Open-R1, distilabel, curator, and several attempts in one row.

    {"messages": [{"role": "user", …}, {"role": "assistant", …}]}                                  messages
    {"problem": "…", "generations": ["…", "…"], "correctness_math_verify": [true, false]}          openr1
    {"instruction": "…", "generation": "…", "model_name": "…", "distilabel_metadata": {…}}         distilabel
    {"response_message": "…", "generic_request": {"messages": […]}, "finish_reason": "stop"}       curator
    {"question": "…", "responses": ["…", "…"], "finish_reasons": ["stop", "length"]}               attempts
    {"instruction": "…", "input": "…", "output": "…"}                                              alpaca

What a layout holds is in the tools' own documents: OpenThoughts and Open-R1 in their data sets' cards, distilabel in
https://distilabel.argilla.io/latest/components-gallery/tasks/textgeneration/, curator's cache in
https://github.com/bespokelabsai/curator/blob/main/src/bespokelabs/curator/types/generic_response.py.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from stillroom.common.fields import no_field
from stillroom.common.records import with_input
from stillroom.common.row_files import kind_of
from stillroom.common.turns import are_turns, turns_in, unpacked
from stillroom.errors import InputError
from stillroom.sampling.teachers.layouts.base import (
    PROMPTS,
    Laid,
    Layout,
    Values,
    asked_in,
    attempts,
    ended,
    graded_in,
    others_in,
    prompt_of,
    said_in,
)
from stillroom.sampling.teachers.layouts.batches import body_of

_SOLUTION = ("<|begin_of_solution|>", "<|end_of_solution|>")
_LISTS = (
    "generations",
    "responses",
    "completions",
    "outputs",
    "solutions",
    "candidates",
    "predictions",
    "model_outputs",
)
_TOLD = ("prompt", "question", "instruction", "problem", "query", "messages")


def _messages(row: Values) -> Laid:
    field = next((name for name in ("messages", "conversations") if name in row), None)
    if field is None:
        raise InputError(f"not a conversation: {no_field(row, 'messages')}")
    given = unpacked(row[field])
    turns = turns_in(given)
    if len(turns) < 2 or turns[-1].role != "assistant" or turns[-2].role != "user":
        raise InputError(f"the field {field!r} does not end with a question and its answer")
    text = turns[-1].content
    for mark in _SOLUTION:
        text = text.replace(mark, "", 1)
    thought = said_in({**given[-1], "content": None})
    return [{"prompt": turns[-2].content, **thought, "text": text, **graded_in(row)}]


def _openr1(row: Values) -> Laid:
    prompt, texts = row.get("problem"), row.get("generations")
    if not isinstance(prompt, str) or not isinstance(texts, list):
        missing = "problem" if not isinstance(prompt, str) else "generations"
        raise InputError(f"not a problem with generations: {no_field(row, missing)}")
    return attempts(prompt, row, texts)


def _attempts(row: Values) -> Laid:
    field = next((name for name in _LISTS if isinstance(row.get(name), list)), None)
    if field is None:
        raise InputError(f"no list of answers in {', '.join(_LISTS)}: {no_field(row, _LISTS[0])}")
    if not row[field]:
        raise InputError(f"the list {field!r} is empty")
    return attempts(prompt_of(row), row, row[field])


def _distilabel(row: Values) -> Laid:
    field = next((name for name in ("generation", "generations") if name in row), None)
    if field is None:
        raise InputError(f"not a row of distilabel, which has a generation: {no_field(row, 'generation')}")
    answers = row[field] if isinstance(row[field], list) else [row[field]]
    found = attempts(prompt_of(row), row if isinstance(row[field], list) else {}, answers)
    counts = _statistics(row.get("distilabel_metadata"))
    return [{**graded_in(row), **each, **counts} for each in found] if len(found) == 1 else found


def _statistics(metadata: Any) -> dict[str, Any]:
    """The token counts of the one step that made the answer; none where several steps counted."""
    steps = metadata.items() if isinstance(metadata, Mapping) else ()
    told = [value for name, value in steps if name.startswith("statistics_") and isinstance(value, Mapping)]
    if len(told) != 1:
        return {}
    found = {"prompt_tokens": told[0].get("input_tokens"), "completion_tokens": told[0].get("output_tokens")}
    return {name: value for name, value in found.items() if isinstance(value, int)}


def _curator(row: Values) -> Laid:
    request = row.get("generic_request")
    if not isinstance(request, Mapping):
        return _told(row)
    if "response_message" not in row:
        raise InputError(f"a request of curator without an answer: {no_field(row, 'response_message')}")
    said = row["response_message"]
    if said is None or row.get("response_errors"):
        return []
    usage = row["token_usage"] if isinstance(row.get("token_usage"), Mapping) else {}
    counts = {"prompt_tokens": usage.get("input"), "completion_tokens": usage.get("output")}
    found = {
        "prompt": asked_in(request.get("messages")),
        **others_in(request.get("original_row")),
        **_said(said, row.get("raw_response")),
        **ended(row),
        **{name: value for name, value in counts.items() if value is not None},
    }
    return [found]


def _said(said: Any, raw: Any) -> dict[str, Any]:
    """The answer and its thinking; of an answer that was parsed into an object, the text that the model wrote."""
    within = said if isinstance(said, Mapping) and "choices" in said else raw
    replied: dict[str, Any] = {}
    if isinstance(within, Mapping) and isinstance(within.get("choices"), list) and len(within["choices"]) == 1:
        replied = body_of(within)[0]
    thought = {"reasoning": replied["reasoning"]} if "reasoning" in replied else {}
    if isinstance(said, str):
        return {"text": said, **thought}
    return {"text": replied.get("text") or json.dumps(said, ensure_ascii=False), **thought}


def _told(row: Values) -> Laid:
    """A row of a data set that curator made: the prompt, and the answer in `response`."""
    if "response" not in row:
        raise InputError(f"not a row of curator, which has a response: {no_field(row, 'response')}")
    if row["response"] is None:
        return []
    said = said_in({**row, "content": row["response"]})
    return [{"prompt": prompt_of(row), **said, **ended(row), **graded_in(row)}]


def _holds_a_list(row: Values) -> bool:
    asks = any(name in row for name in (*PROMPTS, "messages"))
    return asks and any(isinstance(row.get(name), list) for name in _LISTS)


def _alpaca(row: Values) -> Laid:
    for name in ("instruction", "output"):
        if not isinstance(row.get(name), str):
            raise InputError(f"not an instruction and its output: {no_field(row, name)}")
    if not isinstance(about := row.get("input") or "", str):
        raise InputError(f"the field 'input' is {kind_of(about)}, not text")
    return [{"prompt": with_input(row["instruction"], about), "text": row["output"], **ended(row), **graded_in(row)}]


PIPELINES = {
    "openr1": Layout(
        "a problem with several generations and their grades",
        lambda row: "problem" in row and isinstance(row.get("generations"), list),
        _openr1,
    ),
    "distilabel": Layout(
        "an instruction and its generation, or several",
        lambda row: "distilabel_metadata" in row and ("generation" in row or "generations" in row),
        _distilabel,
    ),
    "curator": Layout(
        "responses of curator's cache, or rows of a prompt and its response",
        lambda row: "generic_request" in row or ("response" in row and any(name in row for name in _TOLD)),
        _curator,
    ),
    "attempts": Layout(
        "a prompt with a list of answers, and lists of what else is known of each",
        _holds_a_list,
        _attempts,
    ),
    "alpaca": Layout(
        "an instruction, the text it is about in `input`, and its output",
        lambda row: isinstance(row.get("instruction"), str) and isinstance(row.get("output"), str),
        _alpaca,
    ),
    "messages": Layout(
        "conversations that end with the answer",
        lambda row: are_turns(row.get("messages", row.get("conversations"))),
        _messages,
    ),
}
