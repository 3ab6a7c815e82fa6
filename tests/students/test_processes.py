"""`student.processes`: two processes on this CPU give the losses of one, rank 0 alone writes, a dead one ends all."""

from __future__ import annotations

import json
import os
import re
import signal
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from stillroom.common.models.resolve import load_model
from stillroom.errors import Interrupted, RecipeError, TrainingError
from stillroom.sampling.workers.child import descendants
from stillroom.students.export.save import read_record
from stillroom.students.methods import processes
from stillroom.students.methods.distil import Distil
from stillroom.students.methods.dpo import Dpo
from stillroom.students.methods.kto import Kto
from stillroom.students.methods.ranks import Ranks
from stillroom.students.methods.registry import StudentSettings
from stillroom.students.methods.sft import Sft
from stillroom.students.records import StepInfo, TrainingPlace

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]


class Alone(StudentSettings):
    """A method that trains in its own way."""

    method: str = "alone"


METHODS: list[tuple[type[StudentSettings], dict[str, Any]]] = [
    (Sft, {"validation": {"rows": 2, "every": 2, "best": True}}),
    (Dpo, {"learning_rate": 1e-3}),
    (Distil, {"objectives": [{"kind": "soft", "temperature": 2}, {"kind": "hard"}], "teacher_system": "Be sure."}),
]
"""11 rows and batches of 4: the last step has 3, which two processes cannot share out evenly."""


def rows_of(method: type[StudentSettings]) -> list[dict[str, Any]]:
    found = []
    for a in range(11):
        right, wrong = (
            [{"role": "assistant", "content": text}] for text in (str(a + 1) * (a % 4 + 1), "no " * (a % 2 + 1))
        )
        row = {"prompt": [{"role": "user", "content": f"{a} + {'1' * (a % 3 + 1)}?"}], "task_id": f"t{a}"}
        paired = method.learns_from == "pairs"
        found.append(row | ({"chosen": right, "rejected": wrong} if paired else {"completion": right}))
    return found


def settings_of(method: type[StudentSettings], model: Path, **more: Any) -> StudentSettings:
    common = {"model": str(model), "epochs": 2, "learning_rate": 1e-2, "dtype": "float32", "warmup_ratio": 0}
    teacher = {"teacher": str(model)} if method is Distil else {}
    return method.model_validate(common | teacher | {"batch_size": 2, "processes": 2} | more)


@pytest.mark.parametrize(("method", "more"), METHODS)
def test_two_processes_give_the_losses_of_one(
    method: type[StudentSettings], more: dict[str, Any], tiny: Path, tmp_path: Path
) -> None:
    rows, seen, told = rows_of(method), list[StepInfo](), list[str]()
    one = settings_of(method, tiny, batch_size=4, processes=1, **more).train(rows, tmp_path / "one", seed=3)
    two = processes.train(
        settings_of(method, tiny, **more),
        rows,
        tmp_path / "two",
        seed=3,
        on_step=seen.append,
        place=TrainingPlace(tell=told.append),
    )
    assert two.losses == pytest.approx(one.losses, abs=1e-5)
    assert [step.loss for step in seen] == list(two.losses)
    assert (two.tokens, two.rows, two.steps) == (one.tokens, one.rows, one.steps)
    assert sorted(os.listdir(tmp_path)) == ["one", "two"]
    records = [read_record(tmp_path / name) or {} for name in ("one", "two")]
    for name in ("objectives", "rewards", "measures"):
        assert _numbers(records[1].get(name)) == pytest.approx(_numbers(records[0].get(name)), abs=2e-2)
    if "validation" in more:
        found = [[loss for _, loss in record["validation"]["losses"]] for record in records]
        assert found[1] == pytest.approx(found[0], abs=1e-5)
    left, right = (load_model(str(each.model), "float32", "cpu").state_dict() for each in (one, two))
    assert all(torch.allclose(left[name], right[name], atol=1e-4) for name in left)


