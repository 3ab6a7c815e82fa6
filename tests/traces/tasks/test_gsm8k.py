"""GSM8K as tasks, where the public file is there."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from stillroom.traces.tasks import JsonlTasks, load_tasks

DATA = Path(os.environ.get("STILLROOM_DATA", Path(__file__).parents[4] / "shared" / "data"))


def test_gsm8k_is_read_whole() -> None:
    path = DATA / "gsm8k" / "train.jsonl"
    if not path.is_file():
        pytest.skip(f"{path} is not there: set STILLROOM_DATA to the folder of the public data")
    given = JsonlTasks(source="jsonl", path="gsm8k/train.jsonl", reference_after="####", limit=500, test=100)
    tasks = load_tasks(given, base=DATA, seed=7)
    assert (len(tasks.train), len(tasks.test), tasks.beyond_limit) == (500, 100, 6873)
    assert tasks.left_out == ()
    assert tasks.train[0].reference == "72"
    assert all(task.reference and "####" not in task.reference for task in (*tasks.train, *tasks.test))
