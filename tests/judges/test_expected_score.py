"""Expected ratings from the tokens' probabilities, and every reason not to compute one."""

from __future__ import annotations

from math import log

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stillroom.common.records import TokenChoice
from stillroom.judges.reading import expected_rating


def token(text: str, **top: float) -> TokenChoice:
    """A token with probabilities of what stands at its place; `_4` is " 4"."""
    return choice(text, {name.removeprefix("p").replace("_", " "): p for name, p in top.items()})


def choice(text: str, top: dict[str, float]) -> TokenChoice:
    logs = tuple((name, log(p)) for name, p in sorted(top.items(), key=lambda item: -item[1]))
    return TokenChoice(text, log(top.get(text, 1.0)), logs)


def written(*parts: TokenChoice | str) -> tuple[TokenChoice, ...]:
    return tuple(choice(part, {part: 1.0}) if isinstance(part, str) else part for part in parts)


def test_the_mean_over_the_scale() -> None:
    choices = written("[[", "clear", ":", token(" 4", p_4=0.5, p_3=0.3, p_5=0.2), "]]")
    found = expected_rating(choices, "clear", 4, 1, 5)
    assert found.value == pytest.approx(0.5 * 4 + 0.3 * 3 + 0.2 * 5)
    assert found.mass == pytest.approx(1.0)


def test_with_and_without_a_space_is_one_label() -> None:
    choices = written("[[clear:", choice(" 4", {" 4": 0.4, "4": 0.2, " 2": 0.2, "2": 0.2}), "]]")
    assert expected_rating(choices, "clear", 4, 1, 5).value == pytest.approx(3.2)


def test_what_is_off_the_scale_is_left_out_and_the_rest_normalised() -> None:
    choices = written("[[clear: ", choice("4", {"4": 0.3, "2": 0.3, "N": 0.3, "9": 0.1}), "]]")
    found = expected_rating(choices, "clear", 4, 1, 5)
    assert found.value == pytest.approx(3.0)
    assert found.mass == pytest.approx(0.6)


def test_each_criterion_at_its_own_last_place() -> None:
    choices = written(
        "[[clear: ", choice("1", {"1": 1.0}), "]] no:\n[[", "plain", "_words", ": ", choice("2", {"2": 0.5, "4": 0.5}),
        "]]\n[[clear: ", choice("5", {"5": 0.75, "1": 0.25}), "]]",
    )  # fmt: skip
    assert expected_rating(choices, "clear", 5, 1, 5).value == pytest.approx(4.0)
    assert expected_rating(choices, "plain_words", 2, 1, 5).value == pytest.approx(3.0)


@pytest.mark.parametrize("nothing", [-9999.0, float("-inf"), float("nan")])
def test_a_label_that_a_schema_has_struck_out_was_not_seen(nothing: float) -> None:
    place = TokenChoice("1", log(0.6), (("1", log(0.6)), ("2", log(0.4)), ("10", nothing), ("3", nothing)))
    choices = written('{"clear": ', place, "}")
    assert expected_rating(choices, "clear", 1, 1, 5).value == pytest.approx(1.4)
    assert "beginning of 10" in expected_rating(choices, "clear", 1, 1, 10).why


def test_in_json() -> None:
    choices = written('{"', "clear", '": ', choice("3", {"3": 0.5, "4": 0.5}), "}")
    assert expected_rating(choices, "clear", 3, 1, 5).value == pytest.approx(3.5)


@pytest.mark.parametrize(
    ("choices", "rating", "high", "why"),
    [
        (None, 4, 5, "no log-probabilities"),
        ((), 4, 5, "no log-probabilities"),
        (written("4"), 4, 5, "not found"),
        (written("[[clear:", " 4]]"), 4, 5, "not a separate token"),
        (written("[[clear: 4]]"), 4, 5, "not a separate token"),
        (written("[[clear: ", "1", "0", "]]"), 10, 10, "not a separate token"),
        (written("[[clear: ", "3", "]]"), 4, 5, "not a separate token"),
        (written("[[clear: ", choice("4", {"4": 0.3, "x": 0.6}), "]]"), 4, 5, "0.30 in all"),
        (written("[[clear: ", choice("1", {"1": 0.6, "9": 0.4}), "]]"), 1, 10, "beginning of 10"),
        (written("[[clear: ", choice("9", {"9": 0.9, "1": 0.1}), "]]"), 9, 10, "beginning of 10"),
    ],
)
def test_no_mean_where_the_tokens_do_not_carry_the_scale(
    choices: tuple[TokenChoice, ...] | None, rating: int, high: int, why: str
) -> None:
    found = expected_rating(choices, "clear", rating, 1, high)
    assert found.value is None
    assert why in found.why


def test_ten_as_a_token_of_its_own_leaves_no_doubt() -> None:
    choices = written("[[clear: ", choice("10", {"10": 0.5, "1": 0.25, "9": 0.25}), "]]")
    assert expected_rating(choices, "clear", 10, 1, 10).value == pytest.approx(7.5)


def test_one_that_is_hardly_possible_leaves_no_doubt() -> None:
    choices = written("[[clear: ", choice("9", {"9": 0.499, "8": 0.499, "1": 0.002}), "]]")
    assert expected_rating(choices, "clear", 9, 1, 10).value == pytest.approx(8.5, abs=0.02)


@given(st.lists(st.floats(0.01, 1.0), min_size=5, max_size=5), st.integers(1, 5))
def test_the_mean_stays_on_the_scale_and_follows_the_weights(weights: list[float], drawn: int) -> None:
    total = sum(weights)
    top = {str(point): weight / total for point, weight in enumerate(weights, 1)}
    value = expected_rating(written("[[clear: ", choice(str(drawn), top), "]]"), "clear", drawn, 1, 5).value
    assert value == pytest.approx(sum(int(point) * p for point, p in top.items()))
    assert 1 <= (value or 0) <= 5
