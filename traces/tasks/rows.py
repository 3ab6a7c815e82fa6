"""`source: rows`: rows that stand in the recipe itself, which is mostly one that a Python program writes.

    tasks: {source: rows, rows: [{question: "2 + 2?", answer: "4"}], test: 0}

In Python `"tasks": [{"question": …, "answer": …}, "a question without an answer", …]` means the same. The rows are
kept in the run's `recipe.yaml`; of many thousands, write a JSON Lines file.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from stillroom.traces.tasks.registry import CommonTasks, Row, Source, sources


@sources.register
class RowsTasks(CommonTasks):
    """Rows in the recipe. A text is a row with that prompt. Where no row has an answer, none is expected."""

    source: Literal["rows"]
    rows: tuple[dict[str, Any], ...] = Field(min_length=1)
    """The rows, each with the fields that `prompt`, `reference` and `id` name."""

    @model_validator(mode="before")
    @classmethod
    def _short_forms(cls, values: Any) -> Any:
        if not isinstance(values, Mapping) or not isinstance(values.get("rows"), list | tuple):
            return values
        prompt = values.get("prompt", cls.model_fields["prompt"].default)
        rows = [{prompt: row} if isinstance(row, str) else row for row in values["rows"]]
        reference = cls.model_fields["reference"].default
        if "reference" not in values and not any(isinstance(row, Mapping) and reference in row for row in rows):
            return {**values, "rows": rows, "reference": None}
        return {**values, "rows": rows}

    def open(self, base: Path, seed: int) -> Source:
        return Source([Row(f"rows:{number}", row) for number, row in enumerate(self.rows, 1)], None)
