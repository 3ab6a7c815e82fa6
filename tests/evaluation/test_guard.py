from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping
from dataclasses import replace
from math import log
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from stillroom.common.records import Attempt, FinishReason, ScoredAttempt, State, Verdict
from stillroom.common.stats.intervals import PairedCounts, paired_difference
from stillroom.evaluation.forgetting import TextLoss
from stillroom.evaluation.guard import Check, GuardReport, GuardSettings, RoundFacts, facts_of, guard

ALL = GuardSettings()


def shares(ones: int, n: int = 100, first: int = 0) -> dict[str, float]:
    """So many ones from task `first` on."""
    return {f"t{i}": float(first <= i < first + ones) for i in range(n)}


def texts(perplexity: float, n: int = 20) -> dict[str, TextLoss]:
    return {f"x{i}": TextLoss((10 + i) * log(perplexity), 10 + i, 40) for i in range(n)}


def sums(n: int = 60, seed: int = 0) -> dict[str, list[str]]:
    draw = random.Random(seed)
    pairs = [(draw.randint(1, 20), draw.randint(1, 20)) for _ in range(n)]
    return {
        f"{seed}-{i}": [f"We start at {a} and add {b}, which gives {a} + {b} = {a + b}.\n#### {a + b}"]
        for i, (a, b) in enumerate(pairs)
    }


GOOD = RoundFacts(
    right=shares(60),
    stopped=shares(98),
    repeating=shares(2),
    traces=sums(),
    untrained={"letters": shares(40), "words": shares(70)},
    losses=texts(20.0),
)
MEASURES = [
    "accuracy",
    "share_stopped",
    "share_repeating",
    "distinct_traces",
    "distinct_4",
    "untrained:letters",
    "untrained:words",
    "perplexity",
]


def failed(report: GuardReport) -> list[str]:
    return [check.measure for check in report.failures]


def test_every_measure_is_held_against_the_round_before() -> None:
    report = guard(replace(GOOD, traces=sums(seed=1)), GOOD, ALL, seed=7)
    assert [check.measure for check in report.checks] == MEASURES
    assert report.passed
    assert not report.not_checked


@pytest.mark.parametrize(
    ("now", "measures"),
    [
        ({"right": shares(25)}, ["accuracy"]),
        ({"stopped": shares(3)}, ["share_stopped"]),
        ({"stopped": shares(0)}, ["share_stopped"]),
        ({"repeating": shares(50)}, ["share_repeating"]),
        ({"traces": {f"t{i}": ["The answer is 4."] for i in range(60)}}, ["distinct_traces", "distinct_4"]),
        ({"untrained": {"letters": shares(2), "words": shares(70)}}, ["untrained:letters"]),
        ({"losses": texts(30.0)}, ["perplexity"]),
        ({"right": shares(25), "stopped": shares(3)}, ["accuracy", "share_stopped"]),
        # what is better, or not shown to be worse
        ({"right": shares(95)}, []),
        ({"right": shares(57)}, []),
        ({"stopped": shares(100)}, []),
        ({"stopped": shares(96)}, []),
        ({"repeating": shares(0)}, []),
        ({"repeating": shares(5)}, []),
        ({"untrained": {"letters": shares(37), "words": shares(70)}}, []),
        ({"losses": texts(21.0)}, []),
        ({"losses": texts(10.0)}, []),
    ],
)
def test_what_got_worse_is_named_and_nothing_else(now: dict[str, object], measures: list[str]) -> None:
    report = guard(replace(GOOD, **now), GOOD, ALL, seed=7)  # type: ignore[arg-type]
    assert failed(report) == measures
    assert report.passed == (not measures)


@pytest.mark.parametrize(
    ("now", "setting"),
    [
        ({"right": shares(25)}, "accuracy"),
        ({"stopped": shares(3)}, "stopped"),
        ({"repeating": shares(50)}, "repetition"),
        ({"traces": {f"t{i}": ["The answer is 4."] for i in range(60)}}, "diversity"),
        ({"untrained": {"letters": shares(2), "words": shares(70)}}, "forgetting"),
        ({"losses": texts(30.0)}, "perplexity"),
    ],
)
def test_a_tolerance_lets_it_pass_and_null_does_not_look(now: dict[str, object], setting: str) -> None:
    worse = replace(GOOD, **now)  # type: ignore[arg-type]
    assert not guard(worse, GOOD, ALL, seed=7).passed
    loose = guard(worse, GOOD, GuardSettings.model_validate({setting: 0.99}), seed=7)
    assert loose.passed
    assert len(loose.checks) == len(MEASURES)
    off = guard(worse, GOOD, GuardSettings.model_validate({setting: None}), seed=7)
    assert off.passed
    assert set(off.not_checked.values()) == {"switched off"}
    assert len(off.checks) + len(off.not_checked) == len(MEASURES)


