from __future__ import annotations

import pytest

from stillroom.traces.answers.compare import compare
from stillroom.traces.answers.normalise import expanded, is_label, items, meaning
from stillroom.traces.answers.parser import read
from stillroom.traces.answers.values import Rules


@pytest.mark.parametrize(
    ("text", "value", "label"),
    [
        ("5", "5", None),
        ("x + 1", "x + 1", None),
        ("x = 2", "2", "x"),
        ("2 = x", "2", "x"),
        ("x = 1 + 1 = 2", "2", "x"),
        (r"x = \frac{1}{3} \approx 0.333", r"\frac{1}{3}", "x"),
        (r"\frac{1}{3} \approx 0.333", r"\frac{1}{3}", None),
        (r"x \approx 0.333", "0.333", "x"),
        ("f(x) = 2x", "2x", "f(x)"),
        ("y = 2x", "2x", "y"),
        ("x_1 = 3", "3", "x_1"),
        ("(x, y) = (1, 2)", "(1, 2)", "(x, y)"),
        (r"x \in \{1, 2\}", r"\{1, 2\}", "x"),
        (r"x \in (1, 2)", "(1, 2)", "x"),
        (r"\overline{AB} = 3", "3", r"\overline{AB}"),
        ("AB = 3", "3", "AB"),
        ("|AB| = 3", "3", "|AB|"),
        (r"\frac{AB}{CD} = 3", "3", r"\frac{AB}{CD}"),
        ("P(A) = 3", "3", "P(A)"),
        (r"\angle ABC = 60^\circ", r"60^\circ", r"\angle ABC"),
        (r"\text{Area} = 3", "3", r"\text{Area}"),
    ],
)
def test_a_label_is_taken_from_its_value(text: str, value: str, label: str | None) -> None:
    said = meaning(read(text))
    assert said.value == read(value)
    assert said.label == (None if label is None else read(label))


@pytest.mark.parametrize(
    "text",
    [
        "x + y = 1",
        "x^2 + y^2 = 1",
        "2x = 4",
        "x^2 = 4",
        "x < 3",
        "1 < x < 2",
        r"x \ne 3",
        "2x + 1 = y + 2",
        r"\sin x = 1",
        "3 = 3",
    ],
)
def test_a_relation_between_expressions_stays_one(text: str) -> None:
    said = meaning(read(text))
    assert said.value == read(text)
    assert said.label is None


@pytest.mark.parametrize(
    ("text", "value", "modulus"),
    [
        (r"5 \pmod 7", "5", "7"),
        ("5 (mod 7)", "5", "7"),
        (r"x \equiv 5 \pmod{7}", "5", "7"),
        (r"n \equiv -2 \pmod{m}", "-2", "m"),
    ],
)
def test_a_congruence_keeps_its_modulus(text: str, value: str, modulus: str) -> None:
    said = meaning(read(text))
    assert said.modulus == read(modulus)
    assert said.value == read(value)


@pytest.mark.parametrize(
    ("text", "parameters", "restricts"),
    [
        ("2n + 1 for all n", {"n"}, False),
        (r"2t \text{ for some integer } t", {"t"}, False),
        (r"k\pi, k \in \mathbb{Z}", {"k"}, False),
        ("x where x < 3", {"x"}, True),
        (r"x \text{ for } x \ne 0", {"x"}, True),
        ("x if x > 0", {"x"}, True),
    ],
)
def test_words_declare_parameters_and_may_restrict(text: str, parameters: set[str], restricts: bool) -> None:
    said = meaning(read(text))
    assert parameters <= said.parameters
    assert bool(said.condition) is restricts


@pytest.mark.parametrize(
    "text",
    [
        "x",
        "f(x)",
        "AB",
        "|AB|",
        r"\overline{AB}",
        "x_1",
        "(x, y)",
        r"\frac{AB}{CD}",
        r"\theta",
        r"\text{Area}",
        "P(x)",
    ],
)
def test_what_only_names(text: str) -> None:
    assert is_label(read(text))


@pytest.mark.parametrize("text", ["5", "x + 1", "2x", "x^2", "|x + 1|", r"\sin x", "(1, 2)", "f(x + 1)", "1/2", "ab"])
def test_what_is_more_than_a_name(text: str) -> None:
    assert not is_label(read(text))


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("5", ["5"]),
        (r"\pm 1", ["1", "-1"]),
        (r"1 \pm \sqrt{2}", [r"1 + \sqrt{2}", r"1 - \sqrt{2}"]),
        (r"\frac{1 \pm \sqrt{5}}{2}", [r"\frac{1 + \sqrt{5}}{2}", r"\frac{1 - \sqrt{5}}{2}"]),
    ],
)
def test_a_plus_or_minus_is_two_values(text: str, values: list[str]) -> None:
    found = expanded(read(text))
    assert len(found) == len(values)
    for node, value in zip(found, values, strict=True):
        assert compare(node, read(value), Rules()).same is True


