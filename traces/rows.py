"""SFT rows: traces as conversations that trl reads, in a folder that `datasets.load_dataset` reads, with its card.

A row has `prompt` (the messages that the student will see), `completion` (one assistant turn), and `task_id` and
`index`, which name the attempt in the ledger; trl drops columns it does not know. Thinking is kept once, as
`<think>…</think>` before the answer.

    with sft_file(run / "sft") as file:        # one by one: there may be more than the memory holds
        for trace in filtered:
            file.add(sft_row(trace))
    write_card(run / "sft", card, file.count)

The same rows give the same files, byte for byte: the schema is fixed, and the card holds facts that were passed in;
nothing tells the time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, TypedDict

from stillroom.common.datasets import ParquetRows, front_matter, one_line, plain, table
from stillroom.common.files import replaced, storable
from stillroom.common.marks import CLOSE, OPEN
from stillroom.common.records import Message
from stillroom.errors import NothingLeft
from stillroom.traces.filters.apply import FilterCount
from stillroom.traces.trace import Trace

DATA_FILE = "train.parquet"
CARD_FILE = "README.md"


class SftRow(TypedDict):
    """One row. `index`: the draw's index within its task."""

    prompt: list[dict[str, str]]
    completion: list[dict[str, str]]
    task_id: str
    index: int


def sft_row(trace: Trace, *, system: str | None = None) -> SftRow:
    """The row of a trace.

    `system`: a system prompt to train the student with, in place of the task's own (None: the task's own, if any).
    A lone surrogate in the text, which no file can hold, becomes U+FFFD.
    """
    messages, content = trace.task.messages, trace.answer
    if trace.reasoning is not None:
        content = f"{OPEN}\n{trace.reasoning}\n{CLOSE}\n\n{content}"
    if system is not None:
        messages = (Message("system", system), *(message for message in messages if message.role != "system"))
    return {
        "prompt": [_stored(message.as_dict()) for message in messages],
        "completion": [_stored({"role": "assistant", "content": content})],
        "task_id": trace.task.id,
        "index": trace.attempt.index,
    }


def _stored(message: dict[str, str]) -> dict[str, str]:
    return {key: storable(value) for key, value in message.items()}


def sft_file(folder: Path) -> ParquetRows:
    """The parquet file of a folder, for rows that are added one by one; `write_card` ends it."""
    return ParquetRows(folder / DATA_FILE, _schema)


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


# -- the dataset card --------------------------------------------------------------------------------------------


class CardTable(NamedTuple):
    """A section of the card that is a table. `note`: what is said below it."""

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""


@dataclass(frozen=True, slots=True)
class CardFacts:
    """What the card says.

    `licence`: the teacher's, None where it is not known. `tasks`: where the tasks are from. `attempts`, `accepted`:
    counts before the filters. `versions`: package to version. `more`: further sections.
    """

    recipe: str
    teacher: str
    licence: str | None
    scorer: str
    tasks: str
    seed: int
    attempts: int
    accepted: int
    filters: Sequence[FilterCount] = ()
    versions: Mapping[str, str] = field(default_factory=dict)
    more: Sequence[CardTable] = ()


def write_card(folder: Path, card: CardFacts, rows: int) -> None:
    """Writes the dataset card. Raises NothingLeft where there is no row, RunError where the folder cannot be
    written."""
    if not rows:
        raise NothingLeft(
            f"no trace is left for {folder}: see what each filter dropped in rejects/, and loosen a filter"
        )
    with replaced(folder / CARD_FILE) as file:
        file.write(storable(card_text(card, rows)).encode())


def _section(each: CardTable) -> list[str]:
    note = ["", f"{each.note}."] if each.note else []
    return ["", f"## {each.title}", "", *table(each.head, each.rows), *note]


def card_text(facts: CardFacts, rows: int) -> str:
    """The card as Markdown with the front matter that the hub and `load_dataset` read."""
    head = front_matter(
        licence=facts.licence,
        name=f"{one_line(facts.recipe)} (SFT traces)",
        tags=["stillroom", "distillation", "synthetic", "reasoning-traces"],
        rows=rows,
        splits={"train": DATA_FILE},
    )
    made_from = [
        ("teacher", facts.teacher),
        ("licence of the teacher", facts.licence or "not stated"),
        ("tasks", facts.tasks),
        ("scorer", facts.scorer),
        ("recipe", facts.recipe),
        ("seed", str(facts.seed)),
        *((f"version of {name}", version) for name, version in sorted(facts.versions.items())),
    ]
    left_out = facts.attempts - facts.accepted
    steps = [
        ("attempts accepted, the first few of each task", f"{facts.attempts:,}", f"{left_out:,}"),
        *((f"filter {count.name}", f"{count.seen:,}", f"{count.dropped:,}") for count in facts.filters),
        ("rows", f"{rows:,}", ""),
    ]
    lines = [
        f"# {plain(facts.recipe)}: {rows:,} reasoning traces for supervised fine-tuning",
        "",
        "Each row is a conversation: `prompt` (the messages the student sees) and `completion` (one assistant turn). "
        "`task_id` and `index` name the attempt that it came from.",
        "",
        *table(("what", "value"), made_from),
        "",
        "## From attempts to rows",
        "",
        *table(("step", "in", "left out"), steps),
        *(line for each in facts.more for line in _section(each)),
        "",
        "Written by Stillroom. The traces are a model's output: the teacher's licence and terms apply.",
        "",
    ]
    return f"---\n{head}---\n\n" + "\n".join(lines)
