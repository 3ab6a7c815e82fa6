"""Flesch and Flesch-Kincaid by formula, against values worked out by hand."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stillroom.common.records import Attempt, Task, user
from stillroom.judges.readability import SCALE, ReadabilityJudge, readability, syllables
from stillroom.judges.records import JudgeState

TASK = Task("t1", user("Say hello."), None, "by hand")


def attempt(text: str) -> Attempt:
    return Attempt("t1", 0, text, None, "stop", 1, 1, None, 0.0, "fake")


@pytest.mark.parametrize(
    ("word", "count"),
    [
        ("the", 1), ("make", 1), ("makes", 1), ("baked", 1), ("wanted", 2), ("ended", 2), ("table", 2), ("free", 1),
        ("boxes", 2), ("faces", 2), ("readable", 3), ("beautiful", 3), ("rhythm", 1), ("hmm", 1), ("café", 2),
        ("don't", 1), ("university", 5), ("42", 1), ("simple", 2), ("houses", 2),
    ],
)  # fmt: skip
def test_syllables(word: str, count: int) -> None:
    assert syllables(word) == count


def test_the_formulas() -> None:
    # 6 words, 1 sentence, 6 syllables; 10 words, 2 sentences, 14 syllables.
    easy = readability("The cat sat on the mat.")
    harder = readability("The garden needs water today. Nobody told my brother.")
    assert easy == pytest.approx((206.835 - 1.015 * 6 - 84.6, 0.39 * 6 + 11.8 - 15.59))
    assert harder == pytest.approx((206.835 - 1.015 * 4.5 - 84.6 * 15 / 9, 0.39 * 4.5 + 11.8 * 15 / 9 - 15.59))


async def test_the_score_is_the_ease_held_to_the_scale() -> None:
    judge = ReadabilityJudge()
    easy = await judge.rate(TASK, attempt("The cat sat on the mat."))
    hard = await judge.rate(TASK, attempt("Organizational internationalization necessitates interdisciplinarity."))
    assert (easy.score, hard.score) == SCALE[::-1]
    assert easy.ratings["reading_ease"] > 100
    assert hard.ratings["grade"] > easy.ratings["grade"]
    assert easy.calls == 0
    await judge.close()


@pytest.mark.parametrize("text", ["", "...", "👍"])
async def test_no_word_is_the_lowest_score(text: str) -> None:
    rating = await ReadabilityJudge().rate(TASK, attempt(text))
    assert (rating.state, rating.score) == (JudgeState.OK, SCALE[0])


@given(st.text(max_size=300))
def test_every_text_has_a_value_or_no_word(text: str) -> None:
    found = readability(text)
    assert found is None or (found.ease == found.ease and found.grade == found.grade)
