from __future__ import annotations

from contextlib import suppress
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stillroom.traces.answers.lexer import Unreadable
from stillroom.traces.answers.parser import parse, read
from stillroom.traces.answers.tree import EMPTY, HALF, INFINITY, ONE, PI, Node, add, mul, negative, number


def sym(name: str) -> Node:
    return Node("sym", (name,))


def decimal(value: str, step: str) -> Node:
    return number(Fraction(value), Fraction(step))


def fn(name: str, *args: Node) -> Node:
    return Node("fn", (name, *args))


X, Y, ONE_HALF, TWO, THREE = sym("x"), sym("y"), number(Fraction(1, 2)), number(2), number(3)
SQRT2 = Node("pow", (TWO, HALF))


@pytest.mark.parametrize(
    ("text", "tree"),
    [
        ("5", number(5)),
        ("-5", number(-5)),
        ("+5", number(5)),
        ("--5", number(5)),
        ("007", number(7)),
        ("1,234", number(1234)),
        ("1.50", decimal("1.5", "0.01")),
        (".5", decimal("0.5", "0.1")),
        ("-0.25", decimal("-0.25", "0.01")),
        ("0.", number(0)),
        (r"\frac12", ONE_HALF),
        (r"\frac{1}{2}", ONE_HALF),
        ("1/2", ONE_HALF),
        (r"-\frac{1}{2}", number(Fraction(-1, 2))),
        (r"\frac{-1}{2}", number(Fraction(-1, 2))),
        ("{1 \\over 2}", ONE_HALF),
        ("2 1/2", number(Fraction(5, 2))),
        (r"2\frac12", number(Fraction(5, 2))),
        (r"-2\frac{1}{2}", number(Fraction(-5, 2))),
        (r"0.\overline{3}", number(Fraction(1, 3))),
        (r"0.1\overline{6}", number(Fraction(1, 6))),
        ("1.5e3", decimal("1500", "100")),
        ("2e-3", decimal("0.002", "0.001")),
        (r"1.5 \times 10^{3}", decimal("1500", "100")),
        ("2^3", number(8)),
        ("4^{1/2}", Node("pow", (number(4), HALF))),
        ("twelve", number(12)),
        (r"\text{five}", number(5)),
    ],
)
def test_numbers(text: str, tree: Node) -> None:
    assert read(text) == tree


@pytest.mark.parametrize(
    ("text", "tree"),
    [
        ("x", X),
        ("2x", mul(TWO, X)),
        ("xy", mul(X, Y)),
        ("x + y", add(X, Y)),
        ("x - y", add(X, negative(Y))),
        ("x*y", mul(X, Y)),
        (r"x \cdot y", mul(X, Y)),
        ("x/y", mul(X, Node("pow", (Y, number(-1))))),
        ("x^2", Node("pow", (X, TWO))),
        ("x**2", Node("pow", (X, TWO))),
        ("x^{2}", Node("pow", (X, TWO))),
        ("x^{-1}", Node("pow", (X, number(-1)))),
        ("x^23", Node("pow", (X, number(23)))),
        ("-x^2", negative(Node("pow", (X, TWO)))),
        ("2^x", Node("pow", (TWO, X))),
        ("x_1", sym("x_1")),
        ("x_{10}", sym("x_10")),
        (r"\sqrt{2}", SQRT2),
        (r"\sqrt2", SQRT2),
        ("sqrt(2)", SQRT2),
        ("√2", SQRT2),
        (r"\sqrt[3]{x}", Node("pow", (X, number(Fraction(1, 3))))),
        ("π", PI),
        (r"2\pi", mul(TWO, PI)),
        (r"\infty", INFINITY),
        (r"-\infty", negative(INFINITY)),
        (r"\sin x", fn("sin", X)),
        ("sin(x)", fn("sin", X)),
        (r"\sin^2 x", Node("pow", (fn("sin", X), TWO))),
        (r"\sin^{-1} x", fn("arcsin", X)),
        (r"\sin 2x", fn("sin", mul(TWO, X))),
        (r"\ln x", fn("ln", X)),
        ("5!", fn("factorial", number(5))),
        (r"\binom{5}{2}", fn("binomial", number(5), TWO)),
        (r"\frac{x}{2}", mul(X, Node("pow", (TWO, number(-1))))),
        ("|x|", fn("abs", X)),
        (r"\left|x\right|", fn("abs", X)),
        (r"\lfloor x \rfloor", fn("floor", X)),
        (r"\lceil x \rceil", fn("ceil", X)),
        ("f(x)", fn("f", X)),
        (r"\overline{AB}", sym("overline:AB")),
        (r"1 \pm x", add(ONE, Node("pm", (X,)))),
        (r"\pm x", Node("pm", (X,))),
        (r"\det x", fn("det", X)),
    ],
)
def test_formulas(text: str, tree: Node) -> None:
    assert read(text) == tree


