"""Rows of a data set that the library `datasets` reads: from the hub by name, or from a local folder or file.

A path that is there on disk is read from disk; anything else is a name on the hub. What cannot be reached is one
message with what to do, not the library's traceback.

    for row in DataSet("Anthropic/hh-rlhf", split="test").rows(Path("."), "given.path"): ...    # FileRow
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from stillroom.common.files import at_home
from stillroom.common.row_files.find import SPLITS, STATE, near_names
from stillroom.common.row_files.records import FileRow, plain
from stillroom.errors import InputError, MissingExtra, MissingFile, RecipeError

_BUILDERS = {".parquet": "parquet", ".csv": "csv", ".json": "json", ".jsonl": "json", ".arrow": "arrow"}


class DataSetRows:
    """The rows of an opened data set, as often as they are asked for; one is in memory at a time."""

    def __init__(self, place: Path, dataset: Any) -> None:
        self._place, self._dataset = place, dataset

    def __iter__(self) -> Iterator[FileRow]:
        for number, values in enumerate(self._dataset, start=1):
            yield FileRow(self._place, number, "row", {key: plain(value) for key, value in values.items()})


class DataSet(NamedTuple):
    """A split of a data set. `name`: its configuration, where it has several."""

    path: str
    name: str | None = None
    split: str = "train"

    @property
    def where(self) -> str:
        """`openai/gsm8k[train]`, as rows are placed."""
        return f"{self.path}[{self.split}]"

    def rows(self, base: Path, key: str) -> DataSetRows:
        """Its rows; a local path starts at `base`. `key`: what the path is of, for messages.

        Raises MissingFile, RecipeError for an unknown split or name, InputError for the network, or MissingExtra.
        """
        return DataSetRows(Path(self.where), self._opened(base, key))

    def _opened(self, base: Path, key: str) -> Any:
        try:
            import datasets
        except ImportError as error:
            raise MissingExtra("rows of the hub (source: hf)", "datasets", "train") from error
        were_off = datasets.utils.are_progress_bars_disabled()
        datasets.disable_progress_bars()  # they would be drawn over ours
        try:
            return self._split(datasets, base, key)
        finally:
            if not were_off:
                datasets.enable_progress_bars()

    def _split(self, datasets: Any, base: Path, key: str) -> Any:
        path, part = base / at_home(self.path), key.partition(".")[0]
        try:
            if path.exists():
                return self._local(datasets, path, key)
            name = self.path  # on the hub: `name` or `owner/name`; anything else is a missing path
            if name.startswith((".", "/", "~")) or name.count("/") > 1 or Path(name).suffix in _BUILDERS:
                raise MissingFile(f"{key}: there is no {path}{near_names(path)}")
            return datasets.load_dataset(self.path, self.name, split=self.split)
        except InputError:
            raise
        except (datasets.exceptions.DatasetNotFoundError, datasets.exceptions.DataFilesNotFoundError) as error:
            raise MissingFile(
                f"{key}: no dataset {self.path!r} here or on the hub ({_first_line(error)}): check the name; a "
                "private or gated one needs a token (`hf auth login`)"
            ) from error
        except (ConnectionError, OSError) as error:
            raise InputError(
                f"{key}: the hub cannot be reached for {self.path!r} ({_first_line(error)}): check the network, "
                f"or download the dataset where there is one and give its local folder as {key}"
            ) from error
        except (ValueError, KeyError) as error:
            raise RecipeError(f"{part}: {self.path!r}, split {self.split!r}: {_first_line(error)}") from error

    def _local(self, datasets: Any, path: Path, key: str) -> Any:
        if path.is_file():
            builder = _BUILDERS.get(path.suffix)
            if builder is None:
                raise RecipeError(f"{key}: {path.name} is none of {', '.join(_BUILDERS)}: convert it to one of them")
            return datasets.load_dataset(builder, data_files={self.split: str(path)}, split=self.split)
        if not (path / SPLITS).is_file() and not (path / STATE).is_file():
            return datasets.load_dataset(str(path), self.name, split=self.split)
        saved = datasets.load_from_disk(str(path))  # what `save_to_disk` wrote
        if not isinstance(saved, dict):
            return saved  # a single dataset has no split names and is taken as it is
        if self.split not in saved:
            part = key.partition(".")[0]
            raise RecipeError(f"{part}: no split {self.split!r}: there are {', '.join(sorted(saved))}")
        return saved[self.split]


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0][:200]
