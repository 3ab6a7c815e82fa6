"""Self-distillation: what the teacher is shown that the student is not, that it is the base without a copy, presets,
and what teacher and student have in common before the training."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from stillroom.common.models.resolve import load_model, load_tokenizer
from stillroom.common.records import Example, Message
from stillroom.errors import RecipeError
from stillroom.students.data.encode import IGNORED, encode_rows
from stillroom.students.data.rows import SftRow, read_rows
from stillroom.students.methods.distil import Distil
from stillroom.students.records import TrainingPlace
from stillroom.students.whitebox import sides
from stillroom.students.whitebox.head import Head
from stillroom.students.whitebox.loss import Reader
from stillroom.students.whitebox.overlap import overlap
from stillroom.students.whitebox.privileged import Privileged
from tests.conftest import tiny as tiny_models

EXAMPLE = {"prompt": "1 + 1?", "answer": "2"}


@pytest.fixture
def rows(row: Any) -> list[dict[str, Any]]:
    return [row(f"{a} + 1?", str(a + 1), task_id=f"t{a}") for a in range(4)]


def sdft(model: Path, **more: Any) -> Distil:
    common = {"method": "distil", "model": str(model), "preset": "sdft", "epochs": 1, "batch_size": 2}
    own = {"sampling": {"max_tokens": 6}} | more.pop("on_policy", {})
    return Distil.model_validate(common | {"dtype": "float32", "learning_rate": 1e-2, "on_policy": own} | more)


def record(folder: Path) -> Any:
    return json.loads((folder / "training.json").read_text(encoding="utf-8"))


# -- the teacher's prompt -----------------------------------------------------------------------------------------

ROW = SftRow("row 1", (Message("system", "Add."), Message("user", "3 + 4?")), (Message("assistant", "7"),))
SHOWN: dict[str, tuple[Privileged, list[str]]] = {
    "nothing": (Privileged(), ["Add.", "3 + 4?"]),
    "system": (Privileged(system="Sum."), ["Sum.", "3 + 4?"]),
    "examples": (Privileged(examples=(Example(**EXAMPLE),)), ["Add.", "1 + 1?", "2", "3 + 4?"]),
    "reference": (Privileged(reference=True), ["Add.", "3 + 4?", "7", "3 + 4?"]),
    "all": (Privileged("Sum.", (Example(**EXAMPLE),), True), ["Sum.", "1 + 1?", "2", "3 + 4?", "7", "3 + 4?"]),
}


@pytest.mark.parametrize("name", SHOWN)
def test_what_the_teacher_is_shown(name: str) -> None:
    shown, expected = SHOWN[name]
    found = shown.prompt(ROW)
    assert [message.content for message in found] == expected
    assert [message.role for message in found if message.role != "system"][-1] == "user"


def test_a_prompt_that_is_too_long_for_the_teacher_is_refused_with_the_row(
    rows: list[dict[str, Any]], tiny: Path, tmp_path: Path
) -> None:
    """Never truncated: it is the longer one, and what is cut off would be what helps."""
    wanted = sdft(tiny, teacher_examples=[{"prompt": "x" * 200, "answer": "y"}])
    with pytest.raises(
        RecipeError, match=r"row 1 \(task t0\): \d+ tokens as the teacher reads it, its context is 256"
    ):
        wanted.train(rows, tmp_path / "student", seed=1)


def test_the_prompt_of_the_teacher_may_be_longer_than_rows_of_the_student(
    rows: list[dict[str, Any]], tiny: Path, tmp_path: Path
) -> None:
    trained = sdft(tiny, max_length=64, teacher_examples=[EXAMPLE]).train(rows, tmp_path / "student", seed=1)
    assert all(loss > 0 for loss in trained.losses)


# -- the base as teacher ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lora", [{"dropout": 0.3}, False], ids=["adapter", "all weights"])
def test_base_as_teacher_is_what_a_copy_of_it_would_be(
    lora: Any, rows: list[dict[str, Any]], tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of an adapter it is the model with the adapter off, without its dropout, and no second one is loaded."""
    loaded: list[str] = []

    def load(name: str, *rest: Any) -> Any:
        loaded.append(name)
        return load_model(name, *rest)

    monkeypatch.setattr(sides, "load_model", load)
    found: list[tuple[float, ...]] = []
    for name in ("base", str(tiny)):
        wanted = sdft(tiny, teacher=name, lora=lora, epochs=4, on_policy={"share": 0.5})
        found.append(wanted.train(rows, tmp_path / str(len(found)), seed=1).losses)
        assert len(loaded) == (0 if lora and name == "base" else 1)
        loaded.clear()
    assert found[0] == pytest.approx(found[1], rel=1e-3, abs=1e-6)
    assert max(found[0]) > 1e-4


