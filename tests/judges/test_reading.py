"""The parser of verdicts: last match, range, exactly what was asked for. Each fault of others that is known has a row."""

from __future__ import annotations

import json
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stillroom.judges.reading import Wanted, read_ratings, read_winner
from stillroom.judges.records import JudgeState

ONE = Wanted(("clear",), 1, 5)
TEN = Wanted(("clear",), 1, 10)
TWO = Wanted(("clear", "plain_words"), 1, 5)

READ = {
    "alone": (ONE, "[[clear: 4]]", {"clear": 4}),
    "after reasons": (ONE, "It is clear enough.\n\n[[clear: 4]]\n", {"clear": 4}),
    "the last counts": (ONE, "At first [[clear: 2]], but on reflection:\n[[clear: 4]]", {"clear": 4}),
    "the same twice": (ONE, "[[clear: 4]] [[clear: 4]]", {"clear": 4}),
    "out of the scale's own top": (TEN, "[[clear: 8/10]]", {"clear": 8}),  # rewardbench reads 10
    "ten": (TEN, "[[clear: 10]]", {"clear": 10}),
    "ten out of ten": (TEN, "[[clear: 10/10]]", {"clear": 10}),
    "a whole number with a point": (ONE, "[[clear: 4.0]]", {"clear": 4}),
    "loose spelling of the name": (TWO, "[[ Clear : 4 ]]\n[[Plain words= 5]]", {"clear": 4, "plain_words": 5}),
    "another order": (TWO, "[[plain_words: 5]]\n[[clear: 4]]", {"clear": 4, "plain_words": 5}),
    "blank lines between": (TWO, "[[clear: 4]]\n\n\n\n[[plain_words: 5]]\n\n", {"clear": 4, "plain_words": 5}),
    "each after its reasons": (TWO, "Clear. [[clear: 4]]\nPlain. [[plain_words: 5]]", {"clear": 4, "plain_words": 5}),
    "a list": (TWO, "- [[clear: 4]]\n- [[plain_words: 5]]", {"clear": 4, "plain_words": 5}),
    "a draft first": (
        TWO,
        "[[clear: 1]] [[plain_words: 1]]\nNo:\n[[clear: 4]] [[plain_words: 5]]",
        {"clear": 4, "plain_words": 5},
    ),
    "JSON": (TWO, '{"clear": 4, "plain_words": 5}', {"clear": 4, "plain_words": 5}),
    "JSON with reasons": (ONE, '{"reasons": "It says [[clear: 1]].", "clear": 4}', {"clear": 4}),
    "JSON in a fence": (ONE, 'Here it is:\n```json\n{"clear": 4}\n```', {"clear": 4}),
    "the last fence": (ONE, '```json\n{"clear": 1}\n```\nNo:\n```json\n{"clear": 4}\n```', {"clear": 4}),
    "JSON with text for a number": (ONE, '{"clear": "4"}', {"clear": 4}),
    "a zero": (Wanted(("clear",), 0, 3), "[[clear: 0]]", {"clear": 0}),
}

