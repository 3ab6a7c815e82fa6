"""The lenient reading: what counts as the last number, exactly."""

from __future__ import annotations

import doctest
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stillroom.evaluation import lenient
from stillroom.evaluation.lenient import last_number, lenient_right

NUMBERS = {
    "2 * 7 = 14, then: The result of 2 * 7 is 14.": "14",
    "7": "7",
    "-5": "-5",
    "It is −5.": "-5",
    "= -5": "-5",
    "(-5)": "-5",
    "+5": "5",
    "- 5": "5",  # a sign stands directly in front
    "12-5": "5",  # an operator
    "x-5": "5",
    "(3)-5": "5",
    "7 - 12 = -5": "-5",
    "#### 14": "14",
    "\\boxed{14}": "14",
    "$14$": "14",
    "**14**!": "14",
    "answer:14": "14",
    "14 apples": "14",
    "14cm": "14",
    "14,": "14",
    "first 3, then 4:": "4",
    "is...14...": "14",
    "14.0": "14.0",
    ".5": "0.5",
    "-.5": "-0.5",
    "1,234": "1234",
    "-1,234,567.25.": "-1234567.25",
    "0014": "14",
    "14 ١٥": "14",  # other digits than ASCII's are not read
}
NONE = [
    "", "no number", "...", "1/2", "14/", "12:30", "10^3", "1,23", "1,2,3", "1234,567", "3.14.15", "x2", "1e5", "é7",
    "9" * 1_001,
]  # fmt: skip


@pytest.mark.parametrize("text", NUMBERS)
def test_the_last_number_of_a_text(text: str) -> None:
    assert last_number(text) == Decimal(NUMBERS[text])


@pytest.mark.parametrize("text", NONE)
def test_what_is_not_a_number(text: str) -> None:
    assert last_number(text) is None
    assert lenient_right(f"3 {text}" if text else "", "3", stopped=True) is (text in ("no number", "..."))


@pytest.mark.parametrize(
    ("answer", "reference", "stopped", "expected"),
    [
        ("It is 14.", "14", True, True),
        ("It is 14.", "14", False, False),  # cut off
        ("It is 14. Next, 3", "14", True, False),
        ("It is 14.00", "14", True, True),
        ("It is 0.33", "1/3", True, None),
        ("1,400", " 1400. ", True, True),
        ("1400", "+1,400", True, True),
        ("-3", "−3", True, True),
        ("3", "-3", True, False),
        ("-0", "0", True, True),
        ("0.1", "0.10", True, True),
        ("0.30000000000000000001", "0.3", True, False),  # exactly, not as floats
        ("Oslo", "Oslo", True, None),
        ("3", "3 apples", True, None),
        ("3", "--3", True, None),
        ("3", "", True, None),
        ("3", None, True, None),
        ("", "3", True, False),
    ],
)
def test_right_when_read_leniently(answer: str, reference: str | None, stopped: bool, expected: bool | None) -> None:
    assert lenient_right(answer, reference, stopped=stopped) is expected


@given(st.integers(-(10**30), 10**30), st.text(alphabet="abc .,:!?", max_size=9))
def test_any_whole_number_is_read_however_it_is_written(value: int, after: str) -> None:
    for written in (f"{value}", f"{value:,}", f"{value}.00"):
        assert lenient_right(f"So: {written} {after}", f"{value}", stopped=True) is True
        assert lenient_right(f"So: {written} {after}", f"{value + 1}", stopped=True) is False


@given(st.text(), st.text())
def test_no_text_is_a_traceback(answer: str, reference: str) -> None:
    assert lenient_right(answer, reference, stopped=True) in (True, False, None)


@pytest.mark.parametrize("part", [".", "1,", "-", "1", "^/", "1.", "−1"])
def test_a_long_answer_does_not_hang(part: str) -> None:
    last_number(part * 300_000)  # a second try at every place would take longer than any test may


def test_the_example_of_the_docs() -> None:
    assert doctest.testmod(lenient).failed == 0
