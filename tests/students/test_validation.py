"""The loss on rows apart: what it is, that it changes nothing of the training, and what follows from it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import TypeAdapter, ValidationError
from safetensors.torch import load_file

from bench.train_resume import made, row
from stillroom.common.models.resolve import load_model, load_tokenizer
from stillroom.errors import RecipeError
from stillroom.students.data.encode import IGNORED, Encoded, encode_pairs, encode_rows
from stillroom.students.data.rows import read_pairs, read_rows
from stillroom.students.methods.registry import Student, StudentSettings
from stillroom.students.methods.validation import (
    Curve,
    Measured,
    Split,
    Validated,
    ValidationSettings,
    apart,
    by_task,
)
from stillroom.students.records import StepInfo, TrainingPlace

ROWS = 10
HELD = 3
SFT = {"method": "sft"}
DPO = {"method": "dpo"}
SOFT = {"method": "distil", "objectives": [{"kind": "soft"}, {"kind": "hard"}]}


def settings_of(tiny: Path, **given: Any) -> StudentSettings:
    if given.get("method") == "distil":
        given["teacher"] = str(tiny)
    common = {
        "model": str(tiny),
        "epochs": 2,
        "batch_size": 2,
        "learning_rate": 1e-2,
        "dtype": "float32",
        "lora": {"r": 4},
    }
    found: StudentSettings = TypeAdapter(Student).validate_python(common | given)
    return found


def given(method: str) -> list[dict[str, Any]]:
    return [row(i, method) | {"task_id": f"t{i}"} for i in range(ROWS)]


def record(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "student" / "training.json").read_text(encoding="utf-8"))
    return found


@pytest.mark.parametrize(
    ("keys", "wanted", "size"),
    [
        ([("a", "p"), ("b", "q"), ("c", "r"), ("d", "s")], 1, 1),
        ([("a", "p"), ("b", "q"), ("c", "r"), ("d", "s")], 3, 3),
        ([("a", "p"), ("a", "q"), ("a", "r")], 1, 3),
        ([("a", "p"), ("b", "p"), ("b", "q"), ("c", "q")], 2, 4),
        ([(None, "p"), (None, "q"), (None, "p")], 3, 3),
    ],
)
def test_a_task_stands_on_one_side(keys: list[tuple[str | None, str]], wanted: int, size: int) -> None:
    """The same id or the same prompt is the same task."""
    found = by_task(keys, wanted, seed=1)
    assert len(found.validation) == size
    assert sorted(found.training + found.validation) == list(range(len(keys)))
    sides = [[keys[i] for i in side] for side in found]
    assert not {task for task, _ in sides[0]} & {task for task, _ in sides[1]} - {None}
    assert not {prompt for _, prompt in sides[0]} & {prompt for _, prompt in sides[1]}


def test_the_seed_decides_which_tasks_are_apart() -> None:
    keys = [(f"t{i}", f"p{i}") for i in range(40)]
    assert by_task(keys, 8, seed=1) == by_task(keys, 8, seed=1) != by_task(keys, 8, seed=2)
    assert by_task(keys, 0, seed=1) == Split(list(range(40)), [])


@pytest.mark.parametrize(
    ("rows", "of", "wanted"), [(0.05, 100, 5), (0.05, 3, 1), (0.999, 4, 4), (1, 50, 1), (12, 50, 12)]
)
def test_a_share_or_a_number(rows: float, of: int, wanted: int) -> None:
    assert ValidationSettings(rows=rows).wanted(of) == wanted


@pytest.mark.parametrize("value", [0, -1, 1.5, True, {"rows": 0.1, "patience": 0}])
def test_what_is_neither_is_refused(value: Any, tiny: Path) -> None:
    with pytest.raises(ValidationError):
        settings_of(tiny, validation=value)


def test_when_it_is_measured_and_when_it_stops() -> None:
    curve = Curve(ValidationSettings(rows=1, patience=2), 1)
    assert [step for step in range(1, 45) if curve.due(step, 44)] == [*range(4, 45, 4)]
    assert [step for step in range(1, 8) if curve.due(step, 7)] == list(range(1, 8))
    assert [step for step in range(1, 8) if Curve(ValidationSettings(rows=1, every=3), 1).due(step, 7)] == [3, 6, 7]
    stops = []
    for step, loss in enumerate([3.0, 2.0, 2.5, 1.0, 1.0, 1.1]):
        curve.measured.append(Measured(step, loss))
        stops.append(curve.stops)
    assert stops == [False, False, False, False, False, True]
    assert curve.best == Measured(3, 1.0)


@pytest.mark.parametrize("method", [SFT, DPO, SOFT], ids=["sft", "dpo", "soft"])
def test_it_changes_nothing_of_the_training(method: dict[str, Any], tiny: Path, tmp_path: Path) -> None:
    """The student is that of a training on the other rows alone."""
    settings = settings_of(
        tiny, **method, validation=HELD, **({"lora": {"r": 4, "dropout": 0.3}} if method != DPO else {})
    )
    rows = given(str(method["method"]))
    settings.train(rows, tmp_path / "a" / "student", seed=7)
    found = record(tmp_path / "a")["validation"]
    assert found["rows"] == HELD
    assert [step for step, _ in found["losses"]] == [1, 2, 3, 4, 5, 6, 7, 8]
    wanted, tokenizer = ValidationSettings(rows=HELD), load_tokenizer(str(tiny))
    if method == DPO:
        pairs = read_pairs(rows)
        left = [each.name for each in apart(encode_pairs(pairs, tokenizer, 2048), pairs, wanted, 7).training.rows]
    else:
        read = read_rows(rows)
        left = [each.name for each in apart(encode_rows(read, tokenizer, 2048), read, wanted, 7).training.rows]
    kept = [each for i, each in enumerate(rows) if f"row {i + 1} (task t{i})" in left]
    assert len(kept) == ROWS - HELD
    alone = settings.model_copy(update={"validation": None})
    alone.train(kept, tmp_path / "b" / "student", seed=7)
    one, other = made(tmp_path / "a"), made(tmp_path / "b")
    assert one.pop("validation")
    assert one == other


def test_the_loss_is_the_mean_over_the_answers_tokens(tiny: Path, tmp_path: Path) -> None:
    settings = settings_of(tiny, lora=False, validation=0.3, epochs=1)
    rows = given("sft")
    settings.train(rows, tmp_path / "student", seed=7)
    read, tokenizer = read_rows(rows), load_tokenizer(str(tiny))
    held: Encoded = apart(encode_rows(read, tokenizer, 2048), read, ValidationSettings(rows=HELD), 7).validation
    model, total, count = load_model(str(tmp_path / "student" / "merged"), "float32", "cpu"), 0.0, 0
    for each in held.rows:
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([each.input_ids])).logits[0, :-1]
        labels = torch.tensor(each.labels[1:])
        total += float(torch.nn.functional.cross_entropy(logits, labels, ignore_index=IGNORED, reduction="sum"))
        count += int((labels != IGNORED).sum())
    assert record(tmp_path)["validation"]["losses"][-1][1] == pytest.approx(total / count, rel=1e-5)


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Losses that fall to step 3 and rise from there."""
    losses = {1: 3.0, 2: 2.5, 3: 2.0, 4: 2.1, 5: 2.2, 6: 2.3, 7: 2.4, 8: 1.0}
    plain = Validated.measure

    def measure(self: Any) -> None:
        plain_compute = self.compute_loss
        self.compute_loss = lambda *_, **__: losses[self.state.global_step]
        try:
            plain(self)
        finally:
            self.compute_loss = plain_compute

    monkeypatch.setattr(Validated, "measure", measure)


