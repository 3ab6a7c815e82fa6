"""Trainings that are stopped and go on: the student is the one of an uninterrupted training, byte for byte."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import TypeAdapter

from bench.train_resume import made, row
from stillroom.common.run_async import off_the_loop
from stillroom.errors import Interrupted, NoRoom, TrainingError
from stillroom.pipeline.stages.train import training_inputs
from stillroom.students.methods.registry import Student, StudentSettings
from stillroom.students.records import StepInfo, Trained, TrainingPlace

ROOT = Path(__file__).parents[2]
STEPS = 6


class Stopped(Exception):
    """What ends a training in the middle."""


class Training:
    """One training of a tiny student: 8 rows, 2 epochs of 3 steps. `folder`: it is written to `folder/student`."""

    def __init__(self, tiny: Path, folder: Path, **settings: Any) -> None:
        folder.mkdir(exist_ok=True)
        given = {"model": str(tiny), "epochs": 2, "batch_size": 3, "learning_rate": 1e-2, "dtype": "float32"}
        given |= {"lora": {"r": 4, "dropout": 0.2}, "checkpoints": {"steps": 2}} | settings
        self.settings: StudentSettings = TypeAdapter(Student).validate_python(given)
        self.folder, self.told = folder, list[str]()
        self.done = Counter[int]()

    def __call__(self, on_step: Callable[[StepInfo], object] = lambda step: None, **changes: Any) -> Trained:
        def seen(step: StepInfo) -> None:
            self.done[step.step] += 1
            assert step.total == STEPS
            on_step(step)

        settings = self.settings.model_copy(update=changes)
        place = TrainingPlace(tell=self.told.append)
        rows = [row(i, settings.method) for i in range(8)]
        return settings.train(rows, self.folder / "student", seed=7, on_step=seen, place=place)

    @property
    def checkpoints(self) -> list[str]:
        return sorted(path.parent.name for path in self.folder.glob(".student.checkpoints/sft/*/checkpoint.json"))


def at(number: int, do: Callable[[], object]) -> Callable[[StepInfo], None]:
    """Does something in the step of a number."""

    def on_step(step: StepInfo) -> None:
        if step.step == number:
            do()

    return on_step


def stop() -> None:
    raise Stopped


def press() -> None:
    """Ctrl-C."""
    os.kill(os.getpid(), signal.SIGINT)


@pytest.fixture(scope="module")
def whole(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The student of an uninterrupted training without checkpoints."""
    training = Training(tiny, tmp_path_factory.mktemp("whole"), checkpoints=False)
    training()
    return made(training.folder)


@pytest.fixture
def training(tiny: Path, tmp_path: Path) -> Training:
    return Training(tiny, tmp_path / "run")


@pytest.mark.parametrize(("step", "goes_on"), [(1, None), (3, 2), (4, 2), (5, 4), (6, 4)])
def test_a_stopped_training_ends_with_the_same_student(
    step: int, goes_on: int | None, training: Training, whole: dict[str, Any]
) -> None:
    """Step 3 is the last of its epoch. What stops it comes before the step's own checkpoint."""
    with pytest.raises(Stopped):
        training(at(step, stop))
    assert not (training.folder / "student").exists()
    trained = training()
    assert made(training.folder) == whole
    assert training.told == ([] if goes_on is None else [f"goes on from step {goes_on} of 6"])
    assert [training.done[n] for n in range(1, 7)] == [1 + ((goes_on or 0) < n <= step) for n in range(1, 7)]
    assert list(trained.losses) == pytest.approx(whole["losses"], abs=1e-6)
    assert [path.name for path in training.folder.iterdir()] == ["student"]


