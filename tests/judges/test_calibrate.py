"""The calibration of judges of our own making, whose every figure can be told beforehand; and the gate behind it."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from rich.console import Console

from stillroom.common.records import Attempt, Task, user
from stillroom.errors import InputError, TeacherDown
from stillroom.judges.agreement import JudgedPair, compared, rated
from stillroom.judges.calibrate import (
    Asked,
    Calibration,
    Estimate,
    GateSettings,
    GateVerdict,
    by_length,
    calibrate,
    gate,
    summarise,
)
from stillroom.judges.human_labels import Label, LabelledPair
from stillroom.judges.records import FAILURES, JudgeState, OrderVerdict, Preference, Rating, both_orders
from stillroom.report.preferences import calibration_table, comparison_table

FIRST, SECOND = OrderVerdict(JudgeState.OK, "first"), OrderVerdict(JudgeState.OK, "second")
TIE = OrderVerdict(JudgeState.TIE, None)
FAILED = OrderVerdict(JudgeState.PARSE_FAILED, None)


def pair(i: int, label: Label = "a", a: int = 10, b: int = 10) -> LabelledPair:
    """Answers of so many characters, all different."""
    one, two = (Attempt(f"{i}", n, f"{i:05d}{n}".ljust(length, "x"), None, "stop", 0, 0, None, 0.0, f"writer {n}") for n, length in enumerate((a, b)))  # fmt: skip
    return LabelledPair(Task(f"{i}", user("?"), None, ""), one, two, label)


def mixed(n: int = 60) -> list[LabelledPair]:
    """Half of them won by a, half by b; in each half as many where the longer answer is right as where it is not."""
    return [pair(i, "a" if i % 2 else "b", 20 if i % 4 < 2 else 40, 30) for i in range(n)]


@dataclass
class Comparing:
    """Says in each order what `say` makes of (pair, a_first)."""

    say: Callable[[Attempt, Attempt], OrderVerdict]
    identity: str = "comparing"
    asked: int = 0

    async def compare(self, task: Task, a: Attempt, b: Attempt) -> Preference:
        self.asked += 2
        return both_orders(self.say(a, b), self.say(b, a), 2)

    async def close(self) -> None:
        """Nothing to free."""


@dataclass
class Rater:
    """Rates by `score`; None fails."""

    score: Callable[[Attempt], float | None]
    identity: str = "rating"
    scale: tuple[float, float] = (0, 100)

    async def rate(self, task: Task, answer: Attempt) -> Rating:
        score = self.score(answer)
        return Rating(JudgeState.REFUSED if score is None else JudgeState.OK, score)

    async def close(self) -> None:
        """Nothing to free."""


def knowing(pairs: Sequence[LabelledPair], right: bool = True) -> Comparing:
    """Always right, or always wrong."""
    better = {one.a.text if one.label == "a" else one.b.text for one in pairs}
    return Comparing(lambda first, second: FIRST if (first.text in better) is right else SECOND)


def longer(first: Attempt, second: Attempt) -> OrderVerdict:
    return TIE if len(first.text) == len(second.text) else FIRST if len(first.text) > len(second.text) else SECOND


async def measured(judge: Any, pairs: Sequence[LabelledPair]) -> tuple[Calibration, GateVerdict]:
    calibration = await calibrate(judge, pairs, seed=1)
    return calibration, gate(calibration)


def value(found: Estimate | None) -> float:
    assert found is not None
    return found.value


# -- judges whose figures are known ------------------------------------------------------------------------------


async def test_a_judge_that_is_always_right_passes() -> None:
    pairs = mixed()
    found, verdict = await measured(knowing(pairs), pairs)
    assert verdict == (True, (), ())
    assert [value(getattr(found, name)) for name in ("accuracy", "final_accuracy", "kappa", "consistency", "first")] == [1, 1, 1, 1, 0.5]  # fmt: skip
    assert (value(found.longer_accuracy), value(found.beats_longer)) == (0.5, 0.5)
    assert (found.pairs, found.judged, found.calls, found.states) == (60, 60, 120, {"ok": 120})
    assert found.final == {"winner": 60, "tie": 0, "failed": 0}


async def test_a_judge_that_always_says_first_fails_by_all_that_tells() -> None:
    found, verdict = await measured(Comparing(lambda first, second: FIRST), mixed())
    assert (value(found.first), value(found.consistency), value(found.kappa)) == (1.0, 0.0, 0.0)
    assert found.final == {"winner": 0, "tie": 60, "failed": 0}
    assert not verdict.passed
    assert [failure.split(":")[0] for failure in verdict.failures] == [
        "kappa",
        "accuracy minus that of 'longer wins'",
        "consistency",
        "P(first)",
    ]


async def test_a_consistent_judge_that_follows_length_fails_by_longer_wins() -> None:
    # People like the longer one here, so all else looks well.
    pairs = [pair(i, "b" if i % 10 else "a", 20, 30) for i in range(60)]
    found, verdict = await measured(Comparing(longer), pairs)
    assert (value(found.consistency), value(found.first)) == (1.0, 0.5)
    assert value(found.kappa) > 0.7
    assert value(found.length_correlation) == pytest.approx(1.0)
    assert value(found.label_length_correlation) == pytest.approx(0.8)
    assert [failure.split(":")[0] for failure in verdict.failures] == ["accuracy minus that of 'longer wins'"]


async def test_a_judge_that_is_consistently_wrong_fails_though_it_is_consistent() -> None:
    pairs = mixed()
    found, verdict = await measured(knowing(pairs, right=False), pairs)
    assert (value(found.consistency), value(found.accuracy), value(found.kappa)) == (1.0, 0.0, -1.0)
    assert [failure.split(":")[0] for failure in verdict.failures] == [
        "kappa",
        "accuracy minus that of 'longer wins'",
    ]


async def test_pairs_on_which_the_shorter_one_wins_are_said_to_be_no_test_of_length() -> None:
    pairs = [pair(i, "a", 20, 30) for i in range(60)]
    found, _ = await measured(knowing(pairs), pairs)
    assert any("'longer wins' says little here" in note for note in found.notes)


async def test_a_pointwise_judge_has_no_orders_and_the_gate_says_so() -> None:
    pairs = mixed()
    better = {one.a.text if one.label == "a" else one.b.text for one in pairs}
    found, verdict = await measured(Rater(lambda answer: 5.0 if answer.text in better else 2.0), pairs)
    assert (found.kind, found.first, found.consistency) == ("pointwise", None, None)
    assert (value(found.accuracy), value(found.kappa)) == (1.0, 1.0)
    assert (found.accuracy and found.accuracy.n, found.kappa and found.kappa.n) == (60, 60)
    assert verdict.passed
    assert verdict.not_applied == ("consistency, P(first): the judge rates one answer at a time",)
    assert any("do not apply" in note for note in found.notes)


async def test_equal_ratings_are_a_tie_worth_a_half() -> None:
    found, verdict = await measured(Rater(lambda answer: 3.0), mixed())
    assert (value(found.accuracy), value(found.kappa)) == (0.5, 0.0)
    assert found.final == {"winner": 0, "tie": 60, "failed": 0}
    assert found.score_length_correlation is None  # a score that never changes goes with nothing
    assert not verdict.passed


async def test_scores_that_follow_length_show_it() -> None:
    found, _ = await measured(Rater(lambda answer: float(len(answer.text))), mixed())
    assert value(found.score_length_correlation) == pytest.approx(1.0)


async def test_a_judge_of_both_kinds_is_used_as_asked_for() -> None:
    class Both(Rater):
        async def compare(self, task: Task, a: Attempt, b: Attempt) -> Preference:
            return both_orders(FIRST, SECOND, 2)

    pairs = mixed()
    assert (await calibrate(Both(lambda answer: 1.0), pairs, seed=0)).kind == "pairwise"
    assert (await calibrate(Both(lambda answer: 1.0), pairs, seed=0, kind="pointwise")).kind == "pointwise"


async def test_one_order_alone_measures_no_consistency_and_does_not_pass() -> None:
    class OneOrder(Comparing):
        async def compare(self, task: Task, a: Attempt, b: Attempt) -> Preference:
            said = self.say(b, a)  # b is shown first
            return Preference(JudgeState.OK, "b" if said.winner == "first" else "a", (said,), 1)

    pairs = mixed()
    found, verdict = await measured(OneOrder(knowing(pairs).say), pairs)
    assert (value(found.accuracy), found.consistency, found.calls) == (1.0, None, 60)
    assert value(found.first) == 0.5
    assert [failure.split(":")[0] for failure in verdict.failures] == ["consistency"]


# -- failures ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", sorted(FAILURES))
async def test_a_judge_that_never_answers_has_no_figures_and_does_not_pass(state: JudgeState) -> None:
    found, verdict = await measured(Comparing(lambda first, second: OrderVerdict(state, None)), mixed())
    figures = [name for name, field in Calibration.model_fields.items() if field.annotation == Estimate | None]
    assert len(figures) == 12
    assert [name for name in figures if getattr(found, name) is not None] == []
    assert (found.judged, found.final["failed"], found.states) == (0, 60, {state: 120})
    assert len(verdict.failures) == 5
    assert all("not measured" in failure or "judged pairs: 0 of 60" in failure for failure in verdict.failures)


async def test_failures_count_for_nothing_and_are_told_by_answer_length_and_source() -> None:
    pairs = mixed()

    def say(first: Attempt, second: Attempt) -> OrderVerdict:
        # Cannot read what is long when it stands first.
        return FAILED if len(first.text) == 40 else knowing(pairs).say(first, second)

    found, _ = await measured(Comparing(say), pairs)
    without, _ = await measured(knowing(pairs), [one for one in pairs if len(one.a.text) == 20])
    assert (found.judged, found.states) == (30, {"ok": 90, "parse_failed": 30})
    assert value(found.accuracy) == 1.0
    assert found.final_accuracy == without.final_accuracy
    assert found.consistency == without.consistency
    report = found.failures
    assert {key: (c.failed, c.asked) for key, c in report.by_length.items()} == {"short": (0, 60), "long": (30, 60)}  # fmt: skip
    assert {key: (c.failed, c.asked) for key, c in report.by_answer.items()} == {"better first": (15, 60), "worse first": (15, 60)}  # fmt: skip
    assert {key: (c.failed, c.asked) for key, c in report.by_source.items()} == {"writer 0": (30, 120), "writer 1": (30, 120)}  # fmt: skip
    assert any("30 of 60 pairs got no judgement" in note for note in found.notes)


async def test_a_rater_that_refuses_what_people_like_less_is_seen() -> None:
    pairs = mixed()
    worse = {one.b.text if one.label == "a" else one.a.text for one in pairs}
    found, verdict = await measured(Rater(lambda answer: None if answer.text in worse else 5.0), pairs)
    assert found.accuracy is None
    assert {key: (c.failed, c.asked) for key, c in found.failures.by_answer.items()} == {"better": (0, 60), "worse": (60, 60)}  # fmt: skip
    assert not verdict.passed


async def test_a_judge_that_is_down_stops_the_calibration() -> None:
    def down(first: Attempt, second: Attempt) -> OrderVerdict:
        raise TeacherDown("the judge answers nobody")

    with pytest.raises(TeacherDown):
        await calibrate(Comparing(down), mixed(), seed=0)
    assert len(asyncio.all_tasks()) == 1


async def test_no_pairs_are_refused() -> None:
    with pytest.raises(InputError, match="there are none"):
        await calibrate(Comparing(longer), [], seed=0)


# -- laws --------------------------------------------------------------------------------------------------------

VERDICTS = st.sampled_from([FIRST, SECOND, TIE, FAILED, OrderVerdict(JudgeState.REFUSED, None)])
LABELS: st.SearchStrategy[Label] = st.sampled_from(["a", "b", "tie"])
LENGTHS = st.integers(7, 12)
RATINGS = st.sampled_from(
    [Rating(JudgeState.OK, score) for score in (1.0, 2.0, 3.5)] + [Rating(JudgeState.TRUNCATED, None)]
)


@st.composite
def judged_pairs(draw: st.DrawFn) -> list[JudgedPair]:
    n = draw(st.integers(1, 12))
    made = (pair(i, draw(LABELS), draw(LENGTHS), draw(LENGTHS)) for i in range(n))
    if draw(st.booleans()):
        return [compared(one, both_orders(draw(VERDICTS), draw(VERDICTS), 2)) for one in made]
    return [rated(one, draw(RATINGS), draw(RATINGS)) for one in made]


def exchanged(one: JudgedPair) -> JudgedPair:
    """What the judge would have said, had a been called b."""
    labels: dict[Label, Label] = {"a": "b", "b": "a", "tie": "tie"}
    other = LabelledPair(one.pair.task, one.pair.b, one.pair.a, labels[one.pair.label])
    if one.ratings is not None:
        return rated(other, *one.ratings[::-1])
    a_first, b_first = (order.verdict for order in one.orders)
    return compared(other, both_orders(b_first, a_first, one.calls))


def summary(judged: Sequence[JudgedPair]) -> Calibration:
    kind: Literal["pairwise", "pointwise"] = "pointwise" if judged[0].ratings else "pairwise"
    return summarise(judged, judge="j", kind=kind, seed=3)


@settings(deadline=None, max_examples=40)
@given(judged_pairs(), st.data())
def test_exchanging_a_and_b_of_any_pairs_changes_nothing(judged: list[JudgedPair], data: st.DataObject) -> None:
    some = [exchanged(one) if data.draw(st.booleans()) else one for one in judged]
    assert summary(some) == summary(judged)


@settings(deadline=None, max_examples=40)
@given(judged_pairs())
def test_every_interval_holds_its_value(judged: list[JudgedPair]) -> None:
    for name, found in summary(judged):
        if isinstance(found, Estimate):
            assert found.low <= found.value <= found.high, name
            assert found.n > 0


@settings(deadline=None, max_examples=25)
@given(judged_pairs(), st.integers(1, 5))
def test_pairs_that_failed_change_no_figure(judged: list[JudgedPair], more: int) -> None:
    """A failure is not a win, no loss and no tie: more of them leave every share as it was."""
    failed = [pair(100 + i, "a", 9, 9) for i in range(more)]
    added = [
        rated(one, Rating(JudgeState.REFUSED, None), Rating(JudgeState.REFUSED, None))
        if judged[0].ratings
        else compared(one, both_orders(FAILED, FAILED, 2))
        for one in failed
    ]
    before, after = summary(judged), summary([*judged, *added])
    for name in ("accuracy", "final_accuracy", "decided_accuracy", "consistency", "first", "longer_accuracy"):
        assert getattr(after, name) == getattr(before, name), name
    for name in ("kappa", "final_kappa", "beats_longer", "length_correlation"):
        one, other = getattr(before, name), getattr(after, name)
        assert (one and one.value, one and one.n) == (other and other.value, other and other.n), name


def test_kappa_is_cohens() -> None:
    """Ten pairs, by hand: 14 of 20 order verdicts right, first said 12 times of 20; people's labels are half first."""
    right, habit = both_orders(FIRST, SECOND, 2), both_orders(FIRST, FIRST, 2)
    other = both_orders(SECOND, SECOND, 2)
    judged = [compared(pair(i), right) for i in range(4)]
    judged += [compared(pair(10 + i), habit) for i in range(4)] + [compared(pair(20 + i), other) for i in range(2)]
    found = summary(judged)
    assert value(found.accuracy) == pytest.approx(14 / 20)
    assert value(found.first) == pytest.approx(12 / 20)
    assert value(found.kappa) == pytest.approx((0.7 - 0.5) / (1 - 0.5))
    # Finally 4 are right and 6 tied: chance 0.4 · 0.5, as a and b are counted under both names.
    assert value(found.final_kappa) == pytest.approx((0.4 - 0.2) / (1 - 0.2))
    assert (value(found.final_accuracy), value(found.decided_accuracy)) == (0.4, 1.0)


