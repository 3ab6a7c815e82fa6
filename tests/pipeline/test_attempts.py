"""The export of attempts: in draw order, without what is held out, and the same whether it is held or streamed."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from stillroom.errors import InputError, RunError
from stillroom.pipeline.flows.run import run
from stillroom.pipeline.planning.status import attempts, write_attempts
from stillroom.pipeline.run.progress import Display

TASKS, DRAWS, HELD_OUT = 12, 3, 2


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A run of a recording whose rows stand in no order at all."""
    sums = [{"id": f"t{i}", "question": f"{i} + 1?", "answer": str(i + 1)} for i in range(TASKS)]
    said = [
        {"task_id": f"t{i}", "index": draw, "text": f"#### {i + 1}" if draw else "no", "completion_tokens": 3}
        for draw in (2, 0, 1)
        for i in reversed(range(TASKS))
    ]
    for name, rows in (("sums", sums), ("said", said)):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    tasks = {"source": "jsonl", "path": str(tmp_path / "sums.jsonl"), "id": "id", "prompt": "question"}
    recipe = {
        "name": "sums",
        "tasks": {**tasks, "reference": "answer", "test": HELD_OUT},
        "teacher": {"kind": "recorded", "path": str(tmp_path / "said.jsonl")},
        "keep": {"policy": "fixed", "attempts": DRAWS},
        "filters": ["finished"],
    }
    run(recipe, out=tmp_path / "run", display=Display(Console(file=io.StringIO())))
    return tmp_path / "run"


def test_they_stand_in_draw_order_task_by_task(folder: Path) -> None:
    rows = attempts(folder).rows
    assert len(rows) == (TASKS - HELD_OUT) * DRAWS
    places = [(row["task_id"], row["index"]) for row in rows]
    assert places == sorted(places)
    assert {(row["index"], row["verdict"]) for row in rows if row["index"]} == {(1, "accepted"), (2, "accepted")}


@pytest.mark.parametrize("held_out", [False, True])
def test_streamed_they_are_the_same_bytes(folder: Path, tmp_path: Path, held_out: bool) -> None:
    held, streamed = io.BytesIO(), io.BytesIO()
    found = attempts(folder, out=tmp_path / "held.jsonl", held_out=held_out)
    found.write(held)
    assert write_attempts(folder, streamed, held_out=held_out) == len(found)
    assert write_attempts(folder, tmp_path / "streamed.jsonl", held_out=held_out) == len(found)
    written = {held.getvalue(), streamed.getvalue()}
    assert written == {(tmp_path / f"{name}.jsonl").read_bytes() for name in ("held", "streamed")}
    assert len(written) == 1


def test_a_file_that_cannot_be_finished_is_not_left_half_written(folder: Path, tmp_path: Path) -> None:
    (folder / "recipe.yaml").write_text("name: [")
    with pytest.raises(InputError, match="--held-out writes all"):
        write_attempts(folder, tmp_path / "half.jsonl")
    with pytest.raises(RunError, match="cannot write"):
        write_attempts(folder, tmp_path / "sums.jsonl" / "x.jsonl", held_out=True)
    assert [path.name for path in tmp_path.iterdir() if "half" in path.name] == []
