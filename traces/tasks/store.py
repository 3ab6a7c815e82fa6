"""Tasks in a temporary file, in the place of memory: a sequence of which one task is held at a time.

What stays in memory is where each task stands, 8 bytes. Few tasks never reach the disk. The file has no name in its
folder (the system's for temporary files) and is gone with the process; it is read with pickle, which is sound for
what this process wrote itself. What cannot be pickled (a strange object in some metadata) is held as it is. A
sequence is compared, cut and counted like a tuple of tasks.

    store = TaskStore()
    place = store.add(task)
    tasks = store.sequence([place])
    tasks[0], tasks[:10], len(tasks)
"""

from __future__ import annotations

import pickle
import tempfile
import weakref
from array import array
from collections.abc import Iterable, Sequence
from operator import eq
from typing import overload

from stillroom.common.records import Message, Task
from stillroom.errors import RunError

IN_MEMORY_BYTES = 8_000_000
"""Up to here the file is in memory."""


class TaskStore:
    """Tasks that are added once and read as often as wanted. Raises RunError where the disk has no room."""

    def __init__(self) -> None:
        self._file = tempfile.SpooledTemporaryFile(max_size=IN_MEMORY_BYTES)  # noqa: SIM115 - as long as this
        weakref.finalize(self, self._file.close)
        self._starts = array("Q", [0])
        self._held: dict[int, Task] = {}

    def __len__(self) -> int:
        return len(self._starts) - 1

    def add(self, task: Task) -> int:
        """Writes a task; gives its place, counted from 0."""
        turns = [(message.role, message.content) for message in task.messages]
        fields = (task.id, turns, task.reference, task.source, dict(task.metadata), task.answer_type)
        try:
            packed = pickle.dumps(fields, protocol=pickle.HIGHEST_PROTOCOL)
        except (pickle.PicklingError, TypeError, AttributeError, RecursionError):
            self._held[len(self)], packed = task, b""
        try:
            self._file.seek(self._starts[-1])
            self._file.write(packed)
        except OSError as error:
            raise RunError(
                f"cannot hold {len(self) + 1:,} tasks in {tempfile.gettempdir()}: {error.strerror or error}: free "
                "some space, or name another folder in the environment variable TMPDIR"
            ) from error
        self._starts.append(self._starts[-1] + len(packed))
        return len(self) - 1

    def __getitem__(self, place: int) -> Task:
        if place in self._held:
            return self._held[place]
        start = self._starts[place]
        self._file.seek(start)
        packed = self._file.read(self._starts[place + 1] - start)
        name, turns, *rest = pickle.loads(packed)
        return Task(name, tuple(Message(*turn) for turn in turns), *rest)

    def sequence(self, places: Iterable[int]) -> TaskSequence:
        """The tasks at these places, in this order."""
        return TaskSequence(self, array("Q", places))


class TaskSequence(Sequence[Task]):
    """Tasks of a store, read when they are looked at."""

    def __init__(self, store: TaskStore, places: array[int]) -> None:
        self._store, self._places = store, places

    def __len__(self) -> int:
        return len(self._places)

    @overload
    def __getitem__(self, at: int) -> Task: ...
    @overload
    def __getitem__(self, at: slice) -> TaskSequence: ...
    def __getitem__(self, at: int | slice) -> Task | TaskSequence:
        if isinstance(at, slice):
            return TaskSequence(self._store, self._places[at])
        return self._store[self._places[at]]

    def at(self, numbers: Iterable[int]) -> TaskSequence:
        """Those of these numbers (from 0, within this sequence), in this order."""
        return TaskSequence(self._store, array("Q", (self._places[number] for number in numbers)))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, TaskSequence | tuple | list):
            return NotImplemented
        return len(self) == len(other) and all(map(eq, self, other))

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"<{len(self):,} tasks>"