# -- the gate ----------------------------------------------------------------------------------------------------


def edited(base: Calibration, **figures: tuple[float, float, float] | None) -> Calibration:
    made = {
        key: None if f is None else Estimate(value=f[0], low=f[1], high=f[2], n=100) for key, f in figures.items()
    }
    return base.model_copy(update=made)


@pytest.fixture
async def good() -> Calibration:
    pairs = mixed()
    return await calibrate(knowing(pairs), pairs, seed=1)


CASES: dict[str, tuple[dict[str, tuple[float, float, float] | None], list[str]]] = {
    "at every limit": ({"kappa": (0.4, 0.2, 0.6), "consistency": (0.8, 0.7, 0.9), "first": (0.6, 0.5, 0.7), "beats_longer": (0.1, 0.001, 0.2)}, []),
    "P(first) at the other limit": ({"first": (0.4, 0.3, 0.5)}, []),
    "kappa": ({"kappa": (0.39, 0.2, 0.6)}, ["kappa: 0.390 [0.200, 0.600] (n = 100), at least 0.4 is needed"]),
    "consistency": ({"consistency": (0.68, 0.58, 0.76)}, ["consistency: 0.680 [0.580, 0.760] (n = 100), at least 0.8 is needed"]),
    "P(first)": ({"first": (0.61, 0.5, 0.7)}, ["P(first): 0.610 [0.500, 0.700] (n = 100), within 0.1 of 0.5 is needed"]),
    "P(second)": ({"first": (0.35, 0.3, 0.4)}, ["P(first): 0.350 [0.300, 0.400] (n = 100), within 0.1 of 0.5 is needed"]),
    "no better than length, perhaps": ({"beats_longer": (0.1, 0.0, 0.2)}, ["accuracy minus that of 'longer wins': 0.100 [0.000, 0.200] (n = 100), an interval above 0 is needed (accuracy 1.000 [0.940, 1.000] (n = 120), 'longer wins' 0.500 [0.377, 0.623] (n = 60))"]),
    "kappa without a value": ({"kappa": None}, ["kappa: not measured, at least 0.4 is needed"]),
}  # fmt: skip


