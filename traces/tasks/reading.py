"""From a row to a task: finds the fields, checks them, and says why a row is not a task.

reader = RowReader(settings)
found = reader.read(Row("problems.jsonl:1", {"question": "What is 2 + 2?", "answer": "4"}))
found.task.reference   # "4"
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from stillroom.common.hashing import digest
from stillroom.common.records import Message, Task, with_input
from stillroom.traces.tasks.records import LeftOut, Problem, Row
from stillroom.traces.tasks.registry import CommonTasks

# NUL ends a string in C, SQLite's shell and many viewers; a lone surrogate cannot be written as UTF-8 at all.
_BAD_CHARACTER = re.compile("[\x00\ud800-\udfff]")


class Found(NamedTuple):
    """A task, with its prompt as the row had it (white space made single): what duplicates are found by."""

    task: Task
    prompt: str


class _BadRow(Exception):
    def __init__(self, reason: Problem, detail: str) -> None:
        super().__init__(detail)
        self.reason, self.detail = reason, detail


class RowReader:
    """Reads rows as one recipe's settings say. `prefix` is put before the ids of a separate test source."""

    def __init__(self, settings: CommonTasks, prefix: str = "") -> None:
        self._settings = settings
        self._prefix = prefix

    def read(self, row: Row) -> Found | LeftOut:
        """The row's task, or why it has none."""
        try:
            return self._found(row)
        except _BadRow as bad:
            return LeftOut(row.source, bad.reason, bad.detail)

    def _found(self, row: Row) -> Found:
        _check_characters(row.values)
        prompt = self._prompt(row.values)
        normal = " ".join(prompt.split())
        task = Task(
            id=self._prefix + self._id(row.values, normal),
            messages=self._messages(prompt),
            reference=self._reference(row.values),
            source=row.source,
            metadata=self._metadata(row.values),
        )
        return Found(task, normal)

    def _prompt(self, values: Mapping[str, Any]) -> str:
        name = self._settings.prompt
        prompt = _field(values, name)
        if not isinstance(prompt, str):
            raise _BadRow(Problem.WRONG_TYPE, f"the field {name!r} is {_kind(prompt)}, not text")
        if not prompt.strip():
            raise _BadRow(Problem.EMPTY_PROMPT, f"the field {name!r} is empty")
        return with_input(prompt, self._input(values))

    def _input(self, values: Mapping[str, Any]) -> str:
        name = self._settings.input
        if name is None:
            return ""
        text = _field(values, name)
        if not isinstance(text, str | None):
            raise _BadRow(Problem.WRONG_TYPE, f"the field {name!r} is {_kind(text)}, not text")
        return text or ""

    def _reference(self, values: Mapping[str, Any]) -> str | None:
        name, marker = self._settings.reference, self._settings.reference_after
        if name is None:
            return None
        text = _scalar(values, name, Problem.EMPTY_REFERENCE)
        if marker is None:
            return text
        _, found, answer = text.rpartition(marker)
        if not found:
            raise _BadRow(Problem.NO_REFERENCE_FOUND, f"the field {name!r} has no {marker!r}: {_short(text)}")
        if not answer.strip():
            raise _BadRow(Problem.EMPTY_REFERENCE, f"nothing follows {marker!r} in the field {name!r}")
        return answer.strip()

    def _id(self, values: Mapping[str, Any], prompt: str) -> str:
        name = self._settings.id
        return digest(prompt, 16) if name is None else _scalar(values, name, Problem.EMPTY_ID)

    def _messages(self, prompt: str) -> tuple[Message, ...]:
        # str.replace goes over the template once: a `{prompt}` inside the row's text is left alone.
        turn = Message("user", self._settings.template.replace("{prompt}", prompt))
        system = self._settings.system
        return (turn,) if system is None else (Message("system", system), turn)

    def _metadata(self, values: Mapping[str, Any]) -> dict[str, Any]:
        used = {self._settings.prompt, self._settings.input, self._settings.id}
        # A worked solution is kept whole: only its end became the reference.
        if self._settings.reference_after is None:
            used.add(self._settings.reference)
        return {key: value for key, value in values.items() if key not in used}


def _field(values: Mapping[str, Any], name: str) -> Any:
    """The value under `name`: an exact key first, then a path of keys parted by dots."""
    if name in values:
        return values[name]
    value: Any = values
    for key in name.split("."):
        if not isinstance(value, Mapping) or key not in value:
            near = difflib.get_close_matches(name, list(values), n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            names = ", ".join(repr(_short(key, 30)) for key in list(values)[:8]) or "none"
            raise _BadRow(Problem.MISSING_FIELD, f"no field {name!r} (the row has: {names}{hint})")
        value = value[key]
    return value


def _scalar(values: Mapping[str, Any], name: str, empty: Problem) -> str:
    """Text of a string or a number: answers are often written as numbers. `empty`: what a field without text is."""
    value = _field(values, name)
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise _BadRow(Problem.WRONG_TYPE, f"the field {name!r} is {_kind(value)}, not text or a number")
    if not isinstance(value, str) and not math.isfinite(value):
        raise _BadRow(Problem.WRONG_TYPE, f"the field {name!r} is {value}, not a finite number")
    if not (text := str(value).strip()):
        raise _BadRow(empty, f"the field {name!r} is empty")
    return text


def _kind(value: Any) -> str:
    names = {type(None): "null", bool: "true or false", dict: "an object", list: "a list"}
    return names.get(type(value), type(value).__name__)


def _check_characters(values: Mapping[str, Any]) -> None:
    for key, text in _strings(values):
        bad = _BAD_CHARACTER.search(text)
        if bad:
            what = "NUL" if bad.group() == "\0" else f"the lone surrogate U+{ord(bad.group()):04X}"
            raise _BadRow(Problem.BAD_CHARACTER, f"{what} at character {bad.start()} of the field {_short(key)!r}")


def _strings(values: Mapping[Any, Any]) -> Iterator[tuple[str, str]]:
    """Every text of a row with its top field's name, nested ones and keys too. A stack: no depth is too deep."""
    stack: list[tuple[str, Any]] = [(str(key), value) for key, value in values.items()]
    yield from ((key, key) for key, _ in stack)
    while stack:
        name, value = stack.pop()
        if isinstance(value, str):
            yield name, value
        elif isinstance(value, Mapping):
            stack.extend((name, item) for pair in value.items() for item in pair)
        elif isinstance(value, list | tuple):
            stack.extend((name, item) for item in value)


def _short(text: str, length: int = 60) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"
