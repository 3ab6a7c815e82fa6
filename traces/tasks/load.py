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
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Any

from stillroom.common.hashing import digest
from stillroom.common.records import Task
from stillroom.errors import TaskError
from stillroom.traces.tasks.detect import detected
from stillroom.traces.tasks.layouts import FIELDS, Layout, layouts
from stillroom.traces.tasks.reading import Gathered, refuse_bad_rows, tally
from stillroom.traces.tasks.registry import CommonTasks, LeftOut, Row, TaskSet
from stillroom.traces.tasks.store import TaskSequence

TEST_PREFIX = "test/"


def load_tasks(settings: CommonTasks, *, base: Path, seed: int) -> TaskSet:
    """The tasks that `settings` describe; relative paths are relative to `base`.

    Raises TaskError for bad rows (all of them in one message) or too few, MissingFile, MissingExtra, and InputError
    where a hub cannot be reached.
    """
    seed = seed if settings.seed is None else settings.seed
    source = settings.open(base, seed)
    generated, drawn = source.generated, 0
    notes: list[str] = []
    train_rows, layout = source.train, _layout(settings.layout)
    if not generated and settings.layout is None:
        first, train_rows = _peeked(source.train)
        layout = _layout(name := detected(first, settings))
        notes += [_read_as(name)] if name else []
    held = Gathered(settings, TEST_PREFIX, layout=layout)
    if generated or source.test is not None:
        drawn += held.fill(source.test or (), (settings.held_out or 0) if generated else None)
    # Training rows stay apart from the whole test source, so that raising `test` moves nothing.
    gathered = Gathered(settings, apart_from=held.keys, layout=layout)
    enough = settings.skip + settings.limit if generated and settings.limit is not None else None
    drawn += gathered.fill(train_rows, enough)
    left_out = [*held.left_out, *gathered.left_out]  # bad rows of both sources are refused together
    if settings.bad_rows == "refuse":
        refuse_bad_rows(left_out)

    train, spare = gathered.tasks, 0
    if generated:
        test = tuple(held.tasks)
        settings.check_enough(len(test), len(train), drawn)
    elif source.test is not None:
        test = tuple(held.tasks.at(_first(held.tasks, seed, settings.held_out)))
        spare = len(held) - len(test)
    else:
        chosen = _first(train, seed, settings.held_out or 0)
        test, apart = tuple(train.at(chosen)), set(chosen)
        train = train.at(number for number in range(len(train)) if number not in apart)
    _check_enough(settings, train, test, left_out)

    # A file is shuffled before tasks are skipped, so that parts are drawn from all of it; generated tasks after, for
    # how many there are depends on the part.
    part = train
    if settings.shuffle and not generated:
        part = part.at(_first(part, seed, None))
    part = part[settings.skip :]
    if settings.shuffle and generated:
        part = part.at(_first(part, seed, None))
    kept = part[: settings.limit]
    count = len(test) - settings.validation  # validation ranks after test, so that it moves no task of it
    return TaskSet(
        train=kept,
        test=test[:count],
        left_out=tuple(left_out),
        beyond_limit=len(train) - len(kept) + spare,
        notes=(*notes, *_notes(settings, train)),
        validation=test[count:],
    )


_PEEKED = 20  # rows that a layout is told from


def _peeked(rows: Iterable[Row | LeftOut]) -> tuple[list[Mapping[str, Any]], Iterator[Row | LeftOut]]:
    """The values of the first rows, and all rows."""
    stream = iter(rows)
    first = list(islice(stream, _PEEKED))
    return [row.values for row in first if isinstance(row, Row)], chain(first, stream)


def _layout(name: str | None) -> Layout | None:
    return None if name in (None, FIELDS) else layouts[str(name)]()


def _read_as(name: str) -> str:
    return (
        f"rows are read with `tasks.layout: {name}` ({layouts[name].about}); `layout: {FIELDS}` reads the "
        "fields that `tasks.prompt` and `tasks.reference` name instead"
    )


def _first(tasks: TaskSequence, seed: int, count: int | None) -> list[int]:
    """The numbers of the tasks that rank first, by rank; `count` None: of all."""

    def rank(number: int) -> str:
        return digest([seed, tasks[number].id])

    numbers = range(len(tasks))
    return sorted(numbers, key=rank) if count is None else heapq.nsmallest(count, numbers, key=rank)


def _check_enough(
    settings: CommonTasks, train: Sequence[Task], test: Sequence[Task], left_out: Sequence[LeftOut]
) -> None:
    wanted = settings.held_out or 0
    if len(train) > settings.skip and len(test) >= wanted:
        return
    if train and len(test) >= wanted:
        raise TaskError(
            f"tasks.skip is {settings.skip:,}, and there are {len(train):,} training tasks: none is left. "
            "Lower it, or add rows"
        )
    left = f" {len(left_out):,} rows were left out: {tally(left_out)}." if left_out else ""
    if not train and left_out:
        left += f" The first, {left_out[0].source}: {left_out[0].detail}."
    raise TaskError(
        f"{len(train) + len(test):,} usable tasks ({len(test):,} to be held out), but {settings.held_out_in_words} "
        f"and at least one for training are needed.{left} Add rows, or lower what is held out."
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
