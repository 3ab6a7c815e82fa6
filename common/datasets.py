"""Data sets: files of rows, the cards that go with them, and results that hold rows.

with ParquetRows(folder / "train.parquet", lambda pa: pa.schema([("text", pa.string())])) as rows:
    rows.add({"text": "..."})
stillroom.run("writing_recorded").to_dataset()          # datasets.Dataset
stillroom.audit("runs/writing_recorded").to_pandas()    # pandas.DataFrame

The same rows give the same parquet file, byte for byte: the schema is given and nothing in the file tells the time.
Whatever is put into a card may come from a model or a stranger's recipe: it stays in its cell and is never read as
Markdown or HTML.

>>> one_line("two   words")
'two words'
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from stillroom.common.files import Growing, readable
from stillroom.common.secrets import named_in
from stillroom.errors import MissingFile

if TYPE_CHECKING:
    from datasets import Dataset
    from pandas import DataFrame

GROUP_ROWS = 10_000
"""Rows of a row group."""
GROUP_BYTES = 64 * 1024 * 1024
"""Bytes at which a row group ends before it has GROUP_ROWS rows: long traces must not fill the memory."""
_BATCH_ROWS = 500  # rows that are held as Python objects

# Licence names that the hub knows; https://huggingface.co/docs/hub/repositories-licenses
_HUB_NAMES = """
    apache-2.0 mit openrail bigscience-openrail-m cc0-1.0 cc-by-4.0 cc-by-sa-4.0 cc-by-nc-4.0 cc-by-nc-sa-4.0 odc-by
    bsd-2-clause bsd-3-clause gpl-3.0 agpl-3.0 lgpl-3.0 mpl-2.0 unlicense
    llama2 llama3 llama3.1 llama3.2 llama3.3 llama4 gemma deepseek-license
"""
_HUB_LICENCES = frozenset(_HUB_NAMES.split())


class ParquetRows:
    """Rows in the order in which they are added; a file only where there are any. `count`: how many.

    What is held are the rows of one row group, at most. `schema`: makes the table's schema with pyarrow, which is
    loaded for the first rows only.
    """

    def __init__(self, path: Path, schema: Callable[[Any], Any]) -> None:
        self.count = 0
        self._path, self._make_schema = path, schema
        self._rows: list[Mapping[str, Any]] = []
        self._group: list[Any] = []
        self._file: Growing | None = None
        self._writer: Any = None

    def __enter__(self) -> Self:
        return self

    def add(self, row: Mapping[str, Any]) -> None:
        """Adds one."""
        self.count += 1
        self._rows.append(row)
        if len(self._rows) >= _BATCH_ROWS:
            self._pack()

    def _pack(self, *, last: bool = False) -> None:
        """Makes Arrow's columns of the rows; writes the group when it is full, or the last."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        if self._rows:
            self._group.append(pa.RecordBatch.from_pylist(self._rows, schema=self._make_schema(pa)))
            self._rows = []
        rows, size = (sum(getattr(batch, what) for batch in self._group) for what in ("num_rows", "nbytes"))
        if not rows or not (last or rows >= GROUP_ROWS or size >= GROUP_BYTES):
            return
        # As one chunk: where pages end must not hang on how the rows came.
        table = pa.Table.from_batches(self._group).combine_chunks()
        self._group = []
        if self._file is None:
            self._file = Growing(self._path)
        with self._file.writing() as out:
            if self._writer is None:
                self._writer = pq.ParquetWriter(out, table.schema, compression="zstd")
            self._writer.write_table(table, row_group_size=GROUP_ROWS)

    def __exit__(self, kind: type[BaseException] | None, *_: BaseException | TracebackType | None) -> None:
        try:
            if kind is None and self.count:
                self._pack(last=True)
                assert self._file is not None
                with self._file.writing():
                    self._writer.close()
                self._file.keep()
        finally:
            if self._writer is not None and self._writer.is_open:
                # pyarrow ends an open file when it is collected, and complains then where nobody listens.
                with suppress(OSError, ValueError):
                    self._writer.close()
            if self._file is not None:
                self._file.discard()


class HasRows:
    """Base of results that hold rows, in memory or in a file."""

    __slots__ = ()

    def _rows(self) -> Path | Sequence[dict[str, Any]]:
        """A file of parquet or JSON Lines, or the rows themselves."""
        raise NotImplementedError

    def to_dataset(self) -> Dataset:
        """The rows, as Hugging Face's libraries read them. Raises MissingFile where there are none yet."""
        from datasets import Dataset

        rows = _there(self._rows())
        if not isinstance(rows, Path):
            return Dataset.from_list(list(rows))
        read = Dataset.from_parquet if rows.suffix == ".parquet" else Dataset.from_json
        return read(str(rows))

    def to_pandas(self) -> DataFrame:
        """The rows as a data frame. Raises MissingFile where there are none yet."""
        import pandas as pd

        rows = _there(self._rows())
        if not isinstance(rows, Path):
            return pd.DataFrame(list(rows))
        return pd.read_parquet(rows) if rows.suffix == ".parquet" else pd.read_json(rows, lines=True, dtype=False)


def _there(rows: Path | Sequence[dict[str, Any]]) -> Path | Sequence[dict[str, Any]]:
    if isinstance(rows, Path) and not rows.is_file():
        raise MissingFile(f"there are no rows in {rows}: run the recipe to its end")
    return rows


# -- cards -------------------------------------------------------------------------------------------------------


def front_matter(*, licence: str | None, name: str, tags: Sequence[str], rows: int, splits: Mapping[str, str]) -> str:
    """The YAML between a card's `---` lines, which the hub and `load_dataset` read. `rows`: of all splits. `splits`:
    name of a split to its file."""
    import yaml

    terms = {"license": "unknown"}
    if licence is not None and licence.lower() in _HUB_LICENCES:
        terms = {"license": licence.lower()}
    elif licence is not None:
        terms = {"license": "other", "license_name": one_line(licence)}
    limits = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))
    files = [{"split": split, "path": path} for split, path in splits.items()]
    values: dict[str, Any] = {
        **terms,
        "pretty_name": one_line(name),
        "task_categories": ["text-generation"],
        "tags": list(tags),
        "size_categories": [next((size for limit, size in limits if rows < limit), "1M<n<10M")],
        "configs": [{"config_name": "default", "data_files": files}],
    }
    return yaml.safe_dump(named_in(values), sort_keys=False, allow_unicode=True, width=1000)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """A Markdown table, line by line. Every cell is plain text."""
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    return lines + [f"| {' | '.join(plain(cell) for cell in row)} |" for row in rows]


def plain(text: str) -> str:
    """Text that stays in its cell and is not read as Markdown or HTML."""
    return re.sub(r"([\\|<>`*\[\]])", r"\\\1", one_line(text))


def one_line(text: str) -> str:
    """Text without line breaks, control characters and secrets."""
    return readable(" ".join(re.sub(r"[\x00-\x1f\x7f]", " ", text).split()))
