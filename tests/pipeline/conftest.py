"""The student of loops and chains that really train: small enough that they take seconds."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from tests.conftest import tiny


@pytest.fixture(scope="session")
def small_student(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a model that adds two numbers up in the form of the recordings here, and mostly wrong; it is
    skipped where the packages that train one are missing."""
    for package in ("torch", "trl", "peft"):
        if importlib.util.find_spec(package) is None:  # not imported: that takes seconds
            pytest.skip(f"needs {package}")
    sums = [(a, total) for total in range(11, 90) for a in range(1 + total % 3, total - 1, 1 + total // 8)]
    taught = [(f"What is {a} + {total - a}?", f"{a} + {total - a} = {total}.\n#### {total}") for a, total in sums]
    return tiny.save_small(tmp_path_factory.mktemp("models") / "small", taught)
