"""Rows of Parquet and of Arrow's two forms, a batch at a time.

for row in parquet_rows(Path("train.parquet")): ...
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from stillroom.common.row_files.records import FileRow, plain
from stillroom.errors import InputError

_BATCH = 1_000


def parquet_rows(path: Path) -> Iterator[FileRow]:
    """The rows of a Parquet file. Raises InputError where it cannot be read."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            yield from _rows(path, file.iter_batches(_BATCH))
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{path}: not a Parquet file that can be read: {_told(error)}") from None


def arrow_rows(path: Path, *, stream: bool) -> Iterator[FileRow]:
    """The rows of an Arrow file. `stream`: it is in the form without an index, as `datasets` writes it. Raises
    InputError where it cannot be read."""
    import pyarrow as pa

    try:
        with pa.memory_map(str(path)) as source:
            if stream:
                yield from _rows(path, pa.ipc.open_stream(source))
            else:
                file = pa.ipc.open_file(source)
                yield from _rows(path, (file.get_batch(number) for number in range(file.num_record_batches)))
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{path}: not an Arrow file that can be read: {_told(error)}") from None


def _rows(path: Path, batches: Any) -> Iterator[FileRow]:
    number = 0
    for batch in batches:
        for start in range(0, batch.num_rows, _BATCH):
            for row in batch.slice(start, _BATCH).to_pylist():
                number += 1
                yield FileRow(path, number, "row", plain(row))


def _told(error: Exception) -> str:
    return (str(error).strip().split("\n") or [""])[0][:200]
