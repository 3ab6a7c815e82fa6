"""Tasks of a dataset that the library `datasets` reads: from the hub by name, or from a local folder or file.

How it is found and opened, `common/row_files/data_sets` says: preferences and labels come the same way.

    source = HubTasks(source="hf", path="openai/gsm8k", name="main", test_split="test").open(Path("."), seed=0)
    source.train, source.test
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from pydantic import model_validator

from stillroom.common.records import AnswerType
from stillroom.common.row_files import Fault
from stillroom.common.row_files.data_sets import DataSet
from stillroom.traces.tasks.registry import CommonTasks, Name, Row, Source, sources

ANSWER_TYPES: dict[str, AnswerType] = {
    "openai/gsm8k": "number",
    "gsm8k": "number",
    "qwedsacf/competition_math": "gold",
    "hendrycks/competition_math": "gold",
    "EleutherAI/hendrycks_math": "gold",
    "HuggingFaceH4/MATH-500": "gold",
    "HuggingFaceH4/aime_2024": "integer",
    "Maxwell-Jia/AIME_2024": "integer",
    "AI-MO/aimo-validation-aime": "integer",
    "math-ai/aime24": "integer",
    "math-ai/aime25": "integer",
    "MathArena/aime_2025": "integer",
    "opencompass/AIME2025": "integer",
    "yentinglin/aime_2025": "integer",
    "allenai/ai2_arc": "choice",
    "allenai/openbookqa": "choice",
    "tau/commonsense_qa": "choice",
    "deepmind/aqua_rat": "choice",
    "TIGER-Lab/MMLU-Pro": "choice",
}
"""What the answers of well-known data sets on the hub are: of the last five, the letter of a choice."""


@sources.register
class HubTasks(CommonTasks):
    """A dataset by its hub name, or a local folder, parquet, csv or jsonl file that `datasets` reads."""

    source: Literal["hf"]
    path: Name
    """Hub name of the data set, or a local folder or file."""
    name: Name | None = None
    """Configuration of the data set, where it has several."""
    split: Name = "train"
    """Split to take training tasks from."""
    test_split: Name | None = None
    """Split to take held-out tasks from; null: they are drawn from `split`."""

    @model_validator(mode="before")
    @classmethod
    def _known(cls, values: Any) -> Any:
        known = ANSWER_TYPES.get(str(values.get("path"))) if isinstance(values, dict) else None
        return values if known is None or "answer_type" in values else {**values, "answer_type": known}

    @property
    def files(self) -> tuple[str, ...]:
        """What is read: a local file or folder, or a name on the hub."""
        return (self.path,)

    @property
    def holds_out(self) -> bool:
        return self.test_split is not None if self.test is None else bool(self.test)

    def open(self, base: Path, seed: int) -> Source:
        """Raises MissingFile, RecipeError for an unknown split or name, InputError for the network."""
        train = _rows(DataSet(self.path, self.name, self.split), base)
        if self.test_split is None:
            return Source(train, None)
        return Source(train, _rows(DataSet(self.path, self.name, self.test_split), base))


def _rows(data: DataSet, base: Path) -> Iterator[Row]:
    """The rows of a split, which is opened at once."""
    found = data.rows(base, "tasks.path")
    return (Row(f"{data.where}:{row.number}", row.values) for row in found if not isinstance(row.values, Fault))
