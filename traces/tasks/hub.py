"""Rows of a dataset that the library `datasets` reads: from the hub by name, or from a local folder or file.

A path that is there on disk is read from disk; anything else is a hub name. What cannot be reached is one message
with what to do, not the library's traceback.

    source = HubTasks(source="hf", path="openai/gsm8k", name="main", test_split="test").open(Path("."), seed=0)
    source.train, source.test
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from pydantic import model_validator

from stillroom.common.files import at_home
from stillroom.common.records import AnswerType
from stillroom.common.row_files import near_names, plain
from stillroom.errors import InputError, MissingExtra, MissingFile, RecipeError
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
_BUILDERS = {".parquet": "parquet", ".csv": "csv", ".json": "json", ".jsonl": "json", ".arrow": "arrow"}


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
        try:
            import datasets
        except ImportError as error:
            raise MissingExtra("the task source hf", "datasets", "train") from error
        were_off = datasets.utils.are_progress_bars_disabled()
        datasets.disable_progress_bars()  # they would be drawn over ours
        try:
            train = _rows(_split(datasets, self, base, self.split), f"{self.path}[{self.split}]")
            if self.test_split is None:
                return Source(train, None)
            test = _split(datasets, self, base, self.test_split)
            return Source(train, _rows(test, f"{self.path}[{self.test_split}]"))
        finally:
            if not were_off:
                datasets.enable_progress_bars()


def _split(datasets: Any, settings: HubTasks, base: Path, split: str) -> Any:
    """A split, opened; `datasets`: the library."""
    path = base / at_home(settings.path)
    try:
        if path.exists():
            return _local_split(datasets, path, settings, split)
        name = settings.path  # on the hub: `name` or `owner/name`; anything else is a missing path
        if name.startswith((".", "/", "~")) or name.count("/") > 1 or Path(name).suffix in _BUILDERS:
            raise MissingFile(f"tasks.path: there is no {path}{near_names(path)}")
        return datasets.load_dataset(settings.path, settings.name, split=split)
    except InputError:
        raise
    except (datasets.exceptions.DatasetNotFoundError, datasets.exceptions.DataFilesNotFoundError) as error:
        raise MissingFile(
            f"tasks.path: no dataset {settings.path!r} here or on the hub ({_first_line(error)}): check the name; a "
            "private or gated one needs a token (`hf auth login`)"
        ) from error
    except (ConnectionError, OSError) as error:
        raise InputError(
            f"tasks.path: the hub cannot be reached for {settings.path!r} ({_first_line(error)}): check the network, "
            "or download the dataset where there is one and give its local folder as tasks.path"
        ) from error
    except (ValueError, KeyError) as error:
        raise RecipeError(f"tasks: {settings.path!r}, split {split!r}: {_first_line(error)}") from error


def _local_split(datasets: Any, path: Path, settings: HubTasks, split: str) -> Any:
    if path.is_file():
        builder = _BUILDERS.get(path.suffix)
        if builder is None:
            raise RecipeError(f"tasks.path: {path.name} is none of {', '.join(_BUILDERS)}: convert it to one of them")
        return datasets.load_dataset(builder, data_files={split: str(path)}, split=split)
    if not (path / "dataset_dict.json").is_file() and not (path / "state.json").is_file():
        return datasets.load_dataset(str(path), settings.name, split=split)
    saved = datasets.load_from_disk(str(path))  # what `save_to_disk` wrote
    if not isinstance(saved, dict):
        return saved  # a single dataset has no split names and is taken as it is
    if split not in saved:
        raise RecipeError(f"tasks: no split {split!r}: there are {', '.join(sorted(saved))}")
    return saved[split]


def _rows(dataset: Any, where: str) -> Iterator[Row]:
    for number, values in enumerate(dataset, start=1):
        yield Row(f"{where}:{number}", {key: plain(value) for key, value in values.items()})


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0][:200]
