"""SFT rows: traces as conversations that trl reads, in a folder that `datasets.load_dataset` reads.

A row has `prompt` (the messages that the student will see), `completion` (one assistant turn), and `task_id` and
`index`, which name the attempt in the ledger; trl drops columns it does not know. Thinking is kept once, as
`<think>…</think>` before the answer.

    with sft_file(run / "sft") as file:        # one by one: there may be more than the memory holds
        for trace in filtered:
            file.add(sft_row(trace))
    write_card(run / "sft", card, file.count)

The same rows give the same file, byte for byte: the schema is fixed and nothing in the file tells the time.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, TypedDict

from stillroom.common.files import ParquetRows, replaced, storable
from stillroom.common.marks import CLOSE, OPEN
from stillroom.common.records import Message
from stillroom.errors import NothingLeft
from stillroom.traces.card import CardFacts, card_text
from stillroom.traces.trace import Trace

DATA_FILE = "train.parquet"
CARD_FILE = "README.md"


class SftRow(TypedDict):
    """One row. `index`: the draw's index within its task."""

    prompt: list[dict[str, str]]
    completion: list[dict[str, str]]
    task_id: str
    index: int


def sft_row(trace: Trace, *, system: str | None = None, think: Literal["keep", "drop"] = "keep") -> SftRow:
    """The row of a trace.

    `system`: a system prompt to train the student with, in place of the task's own (None: the task's own, if any).
    `think: drop` leaves the thinking part out. A lone surrogate in the text, which no file can hold, becomes U+FFFD.
    """
    messages = trace.task.messages
    if system is not None:
        messages = (Message("system", system), *(message for message in messages if message.role != "system"))
    return {
        "prompt": [_stored(message.as_dict()) for message in messages],
        "completion": [_stored({"role": "assistant", "content": _content(trace, think)})],
        "task_id": trace.task.id,
        "index": trace.attempt.index,
    }


def _content(trace: Trace, think: Literal["keep", "drop"]) -> str:
    reasoning = trace.reasoning
    if reasoning is None or think == "drop":
        return trace.answer
    return f"{OPEN}\n{reasoning}\n{CLOSE}\n\n{trace.answer}"


def _stored(message: dict[str, str]) -> dict[str, str]:
    return {key: storable(value) for key, value in message.items()}


def sft_file(folder: Path) -> ParquetRows:
    """The parquet file of a folder, for rows that are added one by one; `write_card` ends it."""
    return ParquetRows(folder / DATA_FILE, _schema)


def write_card(folder: Path, card: CardFacts, rows: int) -> None:
    """Writes the dataset card. Raises NothingLeft where there is no row, RunError where the folder cannot be
    written."""
    if not rows:
        raise NothingLeft(
            f"no trace is left for {folder}: see what each filter dropped in rejects/, and loosen a filter"
        )
    with replaced(folder / CARD_FILE) as file:
        file.write(storable(card_text(card, rows)).encode())


def read_sft(folder: Path) -> list[SftRow]:
    """The rows of a folder, as they were before they were written."""
    import pyarrow.parquet as pq

    rows: list[SftRow] = pq.read_table(folder / DATA_FILE).to_pylist()
    return rows


def _schema(pa: Any) -> Any:
    turn = pa.struct([("role", pa.string()), ("content", pa.string())])
    return pa.schema(
        [("prompt", pa.list_(turn)), ("completion", pa.list_(turn)), ("task_id", pa.string()), ("index", pa.int64())]
    )