def test_a_minus_or_plus_goes_with_the_plus_or_minus() -> None:
    found = expanded(read(r"1 \pm x \mp y"))
    assert [
        compare(node, read(value), Rules()).same for node, value in zip(found, ["1+x-y", "1-x+y"], strict=True)
    ] == [True, True]


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("5", 1),
        ("1, 2, 3", 3),
        (r"\{1, 2\}", 2),
        (r"\pm 1, 2", 3),
        (r"x = \pm 1", 2),
        (r"x = 1 \text{ or } x = 2", 2),
        (r"\pm 1 \pm i", 2),
        ("(1, 2)", 1),
        ("(1, 2), (3, 4)", 2),
    ],
)
def test_how_many_values_an_answer_has(text: str, count: int) -> None:
    assert len(items(read(text))) == count


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("x = 2", "2"),
        ("2 = x", "x = 2"),
        ("x = 1 + 1 = 2", "2"),
        ("f(x) = 2x", "2x"),
        ("f(x) = 2x", "f(t) = 2t"),
        ("(x, y) = (1, 2)", "(1, 2)"),
        ("x = 1, y = 2", "y = 2, x = 1"),
        ("x = 1, y = 2", "(x, y) = (1, 2)"),
        (r"x = \pm 1", "x = 1 \\text{ or } x = -1"),
        (r"x \in \{1, 2\}", "x = 1, 2"),
        (r"2t + 1 \text{ for some integer } t", r"2s + 1 \text{ for some integer } s"),
        (r"x \equiv 5 \pmod 7", r"12 \pmod 7"),
        ("x + y = 1", "2x + 2y = 2"),
        ("x + y = 1", "y = 1 - x"),
        ("x < y", "y > x"),
        ("x < y", "x - y < 0"),
        (r"x > 1 \text{ and } x < 2", "1 < x < 2"),
    ],
)
def test_the_same_is_meant(one: str, other: str) -> None:
    for first, second in ((one, other), (other, one)):
        assert compare(read(first), read(second), Rules()).same is True


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("x = 2", "x = 3"),
        ("f(x) = 2x", "f(x) = 3x"),
        ("x = 1, y = 2", "x = 2, y = 1"),
        ("x = 1, y = 2", "(2, 1)"),
        ("x = 1, y = 2", "2, 1"),
        ("y = 2x", "x = 2y"),
        ("x = 3", "y = 3"),
        ("x < 3", "y < 3"),
        (r"x \ne 3", r"y \ne 3"),
        ("2x = 4", "4"),
        ("x + y = 1", "x + y = 2"),
        ("x^2 = 4", "x = 4"),
        (r"x \equiv 5 \pmod 7", r"x \equiv 5 \pmod 8"),
        (r"x \equiv 5 \pmod 7", "5"),
        (r"x \in \{1, 2\}", "x = 1"),
        (r"x \notin \{1\}", "1"),
        (r"2n \text{ for odd } n", r"2n \text{ for even } n"),
        ("x where x < 3", "x"),
        ("x < 3", "x <= 3"),
        ("x < 3", "x > 3"),
        (r"p \land q", r"p \lor q"),
        (r"p \implies q", r"q \implies p"),
        (r"A \subset B", r"B \subset A"),
        (r"\{0, 1\}", "(0, 1)"),
        (r"\{0, 1\}", "[0, 1]"),
        ("0, 1", "[0, 1]"),
        (r"\{x \in \mathbb{Z} | x < 3\}", "x < 3"),
        (r"x < 3, x \in \mathbb{Z}", "x < 3"),
        (r"\{x^2 | x < 3\}", "x < 3"),
        (r"\vec a \times \vec b", r"\vec b \times \vec a"),
        ("twenty-five", "15"),
        ("5 per cent", "5"),
        (r"\log 100", r"\ln 100"),
        (r"\frac{dy}{dx}", r"\frac{y}{x}"),
    ],
)
def test_something_else_is_meant(one: str, other: str) -> None:
    for first, second in ((one, other), (other, one)):
        assert compare(read(first), read(second), Rules()).same is not True


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (r"\log 100", "2"),
        (r"\mathbb{R}", r"(-\infty, \infty)"),
        (r"\begin{vmatrix}1&2\\3&4\end{vmatrix}", "-2"),
        ("|x - 1| < 2", "-1 < x < 3"),
        ("x^2 < 4", "-2 < x < 2"),
        ("1 km", "1000 m"),
        ("50 cents", r"\$0.50"),
        (r"3\text{ cm}^2", r"3\text{ square centimeters}"),
        (r"\emptyset", "no solution"),
        ("25", "twenty-five"),
        (r"\mathbb{R} - \{0\}", r"x \ne 0"),
    ],
)
def test_what_may_well_be_the_same_is_not_rejected(one: str, other: str) -> None:
    for first, second in ((one, other), (other, one)):
        assert compare(read(first), read(second), Rules()).same is not False