@pytest.mark.parametrize(("figures", "failures"), CASES.values(), ids=CASES)
def test_the_gate_names_value_interval_and_limit(
    good: Calibration, figures: dict[str, tuple[float, float, float] | None], failures: list[str]
) -> None:
    verdict = gate(edited(good, **figures))
    assert (verdict.passed, list(verdict.failures)) == (not failures, failures)


def test_the_limits_can_be_set(good: Calibration) -> None:
    weak = edited(good, kappa=(0.3, 0.2, 0.4), beats_longer=(0.0, -0.1, 0.1))
    assert gate(weak, GateSettings(min_kappa=0.2, beat_longer=False)).passed
    assert gate(good, GateSettings(min_pairs=61)).failures == ("judged pairs: 60 of 60, at least 61 are needed",)
    with pytest.raises(ValidationError, match="min_kapa"):
        GateSettings.model_validate({"min_kapa": 0.2})


# -- files and tables --------------------------------------------------------------------------------------------


def test_a_calibration_survives_json(good: Calibration) -> None:
    assert Calibration.model_validate_json(good.model_dump_json()) == good


async def test_the_tables_show_figures_failures_and_the_gate() -> None:
    found, verdict = await measured(Comparing(lambda first, second: FIRST), mixed())
    half = compared(pair(99), both_orders(FAILED, FIRST, 2))
    failing = summary([half] * 3)
    out = io.StringIO()
    console = Console(file=out, width=200)
    console.print(calibration_table(found, verdict))
    console.print(calibration_table(failing))
    console.print(comparison_table([("J", "CoT", found, verdict)]))
    text = out.getvalue()
    for part in ("P(first)", "1.000", "refused", "consistency: 0.000", "3 ok, 3 parse_failed", "better first 3/3", "J", "CoT", "0/60"):  # fmt: skip
        assert part in text, part


THIRDS = {
    "nine": (list(range(9)), {"short": 3, "middle": 3, "long": 3}),
    "three": ([5, 1, 3], {"short": 1, "middle": 1, "long": 1}),
    "all alike": ([4, 4, 4], {"middle": 3}),
    "two lengths": ([4, 4, 9, 9], {"short": 2, "long": 2}),
    "one": ([4], {"middle": 1}),
    "none": ([], {}),
}


@pytest.mark.parametrize(("lengths", "expected"), THIRDS.values(), ids=THIRDS)
def test_lengths_fall_into_thirds(lengths: list[int], expected: dict[str, int]) -> None:
    asked = [Asked(JudgeState.OK, "equal", length, ()) for length in lengths]
    assert {third: found.asked for third, found in by_length(asked).items()} == expected
