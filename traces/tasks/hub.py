"""Rows of a dataset that the library `datasets` reads: from the hub by name, or from a local folder or file.

A path that is there on disk is read from disk; anything else is a hub name. What cannot be reached is one message
with what to do, not the library's traceback.

    train, test = hub_rows(settings, base=Path("."))
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, NamedTuple

from stillroom.errors import InputError, MissingExtra, MissingFile, RecipeError
from stillroom.traces.tasks.paths import near_names, resolve
from stillroom.traces.tasks.records import Row
from stillroom.traces.tasks.registry import CommonTasks, Name, Source, sources

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

    @property
    def files(self) -> tuple[str, ...]:
        """What is read: a local file or folder, or a name on the hub."""
        return (self.path,)

    @property
    def holds_out(self) -> bool:
        return self.test_split is not None if self.test is None else bool(self.test)

    def open(self, base: Path, seed: int) -> Source:
        train, test = hub_rows(self, base)
        return Source(train, test)


class HubRows(NamedTuple):
    """Training rows, and those of the test split that the settings name (None: they name none)."""

    train: Iterator[Row]
    test: Iterator[Row] | None


def hub_rows(settings: HubTasks, base: Path) -> HubRows:
    """Opens the splits. Raises MissingFile, RecipeError for an unknown split or name, InputError for the network."""
    datasets = _import()
    with _no_progress_bars(datasets):
        train = _open(datasets, settings, base, settings.split)
        test = None if settings.test_split is None else _open(datasets, settings, base, settings.test_split)
    test_rows = None if test is None else _rows(test, f"{settings.path}[{settings.test_split}]")
    return HubRows(_rows(train, f"{settings.path}[{settings.split}]"), test_rows)


def _import() -> ModuleType:
    try:
        import datasets
    except ImportError as error:
        raise MissingExtra("the task source hf", "datasets", "train") from error
    module: ModuleType = datasets
    return module


@contextmanager
def _no_progress_bars(datasets: ModuleType) -> Iterator[None]:
    """Their bars would be drawn over ours."""
    were_off = datasets.utils.are_progress_bars_disabled()
    datasets.disable_progress_bars()
    try:
        yield
    finally:
        if not were_off:
            datasets.enable_progress_bars()


def _open(datasets: ModuleType, settings: HubTasks, base: Path, split: str) -> Any:
    path = resolve(base, settings.path)
    try:
        if path.exists():
            return _open_local(datasets, path, settings, split)
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


def _open_local(datasets: ModuleType, path: Path, settings: HubTasks, split: str) -> Any:
    if path.is_file():
        builder = _BUILDERS.get(path.suffix)
        if builder is None:
            raise RecipeError(f"tasks.path: {path.name} is none of {', '.join(_BUILDERS)}: convert it to one of them")
        return datasets.load_dataset(builder, data_files={split: str(path)}, split=split)
    if (path / "dataset_dict.json").is_file() or (path / "state.json").is_file():
        return _saved_split(datasets.load_from_disk(str(path)), split)
    return datasets.load_dataset(str(path), settings.name, split=split)


def _saved_split(saved: Any, split: str) -> Any:
    """A split of what `save_to_disk` wrote; a single dataset has no split names and is taken as it is."""
    if not isinstance(saved, dict):
        return saved
    if split not in saved:
        raise RecipeError(f"tasks: no split {split!r}: there are {', '.join(sorted(saved))}")
    return saved[split]


def _rows(dataset: Any, where: str) -> Iterator[Row]:
    for number, values in enumerate(dataset, start=1):
        yield Row(f"{where}:{number}", {key: _plain(value) for key, value in values.items()})


def _plain(value: Any) -> Any:
    """JSON values as they are; anything else (a date, an image) as its text, since metadata is plain data."""
    if value is None or isinstance(value, str | int | float | bool):
        return value
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return str(value)


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0][:200]
