"""What the attacks share: one checker, since starting one takes longer than most of its verdicts."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from stillroom.traces.answers import AnswerChecker


@pytest.fixture(scope="session")
def checker() -> Iterator[AnswerChecker]:
    """With the default policies."""
    with AnswerChecker(workers=1) as made:
        yield made
