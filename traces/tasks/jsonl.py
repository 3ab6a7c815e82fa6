"""Rows of files: JSON Lines, a JSON array, CSV, Parquet, Arrow, also compressed (see `common/row_files`).

A path may be a pattern (`shards/*.parquet`), or a folder that `save_to_disk` wrote.
One row is in memory at a time. A line that is not UTF-8, not JSON or not an object is a `LeftOut` in the stream, not
an exception, so that all bad lines of a file are reported together.

    for row in file_rows(Path("problems.jsonl"), "tasks.path"): ...
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from stillroom.common.files import at_home
from stillroom.common.row_files import Fault, files_of, rows_of
from stillroom.errors import InputError, TaskError
from stillroom.traces.tasks.problems import Problem
from stillroom.traces.tasks.registry import CommonTasks, LeftOut, Name, Row, Source, sources

_PROBLEMS = {
    "encoding": Problem.WRONG_ENCODING,
    "json": Problem.NOT_JSON,
    "object": Problem.NOT_AN_OBJECT,
    "cells": Problem.WRONG_CELLS,
}


@sources.register
class JsonlTasks(CommonTasks):
    """Rows of a file or of several: JSON Lines, a JSON array, CSV, Parquet or Arrow, also compressed."""

    source: Literal["jsonl"]
    path: Name
    """The file, relative to the recipe's folder; several by a pattern such as `shards/*.parquet`."""
    test_path: Name | None = None
    """File of held-out tasks; null: they are drawn from `path`."""

    @property
    def files(self) -> tuple[str, ...]:
        return (self.path,) if self.test_path is None else (self.path, self.test_path)

    @property
    def holds_out(self) -> bool:
        return self.test_path is not None if self.test is None else bool(self.test)

    def open(self, base: Path, seed: int) -> Source:
        train = file_rows(base / at_home(self.path), "tasks.path")
        if self.test_path is None:
            return Source(train, None)
        return Source(train, file_rows(base / at_home(self.test_path), "tasks.test_path", split="test"))


def file_rows(path: Path, key: str, *, split: str | None = None) -> Iterator[Row | LeftOut]:
    """Rows of the files that `path` names, in order. `key`: what the path is of, for messages. `split`: of a saved
    data set with several; None: `train`, or the only one.

    Raises MissingFile at once, and TaskError when a file as a whole is not rows.
    """
    files = files_of(path, key, split=split)

    def rows() -> Iterator[Row | LeftOut]:
        for file in files:
            try:
                for row in rows_of(file):
                    if isinstance(row.values, Fault):
                        yield LeftOut(row.short, _PROBLEMS[row.values.kind], row.values.told)
                    else:
                        yield Row(row.short, row.values)
            except InputError as error:
                raise TaskError(str(error)) from None

    return rows()
