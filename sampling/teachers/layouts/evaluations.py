"""Logs of evaluations: samples of lm-evaluation-harness (`--log_samples`) and of Inspect.

    {"doc_id": 0, "doc": {"question": "2 + 2?"}, "arguments": {"gen_args_0": {"arg_0": "Q: 2 + 2?\\nA:"}},
     "resps": [["4"]], "filtered_resps": ["4"], "filter": "none"}                                   lm_eval
    {"id": 1, "epoch": 1, "input": "2 + 2?", "target": "4", "messages": […],
     "output": {"choices": [{"message": {…}, "stop_reason": "stop"}], "usage": {…}}}               inspect

The harness writes a document once for each filter, with the same answers: they are taken once. Log-likelihoods of
choices are not answers and are refused. Both log the prompt as it was sent, which may be longer than the task's: rows
are found by the task's text in the document too. Inspect may keep long texts as `attachment://` with what they stand
for in the same sample.

The grades of an answer are read, too (`graded`): metrics and scores by name, for `scorer: {kind: recorded}`.

Sources: https://github.com/EleutherAI/lm-evaluation-harness/blob/main/lm_eval/result_schema.py (SampleResult), and
https://inspect.aisi.org.uk/reference/inspect_ai.log.html (EvalSample).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from stillroom.common.fields import found_at, no_field
from stillroom.common.turns import unpacked
from stillroom.errors import InputError
from stillroom.sampling.grades import kept
from stillroom.sampling.teachers.layouts.base import Laid, Layout, Values, asked_in, ended, others_in, said_in

_ATTACHED = "attachment://"
_DEEPEST = 8
_MOST_GRADES = 32  # of one answer
_SAMPLE = frozenset(
    re.findall(
        r"\w+",
        "doc_id doc target arguments resps filtered_resps filter metrics doc_hash prompt_hash target_hash",
    )
)
"""The fields of a sample of the harness that are not metrics; older ones do not name their metrics."""


def _lm_eval(row: Values) -> Laid:
    if "resps" not in row or "doc" not in row:
        raise InputError(f"not a sample of lm-evaluation-harness, which has doc and resps: {no_field(row, 'resps')}")
    prompt = _sent(row.get("arguments"))
    doc = others_in(row["doc"])
    if prompt is None and not doc:
        raise InputError("neither arguments nor doc say what was asked")
    found = {"prompt": doc["also"][0] if prompt is None else prompt, **doc}
    if row.get("doc_id") is not None:
        found["task_id"] = str(row["doc_id"])
    if row.get("filter") is not None:
        found["view"] = (f"{row.get('doc_id')} {row.get('doc_hash')} {found['prompt']}", str(row["filter"]))
    answers = _responses(row["resps"])
    return [{**found, "text": text, "graded": _metrics(row, n, len(answers))} for n, text in enumerate(answers)]


def _metrics(row: Values, number: int, of: int) -> dict[str, Any]:
    """The grades of one answer, as `exact_match` or, of a filter with a name, `exact_match,strict-match`. One number
    for several answers is what the filter made of them all, and no grade of any."""
    named = row.get("metrics")
    names = named if isinstance(named, list) else [name for name in row if name not in _SAMPLE]
    view = row.get("filter")
    view = f",{view}" if view not in (None, "none") else ""
    found: dict[str, Any] = {}
    for name in [name for name in names if isinstance(name, str)][:_MOST_GRADES]:
        value = row.get(name)
        if of > 1:
            value = value[number] if isinstance(value, list) and len(value) == of else None
        if value is not None:
            found[f"{name}{view}"] = kept(value)
    return found


def _responses(resps: Any) -> list[str]:
    """The answers of the one request of a document."""
    requests = resps if isinstance(resps, list) else None
    if not requests:
        raise InputError("resps holds no answer")
    answers = requests[0] if isinstance(requests[0], list) else requests
    if (answers is not requests and len(requests) > 1) or any(isinstance(each, list) for each in answers):
        raise InputError("resps holds log-likelihoods of choices, not answers: log a task that generates text")
    if not answers or any(not isinstance(each, str) for each in answers):
        raise InputError("resps holds no answer")
    return list(answers)


def _sent(arguments: Any) -> str | None:
    """The prompt of the first request; of a chat, its last user message."""
    first: Any = None
    if isinstance(arguments, Mapping):
        first = found_at(arguments, "gen_args_0.arg_0")
    elif isinstance(arguments, list) and arguments and isinstance(arguments[0], list) and arguments[0]:
        first = arguments[0][0]
    if isinstance(first, list) and len(first) == 1 and isinstance(first[0], str):  # a chat, as text in a tuple
        first = first[0]
    turns = unpacked(first)
    if isinstance(turns, list):
        return asked_in(turns)
    return first if isinstance(first, str) and first.strip() else None


def _inspect(row: Values) -> Laid:
    if "output" not in row or "input" not in row:
        raise InputError(f"not a sample of Inspect, which has input and output: {no_field(row, 'output')}")
    row = _attached(row, row.get("attachments"))
    choices = found_at(row, "output.choices")
    if row.get("error") or found_at(row, "output.error") or not isinstance(choices, list) or not choices:
        return []
    given = unpacked(row["input"])
    prompt = given if isinstance(given, str) else asked_in(given)
    found: dict[str, Any] = {"prompt": prompt, "task_id": str(row.get("id")), **_asked_last(row.get("messages"))}
    if len(choices) == 1:
        counts = {"prompt_tokens": "input_tokens", "completion_tokens": "output_tokens"}
        usage = {name: found_at(row, f"output.usage.{each}") for name, each in counts.items()}
        found |= {name: value for name, value in usage.items() if value is not None}
    cut = {"finish_reason": "length"} if row.get("limit") else {}
    graded = [_scores(row), *({} for _ in choices[1:])]  # the first choice is the answer that was scored
    return [{**found, **_chosen(each), **cut, "graded": of} for each, of in zip(choices, graded, strict=True)]


def _scores(row: Values) -> dict[str, Any]:
    """The values of the scores by the names of their scorers; of a score with several values, `scorer.value`."""
    scores = row.get("scores")
    if scores is None and row.get("score") is not None:  # as logs of the first version have it
        scores = {"score": row["score"]}
    found: dict[str, Any] = {}
    for name, score in list(scores.items())[:_MOST_GRADES] if isinstance(scores, Mapping) else ():
        value = score.get("value") if isinstance(score, Mapping) else score
        if isinstance(value, Mapping):
            found |= {f"{name}.{part}": kept(each) for part, each in list(value.items())[:_MOST_GRADES]}
        elif value is not None:
            found[str(name)] = kept(value)
    return found


def _chosen(choice: Any) -> dict[str, Any]:
    message = choice.get("message") if isinstance(choice, Mapping) else None
    if not isinstance(message, Mapping):
        raise InputError("a choice of the output has no message")
    if message.get("tool_calls"):
        raise InputError("the output calls a tool: only answers in text are read")
    return {**said_in(message), **ended(choice)}


def _asked_last(messages: Any) -> dict[str, Any]:
    """What was sent for the task, as a solver may have changed its prompt."""
    turns = [turn for turn in messages if isinstance(turn, Mapping)] if isinstance(messages, list) else []
    asked = [turn["content"] for turn in turns if turn.get("role") == "user" and isinstance(turn.get("content"), str)]
    return {"also": asked[-1:]} if asked else {}


def _attached(value: Any, texts: Any, room: int = _DEEPEST) -> Any:
    """The value with the texts put in that it names."""
    if not isinstance(texts, Mapping) or not texts or not room:
        return value
    if isinstance(value, str):
        return texts.get(value.removeprefix(_ATTACHED), value) if value.startswith(_ATTACHED) else value
    if isinstance(value, list):
        return [_attached(item, texts, room - 1) for item in value]
    if isinstance(value, Mapping):
        return {key: _attached(item, texts, room - 1) for key, item in value.items() if key != "events"}
    return value


EVALUATIONS = {
    "lm_eval": Layout(
        "samples of lm-evaluation-harness", lambda row: {"doc", "resps", "arguments"} <= row.keys(), _lm_eval
    ),
    "inspect": Layout(
        "samples of a log of Inspect",
        lambda row: "input" in row and "epoch" in row and isinstance(row.get("output"), Mapping),
        _inspect,
    ),
}
