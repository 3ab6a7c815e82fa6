from __future__ import annotations

import re
from typing import Any, get_args

import pytest
from pydantic import TypeAdapter, ValidationError

from stillroom.students.methods.dpo import Dpo, DpoSettings, LossType, SftFirst
from stillroom.students.methods.registry import LoraSettings, Student, StudentSettings

STUDENT: TypeAdapter[StudentSettings] = TypeAdapter(Student)


def student(values: dict[str, Any]) -> StudentSettings:
    """As a recipe reads it."""
    return STUDENT.validate_python(values)


def dpo(values: dict[str, Any]) -> DpoSettings:
    """Of a student that learns from pairs."""
    found = student(values)
    assert isinstance(found, Dpo)
    return found.dpo


DESIGN = {
    "model": "Qwen/Qwen3-0.6B",
    "method": "sft",
    "lora": {"r": 16, "alpha": 32},
    "epochs": 2,
    "learning_rate": 2.0e-4,
}


def test_the_recipe_of_the_design_is_valid() -> None:
    settings = student(DESIGN)
    assert settings.lora == LoraSettings(r=16, alpha=32, dropout=0, target_modules="all-linear")
    assert (settings.epochs, settings.learning_rate, settings.dtype) == (2, 2e-4, "auto")


@pytest.mark.parametrize("off", [None, False])
def test_without_a_lora_all_weights_are_trained(off: Any) -> None:
    assert student(DESIGN | {"lora": off}).lora is None


def test_lora_true_is_the_default_one() -> None:
    assert student(DESIGN | {"lora": True}).lora == LoraSettings()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("learning_rate", 0),
        ("learning_rate", "fast"),
        ("epochs", -1),
        ("batch_size", 0),
        ("max_length", 0),
        ("method", "ppo"),
        ("dtype", "float16"),
        ("warmup_ratio", 1),
        ("scheduler", "zigzag"),
        ("model", ""),
        ("learning_rates", 1e-4),
        ("lora", {"rank": 8}),
        ("lora", {"r": 0}),
        ("lora", 8),
    ],
)
def test_what_cannot_be_is_refused_by_name(key: str, value: Any) -> None:
    with pytest.raises(ValidationError, match=key):
        student(DESIGN | {key: value})


def test_settings_survive_a_round_trip() -> None:
    settings = student(DESIGN | {"lora": {"target_modules": ["q_proj", "v_proj"]}})
    assert STUDENT.validate_json(settings.model_dump_json()) == settings


DPO = {"model": "Qwen/Qwen3-0.6B", "method": "dpo"}


def test_dpo_spells_its_defaults_out() -> None:
    settings = student(DPO)
    assert dpo(DPO) == DpoSettings(beta=0.1, loss_type=("sigmoid",), ld_alpha=None, precompute_ref=True)
    assert settings.learning_rate == 5e-5
    assert student(settings.model_dump(mode="json")) == settings
    assert student(DPO | {"learning_rate": 1e-4}).learning_rate == 1e-4


def test_sft_knows_nothing_of_dpo() -> None:
    settings = student(DESIGN)
    assert "dpo" not in settings.model_dump()
    assert student(DESIGN | {"dpo": None}) == settings  # as recipes of runs before had it


@pytest.mark.parametrize(
    ("given", "losses"), [("hinge", ("hinge",)), (["sigmoid", "sft"], ("sigmoid", "sft")), ("ipo", ("ipo",))]
)
def test_one_loss_or_several(given: Any, losses: tuple[str, ...]) -> None:
    assert dpo(DPO | {"dpo": {"loss_type": given}}).loss_type == losses


@pytest.mark.parametrize(
    ("given", "wanted"),
    [(False, None), (None, None), (True, SftFirst()), ({"epochs": 2}, SftFirst(epochs=2, learning_rate=2e-4))],
)
def test_sft_first_is_a_switch_or_a_block(given: Any, wanted: SftFirst | None) -> None:
    assert dpo(DPO | {"dpo": {"sft_first": given}}).sft_first == wanted


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"method": "sft", "dpo": {}}, "method is sft"),
        ({"dpo": {"beta": 0}}, "beta"),
        ({"dpo": {"loss_type": "kto"}}, "loss_type"),
        ({"dpo": {"loss_type": []}}, "loss_type"),
        ({"dpo": {"ld_alpha": 1.5}}, "ld_alpha"),
        ({"dpo": {"label_smoothing": 0.1}}, "sigmoid would ignore"),
        ({"dpo": {"loss_type": "robust", "label_smoothing": 0.5}}, "label_smoothing"),
        ({"dpo": {"loss_type": "exo_pair"}}, "needs a label_smoothing"),
        ({"dpo": {"loss_type": ["sigmoid", "sft"], "loss_weights": [1]}}, "1 numbers, loss_type 2 losses"),
        ({"dpo": {"sft_first": {"steps": 3}}}, "steps"),
        ({"dpo": {"temperature": 1}}, "temperature"),
        ({"lora": None, "dpo": {"precompute_ref": False}}, "second copy"),
        ({"lora": {"dropout": 0.1}}, "switches dropout off"),
    ],
)
def test_what_dpo_cannot_be_is_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        student(DPO | changes)


def test_the_losses_are_those_of_the_trl_that_is_installed() -> None:
    import trl

    told = trl.DPOConfig.__dataclass_fields__["loss_type"].metadata["help"]
    assert set(re.findall(r"'(\w+)'", told)) == set(get_args(LossType))
