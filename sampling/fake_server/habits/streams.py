"""Habits about how an answer streams: all that is allowed in server-sent events, and some that is not.

They need `stream: true`, and do nothing without.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from stillroom.sampling.fake_server.exchange import Asked, Piece, Reply, as_json, as_stream
from stillroom.sampling.fake_server.habits import Habit, Parts

_STREAM = "stream: true"


def _line_ends(end: bytes) -> Any:
    def send(reply: Reply, asked: Asked) -> Reply:
        if not reply.chunked:
            return reply
        return replace(reply, pieces=tuple(p._replace(data=p.data.replace(b"\n", end)) for p in reply.pieces))

    return send


def _without_done(parts: Parts, asked: Asked) -> Parts:
    return [part for part in parts if part != "[DONE]"]


def _comments(parts: Parts, asked: Asked) -> Parts:
    """OpenRouter says that it is still there."""
    return [each for part in parts for each in (b": OPENROUTER PROCESSING\n\n", part)]


def _named_events(parts: Parts, asked: Asked) -> Parts:
    head = b"retry: 3000\n\n"
    return [
        head,
        *(
            f"id: {i}\nevent: message\ndata: {part if isinstance(part, str) else json.dumps(part)}\n\n".encode()
            for i, part in enumerate(parts)
        ),
    ]


def _without_space(parts: Parts, asked: Asked) -> Parts:
    return [f"data:{part if isinstance(part, str) else json.dumps(part)}\n\n".encode() for part in parts]


def _several_lines(parts: Parts, asked: Asked) -> Parts:
    """An event's data may stand on several lines."""
    return [
        part
        if isinstance(part, str)
        else "".join(f"data: {line}\n" for line in json.dumps(part, indent=1).split("\n")).encode() + b"\n"
        for part in parts
    ]


def _filter_first(parts: Parts, asked: Asked) -> Parts:
    """Azure sends the verdict of its filter on the prompt before there is a choice."""
    first = {
        "id": "",
        "object": "",
        "created": 0,
        "model": "",
        "choices": [],
        "prompt_filter_results": [{"prompt_index": 0}],
    }
    return [first, *parts]


def _filter_last(parts: Parts, asked: Asked) -> Parts:
    """And its verdict on the answer, in a choice without a delta."""
    last = {"id": "", "choices": [{"index": 0, "finish_reason": None, "content_filter_offsets": {"end_offset": 9}}]}
    return [*parts[:-1], last, parts[-1]]


def _null_end(parts: Parts, asked: Asked) -> Parts:
    """No part says why the answer ended."""
    for part in parts:
        for choice in part["choices"] if isinstance(part, dict) else ():
            choice["finish_reason"] = None
    return parts


