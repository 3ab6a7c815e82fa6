"""What the tests of the answer checker share: a checker whose worker starts once, and the place of the data."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from stillroom.traces.answers import AnswerChecker

REPOSITORY = Path(__file__).parents[3]


@pytest.fixture(scope="session")
def checker() -> Iterator[AnswerChecker]:
    with AnswerChecker(workers=2, timeout_s=60) as shared:
        yield shared


@pytest.fixture(scope="session")
def data() -> Callable[[str], list[dict[str, Any]]]:
    """Reads a file of the data, or skips the test where the data are not there."""
    folder = Path(os.environ.get("STILLROOM_DATA", REPOSITORY.parent / "shared" / "data"))

    def read(name: str) -> list[dict[str, Any]]:
        if not (folder / name).is_file():
            pytest.skip(f"no {name} in {folder}: set STILLROOM_DATA to the folder with the public data")
        with (folder / name).open(encoding="utf-8") as lines:
            return [json.loads(line) for line in lines]

    return read
