"""Writes a file whole or not at all: under a temporary name in the same folder, then renamed.

with replaced(folder / "card.md") as file:
    file.write(b"...")
with ParquetRows(folder / "train.parquet", lambda pa: pa.schema([("text", pa.string())])) as rows:
    rows.add({"text": "..."})

The same rows give the same parquet file, byte for byte: the schema is given and nothing in the file tells the time.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from stillroom.common.secrets import blot, named
from stillroom.errors import InputError, RunError, StillroomError

_SURROGATE = re.compile("[\ud800-\udfff]")
GROUP_ROWS = 10_000
"""Rows of a row group."""
GROUP_BYTES = 64 * 1024 * 1024
"""Bytes at which a row group ends before it has GROUP_ROWS rows: long traces must not fill the memory."""
_BATCH_ROWS = 500  # rows that are held as Python objects


def reachable(path: Path, what: str) -> Path:
    """The path, whether something is there or not. Raises InputError for one that cannot be: a name that is too long,
    a folder that may not be entered. `what`: what it is of, for the message."""
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        pass  # the caller reports it
    except (OSError, ValueError) as error:
        shown = str(path) if len(str(path)) <= 100 else f"{str(path)[:80]}…"
        why = getattr(error, "strerror", None) or error
        raise InputError(f"{what} cannot be at {shown!r}: {why}: give another path") from None
    return path


def at_home(name: str | Path) -> Path:
    """The path, with `~` and `~user` at its beginning replaced. Raises InputError for a user who is not there."""
    try:
        return Path(name).expanduser()
    except RuntimeError:
        user = Path(name).parts[0]
        raise InputError(f"{str(name)[:100]!r}: there is no home folder for {user}: write the path out") from None


@contextmanager
def replaced(path: Path) -> Iterator[IO[bytes]]:
    """A file that takes the place of `path` when the block ends well, and leaves nothing behind when it does not.

    Raises RunError where the disk is full or the folder cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        _sync_folder(path.parent)
    except StillroomError:  # a LedgerError is an OSError, and says itself what happened
        raise
    except OSError as error:
        raise _cannot("write", path, error) from error
    finally:
        with suppress(OSError):  # what went wrong with the file itself is being raised already
            temporary.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    """Sees to it that a power cut does not undo the renaming. Not every system can open a folder or sync it; what was
    written is whole all the same."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def share(file: Path) -> None:
    """Gives a file the rights that a new one has here: some libraries leave theirs to the owner alone, and whoever
    serves a model is often somebody else. Raises OSError."""
    probe = file.with_name(f".{file.name}.{os.getpid()}.new")
    try:
        probe.touch()
        file.chmod(stat.S_IMODE(probe.stat().st_mode))
    finally:
        probe.unlink(missing_ok=True)


class Growing:
    """A file that grows bit by bit while other things are read. Raises RunError where it cannot be written.

    `replaced` takes any OSError of its block for one of the file. Here only writing is in a block of the file: what
    goes wrong with a ledger that is being read meanwhile is not reported as a disk that is full.

        file = Growing(folder / "rejects.jsonl")
        with file.writing() as out:
            out.write(b"...")
        file.keep()          # or file.discard()
    """

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


def remove(path: Path) -> None:
    """Removes a file where there is one. Raises RunError where it cannot be removed."""
    try:
        path.unlink(missing_ok=True)
    except NotADirectoryError:
        return  # no such folder, so no such file
    except OSError as error:
        raise _cannot("remove", path, error) from error


def _cannot(do: str, path: Path, error: OSError) -> RunError:
    return RunError(f"cannot {do} {path}: {error.strerror or error}: free some space or choose another folder")


def readable(text: str) -> str:
    """The text for people: without what `secrets` knows, and with nothing that a terminal obeys or a page lays out.
    Such characters stand as their codes."""
    text = named(text)
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode("ascii") for c in text)


def storable(text: str) -> str:
    """Text that can be written as UTF-8: a lone surrogate, which a model's broken output may hold, becomes U+FFFD,
    and two that make a pair the character that they stand for. Keys and credentials are taken out of it."""
    if not text.isascii() and _SURROGATE.search(text):
        text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return blot(text)