@pytest.mark.parametrize(
    ("text", "tree"),
    [
        ("1, 2", Node("list", (ONE, TWO))),
        ("1 and 2", Node("list", (ONE, TWO))),
        ("1, 2, and 3", Node("list", (ONE, TWO, THREE))),
        ("1 or 2", Node("list", (ONE, TWO))),
        ("1; 2", Node("list", (ONE, TWO))),
        ("1, 2; 3, 4", Node("list", (Node("tuple", (ONE, TWO)), Node("tuple", (THREE, number(4)))))),
        ("(1, 2)", Node("tuple", (ONE, TWO))),
        ("(1)", ONE),
        ("[1, 2]", Node("bracket", (ONE, TWO))),
        ("(1, 2]", Node("interval", (ONE, TWO, True, False))),
        ("[1, 2)", Node("interval", (ONE, TWO, False, True))),
        ("]1, 2[", Node("interval", (ONE, TWO, True, True))),
        (r"\{1, 2\}", Node("set", (ONE, TWO))),
        (r"\{1\}", Node("set", (ONE,))),
        (r"\{\}", EMPTY),
        (r"\emptyset", EMPTY),
        ("∅", EMPTY),
        (
            "(1,2] ∪ {3}".replace("{", r"\{").replace("}", r"\}"),
            Node("union", (Node("interval", (ONE, TWO, True, False)), Node("set", (THREE,)))),
        ),
        (r"\{x | x < 3\}", Node("builder", (X, Node("rel", (("<",), X, THREE))))),
        (r"\{x : x < 3\}", Node("builder", (X, Node("rel", (("<",), X, THREE))))),
        (r"\{x \mid x < 3\}", Node("builder", (X, Node("rel", (("<",), X, THREE))))),
        (r"\{1,2\} \setminus \{1\}", Node("minus", (Node("set", (ONE, TWO)), Node("set", (ONE,))))),
        ("x = 3", Node("rel", (("=",), X, THREE))),
        ("1 < x <= 3", Node("rel", (("<", "<="), ONE, X, THREE))),
        (r"x \in [1, 2)", Node("rel", (("in",), X, Node("interval", (ONE, TWO, False, True))))),
        (r"x \approx 3", Node("rel", (("~",), X, THREE))),
        ("1:2", Node("ratio", (ONE, TWO))),
        ("1:2:3", Node("ratio", (ONE, TWO, THREE))),
        ("5 (mod 7)", Node("mod", (number(5), number(7)))),
        (r"5 \pmod 7", Node("mod", (number(5), number(7)))),
        (r"5 \pmod{7}", Node("mod", (number(5), number(7)))),
        ("11_2", Node("base", ("11", 2))),
        ("011_{2}", Node("base", ("011", 2))),
        (r"\begin{pmatrix}1&2\\3&x\end{pmatrix}", Node("matrix", ((ONE, TWO), (THREE, X)))),
        (r"\begin{bmatrix}1\\2\end{bmatrix}", Node("matrix", ((ONE,), (TWO,)))),
        (r"\begin{array}{cc}1&2\end{array}", Node("matrix", ((ONE, TWO),))),
        (r"1:2:\ldots", Node("ratio", (ONE, TWO, Node("dots", ())))),
        ("blue", Node("text", ("blue",))),
        (r"\text{the blue car}", Node("text", ("blue car",))),
    ],
)
def test_structures(text: str, tree: Node) -> None:
    assert read(text) == tree


