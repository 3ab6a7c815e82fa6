"""Files that grow bit by bit while other things are read, and are there whole or not at all.

`replaced` takes any OSError of its block for one of the file. Here only writing is in a block of the file: what goes
wrong with a ledger that is being read meanwhile is not reported as a disk that is full.

    file = Growing(folder / "rejects.jsonl")
    with file.writing() as out:
        out.write(b"...")
    file.keep()          # or file.discard()

    with ParquetRows(folder / "train.parquet", schema) as rows:
        rows.add({"text": "..."})
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from stillroom.common.files import replaced

GROUP_ROWS = 10_000
"""Rows of a row group."""
GROUP_BYTES = 64 * 1024 * 1024
"""Bytes after which a row group ends before it has so many rows: long traces must not fill the memory."""
_BATCH_ROWS = 500  # rows that are held as Python objects


class Growing:
    """One file. Raises RunError where it cannot be written."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._context = replaced(path)
        self._file: IO[bytes] | None = self._context.__enter__()

    @contextmanager
    def writing(self) -> Iterator[IO[bytes]]:
        """The file, for a block in which nothing but writing is done."""
        assert self._file is not None, "written to after its end"
        try:
            yield self._file
        except OSError as error:
            self._file = None
            self._context.__exit__(type(error), error, error.__traceback__)
            raise

    def keep(self) -> None:
        """Puts the file in its place."""
        if self._file is not None:
            self._file = None
            self._context.__exit__(None, None, None)

    def discard(self) -> None:
        """Leaves nothing behind. Safe to call after `keep`."""
        if self._file is not None:
            self._file = None
            with suppress(_Discarded):
                self._context.__exit__(_Discarded, _Discarded(), None)


class _Discarded(Exception):
    """Ends the block of a file that is not wanted."""


class ParquetRows:
    """Rows in the order in which they are added; a file only where there are any. `count`: how many.

    The same rows give the same file, byte for byte. What is held are the rows of one row group, at most.
    `schema`: makes the table's schema with pyarrow, which is loaded for the first rows only.
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

    def _pack(self) -> None:
        """Makes Arrow's columns of the rows; writes the group when it is full."""
        import pyarrow as pa

        if self._rows:
            self._group.append(pa.RecordBatch.from_pylist(self._rows, schema=self._make_schema(pa)))
            self._rows = []
        rows, size = (sum(getattr(batch, what) for batch in self._group) for what in ("num_rows", "nbytes"))
        if rows >= GROUP_ROWS or size >= GROUP_BYTES:
            self._write_group()

    def _write_group(self) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

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
                self._finish()
        finally:
            self._discard()

    def _finish(self) -> None:
        self._pack()
        if self._group:
            self._write_group()
        assert self._file is not None
        with self._file.writing():
            self._writer.close()
        self._file.keep()

    def _discard(self) -> None:
        if self._writer is not None and self._writer.is_open:
            # pyarrow ends an open file when it is collected, and complains then where nobody listens.
            with suppress(OSError, ValueError):
                self._writer.close()
        if self._file is not None:
            self._file.discard()
