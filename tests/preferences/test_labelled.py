"""Pairs as answers with labels: each answer once, with its label, and none with both."""

from __future__ import annotations

from stillroom.common.labelled_rows import LeftOutAnswer
from stillroom.preferences.labelled import labelled
from stillroom.preferences.records import Pair
from tests.preferences.building import build, judged, slate, task


def pair(chosen: int, rejected: int, of: str = "t") -> Pair:
    what = task(of)
    return Pair(what, what.messages, judged(5, of=of, index=chosen), judged(1, of=of, index=rejected), 4, "margin")


def found_in(
    *pairs: Pair, per_task: int | None = 4
) -> tuple[list[tuple[str, int, bool]], list[tuple[int, bool, str]]]:
    rows, left_out = [], []
    for each in labelled(pairs, per_task=per_task):
        if isinstance(each, LeftOutAnswer):
            left_out.append((each.index, each.label, each.reason))
        else:
            rows.append((each["task_id"], each["index"], each["label"]))
    return rows, left_out


def test_chosen_is_desirable_and_rejected_is_not() -> None:
    rows, left_out = found_in(pair(0, 1), pair(0, 1, of="u"))
    assert rows == [("t", 0, True), ("t", 1, False), ("u", 0, True), ("u", 1, False)]
    assert left_out == []


def test_an_answer_of_several_pairs_is_one_row() -> None:
    rows, left_out = found_in(pair(0, 1), pair(0, 2), pair(3, 2))
    assert rows == [("t", 0, True), ("t", 1, False), ("t", 2, False), ("t", 3, True)]
    assert left_out == []


def test_an_answer_between_two_others_is_neither() -> None:
    rows, left_out = found_in(pair(0, 1), pair(1, 2))
    assert rows == [("t", 0, True), ("t", 2, False)]
    assert left_out == [(1, False, "both_sides")]


def test_the_first_of_each_kind_and_task_are_taken() -> None:
    rows, left_out = found_in(pair(0, 1), pair(0, 2), pair(3, 2), pair(5, 6, of="u"), per_task=1)
    assert rows == [("t", 0, True), ("t", 1, False), ("u", 5, True), ("u", 6, False)]
    assert left_out == [(2, False, "over_limit"), (3, True, "over_limit")]


def test_a_row_holds_the_prompt_the_answer_and_who_wrote_it() -> None:
    built = build(slate(9, 3))
    first, second = labelled(built.pairs, per_task=None)
    assert first == {
        "prompt": [{"role": "user", "content": "Write about t."}],
        "completion": [{"role": "assistant", "content": "answer 0 of teacher"}],
        "label": True,
        "task_id": "t",
        "index": 0,
        "source": "teacher",
    }
    assert isinstance(second, dict)
    assert second["label"] is False
