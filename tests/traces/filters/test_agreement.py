"""`agreement`: what the draws of a task say, voted on by a named rule; an unscored draw is no vote."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stillroom.common.records import Attempt, Outcome, ScoredAttempt, State, StopReason, Task, Verdict, user
from stillroom.traces.filters import Screen
from stillroom.traces.filters.agreement import votes_of
from stillroom.traces.trace import traces_in
from tests.traces.filters.filtering import build_filters

NO_LABEL = ""
"""A draw without a label: unscored."""


def outcome(*said: str, task: str = "t") -> Outcome:
    """A task whose draws gave these labels."""
    asked = Task(task, user("Which?"), None, "p.jsonl:1")
    attempts = tuple(
        ScoredAttempt(
            Attempt(task, n, f"It is\n{label}" if n % 2 else label or "?", None, "stop", 9, 2, None, 0.1, "m"),
            Verdict(State.ACCEPTED, "labelled", detail=label) if label else Verdict(State.UNSCORED, "no_label"),
        )
        for n, label in enumerate(said)
    )
    kept = tuple(n for n, label in enumerate(said) if label)
    return Outcome(asked, attempts, kept, StopReason.SATISFIED)


def looked_at(spec: Any, *outcomes: Outcome) -> list[tuple[list[int], set[str]]]:
    """Of each task: the draws that stay, and the reasons of the others."""
    screen, found = Screen(build_filters([spec]), test=[]), []
    for each in outcomes:
        screen.begin(each)
        stay, reasons = [], set[str]()
        for trace in traces_in(each):
            if trace.verdict.state is State.ACCEPTED:
                reject = screen.look(trace)
                if reject is None:
                    stay.append(trace.attempt.index)
                else:
                    reasons.add(reject.reason)
        found.append((stay, reasons))
    return found


@pytest.mark.parametrize(
    ("spec", "said", "stay", "reasons"),
    [
        ("agreement", "aaa", [0, 1, 2], set()),
        ({"agreement": "unanimous"}, "aab", [], {"disagreement"}),
        ("agreement", "a", [], {"too_few_draws"}),
        ("agreement", ["a", NO_LABEL], [], {"too_few_draws"}),
        ("agreement", ["a", NO_LABEL, "a"], [0, 2], set()),
        ({"agreement": "majority"}, "abaab", [0, 2, 3], {"minority"}),
        ({"agreement": "majority"}, "baa", [1, 2], {"minority"}),
        ({"agreement": "majority"}, "aabb", [], {"no_majority"}),
        ({"agreement": "majority"}, "aabc", [], {"no_majority"}),
        ({"agreement": "majority"}, ["a", "a", "b", NO_LABEL, NO_LABEL], [0, 1], {"minority"}),
        ({"agreement": {"rule": "majority", "min_draws": 4}}, "aab", [], {"too_few_draws"}),
        ({"agreement": {"min_draws": 1}}, "a", [0], set()),
    ],
)
def test_the_rule_decides_which_draws_stay(spec: Any, said: list[str], stay: list[int], reasons: set[str]) -> None:
    assert looked_at(spec, outcome(*said)) == [(stay, reasons)]


def test_votes_of_one_task_say_nothing_about_the_next() -> None:
    found = looked_at({"agreement": "majority"}, outcome("a", "a", "b"), outcome("b", "b", "a", task="u"))
    assert [stay for stay, _ in found] == [[0, 1], [0, 1]]


def test_whole_answers_are_compared_without_case_and_white_space() -> None:
    spec = {"agreement": {"by": "text"}}
    assert looked_at(spec, outcome("a", "a")) == [([], {"disagreement"})]  # "a", and "It is a"
    assert looked_at(spec, outcome("a", NO_LABEL, "A ")) == [([0, 2], set())]


def test_a_reject_says_how_the_vote_went() -> None:
    screen, task = Screen(build_filters([{"agreement": "majority"}]), test=[]), outcome("a", "b", "a")
    screen.begin(task)
    reject = screen.look(list(traces_in(task))[1])
    assert reject is not None
    assert (reject.filter, reject.reason, reject.detail) == ("agreement", "minority", "2 of 3 draws say a")


@given(st.lists(st.sampled_from("abc"), max_size=9), st.randoms())
def test_the_order_of_draws_changes_no_majority(said: list[str], dice: Any) -> None:
    votes, mixed = votes_of(said), list(said)
    dice.shuffle(mixed)
    again = votes_of(mixed)
    assert again[1:] == votes[1:]
    assert votes.tied or again.top == votes.top
