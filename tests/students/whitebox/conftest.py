"""What the tests of white-box training share: rows of sums, and a teacher with the tiny student's tokenizer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.conftest import tiny as tiny_models


@pytest.fixture
def rows(row: Any) -> list[dict[str, Any]]:
    return [row(f"{a} + {'1' * (a + 1)}?", str(a + 1) * (1 + a % 3), task_id=f"t{a}") for a in range(8)]


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another random model with the tiny student's tokenizer: wider, deeper, with a padded output layer."""
    folder = tmp_path_factory.mktemp("models") / "teacher"
    torch.manual_seed(5)
    model = tiny_models.make_model(hidden_size=48, intermediate_size=96, num_hidden_layers=3, vocab_size=272)
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(3)
    model.save_pretrained(folder)
    tiny_models.make_tokenizer().save_pretrained(folder)
    return folder