def test_the_whole_interval_must_lie_beyond() -> None:
    """The same fall is shown by many tasks, and not by few."""
    for n, worse in ((40, False), (400, True)):
        half, more = shares(n // 2, n), shares(n * 6 // 10, n)
        report = guard(RoundFacts(right=half), RoundFacts(right=more), ALL, seed=7)
        assert report.checks[0].worse is worse


def test_the_interval_of_shares_is_newcombes_for_pairs() -> None:
    now, before = shares(50, first=10), shares(60)
    found = guard(RoundFacts(right=now), RoundFacts(right=before), ALL, seed=7).checks[0]
    expected = paired_difference(PairedCounts(both=50, only_a=0, only_b=10, neither=40))
    assert (found.difference, found.low, found.high, found.n) == expected


def test_perplexity_is_relative_and_paired_by_text() -> None:
    found = guard(RoundFacts(losses=texts(24.0)), RoundFacts(losses=texts(20.0)), ALL, seed=7).checks[0]
    assert (found.before, found.now, found.difference) == pytest.approx((20.0, 24.0, 0.2))
    assert (found.low, found.high) == pytest.approx((0.2, 0.2))  # every text by as much
    assert found.worse


def test_values_between_0_and_1_have_a_bootstrap() -> None:
    """Means over several trainings, say."""
    before = {f"t{i}": 0.25 * (i % 5) for i in range(100)}
    now = {task: max(0.0, value - 0.25) for task, value in before.items()}
    found = guard(RoundFacts(right=now), RoundFacts(right=before), ALL, seed=7).checks[0]
    assert found.difference == pytest.approx(-0.2)
    assert -0.23 < found.low < -0.2 < found.high < -0.17
    assert found.worse


def test_only_what_both_have_is_compared_and_the_rest_is_counted() -> None:
    now = {task: value for task, value in shares(60).items() if task != "t99"} | {"new": 1.0}
    found = guard(RoundFacts(right=now), RoundFacts(right=shares(60)), ALL, seed=7).checks[0]
    assert (found.n, found.left_out, found.difference) == (99, 2, 0.0)


@pytest.mark.parametrize(
    ("now", "before", "reasons"),
    [
        ({}, {"right": shares(1)}, {"accuracy": "not measured in this round"}),
        ({"right": shares(1)}, {}, {"accuracy": "not measured before"}),
        ({"right": {"a": 1.0}}, {"right": {"b": 1.0}}, {"accuracy": "nothing in common was measured"}),
        ({"traces": sums()}, {}, {"distinct_traces": "no traces before", "distinct_4": "no traces before"}),
        ({"traces": {"t": []}}, {"traces": sums()}, {"distinct_4": "no traces in this round"}),
        (
            {"traces": sums(3)},
            {"traces": sums()},
            {"distinct_4": "3 tasks with traces in this round, 60 before: 10 are needed to tell"},
        ),
        ({"untrained": {"a": shares(1)}}, {}, {"untrained:a": "not measured before"}),
        (
            {"losses": {"x": TextLoss(9.0, 3, 9)}},
            {"losses": {"x": TextLoss(9.0, 4, 9)}},
            {"perplexity": "the texts have other numbers of tokens: with another tokenizer, perplexity says nothing"},
        ),
        (
            {"losses": {"x": TextLoss(0.0, 0, 1)}},
            {"losses": {"x": TextLoss(0.0, 0, 1)}},
            {"perplexity": "not measured before nor in this round"},
        ),
    ],
)
def test_what_cannot_be_compared_is_no_failure_but_named(
    now: dict[str, object], before: dict[str, object], reasons: Mapping[str, str]
) -> None:
    report = guard(RoundFacts(**now), RoundFacts(**before), ALL, seed=7)  # type: ignore[arg-type]
    assert report.passed
    assert not report.checks
    for measure, reason in reasons.items():
        assert report.not_checked[measure] == reason


def test_one_task_is_no_evidence_and_losses_beyond_floats_are() -> None:
    one = guard(RoundFacts(right={"t": 0.0}), RoundFacts(right={"t": 1.0}), ALL, seed=7)
    assert one.passed
    lost = guard(
        RoundFacts(losses={"x": TextLoss(1e9, 3, 9)}), RoundFacts(losses={"x": TextLoss(9.0, 3, 9)}), ALL, seed=7
    )
    assert failed(lost) == ["perplexity"]
    json.dumps(lost.as_dict(), allow_nan=False)


# -- what a reader sees ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("check", "sentence"),
    [
        (
            Check("share_stopped", 0.03, 0.98, -0.95, -0.99, -0.88, 0.02, 100),
            "share that stops fell from 98 % to 3 %, −95 points [−99, −88], tolerance 2",
        ),
        (
            Check("accuracy", 0.5, 0.5, 0.0, -0.0301, 0.0301, 0.0, 100),
            "accuracy stayed at 50 %, 0 points [−3, 3], tolerance 0",
        ),
        (
            Check("untrained:letter_counting", 0.42, 0.4, 0.02, -0.051, 0.0912, 0.05, 100),
            "accuracy on letter counting (not trained) rose from 40 % to 42 %, +2 points [−5.1, 9.1], tolerance 5",
        ),
        (
            Check("perplexity", 26.4, 20.0, 0.32, 0.3, 0.3412, 0.1, 20, rises=True, relative=True),
            "perplexity on held-out text rose from 20.00 to 26.40, +32 % [30, 34.1], tolerance 10 %",
        ),
    ],
)
def test_a_check_in_words(check: Check, sentence: str) -> None:
    assert check.sentence == sentence


