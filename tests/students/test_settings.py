from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from stillroom.students.settings import LoraSettings, StudentSettings

DESIGN = {
    "model": "Qwen/Qwen3-0.6B",
    "method": "sft",
    "lora": {"r": 16, "alpha": 32},
    "epochs": 2,
    "learning_rate": 2.0e-4,
}


def test_the_recipe_of_the_design_is_valid() -> None:
    settings = StudentSettings.model_validate(DESIGN)
    assert settings.lora == LoraSettings(r=16, alpha=32, dropout=0, target_modules="all-linear")
    assert (settings.epochs, settings.learning_rate, settings.dtype) == (2, 2e-4, "auto")


@pytest.mark.parametrize("off", [None, False])
def test_without_a_lora_all_weights_are_trained(off: Any) -> None:
    assert StudentSettings.model_validate(DESIGN | {"lora": off}).lora is None


def test_lora_true_is_the_default_one() -> None:
    assert StudentSettings.model_validate(DESIGN | {"lora": True}).lora == LoraSettings()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("learning_rate", 0),
        ("learning_rate", "fast"),
        ("epochs", -1),
        ("batch_size", 0),
        ("max_length", 0),
        ("method", "dpo"),
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
        StudentSettings.model_validate(DESIGN | {key: value})


def test_settings_survive_a_round_trip() -> None:
    settings = StudentSettings.model_validate(DESIGN | {"lora": {"target_modules": ["q_proj", "v_proj"]}})
    assert StudentSettings.model_validate_json(settings.model_dump_json()) == settings
