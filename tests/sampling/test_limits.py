"""What a run may cost."""

from __future__ import annotations

import pytest

from stillroom.sampling.counts import Counts
from stillroom.sampling.limits import Limits, Meter, Prices

PRICES = Prices(prompt=1.0, completion=10.0)


def used() -> Counts:
    """1,000 prompt tokens, 500 completion tokens and 500 that were cancelled, in two minutes: 0.011 dollars."""
    counts = Counts(prompt_tokens=1_000, completion_tokens=500, cancelled_tokens=500)
    counts.started -= 120
    return counts


@pytest.mark.parametrize(
    ("limits", "said"),
    [
        (Limits(), ""),
        (Limits(tokens=2_000), "2,000 tokens used, limits.tokens is 2,000"),
        (Limits(tokens=2_001), ""),
        (Limits(usd=0.011), "$0.011 spent, limits.usd is $0.011"),
        (Limits(usd=0.012), ""),
        (Limits(minutes=2), "2.0 minutes used, limits.minutes is 2"),
        (Limits(minutes=60), ""),
    ],
)
def test_a_limit_that_is_reached_says_so(limits: Limits, said: str) -> None:
    meter = Meter(limits)
    meter.watch(used(), PRICES)
    assert meter.reached() == said


def test_without_prices_nothing_is_spent() -> None:
    meter = Meter(Limits(usd=0.001))
    meter.watch(used(), None)
    assert meter.reached() == ""


def test_a_limit_holds_for_all_that_one_call_asks() -> None:
    meter = Meter(Limits(usd=0.0199, tokens=10_000))
    meter.watch(used(), PRICES)
    assert meter.reached() == ""
    meter.watch(used(), Prices(prompt=0, completion=9.0))
    assert meter.usd() == pytest.approx(0.011 + 0.009)
    assert meter.reached() == "$0.020 spent, limits.usd is $0.020"
    third = meter.watch(Counts(), None)
    third.completion_tokens = 6_000
    assert meter.reached() == "10,000 tokens used, limits.tokens is 10,000"
