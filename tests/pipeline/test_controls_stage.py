"""Training the controls of a run: what one of them comes to takes nothing from the others, and is told."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from stillroom.errors import LedgerError, NoRoom, StillroomError, TrainingError
from stillroom.pipeline.config.recipe import Baseline
from stillroom.pipeline.run.progress import Display
from stillroom.pipeline.stages import controls as controls_stage
from stillroom.pipeline.stages import train as students_stage
from stillroom.pipeline.stages.controls import Controls, train_control
from stillroom.students.methods.sft import Sft

ASKED: tuple[Baseline, ...] = ("control_unfiltered", "control_wrong_answers")


def trained(folder: Path, patch: pytest.MonkeyPatch, error: StillroomError | None) -> Controls:
    """Two controls of three rows each, of which the first fails with `error`; two rows of the second are too long."""

    def train(context: Any, student: Any, rows: Any, out: Path, label: str, lint: Any, gate: Any) -> str:
        if error is not None and label == "control":
            raise error
        out.mkdir(parents=True)
        left = [{"name": "row 1", "reason": "too_long", "tokens": 9}] * 2 if label == "wrong" else []
        (out / "training.json").write_text(json.dumps({"rows": 3 - len(left), "left_out": left}))
        return f"model of {label}"

    patch.setattr(students_stage, "train", train)
    patch.setattr(controls_stage, "control_rows", lambda *_: ([1, 2, 3], 3, None))
    context: Any = SimpleNamespace(folder=SimpleNamespace(path=folder), display=Display(quiet=True), base=folder)
    distilled: Any = SimpleNamespace(earlier=())
    nothing: Any = None
    found = Controls({}, [])
    for who in ASKED:
        train_control(context, nothing, Sft(model="m"), who, nothing, distilled, found)
    return found


LEFT_OUT = (
    "control_wrong_answers was trained on 1 of its rows; left out by student.max_length or their end: 2 too_long"
)


def test_rows_that_the_training_left_out_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = trained(tmp_path, monkeypatch, None)
    assert found.models == {"control_unfiltered": "model of control", "control_wrong_answers": "model of wrong"}
    assert found.notes == [LEFT_OUT]


def test_a_control_that_cannot_be_trained_takes_nothing_from_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = trained(tmp_path, monkeypatch, TrainingError("no row is left"))
    assert found.models == {"control_wrong_answers": "model of wrong"}
    assert found.notes == ["control_unfiltered came to no student, and is not there: no row is left", LEFT_OUT]


@pytest.mark.parametrize("error", [NoRoom("disk"), LedgerError("disk")])
def test_what_is_no_fault_of_its_rows_stops_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: StillroomError
) -> None:
    with pytest.raises(type(error)):
        trained(tmp_path, monkeypatch, error)
