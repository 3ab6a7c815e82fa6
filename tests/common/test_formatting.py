from __future__ import annotations

import doctest

import pytest

from stillroom.common import formatting
from stillroom.common.formatting import interval, number, of_all, p_value, p_words, points, share, signed


def test_the_examples_hold() -> None:
    assert doctest.testmod(formatting).failed == 0


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (number(-1234.56, 1), "−1,234.6"),
        (number(-0.04, 1), "0.0"),
        (number(98.0, 1, trim=True), "98"),
        (number(3.5, 1, trim=True), "3.5"),
        (number(0.0, 1, trim=True), "0"),
        (signed(0.29, 3), "+0.290"),
        (signed(-0.0001, 3), "0.000"),
        (signed(0.0001, 3), "0.000"),
        (share(None), "–"),
        (share(1.0, 0), "100 %"),
        (points(-0.0213), "−2.1"),
        (points(0.02, trim=True), "+2"),
        (points(0.0), "0.0"),
        (interval(-0.05, 0.0), "[−5.0, 0.0]"),
        (interval(0.1, 0.25, 0), "[10, 25]"),
        (interval(-1.5, 2, 2, of=1), "[−1.50, 2.00]"),
        (p_value(0.00001), "<0.0001"),
        (p_value(0.0123), "0.0123"),
        (p_value(0.5), "0.50"),
        (p_words(0.0), "p < 0.0001"),
        (p_words(0.3), "p = 0.30"),
        (of_all([100, 100]), "100"),
        (of_all([1200, 98]), "98 to 1,200"),
    ],
)
def test_how_a_number_is_written(shown: str, expected: str) -> None:
    assert shown == expected
