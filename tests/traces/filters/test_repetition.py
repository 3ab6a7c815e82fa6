"""no_repetition: loops are caught, arithmetic that repeats itself is spared."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stillroom.traces.filters.repetition import _loops

LOOPS = {
    "sentence": "We add the two numbers. " + "So the answer is 18. " * 12,
    "line": "Start\n" + "Let me check this again.\n" * 20,
    "word": "wait " * 40,
    "alternating": "She buys eggs. She sells eggs. " * 10,
    "paragraph": ("First we take the nine boxes and open each of them to look inside for the eggs.\n\n" * 5),
    "at the end": "A sound beginning with many words. " + "and so on " * 20,
    "in the middle": "Fine. " + "again and again we add " * 8 + "until it ends well with the answer 18.",
    "digits": "1/3 = 0." + "3" * 400,
    "ones": "1 + " * 200 + "1",
    "zeros": "0, " * 300,
}
PHRASES = {
    "running number": " ".join(f"Wait, let me check step {n} once more to be quite sure of it." for n in range(30)),
    "two in turn, with numbers": " ".join(
        f"In round {n} the first player moves and the second player waits. After that they swap their places again."
        for n in range(15)
    ),
}
SOUND = {
    "sum of ones": "1 + 1 + 1 + 1 + 1 + 1 + 1 + 1 + 1 + 1 = 10. The answer is 10.",
    "power": "2^20 = " + " × ".join(["2"] * 20) + " = 1048576",
    "periodic": "1/7 = 0.142857142857142857142857142857...",
    "table": "| x | y |\n|---|---|\n" + "\n".join(f"| {n} | {n * n} |" for n in range(20)),
    "table of zeros": "\n".join("| 0 | 0 | 0 | 0 |" for _ in range(8)),
    "days": "\n".join(
        f"On {day} she sells {n} eggs and earns {n} * 2 = {2 * n} dollars."
        for n, day in enumerate(["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"], 3)
    ),
    "said twice": "She has 18 eggs. She has 18 eggs. She has 18 eggs in all.",
    "matrix": r"\begin{pmatrix} 1 & 0 & 0 \\ 0 & 1 & 0 \\ 0 & 0 & 1 \end{pmatrix}" * 4,
    "series": r"\frac{d}{4} + \frac{d}{4} + \frac{d}{4} + \frac{d}{4} + \frac{d}{4} + \frac{d}{4} + \frac{d}{4}",
    "drawing": "See. [asy] " + "draw((0,0)--(1,1)); " * 30 + "[/asy] The answer is 18.",
    "cases": " ".join(f"If n = {n}, then n^2 = {n * n}, which is {n * n % 4} modulo 4." for n in range(10)),
    "laughing": "Ha ha ha ha, that is 18.",
    "empty": "",
}


@pytest.mark.parametrize("name", LOOPS)
def test_loops_are_dropped(make_trace: Any, find_in: Any, name: str) -> None:
    found = find_in("no_repetition", make_trace(LOOPS[name]))
    assert found is not None
    assert found.reason == "loop"


@pytest.mark.parametrize("name", PHRASES)
def test_loops_with_a_running_number_are_dropped(make_trace: Any, find_in: Any, name: str) -> None:
    found = find_in("no_repetition", make_trace(PHRASES[name]))
    assert found is not None
    assert found.reason == "repeated_phrases"


@pytest.mark.parametrize("name", SOUND)
def test_sound_arithmetic_stays(make_trace: Any, find_in: Any, name: str) -> None:
    assert find_in("no_repetition", make_trace(SOUND[name])) is None


def test_a_loop_in_the_thinking_part_counts(make_trace: Any, find_in: Any) -> None:
    assert find_in("no_repetition", make_trace("18", reasoning=LOOPS["line"])) is not None


def test_limits_can_be_set(make_trace: Any, find_in: Any) -> None:
    trace = make_trace(SOUND["sum of ones"])
    assert find_in({"no_repetition": {"number_tokens": 10}}, trace).reason == "loop"
    assert find_in({"no_repetition": {"loop_tokens": 10_000}}, make_trace(LOOPS["line"])) is None


@given(st.lists(st.sampled_from("abc"), max_size=40), st.integers(2, 5))
def test_loops_are_those_that_a_plain_search_finds(words: list[str], repeats: int) -> None:
    found = {loop.unit: loop.length for loop in _loops(words, repeats)}
    for unit in range(1, len(words) // repeats + 1):
        longest = max(_plain_length(words, start, unit) for start in range(len(words)))
        assert found.get(unit, 0) == (longest if longest >= unit * repeats else 0)


def _plain_length(words: list[str], start: int, unit: int) -> int:
    end = start
    while end < len(words) and (end - start < unit or words[end] == words[end - unit]):
        end += 1
    return end - start


GREEK = ("alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta", "iota", "kappa")


def test_shuffled_words_are_no_loop(make_trace: Any, find_in: Any) -> None:
    chooser = random.Random(1)
    words = [chooser.choice(GREEK) for _ in range(400)]
    assert find_in("no_repetition", make_trace(" ".join(words))) is None
