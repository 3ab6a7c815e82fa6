"""Candidates: who wrote them stays on them, equal texts are one, and what cannot be one has a reason."""

from __future__ import annotations

from dataclasses import replace

import pytest

from stillroom.common.records import Attempt
from stillroom.errors import InputError
from stillroom.judges.records import JudgeState
from stillroom.preferences.candidates import Drawn, answer_of, gather, slates_of
from stillroom.preferences.records import Judged, LeftOut
from tests.preferences.building import outcome, task

T, U = task("t"), task("u")


def test_candidates_keep_their_source_and_stand_in_the_order_of_sources_and_draws() -> None:
    drawn = [Drawn("a", [outcome(T, "one", "two")]), Drawn("b", [outcome(T, "three")], on_policy=False)]
    found = gather(drawn, order=[T])
    assert [each.id for each in found.by_task["t"]] == ["t/a/0", "t/a/1", "t/b/0"]
    assert [each.tokens for each in found.candidates] == [5, 5, 5]
    assert found.left_out == ()


def test_tasks_without_an_answer_are_there_with_none_and_other_tasks_are_not() -> None:
    found = gather([Drawn("a", [outcome(U, "x")])], order=[T])
    assert found.by_task == {"t": ()}
    assert slates_of(found, []).left_out == (LeftOut("t", "no_candidates"),)


@pytest.mark.parametrize("same", ["The  same\ntext.", "The same text. ", "The same text."])
def test_texts_that_differ_in_white_space_only_become_one_and_the_others_have_a_reason(same: str) -> None:
    found = gather(
        [
            Drawn(
                "a",
                [
                    outcome(T, "The same text.", "Other."),
                ],
            ),
            Drawn("b", [outcome(T, same)]),
        ],
        order=[T],
    )
    assert [each.id for each in found.candidates] == ["t/a/0", "t/a/1"]
    assert found.left_out == (LeftOut("t/b/0", "same_text", "as t/a/0"),)


def test_of_equal_texts_the_students_own_stays() -> None:
    drawn = [Drawn("teacher", [outcome(T, "Same.")]), Drawn("student", [outcome(T, "Same.")], on_policy=True)]
    [kept] = gather(drawn, order=[T]).candidates
    assert (kept.source, kept.on_policy) == ("student", True)


@pytest.mark.parametrize("case", ["Same.", "SAME."])
def test_case_makes_another_text(case: str) -> None:
    assert len(list(gather([Drawn("a", [outcome(T, "Same.", case)])], order=[T]).candidates)) == 1 + (case != "Same.")


@pytest.mark.parametrize(
    ("text", "finish", "reason"),
    [
        ("cut off here", "length", "truncated"),
        ("blocked", "content_filter", "filtered"),
        ("", "stop", "empty"),
        (" \n\t", "stop", "empty"),
        ("<think>and never an answer", "stop", "empty"),
        ("Hello<|im_end|>\n<|im_start|>user\nMore", "stop", "template_tokens"),
        ("[INST] hi [/INST]", "stop", "template_tokens"),
        ("done</s>", "stop", "template_tokens"),
        ("<|eot_id|>", "stop", "template_tokens"),
        ("<end_of_turn>", "stop", "template_tokens"),
    ],
)
def test_what_cannot_be_a_candidate_has_a_reason(text: str, finish: str, reason: str) -> None:
    found = gather([Drawn("a", [outcome(T, text, finish=finish)])], order=[T])
    assert (list(found.candidates), found.left_out) == ([], (LeftOut("t/a/0", reason),))


@pytest.mark.parametrize(
    "text", ["a < b | c > d", "<s>struck out</s1>", "I wrote <b>bold</b>.", "a[0] and inst", "<system>"]
)
def test_ordinary_marks_are_no_template(text: str) -> None:
    assert len(list(gather([Drawn("a", [outcome(T, text)])], order=[T]).candidates)) == 1


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("Yes.", "Yes."),
        ("<think>Hm.</think>\n\nYes.", "Yes."),
        ("Hm.</think>Yes.", "Yes."),
        ("<think>Hm.", ""),
        ("I write <think> and </think> here.", "I write <think> and </think> here."),
    ],
)
def test_thinking_is_no_part_of_an_answer(text: str, answer: str) -> None:
    assert answer_of(Attempt("t", 0, text, None, "stop", 1, 1, None, 0.0, "m")) == answer


def test_slates_are_joined_by_id_whatever_the_order() -> None:
    found = gather([Drawn("a", [outcome(T, "one", "two"), outcome(U, "three")])], order=[T, U])
    scores = {"t/a/0": 1.0, "t/a/1": 2.0, "u/a/0": 3.0}
    said = [Judged(each, JudgeState.OK, scores[each.id]) for each in found.candidates]
    forward, backward = slates_of(found, said), slates_of(found, reversed(said), ends={"u": ("u/a/0", None)})
    assert [[j.score for j in slate.judged] for slate in forward.slates] == [[1.0, 2.0], [3.0]]
    assert [replace(slate, best=None) for slate in backward.slates] == list(forward.slates)
    assert backward.slates[1].best == "u/a/0"


def test_candidates_without_a_judgement_are_named() -> None:
    found = gather([Drawn("a", [outcome(T, "one", "two")])], order=[T])
    said = [Judged(next(found.candidates), JudgeState.OK, 1.0)]
    assert slates_of(found, said).left_out == (LeftOut("t/a/1", "not_judged"),)
    with pytest.raises(InputError, match="'t/a/0' was judged twice"):
        slates_of(found, [*said, replace(said[0], score=2.0)])
    with pytest.raises(InputError, match="'t/b/7' was judged, but is not a candidate"):
        slates_of(found, [replace(said[0], candidate=replace(said[0].candidate, source="b", index=7))])


def test_names_are_given_once() -> None:
    with pytest.raises(InputError, match="two sources are called 'a'"):
        gather([Drawn("a", []), Drawn("a", [])], order=[T])
    with pytest.raises(InputError, match="two tasks have the id 't'"):
        gather([], order=[T, T])
