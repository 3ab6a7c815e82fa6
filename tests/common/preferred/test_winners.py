"""What people and programs write down for "the first is better", and what is refused instead of guessed."""

from __future__ import annotations

from typing import Any

import pytest

from stillroom.common.preferred.base import Flaw, RowFault
from stillroom.common.preferred.winners import most_said, of_sign, winner_in
from stillroom.errors import InputError

FIRST = [
    "A", " a ", "A.", "(A)", "[[A]]", "1", "1.0", 1, 1.0, "Left", "FIRST", "the first", "model_a", "Model A", "model-a",
    "Answer 1", "response_1", "Assistant A", "Output (a)", "A is better", "A is slightly better", "a wins", "I prefer A",
    "A>B", "A >> B", "B < A", "a (slightly)", "a\u00a0", "\uff21",
]  # fmt: skip
TIES = ["tie", "Tie", "TIE (both bad)", "tie (bothbad)", "both_bad", "bothbad", "Both are good", "equal", "Same", "=", "A=B", "no preference", "neutral"]  # fmt: skip
UNKNOWN = [
    "X",
    "C",
    "[[C]]",
    "3",
    "-1",
    -1,
    1.5,
    "yes",
    "?",
    "N/A",
    "A/B",
    "AB",
    "A+",
    "not A",
    "A" * 300,
    True,
    {"w": "a"},
]


@pytest.mark.parametrize("said", FIRST)
def test_the_first_may_be_said_in_many_ways(said: Any) -> None:
    assert winner_in(said) == "a"


@pytest.mark.parametrize("said", [2, "2", "B", "right", "Model B", "B>A", "Response 2", "second"])
def test_the_second_too(said: Any) -> None:
    assert winner_in(said) == "b"


@pytest.mark.parametrize("said", TIES)
def test_a_tie_stays_one(said: str) -> None:
    assert winner_in(said) == "tie"


@pytest.mark.parametrize("said", UNKNOWN)
def test_nothing_is_guessed(said: Any) -> None:
    with pytest.raises(RowFault, match=r"not understood: it may be A, B or tie, 1 or 2") as caught:
        winner_in(said)
    assert caught.value.reason is Flaw.UNKNOWN_LABEL


@pytest.mark.parametrize("said", [None, "", "  "])
def test_no_label_has_its_own_reason(said: Any) -> None:
    with pytest.raises(RowFault) as caught:
        winner_in(said)
    assert caught.value.reason is Flaw.NO_LABEL


def test_a_zero_counts_where_answers_are_counted_from_zero_and_is_refused_elsewhere() -> None:
    assert [winner_in(said, from_zero=True) for said in (0, "1", "tie")] == ["a", "b", "tie"]
    with pytest.raises(InputError, match="nobody can tell whether that is the first answer or a tie"):
        winner_in("0")
    with pytest.raises(RowFault):
        winner_in(2, from_zero=True)


def test_a_models_name_wins_over_every_other_meaning() -> None:
    assert winner_in(" GPT-4 ", models=("llama", "gpt-4")) == "b"
    assert winner_in("a", models=("b", "a")) == "b"
    with pytest.raises(RowFault, match="which wrote both answers: write A or B"):
        winner_in("gpt-4", models=("gpt-4", "GPT-4"))


def test_signs_and_votes() -> None:
    assert [of_sign(value) for value in (-3, 0, 0.5)] == ["a", "tie", "b"]
    assert most_said(("a", "a", "b")) == "a"
    assert most_said(("a", "b")) == "tie"
    assert most_said(("tie", "tie", "b")) == "tie"
    assert most_said(("tie", "b")) == "tie"
