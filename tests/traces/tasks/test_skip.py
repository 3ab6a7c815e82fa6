"""`skip` and `limit`: the training tasks in parts, each once, and the same held-out tasks whatever the part."""

from __future__ import annotations

import json
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from stillroom.errors import TaskError
from stillroom.traces.tasks import TaskSet, TaskSettings, load_tasks

READ: TypeAdapter[TaskSettings] = TypeAdapter(TaskSettings)
GYM: dict[str, Any] = {
    "source": "reasoning_gym", "family": "chain_sum", "test": 5,
    "params": {"min_terms": 2, "max_terms": 2, "min_digits": 2, "max_digits": 3},
}  # fmt: skip
SOURCES: dict[str, dict[str, Any]] = {
    "drawn": {"source": "jsonl", "path": "tasks.jsonl", "test": 7},
    "shuffled": {"source": "jsonl", "path": "tasks.jsonl", "test": 7, "shuffle": True},
    "given": {"source": "jsonl", "path": "tasks.jsonl", "test_path": "test.jsonl", "test": 3},
    "generated": GYM,
}
TRAIN = 33


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("tasks")
    for name, numbers in (("tasks", range(40)), ("test", range(100, 110))):
        rows = [{"question": f"What is {i} + 1?", "answer": str(i + 1)} for i in numbers]
        (found / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return found


@cache
def load(folder: Path, source: str, skip: int, limit: int) -> TaskSet:
    return load_tasks(READ.validate_python(SOURCES[source] | {"skip": skip, "limit": limit}), base=folder, seed=3)


@pytest.mark.parametrize("source", SOURCES)
@given(cuts=st.lists(st.integers(1, TRAIN - 1), unique=True, max_size=4).map(sorted))
@settings(max_examples=15, deadline=None)
def test_parts_make_the_whole(folder: Path, source: str, cuts: list[int]) -> None:
    whole = load(folder, source, 0, TRAIN)
    parts = [load(folder, source, a, b - a) for a, b in pairwise([0, *cuts, TRAIN])]
    assert [task for part in parts for task in part.train] == list(whole.train)
    assert all(part.test == whole.test for part in parts)


def test_parts_of_shuffled_generated_tasks_share_none(folder: Path) -> None:
    """Each part is in an order of its own: how many there are in all depends on it."""
    shuffled = READ.validate_python({**GYM, "shuffle": True, "limit": 10})
    parts = [
        load_tasks(shuffled.model_copy(update={"skip": skip}), base=folder, seed=3).train for skip in (0, 10, 20)
    ]
    whole = load(folder, "generated", 0, 30).train
    assert {task.id for part in parts for task in part} == {task.id for task in whole}
    assert [task.id for task in parts[0]] != [task.id for task in whole[:10]]


@pytest.mark.parametrize("source", SOURCES)
def test_without_skip_nothing_is_left_to_another_run(folder: Path, source: str) -> None:
    given = READ.validate_python(SOURCES[source] | {"limit": 9})
    assert given.skip == 0
    assert list(load_tasks(given, base=folder, seed=3).train) == list(load(folder, source, 0, 9).train)


def test_what_a_run_leaves_to_others_is_counted(folder: Path) -> None:
    assert [load(folder, "drawn", skip, 10).beyond_limit for skip in (0, 10, 30)] == [23, 23, 30]


@pytest.mark.parametrize("source", ["drawn", "shuffled"])
def test_a_skip_beyond_the_tasks_is_refused(folder: Path, source: str) -> None:
    with pytest.raises(TaskError, match=r"tasks.skip is 33, and there are 33 training tasks: none is left"):
        load(folder, source, TRAIN, 5)


def test_a_limit_beyond_what_is_left_is_told(folder: Path) -> None:
    found = load(folder, "drawn", 30, 5)
    assert len(found.train) == 3
    assert "tasks.limit is 5, but there are 3 training tasks after the first 30: all are used" in found.notes


def test_a_family_too_small_for_skip_and_limit_says_both(folder: Path) -> None:
    tiny = {"min_terms": 2, "max_terms": 2, "min_digits": 1, "max_digits": 1}
    given = READ.validate_python(GYM | {"params": tiny, "skip": 4000, "limit": 10})
    with pytest.raises(TaskError, match=r"`tasks.skip: 4000` and `tasks.limit: 10` ask for more"):
        load_tasks(given, base=folder, seed=3)


@pytest.mark.parametrize("source", ["drawn", "generated"])
@pytest.mark.parametrize("skip", [-1, "some"])
def test_a_skip_is_a_number(source: str, skip: object) -> None:
    with pytest.raises(ValidationError, match="skip"):
        READ.validate_python(SOURCES[source] | {"skip": skip})
