"""Rows for the lint: what is no row, or has an empty answer, is told and not raised, and the rest is looked at.

found = read_sft_rows([{"prompt": [...], "completion": [...]}], system=None)
found.rows, found.hits
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

from stillroom.errors import InputError
from stillroom.students.data.rows import PairRow, Row, SftRow, _name, _pair_row, _sft_row, given, with_system
from stillroom.students.lint.findings import Hit

R = TypeVar("R", SftRow, PairRow)


class Readable(NamedTuple, Generic[R]):
    """`rows` with the task of each (None where it names none); `hits` for those that could not be read; `given`: all,
    as they were."""

    rows: list[R]
    tasks: list[str | None]
    hits: list[Hit]
    given: Sequence[Row]


def read_sft_rows(source: Path | str | Iterable[Row], system: str | None) -> Readable[SftRow]:
    """Rows of SFT under the student's system prompt. Raises MissingFile for a folder that is not there."""
    return _read(source, system, _sft_row, ("completion",))


def read_pair_rows(source: Path | str | Iterable[Row], system: str | None) -> Readable[PairRow]:
    """Pairs under the student's system prompt. Raises MissingFile for a folder that is not there."""
    return _read(source, system, _pair_row, ("chosen", "rejected"))


def _read(
    source: Path | str | Iterable[Row], system: str | None, make: Callable[[str, Row], R], answers: tuple[str, ...]
) -> Readable[R]:
    rows = list(given(source))
    found: Readable[R] = Readable([], [], [], rows)
    for index, row in enumerate(rows):
        name = _name(index, row) if isinstance(row, Mapping) else f"row {index + 1}"
        try:
            made = make(name, row)
        except (InputError, AttributeError) as error:  # a row that is no mapping at all has no `get`
            empty = isinstance(row, Mapping) and any(_is_empty(row.get(field)) for field in answers)
            told = str(error).removeprefix(f"{name}: ")
            found.hits.append(Hit("empty_answer" if empty else "not_a_row", name, told))
            continue
        found.rows.append(made._replace(prompt=with_system(made.prompt, system)))
        task_id = row.get("task_id")
        found.tasks.append(None if task_id is None else str(task_id))
    return found


def _is_empty(turns: Any) -> bool:
    """Whether an answer is there and says nothing."""
    if turns is None or isinstance(turns, str) or not isinstance(turns, Sequence):
        return False
    contents = [turn.get("content") for turn in turns if isinstance(turn, Mapping)]
    return len(contents) == len(turns) and all(content is None or not str(content).strip() for content in contents)
