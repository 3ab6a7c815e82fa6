"""`earlier`: a student that learns from the rows of earlier runs, too; each thing said once, and nothing paid twice."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from stillroom.errors import InputError, MissingFile
from stillroom.pipeline.flows.traces import RunResult
from stillroom.pipeline.run.progress import Display
from stillroom.pipeline.stages.filter import Distilled
from stillroom.sampling.teachers.recorded import RecordedTeacher
from stillroom.traces.rows import SftRow, sft_file
from tests.conftest import stillroom, write_sums
from tests.pipeline.runs import run

QUIET = Display(quiet=True)


def row(prompt: str, completion: str, task: str = "t", index: int = 0) -> SftRow:
    return {
        "prompt": [{"role": "user", "content": prompt}],
        "completion": [{"role": "assistant", "content": completion}],
        "task_id": task,
        "index": index,
    }


def wrote(folder: Path, *rows: SftRow) -> Path:
    with sft_file(folder) as file:
        for each in rows:
            file.add(each)
    return folder


def distilled(folder: Path, rows: list[SftRow], earlier: list[list[SftRow]]) -> Distilled:
    places = tuple(wrote(folder / str(n), *each) for n, each in enumerate(earlier))
    return Distilled(len(rows), len(rows), (), wrote(folder / "sft", *rows), (), None, places)


def said(rows: list[SftRow]) -> list[tuple[str, str]]:
    return [(each["prompt"][-1]["content"], each["completion"][-1]["content"]) for each in rows]


A, B, C = row("a?", "1"), row("b?", "2"), row("c?", "3")
AGAIN = row("a?", "1", task="another", index=7)  # says what A does
OTHER = row("a?", "one")


@pytest.mark.parametrize(
    ("rows", "earlier", "training", "said_before"),
    [
        ([A, B], [], [A, B], 0),
        ([A, AGAIN], [], [A, AGAIN], 0),  # without earlier runs as they are
        ([B], [[A]], [A, B], 0),
        ([C], [[A], [B]], [A, B, C], 0),
        ([A], [[A]], [A], 1),
        ([AGAIN, C], [[A, B]], [A, B, C], 1),
        ([AGAIN], [[A], [A]], [A], 2),
        ([A, AGAIN], [[B]], [B, A], 1),
        ([OTHER], [[A]], [A, OTHER], 0),
        ([A, B, C], [[C, B, A]], [C, B, A], 3),
    ],
)
def test_what_a_student_learns_from(
    tmp_path: Path, rows: list[SftRow], earlier: list[list[SftRow]], training: list[SftRow], said_before: int
) -> None:
    found = distilled(tmp_path, rows, earlier)
    assert said(found.training) == said(training)
    assert found.said_before == said_before
    assert found.rows == rows
    assert found.written + sum(map(len, earlier)) - found.said_before == len(found.training)


def test_a_control_follows_the_same_earlier_rows(tmp_path: Path) -> None:
    found = distilled(tmp_path, [C], [[A, B]])
    assert said(found.after_earlier([OTHER])) == said([A, B, OTHER])
    assert said(found.after_earlier([A])) == said([A, B])
    assert said(distilled(tmp_path / "none", [C], []).after_earlier([A, A])) == said([A, A])


# -- in a run ----------------------------------------------------------------------------------------------------


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The task of every request that reaches a recorded teacher."""
    seen: list[str] = []
    real = RecordedTeacher.sample

    async def sample(self: RecordedTeacher, request: Any, usage: Any) -> Any:
        seen.append(request.task_id)
        return await real(self, request, usage)

    monkeypatch.setattr(RecordedTeacher, "sample", sample)
    return seen


def start(recipe: Path, out: Path, *changes: str) -> RunResult:
    found: RunResult = run(recipe, out=out, set=changes, display=QUIET)
    return found


def read(folder: Path) -> bytes:
    return (folder / "sft" / "train.parquet").read_bytes()


def test_a_run_writes_its_own_rows_alone(tmp_path: Path) -> None:
    recipe = write_sums(tmp_path)
    first = start(recipe, tmp_path / "first", "tasks.limit=8")
    second = start(recipe, tmp_path / "second", "tasks.limit=8", "tasks.skip=8", "earlier=[first/sft]")
    alone = start(recipe, tmp_path / "alone", "tasks.limit=8", "tasks.skip=8")
    assert first.rows > 0
    assert second.rows == alone.rows
    assert read(tmp_path / "second") == read(tmp_path / "alone") != read(tmp_path / "first")


def test_rows_that_were_there_before_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = write_sums(tmp_path)
    first = start(recipe, tmp_path / "first")
    run(recipe, out=tmp_path / "again", set=["earlier=[first/sft]"], display=Display())
    assert f"{first.rows:,} rows say what others do, and are learned from once" in capsys.readouterr().err


@pytest.mark.parametrize("earlier", ["nowhere/sft", "empty", "first"])
def test_earlier_rows_that_are_not_there_are_found_before_anything_is_asked(
    tmp_path: Path, asked: list[str], earlier: str
) -> None:
    recipe = write_sums(tmp_path)
    start(recipe, tmp_path / "first", "tasks.limit=3")
    (tmp_path / "empty").mkdir()
    asked.clear()
    with pytest.raises(MissingFile, match=r"earlier: there are no rows in .*: name the sft/ folder of a run"):
        start(recipe, tmp_path / "run", f"earlier=[first/sft, {earlier}]")
    assert asked == []


def test_earlier_rows_that_go_away_are_found_before_anything_is_asked_again(tmp_path: Path, asked: list[str]) -> None:
    recipe = write_sums(tmp_path)
    start(recipe, tmp_path / "first", "tasks.limit=3")
    changes = ("tasks.skip=3", "earlier=[first/sft]")
    start(recipe, tmp_path / "run", *changes)
    asked.clear()
    start(recipe, tmp_path / "run", *changes)
    shutil.rmtree(tmp_path / "first")
    with pytest.raises(MissingFile, match="earlier"):
        start(recipe, tmp_path / "run", *changes, "keep.per_task=1")
    assert asked == []


@pytest.mark.parametrize("value", ["first/sft", "{a: b}", "[1]"])
def test_earlier_is_a_list_of_folders(tmp_path: Path, value: str) -> None:
    with pytest.raises(InputError, match="earlier"):
        start(write_sums(tmp_path), tmp_path / "run", f"earlier={value}")


def test_the_command_line_says_so_without_a_traceback(tmp_path: Path) -> None:
    recipe = write_sums(tmp_path)
    done = stillroom("run", recipe, "--out", tmp_path / "run", "--set", "earlier=[gone/sft]")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert "earlier: there are no rows in" in " ".join(done.stderr.split())
    assert not (tmp_path / "run" / "sft").exists()


def test_earlier_is_kept_with_the_run(tmp_path: Path) -> None:
    recipe = write_sums(tmp_path)
    start(recipe, tmp_path / "first", "tasks.limit=3")
    start(recipe, tmp_path / "run", "tasks.skip=3", "earlier=[first/sft]")
    assert "- first/sft" in (tmp_path / "run" / "recipe.yaml").read_text()
    assert json.loads((tmp_path / "run" / "run.json").read_text())["tasks"]["train"] == 13
