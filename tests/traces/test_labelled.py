"""Traces as answers with labels: which attempts are desirable, which undesirable, and what of them is left out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from stillroom.common.labelled_rows import AnswerRow, LeftOutAnswer
from stillroom.common.records import (
    Attempt,
    FinishReason,
    Outcome,
    ScoredAttempt,
    State,
    StopReason,
    Task,
    Verdict,
    user,
)
from stillroom.traces.filters import Filters, Screen
from stillroom.traces.labelled import labelled
from stillroom.traces.rows import SftRow, sft_row
from stillroom.traces.trace import traces_in

ACCEPTED, REJECTED, UNSCORED = State.ACCEPTED, State.REJECTED, State.UNSCORED


def outcome(name: str, *said: tuple[State, str] | tuple[State, str, FinishReason]) -> Outcome:
    """Attempts in draw order, which arrive in the reverse."""
    attempts = []
    for index, (state, text, *finish) in enumerate(said):
        attempt = Attempt(name, index, text, None, finish[0] if finish else "stop", 1, 1, None, 0.1, "m")
        attempts.append(ScoredAttempt(attempt, Verdict(state, "r")))
    return Outcome(Task(name, user(name), "1", name), tuple(reversed(attempts)), (), StopReason.SATISFIED)


def accepted_of(outcomes: Sequence[Outcome]) -> list[SftRow]:
    return [sft_row(t) for o in outcomes for t in traces_in(o) if t.verdict.state is ACCEPTED]


def found_in(
    outcomes: Sequence[Outcome], *, per_task: int | None = 4, filters: Any = ()
) -> tuple[list[tuple[str, int, bool]], list[tuple[str, int, bool, str]]]:
    """Rows and what was left out, by task, draw and label."""
    screen = Screen(TypeAdapter(Filters).validate_python(filters), test=())
    rows: list[tuple[str, int, bool]] = []
    left_out: list[tuple[str, int, bool, str]] = []
    for each in labelled(outcomes, accepted_of(outcomes), screen, per_task=per_task):
        if isinstance(each, LeftOutAnswer):
            left_out.append((each.task_id, each.index, each.label, each.reason))
        else:
            rows.append((each["task_id"], each["index"], each["label"]))
    return rows, left_out


def test_verdicts_are_taken_as_they_are_and_unscored_is_neither() -> None:
    said = [
        outcome("a", (REJECTED, "1"), (ACCEPTED, "2"), (UNSCORED, "3"), (REJECTED, "4")),
        outcome("b", (ACCEPTED, "5")),
    ]
    rows, left_out = found_in(said)
    assert rows == [("a", 1, True), ("b", 0, True), ("a", 0, False), ("a", 3, False)]
    assert left_out == []


@pytest.mark.parametrize(
    ("said", "filters", "reason"),
    [
        ((REJECTED, "4 and", "length"), [], "cut_off"),
        ((REJECTED, "  \n"), [], "empty"),
        ((REJECTED, "<think>so</think>"), [], "empty"),
        ((REJECTED, "#### 3\n#### 4"), ["one_final_answer"], "one_final_answer"),
        ((REJECTED, "again #### 2"), ["dedup"], "dedup"),
    ],
)
def test_wrong_answers_of_another_form_are_left_out_with_their_reason(said: Any, filters: Any, reason: str) -> None:
    rows, left_out = found_in([outcome("a", (REJECTED, "again #### 2"), said)], filters=filters)
    assert rows == [("a", 0, False)]
    assert left_out == [("a", 1, False, reason)]


@pytest.mark.parametrize("per_task", [1, 2, None])
def test_of_each_task_the_first_of_each_kind_are_taken(per_task: int | None) -> None:
    said = [outcome(n, *((s, f"{n}{i}") for i, s in enumerate([REJECTED, ACCEPTED] * 3))) for n in "ab"]
    rows, left_out = found_in(said, per_task=per_task)
    most = per_task or 3
    for name in "ab":
        assert [row for row in rows if row[0] == name] == [
            *((name, 1 + 2 * i, True) for i in range(most)),
            *((name, 2 * i, False) for i in range(most)),
        ]
    assert Counter(left[3] for left in left_out) == ({"over_limit": 4 * (3 - most)} if most < 3 else {})


@given(
    st.lists(st.lists(st.sampled_from([ACCEPTED, REJECTED, UNSCORED]), max_size=8), min_size=1, max_size=5),
    st.none() | st.integers(1, 4),
)
def test_every_verdict_but_the_unscored_is_a_row_or_counted(states: list[list[State]], per_task: int | None) -> None:
    said = [outcome(f"t{n}", *((s, f"{n}:{i}") for i, s in enumerate(each))) for n, each in enumerate(states)]
    rows, left_out = found_in(said, per_task=per_task)
    places = [row[:3] for row in (*rows, *left_out)]
    wanted = {(f"t{n}", i, s is ACCEPTED) for n, e in enumerate(states) for i, s in enumerate(e) if s is not UNSCORED}
    assert set(places) == wanted
    assert len(places) == len(wanted)
    if per_task is not None:
        assert max(Counter((task, label) for task, _, label in rows).values(), default=0) <= per_task


def test_a_row_holds_what_an_sft_row_holds_and_its_label() -> None:
    said = outcome("a", (ACCEPTED, "<think>so</think>yes"), (REJECTED, "no\ud800"))
    right, wrong = labelled([said], accepted_of([said]), Screen((), test=()), per_task=None, system=None)
    first: AnswerRow = {
        "prompt": [{"role": "user", "content": "a"}],
        "completion": [{"role": "assistant", "content": "<think>\nso\n</think>\n\nyes"}],
        "label": True,
        "task_id": "a",
        "index": 0,
        "source": None,
    }
    assert right == first
    assert isinstance(wrong, dict)
    assert wrong["completion"] == [{"role": "assistant", "content": "no\ufffd"}]
