"""A function of the user's that gives rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter

from stillroom.errors import InputError, RecipeError, TaskError
from stillroom.sampling import plugins
from stillroom.traces.tasks import TaskSet, TaskSettings, load_tasks

ADAPTER: TypeAdapter[Any] = TypeAdapter(TaskSettings)


@pytest.fixture(autouse=True)
def _nothing_is_trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plugins, "_trusted", set())


def loaded(folder: Path, code: str, **settings: Any) -> TaskSet:
    (folder / "mine.py").write_text(code)
    found = ADAPTER.validate_python({"source": "python", "path": "mine.py:tasks", **settings})
    plugins.require_trust([found.code(folder, "tasks")], trust=True)
    return load_tasks(found, base=folder, seed=0)


ROWS = """
def tasks(start=0):
    print("made here")
    for n in range(start, start + 2500):
        yield {"question": f"{n} + 1?", "answer": str(n + 1), "level": n % 3}
"""


def test_a_function_gives_tasks(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    tasks = loaded(tmp_path, ROWS, test=100, start=7)
    assert (len(tasks.train), len(tasks.test)) == (2400, 100)
    assert tasks.train[0].reference == str(int(tasks.train[0].messages[0].content.split()[0]) + 1)
    assert tasks.train[0].source.startswith("mine.py:tasks:")
    assert capfd.readouterr() == ("", "")


def test_the_split_is_that_of_a_file_with_these_rows(tmp_path: Path) -> None:
    rows = [f'{{"question": "{n} + 1?", "answer": "{n + 1}"}}' for n in range(50)]
    (tmp_path / "rows.jsonl").write_text("\n".join(rows))
    of_file = load_tasks(
        ADAPTER.validate_python({"source": "jsonl", "path": "rows.jsonl", "test": 9}), base=tmp_path, seed=0
    )
    of_code = loaded(
        tmp_path,
        "import json\ndef tasks(): return map(json.loads, open('" + str(tmp_path / "rows.jsonl") + "'))",
        test=9,
    )
    assert [task.id for task in of_code.test] == [task.id for task in of_file.test]


@pytest.mark.parametrize(
    ("code", "error", "said"),
    [
        ("def tasks(): return [{'question': 'a'}, 3]", TaskError, "mine.py:tasks:2: not_an_object"),
        ("def tasks(): return [{'question': 'a', 'answer': {1}}]", RecipeError, "not plain data: .*set"),
        ("def tasks(): return 3", RecipeError, "mine.py:tasks: .*TypeError: 'int' object is not iterable"),
        (
            "def tasks():\n yield {'question': 'a', 'answer': 'b'}\n raise KeyError('x')",
            RecipeError,
            "mine.py:3: KeyError",
        ),
        ("def tasks():\n while True: pass", RecipeError, "no reply within 0.3 s"),
        ("async def tasks(): return []", RecipeError, "a plain function: write `def tasks"),
    ],
)
def test_what_gives_no_rows_is_one_message(tmp_path: Path, code: str, error: type[InputError], said: str) -> None:
    with pytest.raises(error, match=said):
        loaded(tmp_path, code, timeout_s=0.3)


def test_rows_of_a_worker_that_was_killed_are_not_begun_again(tmp_path: Path) -> None:
    code = f"""
import os, pathlib
flag = pathlib.Path({str(tmp_path / "once")!r})
def tasks():
    for n in range(1500):
        if n == 1200 and not flag.exists():
            flag.touch()
            os.kill(os.getpid(), 9)
        yield {{"question": str(n), "answer": str(n)}}
"""
    with pytest.raises(RecipeError, match="somebody killed its worker: run the same command again"):
        loaded(tmp_path, code)
    assert len(loaded(tmp_path, code).train) == 1500


def test_nothing_runs_without_trust(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(ROWS)
    found = ADAPTER.validate_python({"source": "python", "path": "mine.py:tasks"})
    with pytest.raises(InputError, match="not trusted"):
        load_tasks(found, base=tmp_path, seed=0)