@pytest.mark.parametrize(
    ("text", "tree"),
    [
        ("3 km", Node("unit", (THREE, "km"))),
        (r"3\text{ kilometers}", Node("unit", (THREE, "km"))),
        (r"3\,\mathrm{km}", Node("unit", (THREE, "km"))),
        ("3 apples", Node("unit", (THREE, "apple"))),
        (r"3\text{ cm}^2", Node("unit", (THREE, "cm^2"))),
        ("3 km/h", Node("unit", (THREE, "km/h"))),
        (r"\$3", Node("unit", (THREE, "$"))),
        ("3 dollars", Node("unit", (THREE, "$"))),
        ("€3", Node("unit", (THREE, "€"))),
        ("45°", Node("unit", (number(45), "deg"))),
        (r"45^\circ", Node("unit", (number(45), "deg"))),
        (r"45^{\circ}", Node("unit", (number(45), "deg"))),
        ("45 degrees", Node("unit", (number(45), "deg"))),
        ("5%", Node("percent", (number(5),))),
        (r"5\%", Node("percent", (number(5),))),
        ("5 percent", Node("percent", (number(5),))),
        ("3 million", number(3_000_000)),
        ("3 dozen", number(36)),
        ("2 hours 30 minutes", Node("compound", (Node("unit", (TWO, "h")), Node("unit", (number(30), "min"))))),
        ("20:34", Node("ratio", (number(20), number(34)))),
    ],
)
def test_units(text: str, tree: Node) -> None:
    assert read(text) == tree


@pytest.mark.parametrize(
    ("text", "value", "words", "names"),
    [
        ("2n + 1 for all n", add(mul(TWO, sym("n")), ONE), "for all n", {"n"}),
        ("x, where y = 2", X, "where y = 2", {"y"}),
    ],
)
def test_a_condition_in_words_is_kept(text: str, value: Node, words: str, names: set[str]) -> None:
    node = read(text)
    assert node.kind == "clause"
    assert node.args == (value, words, names)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (r"\frac{1}{2}x", r"\dfrac{1}{2} x"),
        (r"\left(1, 2\right)", "(1,2)"),
        ("x^{2} + 1", "x² + 1"),
        (r"\sqrt{3}", "√3"),
        (r"2\pi", "2π"),
        ("-3", "−3"),
        ("$x$", "x"),
        (r"\boxed{x}", "x"),
        (r"\[ x \]", "x"),
        ("1,234", "1{,}234"),
        ("1,234", r"1\,234"),
        (r"\text{3 km}", "3 km"),
        (r"\text{3} \text{ km}", "3 km"),
        (r"{x}", "x"),
        (r"((x))", "x"),
        ("x.", "x"),
        (r"\sin(x)", r"\sin x"),
        (r"\sin{x}", r"\sin x"),
        (r"\log_2 8", r"\log_{2}(8)"),
        (r"x \leqslant 3", "x<=3"),
        (r"\rm{x}", "x"),
        ("3*x", "3x"),
        (r"\frac ab", r"\frac{a}{b}"),
        ("0.5", ".5"),
    ],
)
def test_ways_of_writing_are_read_as_one(one: str, other: str) -> None:
    assert read(one) == read(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("1/2x", "1/(2x)"),
        ("-2^2", "(-2)^2"),
        ("1,2", "12"),
        ("1.2", "12"),
        ("12", "1 + 2"),
        ("f(x)", "f(y)"),
        ("(1, 2)", "[1, 2]"),
        ("(1, 2]", "[1, 2)"),
        ("x_1", "x_2"),
        ("x_1", "x"),
        ("3 km", "3 cm"),
        ("3 km", "3"),
        ("11_2", "11"),
        ("5%", "5"),
        (r"\sin^{-1} x", r"\frac{1}{\sin x}"),
        (r"\sqrt{2}x", r"\sqrt{2x}"),
        ("x < 3", "x <= 3"),
        ("1:2", "1/2:1"),
        (r"\foo", r"\baz"),
    ],
)
def test_what_means_something_else_is_read_as_something_else(one: str, other: str) -> None:
    assert read(one) != read(other)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("1+", "ends too early"),
        ("(1", "bracket"),
        ("1)", "expected"),
        ("{1", "ends before|expected"),
        (r"\frac{1}", "ends too early"),
        (r"\frac{1}{", "ends too early|empty"),
        (r"\sqrt{}", "empty"),
        ("x^", "ends too early"),
        ("2 10", "two numbers side by side"),
        ("2 3 4", "two numbers side by side"),
        ("2 5/3", "two numbers side by side"),
        (r"1\frac{9}{5}", "not a proper one"),
        ("(1, 2, 3]", "interval"),
        (r"\begin{pmatrix}1&2\\3\end{pmatrix}", "not of one length"),
        (r"\begin{pmatrix}1", "expected|ends"),
        (r"\begin{tikz}1\end{tikz}", "environment 'tikz'"),
        ("@", "'@'"),
        ("|x", "ends before"),
        ("= 5 =", "expected|early"),
        ("<", "value was expected"),
        ("2 * * 3", "value was expected"),
        ("5 /", "ends too early"),
        ("5 squared", "after a value"),
        ("5 thirds", "after a value"),
        (r"\{1", "ends before|expected"),
    ],
)
def test_what_is_not_wholly_understood_is_refused(text: str, why: str) -> None:
    with pytest.raises(Unreadable, match=why):
        read(text)


