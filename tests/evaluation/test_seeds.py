from __future__ import annotations

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stillroom.common.stats.bootstrap import mean_over_tasks
from stillroom.common.stats.intervals import PairedCounts, paired_difference
from stillroom.evaluation.evaluate import difference_over_seeds, over_seeds


def runs(means: list[float], tasks: int = 200, seed: int = 1) -> list[dict[str, float]]:
    draw = Random(seed)
    return [{f"t{i}": float(draw.random() < mean) for i in range(tasks)} for mean in means]


def test_mean_each_and_between_by_hand() -> None:
    found = over_seeds([{"a": 1, "b": 0}, {"a": 1, "b": 1}, {"a": 0, "b": 0}], seed=1)
    assert list(found.each) == [0.5, 1, 0]
    assert found.mean.value == 0.5
    assert found.mean.n == 2
    assert found.between == pytest.approx(0.5)
    assert found.left_out == 0


def test_tasks_that_a_run_lacks_are_left_out_and_counted() -> None:
    found = over_seeds([{"a": 1, "b": 0, "c": 1}, {"a": 1, "b": 1, "d": 0}], seed=1)
    assert (found.mean.n, found.left_out) == (2, 2)
    assert list(found.each) == [0.5, 1]


@pytest.mark.parametrize(("a", "b"), [(1, 0), (0, 1), (1, 1), (0, 0)])
def test_a_difference_of_sides_that_are_all_alike_has_an_interval_all_the_same(a: int, b: int) -> None:
    tasks = ("x", "y", "z")
    found = difference_over_seeds([dict.fromkeys(tasks, a)] * 2, [dict.fromkeys(tasks, b)], seed=1)
    counts = PairedCounts(*(3 * ((a, b) == of) for of in ((1, 1), (1, 0), (0, 1), (0, 0))))
    assert found == paired_difference(counts)
    assert found.value == a - b
    assert found.low < found.high


def test_values_that_are_all_alike_have_an_interval_all_the_same() -> None:
    found = over_seeds([{"a": 0, "b": 0}, {"a": 0, "b": 0}], seed=1)
    assert (found.mean.value, found.mean.low, found.mean.n) == (0, 0, 2)
    assert found.mean.high == pytest.approx(0.658, abs=0.001)
    assert list(found.each) == [0, 0]
    assert found.between == 0


def test_one_run_has_the_interval_over_tasks() -> None:
    (run,) = runs([0.4])
    found, alone = over_seeds([run], seed=1), mean_over_tasks(run, seed=1)
    assert found.between is None
    assert found.mean == pytest.approx(alone, abs=0.01)


def test_runs_that_differ_widen_the_interval() -> None:
    def width(means: list[float]) -> float:
        found = over_seeds(runs(means), seed=1).mean
        return found.high - found.low

    assert width([0.2, 0.5, 0.8]) > 3 * width([0.5, 0.5, 0.5])


def test_the_interval_is_about_as_wide_as_two_spreads_of_runs() -> None:
    found = over_seeds(runs([0.2, 0.4, 0.5, 0.6, 0.8], tasks=2000), seed=1)
    assert found.between is not None
    expected = 2 * 1.96 * found.between / 5**0.5
    assert found.mean.high - found.mean.low == pytest.approx(expected, rel=0.12)


def test_differences_between_recipes() -> None:
    after, before = runs([0.6, 0.65, 0.62], seed=2), runs([0.1], seed=3)
    found = difference_over_seeds(after, before, seed=1)
    assert found.low > 0.4
    assert found.n == 200
    back = difference_over_seeds(before, after, seed=1)
    assert back.value == pytest.approx(-found.value)


@settings(max_examples=20)
@given(st.permutations(range(12)))
def test_the_order_of_tasks_does_not_matter(order: list[int]) -> None:
    given = runs([0.3, 0.7], tasks=12)
    mixed = [{f"t{i}": run[f"t{i}"] for i in order} for run in given]
    assert over_seeds(mixed, seed=1) == over_seeds(given, seed=1)


@pytest.mark.parametrize("given", [[], [{}], [{"a": 1.0}, {"b": 1.0}]])
def test_runs_without_a_common_task_are_refused(given: list[dict[str, float]]) -> None:
    with pytest.raises(ValueError, match="no task in common"):
        over_seeds(given, seed=1)
