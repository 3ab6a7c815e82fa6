"""Loads the tasks of a recipe: reads the source, refuses bad rows, holds out the test split.

**How the test split is drawn.** Every good row gets a rank from a hash of (seed, id), and the rows that rank first
are the test split. Neither `limit` nor the order of the file has a say, so a larger limit moves no task from train to
test, and a row added to the file displaces at most one. With a separate test source (`test_path`, `test_split`,
or a generator's second seed) nothing is taken from the training rows, and training rows with a prompt of the test
split are left out.

The whole source is read and checked even where `limit` is small, since the split is drawn from all of it. The test
split is held in memory, the training tasks are not: they are in a temporary file once they are many (`store.py`).
"""

from __future__ import annotations

import heapq
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from stillroom.common.hashing import digest
from stillroom.common.records import Task
from stillroom.errors import TaskError
from stillroom.traces.tasks.gathering import Gathered, refuse_bad_rows, tally
from stillroom.traces.tasks.reading import RowReader
from stillroom.traces.tasks.records import LeftOut, Row, TaskSet
from stillroom.traces.tasks.registry import CommonTasks, Source
from stillroom.traces.tasks.store import TaskSequence

TEST_PREFIX = "test/"


class _Split(NamedTuple):
    train: TaskSequence
    test: tuple[Task, ...]
    left_out: list[LeftOut]
    spare_test: int


def load_tasks(settings: CommonTasks, *, base: Path, seed: int) -> TaskSet:
    """The tasks that `settings` describe; relative paths are relative to `base`.

    Raises TaskError for bad rows (all of them in one message) or too few, MissingFile, MissingExtra, and InputError
    where a hub cannot be reached.
    """
    seed = seed if settings.seed is None else settings.seed
    source = settings.open(base, seed)
    if source.generated:
        split = _generated(settings, source)
    elif source.test is None:
        split = _drawn(settings, source, seed)
    else:
        split = _given(settings, source, source.test, seed)
    return _finish(settings, split, seed, generated=source.generated)


def _gather(
    rows: Iterable[Row | LeftOut], reader: RowReader, apart_from: Collection[bytes] = frozenset()
) -> Gathered:
    gathered = Gathered(reader, apart_from)
    for row in rows:
        gathered.add(row)
    return gathered


def _drawn(settings: CommonTasks, source: Source, seed: int) -> _Split:
    """The test split drawn from the training rows."""
    gathered = _gather(source.train, RowReader(settings))
    _refuse(settings, gathered.left_out)
    tasks = gathered.tasks
    held = _first(tasks, seed, settings.held_out or 0)
    apart = set(held)
    train = tasks.at(number for number in range(len(tasks)) if number not in apart)
    return _Split(train, tuple(tasks.at(held)), gathered.left_out, 0)


def _given(settings: CommonTasks, source: Source, rows: Iterable[Row | LeftOut], seed: int) -> _Split:
    """The test split from the rows of a separate source. Bad rows of both sources are refused together."""
    held = _gather(rows, RowReader(settings, TEST_PREFIX))
    test = tuple(held.tasks.at(_first(held.tasks, seed, settings.held_out)))
    # Training rows stay apart from the whole test source, so that raising `test` moves nothing.
    gathered = _gather(source.train, RowReader(settings), held.keys)
    left_out = [*held.left_out, *gathered.left_out]
    _refuse(settings, left_out)
    return _Split(gathered.tasks, test, left_out, len(held) - len(test))


def _refuse(settings: CommonTasks, left_out: list[LeftOut]) -> None:
    if settings.bad_rows == "refuse":
        refuse_bad_rows(left_out)


def _first(tasks: TaskSequence, seed: int, count: int | None) -> list[int]:
    """The numbers of the tasks that rank first, by rank; `count` None: of all."""

    def rank(number: int) -> str:
        return digest([seed, tasks[number].id])

    numbers = range(len(tasks))
    return sorted(numbers, key=rank) if count is None else heapq.nsmallest(count, numbers, key=rank)


def _finish(settings: CommonTasks, split: _Split, seed: int, *, generated: bool) -> TaskSet:
    train = split.train
    _check_enough(settings, train, split)
    kept = _parted(settings, train, seed, generated)[: settings.limit]
    beyond = len(train) - len(kept) + split.spare_test
    count = len(split.test) - settings.validation  # validation ranks after test, so that it moves no task of it
    notes = tuple(_notes(settings, train))
    return TaskSet(kept, split.test[:count], tuple(split.left_out), beyond, notes, split.test[count:])


def _parted(settings: CommonTasks, train: TaskSequence, seed: int, generated: bool) -> TaskSequence:
    """The training tasks in their order without those that are skipped. A file is shuffled before, so that parts are
    drawn from all of it; generated tasks after, for how many there are depends on the part."""
    if not settings.shuffle:
        return train[settings.skip :]
    if generated:
        part = train[settings.skip :]
        return part.at(_first(part, seed, None))
    return train.at(_first(train, seed, None))[settings.skip :]


def _check_enough(settings: CommonTasks, train: Sequence[Task], split: _Split) -> None:
    wanted = settings.held_out or 0
    if len(train) > settings.skip and len(split.test) >= wanted:
        return
    if train and len(split.test) >= wanted:
        raise TaskError(
            f"tasks.skip is {settings.skip:,}, and there are {len(train):,} training tasks: none is left. "
            "Lower it, or add rows"
        )
    left = f" {len(split.left_out):,} rows were left out: {tally(split.left_out)}." if split.left_out else ""
    have = len(train) + len(split.test)
    raise TaskError(
        f"{have:,} usable tasks ({len(split.test):,} to be held out), but {settings.held_out_in_words} and at least "
        f"one for training are needed.{left} Add rows, or lower what is held out."
    )


def _notes(settings: CommonTasks, train: Sequence[Task]) -> Iterator[str]:
    have = len(train) - settings.skip
    if settings.limit is not None and settings.limit > have:
        after = f" after the first {settings.skip:,}" if settings.skip else ""
        yield f"tasks.limit is {settings.limit:,}, but there are {have:,} training tasks{after}: all are used"
    if settings.reference_after is not None:
        return
    marked = sum("####" in (task.reference or "") for task in train)
    if marked * 2 > len(train):
        yield (
            f"{marked:,} of {len(train):,} references contain '####', as worked solutions of GSM8K do: "
            'set `tasks.reference_after: "####"` to take only the answer'
        )


def _generated(settings: CommonTasks, source: Source) -> _Split:
    """The test split first; then training tasks whose prompt is not in it."""
    held = Gathered(RowReader(settings, TEST_PREFIX))
    drawn = _fill(held, source.test or (), settings.held_out or 0)
    gathered = Gathered(RowReader(settings), held.keys)
    wanted = None if settings.limit is None else settings.skip + settings.limit
    drawn += _fill(gathered, source.train, wanted)
    split = _Split(gathered.tasks, tuple(held.tasks), [*held.left_out, *gathered.left_out], 0)
    _refuse(settings, split.left_out)
    settings.check_enough(len(split.test), len(split.train), drawn)
    return split


def _fill(gathered: Gathered, rows: Iterable[Row | LeftOut], wanted: int | None) -> int:
    """Adds rows until `wanted` tasks are there (None: all) or the rows end; says how many rows were drawn."""
    drawn = 0
    for row in rows if wanted != 0 else ():
        gathered.add(row)
        drawn += 1
        if wanted is not None and len(gathered) >= wanted:
            break
    return drawn