@pytest.mark.parametrize(
    "method",
    [
        {"method": "dpo", "lora": {"r": 4}},
        {"method": "dpo", "lora": {"r": 4}, "dpo": {"sft_first": {"epochs": 2}, "precompute_ref": False}},
        {"method": "distil", "rehearse": {"prompts": "everyday", "n": 3, "max_tokens": 4}},
        {"method": "distil", "on_policy": {"share": 0.5, "refresh": 3, "sampling": {"max_tokens": 6}}},
    ],
    ids=["dpo", "dpo_after_sft", "rehearsal", "on_policy"],
)
def test_so_does_every_other_method(method: dict[str, Any], tiny: Path, tmp_path: Path) -> None:
    """Gone on with amid the second epoch, whose order of rows was drawn at its beginning."""
    if method["method"] == "distil":
        method = method | {"teacher": str(tiny), "objectives": [{"kind": "soft"}, {"kind": "hard"}]}
    whole, training = Training(tiny, tmp_path / "whole", **method), Training(tiny, tmp_path / "run", **method)
    whole(checkpoints=None)

    def on_step(step: StepInfo) -> None:
        last = "dpo" if method["method"] == "dpo" else "sft"
        if step.step == 5 and step.phase == last:
            stop()

    with pytest.raises(Stopped):
        training(on_step)
    training()
    assert made(training.folder) == made(whole.folder)
    assert training.told[-1] == "goes on from step 4 of 6"
    assert [path.name for path in training.folder.iterdir()] == ["student"]


def test_a_training_that_is_stopped_again_and_again_gets_there(training: Training, whole: dict[str, Any]) -> None:
    for step in (3, 5, 6):
        with pytest.raises(Stopped):
            training(at(step, stop))
    training()
    assert made(training.folder) == whole


def test_only_the_last_ones_are_kept_until_the_student_is_finished(training: Training) -> None:
    with pytest.raises(Stopped):
        training(at(6, stop), checkpoints=training.settings.checkpoints.model_copy(update={"steps": 1, "keep": 3}))  # type: ignore[union-attr]
    assert training.checkpoints == ["checkpoint-3", "checkpoint-4", "checkpoint-5"]
    training()
    assert training.checkpoints == []


def test_a_training_that_was_done_but_not_written_is_not_done_again(
    training: Training, whole: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr("stillroom.students.methods.common.save_student", lambda *args: stop())
        with pytest.raises(Stopped):
            training()
    training()
    assert made(training.folder) == whole
    assert set(training.done.values()) == {1}
    assert training.told == ["all 6 steps were done before: its weights are taken from there"]


def test_a_damaged_checkpoint_is_told_and_the_one_before_is_taken(training: Training, whole: dict[str, Any]) -> None:
    with pytest.raises(Stopped):
        training(at(5, stop))
    file = training.folder / ".student.checkpoints" / "sft" / "checkpoint-4" / "optimizer.pt"
    file.write_bytes(file.read_bytes()[:-100])
    training()
    assert made(training.folder) == whole
    assert "optimizer.pt has changed" in training.told[0]
    assert training.told[1:] == ["goes on from step 2 of 6"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"learning_rate": 2e-2}, "student.learning_rate (0.01 then, 0.02 now)"),
        ({"seed": 8}, "seed (7 then, 8 now)"),
        ({"system": "Be brief."}, "rows"),
    ],
)
def test_a_changed_setting_starts_again_and_says_so(
    changes: dict[str, Any], said: str, tiny: Path, training: Training, tmp_path: Path
) -> None:
    with pytest.raises(Stopped):
        training(at(5, stop))
    other = Training(tiny, tmp_path / "other", **changes)
    other()
    training(**changes)
    assert made(training.folder) == made(other.folder)
    assert len(training.told) == 1
    assert "starts again" in training.told[0]
    assert said in training.told[0]


@pytest.mark.parametrize("changes", [{"checkpoints": None}, {"checkpoints": {"steps": 1}}, {"save_merged": False}])
def test_what_does_not_decide_the_student_does_not_name_it(changes: dict[str, Any], training: Training) -> None:
    """A student that is finished is not trained again for it."""
    changed = training.settings.model_validate(training.settings.model_dump() | changes)
    same = [training_inputs([], each, Path(), 7) for each in (training.settings, changed)]
    assert (same[0] == same[1]) is ("save_merged" not in changes)
    assert "checkpoints" not in training.settings.decides()


