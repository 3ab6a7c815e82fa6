"""What grades in other people's records mean."""

from __future__ import annotations

from typing import Any

import pytest

from stillroom.sampling.grades import kept, read_grade

ACCEPTED, REJECTED = "accepted graded 1.0", "rejected graded 0.0"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        *((value, ACCEPTED) for value in (True, 1, 1.0, "1", "1.0", "C", "c", "Correct", " true ", "yes", "pass")),
        *((value, REJECTED) for value in (False, 0, 0.0, "0", "I", "incorrect", "False", "no", "fail")),
        *((value, "unscored partial 0.5") for value in ("P", "partial", 0.5, "0.5")),
        *((value, "unscored no_answer None") for value in ("N", "noanswer")),
        *((value, "unscored no_grade None") for value in (None, "", "  ")),
        *((value, "unscored unknown_grade None") for value in ("maybe", "CORRECT!", "nan", float("nan"), "an array")),
        (7, "unscored unknown_grade 7.0"),
        (-1, "unscored unknown_grade -1.0"),
        (10**400, "unscored unknown_grade None"),
    ],
    ids=repr,
)
def test_a_grade_is_accepted_or_rejected_only_where_it_says_so(value: Any, expected: str) -> None:
    grade = read_grade(value)
    assert f"{grade.state.value} {grade.reason} {grade.score}" == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (7, "accepted"),
        (4.5, "accepted"),
        ("3", "rejected"),
        (True, "rejected"),
        ("C", "rejected"),  # 1 on a scale where 4 is enough
        ("maybe", "unscored"),
        (None, "unscored"),
        ("N", "unscored"),
    ],
)
def test_with_a_threshold_numbers_decide_and_words_that_nobody_knows_do_not(value: Any, expected: str) -> None:
    assert read_grade(value, accept=4).state.value == expected


def test_a_recipe_says_what_further_words_mean() -> None:
    words: Any = {"Superb": "accepted", "0": "unscored", "hm": "rejected"}
    assert [read_grade(v, words=words).state.value for v in ("Superb", 0, "hm", "1", "superb")] == [
        "accepted",
        "unscored",
        "rejected",
        "accepted",
        "unscored",
    ]


def test_what_is_held_of_a_grade_is_short() -> None:
    assert [kept(value) for value in (True, 0.5, None, " C ", "x" * 999, {"a": 1}, [1])] == [
        True,
        0.5,
        None,
        "C",
        "x" * 60,
        "an object",
        "an array",
    ]
