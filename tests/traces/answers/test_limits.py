from __future__ import annotations

import pytest

from stillroom.traces.answers.limits import MAX_ANSWER, MAX_DEPTH, MAX_DIGITS, over_limit


@pytest.mark.parametrize(
    "answer",
    [
        "x" * (MAX_ANSWER + 1),
        "7" * (MAX_DIGITS + 1),
        "(" * (MAX_DEPTH + 1),
        "10^{99999}",
        "10^99999",
        r"1.0\times 10^{-999999999}",
        "99999!",
        "((9!)!)!",
        "9^{9^{9^{9}}}",
        "2^2^2^2",
        "(9^9)^(9^9)^(9^9)",
    ],
)
def test_what_is_too_large_is_refused(answer: str) -> None:
    assert over_limit(answer)


@pytest.mark.parametrize(
    "answer",
    [
        "7" * MAX_DIGITS,
        "2024^{4046}",
        "e^{x^2}",
        "x^2y^3z^4w^5",
        "x^{2}+y^{3}+z^{4}",
        "10!",
        r"\frac{1}{2004!}",
        "(" * MAX_DEPTH,
    ],
)
def test_what_answers_look_like_is_not(answer: str) -> None:
    assert over_limit(answer) is None
