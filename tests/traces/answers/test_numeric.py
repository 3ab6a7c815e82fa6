from __future__ import annotations

import math

import pytest

from stillroom.traces.answers.fingerprint import Undefined
from stillroom.traces.answers.numeric import DIGITS, context, evaluate
from stillroom.traces.answers.parser import read


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1/3", 1 / 3),
        (r"\sqrt2", math.sqrt(2)),
        (r"\pi", math.pi),
        ("e^2", math.exp(2)),
        (r"\exp(2)", math.exp(2)),
        (r"\ln 10", math.log(10)),
        (r"\log_2 10", math.log2(10)),
        (r"\lg 10", 1.0),
        (r"\sin 1", math.sin(1)),
        (r"\cot 1", 1 / math.tan(1)),
        (r"\sec 1", 1 / math.cos(1)),
        (r"\arcsin \frac12", math.asin(0.5)),
        (r"\arctan 2", math.atan(2)),
        (r"\cosh 1", math.cosh(1)),
        ("5!", 120.0),
        (r"\binom{7}{3}", 35.0),
        ("|-3|", 3.0),
        (r"\lfloor \pi \rfloor", 3.0),
        (r"\lceil \pi \rceil", 4.0),
        (r"\max(1, 2)", 2.0),
        (r"\sum_{k=1}^{10} k", 55.0),
        (r"\sum_{k=1}^{10} k^2", 385.0),
        (r"\prod_{k=1}^{5} k", 120.0),
        ("(-8)^{1/3}", -2.0),
        (r"\sqrt[3]{-8}", -2.0),
        ("(-8)^{2/3}", 4.0),
        ("2^{-2}", 0.25),
    ],
)
def test_values(text: str, expected: float) -> None:
    assert float(evaluate(read(text), {}).value) == pytest.approx(expected, rel=1e-14)


@pytest.mark.parametrize(
    ("text", "values", "expected"),
    [
        ("2x", {"x": 1.5}, 3.0),
        ("x^y", {"x": 2, "y": 3}, 8.0),
        ("x_1 + x_2", {"x_1": 1, "x_2": 2}, 3.0),
        (r"\sum_{k=1}^{3} kx", {"x": 2}, 12.0),
        ("k", {"k": 7}, 7.0),
    ],
)
def test_values_of_variables(text: str, values: dict[str, float], expected: float) -> None:
    assert float(evaluate(read(text), values).value) == expected


def test_the_variable_of_a_sum_is_bound() -> None:
    assert float(evaluate(read(r"\sum_{k=1}^{3} k + k"), {"k": 10}).value) == 16.0
    assert float(evaluate(read(r"k + \sum_{k=1}^{3} k"), {"k": 10}).value) == 16.0


def test_values_have_many_digits() -> None:
    mp = context()
    value = evaluate(read(r"\sqrt2"), {}).value
    assert abs(value * value - 2) < mp.mpf(10) ** (2 - DIGITS)


@pytest.mark.parametrize(
    "text",
    [
        "x",
        r"\infty",
        "1, 2",
        "x = 1",
        r"\frac10",
        "0^{1-1}",
        "0^{-1}",
        r"\ln 0",
        r"\log_1 2",
        "f(1)",
        "...",
        "3 km",
        r"\int_0^1 x",
        r"\tan\infty",
        r"\lfloor i \rfloor",
    ],
)
def test_what_has_no_value(text: str) -> None:
    with pytest.raises(Undefined):
        evaluate(read(text), {})


@pytest.mark.parametrize(
    "text",
    [
        "9^{9^9}",
        "e^{999999}",
        "(10^{9999})^{9999}",
        "9999!",
        r"\binom{9999}{2}",
        r"\Gamma(9999)",
        r"\sum_{k=1}^{9999} k",
        r"\sum_{k=1}^{\infty} \frac{1}{k^2}",
        r"\sum_{k=1}^{1.5} k",
        r"\sum_{j=1}^{2000} \sum_{k=1}^{2000} jk",
        r"\sin(10^{9})",
        "2^{999999}",
    ],
)
def test_what_would_take_long_has_no_value(text: str) -> None:
    with pytest.raises(Undefined):
        evaluate(read(text), {})


@pytest.mark.parametrize(
    ("text", "values", "real"),
    [
        (r"\sqrt{2}", {}, True),
        (r"\sqrt{-2}", {}, False),
        (r"\sqrt{x}", {"x": 2}, True),
        (r"\sqrt{x}", {"x": -2}, False),
        (r"\sqrt{x}^2", {"x": -2}, False),
        (r"\ln x", {"x": -2}, False),
        (r"\arcsin x", {"x": 2}, False),
        ("2i", {}, True),
        ("(1+i)^2", {}, True),
        (r"\sqrt[3]{x}", {"x": -8}, True),
        ("x^2", {"x": -2}, True),
    ],
)
def test_whether_the_reals_were_left(text: str, values: dict[str, float], real: bool) -> None:
    assert evaluate(read(text), values).real_domain is real