def test_each_kind_of_help_teaches_something_else(rows: list[dict[str, Any]], tiny: Path, tmp_path: Path) -> None:
    helps: list[dict[str, Any]] = [
        {"teacher_reference": True},
        {"teacher_reference": False, "teacher_examples": [EXAMPLE]},
        {"teacher_reference": False, "teacher_system": "Sum."},
    ]
    losses = [
        sdft(tiny, epochs=0.5, **given).train(rows, tmp_path / str(i), seed=1).losses[0]
        for i, given in enumerate(helps)
    ]
    assert len(set(losses)) == 3
    assert all(loss > 0 for loss in losses)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"teacher": "base"}, "has nothing to teach without help"),
        ({"teacher_reference": True, "objectives": [{"kind": "hard"}]}, "are shown to a teacher: name one"),
        ({"teacher": "x", "teacher_examples": [{"prompt": "", "answer": "2"}]}, "at least 1 character"),
    ],
)
def test_settings_that_do_not_fit_are_refused(settings: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        Distil.model_validate({"method": "distil", "model": "m"} | settings)


# -- presets ------------------------------------------------------------------------------------------------------

REVERSE = {"kind": "reverse_kl", "weight": 1.0, "temperature": 1.0}
JSD = {"kind": "jsd", "weight": 1.0, "beta": 0.5, "temperature": 1.0}
PRESETS: list[tuple[dict[str, Any], dict[str, Any]]] = [
    (
        {"preset": "soft_labels"},
        {"objectives": [{"kind": "soft", "weight": 0.7, "temperature": 2.0}, {"kind": "hard", "weight": 0.3}]},
    ),
    (
        {"preset": {"kind": "soft_labels", "alpha": 0.5, "temperature": 4}},
        {"objectives": [{"kind": "soft", "weight": 0.5, "temperature": 4.0}, {"kind": "hard", "weight": 0.5}]},
    ),
    ({"preset": {"kind": "soft_labels", "alpha": 1}}, {"objectives": [{"kind": "soft", "weight": 1.0}]}),
    ({"preset": "gkd"}, {"objectives": [JSD], "on_policy": {"share": 0.5, "objective": JSD, "refresh": 1}}),
    (
        {"preset": {"kind": "gkd", "share": 0.25}, "on_policy": {"refresh": 4}},
        {"on_policy": {"share": 0.25, "objective": JSD, "refresh": 4}},
    ),
    ({"preset": "gkd", "on_policy": {"share": 1}}, {"on_policy": {"share": 1.0, "objective": JSD}}),
    ({"preset": "gkd", "objectives": [{"kind": "hard"}]}, {"objectives": [{"kind": "hard"}]}),
]


@pytest.mark.parametrize(("given", "expected"), PRESETS)
def test_a_preset_is_spelled_out_under_what_is_given(given: dict[str, Any], expected: dict[str, Any]) -> None:
    found = Distil.model_validate({"method": "distil", "model": "m", "teacher": "t"} | given)
    spelled = found.model_dump(mode="json")
    assert spelled["preset"] is None
    for key, value in expected.items():
        if isinstance(value, dict):
            assert {name: spelled[key][name] for name in value} == value
        else:
            assert [{k: o[k] for k in each} for each, o in zip(value, spelled[key], strict=True)] == value
    assert Distil.model_validate(spelled) == found  # a resolved recipe reads as itself


def test_sdft_is_the_base_shown_the_answer_on_its_own_samples() -> None:
    found = Distil.model_validate({"method": "distil", "model": "m", "preset": "sdft"})
    assert (found.teacher, found.teacher_reference, found.models) == ("base", True, ("m",))
    assert found.on_policy is not None
    assert found.on_policy.share == 1
    assert found.on_policy.objective.model_dump() == REVERSE


@pytest.mark.parametrize(
    ("preset", "told"),
    [("gdk", "gdk"), ({"kind": "soft_labels", "alpha": 2}, "less than or equal to 1"), ({"alpha": 0.5}, "kind")],
)
def test_an_unknown_preset_is_refused(preset: Any, told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        Distil.model_validate({"method": "distil", "model": "m", "teacher": "t", "preset": preset})


# -- overlap ------------------------------------------------------------------------------------------------------


def sharpened(by: float) -> Any:
    model = tiny_models.make_model(vocab_size=259).double()
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(by)
    return model


def test_overlap_is_the_mass_on_common_top_tokens(rows: list[dict[str, Any]], tiny: Path) -> None:
    """Against the models' own forward passes, position by position; and all of the top 16 with itself."""
    read = encode_rows(read_rows(rows), load_tokenizer(str(tiny)), 256).rows
    student, teacher = sharpened(3), sharpened(1)
    sides = [Reader(model, Head(model, 259, "the model"), False) for model in (student, teacher)]
    found = overlap(sides[0], sides[1], read, at_once=3)
    sums, count = torch.zeros(3, dtype=torch.float64), 0
    for row in read:
        ids = torch.tensor([row.input_ids])
        q, p = (model(ids).logits[0].softmax(-1).detach() for model in (student, teacher))
        for place in (i - 1 for i, label in enumerate(row.labels) if label != IGNORED):
            common = set(q[place].topk(16).indices.tolist()) & set(p[place].topk(16).indices.tolist())
            at = torch.tensor(sorted(common), dtype=torch.long)
            sums += torch.stack([q[place][at].sum(), p[place][at].sum(), torch.tensor(len(common) / 16).double()])
            count += 1
    assert found[1:] == pytest.approx((sums / count).tolist(), rel=1e-6)
    assert found.positions == count
    assert 0 < found.tokens < 1
    assert overlap(sides[0], sides[0], read, at_once=2).tokens == 1


def test_overlap_is_told_before_the_training_and_a_cold_start_advised(
    rows: list[dict[str, Any]], tiny: Path, tmp_path: Path
) -> None:
    told: list[str] = []
    steps: list[int] = []

    def tell(text: str) -> None:
        assert not steps
        told.append(text)

    place = TrainingPlace(tell=tell)
    sdft(tiny).train(rows, tmp_path / "s", seed=1, place=place, on_step=lambda step: steps.append(step.step))
    assert len(told) == 1
    assert "below 97%" in told[0]
    assert "on_policy: null" in told[0]
    found = record(tmp_path / "s")["on_policy"]["overlap"]
    assert found["cold_start_advised"] is True
    assert found["top"] == 16
