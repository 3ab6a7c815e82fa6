"""Repeated prompts and ids, and the laws of the held-out split."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from stillroom.common.records import Task
from stillroom.errors import TaskError
from stillroom.traces.tasks import JsonlTasks, Problem, TaskSet, load_tasks
from stillroom.traces.tasks.reading import same_reference


@pytest.fixture
def load(tmp_path: Path) -> Any:
    def _load(rows: list[dict[str, Any]], test_rows: Any = None, seed: int = 1, **given: Any) -> TaskSet:
        (tmp_path / "p.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        if test_rows is not None:
            (tmp_path / "t.jsonl").write_text("".join(json.dumps(row) + "\n" for row in test_rows))
            given["test_path"] = "t.jsonl"
        return load_tasks(JsonlTasks(source="jsonl", path="p.jsonl", **given), base=tmp_path, seed=seed)

    return _load


def rows(count: int, start: int = 0) -> list[dict[str, Any]]:
    return [{"id": n, "question": f"What is {n} + 1?", "answer": n + 1} for n in range(start, start + count)]


def prompts(tasks: tuple[Task, ...]) -> set[str]:
    return {task.messages[-1].content for task in tasks}


def ids(tasks: tuple[Task, ...]) -> list[str]:
    return [task.id for task in tasks]


def test_train_and_test_are_disjoint_and_complete(load: Any) -> None:
    tasks = load(rows(50), test=20)
    assert len(tasks.test) == 20
    assert len(tasks.train) == 30
    assert len(prompts(tasks.train) | prompts(tasks.test)) == 50


def test_train_keeps_the_order_of_the_file_unless_shuffled(load: Any) -> None:
    numbers = [int(i) for i in ids(load(rows(50), id="id", test=20).train)]
    assert numbers == sorted(numbers)
    shuffled = [int(i) for i in ids(load(rows(50), id="id", test=20, shuffle=True).train)]
    assert sorted(shuffled) == numbers
    assert shuffled != numbers


@pytest.mark.parametrize("shuffle", [False, True])
def test_a_larger_limit_moves_no_task_between_the_splits(load: Any, shuffle: bool) -> None:
    small = load(rows(60), test=10, limit=5, shuffle=shuffle)
    large = load(rows(60), test=10, limit=40, shuffle=shuffle)
    assert ids(small.test) == ids(large.test)
    assert ids(large.train)[:5] == ids(small.train)
    assert (small.beyond_limit, large.beyond_limit) == (45, 10)


def test_a_larger_test_split_extends_the_smaller(load: Any) -> None:
    assert ids(load(rows(60), test=20).test)[:10] == ids(load(rows(60), test=10).test)


@pytest.mark.parametrize("own", [True, False])
def test_validation_is_held_out_beside_the_test_split_and_moves_none_of_it(load: Any, own: bool) -> None:
    test_rows = rows(40, start=1000) if own else None
    alone, both = load(rows(60), test_rows, test=10), load(rows(60), test_rows, test=10, validation=15)
    assert both.test == alone.test
    assert (alone.validation, len(both.validation)) == ((), 15)
    assert both.held_out == (*both.test, *both.validation) == load(rows(60), test_rows, test=25).test
    assert not prompts(both.train) & prompts(both.held_out)
    assert len(both.train) == (60 if own else 35)


def test_too_few_rows_to_validate_with_are_told_as_they_were_asked_for(load: Any) -> None:
    with pytest.raises(TaskError, match=r"12 usable tasks .*`tasks.test: 8`, `tasks.validation: 5` and at least one"):
        load(rows(12), test=8, validation=5)
    with pytest.raises(ValidationError, match="validation is held out in addition to test: say how many in test"):
        load(rows(12), validation=5)


def test_the_split_hangs_on_the_seed_alone(load: Any) -> None:
    mixed = sorted(rows(60), key=lambda row: row["id"] * 37 % 60)
    assert ids(load(rows(60), test=10).test) == ids(load(mixed, test=10).test)
    assert ids(load(rows(60), test=10, seed=2).test) != ids(load(rows(60), test=10).test)
    assert ids(load(rows(60), test=10, **{"seed": 1}).test) == ids(load(rows(60), test=10).test)


def test_adding_rows_renames_no_task_and_displaces_at_most_as_many(load: Any) -> None:
    before = load(rows(60), test=10)
    after = load([*rows(3, start=1000), *rows(60)], test=10)
    assert set(ids(before.train)) | set(ids(before.test)) <= set(ids(after.train)) | set(ids(after.test))
    assert len(set(ids(before.test)) - set(ids(after.test))) <= 3


@pytest.mark.parametrize(("count", "test"), [(5, 5), (5, 6), (0, 0)])
def test_too_few_rows_are_refused(load: Any, count: int, test: int) -> None:
    with pytest.raises(TaskError, match=rf"{count} usable tasks .*tasks\.test: {test}"):
        load(rows(count), test=test)


def test_what_was_skipped_is_counted_where_too_few_are_left(load: Any) -> None:
    with pytest.raises(TaskError, match=r"3 rows were left out: missing_field 3\."):
        load([{"prompt": "x"}] * 3, bad_rows="skip")


def test_repeated_prompts_are_left_out_and_counted(load: Any) -> None:
    tasks = load([*rows(2), {"question": "  What is\n0   + 1? ", "answer": "1.0"}, *rows(1)])
    assert len(tasks.train) == 2
    assert [(item.source, item.reason) for item in tasks.left_out] == [
        ("p.jsonl:3", Problem.DUPLICATE_PROMPT),
        ("p.jsonl:4", Problem.DUPLICATE_PROMPT),
    ]


def test_case_makes_another_prompt(load: Any) -> None:
    assert len(load([{"question": "x + X?", "answer": 1}, {"question": "X + X?", "answer": 2}]).train) == 2


def test_contradicting_references_are_refused_at_both_lines(load: Any) -> None:
    bad = [
        *rows(1),
        {"question": "q", "answer": "5"},
        {"question": "q", "answer": "6"},
        {"question": "q", "answer": "7"},
    ]
    with pytest.raises(TaskError) as refused:
        load(bad)
    assert "p.jsonl:2: contradicting_reference: reference '5', but '6' at p.jsonl:3" in str(refused.value)
    assert "p.jsonl:3: contradicting_reference: reference '6', but '5' at p.jsonl:2" in str(refused.value)
    skipped = load(bad, bad_rows="skip")
    assert len(skipped.train) == 1
    assert len(skipped.left_out) == 3


def test_a_repeated_id_is_refused(load: Any) -> None:
    bad = [{"id": "a", "question": "q", "answer": 1}, {"id": "a", "question": "r", "answer": 2}]
    with pytest.raises(TaskError, match=r"p\.jsonl:2: duplicate_id: id 'a' is also at p\.jsonl:1"):
        load(bad, id="id")


def test_a_test_file_of_its_own(load: Any) -> None:
    tasks = load(rows(10), rows(5, start=8), id="id")
    assert len(tasks.test) == 5
    assert prompts(tasks.train).isdisjoint(prompts(tasks.test))
    assert [(item.source, item.reason) for item in tasks.left_out] == [
        ("p.jsonl:9", Problem.IN_TEST_SPLIT),
        ("p.jsonl:10", Problem.IN_TEST_SPLIT),
    ]
    assert set(ids(tasks.test)) == {f"test/{n}" for n in range(8, 13)}


def test_a_part_of_a_test_file_keeps_train_apart_from_all_of_it(load: Any) -> None:
    tasks = load(rows(10), rows(5, start=8), test=1)
    assert len(tasks.test) == 1
    assert len(tasks.train) == 8
    assert tasks.beyond_limit == 4


def test_bad_rows_of_both_files_are_refused_together(load: Any) -> None:
    with pytest.raises(TaskError, match=r"(?s)t\.jsonl:1.*p\.jsonl:1"):
        load([{"question": ""}], [{"question": ""}])


@pytest.mark.parametrize(
    ("a", "b", "same"),
    [
        ("4", "4", True),
        ("1,000", "1000.0", True),
        ("1/2", "0.5", True),
        ("x + 1", "x+1", True),
        ("4", "5", False),
        ("1/0", "1/0", True),
        ("1/0", "0", False),
        ("1e999999999", "1", False),
        (None, "4", False),
        (None, None, True),
    ],
)
def test_references_are_compared_by_value(a: str | None, b: str | None, same: bool) -> None:
    assert same_reference(a, b) is same
    assert same_reference(b, a) is same


@given(st.text(max_size=30), st.text(max_size=30))
def test_comparing_references_never_raises(a: str, b: str) -> None:
    assert same_reference(a, b) == same_reference(b, a)
    assert same_reference(a, a)
