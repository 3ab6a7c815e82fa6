"""Memory and time of a step before the first: what is told, what is refused, and that the advice holds."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import TypeAdapter

from stillroom.errors import NoRoom
from stillroom.students.data.encode import IGNORED, Encoded, EncodedRow
from stillroom.students.estimate import estimate as module
from stillroom.students.estimate import timing
from stillroom.students.estimate.dry_pass import CannotTell, Cost, Costs, Read, Shape
from stillroom.students.estimate.estimate import Estimate, before_training, estimate, gb
from stillroom.students.estimate.machine import Room, _groups, _of_a_group, _of_the_system, memory
from stillroom.students.estimate.timing import Timed, measure
from stillroom.students.methods.registry import Student, StudentSettings
from stillroom.students.records import Plan, TrainingPlace
from tests.conftest import tiny as models

PLAN = Plan("cpu", "float32", 7)
CONFIG = models.make_model().config
ROWS = Encoded([EncodedRow(f"row {i}", [5] * 99 + [2], [IGNORED] * 50 + [5] * 49 + [2]) for i in range(16)], (), 2)


def settings(**given: Any) -> StudentSettings:
    found: StudentSettings = TypeAdapter(Student).validate_python({"model": "m"} | given)
    return found


def need(**given: Any) -> int:
    return estimate(settings(**given), CONFIG, ROWS, PLAN, timed=False).need


@pytest.fixture(autouse=True)
def nothing_is_slight(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SLIGHT_FLOPS", 0.0)
    monkeypatch.setattr(module, "measure", lambda *_: Timed(1e9, 1e9, 1e9))


def told(free: float, monkeypatch: pytest.MonkeyPatch, **given: Any) -> list[str]:
    """What is said where so many bytes are free."""
    monkeypatch.setattr(module, "memory", lambda device: Room(int(free), 1 << 40))
    found: list[str] = []
    before_training(settings(**given), CONFIG, ROWS, PLAN, held=0, tell=found.append)
    return found


def test_a_step_that_fits_well_is_told_in_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    (line,) = told(4 * need(), monkeypatch)
    assert re.fullmatch(r"estimate: [\d.]+ of [\d.]+ GB, about 0\.\d+ s a step, \d+ s in all", line)


@pytest.mark.parametrize("need_gb", [0.4, 23.0, 870.0])
def test_the_line_fits_in_80_columns(need_gb: float) -> None:
    found = Estimate(int(need_gb * 1e9), 0, 0, 0, 31.0, 1234)
    margin = 9 + 2  # of the run's display
    assert margin + len(found.told(Room(int(9e11), int(9e11)))) <= 80


def test_what_does_not_fit_is_refused_with_what_would(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(NoRoom, match="a step of this training takes about") as caught:
        told(0.5 * need(), monkeypatch)
    advised = re.search(
        r"batch_size: (\d+), gradient_accumulation: (\d+)}`, which gives the same steps", str(caught.value)
    )
    assert advised is not None
    size, passes = map(int, advised.groups())
    assert size * passes == 8
    assert need(batch_size=size, gradient_accumulation=passes) <= module.CLOSE * 0.5 * need()


DEEP = {"num_hidden_layers": 10}
WIDE = DEEP | {"hidden_size": 128, "intermediate_size": 512, "head_dim": 32}


@pytest.mark.parametrize(
    ("config", "share", "given", "advised"),
    [
        (DEEP, 0.85, {"batch_size": 1, "gradient_accumulation": 8}, "trainer: {gradient_checkpointing: true}"),
        (WIDE, 0.85, {"batch_size": 1, "lora": None, "trainer": {"gradient_checkpointing": True}}, "lora: true"),
        ({}, 1e-3, {}, "no batch is small enough, so choose a smaller model"),
    ],
)
def test_advice_by_what_there_is_to_change(
    config: dict[str, Any], share: float, given: dict[str, Any], advised: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.modules[__name__], "CONFIG", models.make_model(**config).config)
    with pytest.raises(NoRoom, match=re.escape(advised)):
        told(share * need(**given), monkeypatch, **given)


@pytest.mark.parametrize(("share", "close"), [(1.02, True), (0.95, True), (1.25, True), (1.5, False)])
def test_what_is_close_is_noted_and_goes_on(share: float, close: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    (line,) = told(share * need(), monkeypatch)
    assert ("that is close" in line) == close


def test_what_takes_next_to_nothing_is_not_told(monkeypatch: pytest.MonkeyPatch) -> None:
    assert told(1e12, monkeypatch) == []


@pytest.mark.parametrize("name", module.CUT)
def test_weights_that_are_cut_among_processes_are_not_guessed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "true")
    assert told(1, monkeypatch) == []


def test_processes_of_one_machine_share_its_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "that is close" not in told(1.6 * need(), monkeypatch)[0]
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    with pytest.raises(NoRoom):
        told(1.6 * need(), monkeypatch)


def test_a_model_that_cannot_be_told_is_trained_without_a_word(monkeypatch: pytest.MonkeyPatch) -> None:
    def cannot(*_: Any) -> Costs:
        raise CannotTell("values")

    monkeypatch.setattr(module, "dry_pass", cannot)
    assert told(1, monkeypatch) == []
    with pytest.raises(CannotTell, match="kept elsewhere"):
        need(trainer={"activation_offloading": True})


@pytest.mark.parametrize(("optim", "each"), [("adamw_torch", 8), ("adamw_8bit", 2), ("adafactor", 0), ("sgd", 0)])
def test_the_optimiser_keeps_by_its_name(optim: str, each: int) -> None:
    found = estimate(settings(lora=None, trainer={"optim": optim}), CONFIG, ROWS, PLAN, timed=False)
    assert found.states == each * found.weights // 4


def test_a_teacher_in_this_process_is_counted(tiny: Path) -> None:
    taught = {"method": "distil", "teacher": str(tiny)}
    found = estimate(settings(**taught), CONFIG, ROWS, PLAN, timed=False)
    assert found.others == 4 * sum(weight.numel() for weight in models.make_model().parameters())
    cached = estimate(settings(**taught, cache=True), CONFIG, ROWS, PLAN, timed=False)
    assert (cached.others, cached.steps) == (0, 6)


def test_a_training_that_does_not_fit_is_refused_before_its_first_step(
    tiny: Path, row: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "memory", lambda device: Room(1000, 1 << 40))
    steps: list[Any] = []
    student = settings(model=str(tiny), dtype="float32")
    with pytest.raises(NoRoom, match="GB are free"):
        student.train(
            [row("1 + 1?", "2")] * 4, tmp_path / "student", seed=7, on_step=steps.append, place=TrainingPlace()
        )
    assert steps == []
    assert list(tmp_path.iterdir()) == []


def test_time_is_made_of_layers_head_and_copies() -> None:
    whole, layers = Cost(0, 0, 0, 0, 700, 90, 0), Cost(0, 0, 0, 0, 500, 50, 0)
    assert Timed(layers=100, head=50, written=20).seconds(Costs(whole, layers)) == 500 / 100 + 200 / 50 + 40 / 20


@pytest.mark.parametrize("width", [40, 4000])
def test_a_measurement_leaves_no_trace(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "MOST_FLOPS", 1e7)
    ticks = iter(range(1000))
    monkeypatch.setattr(timing, "clock", lambda: float(next(ticks)))
    shape = Shape(CONFIG, "float32", lora=settings(lora={"dropout": 0.5}).lora)
    before = torch.get_rng_state()
    found = measure(shape, Read(1, width, width, "whole"), "cpu")
    assert torch.equal(torch.get_rng_state(), before)
    assert 0 < found.layers <= 2e7  # operations of a pass of one tick, which was cut short where it had more
    assert found.written == 4 * timing.WRITTEN


# -- memory of the machine ---------------------------------------------------------------------------------------


def _group(folder: Path, limit: str, used: int, cached: int, *, first: bool = False) -> None:
    names = ("memory.limit_in_bytes", "memory.usage_in_bytes") if first else ("memory.max", "memory.current")
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in zip(names, (limit, str(used)), strict=True):
        (folder / name).write_text(text + "\n", encoding="ascii")
    (folder / "memory.stat").write_text(f"anon 5\ninactive_file {cached}\n", encoding="ascii")


@pytest.mark.parametrize("first", [True, False])
def test_a_container_has_what_its_limit_leaves(first: bool, tmp_path: Path) -> None:
    _group(tmp_path, "1000", 700, 100, first=first)
    assert _of_a_group(tmp_path) == Room(400, 1000)


def test_no_limit_is_none(tmp_path: Path) -> None:
    _group(tmp_path, "max", 700, 100)
    assert _of_a_group(tmp_path) is None
    assert _of_a_group(tmp_path / "nowhere") is None


@pytest.mark.parametrize(
    ("line", "folders"),
    [
        ("0::/", ["."]),
        ("0::/user/job", ["user/job", "user", "."]),
        ("7:memory:/docker/abc", ["memory/docker/abc", "memory/docker", "memory"]),
        ("3:cpu,cpuacct:/docker/abc", []),
    ],
)
def test_groups_are_looked_at_up_to_the_root(line: str, folders: list[str], tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.write_text(line + "\n", encoding="utf-8")
    assert _groups(tmp_path, own) == [tmp_path / folder for folder in folders]
    assert _groups(tmp_path, tmp_path / "nowhere") == []


def test_memory_as_linux_says_it(tmp_path: Path) -> None:
    file = tmp_path / "meminfo"
    file.write_text("MemTotal:  4000 kB\nMemFree: 10 kB\nMemAvailable:  3000 kB\n", encoding="ascii")
    assert _of_the_system(file) == Room(3000 << 10, 4000 << 10)


def test_memory_of_this_machine() -> None:
    found = memory("cpu")
    assert found is not None
    assert 0 < found.free <= found.total


@pytest.mark.parametrize(("size", "text"), [(345e6, "0.34"), (9.12e9, "9.1"), (23.4e9, "23"), (0.996e9, "1.0")])
def test_bytes_in_gb(size: float, text: str) -> None:
    assert gb(size) == text