UNREADABLE = {
    "nothing": (ONE, "", "wrote nothing"),
    "no rating": (ONE, "It is clear.", "no rating such as"),
    "the form itself": (ONE, "[[clear: N]]", "is not a number"),
    "between two points": (ONE, "[[clear: 4.5]]", "whole numbers"),
    "above the scale": (ONE, "[[clear: 6]]", "scale is 1 to 5"),
    "below the scale": (ONE, "[[clear: 0]]", "scale is 1 to 5"),
    "the -1 of others": (ONE, "[[clear: -1]]", "scale is 1 to 5"),
    "of ten, on a scale to five": (ONE, "[[clear: 8/10]]", "scale is 1 to 5"),
    "of ten, within the scale to five": (ONE, "[[clear: 4/10]]", "scale is 1 to 5"),
    "of five, on a scale to ten": (TEN, "[[clear: 4/5]]", "scale is 1 to 10"),
    "digits of another script": (ONE, "[[clear: ٤]]", "is not a number"),
    "a huge number": (ONE, "[[clear: " + "9" * 30 + "]]", "is not a number"),
    "not asked for": (ONE, "[[clear: 4]]\n[[polite: 5]]", "only clear was asked for"),
    "another name": (ONE, "[[overall: 4]]", "only clear was asked for"),
    "one too few": (TWO, "[[clear: 4]]", "no rating of plain_words"),
    "one too few, in two places": (TWO, "[[clear: 4]] then [[clear: 4]]", "no rating of plain_words"),
    "twice, differently": (ONE, "[[clear: 4]] [[clear: 5]]", "both 4 and 5"),
    "twice, differently, scattered": (TWO, "[[clear: 4]] hm [[plain_words: 4]] hm [[clear: 5]]", "both 4 and 5"),
    "without a name": (ONE, "[[4]]", "no rating such as"),
    "by position": (TWO, "4\n5", "no rating such as"),
    "not marked": (ONE, "clear: 4", "no rating such as"),
    "JSON, twice differently": (ONE, '{"clear": 4, "clear": 5}', "both 4 and 5"),
    "JSON, between two points": (ONE, '{"clear": 4.5}', "whole numbers"),
    "JSON, one too few": (TWO, '{"clear": 4}', "no rating of plain_words"),
    "JSON, one too many": (ONE, '{"clear": 4, "polite": 4}', "only clear was asked for"),
    "JSON, null": (ONE, '{"clear": null}', "is not a number"),
    "JSON, true": (ONE, '{"clear": true}', "is not a number"),
    "JSON, not a number": (ONE, '{"clear": NaN}', "is not a number"),
    "JSON, a list": (ONE, '{"clear": [4]}', "is not a number"),
    "JSON, deep": (ONE, '{"clear":' * 3000 + "4" + "}" * 3000, "no rating such as"),
    "JSON, a key in disguise": (ONE, '{"\\u0063lear": 4}', "no rating such as"),
    "JSON, a key in disguise beside the word": (ONE, '{"reasons": "clear", "\\u0063lear": 4}', "no rating such as"),
}

WINNERS = {
    "first": ("[[A]]", JudgeState.OK, "first"),
    "second": ("A is short. B is better.\n[[B]]", JudgeState.OK, "second"),
    "tie": ("[[tie]]", JudgeState.TIE, None),
    "tie as others write it": ("[[C]]", JudgeState.TIE, None),
    "in small letters": ("[[ b ]]", JudgeState.OK, "second"),
    "with its name": ("[[winner: A]]", JudgeState.OK, "first"),
    "the last line counts": ("[[A]] looks good.\nBut no:\n[[B]]", JudgeState.OK, "second"),
    "two on the last line": ("It is [[A]] or [[B]]", JudgeState.PARSE_FAILED, None),
    "the same twice": ("[[A]], so [[A]]", JudgeState.OK, "first"),
    "in words": ("Answer A is better.", JudgeState.PARSE_FAILED, None),
    "nothing": ("  ", JudgeState.PARSE_FAILED, None),
    "another letter": ("[[D]]", JudgeState.PARSE_FAILED, None),
    "refused": ("I'm sorry, but I cannot compare these answers.", JudgeState.REFUSED, None),
    "JSON": ('{"reasons": "[[A]] or [[B]]", "winner": "B"}', JudgeState.OK, "second"),
    "JSON tie": ('{"winner": "tie"}', JudgeState.TIE, None),
    "JSON, something else": ('{"winner": "neither"}', JudgeState.PARSE_FAILED, None),
    "JSON, one too many": ('{"winner": "A", "winner": "B"}', JudgeState.PARSE_FAILED, None),
}


@pytest.mark.parametrize(("wanted", "text", "ratings"), READ.values(), ids=READ)
def test_ratings_are_read(wanted: Wanted, text: str, ratings: dict[str, int]) -> None:
    assert read_ratings(text, wanted) == (JudgeState.OK, ratings, "")


