from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import combinations
from math import comb
from statistics import stdev

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stillroom.common.stats.intervals import wilson
from stillroom.evaluation.metrics import Vote, any_of_k, majority_at_k, most_of_k, pass_at_k


def votes(text: str, right: str = "a") -> list[Vote]:
    """One letter an attempt; a dot says nothing."""
    return [Vote(None if letter == "." else letter, letter == right) for letter in text]


def most_by_hand(given: Sequence[Vote], k: int) -> float:
    """Every choice of k gone through; a tie shared among those that lead, an answer by its share that is right."""
    total = 0.0
    rights = {v.answer: [w.right for w in given if w.answer == v.answer] for v in given}
    for chosen in combinations(given, k):
        counts = Counter(v.answer for v in chosen if v.answer is not None)
        leaders = [answer for answer, n in counts.items() if n == max(counts.values())]
        total += sum(sum(rights[a]) / len(rights[a]) for a in leaders) / len(leaders) if leaders else 0
    return total / comb(len(given), k)


# -- pass@k --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("n", "right", "k", "expected"),
    [
        (1, 1, 1, 1),
        (1, 0, 1, 0),
        (4, 2, 1, 1 / 2),
        (4, 2, 2, 5 / 6),  # one of six pairs holds none
        (4, 2, 3, 1),
        (10, 1, 3, 3 / 10),
        (10, 3, 5, 1 - 21 / 252),
        (200, 1, 100, 1 / 2),
        (5, 0, 5, 0),
    ],
)
def test_the_chance_that_any_is_right(n: int, right: int, k: int, expected: float) -> None:
    assert any_of_k(n, right, k) == pytest.approx(expected, abs=1e-15)


def test_pass_at_k_is_the_mean_over_tasks_with_an_interval_over_them() -> None:
    right = {f"t{i}": [i % 3 == 0, i % 5 == 0, False, False] for i in range(60)}
    found = pass_at_k(right, 2, seed=1)
    assert found.value == pytest.approx(sum(any_of_k(4, sum(given), 2) for given in right.values()) / 60)
    assert found.n == 60
    shares = [any_of_k(4, sum(given), 2) for given in right.values()]
    assert (found.high - found.low) / 2 == pytest.approx(1.96 * stdev(shares) / 60**0.5, rel=0.1)
    assert found == pass_at_k(right, 2, seed=1)
    assert found != pass_at_k(right, 2, seed=2)


def test_one_attempt_a_task_gives_wilsons_interval() -> None:
    assert pass_at_k({str(i): [i < 3] for i in range(100)}, 1, seed=1) == wilson(3, 100)


@pytest.mark.parametrize("value", [True, False])
def test_limits_do_not_meet_where_all_tasks_are_alike(value: bool) -> None:
    found = pass_at_k({str(i): [value] * 4 for i in range(20)}, 2, seed=1)
    assert found == wilson(20 * value, 20)


@given(st.lists(st.lists(st.booleans(), min_size=6, max_size=9), min_size=1, max_size=8), st.randoms())
def test_pass_at_k_rises_with_k_and_no_order_matters(right: list[list[bool]], random: object) -> None:
    tasks = {f"t{i}": given for i, given in enumerate(right)}
    values = [pass_at_k(tasks, k, seed=3).value for k in range(1, 7)]
    assert values == sorted(values)
    mixed = list(tasks.items())
    random.shuffle(mixed)  # type: ignore[attr-defined]
    assert pass_at_k({task: sorted(given) for task, given in mixed}, 4, seed=3) == pass_at_k(tasks, 4, seed=3)


@pytest.mark.parametrize(
    ("right", "k", "match"),
    [
        ({}, 1, "0 tasks"),
        ({"a": [True]}, 0, "k = 0"),
        ({"a": [True, False], "b": [True]}, 2, "1 of 2 tasks have fewer than 2 attempts, 'b' has 1"),
    ],
)
def test_what_cannot_be_computed_is_refused(right: dict[str, list[bool]], k: int, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        pass_at_k(right, k, seed=1)
    with pytest.raises(ValueError, match=match):
        majority_at_k({task: [Vote("a", r) for r in given] for task, given in right.items()}, k, seed=1)


# -- majority@k ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "k", "expected"),
    [
        ("a", 1, 1),
        ("b", 1, 0),
        ("aab", 3, 1),
        ("abb", 3, 0),
        ("ab", 2, 1 / 2),  # a tie
        ("abc", 3, 1 / 3),
        ("aabb", 4, 1 / 2),
        ("aab", 2, 1 / 3 * 1 + 2 / 3 / 2),
        ("a.....", 6, 1),  # who says nothing does not vote
        ("a...", 2, 3 / 6),
        ("...", 2, 0),
        ("aabbc", 5, 1 / 2),
        ("aaabb", 3, 7 / 10),
    ],
)
def test_the_chance_that_the_majority_is_right(text: str, k: int, expected: float) -> None:
    assert most_of_k(votes(text), k) == pytest.approx(expected, abs=1e-12)


@given(st.text("abcd.", min_size=1, max_size=8), st.integers(1, 8))
def test_it_is_what_going_through_all_choices_gives(text: str, k: int) -> None:
    k = min(k, len(text))
    assert most_of_k(votes(text), k) == pytest.approx(most_by_hand(votes(text), k), abs=1e-12)


@given(st.lists(st.tuples(st.sampled_from("abc"), st.booleans()), min_size=1, max_size=7), st.integers(1, 7))
def test_answers_that_hold_right_and_wrong_attempts_count_by_their_share(
    given: list[tuple[str, bool]], k: int
) -> None:
    mixed, k = [Vote(*vote) for vote in given], min(k, len(given))
    assert most_of_k(mixed, k) == pytest.approx(most_by_hand(mixed, k), abs=1e-12)


@given(st.lists(st.text("abcd.", min_size=1, max_size=6), min_size=1, max_size=6))
def test_majority_at_1_is_accuracy_and_pass_at_1(texts: list[str]) -> None:
    given = {f"t{i}": votes(text) for i, text in enumerate(texts)}
    found = majority_at_k(given, 1, seed=5)
    assert found.value == pytest.approx(sum(t.count("a") / len(t) for t in texts) / len(texts))
    passed = pass_at_k({task: [v.right for v in vs] for task, vs in given.items()}, 1, seed=5)
    assert found == pytest.approx(passed)


@given(st.text("ab.", min_size=3, max_size=8), st.permutations("abc"))
def test_the_names_of_answers_change_nothing(text: str, names: list[str]) -> None:
    renamed = text.translate(str.maketrans("abc", "".join(names)))
    assert most_of_k(votes(renamed, names[0]), 3) == most_of_k(votes(text), 3)


def test_a_right_attempt_without_an_answer_is_refused() -> None:
    with pytest.raises(ValueError, match="right but has no answer"):
        most_of_k([Vote(None, True)], 1)


def test_many_attempts_with_many_answers_are_computed_at_once() -> None:
    given = [Vote(i % 40, i % 40 == 0) for i in range(128)]
    assert 0 < most_of_k(given, 64) < 1
