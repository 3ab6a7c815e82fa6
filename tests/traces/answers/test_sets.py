from __future__ import annotations

import itertools
import math
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stillroom.traces.answers.compare import compare
from stillroom.traces.answers.numeric import evaluate
from stillroom.traces.answers.parser import read
from stillroom.traces.answers.sets import real_set
from stillroom.traces.answers.tree import INFINITY, Node, is_inequality, negative
from stillroom.traces.answers.values import Rules


def place(end: Node) -> float:
    known = {INFINITY: math.inf, negative(INFINITY): -math.inf}
    return known[end] if end in known else float(evaluate(end, {}).value)


def shape(text: str) -> str | None:
    """The pieces of a set as they are written, or None where the text is not a set."""
    pieces = real_set(read(text))
    if pieces is None:
        return None
    return " ".join(
        f"{{{place(piece.low):g}}}"
        if piece.is_point
        else f"{'(' if piece.low_open else '['}{place(piece.low):g},{place(piece.high):g}{')' if piece.high_open else ']'}"
        for piece in pieces
    )


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("(1,2)", "(1,2)"),
        ("[1,2]", "[1,2]"),
        ("(1,2]", "(1,2]"),
        ("[1,2)", "[1,2)"),
        (r"[1,\infty)", "[1,inf)"),
        (r"[-\infty,\infty]", "(-inf,inf)"),
        (r"\mathbb{R}", "(-inf,inf)"),
        (r"\{2, 1, 1\}", "{1} {2}"),
        (r"\{\pm 1\}", "{-1} {1}"),
        (r"(1,2)\cup(2,3)", "(1,2) (2,3)"),
        (r"(2,3)\cup(1,2)", "(1,2) (2,3)"),
        (r"(1,2]\cup[2,3)", "(1,3)"),
        (r"(1,2]\cup(2,3)", "(1,3)"),
        (r"(1,2)\cup\{2\}\cup(2,3)", "(1,3)"),
        (r"(1,3)\cup(2,5)", "(1,5)"),
        (r"(1,9)\cup[2,5]", "(1,9)"),
        (r"(0,5)\cap[3,9)", "[3,5)"),
        (r"(0,5)\setminus[1,2)", "(0,1) [2,5)"),
        (r"(0,5)\setminus\{1\}", "(0,1) (1,5)"),
        (r"\mathbb{R}\setminus\{1,2\}", "(-inf,1) (1,2) (2,inf)"),
        (r"\mathbb{R}-\{0\}", "(-inf,0) (0,inf)"),
    ],
)
def test_sets(text: str, pieces: str) -> None:
    assert shape(text) == pieces


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("x < 3", "(-inf,3)"),
        ("3 > x", "(-inf,3)"),
        (r"x \le 3", "(-inf,3]"),
        (r"x \geq 3", "[3,inf)"),
        ("-x > -3", "(-inf,3)"),
        ("2x + 1 <= 7", "(-inf,3]"),
        (r"\frac{x}{2} < 3", "(-inf,6)"),
        ("x + 1 < 2x", "(1,inf)"),
        (r"x \ne 3", "(-inf,3) (3,inf)"),
        ("1 < x < 2", "(1,2)"),
        ("2 > x >= 1", "[1,2)"),
        ("-1 < 2x + 1 < 3", "(-1,1)"),
        ("3 < -x < 5", "(-5,-3)"),
        ("|x| < 2", "(-2,2)"),
        (r"|x| \ge 2", "(-inf,-2] [2,inf)"),
        ("|x - 1| < 2", "(-1,3)"),
        ("x < 1 or x > 2", "(-inf,1) (2,inf)"),
        (r"x < 1 \text{ or } x = 2", "(-inf,1) {2}"),
        (r"x \ne 1, x \ne 2", "(-inf,1) (1,2) (2,inf)"),
        ("x = 3", "{3}"),
        (r"x = \pm 3", "{-3} {3}"),
        (r"x \in \{1, 2\}", "{1} {2}"),
        (r"x \in (0,1) \cup [2,3]", "(0,1) [2,3]"),
        (r"\{x | x < 3\}", "(-inf,3)"),
        (r"\{x \mid 1 < x < 2\}", "(1,2)"),
        (r"\{x : x < 3\}", "(-inf,3)"),
        (r"\{x \in \mathbb{R} | x < 3\}", "(-inf,3)"),
        (r"\{x | x = 3\}", "{3}"),
        ("x > 1 and x < 2", "(1,2)"),
        (r"x > 1, x < 2", "(1,2)"),
        (r"1 \le x, x \le 2", "[1,2]"),
        (r"x \ge 2 \text{ and } x \ne 3", "[2,3) (3,inf)"),
        (r"\{x | x > 1 \text{ and } x < 2\}", "(1,2)"),
    ],
)
def test_inequalities(text: str, pieces: str) -> None:
    assert shape(text) == pieces