def _numbers(value: Any) -> list[float]:
    """All of nested lists and mappings, in order. A last step's rewards are means over an uneven number of pairs. Without
    accuracies: at the first step every margin is 0, so that its rounding decides them."""
    if isinstance(value, dict | list):
        each = [found for name, found in value.items() if name != "accuracy"] if isinstance(value, dict) else value
        return [number for part in each for number in _numbers(part)]
    return [] if value is None else [float(value)]


def kill_rank_1() -> None:
    """The second process of those below this one."""
    for pid in descendants(os.getpid()):
        try:
            environment = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        except OSError:
            continue
        if b"RANK=1" in environment and b"WORLD_SIZE=2" in environment:
            os.kill(pid, signal.SIGKILL)
            return
    raise AssertionError("there is no second process")


def stop() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def test_a_process_that_ends_ends_all_and_the_same_command_goes_on(tiny: Path, tmp_path: Path) -> None:
    """Killed at step 2, stopped by Ctrl-C at step 4: the student is the one that nobody disturbed. With dropout, so
    that the random states of both processes count, too."""
    settings = settings_of(Sft, tiny, checkpoints={"steps": 1}, lora={"r": 4, "dropout": 0.1})
    whole, out, before = tmp_path / "whole", tmp_path / "student", set(descendants(os.getpid()))
    processes.train(settings, rows_of(Sft), whole, seed=3)
    for step, disturb, error, says in ((2, kill_rank_1, TrainingError, "SIGKILL"), (4, stop, Interrupted, "step")):

        def at(done: StepInfo, step: int = step, disturb: Callable[[], None] = disturb) -> None:
            if done.step == step:
                disturb()

        with pytest.raises(error, match=says) as raised:
            processes.train(settings, rows_of(Sft), out, seed=3, on_step=at)
        assert "Traceback" not in str(raised.value)
        assert set(descendants(os.getpid())) <= before
        assert not out.exists()
    told: list[str] = []
    processes.train(settings, rows_of(Sft), out, seed=3, place=TrainingPlace(tell=told.append))
    assert [note for note in told if re.search(r"goes on from step [45] of 6", note)]
    for name in ("adapter/adapter_model.safetensors", "merged/model.safetensors"):
        assert (out / name).read_bytes() == (whole / name).read_bytes()
    records = [json.loads((folder / "training.json").read_text()) for folder in (whole, out)]
    assert records[0]["losses"] == records[1]["losses"]
    assert sorted(os.listdir(tmp_path)) == ["student", "whole"]


def test_what_a_process_refuses_is_the_error_of_the_training(tiny: Path, tmp_path: Path) -> None:
    wanted = settings_of(Sft, tiny, validation=11)
    with pytest.raises(ValueError, match="leaves none to train on"):
        processes.train(wanted, rows_of(Sft), tmp_path / "student", seed=3)
    assert os.listdir(tmp_path) == []


def test_what_one_process_alone_can_do_is_refused(tiny: Path) -> None:
    with pytest.raises(ValidationError, match="KTO"):
        settings_of(Kto, tiny)
    with pytest.raises(ValidationError, match="on_policy"):
        settings_of(Distil, tiny, on_policy={}, teacher_system="Be sure.")
    with pytest.raises(ValidationError, match="not one of trl's trainers"):
        settings_of(Alone, tiny)


@pytest.mark.parametrize(("gpus", "fits"), [(0, True), (1, False), (2, True)])
def test_a_process_without_a_gpu_is_refused_before_anything_is_paid(
    gpus: int, fits: bool, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    with nullcontext() if fits else pytest.raises(RecipeError, match=r"processes is 2.* GPUs here is 1"):
        settings_of(Sft, tiny).check(tmp_path, 3)


@pytest.mark.parametrize(
    ("rows", "size", "parts"), [(4, 2, [2, 2]), (3, 2, [2, 1]), (1, 2, [1, 0]), (7, 3, [3, 2, 2])]
)
def test_every_row_is_one_processs(rows: int, size: int, parts: list[int]) -> None:
    found = [list(range(rows))[Ranks(rank, size).part(rows)] for rank in range(size)]
    assert [len(part) for part in found] == parts
    assert [row for part in found for row in part] == list(range(rows))
