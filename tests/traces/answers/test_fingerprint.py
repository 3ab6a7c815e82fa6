from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stillroom.traces.answers.fingerprint import PRIME, ROOTS, fingerprint
from stillroom.traces.answers.parser import read
from stillroom.traces.answers.rational import MAX_BITS, rational

ROOTED = 113  # primes up to this one have a square root in the field


def small_primes(limit: int) -> list[int]:
    return [n for n in range(2, limit + 1) if all(n % d for d in range(2, n))]


def has_root(value: int) -> bool:
    """Euler's criterion."""
    return pow(value % PRIME, (PRIME - 1) // 2, PRIME) == 1


# -- the field -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("base", [2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67, 71])
def test_the_prime_passes_the_test_of_miller_and_rabin(base: int) -> None:
    odd = PRIME - 1
    twos = (odd & -odd).bit_length() - 1
    power = pow(base, odd >> twos, PRIME)
    row = [pow(power, 1 << k, PRIME) for k in range(twos)]
    assert power == 1 or PRIME - 1 in row


def test_the_prime_is_as_large_as_it_claims() -> None:
    assert PRIME.bit_length() == 190


@pytest.mark.parametrize("value", [-1, *small_primes(ROOTED)])
def test_the_field_has_the_square_roots_that_it_claims(value: int) -> None:
    assert has_root(value)


@pytest.mark.parametrize("value", [-1, *small_primes(ROOTED)])
def test_a_square_root_squared_is_the_number(value: int) -> None:
    root, whole = fingerprint(read(rf"\sqrt{{{value}}}")), fingerprint(read(str(value)))
    assert root is not None
    assert whole is not None
    assert root.sure
    assert root.residue**2 % PRIME == whole.residue == value % PRIME


def test_i_squared_is_minus_one() -> None:
    i = fingerprint(read("i"))
    assert i is not None
    assert i.residue**2 % PRIME == PRIME - 1


def test_variables_have_the_roots_that_are_claimed() -> None:
    for degree in (2, 3, 4, 5, 6, 10, 12, 15):
        assert ROOTS % degree == 0
        root = fingerprint(read(rf"\sqrt[{degree}]{{x}}"))
        x = fingerprint(read("x"))
        assert root is not None
        assert x is not None
        assert pow(root.residue, degree, PRIME) == x.residue


# -- equal images --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("1/2", "2/4"),
        ("1/3+1/6", "1/2"),
        (r"\frac{\sqrt{3}}{3}", r"\frac{1}{\sqrt{3}}"),
        (r"\sqrt{12}", r"2\sqrt{3}"),
        (r"\sqrt{2}\sqrt{3}", r"\sqrt{6}"),
        (r"\sqrt{\frac{1}{2}}", r"\frac{\sqrt2}{2}"),
        (r"\sqrt{0.25}", r"\frac12"),
        (r"(1+\sqrt2)^2", r"3+2\sqrt2"),
        (r"\frac{1}{1+\sqrt2}", r"\sqrt2-1"),
        (r"\sqrt{-4}", "2i"),
        ("(1+i)^2", "2i"),
        ("i^3", "-i"),
        (r"8^{2/3}", "4"),
        (r"\sqrt[3]{16}", r"2\sqrt[3]{2}"),
        ("(x+1)^2", "x^2+2x+1"),
        (r"\frac{x^2-1}{x-1}", "x+1"),
        (r"\frac{1}{x}+\frac{1}{y}", r"\frac{x+y}{xy}"),
        (r"x^{1/2}x^{1/2}", "x"),
        (r"\pi+\pi", r"2\pi"),
        (r"e^2 e^3", "e^5"),
        ("e^{x+1}", "e e^x"),
        ("2^{x+1}", r"2\cdot 2^x"),
        ("4^x", "2^{2x}"),
        (r"\ln 8", r"3\ln 2"),
        (r"\ln\frac{1}{2}", r"-\ln 2"),
        (r"\log_2 8", "3"),
        (r"\log_4 8", r"\frac32"),
        (r"\sin^2 x+\cos^2 x", "1"),
        (r"\tan x", r"\frac{\sin x}{\cos x}"),
        (r"\sin(-x)", r"-\sin x"),
        (r"\cos(-x)", r"\cos x"),
        (r"\sin(x+y)", r"\sin(y+x)"),
        (r"\sec x \cos x", "1"),
        ("f(2x)", "f(x+x)"),
        (r"5!", "120"),
        (r"\binom{5}{2}", "10"),
        (r"\frac{n!}{n!}", "1"),
        (r"\exp(2)", "e^2"),
        (r"|{-3}|", "3"),
        (r"\lfloor 2.5 \rfloor", "2"),
    ],
)
def test_the_same_has_the_same_image(one: str, other: str) -> None:
    first, second = fingerprint(read(one)), fingerprint(read(other))
    assert first is not None
    assert second is not None
    assert first.residue == second.residue


