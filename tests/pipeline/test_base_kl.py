"""The KL to the base as a stage: measured once, kept, and never what ends a run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from stillroom.common.models import resolve as models
from stillroom.common.records import Attempt, Task, user
from stillroom.errors import InputError, NoRoom, StillroomError
from stillroom.evaluation.base_kl import BaseKls, TokenKl
from stillroom.evaluation.results import Measured
from stillroom.pipeline.config.load import load_recipe
from stillroom.pipeline.run.folder import RunFolder, opened
from stillroom.pipeline.run.progress import Display
from stillroom.pipeline.stages import base_kl
from stillroom.students.methods.sft import Sft
from tests.conftest import write_sums

TASKS = [Task(f"t{n}", user(f"What is {n} + 1?"), str(n + 1), "x") for n in range(4)]


def answers(says: str = "It is {}.") -> dict[str, Attempt]:
    return {
        task.id: Attempt(task.id, 0, says.format(task.reference), None, "stop", 1, 1, None, 0.0, "m")
        for task in TASKS
    }


class Read(NamedTuple):
    """What the models were given, each time: base, student, tasks, and what else."""

    times: list[tuple[str, str, list[str], dict[str, Any]]]


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> Read:
    found = Read([])

    def kls(base: str, student: str, given: Any, **how: Any) -> BaseKls:
        found.times.append((base, student, [answer.task for answer in given], how))
        return BaseKls({a.task: TokenKl(float(n), 4) for n, a in enumerate(given)}, {"empty": 0, "too_long": 0})

    monkeypatch.setattr(base_kl, "base_kls", kls)
    monkeypatch.setattr(models, "fingerprint", lambda name: f"weights of {name}")
    return found


def measure(folder: Path, given: dict[str, Attempt] | None = None, student: str = "new", **changes: Any) -> Measured:
    who = changes.pop("who", "student_after")
    recipe = folder / "recipe.json"
    if not recipe.exists():
        recipe = write_sums(folder, tasks=16)
    with opened(RunFolder(folder / "run", "sums"), load_recipe(recipe), Display(quiet=True)) as context:
        settings = Sft(model="old", **changes)
        given = answers() if given is None else given
        return base_kl.measure_base_kl(context, settings, student, TASKS, given, who=who)


def test_the_student_is_read_against_its_base(tmp_path: Path, read: Read) -> None:
    found = measure(tmp_path, system="Be brief.", dtype="float32")
    (row,) = found.results
    assert (row.who, row.metric, row.value, row.n) == ("student_after", "kl_to_base", 6 / 16, 4)
    assert (found.comparisons, found.notes) == ([], [])
    assert read.times == [("old", "new", ["t0", "t1", "t2", "t3"], {"system": "Be brief.", "dtype": "float32"})]


def test_it_is_measured_once(tmp_path: Path, read: Read) -> None:
    first = measure(tmp_path)
    assert measure(tmp_path) == first
    assert measure(tmp_path, who="round_1").results[0].who == "round_1"
    assert len(read.times) == 1


@pytest.mark.parametrize(
    "changed",
    [{"student": "newer"}, {"system": "Be brief."}, {"dtype": "float32"}, {"given": answers("{}")}],
    ids=lambda changed: next(iter(changed)),
)
def test_what_changed_is_measured_again(changed: dict[str, Any], tmp_path: Path, read: Read) -> None:
    measure(tmp_path)
    measure(tmp_path, **changed)
    assert len(read.times) == 2


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"key": "KEY", "tokens": 7}', "\x00", "HALF"])
def test_a_damaged_file_is_no_measurement(text: str, tmp_path: Path, read: Read) -> None:
    first, file = measure(tmp_path), tmp_path / "run" / "kl_to_base.json"
    whole = file.read_text()
    file.write_text(text.replace("KEY", json.loads(whole)["key"]).replace("HALF", whole.replace("1.0", "9.0")))
    assert measure(tmp_path) == first
    assert len(read.times) == 2


@pytest.mark.parametrize("error", [InputError("other tokenizers"), NoRoom("the GPU is full")])
def test_what_cannot_be_measured_is_a_note(
    error: StillroomError, tmp_path: Path, read: Read, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: Any, **__: Any) -> BaseKls:
        raise error

    monkeypatch.setattr(base_kl, "base_kls", fails)
    found = measure(tmp_path)
    assert found == Measured([], [], [f"student_after: the KL to the base was not measured: {error}"])
    assert not (tmp_path / "run" / "kl_to_base.json").exists()


def test_without_the_answers_of_the_base_there_is_nothing(tmp_path: Path, read: Read) -> None:
    assert measure(tmp_path, given={}) == Measured([], [], [])
    assert read.times == []


def test_answers_of_which_none_can_be_read_are_told(
    tmp_path: Path, read: Read, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(base_kl, "base_kls", lambda *_, **__: BaseKls({}, {"empty": 4, "too_long": 0}))
    assert "no answer that can be read" in measure(tmp_path).notes[0]
