"""What a well-behaved server answers: the body of a chat completion, and the parts in which it streams.

The answer follows from the prompt alone, so that a recipe runs: a sum, difference or product of two numbers is worked
out right, anything else gets one fixed sentence. The seed of a request chooses among a few wordings. A limit of
tokens and `stop` hold; a token is a word with the space before it.

>>> text_for({"messages": [{"role": "user", "content": "What is 3 + 4?"}], "seed": 0})
'Take 3 and 4: 3 + 4 makes 7.\\n#### 7'
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from stillroom.sampling.fake_server.exchange import limit_of, prompt_of

SENTENCE = "This is the answer of a fake server."
_SUM = re.compile(r"(?<!\d)(\d{1,9})\s{0,3}([-+*×−])\s{0,3}(\d{1,9})(?!\d)")
_WORDINGS = (
    "Take {a} and {b}: {a} {op} {b} makes {c}.\n#### {c}",
    "{a} {op} {b} is {c}, as one can count.\n#### {c}",
    "First there is {a}, then {b}. With {op} between them that gives {c}.\n#### {c}",
    "We are asked for {a} {op} {b}. It is {c}.\n#### {c}",
)
_MOST_CHOICES = 64
_MOST_PIECES = 1000
_LOGPROB = -0.25
_MOST_TOLD, _VOCABULARY = 64, 256


def text_for(body: Mapping[str, Any], text: str | None = None) -> str:
    """The words of the answer. `text`: what to answer whatever is asked."""
    if text is not None:
        return text
    found = _SUM.search(prompt_of(body)[-4096:])
    if found is None:
        return SENTENCE
    a, op, b = int(found[1]), found[2], int(found[3])
    c = a + b if op == "+" else a * b if op in "*×" else a - b
    seed = body.get("seed")
    wording = _WORDINGS[(seed if isinstance(seed, int) else 0) % len(_WORDINGS)]
    return wording.replace("{a}", str(a)).replace("{op}", op).replace("{b}", str(b)).replace("{c}", str(c))


def tokens_of(text: str) -> list[str]:
    """The tokens of a text, which add up to it."""
    return re.findall(r"\s*\S+|\s+$", text)


class _Cut(NamedTuple):
    tokens: list[str]
    finish: str


def _cut(text: str, body: Mapping[str, Any]) -> _Cut:
    """The text under the limits of a request, and why it ended."""
    stops = body.get("stop")
    for stop in [stops] if isinstance(stops, str) else stops if isinstance(stops, list) else []:
        if isinstance(stop, str) and stop:
            text = text.partition(stop)[0]
    tokens, most = tokens_of(text), limit_of(body)
    if most is not None and len(tokens) > most:
        return _Cut(tokens[:most], "length")
    return _Cut(tokens, "stop")


def answer(body: Mapping[str, Any], text: str | None = None) -> dict[str, Any]:
    """The chat completion for a request."""
    tokens, finish = _cut(text_for(body, text), body)
    wanted = body.get("n")
    n = min(wanted, _MOST_CHOICES) if isinstance(wanted, int) and wanted > 0 else 1
    choices = [
        {
            "index": i,
            "message": {"role": "assistant", "content": "".join(tokens), "refusal": None},
            "logprobs": _logprobs(tokens, body),
            "finish_reason": finish,
        }
        for i in range(n)
    ]
    asked = max(1, len(tokens_of(prompt_of(body))))
    return {
        "id": "chatcmpl-fake",
        "object": "chat.completion",
        "created": 1_700_000_000,
        "model": body.get("model") or "fake",
        "choices": choices,
        "usage": {
            "prompt_tokens": asked,
            "completion_tokens": n * len(tokens),
            "total_tokens": asked + n * len(tokens),
        },
    }


def _logprobs(tokens: list[str], body: Mapping[str, Any]) -> dict[str, Any] | None:
    if not body.get("logprobs"):
        return None
    wanted = body.get("top_logprobs")
    top = min(wanted, 20) if isinstance(wanted, int) else 0
    return {
        "content": [
            {
                "token": token,
                "logprob": _LOGPROB,
                "bytes": list(token.encode()),
                "top_logprobs": [{"token": token, "logprob": _LOGPROB - i, "bytes": None} for i in range(top)],
            }
            for token in tokens
        ]
    }


def prompt_logprobs(body: Mapping[str, Any]) -> list[Any] | None:
    """What vLLM tells of a prompt in tokens: for each, the likeliest in its place. None where nobody asked for it.

    The token itself has 0.6; those after it by number share what is left, each half of the one before.
    """
    prompt, k = body.get("prompt"), body.get("prompt_logprobs")
    if not isinstance(prompt, list) or not all(type(i) is int for i in prompt) or type(k) is not int or k < 1:
        return None
    likely = [math.log(0.6), *(math.log(0.4 / 2**rank) for rank in range(1, min(k, _MOST_TOLD)))]
    return [
        None,
        *(
            {
                str((token + rank) % _VOCABULARY): {"logprob": p, "rank": rank + 1, "decoded_token": None}
                for rank, p in enumerate(likely)
            }
            for token in prompt[1:]
        ),
    ]


def legacy(whole: Mapping[str, Any]) -> dict[str, Any]:
    """A chat completion as `/completions` would have sent it."""
    choices = whole.get("choices")
    if not isinstance(choices, list):
        return {**whole, "object": "text_completion"}
    plain = [
        {**{k: v for k, v in each.items() if k != "message"}, "text": each.get("message", {}).get("content")}
        for each in choices
    ]
    return {**whole, "object": "text_completion", "choices": plain}


def parts_of(whole: Mapping[str, Any], *, usage: bool) -> list[Any]:
    """The parts in which a completion streams, whatever habits made of it. `usage`: whether its counts come along."""
    if not whole.get("choices"):
        return [whole, "[DONE]"]
    head = {k: v for k, v in whole.items() if k not in ("choices", "usage", "object")}
    head["object"] = "chat.completion.chunk"
    counted = {"usage": None} if usage and "usage" in whole else {}
    parts: list[Any] = []
    for choice in whole["choices"]:
        parts += [{**head, "choices": [delta], **counted} for delta in _deltas(choice)]
    if usage and "usage" in whole:
        parts.append({**head, "choices": [], "usage": whole["usage"]})
    return [*parts, "[DONE]"]


def _deltas(choice: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """One choice: its role, its fields in pieces with the log-probabilities of the content, and its end."""
    message, index = choice.get("message") or {}, {"index": choice["index"]} if "index" in choice else {}
    rest = {k: v for k, v in choice.items() if k not in ("index", "message", "logprobs", "finish_reason")}
    logprobs = choice.get("logprobs")
    entries = logprobs.get("content") if isinstance(logprobs, dict) else None
    role = {"role": message["role"], "content": ""} if "role" in message else {}
    yield {**index, "delta": role, "finish_reason": None}
    fields = {k: v for k, v in message.items() if k not in ("role", "content") and v is not None}
    for name, value in {**fields, "content": message.get("content")}.items():
        for i, piece in enumerate(_pieces(value)):
            said = {**index, "delta": {name: piece}, "finish_reason": None}
            if name == "content" and isinstance(entries, list):
                said["logprobs"] = {"content": entries[i : i + 1]}
            elif name == "content" and "logprobs" in choice:
                said["logprobs"] = logprobs
            yield said
    last = {"finish_reason": choice["finish_reason"]} if "finish_reason" in choice else {}
    yield {**index, "delta": {}, **rest, **last}


def _pieces(value: Any) -> list[Any]:
    """A text in its tokens, a list an item at a time, anything else as it is."""
    if isinstance(value, str):
        tokens = tokens_of(value)
        step = 1 + len(tokens) // _MOST_PIECES
        return ["".join(tokens[i : i + step]) for i in range(0, len(tokens), step)]
    if isinstance(value, list):
        return [[item] for item in value]
    return [] if value is None else [value]
