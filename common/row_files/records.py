"""A row of a file with its place, what is wrong with one that cannot be read, and values as plain data.

FileRow(Path("data/p.jsonl"), 17, "line", {"question": "2 + 2?"}).place    # "data/p.jsonl:17"
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, NamedTuple


class Fault(NamedTuple):
    """Why a row cannot be read: not UTF-8, not JSON, not an object, a row of CSV with too many or too few cells, or a
    blank line."""

    kind: Literal["encoding", "json", "object", "cells", "blank"]
    told: str


class FileRow(NamedTuple):
    """`number`: the line on which the row begins, in Parquet and Arrow the row, of rows within one object the item;
    all count from 1."""

    file: Path
    number: int
    unit: Literal["line", "row", "item"]
    values: dict[str, Any] | Fault

    @property
    def place(self) -> str:
        """`data/p.jsonl:17`, or `data/p.parquet, row 17`."""
        return f"{self.file}{self._at}"

    @property
    def short(self) -> str:
        """The place without the folder."""
        return f"{self.file.name}{self._at}"

    @property
    def _at(self) -> str:
        return f":{self.number}" if self.unit == "line" else f", {self.unit} {self.number}"


def plain(value: Any) -> Any:
    """JSON values as they are; bytes as the UTF-8 they hold, else by their number; anything else (a date) as its
    text."""
    if value is None or isinstance(value, str | int | float | bool):
        return value
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, bytes | bytearray | memoryview):
        return _text(bytes(value))
    return str(value)


def _text(data: bytes) -> str:
    """The text of a binary column that holds UTF-8; of any other the number of its bytes."""
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        text = "\0"
    return f"<{len(data):,} bytes>" if "\0" in text else text


def kind_of(value: Any) -> str:
    """What a JSON value is, in words."""
    kinds = {dict: "an object", list: "an array", bool: "true or false", type(None): "null", str: "a text"}
    return kinds.get(type(value), "a number")
