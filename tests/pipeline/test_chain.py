"""Runs that hang together: what one measured, the next need not measure again."""

from __future__ import annotations

import contextlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from stillroom.evaluation.results import Evaluation
from stillroom.pipeline.config.load import load_recipe
from stillroom.pipeline.flows import chain
from stillroom.pipeline.flows.chain import BEFORE_FILE, Chain, hand_on
from stillroom.pipeline.run.folder import RunContext, RunFolder
from stillroom.pipeline.run.progress import Display
from stillroom.report.loop import LoopReport, RoundRow, lines
from tests.conftest import write_sums


def measured(folder: Path, text: str) -> Path:
    (folder / BEFORE_FILE).parent.mkdir(parents=True)
    (folder / BEFORE_FILE).write_text(text)
    return folder


def test_what_the_first_run_measured_of_the_model_before_is_handed_on(tmp_path: Path) -> None:
    earlier = [tmp_path / "0", measured(tmp_path / "1", "first"), measured(tmp_path / "2", "second")]
    hand_on(earlier, tmp_path / "3")
    assert (tmp_path / "3" / BEFORE_FILE).read_text() == "first"


def test_what_a_run_has_itself_stays(tmp_path: Path) -> None:
    hand_on([measured(tmp_path / "1", "first")], measured(tmp_path / "2", "own"))
    assert (tmp_path / "2" / BEFORE_FILE).read_text() == "own"


def test_where_nothing_was_measured_nothing_is_laid(tmp_path: Path) -> None:
    hand_on([tmp_path / "1"], tmp_path / "2")
    assert not (tmp_path / "2").exists()


def timed(train: str | None) -> Any:
    """A run of which only the folder counts. `train`: the stage that it does; None: all was done before."""

    def run_traces(context: RunContext, loaded: Any, *, given: Any = None) -> None:
        folder = context.folder
        folder.note(started=folder["started"] or "then")
        if train == "killed":
            raise KeyboardInterrupt
        if train is not None:
            folder.mark("student", train)
        folder.note(finished="now")

    return run_traces


@pytest.mark.parametrize(
    ("calls", "seconds", "resumed"),
    [
        (["a"], 1.0, False),
        (["a", None], 1.0, False),  # the second call found all done
        (["killed", "a"], 2.0, True),
        (["a", "b"], 2.0, True),  # the student was trained anew, under other settings
    ],
)
def test_the_time_of_a_run_is_that_of_the_last_call_that_did_something(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, calls: list[str | None], seconds: float, resumed: bool
) -> None:
    recipe = write_sums(tmp_path, tasks=4)
    for number, train in enumerate(calls, 1):
        clock = iter((0.0, float(number)))
        monkeypatch.setattr(chain, "time", SimpleNamespace(monotonic=lambda clock=clock: next(clock)))
        monkeypatch.setattr(chain, "run_traces", timed(train))
        with contextlib.suppress(KeyboardInterrupt), Chain(Display(quiet=True)) as runs:
            runs.run(load_recipe(recipe), tmp_path / "run")
    facts = RunFolder(tmp_path / "run", "sums")
    assert (facts["seconds"], facts["resumed"]) == (seconds, resumed)


def test_a_time_that_is_not_all_of_it_says_so() -> None:
    rows = tuple(RoundRow(n, seconds=90.0, resumed=n == 2) for n in (1, 2))
    (time,) = (line for line in lines(LoopReport("x", rows, Evaluation(results=()), "done")) if line.name == "time")
    assert [cell.text for cell in time.cells if cell.text.strip("–")] == ["1 min 30 s", "≥ 1 min 30 s"]
