"""What trackers are shown of a training."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from bench.train_resume import made, row
from stillroom.common import secrets
from stillroom.errors import MissingExtra
from stillroom.pipeline.stages.train import require, training_inputs
from stillroom.students.methods.registry import Student, StudentSettings
from stillroom.students.methods.trackers import Watched, flat
from stillroom.students.records import TrainingPlace

FAKE = """
import json, os, pathlib, types

said = pathlib.Path(os.environ["SAID"])

def write(kind, value):
    with said.open("a") as file:
        file.write(json.dumps([kind, value], default=str) + "\\n")

class Config(dict):
    def update(self, values, allow_val_change=False):
        write("config", values)

config = Config()
context_vars = types.SimpleNamespace(current_space_id=types.SimpleNamespace(get=lambda: None))

def init(**given):
    print("hello from the tracker")
    write("init", given)

log = lambda values, *_, **__: write("log", values)
finish = lambda *_, **__: write("finish", None)
"""


@pytest.fixture
def trackio(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A package of that name which writes down what it is told."""
    (tmp_path / "site" / "trackio").mkdir(parents=True)
    (tmp_path / "site" / "trackio" / "__init__.py").write_text(FAKE)
    monkeypatch.syspath_prepend(tmp_path / "site")
    monkeypatch.setenv("SAID", str(tmp_path / "said"))
    sys.modules.pop("trackio", None)
    yield tmp_path / "said"
    sys.modules.pop("trackio", None)


def settings_of(tiny: Path, **given: Any) -> StudentSettings:
    common = {"model": str(tiny), "epochs": 1, "batch_size": 2, "learning_rate": 1e-2, "dtype": "float32"}
    found: StudentSettings = TypeAdapter(Student).validate_python(common | given)
    return found


@pytest.mark.parametrize("method", ["sft", "dpo"])
def test_a_tracker_is_shown_losses_and_the_recipe(
    method: str, trackio: Path, tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    secrets.keep_value("sk-verysecret-0123456789", "TEACHER_KEY")
    recipe = {"name": "sums", "teacher": {"api_key": "sk-verysecret-0123456789", "stop": ["a", "b"]}}
    place = TrainingPlace(watched=Watched("sums", "student", recipe, tmp_path / "run"))
    settings = settings_of(tiny, method=method, report_to="trackio", validation=2)
    rows = [row(i, method) for i in range(6)]
    settings.train(rows, tmp_path / "a" / "student", seed=7, place=place)
    printed = capsys.readouterr()
    assert ("hello from" in printed.out, "hello from" in printed.err) == (False, True)
    said = [json.loads(line) for line in trackio.read_text().splitlines()]
    init, config = (next(value for kind, value in said if kind == wanted) for wanted in ("init", "config"))
    assert (init["project"], init["name"]) == ("sums", "student")
    assert config["learning_rate"] == 1e-2
    assert (config["recipe.name"], config["recipe.teacher.stop.1"]) == ("sums", "b")
    assert "TEACHER_KEY" in config["recipe.teacher.api_key"]
    assert "verysecret" not in trackio.read_text()
    logs = [value for kind, value in said if kind == "log"]
    record = json.loads((tmp_path / "a" / "student" / "training.json").read_text())
    assert [log["train/loss"] for log in logs if "train/loss" in log] == pytest.approx(record["losses"], abs=1e-5)
    assert [log["eval/loss"] for log in logs if "eval/loss" in log] == pytest.approx(
        [loss for _, loss in record["validation"]["losses"]], abs=1e-5
    )
    settings_of(tiny, method=method, validation=2).train(rows, tmp_path / "b" / "student", seed=7)
    assert made(tmp_path / "a") == made(tmp_path / "b")


@pytest.mark.parametrize("name", ["wandb", "mlflow"])
def test_one_that_is_not_installed_is_told_before_anything_is_paid(
    name: str, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / name).mkdir()  # as wandb leaves it: a folder of its files is not the package
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    settings = settings_of(tiny, report_to=[name])
    with pytest.raises(MissingExtra, match=rf"student.report_to: {name} needs.*stillroom\[{name}\]"):
        settings.train([row(0, "sft")], tmp_path / "student", seed=7)
    monkeypatch.setattr("stillroom.pipeline.stages.train._NEEDED", ())
    with pytest.raises(MissingExtra, match=rf"stillroom\[{name}\]"):
        require(settings, tmp_path, 7)


def test_a_tracker_decides_nothing_of_the_student(tiny: Path) -> None:
    plain, shown = settings_of(tiny), settings_of(tiny, report_to=["tensorboard", "trackio"])
    assert training_inputs([], plain, Path(), 7) == training_inputs([], shown, Path(), 7)
    assert plain.report_to == ()
    with pytest.raises(ValidationError):
        settings_of(tiny, report_to="telepathy")


def test_nested_data_is_laid_flat() -> None:
    assert dict(flat({"a": {"b": [1, {"c": None}]}, "d": []}, "r")) == {"r.a.b.0": 1, "r.a.b.1.c": None}