def _broken_off(parts: Parts, asked: Asked) -> Parts:
    """It ends in good form, in the middle of the answer."""
    return parts if asked.again else parts[: len(parts) // 2]


def _whole_at_once(parts: Parts, asked: Asked) -> Parts:
    """One part holds the whole as a `message`, in the place of a `delta`."""
    text = "".join(c["delta"].get("content") or "" for p in parts if isinstance(p, dict) for c in p["choices"])
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    usage = next((part["usage"] for part in parts if isinstance(part, dict) and part.get("usage")), None)
    return [{"choices": [choice], "usage": usage}, "[DONE]"]


def _between(event: bytes) -> Any:
    """Puts an event before each part."""
    return lambda parts, asked: [each for part in parts for each in (event, part)]


def _end_with_words(parts: Parts, asked: Asked) -> Parts:
    """Mistral says why the answer ended in the part that holds its last words."""
    kept = [
        part for part in parts if not isinstance(part, dict) or not part["choices"] or part["choices"][0]["delta"]
    ]
    ends = [c["finish_reason"] for p in parts if isinstance(p, dict) for c in p["choices"] if c.get("finish_reason")]
    last = [part for part in kept if isinstance(part, dict) and part["choices"]][-1]
    last["choices"][0]["finish_reason"] = ends[-1]
    return kept


def _null_fields(parts: Parts, asked: Asked) -> Parts:
    """SGLang sends each field in each part."""
    for part in parts:
        for choice in part["choices"] if isinstance(part, dict) else ():
            nulls = dict.fromkeys(("role", "content", "reasoning_content", "tool_calls", "refusal"))
            choice |= {"delta": nulls | choice["delta"], "matched_stop": None}
    return parts


def _null_choices(parts: Parts, asked: Asked) -> Parts:
    """The part with the counts has `choices: null`."""
    for part in parts:
        if isinstance(part, dict) and not part["choices"]:
            part["choices"] = None
    return parts


def _torn(parts: Parts, asked: Asked) -> Parts:
    """A gateway writes its comment into the middle of a part."""
    if asked.again:
        return parts
    text = f"data: {json.dumps(parts[1])}".encode()
    return [parts[0], text[:40] + b": keepalive\n\n" + text[40:] + b"\n\n", *parts[2:]]


def _not_streamed(reply: Reply, asked: Asked) -> Reply:
    """A plain reply to a request for a stream."""
    parts = _json_of(reply)
    text = "".join(c["delta"].get("content") or "" for p in parts for c in p["choices"])
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    usage = next((part["usage"] for part in parts if part.get("usage")), None)
    return as_json({"object": "chat.completion", "choices": [choice], "usage": usage}) if asked.streams else reply


def _json_of(reply: Reply) -> list[dict[str, Any]]:
    lines = reply.body.split(b"\n")
    return [json.loads(line[6:]) for line in lines if line.startswith(b"data: {")]


def _streamed_anyway(reply: Reply, asked: Asked) -> Reply:
    """A stream though none was asked for."""
    if asked.streams:
        return reply
    whole = json.loads(reply.body)
    parts: list[Any] = []
    for choice in whole["choices"]:
        delta = {"index": choice["index"], "delta": choice["message"], "finish_reason": choice["finish_reason"]}
        parts.append({**whole, "object": "chat.completion.chunk", "choices": [delta]})
    return as_stream([*parts, "[DONE]"])


def _byte_by_byte(reply: Reply, asked: Asked) -> Reply:
    """Each byte is a chunk, so that letters and lines are torn apart."""
    pieces = tuple(Piece(reply.body[i : i + 1]) for i in range(len(reply.body)))
    return replace(reply, pieces=pieces) if reply.chunked else reply


def _bom(parts: Parts, asked: Asked) -> Parts:
    return [b"\xef\xbb\xbf", *parts]


HABITS = (
    Habit("crlf_stream", "lines of the stream end with CR LF", send=_line_ends(b"\r\n"), recipe=_STREAM),
    Habit("cr_stream", "lines of the stream end with CR alone", send=_line_ends(b"\r"), recipe=_STREAM),
    Habit("stream_without_done", "no `[DONE]` at the end", parts=_without_done, recipe=_STREAM),
    Habit(
        "stream_comments", "comments between the parts, to keep the connection open", parts=_comments, recipe=_STREAM
    ),
    Habit("stream_event_names", "`id:`, `event:` and `retry:` lines", parts=_named_events, recipe=_STREAM),
    Habit("stream_without_space", "`data:{…}` without a space", parts=_without_space, recipe=_STREAM),
    Habit("stream_several_lines", "the data of a part on several lines", parts=_several_lines, recipe=_STREAM),
    Habit("stream_filter_first", "a first part with `choices: []` (Azure)", parts=_filter_first, recipe=_STREAM),
    Habit("stream_filter_last", "a last part without a `delta` (Azure)", parts=_filter_last, recipe=_STREAM),
    Habit("stream_null_end", "no part says why the answer ended", parts=_null_end, recipe=_STREAM),
    Habit(
        "stream_broken_off", "the stream ends in the middle, once for each request", parts=_broken_off, recipe=_STREAM
    ),
    Habit(
        "stream_message", "one part with a `message` in the place of a `delta`", parts=_whole_at_once, recipe=_STREAM
    ),
    Habit(
        "stream_end_with_words",
        "the last words and the end in one part (Mistral)",
        parts=_end_with_words,
        recipe=_STREAM,
    ),
    Habit(
        "stream_null_fields", "every field in every part, mostly null (SGLang)", parts=_null_fields, recipe=_STREAM
    ),
    Habit("stream_null_choices", "the part with the counts has `choices: null`", parts=_null_choices, recipe=_STREAM),
    Habit(
        "stream_empty_data", "empty `data:` lines between the parts", parts=_between(b"data: \n\n"), recipe=_STREAM
    ),
    Habit(
        "stream_pings",
        'events `{"type": "ping"}` between the parts (Anthropic)',
        parts=_between(b'event: ping\ndata: {"type": "ping"}\n\n'),
        recipe=_STREAM,
    ),
    Habit(
        "stream_torn",
        "a comment of the gateway in the middle of a part, once for each request",
        parts=_torn,
        recipe=_STREAM,
    ),
    Habit("stream_bom", "a byte order mark before the first part", parts=_bom, recipe=_STREAM),
    Habit("stream_byte_by_byte", "each byte in a chunk for itself", send=_byte_by_byte, recipe=_STREAM),
    Habit("stream_ignored", "a plain reply to a request for a stream", send=_not_streamed, recipe=_STREAM),
    Habit("stream_always", "a stream though none was asked for", send=_streamed_anyway),
)
