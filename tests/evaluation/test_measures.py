from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stillroom.common.records import Attempt, FinishReason, ScoredAttempt, State, Verdict
from stillroom.common.stats.intervals import wilson
from stillroom.evaluation.evaluate import evaluate_answers
from stillroom.evaluation.metrics import answer_key, in_form, measures
from stillroom.evaluation.results import Evaluation, Result
from stillroom.sampling.limits import Prices
from stillroom.traces.answers.records import Reason, state_of

LOOP = "no wait that is not right, " * 9


def answer(
    reason: Reason = Reason.EQUAL,
    detail: str = "4",
    *,
    text: str = "We add 2 and 2 and get 4.",
    tokens: int = 20,
    latency: float = 0.5,
    finish: FinishReason = "stop",
) -> ScoredAttempt:
    attempt = Attempt("t", 0, text, None, finish, 10, tokens, None, latency, "teacher")
    return ScoredAttempt(attempt, Verdict(state_of(reason), reason, detail=detail))


def by_metric(rows: Sequence[Result]) -> dict[str, Result]:
    assert len({row.metric for row in rows}) == len(rows)
    return {row.metric: row for row in rows}


WRONG = Reason.DIFFERENT
FOUR = {
    "a": answer(tokens=10),
    "b": answer(tokens=30, latency=1.5),
    "c": answer(WRONG, "5", tokens=20, text=LOOP),
    "d": answer(Reason.TRUNCATED, tokens=100, finish="length", text=""),
}


def test_every_measure_by_hand() -> None:
    rows = by_metric(measures("me", FOUR, seed=1, ks=(1,), asked=5, prices=Prices(prompt=1, completion=2)))
    assert {metric: row.value for metric, row in rows.items()} == pytest.approx(
        {
            "accuracy": 0.5,
            "share_stopped": 0.75,
            "mean_completion_tokens": 40,
            "share_in_form": 0.75,
            "share_repeating": 0.25,
            "mean_distinct_4": (1 + 1 + 6 / (9 * 6 - 3)) / 3,  # d is too short to say
            "right_per_1000_tokens": 2 / 160 * 1000,
            "mean_latency_s": 0.75,
            "usd_per_1000_answers": (40 + 320) / 1e6 / 4 * 1000,
            "pass_at_1": 0.5,
            "majority_at_1": 0.5,
        }
    )
    assert {row.n for metric, row in rows.items() if metric != "mean_distinct_4"} == {4}
    assert rows["accuracy"].counts == {"accepted": 2, "rejected": 1, "unscored": 1, "missing": 1}
    assert rows["accuracy"].unscored == {"truncated": 1}
    assert {row.who for row in rows.values()} == {"me"}


def test_what_one_right_answer_takes_where_its_interval_has_an_end() -> None:
    answers = {f"t{i}": answer(Reason.EQUAL if i % 2 else WRONG, str(i), tokens=20) for i in range(40)}
    rows = by_metric(measures("me", answers, seed=1, prices=Prices(prompt=1, completion=2)))
    tokens, rate = rows["tokens_per_right"], rows["right_per_1000_tokens"]
    assert (tokens.value, rate.value) == (40, 25)
    assert (tokens.low, tokens.high) == pytest.approx((1000 / rate.high, 1000 / rate.low))
    assert rows["usd_per_right"].value == pytest.approx(2 * (10 + 40) / 1e6)


def test_without_a_right_answer_there_are_no_tokens_for_one() -> None:
    rows = by_metric(measures("me", {"a": answer(WRONG), "b": answer(WRONG)}, seed=1, prices=Prices(completion=2)))
    rate = rows["right_per_1000_tokens"]
    assert (rate.value, rate.low) == (0, 0)
    assert rate.high == pytest.approx(1000 * 2 * wilson(0, 2).high / (2 * 20))
    assert not {"tokens_per_right", "usd_per_right"} & rows.keys()
    assert "usd_per_1000_answers" in rows


def test_an_evaluation_holds_these_rows() -> None:
    assert list(evaluate_answers({"me": FOUR}, seed=1).results) == measures("me", FOUR, seed=1, asked=4)


def test_nobody_has_no_rows() -> None:
    assert measures("me", {}, seed=1, ks=(1, 2)) == []
    assert measures("me", {"a": []}, seed=1) == []


# -- the asked form ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        ("equal", True),
        ("different", True),
        ("no_answer", False),
        ("unparsed_answer", False),
        ("truncated", False),
        ("needs_policy", False),
        ("unparsed_gold", None),
        ("timeout", None),
        ("over_limit", None),
    ],
)
def test_form_is_read_from_the_reason(reason: str, expected: bool | None) -> None:
    assert in_form(answer(Reason(reason))) is expected


def test_what_says_nothing_of_form_is_left_out_and_counted() -> None:
    answers = {"a": answer(), "b": answer(Reason.TIMEOUT), "c": answer(Reason.NO_ANSWER)}
    row = by_metric(measures("me", answers, seed=1))["share_in_form"]
    assert (row.value, row.n) == (0.5, 2)
    assert row.model_extra == {"left_out": {"timeout": 1}}
    assert "share_in_form" not in by_metric(measures("me", {"b": answer(Reason.TIMEOUT)}, seed=1))


