from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stillroom.traces.answers import AnswerChecker, Reason
from stillroom.traces.answers.numbers import MAX_POWER_BITS, read_number
from stillroom.traces.answers.plain import plain
from stillroom.traces.answers.reading import compare, read


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("18", 18),
        ("-5", -5),
        ("+5", 5),
        ("−5", -5),
        ("1,234", 1234),
        ("1,234,567.5", Fraction(2469135, 2)),
        (r"12\,345\,678", 12345678),
        (r"14{,}916", 14916),
        (r"11,\! 111,\! 100", 11111100),
        ("1 000", 1000),
        ("0.10", Fraction(1, 10)),
        (".5", Fraction(1, 2)),
        ("4.", 4),
        ("71/6", Fraction(71, 6)),
        (r"\frac12", Fraction(1, 2)),
        (r"-\dfrac{10}{4}", Fraction(-5, 2)),
        ("2 2/3", Fraction(8, 3)),
        (r"-3\frac12", Fraction(-7, 2)),
        ("1.5e-7", Fraction(15, 10**8)),
        (r"2.5\times 10^{-7}", Fraction(25, 10**8)),
        ("10^6", 10**6),
        ("2^{100}", 2**100),
        ("４２", 42),
        ("½", Fraction(1, 2)),
        ("10²", 100),
    ],
)
def test_a_number_is_read_exactly(text: str, value: Fraction) -> None:
    number = read_number(plain(text))
    assert number is not None
    assert number.value == value


@pytest.mark.parametrize(
    "text",
    ["", "x", "4t", "2 3", "32, 349", "1/0", "1,22", "12,34,567", "0^0", "3 or 4", "2pi", "5!", "1.2.3", "--1", "٣"],
)
def test_what_is_not_wholly_a_number_is_none(text: str) -> None:
    assert read_number(plain(text)) is None


def test_a_power_too_large_to_write_out_is_over_the_limit() -> None:
    with pytest.raises(OverflowError, match=f"{MAX_POWER_BITS:,}"):
        read_number("999999^{9999}")
    assert read("42", r"\boxed{999999^{9999}}").reason is Reason.OVER_LIMIT


@pytest.mark.parametrize(
    ("gold", "answer", "reason"),
    [
        ("18", "18.00", Reason.EQUAL),
        ("18", "18 dollars", Reason.EQUAL),
        (r"\$5.50", "5.50", Reason.EQUAL),
        ("$18", "18 dollars", Reason.EQUAL),
        ("5 dollars", "€5", Reason.DIFFERENT),
        ("3 km", r"3\text{ cm}", Reason.DIFFERENT),
        ("3 km", r"3\text{ kilometers}", Reason.EQUAL),
        ("1 km", r"1000\text{ m}", Reason.NEEDS_POLICY),
        ("5 apples", "5 apple", Reason.EQUAL),
        ("5 apples", "5 pears", Reason.NEEDS_POLICY),
        ("2 dozen", "24", Reason.EQUAL),
        ("2", "2 dozen", Reason.NEEDS_POLICY),
        ("-1.8 billion", "-1800000000", Reason.EQUAL),
        ("28%", "28 percent", Reason.EQUAL),
        ("0.335", "33.5 percentage", Reason.EQUAL),
        ("10%", "10", Reason.NEEDS_POLICY),
        ("0.5%", "0.5", Reason.NEEDS_POLICY),
        (r"90^\circ", "90°", Reason.EQUAL),
        (r"15\text{ cm}^2", "15", Reason.EQUAL),
        (r"15\text{ cm}^2", r"15\text{ cm}", Reason.DIFFERENT),
        ("x = 5", "5", Reason.EQUAL),
        ("2=x", "x=2", Reason.EQUAL),
        ("x=5", "y=5", Reason.NEEDS_POLICY),
        ("1/3", "0.3333333333", Reason.EQUAL),
        ("1/3", "0.33", Reason.NEEDS_POLICY),
        ("1/3", "0.34", Reason.NEEDS_POLICY),
        ("1/3", "0.4", Reason.NEEDS_POLICY),
        ("1/3", "0.5", Reason.DIFFERENT),
        ("5", "5.001", Reason.DIFFERENT),
        ("7.5", "7.51", Reason.NEEDS_POLICY),
        ("0.0000001", "0.0000002", Reason.DIFFERENT),
        (r"\frac{1}{2^{99}}", r"\frac{1}{2^{99}}", Reason.EQUAL),
        ("2^{-99}", "2^{-98}", Reason.DIFFERENT),
        ("100000000000", "99999999999", Reason.DIFFERENT),
        ("3^{2025}", "2^{2025}", Reason.DIFFERENT),
        ("1,22", "1.22", Reason.NEEDS_POLICY),
        ("0,111", "0.111", Reason.NEEDS_POLICY),
    ],
)
def test_numbers_and_what_stands_around_them(checker: AnswerChecker, gold: str, answer: str, reason: Reason) -> None:
    assert checker.check(gold, answer).reason == reason


decimals = st.decimals(allow_nan=False, allow_infinity=False, places=4, min_value=-(10**9), max_value=10**9)
ratios = st.builds(lambda n, d: f"{n}/{d}", st.integers(-(10**6), 10**6), st.integers(1, 999))
texts = st.one_of(
    st.integers().map(str),
    decimals.map(lambda d: f"{d:f}"),
    ratios,
    st.builds(lambda n, d: rf"\frac{{{n}}}{{{d}}}", st.integers(-999, 999), st.integers(1, 999)),
    st.builds(
        lambda n, u: f"{n} {u}", st.integers(-999, 999), st.sampled_from(["km", "cm", "dollars", "%", "million"])
    ),
    st.builds(lambda n, e: rf"{n} \times 10^{{{e}}}", decimals, st.integers(-30, 30)),
)


@given(texts, texts)
def test_a_verdict_is_the_same_both_ways_round(one: str, other: str) -> None:
    assert compare(plain(one), plain(other)).reason == compare(plain(other), plain(one)).reason


@given(texts)
def test_a_number_equals_itself_however_it_is_wrapped(text: str) -> None:
    for wrapped in (text, f"${text}$", rf"\boxed{{{text}}}", f"#### {text}", f"Some words.\nThe answer is {text}."):
        assert read(text, wrapped).reason is Reason.EQUAL


@given(st.integers(-(10**15), 10**15))
def test_thousands_separators_change_nothing(number: int) -> None:
    for written in (
        f"{number:,}",
        f"{number:,}".replace(",", r"{,}"),
        f"{number:,}".replace(",", r",\!"),
        f"{number}.0",
    ):
        assert read(str(number), rf"\boxed{{{written}}}").reason is Reason.EQUAL


@given(st.integers(-(10**12), 10**12), st.integers(-(10**12), 10**12))
def test_two_integers_are_equal_only_if_they_are_the_same(one: int, other: int) -> None:
    assert read(str(one), f"#### {other:,}").reason is (Reason.EQUAL if one == other else Reason.DIFFERENT)
