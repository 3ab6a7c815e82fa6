"""Tasks in a file: the same tasks, wherever they are kept, and a sequence that is like a tuple."""

from __future__ import annotations

import gc
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stillroom.common.records import Message, Task, user
from stillroom.errors import RunError
from stillroom.traces.tasks import JsonlTasks, load_tasks, store
from stillroom.traces.tasks.store import TaskSequence, TaskStore

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
TASKS = st.builds(
    Task,
    id=st.text(max_size=8),
    messages=st.lists(st.builds(Message, st.sampled_from(["system", "user"]), st.text(max_size=30)), max_size=3).map(
        tuple
    ),
    reference=st.none() | st.text(max_size=5),
    source=st.text(max_size=8),
    metadata=st.dictionaries(st.text(max_size=5), PLAIN, max_size=3),
)


@pytest.fixture(params=[0, 10**6], ids=["on disk", "in memory"])
def room(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A store keeps so many bytes in memory."""
    monkeypatch.setattr(store, "IN_MEMORY_BYTES", request.param or 1)  # 0 would be without limit
    return request.param


def sequence(tasks: list[Task]) -> TaskSequence:
    held = TaskStore()
    return held.sequence([held.add(task) for task in tasks])


@pytest.mark.parametrize("in_memory", [1, 10**6])
@settings(max_examples=60, deadline=None)
@given(tasks=st.lists(TASKS, max_size=8), cut=st.slices(8))
def test_a_sequence_is_like_a_tuple_of_its_tasks(in_memory: int, tasks: list[Task], cut: slice) -> None:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(store, "IN_MEMORY_BYTES", in_memory)
        found = sequence(tasks)
        assert (len(found), list(found), tuple(found)) == (len(tasks), tasks, tuple(tasks))
        assert found == tasks == found
        assert list(found[cut]) == tasks[cut]
        assert [found[n] for n in range(-len(tasks), len(tasks))] == [*tasks, *tasks]
        assert found.at(reversed(range(len(tasks)))) == tasks[::-1]
        assert found != [*tasks, Task("another", user("q"), None, "s")]
        with pytest.raises(IndexError):
            found[len(tasks)]


def test_reading_and_adding_may_alternate(room: int) -> None:
    held, tasks = TaskStore(), [Task(str(n), user("q" * n), None, "s") for n in range(300)]
    for number, task in enumerate(tasks):
        assert held.add(task) == number
        assert held[number // 2] == tasks[number // 2]
    first, second = held.sequence(range(300)), held.sequence(range(0, 300, 2))
    assert [a.id for a, _ in zip(first, second, strict=False)] == [str(n) for n in range(150)]


def test_what_cannot_be_pickled_is_held(room: int) -> None:
    strange = Task("a", user("q"), None, "s", {"key": lambda: 1})
    found = sequence([strange, Task("b", user("r"), None, "s"), strange])
    assert [task.id for task in found] == ["a", "b", "a"]
    assert found[0].metadata["key"]() == 1


def test_a_full_disk_names_the_folder_and_the_fix(monkeypatch: pytest.MonkeyPatch) -> None:
    held = TaskStore()

    def full(_: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(held._file, "write", full)
    with pytest.raises(RunError, match=r"cannot hold 1 tasks in .*: No space left on device: .*TMPDIR"):
        held.add(Task("a", user("q"), None, "s"))


def test_loaded_tasks_are_not_in_memory(tmp_path: Path) -> None:
    rows = [{"question": f"What is {n} + 1?", "answer": n + 1, "solution": "long"} for n in range(400)]
    (tmp_path / "p.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    before = sum(type(each) is Task for each in gc.get_objects())
    settings_ = JsonlTasks(source="jsonl", path="p.jsonl", test=10, shuffle=True)
    tasks = load_tasks(settings_, base=tmp_path, seed=1)
    assert (len(tasks.train), len(tasks.test)) == (390, 10)
    gc.collect()
    assert sum(type(each) is Task for each in gc.get_objects()) - before <= 12
    assert tasks.train[3].metadata == {"solution": "long"}