@pytest.mark.parametrize(
    ("low", "high", "rises", "worse"),
    [
        (-0.2, -0.11, False, True),
        (-0.2, -0.1, False, False),
        (-0.2, 0.0, False, False),
        (0.11, 0.2, False, False),
        (0.11, 0.2, True, True),
        (0.1, 0.2, True, False),
        (-0.2, -0.11, True, False),
    ],
)
def test_worse_is_beyond_the_tolerance_on_the_harmful_side(low: float, high: float, rises: bool, worse: bool) -> None:
    middle = (low + high) / 2
    assert Check("x", 0.0, 0.0, middle, low, high, 0.1, 9, rises=rises).worse is worse


def test_plain_data_holds_all_of_it() -> None:
    report = guard(replace(GOOD, stopped=shares(3), losses={}), GOOD, ALL, seed=7)
    found = json.loads(json.dumps(report.as_dict(), allow_nan=False))
    assert found["passed"] is False
    assert [c["measure"] for c in found["checks"]] == MEASURES[:-1]
    assert [c["measure"] for c in found["checks"] if c["worse"]] == ["share_stopped"]
    assert found["checks"][1]["sentence"] == report.checks[1].sentence
    assert found["not_checked"] == {"perplexity": "not measured in this round"}
    again = {k: v for k, v in found["checks"][1].items() if k not in ("worse", "sentence")}
    assert Check(**again) == report.checks[1]


@pytest.mark.parametrize("wrong", [{"accuracy": -0.1}, {"stopped": 1.0}, {"entropy": 0.1}, {"diversity": "much"}])
def test_settings_that_mean_nothing_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        GuardSettings.model_validate(wrong)


# -- from answers ----------------------------------------------------------------------------------------------------


def answer(text: str, state: State, finish: FinishReason = "stop") -> ScoredAttempt:
    return ScoredAttempt(Attempt("t", 0, text, None, finish, 9, 9, None, 0.1, "m"), Verdict(state, "equal"))


def test_facts_are_read_from_scored_answers() -> None:
    found = facts_of(
        {
            "a": answer("It is 4.", State.ACCEPTED),
            "b": answer("so the sum of it is 7, " * 9, State.UNSCORED, "length"),
            "c": answer("It is 5.", State.REJECTED),
        },
        traces={"t": ["x"]},
    )
    assert found.right == {"a": 1.0, "b": 0.0, "c": 0.0}
    assert found.stopped == {"a": 1.0, "b": 0.0, "c": 1.0}
    assert found.repeating == {"a": 0.0, "b": 1.0, "c": 0.0}
    assert (found.traces, found.untrained, found.losses) == ({"t": ["x"]}, {}, {})


