"""Refusals: whole phrases at the beginning, and no everyday use of the same words."""

from __future__ import annotations

import pytest

from stillroom.common.text import OPENING, is_refusal


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("I'm sorry, but I can't help with that.", True),
        ("I’m sorry, but I can’t help with that.", True),
        ("As an AI language model, I do not have opinions.", True),
        ("I cannot provide that.", True),
        ("I must decline to answer this.", True),
        ("I'd rather not say.", True),
        ("Sorry for the delay. The report is below.", False),
        ("You cannot divide by zero.", False),
        ("We can't help but notice the sunset.", False),
        ("Dear Ms Hill, I am sorry that the parcel is late.", False),
        ("", False),
        ("x" * OPENING + " I cannot help with that.", False),
    ],
)
def test_refusals(answer: str, expected: bool) -> None:
    assert is_refusal(answer) is expected