def test_a_judge_that_failed_says_nothing_of_form() -> None:
    failed = ScoredAttempt(answer().attempt, Verdict(State.UNSCORED, "parse_failed"))
    assert in_form(failed) is None


# -- several attempts ----------------------------------------------------------------------------------------------


def test_a_task_counts_once_however_many_attempts_it_has() -> None:
    given = {"a": [answer(tokens=10)] * 9 + [answer(WRONG, tokens=10)], "b": [answer(WRONG, tokens=50)]}
    rows = by_metric(measures("me", given, seed=1))
    assert rows["accuracy"].value == pytest.approx(0.45)
    assert rows["accuracy"].counts == {"accepted": 9, "rejected": 2, "unscored": 0, "missing": 0}
    assert (rows["mean_completion_tokens"].value, rows["mean_completion_tokens"].n) == (30, 2)


def test_measures_at_k_leave_out_tasks_with_fewer_and_count_them() -> None:
    given = {
        "a": [answer(), answer(), answer(WRONG, "5"), answer(WRONG, "6")],
        "b": [answer(WRONG, "5"), answer(WRONG, "5"), answer(), answer(Reason.NO_ANSWER)],
        "c": [answer()],
    }
    rows = by_metric(measures("me", given, seed=1, ks=(4, 2, 9)))
    assert rows["pass_at_2"].value == pytest.approx((5 / 6 + 1 / 2) / 2)
    assert rows["pass_at_4"].value == 1
    assert rows["majority_at_4"].value == 0.5
    assert rows["majority_at_4"].model_extra == {"left_out": 1}
    assert not {"pass_at_9", "majority_at_9"} & rows.keys()


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (answer(detail="4"), answer(detail="8/2"), True),  # both equal the reference
        (answer(WRONG, "$5$"), answer(WRONG, " 5 "), True),
        (answer(WRONG, "5"), answer(WRONG, "6"), False),
        (answer(WRONG, "accepted"), answer(), False),
    ],
)
def test_what_counts_as_the_same_answer(one: ScoredAttempt, other: ScoredAttempt, same: bool) -> None:
    assert (answer_key(one) == answer_key(other)) is same


@pytest.mark.parametrize("reason", [reason for reason in Reason if state_of(reason) is State.UNSCORED])
def test_the_unscored_do_not_vote(reason: Reason) -> None:
    assert answer_key(answer(reason)) is None


# -- laws ----------------------------------------------------------------------------------------------------------

ANSWERS = st.builds(
    answer,
    st.sampled_from(list(Reason)),
    st.sampled_from(["4", "5", "6"]),
    tokens=st.integers(0, 60),
    latency=st.floats(0, 9),
    finish=st.sampled_from(["stop", "length"]),
)


@settings(max_examples=30)
@given(
    st.dictionaries(st.text("abcdef", min_size=1), st.lists(ANSWERS, min_size=2, max_size=4), min_size=1),
    st.randoms(),
)
def test_names_of_models_and_the_order_of_tasks_change_nothing(
    given: Mapping[str, list[ScoredAttempt]], random: Random
) -> None:
    found = measures("me", given, seed=4, ks=(1, 2), prices=Prices(completion=3))
    mixed = list(given.items())
    random.shuffle(mixed)
    other = measures("someone else", dict(mixed), seed=4, ks=(1, 2), prices=Prices(completion=3))
    assert [row.model_copy(update={"who": "me"}) for row in other] == found
    assert all(row.low <= row.value + 1e-9 and row.value <= row.high + 1e-9 for row in found)
    assert Evaluation.model_validate_json(Evaluation(results=tuple(found)).model_dump_json()).results == tuple(found)


@settings(max_examples=30)
@given(st.lists(st.lists(ANSWERS, min_size=3, max_size=4), min_size=1, max_size=6))
def test_at_1_both_are_accuracy_and_passing_rises_with_k(given: list[list[ScoredAttempt]]) -> None:
    rows = by_metric(measures("me", {f"t{i}": each for i, each in enumerate(given)}, seed=4, ks=(1, 2, 3)))
    accuracy = rows["accuracy"].value
    assert rows["pass_at_1"].value == pytest.approx(accuracy)
    assert rows["majority_at_1"].value == pytest.approx(accuracy)
    assert rows["pass_at_1"].value <= rows["pass_at_2"].value + 1e-12 <= rows["pass_at_3"].value + 2e-12
    assert rows["majority_at_3"].value <= rows["pass_at_3"].value + 1e-12


def test_shares_of_single_attempts_have_wilsons_interval(scored: Callable[..., dict[str, ScoredAttempt]]) -> None:
    row = by_metric(measures("me", scored(accepted=range(3), rejected=range(3, 100)), seed=1))["accuracy"]
    assert (row.value, row.low, row.high, row.n) == wilson(3, 100)
