"""KTO rows: single answers, each desirable or not, in a folder that `datasets.load_dataset` reads, with its card.

A row has `prompt` (the messages that the student will see), `completion` (one assistant turn) and `label`, as trl
reads unpaired preferences; `task_id`, `index` and `source` say which answer it is. trl drops columns that it does not
know.

    with answer_file(run / "kto") as file:        # one by one: there may be more than the memory holds
        for row in rows:
            file.add(row)
    write_card(run / "kto", card)

The same rows give the same files, byte for byte: the card holds facts that were passed in, and no date.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypedDict

from stillroom.common.datasets import ParquetRows, front_matter, one_line, plain, table
from stillroom.common.files import replaced, storable

FOLDER = "kto"
"""The folder of a run in which they are."""
DATA_FILE = "train.parquet"
CARD_FILE = "README.md"


class AnswerRow(TypedDict):
    """One row. `label`: true for an answer to say more often. `index`: of the draw, among its source's for the task.
    `source`: who wrote it, None for the run's teacher."""

    prompt: list[dict[str, str]]
    completion: list[dict[str, str]]
    label: bool
    task_id: str
    index: int
    source: str | None


@dataclass(frozen=True, slots=True)
class LeftOutAnswer:
    """An answer that became no row. `reason`: from a closed set, or the filter that dropped it."""

    task_id: str
    index: int
    label: bool
    source: str | None
    reason: str
    detail: str = ""


@dataclass(slots=True)
class AnswerCounts:
    """Rows of each label, and answers that were left out, by reason. `undesirable_left_out`: those of them that the
    label false would have stood on."""

    desirable: int = 0
    undesirable: int = 0
    left_out: dict[str, int] = field(default_factory=dict)
    undesirable_left_out: dict[str, int] = field(default_factory=dict)

    @property
    def rows(self) -> int:
        """All of them."""
        return self.desirable + self.undesirable

    def add(self, found: AnswerRow | LeftOutAnswer) -> None:
        """Counts one."""
        if isinstance(found, LeftOutAnswer):
            for counts in (self.left_out,) if found.label else (self.left_out, self.undesirable_left_out):
                counts[found.reason] = counts.get(found.reason, 0) + 1
        elif found["label"]:
            self.desirable += 1
        else:
            self.undesirable += 1

    def __str__(self) -> str:
        told = ", ".join(f"{name.replace('_', ' ')} {n:,}" for name, n in self.left_out.items())
        rows = f"{self.desirable:,} desirable answers, {self.undesirable:,} undesirable"
        return f"{rows} (left out: {told})" if told else rows


def answer_file(folder: Path) -> ParquetRows:
    """The parquet file of a folder, for rows that are added one by one; `write_card` ends it."""
    return ParquetRows(folder / DATA_FILE, _schema)


def read_answers(folder: Path) -> list[AnswerRow]:
    """The rows of a folder, as they were before they were written."""
    import pyarrow.parquet as pq

    rows: list[AnswerRow] = pq.read_table(folder / DATA_FILE).to_pylist()
    return rows


def _schema(pa: Any) -> Any:
    turn = pa.struct([("role", pa.string()), ("content", pa.string())])
    return pa.schema(
        [
            ("prompt", pa.list_(turn)),
            ("completion", pa.list_(turn)),
            ("label", pa.bool_()),
            ("task_id", pa.string()),
            ("index", pa.int64()),
            ("source", pa.string()),
        ]
    )


@dataclass(frozen=True, slots=True)
class AnswerCard:
    """What the card says. `licence`: of the data set, None where it is not known. `made_from`: what the rows are of,
    in words. `per_task`: answers of each label that one task gives at most, None for all."""

    recipe: str
    licence: str | None
    made_from: Mapping[str, str]
    counts: AnswerCounts
    per_task: int | None
    desirable: str
    undesirable: str


def write_card(folder: Path, card: AnswerCard) -> None:
    """Writes the dataset card. Raises RunError where the folder cannot be written."""
    with replaced(folder / CARD_FILE) as file:
        file.write(storable(card_text(card)).encode())


def card_text(card: AnswerCard) -> str:
    """The card as Markdown with the front matter that the hub and `load_dataset` read."""
    counts = card.counts
    head = front_matter(
        licence=card.licence,
        name=f"{one_line(card.recipe)} (answers with labels)",
        tags=["stillroom", "distillation", "synthetic", "preference", "kto"],
        rows=counts.rows,
        splits={"train": DATA_FILE},
    )
    limit = "all" if card.per_task is None else f"{card.per_task:,}"
    steps: Sequence[tuple[str, str]] = [
        (f"label true: {card.desirable}", f"{counts.desirable:,}"),
        (f"label false: {card.undesirable}", f"{counts.undesirable:,}"),
        *((f"left out: {name.replace('_', ' ')}", f"{n:,}") for name, n in counts.left_out.items()),
    ]
    made_from = {**card.made_from, "answers of each label and task at most": limit, "recipe": card.recipe}
    lines = [
        f"# {plain(card.recipe)}: {counts.rows:,} answers, each desirable or not",
        "",
        "Each row is a conversation: `prompt` (the messages the student sees), `completion` (one assistant turn) and "
        "`label`. `task_id`, `index` and `source` name the answer.",
        "",
        *table(("what", "value"), made_from.items()),
        "",
        "## From answers to rows",
        "",
        *table(("what", "how many"), steps),
        "",
        "Written by Stillroom. The answers are models' output: their licences and terms apply.",
        "",
    ]
    return f"---\n{head}---\n\n" + "\n".join(lines)
