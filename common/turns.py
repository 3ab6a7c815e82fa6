"""The turns of a conversation as people write them down: `role` and `content`, or `from` and `value`.

A conversation may stand there as a text of JSON, as in a cell of CSV, or as an object of lists. Content may come in
parts, of which the texts are joined; an image, a sound or a call of a tool is refused, since what is left without it
is another question.

>>> turns_in([{"from": "human", "value": "2 + 2?"}, {"from": "gpt", "value": "4"}])
(Message(role='user', content='2 + 2?'), Message(role='assistant', content='4'))
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stillroom.common.outside import NotJson, read_json
from stillroom.common.records import Message, Messages, Role
from stillroom.errors import InputError

ROLES: dict[str, Role] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "human": "user",
    "prompter": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "model": "assistant",
    "bot": "assistant",
}
"""Who speaks, by the names in use."""
_MARKS = (("role", "content"), ("from", "value"), ("role", "value"), ("from", "content"), ("role", "text"))


_PICTURES = ("image", "images", "image_url", "img", "pixel_values", "audio", "video", "videos")


def picture_in(values: Mapping[str, Any]) -> str | None:
    """The field of a row that holds an image or a sound; None without. A question about a picture is another one
    without it."""
    for name, value in values.items():
        kept = isinstance(value, Mapping) and value.keys() >= {"bytes", "path"}
        if kept or (name.lower() in _PICTURES and value not in (None, "", [], {}, False)):
            return name
    return None


class NoTurns(InputError):
    """It is not a conversation of texts."""


class NotText(NoTurns):
    """A turn holds an image, a sound or a file."""


def are_turns(value: Any, who: str = "", what: str = "") -> bool:
    """Whether a value is a list of turns. `who`, `what`: the only names of their fields that count."""
    value = unpacked(value)
    if not isinstance(value, list | tuple) or not value:
        return False
    marks = ((who, what),) if who else _MARKS
    return all(isinstance(turn, Mapping) and any(a in turn and b in turn for a, b in marks) for turn in value)


def turns_in(value: Any) -> Messages:
    """The turns of a conversation. Raises NoTurns, NotText."""
    value = unpacked(value)
    if not isinstance(value, list | tuple) or not value:
        raise NoTurns("not a list of turns" if value else "a conversation without a turn")
    return tuple(_turn(number, turn) for number, turn in enumerate(value, 1))


def unpacked(value: Any) -> Any:
    """The list that a text of JSON holds, or that an object of lists stands for, as `datasets` keeps a Sequence of
    objects; any other value as it is.

    >>> unpacked({"role": ["user"], "content": ["2 + 2?"]})
    [{'role': 'user', 'content': '2 + 2?'}]
    """
    if isinstance(value, Mapping) and any(isinstance(value.get(a), list) for a, _ in _MARKS):
        columns = {name: cells for name, cells in value.items() if isinstance(cells, list)}
        if len({len(cells) for cells in columns.values()}) == 1:
            return [dict(zip(columns, cells, strict=True)) for cells in zip(*columns.values(), strict=True)]
    if not isinstance(value, str) or not value.lstrip().startswith("["):
        return value
    try:
        found = read_json(value)
    except NotJson:
        return value
    return found if isinstance(found, list) else value


def _turn(number: int, turn: Any) -> Message:
    if not isinstance(turn, Mapping):
        raise NoTurns(f"turn {number} is not an object with a role and a content")
    marks = next(((a, b) for a, b in _MARKS if a in turn and b in turn), None)
    if marks is None:
        names = ", ".join(repr(str(key)[:30]) for key in list(turn)[:8]) or "nothing"
        raise NoTurns(f"turn {number} has no role and content, or from and value (it has {names})")
    said = str(turn[marks[0]])[:40]
    role = ROLES.get(said.lower())
    if role is None:
        raise NoTurns(f"turn {number} is of {said!r}: expected one of {', '.join(ROLES)}")
    if turn.get("tool_calls") or turn.get("function_call"):
        raise NoTurns(f"turn {number} calls a tool: only conversations of texts are read")
    return Message(role, content_in(turn[marks[1]], number))


def content_in(value: Any, number: int) -> str:
    """The text of a turn, also of one in parts. Raises NoTurns, NotText."""
    if isinstance(value, str):
        return value
    if not isinstance(value, list | tuple):
        raise NoTurns(f"turn {number} holds no text")
    found = []
    for part in value:
        kind = part.get("type", "text") if isinstance(part, Mapping) else "text"
        text = part.get("text") if isinstance(part, Mapping) else part
        if kind not in ("text", "input_text", "output_text"):
            raise NotText(f"turn {number} holds a part of the type {str(kind)[:40]!r}: only texts are read")
        if not isinstance(text, str):
            raise NoTurns(f"turn {number} has a part without text")
        found.append(text)
    return "".join(found)
