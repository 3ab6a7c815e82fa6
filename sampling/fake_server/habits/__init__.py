"""The habits of a fake server: what it does that others do not, each under a name.

A habit is up to four small functions. `refuse` replies in place of an answer, or returns None to let it come;
`change` changes the completion before it is sent, whole or in parts; `parts` changes the parts of a stream; `send`
changes what goes over the wire. Several habits work together, in the order they are given: the first refusal counts,
and changes add up. All that a habit remembers stands in `Asked`.

    Habit("usage_missing", "no `usage`", change=lambda whole, asked: without(whole, "usage"))

A new habit is an entry in one of the modules here. `stillroom fake-server --list` shows them all.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import Any, Literal

from stillroom.errors import InputError
from stillroom.sampling.fake_server.exchange import Asked, Reply

Group = Literal["waits", "faults", "endings", "fields", "content", "parameters", "streams", "connection", "models"]
GROUPS: dict[Group, str] = {
    "waits": "When the client may come back",
    "faults": "Whose fault it is",
    "endings": "Why an answer ended",
    "fields": "What comes along with an answer",
    "content": "What the answer is packed in",
    "parameters": "What a request may and must hold",
    "streams": "How an answer streams (with `stream: true`)",
    "connection": "What goes over the wire",
    "models": "The list of models",
}
"""What the habits of each module are about."""
Parts = list[Any]
"""The parts of a stream: JSON values, `"[DONE]"`, or bytes that are sent as they are."""
ANSWERS = frozenset({"chat/completions", "completions"})


@dataclass(frozen=True, slots=True)
class Habit:
    """One habit. `about`: what the server does. `recipe`: what a recipe needs in its `teacher` to see it or
    to get past it, "" for nothing. `on`: the paths that it concerns."""

    name: str
    about: str
    refuse: Callable[[Asked], Reply | None] | None = None
    change: Callable[[dict[str, Any], Asked], Any] | None = None
    parts: Callable[[Parts, Asked], Parts] | None = None
    send: Callable[[Reply, Asked], Reply] | None = None
    recipe: str = ""
    on: frozenset[str] = ANSWERS


@cache
def grouped() -> Mapping[Group, tuple[Habit, ...]]:
    """All habits by what they are about, in the order in which they are listed."""
    return {group: import_module(f"stillroom.sampling.fake_server.habits.{group}").HABITS for group in GROUPS}


@cache
def habits() -> Mapping[str, Habit]:
    """All habits by name."""
    return {habit.name: habit for group in grouped().values() for habit in group}


def named_habits(names: Sequence[str]) -> tuple[Habit, ...]:
    """The habits of these names. Raises InputError for one that there is not, with the nearest."""
    known = habits()
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, known, 3, 0.5)
            mean = f"did you mean {' or '.join(near)}? " if near else ""
            raise InputError(f"no habit {name!r}: {mean}stillroom fake-server --list shows all {len(known)}")
    return tuple(known[name] for name in dict.fromkeys(names))


# -- what habits are made of -----------------------------------------------------------------------------------------


def at_first(reply: Callable[[Asked], Reply], times: int = 1) -> Callable[[Asked], Reply | None]:
    """Refuses each request this many times, then lets it be answered."""
    return lambda asked: reply(asked) if asked.again < times else None


def one_prompt(reply: Callable[[Asked], Reply]) -> Callable[[Asked], Reply | None]:
    """Refuses the third of the prompts that come, however often, and no other."""
    return lambda asked: reply(asked) if asked.prompt_number == 2 else None


def always(reply: Callable[[Asked], Reply]) -> Callable[[Asked], Reply | None]:
    """Refuses each request."""
    return reply


def in_choices(change: Callable[[dict[str, Any], Asked], None]) -> Callable[[dict[str, Any], Asked], Any]:
    """Changes each choice of a completion."""

    def whole(body: dict[str, Any], asked: Asked) -> dict[str, Any]:
        for choice in body.get("choices") or []:
            change(choice, asked)
        return body

    return whole


def in_messages(change: Callable[[dict[str, Any], Asked], None]) -> Callable[[dict[str, Any], Asked], Any]:
    """Changes the message of each choice."""
    return in_choices(lambda choice, asked: change(choice["message"], asked))


def setting(**fields: Any) -> Callable[[dict[str, Any], Asked], None]:
    """Sets fields of a choice or message."""
    return lambda where, asked: where.update(fields)


def dropping(*names: str) -> Callable[[dict[str, Any], Asked], Any]:
    """Takes fields out of a completion, choice or message."""

    def drop(where: dict[str, Any], asked: Asked) -> dict[str, Any]:
        for name in names:
            where.pop(name, None)
        return where

    return drop
