"""What our reader makes of what judges write: one row, one habit of theirs."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stillroom.judges.recorded import read_order, read_rating
from stillroom.judges.records import JudgeState

ORDERS = {
    "the answer alone": ("Output (a)", "first"),
    "with a full stop and quotation marks": ('"Output (b)".', "second"),
    "with a remark in brackets": ("Output (b) (Output (a) is inappropriate)", "second"),
    "as a heading": ("# Output (a) is better.", "first"),
    "in small letters": ("therefore, output (b) is better.", "second"),
    "at the end, as asked": ("Output (a) is short. Therefore, Output (b) is better.", "second"),
    "the better choice": ("Output (a) is longer. Therefore, Output (b) is clearly the better choice.", "second"),
    "the other way round": ("The better output for the given instruction is Output (a).", "first"),
    "as a choice": ("I would choose Output (b) as the better response.", "second"),
    "first, then reasons that begin with (a)": ("Output (b) is better.\n\nOutput (a) is too short.", "second"),
    "taken back": ("Output (b) is better. Output (a) is not about Mars. Therefore, Output (a) is better.", "first"),
    "after what another argued": (
        "Assistant (a) argues that Output (a) is better. Therefore, Output (b) is better.",
        "second",
    ),
    "before what another argued": (
        "Therefore, Output (b) is better.\n\nIn contrast, Assistant (a) argues that Output (a) is better.",
        "second",
    ),
    "in agreement": ("I agree with Assistant (b) that Output (b) is better.", "second"),
    "in disagreement": (
        "Output (b) is better. I disagree with Assistant (a) that Output (a) is better.",
        "second",
    ),
    "after the question": ('# Which is better, "Output (a)" or "Output (b)"?\nOutput (a)', "first"),
    "after the prompt's own words": (
        'I end with "Therefore, Output (a) is better." or "Therefore, Output (b) is better."\nOutput (a)',
        "first",
    ),
}

FAILURES = {
    "nothing": ("", "", JudgeState.PARSE_FAILED),
    "only a description": ("Output (a): Yes\nOutput (b): No", "stop", JudgeState.PARSE_FAILED),
    "not better": ("Output (a) is not better.", "stop", JudgeState.PARSE_FAILED),
    "an open question": ("It is hard to say whether Output (a) or Output (b) is better.", "stop", JudgeState.PARSE_FAILED),
    "another's verdict only": ("Assistant (a) claims that Output (a) is better.", "stop", JudgeState.PARSE_FAILED),
    "both good": ("Both Output (a) and Output (b) mention the moon.", "stop", JudgeState.PARSE_FAILED),
    "refused": ("I cannot provide a response to this question.", "", JudgeState.REFUSED),
    "refused, naming them": ("I cannot claim that either Output (a) or Output (b) is better.", "", JudgeState.REFUSED),
    "filtered by the provider": ("", "content management policy", JudgeState.REFUSED),
    "cut off before the verdict": ("Output (a) is short. Therefore, Output (b)", "length", JudgeState.TRUNCATED),
    "cut off after a verdict": ("Output (b) is better. However, ", "length", JudgeState.TRUNCATED),
}  # fmt: skip


@pytest.mark.parametrize(("text", "winner"), ORDERS.values(), ids=ORDERS)
def test_the_last_verdict_of_the_judge_itself_counts(text: str, winner: str) -> None:
    verdict = read_order(text, "stop")
    assert (verdict.state, verdict.winner, verdict.text) == (JudgeState.OK, winner, text)


@pytest.mark.parametrize(("text", "finish", "state"), FAILURES.values(), ids=FAILURES)
def test_no_verdict_is_a_failure_and_says_why(text: str, finish: str, state: JudgeState) -> None:
    verdict = read_order(text, finish)
    assert (verdict.state, verdict.winner) == (state, None)
    assert verdict.detail


@pytest.mark.parametrize(
    "text",
    [
        "Therefore, neither output is better for the given instruction.",
        "Neither Output (a) nor Output (b) is better.",
        "Therefore, both Output (a) and Output (b) are equally good for the given instruction.",
    ],
)
def test_equal_in_words_is_a_tie(text: str) -> None:
    assert read_order(text, "stop").state is JudgeState.TIE


def test_equally_likely_is_no_tie() -> None:
    said = (
        "Output (a) is better.\n\nBoth outputs are equally likely to be the better, but Output (a) is more helpful."
    )
    assert read_order(said, "").winner == "first"


def _renamed(text: str) -> str:
    return text.replace("(a)", "(?)").replace("(b)", "(a)").replace("(?)", "(b)")


@pytest.mark.parametrize("text", [text for text, _ in ORDERS.values()], ids=ORDERS)
def test_the_other_name_is_read_the_same_way(text: str) -> None:
    mirrored = {"first": "second", "second": "first"}
    winner = read_order(text, "stop").winner
    assert winner is not None
    assert read_order(_renamed(text), "stop").winner == mirrored[winner]


@given(st.text(alphabet="Output ()ab.\nisbetorhAIx1", max_size=300), st.sampled_from(["", "stop", "length"]))
def test_any_text_is_read_without_an_error_and_mirrored(text: str, finish: str) -> None:
    one, other = read_order(text, finish), read_order(_renamed(text), finish)
    assert one.state is other.state
    assert (one.winner is None) is (one.state is not JudgeState.OK)
    assert (one.winner == "first") is (other.winner == "second")


RATINGS = {
    "alone": ("8", 8),
    "the ends": ("0", 0),
    "of the scale": ("9", 9),
    "with its name": ("Score: 7.", 7),
    "out of its own scale": ("7/9", 7),
}
BAD_RATINGS = {
    "off the scale": ("10", "off the scale"),
    "of another scale": ("8/10", "off the scale"),
    "far off": ("999999", "off the scale"),
    "a sentence": ("I would give it an 8 out of 10", "not one integer"),
    "two of them": ("8 9", "not one integer"),
    "a fraction": ("7.5", "not one integer"),
    "negative": ("-1", "not one integer"),
    "other digits": ("٧", "not one integer"),
    "nothing": ("  ", "wrote nothing"),
}


@pytest.mark.parametrize(("text", "score"), RATINGS.values(), ids=RATINGS)
def test_a_rating_is_read(text: str, score: int) -> None:
    assert read_rating(text, "stop").score == score


@pytest.mark.parametrize(("text", "why"), BAD_RATINGS.values(), ids=BAD_RATINGS)
def test_what_is_no_rating_has_no_score(text: str, why: str) -> None:
    rating = read_rating(text, "stop")
    assert (rating.state, rating.score) == (JudgeState.PARSE_FAILED, None)
    assert why in rating.detail


@pytest.mark.parametrize(
    ("text", "finish", "state"),
    [
        ("8", "length", JudgeState.TRUNCATED),
        ("", "content_filter", JudgeState.REFUSED),
        ("I'm sorry, but I can't rate this.", "stop", JudgeState.REFUSED),
    ],
)
def test_a_rating_that_was_cut_or_refused_is_a_failure(text: str, finish: str, state: JudgeState) -> None:
    assert (read_rating(text, finish).state, read_rating(text, finish).score) == (state, None)
