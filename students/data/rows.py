"""Training rows, read from a folder of parquet or given as they are.

    rows = read_rows(run / "sft")        # every parquet file of the folder
    rows = read_rows([{"prompt": [{"role": "user", "content": "2 + 2?"}],
                       "completion": [{"role": "assistant", "content": "4"}]}])
    pairs = read_pairs(run / "dpo")      # `prompt`, `chosen`, `rejected`

Refuses, naming the row: a missing field, an empty prompt or answer, a turn that is not a message, an answer that the
assistant does not speak. Further columns are ignored.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, cast, get_args

from stillroom.common.records import Message, Messages, Role
from stillroom.errors import InputError, MissingFile

Row = Mapping[str, Any]


class SftRow(NamedTuple):
    """One row: what the student is asked and what it shall answer. `name` is what messages call it; `task_id`: of the
    task that it answers, None where the row names none."""

    name: str
    prompt: Messages
    completion: Messages
    task_id: str | None = None


class PairRow(NamedTuple):
    """One row of DPO: what the student is asked, and the answer it shall prefer to the other."""

    name: str
    prompt: Messages
    chosen: Messages
    rejected: Messages
    task_id: str | None = None

    def side(self, which: Literal["chosen", "rejected"]) -> SftRow:
        """The prompt with one of the answers, as a row of SFT has it."""
        answer = self.chosen if which == "chosen" else self.rejected
        return SftRow(f"{self.name}, {which}", self.prompt, answer)


def read_rows(source: Path | str | Iterable[Row]) -> list[SftRow]:
    """All rows, checked. Raises MissingFile for a folder that does not exist, InputError for invalid rows."""
    rows = [sft_row(row_name(index, row), row) for index, row in enumerate(given(source))]
    if not rows:
        raise InputError("there is no row to train on: check what was accepted and what the filters dropped")
    return rows


def read_pairs(source: Path | str | Iterable[Row]) -> list[PairRow]:
    """All pairs, checked. Raises MissingFile for a folder that does not exist, InputError for invalid pairs."""
    rows = [pair_row(row_name(index, row), row) for index, row in enumerate(given(source))]
    if not rows:
        raise InputError("there is no pair to train on: check how candidates were scored and what the audit refused")
    return rows


def given(source: Path | str | Iterable[Row]) -> Iterable[Row]:
    """The rows as they stand, unchecked and with all their columns."""
    if not isinstance(source, Path | str):
        return source
    folder = Path(source)
    if not folder.exists():
        raise MissingFile(f"{folder} does not exist: it should hold the rows to train on")
    files = sorted(folder.rglob("*.parquet")) if folder.is_dir() else [folder]
    if not files:
        raise InputError(f"{folder} holds no parquet file: it should hold the rows to train on")
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return [row for file in files for row in pq.read_table(file).to_pylist()]
    except (OSError, pa.ArrowInvalid) as error:
        raise InputError(f"{folder} cannot be read as parquet: {error}") from error


def with_system(messages: Messages, system: str | None) -> Messages:
    """The conversation under the student's own system prompt, in place of any it had; None changes nothing.

    Training and every later use must agree on this: evaluation sends its messages through here too.
    """
    if system is None:
        return messages
    return (Message("system", system), *(message for message in messages if message.role != "system"))


def row_name(index: int, row: Row) -> str:
    """What messages call the row."""
    return f"row {index + 1}" + (f" (task {row['task_id']})" if row.get("task_id") else "")


def sft_row(name: str, row: Row) -> SftRow:
    """One row, checked."""
    task_id = None if row.get("task_id") is None else str(row["task_id"])
    return SftRow(name, _messages(name, "prompt", row), _answer(name, "completion", row), task_id)


def pair_row(name: str, row: Row) -> PairRow:
    """One pair, checked."""
    task_id = None if row.get("task_id") is None else str(row["task_id"])
    chosen, rejected = (_answer(name, side, row) for side in ("chosen", "rejected"))
    return PairRow(name, _messages(name, "prompt", row), chosen, rejected, task_id)


def _answer(name: str, field: str, row: Row) -> Messages:
    answer = _messages(name, field, row)
    if any(message.role != "assistant" for message in answer):
        raise InputError(f"{name}: the {field} has a turn that is not the assistant's: only its words are trained on")
    if not any(message.content.strip() for message in answer):
        raise InputError(f"{name}: the {field} is empty: there is nothing to learn from it")
    return answer


def _messages(name: str, field: str, row: Row) -> Messages:
    turns = row.get(field)
    if not isinstance(turns, Sequence) or isinstance(turns, str) or not turns:
        raise InputError(f"{name}: {field!r} must be a list of messages, got {_short(turns)}")
    messages = []
    for turn in turns:
        role, content = (turn.get("role"), turn.get("content")) if isinstance(turn, Mapping) else (None, None)
        if role not in get_args(Role) or not isinstance(content, str):
            raise InputError(f"{name}: a message of {field!r} needs a role and a content as text, got {_short(turn)}")
        messages.append(Message(cast(Role, role), content))
    return tuple(messages)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "…"
