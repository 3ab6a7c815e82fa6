"""Pairs of answers with a human label: what a judge is calibrated on.

Any layout of `common/preferred` is read, from any file that `common/row_files` reads. The plainest, whose other
fields go to the task's metadata, is also what a spreadsheet holds:

    {"prompt": "Say hello.", "a": "Hello.", "b": "Goodbye.", "label": "a", "id": "1"}

`label` is a, b or tie in any spelling (`A`, `1`, `left`, the name of a model); `id` may be left out. Where several
people judged the same two answers, most of them decide. Of a prompt with more than two scored answers one pair is
taken, by a hash: the best against the worst would be too easy a test.

LLMBar's file is one JSON array of `input`, `output_1`, `output_2`, `label` (1 or 2); `LLMBar_Natural.json` becomes
the tasks `LLMBar/Natural/0`, `LLMBar/Natural/1`, and so on.

What it refuses, all at once and with file and line: rows that are not pairs, labels of another kind, an id twice.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from stillroom.common.files import at_home
from stillroom.common.hashing import digest
from stillroom.common.preferred import PreferenceRows, Reading, read_preferences
from stillroom.common.preferred.base import Answer
from stillroom.common.preferred.read import Placed
from stillroom.common.records import Attempt, Task, user
from stillroom.common.row_files import Fault, rows_of
from stillroom.errors import InputError, MissingFile

Label = Literal["a", "b", "tie"]
_SHOWN = 10  # bad rows named in one message
LABELLED = "labelled"
"""Who wrote an answer of which nobody says it."""


@dataclass(frozen=True, slots=True)
class LabelledPair:
    """Two answers to one task, and which of them people found better. `task.id` names the pair."""

    task: Task
    a: Attempt
    b: Attempt
    label: Label


@dataclass(frozen=True, slots=True)
class Labelled:
    """The pairs of a file. `notes`: how it was read and what was left out, for people; `counts`: for a record."""

    pairs: tuple[LabelledPair, ...]
    notes: tuple[str, ...] = ()
    counts: dict[str, Any] = field(default_factory=dict)

    @property
    def left_out(self) -> bool:
        """Whether bad rows were skipped."""
        return bool(self.counts.get("left_out"))


class _LlmBarRow(BaseModel):
    """An item of LLMBar."""

    model_config = ConfigDict(extra="forbid", strict=True)

    input: Annotated[str, Field(min_length=1)]
    output_1: str
    output_2: str
    label: Literal[1, 2]


def load_labelled(path: str | Path, how: Reading | None = None) -> tuple[LabelledPair, ...]:
    """The pairs of a file. Raises as `read_labelled`."""
    return read_labelled(path, how).pairs


def read_labelled(path: str | Path, how: Reading | None = None, base: Path = Path()) -> Labelled:
    """The pairs of a file or data set, of which layout they may be, and what is to be told of it. `base`: where a
    relative path starts. Raises MissingFile, or InputError naming file and line of what is wrong."""
    how, file = how or Reading(), base / at_home(path)
    if how.source == "file" and how.layout is None and file.is_file() and _is_llmbar(file):
        return _llmbar(file, skip=how.bad_rows == "skip")
    try:
        found = read_preferences(path, "the labelled pairs", how, base)
    except MissingFile as error:
        raise MissingFile(f"{error}: correct the path") from None
    pairs = tuple(pair for row in found.rows if (pair := _of_row(row)) is not None)
    if not pairs:
        raise InputError(
            f"{path} holds no labelled pairs: each prompt has a single answer, or no scores; give two answers and "
            "which is better"
        )
    return Labelled(pairs, tuple(_notes(found, pairs)), {**found.counts(), "pairs": len(pairs)})


def _notes(found: PreferenceRows, pairs: tuple[LabelledPair, ...]) -> Iterator[str]:
    yield found.summary()
    yield from found.notes()
    if len(pairs) < len(found.rows):
        yield f"{len(found.rows) - len(pairs):,} prompts give no pair: fewer than two answers with a score"


def _of_row(row: Placed) -> LabelledPair | None:
    """The labelled pair of a preference; None where it has fewer than two answers that can be compared."""
    what, answers = row.what, row.what.answers
    label: Label | None = what.winner
    if label is None:
        scored = {" ".join(answer.text.split()): answer for answer in answers if answer.score is not None}
        answers = tuple(sorted(scored.values(), key=lambda answer: digest([answer.text])))[:2]
        if len(answers) < 2:
            return None
        label = _by_score(*answers)
    task = Task(row.name, what.prompt, None, row.place, dict(what.rest))
    return LabelledPair(task, *_attempts(task, [(each.text, each.model or LABELLED) for each in answers]), label)


def _by_score(a: Answer, b: Answer) -> Label:
    one, two = a.score or 0.0, b.score or 0.0
    return "a" if one > two else "b" if two > one else "tie"


def _attempts(task: Task, answers: list[tuple[str, str]]) -> tuple[Attempt, Attempt]:
    a, b = (Attempt(task.id, i, text, None, "stop", 0, 0, None, 0.0, who) for i, (text, who) in enumerate(answers))
    return a, b


# -- LLMBar ------------------------------------------------------------------------------------------------------


def _is_llmbar(path: Path) -> bool:
    first = next((row.values for row in rows_of(path, json.loads)), None)
    return (
        isinstance(first, dict) and first.keys() == _LlmBarRow.model_fields.keys() and isinstance(first["label"], int)
    )


def _llmbar(path: Path, *, skip: bool) -> Labelled:
    pairs: list[LabelledPair] = []
    wrong: list[str] = []
    dataset = path.stem.replace("_", "/")  # as LLMBar calls it: LLMBar/Adversarial/GPTInst
    for index, row in enumerate(rows_of(path, json.loads)):
        if isinstance(row.values, Fault):
            what = "not JSON: " if row.values.kind == "json" else ""
            wrong.append(f"{row.short}: {what}{row.values.told}")
            continue
        try:
            item = _LlmBarRow.model_validate(row.values)
        except ValidationError as error:
            parts = ((".".join(map(str, e["loc"])) or "row", e["msg"]) for e in error.errors(include_url=False))
            wrong.append(f"{row.short}: {'; '.join(f'{where}: {what}' for where, what in parts)}")
            continue
        task = Task(f"{dataset}/{index}", user(item.input), None, row.short)
        answers = _attempts(task, [(item.output_1, LABELLED), (item.output_2, LABELLED)])
        pairs.append(LabelledPair(task, *answers, "a" if item.label == 1 else "b"))
    if wrong and not skip:
        more = f"\n  and {len(wrong) - _SHOWN} more" if len(wrong) > _SHOWN else ""
        raise InputError(
            f"{path}: {len(wrong)} rows are not labelled pairs:\n  " + "\n  ".join(wrong[:_SHOWN]) + more
        )
    notes = (f"{len(wrong):,} rows left out (such as {wrong[0]})",) if wrong else ()
    return Labelled(tuple(pairs), notes, {"layout": "llmbar", "pairs": len(pairs), "left_out": len(wrong)})
