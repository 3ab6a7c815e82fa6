"""Writes a file whole or not at all: under a temporary name in the same folder, then renamed.

with replaced(folder / "card.md") as file:
    file.write(b"...")
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from stillroom.common.secrets import blot, named
from stillroom.errors import InputError, RunError, StillroomError

_SURROGATE = re.compile("[\ud800-\udfff]")


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
        # A power cut must not undo the renaming. Not every system can open a folder or sync it; what was written is
        # whole all the same.
        with suppress(OSError):
            folder = os.open(path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
    except StillroomError:  # a LedgerError is an OSError, and says itself what happened
        raise
    except OSError as error:
        raise _cannot("write", path, error) from error
    finally:
        with suppress(OSError):  # what went wrong with the file itself is being raised already
            temporary.unlink(missing_ok=True)


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
            self._context.__exit__(GeneratorExit, GeneratorExit(), None)


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
