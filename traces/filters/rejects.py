"""The files of rejects: what each filter dropped, with its reason, written as it is dropped.

A filter's file is there whole or not at all. Files of filters that dropped nothing this time are removed, so that the
folder shows this run only.

    with RejectFiles(run / "rejects") as rejects:
        rejects.add(reject)
"""

from __future__ import annotations

import json
from pathlib import Path
from types import TracebackType
from typing import Self

from stillroom.sampling.writing import remove, storable
from stillroom.traces.filters.base import Reject, filters
from stillroom.traces.growing import Growing


class RejectFiles:
    """`<filter>.jsonl` for each filter that drops something. Files of an earlier run stay until the block ends well.

    Raises RunError where the folder cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files: dict[str, Growing] = {}

    def __enter__(self) -> Self:
        return self

    def add(self, reject: Reject) -> None:
        """Writes one."""
        file = self._files.get(reject.filter)
        if file is None:
            file = self._files[reject.filter] = Growing(self._folder / f"{reject.filter}.jsonl")
        with file.writing() as out:
            out.write(line(reject).encode())

    @property
    def paths(self) -> list[Path]:
        """The files, in the order of their first rejects."""
        return [file.path for file in self._files.values()]

    def __exit__(self, kind: type[BaseException] | None, *_: BaseException | TracebackType | None) -> None:
        files = self._files.values()
        try:
            if kind is None:
                of_python = {path.stem for path in self._folder.glob("python_*.jsonl")}  # one for each function
                for name in (filters.keys() | of_python) - self._files.keys():
                    remove(self._folder / f"{name}.jsonl")
                for file in files:
                    file.keep()
        finally:
            for file in files:
                file.discard()


def line(reject: Reject) -> str:
    """A reject as a line of JSON."""
    attempt = reject.trace.attempt
    row = {
        "task_id": attempt.task_id,
        "index": attempt.index,
        "reason": reject.reason,
        "detail": reject.detail,
        "verdict": reject.trace.verdict.state.value,
        "finish_reason": attempt.finish_reason,
        "completion_tokens": attempt.completion_tokens,
        "reasoning": attempt.reasoning,
        "text": attempt.text,
    }
    return storable(json.dumps(row, ensure_ascii=False)) + "\n"
