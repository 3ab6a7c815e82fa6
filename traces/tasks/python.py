"""`source: python`: a function of the user's that gives rows.

    tasks: {source: python, path: "mine.py:tasks", prompt: question, reference: answer, test: 100, level: 3}

    def tasks(level=1) -> Iterable[dict]: ...     # rows of plain data, as in a JSON Lines file

The rows are read like those of a file: fields, ids, bad rows and the test split are the same. `timeout_s` bounds the
making of 1,000 rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field

from stillroom.sampling.plugins import Hosted, PythonCode
from stillroom.traces.tasks.problems import Problem
from stillroom.traces.tasks.registry import CommonTasks, LeftOut, Row, Source, sources


@sources.register
class PythonTasks(CommonTasks, PythonCode):
    """Rows of a function of the user's (see docs/plugins.md)."""

    given: ClassVar[tuple[str, ...]] = ()
    may_be: ClassVar[frozenset[str]] = frozenset({"plain"})

    source: Literal["python"]
    timeout_s: float = Field(default=600.0, gt=0)
    """Time limit for all rows, in seconds."""

    @property
    def files(self) -> tuple[str, ...]:
        return (self.file_part,)

    def open(self, base: Path, seed: int) -> Source:
        return Source(_rows(self.hosted(base, "tasks")), None)


def _rows(function: Hosted) -> Iterator[Row | LeftOut]:
    rows: Iterator[Any] = function.rows()  # what the user's function gave, which need not be rows
    try:
        for number, values in enumerate(rows, 1):
            where = f"{function.code.file.name}:{function.code.name}:{number}"
            if isinstance(values, dict):
                yield Row(where, values)
            else:
                detail = f"a {type(values).__name__}, not an object with fields"
                yield LeftOut(where, Problem.NOT_AN_OBJECT, detail)
    finally:
        function.close()
