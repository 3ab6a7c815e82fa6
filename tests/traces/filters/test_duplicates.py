"""dedup: the first stays, later ones go, and chance has no say."""

from __future__ import annotations

import gc
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stillroom.common.text import tokens
from stillroom.traces.filters import Screen
from stillroom.traces.trace import Trace
from tests.traces.filters.filtering import apply_filters, build_filters

LONG = (
    "Nine boxes hold two eggs each. Two eggs in each of nine boxes make nine times two eggs. Nine times two is the "
    "same as nine plus nine, which is 18. So there are 18 eggs in the nine boxes. The answer is 18."
)


def run(spec: Any, traces: list[Any]) -> Any:
    return apply_filters(traces, build_filters([spec]), test=[])


def test_equal_texts_of_a_task_go_and_the_first_stays(make_trace: Any) -> None:
    traces = [make_trace("9 * 2 = 18", index=0), make_trace(" 9 *  2\n= 18 ", index=3), make_trace("2 * 9", index=4)]
    done = run("dedup", traces)
    assert [trace.attempt.index for trace in done.kept] == [0, 4]
    [reject] = done.rejects
    assert (reject.reason, reject.detail) == ("same_text", "as draw 0 of the task")


def test_case_and_unicode_forms_make_no_difference(make_trace: Any) -> None:
    done = run("dedup", [make_trace("The ﬁrst"), make_trace("the first", index=1)])
    assert [reject.reason for reject in done.rejects] == ["same_text"]


def test_numbers_and_signs_make_a_difference(make_trace: Any) -> None:
    texts = ["9 + 2 = 11", "9 - 2 = 7", "9 + 3 = 12"]
    assert run("dedup", [make_trace(text, index=n) for n, text in enumerate(texts)]).rejects == []


def test_the_same_answer_after_other_thinking_stays(make_trace: Any) -> None:
    traces = [make_trace("18", reasoning="nine twice"), make_trace("18", reasoning="two nine times", index=1)]
    assert run("dedup", traces).rejects == []


def test_short_texts_are_shared_by_tasks_long_ones_are_not(make_trace: Any) -> None:
    short = [make_trace("9 * 2 = 18. The answer is 18.", task=task) for task in "ab"]
    assert run("dedup", short).rejects == []
    [reject] = run("dedup", [make_trace(LONG, task=task) for task in "ab"]).rejects
    assert (reject.reason, reject.detail) == ("same_text_as_other_task", "as draw 0 of task a")
    assert run({"dedup": {"across_words": 100}}, [make_trace(LONG, task=task) for task in "ab"]).rejects == []


def test_near_duplicates_of_a_task_go_where_asked_for(make_trace: Any) -> None:
    near = LONG.replace("So there are", "Hence there are")
    traces = [make_trace(LONG), make_trace(near, index=1)]
    assert run("dedup", traces).rejects == []
    [reject] = run({"dedup": {"near": 0.8}}, traces).rejects
    assert reject.reason == "near_duplicate"
    assert "to draw 0 of task t, the limit is 0.8" in reject.detail
    assert run({"dedup": {"near": 0.99}}, traces).rejects == []


def test_other_numbers_are_no_near_duplicate(make_trace: Any) -> None:
    other = LONG.replace("18", "27").replace("two", "three").replace("Two", "Three").replace("plus nine", "times 3")
    assert run({"dedup": {"near": 0.8}}, [make_trace(LONG), make_trace(other, index=1)]).rejects == []


def test_near_duplicates_of_other_tasks_stay_unless_asked_for(make_trace: Any) -> None:
    near = LONG.replace("So there are", "Hence there are")
    traces = [make_trace(LONG, task="a"), make_trace(near, task="b")]
    assert run({"dedup": {"near": 0.8}}, traces).rejects == []
    assert [reject.reason for reject in run({"dedup": {"near": 0.8, "scope": "all"}}, traces).rejects] == [
        "near_duplicate"
    ]


def test_a_dropped_trace_drops_no_other(make_trace: Any) -> None:
    """c is near b but not near a; b went because of a, so c stays."""
    words = [f"w{n}" for n in range(60)]
    a, b, c = (" ".join(words[start : start + 40]) for start in (0, 4, 8))
    done = run({"dedup": {"near": 0.75}}, [make_trace(text, index=n) for n, text in enumerate((a, b, c))])
    assert [trace.attempt.index for trace in done.kept] == [0, 2]


@pytest.mark.parametrize("spec", ["dedup", {"dedup": {"near": 0.8}}])
def test_the_same_filters_can_be_applied_again(make_trace: Any, spec: Any) -> None:
    traces = [make_trace(f"text number {n // 2}", index=n) for n in range(20)]
    filters = build_filters([spec])
    assert apply_filters(traces, filters, test=[]) == apply_filters(traces, filters, test=[])


def test_a_single_word_can_be_compared(make_trace: Any) -> None:
    traces = [make_trace("", index=0), make_trace("18", index=1), make_trace("19", index=2)]
    assert run({"dedup": {"near": 0.8}}, traces).rejects == []


def slowly(traces: list[Trace], across_words: int, near: float) -> list[int]:
    """Indexes of what stays, by comparing every trace with all that stayed before it."""
    stayed: list[Trace] = []
    for trace in traces:
        own = [other for other in stayed if other.task.id == trace.task.id]
        text = " ".join(trace.full_text.casefold().split())
        same = [other for other in stayed if " ".join(other.full_text.casefold().split()) == text]
        shared = [other for other in same if other in own or len(tokens(trace.full_text)) >= across_words]
        if not shared and not any(similarity(trace, other) >= near for other in own):
            stayed.append(trace)
    return [trace.attempt.index for trace in stayed]


def similarity(a: Trace, b: Trace) -> float:
    first, second = ({tuple(w[i : i + 3]) for i in range(max(1, len(w) - 2))} for w in (a_words(a), a_words(b)))
    return len(first & second) / len(first | second)


def a_words(trace: Trace) -> list[str]:
    return tokens(trace.full_text)


WORDS = st.lists(st.sampled_from(["one", "two", "three", "four"]), min_size=1, max_size=7).map(" ".join)


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.lists(WORDS, min_size=1, max_size=5), min_size=1, max_size=4))
def test_what_is_held_as_hashes_decides_as_the_texts_would(make_trace: Any, texts: list[list[str]]) -> None:
    traces: list[Trace] = []
    for number, said in enumerate(texts):
        traces += [make_trace(text, task=f"t{number}", index=len(traces) + n) for n, text in enumerate(said)]
    # A limit of 1: below it the sketches may miss a pair, by design.
    done = run({"dedup": {"across_words": 5, "near": 1.0}}, traces)
    assert [trace.attempt.index for trace in done.kept] == slowly(traces, 5, 1.0)
    assert [trace.attempt.index for trace in run({"dedup": {"across_words": 5}}, traces).kept] == slowly(traces, 5, 2)


@pytest.mark.parametrize("spec", ["dedup", {"dedup": {"near": 0.9}}, {"dedup": {"near": 0.9, "scope": "all"}}])
def test_no_trace_is_held(make_trace: Any, spec: Any) -> None:
    def alive() -> int:
        gc.collect()
        return sum(type(each) is Trace for each in gc.get_objects())

    screen, before = Screen(build_filters([spec]), test=[]), alive()
    for number in range(50):
        assert screen.look(make_trace(f"text {number} of {number * number}", task=f"t{number // 2}")) is None
    assert alive() - before <= 3
