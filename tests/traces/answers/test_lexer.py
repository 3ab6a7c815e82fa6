from __future__ import annotations

import re
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stillroom.traces.answers.lexer import MAX_TOKENS, Token, Unreadable, plain, tokens, unreadable


def cut(text: str) -> list[str]:
    """The values of the tokens of a text as it stands in an answer."""
    return [token.value for token in tokens(plain(text))]


def kinds(text: str) -> list[str]:
    return [token.kind for token in tokens(plain(text))]


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("1,234", ["1234"]),
        ("1,234,567", ["1234567"]),
        ("1{,}234", ["1234"]),
        (r"1\,234", ["1234"]),
        (r"1\!234", ["1234"]),
        (r"1,\!234", ["1234"]),
        ("12 345", ["12345"]),
        ("1,234.5", ["1234.5"]),
        (".5", [".5"]),
        ("3.14", ["3.14"]),
        ("12,34", ["12", ",", "34"]),
        ("1, 234", ["1", ",", "234"]),
        ("0,123", ["0", ",", "123"]),
        ("1,2345", ["1", ",", "2345"]),
        ("1234,567", ["1234", ",", "567"]),
        ("(1,234)", ["(", "1", ",", "234", ")"]),
        ("(1,000)", ["(", "1000", ")"]),
        ("(1,234,567)", ["(", "1234567", ")"]),
        ("２３", ["23"]),
        ("0.5.", ["0.5", "."]),
        ("1 2", ["1", "2"]),
    ],
)
def test_numbers(text: str, values: list[str]) -> None:
    assert cut(text) == values


@pytest.mark.parametrize(
    ("text", "values"),
    [
        (r"\dfrac12 x^{2}", ["frac", "12", "x", "^", "{", "2", "}"]),
        (r"\tfrac{1}{2}", ["frac", "{", "1", "}", "{", "2", "}"]),
        (r"\left(1\right)", ["(", "1", ")"]),
        (r"\bigl(1\bigr)", ["(", "1", ")"]),
        (r"\left.1\right|", ["1", "|"]),
        (r"\displaystyle 1", ["1"]),
        (r"2\cdot3", ["2", "*", "3"]),
        (r"2\times3", ["2", "*", "3"]),
        (r"x\leq3", ["x", "<=", "3"]),
        (r"x\le3", ["x", "<=", "3"]),
        (r"x =< 3", ["x", "<=", "3"]),
        (r"x \ne 3", ["x", "!=", "3"]),
        ("2**3", ["2", "^", "3"]),
        (r"\{1\}", ["\\{", "1", "\\}"]),
        (r"\lbrace 1\rbrace", ["\\{", "1", "\\}"]),
        (r"a\cup b", ["a", "cup", "b"]),
        (r"\infty", ["infinity"]),
        (r"1\pm2", ["1", "pm", "2"]),
        (r"\ldots", ["dots"]),
        ("1...", ["1", "dots"]),
        (r"45^\circ", ["45", "^", "circ"]),
        (r"\quad 1", ["1"]),
        (r"a\;b", ["a", "b"]),
        (r"\boxed{5}", ["{", "5", "}"]),
        (r"\mathbb{R}", ["mathbb:R"]),
        (r"\phantom{x}1", ["1"]),
    ],
)
def test_latex(text: str, values: list[str]) -> None:
    assert cut(text) == values


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("−5", ["-", "5"]),
        ("–5", ["-", "5"]),
        ("2×3", ["2", "*", "3"]),
        ("2·3", ["2", "*", "3"]),
        ("6÷3", ["6", "/", "3"]),
        ("π", ["pi"]),
        ("√2", ["sqrt", "2"]),
        ("x²", ["x", "^", "{", "2", "}"]),
        ("x⁻¹", ["x", "^", "{", "-", "1", "}"]),
        ("x₁", ["x", "_", "{", "1", "}"]),
        ("½", ["frac", "{", "1", "}", "{", "2", "}"]),
        ("x≤3", ["x", "<=", "3"]),
        ("x≠3", ["x", "!=", "3"]),
        ("A∪B", ["A", "cup", "B"]),
        ("∞", ["infinity"]),
        ("45°", ["45", "deg"]),
        ("±1", ["pm", "1"]),
        ("θ", ["theta"]),
        ("ℝ", ["mathbb:R"]),
        ("1\u00a0000", ["1000"]),
        ("4\u200b2", ["42"]),
        ("5％", ["5", "%"]),
        ("（1，2）", ["(", "1", ",", "2", ")"]),
    ],
)
def test_unicode_is_one_alphabet_with_latex(text: str, values: list[str]) -> None:
    assert cut(text) == values


