"""Pairs of answers with a human label: what a judge is calibrated on.

Two forms of rows are read, from any file that `common/row_files` reads. In a user's own, other fields go to the
task's metadata:

    {"prompt": "Say hello.", "a": "Hello.", "b": "Goodbye.", "label": "a", "id": "1"}

`label` is a, b or tie; `id` may be left out. LLMBar's file is one JSON array of `input`, `output_1`, `output_2`,
`label` (1 or 2), known by `output_1`; `LLMBar_Natural.json` becomes the tasks `LLMBar/Natural/0`,
`LLMBar/Natural/1`, and so on.

What it refuses, all at once and with file and line: rows that are not pairs, labels of another kind, an id twice.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from stillroom.common.records import Attempt, Task, user
from stillroom.common.row_files import Fault, rows_of
from stillroom.errors import InputError, MissingFile

Label = Literal["a", "b", "tie"]
_SHOWN = 10  # bad rows named in one message


@dataclass(frozen=True, slots=True)
class LabelledPair:
    """Two answers to one task, and which of them people found better. `task.id` names the pair."""

    task: Task
    a: Attempt
    b: Attempt
    label: Label


class _Row(BaseModel):
    """A line of a user's file."""

    model_config = ConfigDict(extra="allow", strict=True)

    prompt: Annotated[str, Field(min_length=1)]
    a: str
    b: str
    label: Label
    id: str | int | None = None


class _LlmBarRow(BaseModel):
    """An item of LLMBar."""

    model_config = ConfigDict(extra="forbid", strict=True)

    input: Annotated[str, Field(min_length=1)]
    output_1: str
    output_2: str
    label: Literal[1, 2]


def load_labelled(path: Path) -> tuple[LabelledPair, ...]:
    """The pairs of a file of either form. Raises MissingFile, or InputError naming file and line of what is wrong."""
    if not path.is_file():
        raise MissingFile(f"the labelled pairs {path} are not there: correct the path")
    pairs: list[LabelledPair] = []
    wrong: list[str] = []
    lines: dict[str, int] = {}
    dataset = path.stem.replace("_", "/")  # as LLMBar calls it: LLMBar/Adversarial/GPTInst
    for index, row in enumerate(rows_of(path, json.loads)):
        source, line, value = row.short, row.number, row.values
        try:
            pair = _pair(source, f"{dataset}/{index}", value)
        except ValidationError as error:
            parts = ((".".join(map(str, e["loc"])) or "row", e["msg"]) for e in error.errors(include_url=False))
            wrong.append(f"{source}: {'; '.join(f'{where}: {what}' for where, what in parts)}")
            continue
        except ValueError as error:
            wrong.append(f"{source}: {error}")
            continue
        if (first := lines.setdefault(pair.task.id, line)) != line:
            wrong.append(f"{source}: the id {pair.task.id!r} is that of line {first}")
        pairs.append(pair)
    if wrong:
        more = f"\n  and {len(wrong) - _SHOWN} more" if len(wrong) > _SHOWN else ""
        raise InputError(
            f"{path}: {len(wrong)} rows are not labelled pairs:\n  " + "\n  ".join(wrong[:_SHOWN]) + more
        )
    if not pairs:
        raise InputError(f"{path} holds no labelled pairs: give one object with prompt, a, b and label per line")
    return tuple(pairs)


def _pair(source: str, llmbar: str, value: dict[str, Any] | Fault) -> LabelledPair:
    """`llmbar`: the name of the pair where the row is an item of LLMBar. Raises ValueError for anything else."""
    if isinstance(value, Fault):
        raise ValueError(f"not JSON: {value.told}" if value.kind == "json" else value.told)
    label: Label
    if "output_1" in value:
        item = _LlmBarRow.model_validate(value)
        task, texts = Task(llmbar, user(item.input), None, source), (item.output_1, item.output_2)
        label = "a" if item.label == 1 else "b"
    else:
        row = _Row.model_validate(value)
        name = source if row.id is None else str(row.id)
        task, texts = Task(name, user(row.prompt), None, source, dict(row.model_extra or {})), (row.a, row.b)
        label = row.label
    a, b = (Attempt(task.id, i, text, None, "stop", 0, 0, None, 0.0, "labelled") for i, text in enumerate(texts))
    return LabelledPair(task, a, b, label)
