"""Traces for controls: which attempts are taken, in which order, and what is left of an answer without reasoning."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stillroom.common.hashing import digest
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
from stillroom.traces.answers.extract import find_answer
from stillroom.traces.controls import only_the_answer, unfiltered, wrong_in_form
from stillroom.traces.trace import Trace

ACCEPTED, REJECTED, UNSCORED = State.ACCEPTED, State.REJECTED, State.UNSCORED
NAMES = [f"t{n}" for n in range(6)]
ORDER = sorted(NAMES, key=lambda name: digest(["control", name]))


def outcome(name: str, states: Sequence[State], finish: FinishReason = "stop") -> Outcome:
    attempts = [
        ScoredAttempt(Attempt(name, n, f"{name}:{n}", None, finish, 1, 1, None, 0.1, "m"), Verdict(state, "r"))
        for n, state in enumerate(states)
    ]
    return Outcome(Task(name, user(name), "1", name), tuple(reversed(attempts)), (), StopReason.SATISFIED)


def texts(traces: Sequence[Trace]) -> list[str]:
    return [trace.attempt.text for trace in traces]


def test_the_names_are_not_in_the_drawn_order_by_chance() -> None:
    assert NAMES != ORDER


def test_unfiltered_takes_all_first_draws_before_any_second() -> None:
    outcomes = [outcome(name, [ACCEPTED, REJECTED, UNSCORED]) for name in NAMES]
    assert texts(unfiltered(outcomes, 8)) == [f"{n}:0" for n in ORDER] + [f"{n}:1" for n in ORDER[:2]]
    assert len(unfiltered(outcomes, 100)) == 18
    assert unfiltered(outcomes, 0) == []


def test_wrong_ones_are_those_that_were_read_and_found_different() -> None:
    outcomes = [outcome(name, [UNSCORED, ACCEPTED, REJECTED, ACCEPTED, REJECTED]) for name in NAMES]
    found = wrong_in_form(outcomes, 100)
    assert {trace.verdict.state for trace in found} == {REJECTED}
    assert texts(found) == [f"{n}:2" for n in ORDER] + [f"{n}:4" for n in ORDER]


def test_a_task_whose_first_wrong_draw_comes_late_has_its_turn_all_the_same() -> None:
    outcomes = [outcome("t0", [REJECTED] * 3), outcome("t1", [ACCEPTED] * 5 + [REJECTED])]
    assert set(texts(wrong_in_form(outcomes, 2))) == {"t0:0", "t1:5"}


@pytest.mark.parametrize("finish", ["length", "content_filter", "unknown"])
def test_what_did_not_end_by_itself_is_not_in_form(finish: FinishReason) -> None:
    outcomes = [outcome("t0", [REJECTED], finish), outcome("t1", [REJECTED])]
    assert texts(wrong_in_form(outcomes, 5)) == ["t1:0"]
    assert len(unfiltered(outcomes, 5)) == 2


def test_what_is_not_admitted_gives_its_turn_to_the_next() -> None:
    outcomes = [outcome(name, [REJECTED] * 3) for name in NAMES]
    asked: list[str] = []

    def admits(trace: Trace) -> bool:
        asked.append(trace.attempt.text)
        return not trace.attempt.text.endswith(":0")

    assert texts(wrong_in_form(outcomes, 6, admits=admits)) == [f"{n}:1" for n in ORDER]
    assert asked == [f"{name}:{n}" for name in NAMES for n in range(3)]  # once each, by task, then by draw


STATES = st.lists(st.sampled_from([ACCEPTED, REJECTED, UNSCORED]), max_size=5)


@given(st.lists(STATES, max_size=6), st.integers(0, 12), st.randoms())
def test_the_order_of_outcomes_and_the_count_change_nothing_but_the_length(
    states: list[list[State]], count: int, chance: random.Random
) -> None:
    outcomes = [outcome(name, of) for name, of in zip(NAMES, states, strict=False)]
    shuffled = list(outcomes)
    chance.shuffle(shuffled)
    for choose in (unfiltered, wrong_in_form):
        assert choose(shuffled, count) == choose(outcomes, 1000)[:count]


# -- the answer without its reasoning ----------------------------------------------------------------------------

SHORT = [
    ("48 / 2 = 24 clips.\n48 + 24 = 72 in all.\n#### 72", "#### 72"),
    ("<think>\nperhaps 5? no, 7\n</think>\n\n3 + 4 = 7.\n#### 7", "#### 7"),
    ("We add.\nThe sum is odd. So the answer is 7.", "So the answer is 7."),
    ("We add. Then we divide. Hence $x = \\boxed{\\frac{1}{2}}$.", "Hence $x = \\boxed{\\frac{1}{2}}$."),
    ("3 + 4 = 7\n#### 7\nI hope this helps!", "#### 7"),
    ("It has two parts.\n\\boxed{3} and\n\\boxed{4}", "\\boxed{3} and\n\\boxed{4}"),
    ("Adding gives 7.\n\n7", "7"),
    ("7", "7"),
    ("1 + 2 = 3.\r\n#### 3\r\n", "#### 3"),
    ("First it is 5.\n#### 5\nNo, that is wrong.\n#### 6", "#### 6"),
]


@pytest.mark.parametrize(("text", "short"), SHORT)
def test_what_is_left_is_the_end_that_says_the_answer(text: str, short: str) -> None:
    assert only_the_answer(text) == short


@pytest.mark.parametrize("text", ["", "<think>\n7", "It depends.\nWho knows.", "So \\boxed{7"])
def test_without_an_answer_nothing_is_left(text: str) -> None:
    assert only_the_answer(text) is None


def test_an_unmarked_answer_is_taken_where_the_policy_takes_it() -> None:
    text = "We add the numbers.\nThat makes 12 apples and that is all of them."
    assert only_the_answer(text) is None
    assert only_the_answer(text, last=True) == "That makes 12 apples and that is all of them."


@given(st.text(alphabet="ab 12.=\n#\\boxed{}$:", max_size=80))
def test_what_is_left_says_the_same_as_the_whole(text: str) -> None:
    short = only_the_answer(text)
    assert short is None or find_answer(short) == find_answer(text)


def test_a_long_text_after_the_answer_is_gone_through() -> None:
    assert only_the_answer("#### 12\n" + ("a step. " * 2_000 + "\n") * 20) == "#### 12"