@pytest.mark.parametrize(
    "text", ["5", "(1,2,3)", "x + 1", "x^2 + y^2 < 1", "3 km", r"\{(1,2)\}", "red", "1 < x > 2", r"\{x + 1 | x < 3\}"]
)
def test_what_is_no_set_of_real_numbers(text: str) -> None:
    assert shape(text) is None


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("x^2 < 4", "x < 4"),
        ("x^2 > 4", "x > 4"),
        ("x^3 < 8", "x < 8"),
        (r"\frac{1}{x} < 2", "x < 2"),
        (r"\sqrt{x} < 2", "x < 2"),
        (r"\sin x < 1", "x < 1"),
        ("f(x) < 1", "x < 1"),
        ("xy < 3", "x < 3"),
        ("x^2 < 4", r"(-\infty, 4)"),
        ("x > 0, y > 0", "x > 0"),
        ("x > 0, y > 1", "x > 0"),
        ("x > 1, y < 2", "x < 2, y > 1"),
    ],
)
def test_what_is_not_linear_in_one_variable_is_not_read_as_if_it_were(one: str, other: str) -> None:
    assert compare(read(one), read(other), Rules()).same is not True


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("x < 3", True),
        (r"x \ne 3", True),
        ("1 < x < 2", True),
        ("x < 1 or x > 2", True),
        ("x = 3", False),
        ("(1,2)", False),
        (r"x \in (1,2)", False),
        ("5", False),
    ],
)
def test_what_says_which_values_are_allowed(text: str, expected: bool) -> None:
    assert is_inequality(read(text)) is expected


# -- laws --------------------------------------------------------------------------------------------------------


def written(low: int, high: int, low_open: bool, high_open: bool) -> str:
    return f"{'(' if low_open else '['}{low},{high}{')' if high_open else ']'}"


def interval(parts: tuple[int, int, bool, bool]) -> str:
    """An interval that real_set reads as one; a point where the ends meet."""
    low, length, low_open, high_open = parts
    return written(low, low + length, low_open, high_open) if length else rf"\{{{low}\}}"


INTERVALS = st.tuples(st.integers(-6, 6), st.integers(0, 5), st.booleans(), st.booleans())
PROBES = [Fraction(k, 2) for k in range(-15, 25)]


def members(text: str) -> list[bool]:
    """Which of the probes belong to a set."""
    pieces = real_set(read(text))
    assert pieces is not None
    spans = [(place(piece.low), place(piece.high), piece.low_open, piece.high_open) for piece in pieces]
    return [any(_within(probe, *span) for span in spans) for probe in PROBES]


def _within(probe: Fraction, low: float, high: float, low_open: bool, high_open: bool) -> bool:
    return (low < probe or (low == probe and not low_open)) and (probe < high or (probe == high and not high_open))


@settings(derandomize=True, max_examples=150, deadline=None)
@given(st.lists(INTERVALS, min_size=1, max_size=4))
def test_a_union_holds_what_any_of_its_parts_holds(parts: list[tuple[int, int, bool, bool]]) -> None:
    texts = [interval(part) for part in parts]
    expected = [any(each) for each in zip(*map(members, texts), strict=True)]
    assert members(r"\cup".join(texts)) == expected


@settings(derandomize=True, max_examples=150, deadline=None)
@given(INTERVALS, INTERVALS)
def test_a_difference_holds_what_only_the_first_holds(
    one: tuple[int, int, bool, bool], other: tuple[int, int, bool, bool]
) -> None:
    first, second = interval(one), interval(other)
    expected = [a and not b for a, b in zip(members(first), members(second), strict=True)]
    assert members(rf"{first}\setminus{second}") == expected


@settings(derandomize=True, max_examples=150, deadline=None)
@given(INTERVALS, INTERVALS)
def test_an_intersection_holds_what_both_hold(
    one: tuple[int, int, bool, bool], other: tuple[int, int, bool, bool]
) -> None:
    first, second = interval(one), interval(other)
    expected = [a and b for a, b in zip(members(first), members(second), strict=True)]
    assert members(rf"{first}\cap{second}") == expected


@settings(derandomize=True, max_examples=60, deadline=None)
@given(st.lists(INTERVALS, min_size=2, max_size=3))
def test_the_order_of_a_union_does_not_matter(parts: list[tuple[int, int, bool, bool]]) -> None:
    texts = [interval(part) for part in parts]
    assert len({shape(r"\cup".join(order)) for order in itertools.permutations(texts)}) == 1
