"""The blocks of a cache on disk, and which row is in which: nothing that was paid for is lost or asked again.

    store = Store.open(folder, tell=print)
    found = store.find(keys, temperatures=(1.0, 2.0))      # {key: Found}
    store.add({key: packed}, (1.0, 2.0))

A block is written under a temporary name, synced and renamed, and only then a line of `index.jsonl` names it with
its rows. A process that is killed leaves at most one block unwritten. One that was renamed and not indexed is picked
up when the store is opened, and half a line is passed over. Whoever writes holds a lock, so several processes may
share a folder. A block's name is the hash of its bytes: one that does not match is told, set aside, and its rows are
asked for again. The index says nothing that the blocks do not, so it may be deleted.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from filelock import FileLock

from stillroom.common.files import replaced
from stillroom.errors import RunError
from stillroom.students.whitebox.cache.blocks import SUFFIX, Damaged, read_block, write_block
from stillroom.students.whitebox.cache.record import Packed

INDEX = "index.jsonl"
Tell = Callable[[str], object]


class Found(NamedTuple):
    """A row in the store, and the temperatures that its tails are for."""

    packed: Packed
    temperatures: tuple[float, ...]


class Size(NamedTuple):
    """What a store holds. `bytes`: on disk, the index included."""

    blocks: int
    rows: int
    positions: int
    bytes: int


class _Known(NamedTuple):
    """A block as the index has it."""

    temperatures: tuple[float, ...]
    keys: tuple[str, ...]
    positions: int
    size: int


class Store:
    """See the module. Made by `open` or `read`. `tell`: who hears of what is wrong with a block."""

    def __init__(self, folder: Path, tell: Tell) -> None:
        self._folder, self._tell = folder, tell
        self._blocks: dict[str, _Known] = {}

    @classmethod
    def open(cls, folder: Path, tell: Tell = lambda text: None) -> Store:
        """To read and write; makes the folder. Picks up what a killed process did not index."""
        store = cls(folder, tell)
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RunError(f"cannot write {folder}: {error.strerror or error}: choose another folder") from error
        with store._alone():
            store._read_index()
            for file in sorted(folder.glob(f"*{SUFFIX}")):
                if file.name not in store._blocks:
                    store._take_up(file)
        return store

    @classmethod
    def read(cls, folder: Path, tell: Tell = lambda text: None) -> Store:
        """To read what is indexed, also of a folder that is not there; writes nothing."""
        store = cls(folder, tell)
        store._read_index()
        return store

    def size(self) -> Size:
        """Of the whole store, whoever its rows are for."""
        known = self._blocks.values()
        index = self._folder / INDEX
        return Size(
            len(known),
            len({key for block in known for key in block.keys}),
            sum(block.positions for block in known),
            sum(block.size for block in known) + (index.stat().st_size if index.is_file() else 0),
        )

    def has(self, keys: Iterable[str], temperatures: tuple[float, ...]) -> set[str]:
        """Those of the keys that the index has with these temperatures; no block is read."""
        wanted = set(keys)
        return {key for block in self._fitting(temperatures) for key in block.keys if key in wanted}

    def find(self, keys: Iterable[str], temperatures: tuple[float, ...]) -> dict[str, Found]:
        """The rows that are here with all these temperatures. A damaged block is told and set aside."""
        wanted, found = set(keys), dict[str, Found]()
        for name, block in list(self._blocks.items()):
            mine = wanted & set(block.keys) - set(found)
            if not mine or not set(temperatures) <= set(block.temperatures):
                continue
            try:
                held = read_block(name, (self._folder / name).read_bytes())
            except (OSError, Damaged) as error:
                self._set_aside(name, error)
                continue
            found |= {key: Found(held.entries[key], held.temperatures) for key in mine if key in held.entries}
        return found

    def add(self, entries: Mapping[str, Packed], temperatures: tuple[float, ...]) -> None:
        """Writes a block; it is there for good when the call returns. Raises RunError where it cannot be written."""
        block = write_block(entries, temperatures)
        with self._alone():
            with replaced(self._folder / block.name) as file:
                file.write(block.data)
            positions = sum(packed.positions for packed in entries.values())
            self._index(block.name, _Known(temperatures, tuple(entries), positions, len(block.data)))

    # -- files -----------------------------------------------------------------------------------------------

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """No other process writes meanwhile, so whatever has a temporary name is left over."""
        try:
            with FileLock(self._folder / ".lock"):
                for file in self._folder.glob(f".*{SUFFIX}.*.tmp"):
                    file.unlink(missing_ok=True)
                yield
        except OSError as error:
            if isinstance(error, RunError):
                raise
            raise RunError(f"cannot write in {self._folder}: {error.strerror or error}") from error

    def _fitting(self, temperatures: tuple[float, ...]) -> Iterator[_Known]:
        return (block for block in self._blocks.values() if set(temperatures) <= set(block.temperatures))

    def _read_index(self) -> None:
        """Passes over lines that cannot be read: what they named is picked up again."""
        with suppress(FileNotFoundError):
            for line in (self._folder / INDEX).read_bytes().splitlines():
                with suppress(ValueError, KeyError, TypeError):
                    self._learn(json.loads(line))

    def _learn(self, line: Any) -> None:
        temperatures = tuple(float(t) for t in line["temperatures"])
        known = _Known(temperatures, tuple(map(str, line["keys"])), int(line["positions"]), int(line["bytes"]))
        file = self._folder / str(line["file"])
        if file.parent == self._folder and file.is_file():
            self._blocks[file.name] = known

    def _index(self, name: str, known: _Known) -> None:
        line = {
            "file": name,
            "temperatures": list(known.temperatures),
            "positions": known.positions,
            "bytes": known.size,
            "keys": list(known.keys),
        }
        data = json.dumps(line).encode() + b"\n"
        index = self._folder / INDEX
        with index.open("ab+") as file:
            if file.tell() and not _ends_a_line(index):  # half a line of somebody who was killed
                data = b"\n" + data
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        self._blocks[name] = known

    def _take_up(self, file: Path) -> None:
        try:
            held = read_block(file.name, file.read_bytes())
        except (OSError, Damaged) as error:
            self._set_aside(file.name, error)
            return
        positions = sum(packed.positions for packed in held.entries.values())
        self._index(file.name, _Known(held.temperatures, tuple(held.entries), positions, file.stat().st_size))

    def _set_aside(self, name: str, why: BaseException) -> None:
        """Renames a block, so that nobody takes it for one again."""
        self._blocks.pop(name, None)
        said = why.strerror if isinstance(why, OSError) else str(why)
        self._tell(f"{self._folder / name} is not used ({said}): its rows are asked for again")
        with suppress(OSError):
            (self._folder / name).replace(self._folder / f"{name}.damaged")


def _ends_a_line(file: Path) -> bool:
    with file.open("rb") as handle:
        handle.seek(-1, os.SEEK_END)
        return handle.read(1) == b"\n"