@pytest.mark.usefixtures("scripted")
@pytest.mark.parametrize("best", [False, True])
@pytest.mark.parametrize("stop_at", [None, 4, 5])
def test_it_stops_early_and_takes_the_best_weights(
    best: bool, stop_at: int | None, tiny: Path, tmp_path: Path
) -> None:
    """Also where the training was stopped meanwhile and went on."""
    validation = {"rows": HELD, "every": 1, "patience": 2, "best": best}
    settings = settings_of(tiny, validation=validation, checkpoints={"steps": 1, "keep": 9})
    kept: dict[int, dict[str, torch.Tensor]] = {}
    folder = tmp_path / ".student.checkpoints" / "sft"
    pressed = [stop_at]

    def on_step(step: StepInfo) -> None:
        if step.step == pressed[0]:
            pressed.clear()
            pressed.append(None)
            raise ZeroDivisionError
        for file in folder.glob("checkpoint-*/adapter_model.safetensors"):
            kept[int(file.parent.name.removeprefix("checkpoint-"))] = load_file(file)

    told: list[str] = []
    place = TrainingPlace(tell=told.append)
    if stop_at is not None:
        with pytest.raises(ZeroDivisionError):
            settings.train(given("sft"), tmp_path / "student", seed=7, on_step=on_step, place=place)
    settings.train(given("sft"), tmp_path / "student", seed=7, on_step=on_step, place=place)
    assert len(told) == (stop_at is not None)
    found = record(tmp_path)
    assert found["steps"] == 5
    assert found["validation"] == {
        "rows": HELD,
        "losses": [[1, 3.0], [2, 2.5], [3, 2.0], [4, 2.1], [5, 2.2]],
        "best_step": 3,
        "stopped_early": True,
        "weights_of": "best_step" if best else "last_step",
    }
    student = load_file(tmp_path / "student" / "adapter" / "adapter_model.safetensors")
    same = all(torch.equal(student[name], weight) for name, weight in kept[3].items())
    assert same is best


def test_it_refuses_to_leave_nothing_to_train_on(tiny: Path, tmp_path: Path) -> None:
    rows = [each | {"task_id": "one"} for each in given("sft")]
    with pytest.raises(RecipeError, match=r"takes all 10 rows.*none to train on"):
        settings_of(tiny, validation=1).train(rows, tmp_path / "student", seed=7)


def test_students_of_before_keep_their_names(tiny: Path) -> None:
    assert "validation" not in settings_of(tiny).decides()
    assert settings_of(tiny, validation=0.1).decides()["validation"]["rows"] == 0.1
