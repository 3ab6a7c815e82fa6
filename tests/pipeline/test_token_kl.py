"""The KL to base and teacher as a stage: measured once, kept, and never what ends a run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from stillroom.common.models import resolve as models
from stillroom.common.records import Attempt, Task, user
from stillroom.errors import InputError, NoRoom, StillroomError
from stillroom.evaluation.results import Measured
from stillroom.evaluation.token_kl import TokenKl, TokenKls
from stillroom.pipeline.config.load import load_recipe
from stillroom.pipeline.run.folder import RunFolder, opened
from stillroom.pipeline.run.progress import Display
from stillroom.pipeline.stages import token_kl
from stillroom.students.methods.distil import Distil
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

    def kls(base: str, student: str, given: Any, **how: Any) -> TokenKls:
        found.times.append((base, student, [answer.task for answer in given], how))
        return TokenKls({a.task: TokenKl(float(n), 4) for n, a in enumerate(given)}, {"empty": 0, "too_long": 0})

    monkeypatch.setattr(token_kl, "token_kls", kls)
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
        return token_kl.measure_kl(context, settings, student, TASKS, given, who=who)


def test_the_student_is_read_against_its_base(tmp_path: Path, read: Read) -> None:
    found = measure(tmp_path, system="Be brief.", dtype="float32")
    (row,) = found.results
    assert (row.who, row.metric, row.value, row.n) == ("student_after", "kl_to_base", 6 / 16, 4)
    assert (found.comparisons, found.notes) == ([], [])
    assert read.times == [
        ("old", "new", ["t0", "t1", "t2", "t3"], {"role": "base", "system": "Be brief.", "dtype": "float32"})
    ]


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


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"hash": "HASH", "tokens": 7}', "\x00", "HALF"])
def test_a_damaged_file_is_no_measurement(text: str, tmp_path: Path, read: Read) -> None:
    first, (file,) = measure(tmp_path), (tmp_path / "run" / "kl").iterdir()
    whole = file.read_text()
    file.write_text(text.replace("HASH", json.loads(whole)["hash"]).replace("HALF", whole.replace("1.0", "9.0")))
    assert measure(tmp_path) == first
    assert len(read.times) == 2


@pytest.mark.parametrize("error", [InputError("other tokenizers"), NoRoom("the GPU is full")])
def test_what_cannot_be_measured_is_a_note(
    error: StillroomError, tmp_path: Path, read: Read, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: Any, **__: Any) -> TokenKls:
        raise error

    monkeypatch.setattr(token_kl, "token_kls", fails)
    found = measure(tmp_path)
    assert found == Measured([], [], [f"student_after: the KL to the base was not measured: {error}"])
    assert not (tmp_path / "run" / "kl").exists()


def test_without_the_answers_of_the_base_there_is_nothing(tmp_path: Path, read: Read) -> None:
    assert measure(tmp_path, given={}) == Measured([], [], [])
    assert read.times == []


def test_answers_of_which_none_can_be_read_are_told(
    tmp_path: Path, read: Read, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(token_kl, "token_kls", lambda *_, **__: TokenKls({}, {"empty": 4, "too_long": 0}))
    assert "no answer that can be read" in measure(tmp_path).notes[0]


def to_teacher(folder: Path, students: dict[str, list[str]], given: dict[str, Attempt], **changes: Any) -> Measured:
    with opened(
        RunFolder(folder / "run", "sums"), load_recipe(write_sums(folder, tasks=16)), Display(quiet=True)
    ) as c:
        settings = Distil.model_validate({"model": "old", "teacher": "large"} | changes)
        return token_kl.measure_kl_to_teacher(c, settings, students, TASKS, given)


def test_every_student_is_read_against_the_teacher(tmp_path: Path, read: Read) -> None:
    found = to_teacher(tmp_path, {"student_after": ["a0", "a1"], "student_hard": ["h0", "h1"]}, answers())
    assert [(other, student) for other, student, *_ in read.times] == [("large", m) for m in ("a0", "a1", "h0", "h1")]
    assert {how["role"] for *_, how in read.times} == {"teacher"}
    assert [(row.who, row.metric) for row in found.results] == [
        ("student_after", "kl_to_teacher"),
        ("student_hard", "kl_to_teacher"),
        ("student_after", "kl_to_teacher_ratio"),
    ]
    assert to_teacher(tmp_path, {"student_after": ["a0", "a1"]}, answers()).results == found.results[:1]
    assert len(read.times) == 4


@pytest.mark.parametrize(
    "changes",
    [
        {"teacher": None, "objectives": [{"kind": "hard"}]},
        {"teacher": "base", "teacher_reference": True},
        {"teacher_system": "You know better."},
        {
            "signal": {"kind": "openai", "model": "large", "base_url": "http://localhost:1/v1"},
            "objectives": [{"kind": "soft"}],
        },
    ],
    ids=["none", "the base", "helped", "elsewhere"],
)
def test_a_student_that_imitates_no_model_as_it_is_has_no_such_kl(
    changes: dict[str, Any], tmp_path: Path, read: Read
) -> None:
    assert to_teacher(tmp_path, {"student_after": ["a0"]}, answers(), **changes) == Measured([], [], [])
    assert read.times == []


def test_without_the_answers_of_the_teacher_a_note_says_what_to_do(tmp_path: Path, read: Read) -> None:
    found = to_teacher(tmp_path, {"student_after": ["a0"]}, {})
    assert "name `teacher` in `evaluate.baselines`" in found.notes[0]


def test_a_student_that_cannot_be_read_is_a_note(tmp_path: Path, read: Read, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(other: str, student: str, given: Any, **_: Any) -> TokenKls:
        if student == "h0":
            raise InputError("other tokenizers")
        return TokenKls({answer.task: TokenKl(1.0, 4) for answer in given}, {})

    monkeypatch.setattr(token_kl, "token_kls", fails)
    found = to_teacher(tmp_path, {"student_after": ["a0"], "student_hard": ["h0"]}, answers())
    assert found.notes == ["student_hard: the KL to the teacher was not measured: other tokenizers"]
    assert [row.who for row in found.results] == ["student_after"]
