"""Batches of KTO: every row once, with an answer to another prompt, of its own batch where that can be."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stillroom.errors import TrainingError
from stillroom.students.data import mismatched
from stillroom.students.data.labelled import EncodedAnswer
from stillroom.students.data.mismatched import batches_of


def answers(*prompts: int, answer: int = 2) -> list[EncodedAnswer]:
    """Rows of prompts by number, each with an answer of its own."""
    return [EncodedAnswer(f"row {i}", [7, p], [9] * answer + [i, 2], i % 2 == 0) for i, p in enumerate(prompts)]


@given(st.lists(st.integers(0, 5), min_size=2, max_size=30), st.integers(2, 9), st.integers(0, 3))
def test_every_row_is_once_in_a_batch_and_has_an_answer_to_another_prompt(
    prompts: list[int], size: int, seed: int
) -> None:
    rows = answers(*prompts)
    if len(set(prompts)) == 1:
        with pytest.raises(TrainingError, match="have the same prompt"):
            batches_of(rows, size, seed, 100)
        return
    placed = batches_of(rows, size, seed, 100)
    assert sorted(each.row.name for each in placed) == sorted(row.name for row in rows)
    asked = {tuple(row.answer_ids): row.prompt_ids for row in rows}
    assert all(asked[tuple(each.other)] != each.row.prompt_ids for each in placed)
    assert placed == batches_of(rows, size, seed, 100)


def test_the_mismatched_answers_of_a_batch_are_its_own_where_that_can_be() -> None:
    placed = batches_of(answers(*range(8)), 4, 3, 100)
    for part in (placed[:4], placed[4:]):
        assert sorted(each.other for each in part) == sorted(each.row.answer_ids for each in part)


def test_two_answers_to_each_prompt_are_not_mismatched_with_each_other() -> None:
    for seed in range(10):
        placed = batches_of(answers(0, 0, 1, 1, 2, 2), 6, seed, 100)
        own = {tuple(each.row.answer_ids): each.row.prompt_ids for each in placed}
        assert all(own[tuple(each.other)] != each.row.prompt_ids for each in placed)


def test_no_mismatched_answer_is_longer_than_fits_if_another_does() -> None:
    long = EncodedAnswer("long", [7] * 90, [9, 2], True)
    rows = [long, *answers(1, 2, 3, answer=40), EncodedAnswer("short", [8], [5, 2], False)]
    for seed in range(10):
        [placed] = [each for each in batches_of(rows, 2, seed, 100) if each.row.name == "long"]
        assert placed.other == [5, 2]
    shortest = [each for each in batches_of(rows[:-1], 2, 1, 100) if each.row.name == "long"]
    assert len(shortest[0].other) == 42  # none fits: whole all the same


def test_the_search_for_an_answer_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nearly all rows have one prompt, and nearly all prompts are too long for any answer."""
    monkeypatch.setattr(mismatched, "SEARCHED", 3)
    rows = [EncodedAnswer(f"row {i}", [7, i != 50], [9, i, 2], True) for i in range(100)]
    placed = batches_of(rows, 4, 1, 100)
    assert sum(each.other == [9, 50, 2] for each in placed) >= 96  # but for what it gets itself
    long = [EncodedAnswer(f"row {i}", [7, i], [9] * (i + 1), True) for i in range(100)]
    assert len(batches_of(long, 4, 1, 2)) == 100