# -- laws ------------------------------------------------------------------------------------------------------------

VALUES = st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=60)


@given(VALUES)
def test_no_fall_no_failure(pairs: list[tuple[bool, bool]]) -> None:
    """Whatever the numbers: what did not fall is not worse, and of two sides at most one is worse than the other."""
    one = {str(i): float(a) for i, (a, _) in enumerate(pairs)}
    other = {str(i): float(b) for i, (_, b) in enumerate(pairs)}
    there = guard(RoundFacts(right=one), RoundFacts(right=other), ALL, seed=7).checks[0]
    back = guard(RoundFacts(right=other), RoundFacts(right=one), ALL, seed=7).checks[0]
    assert not (there.worse and back.worse)
    assert not (there.worse and sum(one.values()) >= sum(other.values()))
    assert there.low <= there.difference <= there.high


@given(st.permutations(sorted(shares(0))))
def test_the_order_of_tasks_does_not_matter(order: list[str]) -> None:
    def in_order(given: Mapping[str, float]) -> dict[str, float]:
        return {task: given[task] for task in order}

    shuffled = replace(GOOD, right=in_order(shares(30)), stopped=in_order(GOOD.stopped), traces={}, losses={})
    plain = replace(GOOD, right=shares(30), traces={}, losses={})
    assert guard(shuffled, GOOD, ALL, seed=7) == guard(plain, GOOD, ALL, seed=7)


def test_equal_students_are_seldom_rolled_back(many: Callable[[random.Random], RoundFacts]) -> None:
    """As the module says: some 4 % of rounds at 100 tasks, so 20 of 200 would be a broken interval."""
    draw = random.Random(7)
    alarms = sum(not guard(many(draw), many(draw), ALL, seed=7).passed for _ in range(200))
    assert alarms <= 20


@pytest.fixture
def many() -> Callable[[random.Random], RoundFacts]:
    """A student of a fixed quality, measured anew."""

    def student(draw: random.Random) -> RoundFacts:
        def side(share: float) -> dict[str, float]:
            return {str(i): float(draw.random() < share) for i in range(100)}

        untrained = {"a": side(0.5), "b": side(0.3)}
        return RoundFacts(right=side(0.5), stopped=side(0.97), repeating=side(0.03), untrained=untrained)

    return student


# -- what was not trained, read leniently --------------------------------------------------------------------------


def retaining(strict: int, lenient: int | None) -> RoundFacts:
    read = {} if lenient is None else {"sums": shares(lenient)}
    return RoundFacts(untrained={"sums": shares(strict)}, lenient=read)


@pytest.mark.parametrize(
    ("by", "strict", "lenient", "failing"),
    [
        ("strict", (60, 5), (60, 60), ["untrained:sums"]),
        ("lenient", (60, 5), (60, 60), []),
        ("lenient", (60, 60), (60, 5), ["untrained_lenient:sums"]),
        ("strict", (60, 60), (60, 5), []),
        ("lenient", (60, 5), (None, None), ["untrained:sums"]),  # no reference is a number
    ],
)
def test_forgetting_looks_at_the_figure_that_is_asked_for(
    by: Any, strict: tuple[int, int], lenient: tuple[int | None, int | None], failing: list[str]
) -> None:
    before, now = (retaining(of_strict, of_lenient) for of_strict, of_lenient in zip(strict, lenient, strict=True))
    report = guard(now, before, GuardSettings(forgetting_by=by), seed=0)
    assert [check.measure for check in report.failures] == failing
    assert sum(check.measure.startswith("untrained") for check in report.checks) == 1


def test_a_lenient_figure_that_one_side_lacks_is_told() -> None:
    report = guard(retaining(9, 9), retaining(9, None), GuardSettings(forgetting_by="lenient"), seed=0)
    assert report.not_checked["untrained_lenient:sums"] == "not measured before"


def test_a_lenient_check_says_how_it_was_read() -> None:
    report = guard(retaining(60, 5), retaining(60, 60), GuardSettings(forgetting_by="lenient"), seed=0)
    assert report.failures[0].sentence.startswith(
        "accuracy on sums (not trained, read leniently) fell from 60 % to 5 %"
    )
