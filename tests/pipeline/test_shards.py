"""A run on several workers of Ray: the same rows, and a worker that is killed."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections import Counter
from pathlib import Path

import pytest

import stillroom
from stillroom.errors import InputError
from stillroom.pipeline.run.call import Call
from stillroom.pipeline.run.progress import Display

TEACHER = """
import asyncio, hashlib, pathlib

async def teacher(messages, sampling):
    text = messages[-1]["content"]
    told = hashlib.sha256(text.encode()).digest()
    await asyncio.sleep(0.05)
    with (pathlib.Path(__file__).parent / "asked.log").open("a") as file:
        file.write(text + "\\n")
    a, b = (int(word) for word in text.split() if word.isdigit())
    return f"#### {a + b if told[1] % 3 else a - b}"
"""


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    rows = [{"q": f"What is {n} + {n + 7} ?", "a": str(2 * n + 7)} for n in range(60)]
    (tmp_path / "tasks.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    (tmp_path / "teacher.py").write_text(TEACHER, encoding="utf-8")
    file = tmp_path / "sums.yaml"
    file.write_text(
        "name: sums\n"
        "tasks: {source: jsonl, path: tasks.jsonl, prompt: q, reference: a, test: 5}\n"
        'teacher: {kind: python, path: "teacher.py:teacher", concurrency: 6}\n'
        "keep: {per_task: 1, max_attempts: 2}\n",
        encoding="utf-8",
    )
    return file


def run(recipe: Path, out: str, shards: int | None) -> Counter[str]:
    """What the teacher answered, and how often."""
    log = recipe.parent / "asked.log"
    log.unlink(missing_ok=True)
    stillroom.run(recipe, out=recipe.parent / out, trust=True, shards=shards, display=Display(quiet=True))
    return Counter(log.read_text(encoding="utf-8").splitlines())


def workers() -> list[int]:
    """Processes of Ray that work on a shard."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                title = (folder / "cmdline").read_bytes()
            except OSError:  # it has just ended
                continue
            if title.startswith(b"ray::ShardOfRun"):
                found.append(int(folder.name))
    return found


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="finds processes in /proc")
def test_a_killed_worker_changes_no_row_and_is_paid_for_once(recipe: Path) -> None:
    pytest.importorskip("ray")
    alone, log = run(recipe, "alone", None), recipe.parent / "asked.log"
    killed: list[int] = []

    def kill() -> None:
        """The first worker, once something was answered."""
        until = time.monotonic() + 240
        while time.monotonic() < until and not killed:
            if log.exists() and log.read_bytes().count(b"\n") > 15 and (found := workers()):
                os.kill(found[0], signal.SIGKILL)
                killed.append(found[0])
            time.sleep(0.02)

    log.unlink()  # before the thread looks at it
    thread = threading.Thread(target=kill)
    thread.start()
    shared = run(recipe, "shared", 2)
    thread.join()
    assert killed
    rows = [(recipe.parent / out / "sft" / "train.parquet").read_bytes() for out in ("alone", "shared")]
    assert rows[0] == rows[1]
    assert not (recipe.parent / "shared" / "shards").exists()
    assert shared.keys() == alone.keys()
    # Of the killed worker's three slots, at most, an answer was given and not yet written.
    assert sum(shared.values()) - sum(alone.values()) <= 3
    assert not workers()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"shards": 0}, "shards is 0: give 1 to 1,024"),
        ({"shards": 4000}, "shards is 4000"),
        ({"ray": "auto"}, "nothing says how many shards"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_asked(
    recipe: Path, given: dict[str, object], said: str
) -> None:
    with pytest.raises(InputError, match=said):
        stillroom.run(recipe, out=recipe.parent / "run", trust=True, **given)  # type: ignore[arg-type]
    assert not (recipe.parent / "asked.log").exists()


def test_without_shards_it_is_one_process() -> None:
    assert Call.of() == Call(None, None)