# -- different images -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("1/2", "1/3"),
        ("2^{100}", "2^{100}+1"),
        (r"\sqrt2", r"\sqrt3"),
        (r"\sqrt2", r"-\sqrt2"),
        ("i", "-i"),
        ("i", "1"),
        (r"\pi", r"\frac{22}{7}"),
        ("e", r"\pi"),
        ("x", "y"),
        ("x", "-x"),
        ("x^2", "x^3"),
        ("x_1", "x_2"),
        ("(x+1)^2", "x^2+1"),
        (r"\frac{1}{x}", "x"),
        (r"\sqrt{x}", "x"),
        (r"\frac{1}{2004!}", r"\frac{1}{2006!}"),
    ],
)
def test_a_difference_is_sure_for_numbers_roots_and_variables(one: str, other: str) -> None:
    first, second = fingerprint(read(one)), fingerprint(read(other))
    assert first is not None
    assert second is not None
    assert first.residue != second.residue
    assert first.sure
    assert second.sure


@pytest.mark.parametrize(
    "text",
    [
        r"\sin x",
        "e^x",
        "2^x",
        r"\ln x",
        r"\sqrt{x+1}",
        "n!",
        "f(x)",
        r"\sqrt[3]{2}",
        r"\arctan x",
        r"\sqrt{127}",
        "|x|",
    ],
)
def test_a_part_that_is_a_fresh_residue_is_not_sure(text: str) -> None:
    found = fingerprint(read(text))
    assert found is not None
    assert not found.sure


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (r"\sqrt{x^2}", "x"),
        (r"\sqrt{x^2}", "-x"),
        (r"\ln(x^2)", r"2\ln x"),
        (r"\arcsin(\sin x)", "x"),
        (r"\sqrt{(x-1)^2}", "x-1"),
        (r"(x^2)^{1/2}", "x"),
        (r"|x|", "x"),
        (r"\sqrt[4]{x^4}", "x"),
    ],
)
def test_what_is_the_same_only_for_some_values_has_no_equal_image(one: str, other: str) -> None:
    first, second = fingerprint(read(one)), fingerprint(read(other))
    assert first is None or second is None or first.residue != second.residue


@pytest.mark.parametrize(
    "text",
    [r"\infty", r"\frac10", r"\frac{1}{x-x}", "1, 2", "x = 1", r"1 \pm 2", "3 km", r"0^{-1}", r"\frac{1}{\sin 0}"],
)
def test_what_has_no_value_has_no_image(text: str) -> None:
    assert fingerprint(read(text)) is None


# -- worked out as a fraction ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("5", Fraction(5)),
        ("0.125", Fraction(1, 8)),
        ("1/2 + 1/3", Fraction(5, 6)),
        (r"2 \cdot 3^2", Fraction(18)),
        ("2^{-3}", Fraction(1, 8)),
        ("0^0", None),
        ("0^{1-1}", None),
        ("4^{1/2}", Fraction(2)),
        ("8^{2/3}", Fraction(4)),
        (r"\sqrt{\frac{9}{4}}", Fraction(3, 2)),
        (r"\sqrt2", None),
        ("(-8)^{1/3}", None),
        ("x", None),
        (r"\pi", None),
        ("5!", Fraction(120)),
        ("0!", Fraction(1)),
        (r"\binom{10}{3}", Fraction(120)),
        (r"\binom{3}{5}", Fraction(0)),
        ("(-1)!", None),
        (r"\gcd(12, 18)", Fraction(6)),
        (r"\max(1, 2)", Fraction(2)),
        ("|-3|", Fraction(3)),
        (r"\lfloor -2.5 \rfloor", Fraction(-3)),
        (r"\lceil 2.5 \rceil", Fraction(3)),
        (r"1^{9999}", Fraction(1)),
        ("(-1)^{9999}", Fraction(-1)),
    ],
)
def test_formulas_of_numbers_are_worked_out(text: str, value: Fraction | None) -> None:
    assert rational(read(text)) == value


@pytest.mark.parametrize(
    "text",
    [
        "10^{99999}",
        "9999!",
        r"\binom{99999}{50000}",
        "(2^{9999})^{9999}",
        "2^{9999} 3^{9999} 5^{9999} 7^{9999} 11^{9999} 13^{9999}",
    ],
)
def test_what_is_too_large_is_not_worked_out(text: str) -> None:
    with pytest.raises(OverflowError, match=r"large|bits|limit"):
        rational(read(text))


def test_a_number_just_within_the_limit_is_worked_out() -> None:
    assert rational(read("2^{9999}")) == 2**9999
    assert MAX_BITS > 9999


@settings(derandomize=True, max_examples=100, deadline=None)
@given(st.fractions(), st.fractions())
def test_the_image_of_a_sum_is_the_sum_of_the_images(one: Fraction, other: Fraction) -> None:
    parts = [
        fingerprint(read(f"{value.numerator}/{value.denominator}"))
        for value in (one, other, one + other, one * other)
    ]
    images = [part.residue for part in parts if part is not None]
    assert (images[0] + images[1]) % PRIME == images[2]
    assert images[0] * images[1] % PRIME == images[3]
