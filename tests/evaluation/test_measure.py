from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stillroom.common.records import State
from stillroom.common.stats.intervals import PairedCounts, mcnemar_exact, paired_difference, wilson
from stillroom.common.stats.significance import holm
from stillroom.evaluation.comparisons import compare, compare_right
from stillroom.evaluation.evaluate import at_k, evaluate_answers, over_trainings
from stillroom.evaluation.results import AFTER, BEFORE, MEAN_TOKENS, SHARE_STOPPED, Result
from stillroom.sampling.limits import Prices


def row(found: Result | None) -> Result:
    assert found is not None
    return found


def test_accuracy_has_its_n_and_interval(scored: Any) -> None:
    found = row(evaluate_answers({"teacher": scored(range(8), range(8, 100))}).find("teacher"))
    assert (found.value, found.low, found.high, found.n) == wilson(8, 100)
    assert found.counts == {"accepted": 8, "rejected": 92, "unscored": 0, "missing": 0}


def test_unscored_counts_as_not_accepted_and_is_told_apart(scored: Any) -> None:
    evaluation = evaluate_answers({"teacher": scored(range(2), range(2, 5), range(5, 10))})
    found = row(evaluation.find("teacher"))
    assert (found.value, found.n) == (0.2, 10)
    assert found.counts == {"accepted": 2, "rejected": 3, "unscored": 5, "missing": 0}
    assert found.unscored == {"was_unscored": 5}
    assert any("5 of 10 attempts could not be scored" in note for note in evaluation.notes)


def test_attempts_are_paired_by_task_never_by_position(scored: Any) -> None:
    after, before = scored([1, 2, 3], [4]), scored([4], [1, 2, 3])
    backwards = dict(reversed(before.items()))
    found = evaluate_answers({"student_before": backwards, "student_after": after}).comparisons[0]
    assert (found.both, found.only_a, found.only_b, found.neither) == (0, 3, 1, 0)


@given(st.randoms(use_true_random=False), st.integers(1, 40))
def test_the_order_of_attempts_does_not_matter(scored: Any, rng: Any, n: int) -> None:
    by_who = {}
    for who in ("student_before", "student_after", "teacher"):
        right = {task for task in range(n) if rng.random() < 0.5}
        by_who[who] = scored(right, set(range(n)) - right)
    shuffled = {who: dict(rng.sample(list(a.items()), n)) for who, a in by_who.items()}
    assert evaluate_answers(shuffled) == evaluate_answers(by_who)


def test_a_comparison_is_that_of_the_statistics(scored: Any) -> None:
    evaluation = evaluate_answers(
        {"student_before": scored([0, 1], range(2, 60)), "student_after": scored(range(1, 31), [0, *range(31, 60)])}
    )
    found, counts = evaluation.comparisons[0], PairedCounts(1, 29, 1, 29)
    assert (found.a, found.b, found.test) == ("student_after", "student_before", "mcnemar_exact")
    assert (found.difference, found.low, found.high, found.n) == paired_difference(counts)
    assert found.p == mcnemar_exact(29, 1)


WHOS = [BEFORE, AFTER, "control_unfiltered", "control_answers", "control_gold", "control_wrong_answers", "teacher"]


def test_the_comparisons_are_those_a_reader_would_make(scored: Any) -> None:
    evaluation = evaluate_answers({who: scored([1], [2]) for who in WHOS})
    assert [(c.a, c.b) for c in evaluation.comparisons] == [
        *((AFTER, who) for who in (BEFORE, *WHOS[2:])),
        ("control_wrong_answers", BEFORE),
    ]
    assert list(evaluation.whos) == WHOS


def test_every_comparison_is_corrected_and_says_what_it_could_have_shown(scored: Any) -> None:
    evaluation = evaluate_answers({who: scored(range(i), range(i, 40)) for i, who in enumerate(WHOS, 10)})
    assert [c.p_holm for c in evaluation.comparisons] == list(holm([c.p for c in evaluation.comparisons]))
    assert all(c.detectable is not None and 0 < c.detectable < 1 for c in evaluation.comparisons)


def test_the_student_is_held_beside_the_teacher_in_what_it_takes(scored: Any) -> None:
    answers = {AFTER: scored([1, 2], tokens=10), "teacher": scored([1], [2], tokens=40)}
    evaluation = evaluate_answers(answers, prices={"teacher": Prices(completion=1)})
    found = row(evaluation.find(AFTER, "tokens_ratio"))
    assert (found.value, (found.model_extra or {})["against"]) == (0.25, "teacher")
    assert evaluation.find("teacher", "usd_per_1000_answers") is not None
    assert evaluation.find(AFTER, "usd_per_1000_answers") is None


