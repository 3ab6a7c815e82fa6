"""`run.json` says what a run was made from: the hash changes when the content does, and only then."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from stillroom.common.records import Task, user
from stillroom.pipeline.config.load import load_recipe
from stillroom.pipeline.run.folder import input_files, made_from, tasks_hash
from stillroom.traces.tasks import load_tasks
from tests.conftest import write_sums

A = Task("a", user("1 + 1?"), "2", "x:1", {"level": 1})
B = Task("b", user("1 + 2?"), "3", "x:2")


def test_where_tasks_stood_does_not_matter() -> None:
    assert tasks_hash([A]) == tasks_hash([Task("a", user("1 + 1?"), "2", "elsewhere:9", {"level": 1})])


@pytest.mark.parametrize(
    "other",
    [
        [B, A],
        [A],
        [A, B, B],
        [Task("c", user("1 + 1?"), "2", "x:1", {"level": 1}), B],
        [Task("a", user("1 + 1"), "2", "x:1", {"level": 1}), B],
        [Task("a", user("1 + 1?"), None, "x:1", {"level": 1}), B],
        [Task("a", user("1 + 1?"), "2", "x:1", {"level": 2}), B],
    ],
)
def test_content_and_order_of_tasks_matter(other: list[Task]) -> None:
    assert tasks_hash(other) != tasks_hash([A, B])


def test_hashes_of_a_recipe_its_tasks_and_every_file(tmp_path: Path) -> None:
    path = write_sums(tmp_path)
    loaded = load_recipe(path)
    tasks = load_tasks(loaded.recipe.tasks, base=loaded.base, seed=0)
    facts = json.loads(json.dumps(made_from(loaded, tasks)))
    assert facts["recipe"] == {"path": str(path), "base": str(tmp_path)}
    assert facts["hashes"]["tasks"] == tasks_hash(tasks.train) != facts["hashes"]["test_tasks"]
    assert facts["hashes"]["files"] == {
        name: hashlib.sha256((tmp_path / name).read_bytes()).hexdigest()
        for name in ("tasks.jsonl", "recording.jsonl")
    }
    other = made_from(load_recipe(path, ["keep.per_task=1"]), tasks)["hashes"]
    assert other["recipe"] != facts["hashes"]["recipe"]
    assert other["tasks"] == facts["hashes"]["tasks"]


def test_files_of_a_folder_are_named_one_by_one(tmp_path: Path) -> None:
    path = write_sums(tmp_path)
    values = json.loads(path.read_text()) | {"tasks": {"source": "hf", "path": "data"}}
    path.write_text(json.dumps(values))
    (tmp_path / "data" / "more").mkdir(parents=True)
    for name in ("b.jsonl", "a.jsonl", "more/c.jsonl"):
        (tmp_path / "data" / name).write_text("{}")
    names = ["data/a.jsonl", "data/b.jsonl", "data/more/c.jsonl", "recording.jsonl"]
    assert list(input_files(load_recipe(path))) == names