@pytest.mark.parametrize(
    ("text", "values", "expected"),
    [
        ("x", ["x"], ["symbol"]),
        ("xy", ["x", "y"], ["symbol", "symbol"]),
        ("pi", ["pi"], ["symbol"]),
        (r"\alpha", ["alpha"], ["symbol"]),
        ("sqrt(2)", ["sqrt", "(", "2", ")"], ["function", "op", "number", "op"]),
        (r"\sin x", ["sin", "x"], ["function", "symbol"]),
        ("asin(x)", ["arcsin", "(", "x", ")"], ["function", "op", "symbol", "op"]),
        ("sinx", ["sin", "x"], ["function", "symbol"]),
        ("3 km", ["3", "km"], ["number", "text"]),
        ("3 apples", ["3", "apples"], ["number", "text"]),
        (r"3\text{ km}", ["3", "km"], ["number", "text"]),
        (r"5\text{g}", ["5", "g"], ["number", "text"]),
        ("5g", ["5", "g"], ["number", "symbol"]),
        ("15th", ["15"], ["number"]),
        ("1 and 2", ["1", "and", "2"], ["number", "op", "number"]),
        (r"1 \text{ or } 2", ["1", "or", "2"], ["number", "op", "number"]),
        (r"\text{3 apples}", ["3", "apples"], ["number", "text"]),
        ("Evelyn", ["Evelyn"], ["text"]),
        (r"\$5", ["¤", "5"], ["op", "number"]),
        (r"\someunknown", ["someunknown"], ["command"]),
        (r"\text{C}", ["C"], ["symbol"]),
    ],
)
def test_names_units_and_words(text: str, values: list[str], expected: list[str]) -> None:
    assert cut(text) == values
    assert kinds(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("$x$", "x"),
        ("$$x$$", "x"),
        (r"\(x\)", "x"),
        (r"\[x\]", "x"),
        ("$5", "¤5"),
        (r"\$5", "¤5"),
        ("5$", "5¤"),
        ("$5$", "5"),
        ("1{,}234", "1,234"),
        (r"\\frac{1}{2}", r"\frac{1}{2}"),
        ("\frac{1}{2}", r"\frac{1}{2}"),
        ("x<sup>2</sup>", "x^{2}"),
        ("x<sub>1</sub>", "x_{1}"),
    ],
)
def test_plain_text(text: str, expected: str) -> None:
    assert plain(text).strip() == expected


@pytest.mark.parametrize("text", ["π", "½ x²", "x₁ ≤ √2", "１２", "1{,}234", r"\$5", "“a”", "⟨1, 2⟩"])
def test_plain_text_stays_as_it_is(text: str) -> None:
    once = plain(text)
    assert plain(once) == once


def test_a_space_is_remembered_and_means_nothing_else() -> None:
    assert tokens("2 x") == [Token("number", "2"), Token("symbol", "x", True)]


@pytest.mark.parametrize("text", ["@", "5 @ 6", "a?b", "#5", "5\\text{a"])
def test_a_character_that_is_not_known_is_an_error(text: str) -> None:
    with pytest.raises(Unreadable):
        tokens(plain(text))


def test_the_error_names_the_character() -> None:
    with pytest.raises(Unreadable, match="@"):
        tokens("5 @ 6")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "no letter or digit"),
        ("+-", "no letter or digit"),
        ("\x00", "U\\+0000"),
        ("4\u202e2", "U\\+202E"),
        ("4\ud8002", "U\\+D800"),
        ("4\ue0002", "U\\+E000"),
        ("4\u200f2", "U\\+200F"),
    ],
)
def test_what_is_unfit_to_be_read(text: str, why: str) -> None:
    said = unreadable(text)
    assert said is not None
    assert re.search(why, said)


@pytest.mark.parametrize("text", ["5", "x", "∞", r"\emptyset", "∅", "1\n2", "4\u200b2", "½"])
def test_what_is_fit_to_be_read(text: str) -> None:
    assert unreadable(text) is None


def test_too_many_tokens_are_over_the_limit() -> None:
    assert len(tokens("+" * MAX_TOKENS)) == MAX_TOKENS
    with pytest.raises(OverflowError, match=f"{MAX_TOKENS:,}"):
        tokens("+" * (MAX_TOKENS + 1))


@settings(derandomize=True, max_examples=200, deadline=None)
@given(st.text(max_size=60))
def test_any_text_gives_tokens_or_is_unreadable(text: str) -> None:
    with suppress(Unreadable):
        found = tokens(plain(text))
        assert all(token.value and not token.value.isspace() for token in found)
