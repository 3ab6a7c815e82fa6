"""What the tests of students share: a tiny model, and rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import tiny as tiny_models


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    """These models are far too small for two threads, which would only wait for each other on a busy machine."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def chatml() -> str:
    return tiny_models.CHATML


@pytest.fixture(scope="session")
def make_tokenizer() -> Callable[..., Any]:
    return tiny_models.make_tokenizer


@pytest.fixture(scope="session")
def make_model() -> Callable[..., Any]:
    return tiny_models.make_model


@pytest.fixture(scope="session")
def tokenizer() -> Any:
    return tiny_models.make_tokenizer()


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the tiny student."""
    return tiny_models.save_tiny(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="session")
def row() -> Callable[..., dict[str, Any]]:
    """row("2 + 2?", "4") as the data sets hold it."""

    def make(prompt: str, completion: str, **more: Any) -> dict[str, Any]:
        return {
            "prompt": [{"role": "user", "content": prompt}],
            "completion": [{"role": "assistant", "content": completion}],
        } | more

    return make


@pytest.fixture(scope="session")
def pair() -> Callable[..., dict[str, Any]]:
    """pair("2 + 2?", "4", "no idea") as the data sets hold it."""

    def make(prompt: str, chosen: str, rejected: str, **more: Any) -> dict[str, Any]:
        return {
            "prompt": [{"role": "user", "content": prompt}],
            "chosen": [{"role": "assistant", "content": chosen}],
            "rejected": [{"role": "assistant", "content": rejected}],
        } | more

    return make