@pytest.mark.parametrize(("wanted", "text", "why"), UNREADABLE.values(), ids=UNREADABLE)
def test_what_was_not_asked_for_is_a_failure_with_its_reason(wanted: Wanted, text: str, why: str) -> None:
    state, ratings, detail = read_ratings(text, wanted)
    assert (state, ratings) == (JudgeState.PARSE_FAILED, {})
    assert why in detail


@pytest.mark.parametrize(("text", "state", "winner"), WINNERS.values(), ids=WINNERS)
def test_preferences_are_read(text: str, state: JudgeState, winner: str | None) -> None:
    read = read_winner(text)
    assert (read.state, read.winner) == (state, winner)


@pytest.mark.parametrize(
    ("text", "refused"),
    [
        ("I cannot rate this answer.", True),
        ("I'm sorry, but I can't assist with that.", True),
        ("I am unable to fairly evaluate this.", True),
        ("As an AI language model, I do not rate texts.", True),
        ("I cannot find a fault in it.", False),
        ("The writer says: it can't be rated.", False),
        ("I can’t judge that.", True),
        ("I cannot rate it above 4.\n[[clear: 4]]", None),
    ],
)
def test_refusals_are_told_from_what_cannot_be_read(text: str, refused: bool | None) -> None:
    expected = {True: JudgeState.REFUSED, False: JudgeState.PARSE_FAILED, None: JudgeState.OK}[refused]
    assert read_ratings(text, ONE).state is expected


@given(st.lists(st.sampled_from(["", "\n", "\n\n", " \n \n"]), min_size=4, max_size=4), st.permutations([1, 3, 5]))
def test_blank_lines_and_order_shift_no_rating(blanks: list[str], order: list[int]) -> None:
    names = {1: "a", 3: "b", 5: "c"}
    parts = [f"[[{names[n]}: {n}]]" for n in order]
    text = blanks[0] + parts[0] + "\n" + blanks[1] + parts[1] + "\n" + blanks[2] + parts[2] + blanks[3]
    assert read_ratings(text, Wanted(("a", "b", "c"), 1, 5)).ratings == {"a": 1, "b": 3, "c": 5}


@given(st.text(max_size=200))
def test_any_text_is_read_to_a_rating_on_the_scale_or_a_failure(text: str) -> None:
    for wrapped in (text, f"[[clear: {text}]]", json.dumps({"clear": text})):
        read = read_ratings(wrapped, ONE)
        assert (read.state is JudgeState.OK) is bool(read.ratings)
        assert all(1 <= value <= 5 for value in read.ratings.values())


@given(st.text(alphabet="AB[]C tie\n:winner", max_size=60))
def test_letters_exchanged_exchange_the_verdict(text: str) -> None:
    read, mirrored = read_winner(text), read_winner(text.translate({65: 66, 66: 65}))
    assert read.state == mirrored.state
    assert mirrored.winner == {"first": "second", "second": "first", None: None}[read.winner]


@pytest.mark.parametrize(
    "text",
    ["[" * 100_000, "[[" * 50_000, "[[clear" * 20_000, "[[clear: " + " " * 100_000, "[[a:1]]" * 20_000, "```\n" * 30_000,
     '{"clear": ' * 10_000, "{" + " " * 100_000 + "}"],
    ids=range(8),
)  # fmt: skip
def test_long_hostile_texts_are_read_in_time(text: str) -> None:
    assert read_ratings(text, ONE).state is JudgeState.PARSE_FAILED  # the suite's time limit is the test
    assert read_winner(text).state is JudgeState.PARSE_FAILED


def test_every_order_of_three_criteria_reads_the_same() -> None:
    wanted = Wanted(("a", "b", "c"), 1, 5)
    lines = ["[[a: 1]]", "[[b: 2]]", "[[c: 3]]"]
    assert all(read_ratings("\n".join(p), wanted).ratings == {"a": 1, "b": 2, "c": 3} for p in permutations(lines))
