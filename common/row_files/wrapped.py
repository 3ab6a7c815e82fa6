"""Rows that lie within one JSON object: under a name, as columns, or as the samples of a log of Inspect.

    {"version": "1.1", "data": [{"question": "2 + 2?"}, …]}             the rows are those of `data`
    {"type": "text2text", "instances": [{…}, …]}                        of `instances`
    {"question": ["2 + 2?", …], "answer": ["4", …]}                     each column holds a value for each row
    {"question": {"0": "2 + 2?", …}, "answer": {"0": "4", …}}           the same, as pandas writes it
    {"version": 2, "eval": {…}, "samples": [{…}, …]}                    a log of Inspect (`inspect_logs`)

Only a file that holds this one object is read so. Lists of rows under several names, and rows under their ids, are
refused with a command that writes them out: nobody can tell which are meant, or what the ids are called.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from itertools import chain, islice
from pathlib import Path
from typing import Any

from stillroom.common.row_files.records import FileRow
from stillroom.errors import InputError

_WORD = re.compile("[a-z_]+")
_NAMES = frozenset(
    _WORD.findall(
        "data rows examples instances items records entries dataset samples questions problems tasks documents train "
        "test validation dev results"
    )
)
"""What the list of rows is called in such files."""
_ABOUT = frozenset(
    _WORD.findall(
        "version name title type split license licence description info metadata meta source url citation language "
        "features dataset_name config count total date"
    )
)
"""What else stands in such an object on a single line, which else could be a row itself."""


def unwrapped(path: Path, rows: Iterator[FileRow], *, lines: bool) -> Iterator[FileRow]:
    """The rows, or those within the only one. `lines`: each stands on one line, so that the only one is more likely
    a row. Raises InputError for an object that holds rows in a way which can be read in two."""
    first = list(islice(rows, 2))
    if len(first) != 1 or not isinstance(first[0].values, dict):
        yield from chain(first, rows)
        return
    values = first[0].values
    inside = _log(values) or _columns(values) or _named(path, values, lines=lines)
    if inside is None:
        _refuse_map(path, values)
        yield first[0]
        return
    for number, item in enumerate(inside, 1):
        yield FileRow(path, number, "item", item)


def is_log(values: Mapping[str, Any]) -> bool:
    """Whether an object is a log of Inspect (https://inspect.aisi.org.uk/eval-logs.html)."""
    return isinstance(values.get("eval"), dict) and "version" in values and "status" in values


def _log(values: Mapping[str, Any]) -> list[dict[str, Any]] | None:
    if not is_log(values):
        return None
    samples = values.get("samples") or []
    return [item for item in samples if isinstance(item, dict)]


def _columns(values: Mapping[str, Any]) -> list[dict[str, Any]] | None:
    """The rows of a table by columns: lists of one length, or objects with the keys 0, 1, 2, …"""
    lists = [list(each.values()) if _numbered(each) else each for each in values.values()]
    if len(lists) < 2 or not all(isinstance(each, list) and each for each in lists):
        return None
    if len({len(each) for each in lists}) != 1 or any(_are_rows(each) for each in lists):
        return None
    keys = [tuple(each) for each in values.values() if isinstance(each, dict)]
    if keys and (len(keys) != len(lists) or len(set(keys)) != 1):
        return None
    return [dict(zip(values, cells, strict=True)) for cells in zip(*lists, strict=True)]


def _numbered(value: Any) -> bool:
    return isinstance(value, dict) and bool(value) and all(key.isdecimal() for key in value)


def _named(path: Path, values: Mapping[str, Any], *, lines: bool) -> list[dict[str, Any]] | None:
    """The rows under the one name that holds some. Raises InputError where several do, or the name says nothing."""
    within = [key for key, value in values.items() if _are_rows(value)]
    named = [key for key in within if key.lower() in _NAMES]
    others = {key.lower() for key in values} - {key.lower() for key in within}
    if not within or _is_row(values) or (lines and not (named and others <= _ABOUT)):
        return None
    if len(within) == 1 and named:
        found: list[dict[str, Any]] = values[named[0]]
        return found
    names = " and ".join(repr(key) for key in within[:3])
    raise InputError(f"{path} is one JSON object with rows in {names}: write them out with `jq -c '.{within[0]}[]'`")


def _is_row(values: Mapping[str, Any]) -> bool:
    """Whether the object is a row itself: a conversation, or a task with its attempts."""
    return bool({"messages", "conversations", "conversation", "prompt", "question", "problem"} & values.keys())


def _are_rows(value: Any) -> bool:
    return isinstance(value, list) and len(value) > 0 and all(isinstance(item, dict) for item in value)


def _refuse_map(path: Path, values: Mapping[str, Any]) -> None:
    """Refuses rows under their ids, which have digits."""
    inside = list(values.values())
    if len(inside) < 2 or not all(any(sign.isdecimal() for sign in key) for key in values):
        return
    if not all(isinstance(each, dict) and len(each) > 1 for each in inside):
        return
    if len({tuple(sorted(each)) for each in inside}) == 1:
        raise InputError(
            f"{path} is one JSON object with a row under each key ({', '.join(list(values)[:2])}, …): write them out "
            "with `jq -c 'to_entries[] | {id: .key} + .value'`"
        )