@pytest.mark.parametrize("depth", [500, 3_000])
@pytest.mark.parametrize(
    ("opened", "closed"),
    [("(", ")"), ("{", "}"), (r"\{", r"\}"), (r"\sqrt{", "}"), (r"\frac{1}{", "}"), ("|", "|"), ("x^{", "}")],
)
def test_depth_is_over_the_limit(opened: str, closed: str, depth: int) -> None:
    with pytest.raises(OverflowError):
        read(opened * depth + "1" + closed * depth)


@pytest.mark.parametrize(
    "text",
    ["-" * 2_000 + "1", "+-" * 900 + "1", "1" + "!" * 500, "x" + "'" * 500, r"\pm" * 400 + "1", "2^" * 800 + "2"],
)
def test_long_rows_of_signs_end(text: str) -> None:
    with suppress(Unreadable, OverflowError):
        assert isinstance(read(text), Node)


PIECES = st.sampled_from(
    [*"0123456789xyzn+-*/^_(){}[]|,;:=<>!'&%$.~ ", "12", "1.5", "1,234", r"\frac", r"\sqrt", r"\pi", r"\pm", r"\{",
    r"\}", r"\left", r"\right", r"\infty",
     r"\cup", r"\in", r"\text{a}", r"\text{ km}", r"\sin", r"\log", r"\binom", r"\begin{pmatrix}", r"\end{pmatrix}",
     r"\\", r"\pmod", r"\overline", r"\circ", r"\sum", r"\lim", r"\ldots", r"\forall", r"\mathbb{R}", "π", "√", "²",
     " for ", " and ", " or ", " km "]
)  # fmt: skip


@settings(derandomize=True, max_examples=1_000, deadline=None)
@given(st.lists(PIECES, max_size=24))
def test_any_row_of_pieces_is_read_or_refused(pieces: list[str]) -> None:
    with suppress(Unreadable, OverflowError):
        assert isinstance(read("".join(pieces)), Node)


@pytest.mark.parametrize(
    "text",
    [
        "x^2 + 1",
        r"\frac{1}{2}",
        "(1, 2]",
        r"\begin{pmatrix}1&2\\3&4\end{pmatrix}",
        r"\{x | x < 3\}",
        "3 km",
        "f(x) = 2x",
    ],
)
def test_no_beginning_of_an_answer_is_read_as_the_whole(text: str) -> None:
    whole = read(text)
    for end in range(1, len(text)):
        try:
            part = read(text[:end])
        except (Unreadable, OverflowError):
            continue
        assert part != whole


def test_parse_takes_what_is_plain_already() -> None:
    assert parse("x") == read("$x$")
