"""Reads rows into tasks: checks the fields, finds repeated ids and prompts, and says why a row is not a task.

    gathered = Gathered(settings)
    gathered.fill([Row("problems.jsonl:1", {"question": "What is 2 + 2?", "answer": "4"})])
    gathered.tasks[0].reference   # "4"

What is the same prompt is decided after white space is made single; case and punctuation count, for `x` and `X` are
two unknowns. A repeated prompt with the same reference is left out; with another one, nobody can say which is right:
the row is bad, and with `bad_rows: skip` both are left out. Ids and prompts are known by 128-bit hashes, and the
tasks are in a store: what is held of a task while its source is read are about 300 bytes, whatever it says.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from fractions import Fraction
from typing import Any, NoReturn

from stillroom.common.fields import NoField, has_star, value_at
from stillroom.common.hashing import digest
from stillroom.common.records import ANSWER_TYPES, Message, Task, user, with_input
from stillroom.common.turns import picture_in
from stillroom.errors import TaskError
from stillroom.traces.tasks.detect import names_of
from stillroom.traces.tasks.layouts.base import Laid, Layout
from stillroom.traces.tasks.problems import UNWANTED, BadRow, Problem
from stillroom.traces.tasks.registry import CommonTasks, LeftOut, Row
from stillroom.traces.tasks.store import TaskSequence, TaskStore
from stillroom.traces.tasks.template import PROMPT, Template

SHOWN = 10
"""Bad rows that are told in full."""

# NUL ends a string in C, SQLite's shell and many viewers; a lone surrogate cannot be written as UTF-8 at all.
_BAD_CHARACTER = re.compile("[\x00\ud800-\udfff]")


class Gathered:
    """The tasks of one source in row order, and what was left out of it.

    `prefix` is put before the ids of a separate test source. `apart_from`: the prompt hashes of the test split, which
    no task here may have. `layout`: how the rows are laid out; None: as the settings name their fields.
    """

    def __init__(
        self,
        settings: CommonTasks,
        prefix: str = "",
        apart_from: Collection[bytes] = frozenset(),
        layout: Layout | None = None,
    ) -> None:
        self._layout, self._names = layout, names_of(settings)
        self._template = Template(settings.template)
        self.left_out: list[LeftOut] = []
        self._settings, self._prefix, self._apart_from = settings, prefix, apart_from
        self._store = TaskStore()
        self._by_prompt: dict[bytes, int] = {}  # hash to place in the store
        self._by_id: dict[bytes, int] = {}
        self._doubtful: set[int] = set()

    @property
    def tasks(self) -> TaskSequence:
        """The tasks in row order, without those whose prompt came with two references."""
        return self._store.sequence(place for place in range(len(self._store)) if place not in self._doubtful)

    @property
    def keys(self) -> Collection[bytes]:
        """The hashes of all prompts seen."""
        return self._by_prompt.keys()

    def __len__(self) -> int:
        return len(self._store) - len(self._doubtful)

    def fill(self, rows: Iterable[Row | LeftOut], wanted: int | None = None) -> int:
        """Adds rows until `wanted` tasks are there (None: all) or the rows end; says how many rows were drawn."""
        drawn = 0
        for row in rows if wanted != 0 else ():
            drawn += 1
            if isinstance(row, LeftOut):
                self.left_out.append(row)
                continue
            try:
                self._enter(row)
            except BadRow as bad:
                self.left_out.append(LeftOut(row.source, bad.reason, bad.detail))
            if wanted is not None and len(self) >= wanted:
                break
        return drawn

    def _enter(self, row: Row) -> None:
        """Reads a row and keeps its task. Raises BadRow."""
        settings, values = self._settings, row.values
        _check_characters(values)
        _check_pictures(values)
        laid = self._by_fields(values) if self._layout is None else self._laid(self._layout, values)
        # What a field is put into is read once: braces inside the row's text are left alone.
        last = Message("user", self._template.fill(values, laid.messages[-1].content))
        messages = (*laid.messages[:-1], last)
        # A template that is the same for all rows does not tell them apart.
        told_apart = messages if self._template.fields else laid.messages
        normal = " ".join(" ".join(message.content for message in told_apart).split())
        if not normal:
            raise BadRow(Problem.EMPTY_PROMPT, "all fields that the template names are empty")
        name = digest(normal, 16) if settings.id is None else _scalar(values, settings.id, Problem.EMPTY_ID)
        if settings.system is not None:
            messages = (Message("system", settings.system), *(m for m in messages if m.role != "system"))
        used = {*laid.used, settings.id}
        metadata = {key: value for key, value in values.items() if key not in used}
        task = Task(self._prefix + name, messages, laid.reference, row.source, metadata, laid.answer_type)

        prompt_key, id_key = _key(normal), _key(task.id)
        if prompt_key in self._apart_from:
            raise BadRow(Problem.IN_TEST_SPLIT, "its prompt is in the test split")
        if prompt_key in self._by_prompt:
            self._refuse_repeated(task, self._by_prompt[prompt_key])
        if id_key in self._by_id:
            first = self._store[self._by_id[id_key]]
            raise BadRow(Problem.DUPLICATE_ID, f"id {task.id!r} is also at {first.source}")
        self._by_prompt[prompt_key] = self._by_id[id_key] = self._store.add(task)

    def _by_fields(self, values: Mapping[str, Any]) -> Laid:
        settings = self._settings
        asks = PROMPT in self._template.names
        used = {name for name in (settings.prompt, settings.input) if name is not None and asks}
        # With a marker, the worked solution is kept whole: only its end is the reference.
        if settings.reference is not None and settings.reference_after is None:
            used.add(settings.reference)
        prompt, kind = self._prompt(values) if asks else "", self._answer_type(values)
        return Laid(user(prompt), self._reference(values), frozenset(used), kind)

    def _laid(self, layout: Layout, values: Mapping[str, Any]) -> Laid:
        laid = layout.read(values, self._names)
        kind = self._answer_type(values) or laid.answer_type
        marker = self._settings.reference_after
        if marker is None or laid.reference is None:
            return laid._replace(answer_type=kind)
        return laid._replace(answer_type=kind, reference=_after(laid.reference, marker, "answer"))

    def _refuse_repeated(self, task: Task, place: int) -> NoReturn:
        first = self._store[place]
        if same_reference(first.reference, task.reference):
            raise BadRow(Problem.DUPLICATE_PROMPT, f"the prompt of {first.source}")
        if place not in self._doubtful:
            self._doubtful.add(place)
            back = f"reference {first.reference!r}, but {task.reference!r} at {task.source} for the same prompt"
            self.left_out.append(LeftOut(first.source, Problem.CONTRADICTING_REFERENCE, back))
        detail = f"reference {task.reference!r}, but {first.reference!r} at {first.source} for the same prompt"
        raise BadRow(Problem.CONTRADICTING_REFERENCE, detail)

    def _prompt(self, values: Mapping[str, Any]) -> str:
        name, more = self._settings.prompt, self._settings.input
        prompt = _texts(values, name)
        if not isinstance(prompt, str):
            raise BadRow(Problem.WRONG_TYPE, f"the field {name!r} is {_kind(prompt)}, not text")
        if not prompt.strip():
            raise BadRow(Problem.EMPTY_PROMPT, f"the field {name!r} is empty")
        text = None if more is None else _texts(values, more)
        if not isinstance(text, str | None):
            raise BadRow(Problem.WRONG_TYPE, f"the field {more!r} is {_kind(text)}, not text")
        return with_input(prompt, text or "")

    def _answer_type(self, values: Mapping[str, Any]) -> str:
        settings, name = self._settings, self._settings.answer_type_field
        found = None if name is None else _field(values, name)
        if found is None or found == "":
            return settings.answer_type or ""
        if found not in ANSWER_TYPES:
            told = f"the field {name!r} is {_short(str(found))}: an answer type is one of {', '.join(ANSWER_TYPES)}"
            raise BadRow(Problem.WRONG_TYPE, told)
        return str(found)

    def _reference(self, values: Mapping[str, Any]) -> str | None:
        name, marker = self._settings.reference, self._settings.reference_after
        if name is None:
            return None
        text = _scalar(values, name, Problem.EMPTY_REFERENCE)
        return text if marker is None else _after(text, marker, name)


def _after(text: str, marker: str, name: str) -> str:
    """What follows the last marker. Raises BadRow."""
    _, found, answer = text.rpartition(marker)
    if not found:
        raise BadRow(Problem.NO_REFERENCE_FOUND, f"the field {name!r} has no {marker!r}: {_short(text)}")
    if not answer.strip():
        raise BadRow(Problem.EMPTY_REFERENCE, f"nothing follows {marker!r} in the field {name!r}")
    return answer.strip()


def _key(text: str) -> bytes:
    return bytes.fromhex(digest(text))


def same_reference(a: str | None, b: str | None) -> bool:
    """Whether two references say the same: equal text, or numbers of equal value ("1,000" and "1000.0")."""
    if a == b or a is None or b is None:
        return a == b
    return _value(a) == _value(b)


def _value(reference: str) -> Fraction | str:
    bare = "".join(reference.split())
    # Fraction builds 10**exponent: a reference of "1e999999999" must stay text.
    if len(bare) > 40 or "e" in bare.lower():
        return bare
    try:
        return Fraction(bare.replace(",", ""))
    except (ValueError, ZeroDivisionError):
        return bare


# -- fields of a row ---------------------------------------------------------------------------------------------


def _field(values: Mapping[str, Any], name: str) -> Any:
    """The value under `name`. Raises BadRow."""
    try:
        return value_at(values, name)
    except NoField as error:
        raise BadRow(Problem.MISSING_FIELD, str(error)) from None


def _texts(values: Mapping[str, Any], name: str) -> Any:
    """As `_field`; texts of several items follow each other after a blank line."""
    value = _field(values, name)
    if has_star(name) and isinstance(value, list) and all(isinstance(item, str) for item in value):
        return "\n\n".join(value)
    return value


def _scalar(values: Mapping[str, Any], name: str, empty: Problem) -> str:
    """Text of a string or a number: answers are often written as numbers. `empty`: what a field without text is."""
    value = _field(values, name)
    if has_star(name) and isinstance(value, list) and len(value) == 1:
        value = value[0]
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        hint = f": name one of its items, such as {name}[0]" if isinstance(value, list) else ""
        raise BadRow(Problem.WRONG_TYPE, f"the field {name!r} is {_kind(value)}, not text or a number{hint}")
    if not isinstance(value, str) and not math.isfinite(value):
        raise BadRow(Problem.WRONG_TYPE, f"the field {name!r} is {value}, not a finite number")
    if not (text := str(value).strip()):
        raise BadRow(empty, f"the field {name!r} is empty")
    return text


def _kind(value: Any) -> str:
    names = {type(None): "null", bool: "true or false", dict: "an object", list: "a list"}
    return names.get(type(value), type(value).__name__)


def _check_characters(values: Mapping[str, Any]) -> None:
    """Looks at every text of a row, nested ones and keys too. A stack: no depth is too deep."""
    stack: list[tuple[str, Any]] = [(str(key), value) for key, value in values.items()]
    stack += [(key, key) for key, _ in reversed(stack)]
    while stack:
        name, value = stack.pop()
        if isinstance(value, Mapping):
            stack.extend((name, item) for pair in value.items() for item in pair)
        elif isinstance(value, list | tuple):
            stack.extend((name, item) for item in value)
        elif isinstance(value, str) and (bad := _BAD_CHARACTER.search(value)):
            what = "NUL" if bad.group() == "\0" else f"the lone surrogate U+{ord(bad.group()):04X}"
            raise BadRow(Problem.BAD_CHARACTER, f"{what} at character {bad.start()} of the field {_short(name)!r}")


def _check_pictures(values: Mapping[str, Any]) -> None:
    if (name := picture_in(values)) is not None:
        raise BadRow(Problem.NOT_TEXT, f"the field {_short(name)!r} holds an image or a sound: tasks are texts only")


def _short(text: str, length: int = 60) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"


# -- what is left out --------------------------------------------------------------------------------------------


def refuse_bad_rows(left_out: Iterable[LeftOut]) -> None:
    """Raises one TaskError for all bad rows: the first ten in full, and how many more."""
    bad = [item for item in left_out if item.reason not in UNWANTED]
    if not bad:
        return
    lines = [f"  {item.source}: {item.reason.value}: {item.detail}" for item in bad[:SHOWN]]
    if len(bad) > 3 and len({item.detail for item in bad}) == 1:  # a field that no row has
        places = ", ".join(item.source for item in bad[:3])
        lines = [f"  {places} and {len(bad) - 3:,} more: {bad[0].reason.value}: {bad[0].detail}"]
    elif len(bad) > SHOWN:
        lines.append(f"  and {len(bad) - SHOWN:,} more ({tally(bad)} in all)")
    rows = "1 row is not a task" if len(bad) == 1 else f"{len(bad):,} rows are not tasks"
    fix = "Fix them, or set `tasks.bad_rows: skip` to leave them out and have them counted."
    raise TaskError("\n".join([f"{rows}:", *lines, fix]))


def tally(items: Iterable[LeftOut]) -> str:
    """`missing_field 3, not_json 1`: most frequent first."""
    counts = Counter(item.reason.value for item in items)
    return ", ".join(f"{reason} {n:,}" for reason, n in sorted(counts.items(), key=lambda pair: (-pair[1], pair[0])))
