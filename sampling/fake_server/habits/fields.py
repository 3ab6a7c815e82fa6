"""Habits about what comes along with an answer: counts, log-probabilities, names and numbers that nobody needs."""

from __future__ import annotations

from typing import Any

from stillroom.sampling.fake_server.exchange import Asked
from stillroom.sampling.fake_server.habits import Habit, Parts, dropping, in_choices, in_messages, setting


def _counts(prompt: Any, completion: Any) -> Any:
    return lambda whole, asked: {**whole, "usage": {"prompt_tokens": prompt, "completion_tokens": completion}}


def _set(**fields: Any) -> Any:
    return lambda whole, asked: {**whole, **fields}


def _first_logprob(value: Any) -> Any:
    """The first token's log-probability is another one."""

    def change(choice: dict[str, Any], asked: Asked) -> None:
        for entry in ((choice["logprobs"] or {}).get("content") or [])[:1]:
            entry["logprob"] = value

    return in_choices(change)


def _no_top(choice: dict[str, Any], asked: Asked) -> None:
    for entry in (choice["logprobs"] or {}).get("content") or []:
        entry["top_logprobs"] = None


def _usage_in_each(parts: Parts, asked: Asked) -> Parts:
    """Counts that grow from part to part, and no last part for them."""
    whole = next((part["usage"] for part in parts if isinstance(part, dict) and part.get("usage")), None)
    if whole is None:
        return parts
    kept = [part for part in parts if not isinstance(part, dict) or part["choices"]]
    for i, part in enumerate(kept):
        if isinstance(part, dict):
            part["usage"] = {**whole, "completion_tokens": min(i, whole["completion_tokens"])}
    return kept


def _more_fields(whole: dict[str, Any], asked: Asked) -> dict[str, Any]:
    more = {
        "provider": "fake",
        "citations": ["https://example.com"],
        "timings": {"predicted_ms": 1.5},
        "x" * 64: None,
    }
    for choice in whole["choices"]:
        choice |= {"native_finish_reason": "STOP", "stop_reason": None, "content_filter_results": {"hate": {}}}
    return {**whole, **more, "system_fingerprint": None, "service_tier": "default"}


_LOGPROBS = "sampling: {logprobs: true}"

HABITS = (
    Habit("usage_missing", "no `usage`", change=dropping("usage")),
    Habit("usage_null", "`usage: null`", change=_set(usage=None)),
    Habit("usage_negative", "counts of -1", change=_counts(-1, -1)),
    Habit("usage_float", "counts of 12.5", change=_counts(12.5, 12.5)),
    Habit("usage_text", 'counts as texts, `"7"`', change=_counts("7", "7")),
    Habit("usage_huge", "counts of 10¹⁸", change=_counts(10**18, 10**18)),
    Habit("usage_zero", "counts of 0", change=_counts(0, 0)),
    Habit("usage_list", "`usage: []`", change=_set(usage=[])),
    Habit(
        "usage_in_each_part",
        "growing counts in each part of a stream, and none at the end",
        parts=_usage_in_each,
        recipe="stream: true",
    ),
    Habit(
        "logprobs_null",
        "`logprobs: null`, though asked for",
        change=in_choices(setting(logprobs=None)),
        recipe=_LOGPROBS,
    ),
    Habit(
        "logprobs_missing",
        "no `logprobs`, though asked for",
        change=in_choices(dropping("logprobs")),
        recipe=_LOGPROBS,
    ),
    Habit(
        "logprobs_null_token", "a token whose log-probability is null", change=_first_logprob(None), recipe=_LOGPROBS
    ),
    Habit(
        "logprobs_neg_inf", "a log-probability of `-Infinity`", change=_first_logprob(float("-inf")), recipe=_LOGPROBS
    ),
    Habit("logprobs_positive", "a log-probability of 3", change=_first_logprob(3), recipe=_LOGPROBS),
    Habit(
        "logprobs_no_top", "`top_logprobs: null`", change=in_choices(_no_top), recipe="sampling: {top_logprobs: 2}"
    ),
    Habit("id_missing", "no `id`", change=dropping("id")),
    Habit("created_as_string", "`created` is a date in words", change=_set(created="2026-11-30T00:00:00Z")),
    Habit("object_missing", "no `object`, no `model`", change=dropping("object", "model")),
    Habit("model_other", "the name of another model", change=_set(model="fake-2026-11-30")),
    Habit("role_missing", "a message without a `role`", change=in_messages(dropping("role"))),
    Habit("index_missing", "choices without an `index`", change=in_choices(dropping("index"))),
    Habit("more_fields", "many fields that nobody knows", change=_more_fields),
)