def test_a_missing_task_is_evidence_of_nothing(scored: Any) -> None:
    evaluation = evaluate_answers(
        {"student_before": scored(range(4), range(4, 10)), "student_after": scored(range(8))}
    )
    after, found = row(evaluation.find("student_after")), evaluation.comparisons[0]
    assert (after.value, after.n) == (1.0, 8)
    assert after.counts is not None
    assert after.counts["missing"] == 2
    assert (found.n, found.left_out) == (8, 2)
    assert "student_after: 2 of 10 tasks got no attempt and are left out of n" in evaluation.notes


def test_tasks_that_nobody_answered_are_missed_when_they_are_named(scored: Any) -> None:
    tasks = [str(i) for i in range(12)]
    evaluation = evaluate_answers({"teacher": scored(range(10)), "student_before": {}}, tasks=tasks)
    counts = row(evaluation.find("teacher")).counts
    assert counts is not None
    assert counts["missing"] == 2
    assert "student_before: none of 12 tasks got an attempt" in evaluation.notes


def test_an_attempt_at_a_task_that_was_not_asked_is_no_evidence(scored: Any) -> None:
    evaluation = evaluate_answers({"teacher": scored(range(10))}, tasks=["0", "1"])
    assert row(evaluation.find("teacher")).n == 2


def test_models_without_a_task_in_common_are_not_compared(scored: Any) -> None:
    assert evaluate_answers({"student_before": scored([1]), "student_after": scored([2])}).comparisons == ()


def test_share_that_stopped_and_mean_length(scored: Any) -> None:
    mixed = scored([1, 2, 3], tokens=10) | scored(rejected=[4], finish="length", tokens=50)
    evaluation = evaluate_answers({"teacher": mixed})
    stopped, tokens = row(evaluation.find("teacher", SHARE_STOPPED)), row(evaluation.find("teacher", MEAN_TOKENS))
    assert (stopped.value, stopped.n) == (0.75, 4)
    assert (tokens.value, tokens.n) == (20, 4)
    assert 0 <= tokens.low < 20 < tokens.high


@pytest.mark.parametrize("state", list(State))
def test_every_state_is_counted(scored: Any, state: State) -> None:
    counts = row(evaluate_answers({"teacher": scored(**{state.value: [1, 2]})}).find("teacher")).counts
    assert counts is not None
    assert counts[state.value] == 2


def test_what_is_known_to_be_right_is_compared_as_attempts_are(scored: Any) -> None:
    after, before = scored(range(20), range(20, 30)), scored(range(5), range(5, 28))
    known = [{task: a.verdict.state is State.ACCEPTED for task, a in of.items()} for of in (after, before)]
    assert compare_right(AFTER, known[0], BEFORE, known[1]) == compare(AFTER, after, BEFORE, before, seed=1)
    assert compare_right(AFTER, {"a": True}, BEFORE, {"b": True}) is None


# -- several answers, several trainings ----------------------------------------------------------------------------


def test_rows_at_k_say_how_the_answers_were_drawn(scored: Any) -> None:
    right, wrong = scored(range(6)), scored(rejected=range(6))
    attempts = {task: [right[task], wrong[task]] for task in right}
    rows = at_k(AFTER, attempts, {"draws": 2, "temperature": 0.8}, ks=(1, 2), seed=1)
    assert {r.metric: r.value for r in rows} == {
        "pass_at_1": 0.5, "majority_at_1": 0.5, "pass_at_2": 1.0, "majority_at_2": 0.5
    }  # fmt: skip
    assert all((r.model_extra or {})["temperature"] == 0.8 for r in rows)
    assert len({(r.who, r.metric) for r in rows}) == 4, "an accuracy of these would stand beside the greedy one"


def test_over_trainings_is_the_mean_of_all_and_its_difference_to_others(scored: Any) -> None:
    runs = [scored(range(10), range(10, 40)), scored(range(20), range(20, 40))]
    before, other = scored([0], range(1, 40)), scored(range(50, 60))
    rows = over_trainings(runs, {BEFORE: [before], "elsewhere": [other]}, seed=1)
    found, against = rows
    assert found.value == pytest.approx(15 / 40)
    between = pytest.approx(0.25 / 2**0.5)
    assert found.model_extra == {"seeds": 2, "each": (0.25, 0.5), "between": between, "left_out": 0}
    assert against.value == pytest.approx(15 / 40 - 1 / 40)
    assert (against.model_extra or {})["against"] == BEFORE
    assert against.low < against.value < against.high


def test_trainings_without_a_task_in_common_have_no_mean(scored: Any) -> None:
    assert over_trainings([scored([1]), scored([2])], {}, seed=1) == []
