from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stillroom.evaluation.diversity import FEWEST, Items, distinct_change, runs, whole

Writes = Callable[[random.Random], str]


def sum_of_two(draw: random.Random) -> str:
    """As the traces of a student look."""
    a, b = draw.randint(1, 20), draw.randint(1, 20)
    return f"We start at {a} and add {b}, which gives {a} + {b} = {a + b}.\n#### {a + b}"


def one_trace(draw: random.Random) -> str:
    return "We start at 7 and add 5, which gives 7 + 5 = 12.\n#### 12"


def one_trace_but_its_number(draw: random.Random) -> str:
    return f"We take the numbers of the task and add them up, and so we have the answer.\n#### {draw.randint(1, 999)}"


def one_trace_dressed_up(draw: random.Random) -> str:
    """Differs in case, spaces and punctuation alone."""
    words = ["we", "start", "at", "7", "and", "add", "5"]
    said = draw.choice([" ", "  ", "\n"]).join(w.upper() if draw.random() < 0.5 else w for w in words)
    return said + draw.choice([".", "!", "...", ""])


def traces(writes: Writes, tasks: int, each: int = 1, seed: int = 0) -> dict[str, list[str]]:
    draw = random.Random(seed)
    return {f"t{i}": [writes(draw) for _ in range(each)] for i in range(tasks)}


@pytest.mark.parametrize(
    ("text", "of_whole", "of_runs"),
    [
        ("", [()], [()]),
        ("Two words", [("two", "words")], [("two", "words")]),
        ("a  B\nc, d!", [("a", "b", "c", "d")], [("a", "b", "c", "d")]),
        ("a b c 4 5", [("a", "b", "c", "4", "5")], [("a", "b", "c", "4"), ("b", "c", "4", "5")]),
    ],
)
def test_what_is_told_apart(text: str, of_whole: object, of_runs: object) -> None:
    assert list(whole(text)) == of_whole
    assert list(runs(text)) == of_runs


@pytest.mark.parametrize("items", [whole, runs])
@pytest.mark.parametrize("writes", [one_trace, one_trace_dressed_up])
def test_one_trace_for_every_task_is_seen(items: Items, writes: Writes) -> None:
    found = distinct_change(traces(writes, 200), traces(sum_of_two, 150), items, seed=7)
    assert found is not None
    assert found.relative.high < -0.8
    if items is whole:
        assert found.now.value == 1 / found.size  # one of them all


def test_one_trace_with_another_number_each_time_is_seen_in_its_runs() -> None:
    found = distinct_change(traces(one_trace_but_its_number, 200), traces(sum_of_two, 150), runs, seed=7)
    assert found is not None
    assert found.relative.high < -0.8


@pytest.mark.parametrize("items", [whole, runs])
@pytest.mark.parametrize(
    ("now", "each_now", "before", "each_before"), [(200, 1, 200, 1), (20, 1, 300, 1), (300, 4, 20, 1), (60, 1, 60, 4)]
)
def test_ordinary_rounds_are_alike_whatever_their_size(
    items: Items, now: int, each_now: int, before: int, each_before: int
) -> None:
    for seed in range(5):
        sides = traces(sum_of_two, now, each_now, seed), traces(sum_of_two, before, each_before, seed + 100)
        found = distinct_change(*sides, items, seed=seed)
        assert found is not None
        assert found.relative.low <= 0 <= found.relative.high
        assert abs(found.relative.value) < 0.2
        assert found.relative.n == min(now, before)


def test_siblings_that_are_alike_are_for_another_to_see() -> None:
    alone = traces(sum_of_two, 100)
    found = distinct_change({task: texts * 4 for task, texts in alone.items()}, alone, runs, seed=7)
    assert found is not None
    assert found.relative.low <= 0 <= found.relative.high


def test_too_few_tasks_say_nothing() -> None:
    enough, few = traces(sum_of_two, FEWEST), traces(sum_of_two, FEWEST - 1) | {"none": []}
    assert distinct_change(enough, enough, runs, seed=7) is not None
    assert distinct_change(few, enough, runs, seed=7) is None
    assert distinct_change(enough, few, runs, seed=7) is None


def test_texts_of_no_words_and_of_very_many_are_taken() -> None:
    long = traces(lambda draw: " ".join(str(draw.random()) for _ in range(5_000)), 10)
    found = distinct_change(traces(lambda _: "", 10), long, runs, seed=7)
    assert found is not None
    assert found.relative.high < 0


@settings(max_examples=10, deadline=None)
@given(st.randoms(use_true_random=False), st.integers(0, 2**31))
def test_the_order_of_tasks_does_not_matter(shuffle: random.Random, seed: int) -> None:
    now, before = traces(sum_of_two, 30, 2), traces(sum_of_two, 40, seed=1)
    shuffled = list(now.items())
    shuffle.shuffle(shuffled)
    assert distinct_change(dict(shuffled), before, runs, seed=seed) == distinct_change(now, before, runs, seed=seed)
