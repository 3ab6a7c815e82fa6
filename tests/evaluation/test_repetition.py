from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stillroom.common.records import Attempt
from stillroom.evaluation.metrics import answer_words, distinct, most_repeated, repeats


@pytest.mark.parametrize(
    ("text", "n", "expected"),
    [("", 1, 0), ("a b", 3, 0), ("a b c", 3, 1), ("a a a", 1, 3), ("a a a", 2, 2), ("a b a b a b c", 2, 3)],
)
def test_the_commonest_run(text: str, n: int, expected: int) -> None:
    assert most_repeated(text.split(), n) == expected


@pytest.mark.parametrize(
    ("texts", "n", "expected"),
    [
        ([], 1, None),
        (["a"], 2, None),
        (["a b c"], 1, 1),
        (["a b c", "a b d"], 2, 3 / 4),
        (["a a a a a"], 2, 1 / 4),
        (["a b", "b a"], 2, 1),  # no run goes from one text into the next
        (["a b", "a b", "a b"], 2, 1 / 3),
    ],
)
def test_distinct_runs(texts: list[str], n: int, expected: float | None) -> None:
    assert distinct([text.split() for text in texts], n) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("We start at 4 and add 3, which gives 7.\n#### 7", False),
        ("so the sum of it is 7, " * 3, False),
        ("so the sum of it is 7, " * 4, True),
        ("Let me check that again now: 3 + 4 = 7. " * 9, True),
        (" ".join(f"{i} + {i} = {2 * i}." for i in range(50)), False),
    ],
)
def test_answers_that_repeat_themselves(text: str, expected: bool) -> None:
    attempt = Attempt("t", 0, text, None, "stop", 1, 1, None, 0.1, "x")
    assert repeats(answer_words(attempt)) is expected


def test_the_reasoning_counts() -> None:
    attempt = Attempt("t", 0, "7", "no wait that is not right, " * 9, "stop", 1, 1, None, 0.1, "x")
    assert repeats(answer_words(attempt))


@given(st.lists(st.sampled_from("abc"), max_size=30), st.integers(1, 4), st.integers(2, 5))
def test_a_text_said_again_is_repeated_so_often(words: list[str], n: int, times: int) -> None:
    once = most_repeated(words, n)
    assert most_repeated(words * times, n) >= once * times
    if len(words) >= n:
        assert distinct([words] * times, n) == pytest.approx((distinct([words], n) or 0) / times)


def test_runs_of_no_words_are_refused() -> None:
    with pytest.raises(ValueError, match="at least one word"):
        most_repeated(["a"], 0)