def test_ctrl_c_saves_a_checkpoint_first(training: Training, whole: dict[str, Any]) -> None:
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(Interrupted, match=r"at step 3 of 6: its checkpoint of step 3 is kept.*same command"):
        training(at(3, press))
    assert signal.getsignal(signal.SIGINT) is before
    assert training.checkpoints == ["checkpoint-2", "checkpoint-3"]
    assert "Ctrl-C again to stop at once" in training.told[0]
    training()
    assert made(training.folder) == whole
    assert training.done == Counter(range(1, 7))


def test_ctrl_c_twice_stops_at_once_and_tells_what_is_kept(training: Training, whole: dict[str, Any]) -> None:
    def twice() -> None:
        press()
        press()

    with pytest.raises(Interrupted, match=r"at step 3 of 6: its checkpoint of step 2 is kept"):
        training(at(3, twice))
    training()
    assert made(training.folder) == whole


@pytest.mark.parametrize("step", [1, 3])
def test_ctrl_c_without_checkpoints_says_that_nothing_of_it_is_kept(step: int, training: Training) -> None:
    with pytest.raises(Interrupted, match=f"at step {step} of 6: no checkpoint of it is there.*from its first step"):
        training(at(step, press), checkpoints=None)
    assert list(training.folder.iterdir()) == []


class Heard(list[str]):
    """What is told; sets an event."""

    def __init__(self, event: threading.Event) -> None:
        super().__init__()
        self._event = event

    def append(self, text: str) -> None:
        super().append(text)
        self._event.set()


async def test_ctrl_c_in_a_notebook_saves_a_checkpoint_too(training: Training) -> None:
    """There the training runs in another thread, and Ctrl-C reaches the main one."""
    heard = threading.Event()
    training.told = Heard(heard)

    def press_and_wait() -> None:
        press()
        assert heard.wait(60)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a test's event loop has another one
    try:
        with pytest.raises(Interrupted, match="its checkpoint of step 3 is kept"):
            off_the_loop(lambda: training(at(3, press_and_wait)))()
    finally:
        signal.signal(signal.SIGINT, before)


def full(path: Any, *_: Any, **__: Any) -> None:
    raise OSError(errno.ENOSPC, "No space left on device", str(path))


def test_a_full_disk_stops_and_the_last_good_checkpoint_stays(
    training: Training, whole: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        fill = lambda: patched.setattr("transformers.trainer.torch.save", lambda what, path: full(path))  # noqa: E731
        with pytest.raises(NoRoom, match=r"checkpoint of step 4 .*No space left.*that of step 2 is kept"):
            training(at(4, fill))
    assert training.checkpoints == ["checkpoint-2"]
    assert [path.name for path in training.folder.iterdir()] == [".student.checkpoints"]
    training()
    assert made(training.folder) == whole


def test_a_training_that_diverged_does_not_go_on_from_a_step_that_is_no_number(training: Training) -> None:
    with pytest.raises(TrainingError, match="diverged"):
        training(learning_rate=float("inf"))
    assert training.checkpoints in ([], ["checkpoint-2"])


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="every training is a process that is forked")
@pytest.mark.parametrize("case", ["sft", "dpo", "kto", "orpo", "on_policy"])
def test_a_training_killed_by_sigkill_ends_with_the_same_student(case: str, tmp_path: Path) -> None:
    """Before a step of the optimiser, amid the writing of a checkpoint, around its naming, before the student's files."""
    file = tmp_path / "kills.json"
    command = [sys.executable, str(ROOT / "bench" / "train_resume.py"), "--only", case, "--kills", "5"]
    ended = subprocess.run([*command, "--json", str(file)], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    found = json.loads(file.read_text(encoding="utf-8"))
    assert {each["kind"] for each in found} == {"step", "checkpoint_written", "checkpoint_named", "student", "record"}
    assert all(each["same"] for each in found)
    assert sum(each["went_on"] is not None for each in found) >= 3


def test_threads_are_one() -> None:
    """What these comparisons rest on: sums of floats depend on the number of threads."""
    assert torch.get_num_threads() == 1
