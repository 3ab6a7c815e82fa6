"""What must hold of any pair: verdicts are the same both ways round, an answer equals itself however it is formatted or
rewritten, and a changed digit or sign makes it another."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from fractions import Fraction
from typing import Any, NamedTuple

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from stillroom.traces.answers import AnswerChecker, Reason
from stillroom.traces.answers.extract import find_answer
from stillroom.traces.answers.grade import Ruling
from stillroom.traces.answers.grade import judge as judge_by
from stillroom.traces.answers.records import Policies

EQUALITY = Policies(worked_out="any")
"""These are laws of what is equal. What is worked out is asked of the answer alone, and differs by side."""


def judge(gold: str, answer: str) -> Ruling:
    return judge_by(gold, answer, EQUALITY)


Data = Callable[[str], list[dict[str, Any]]]
LAWS = settings(derandomize=True, max_examples=150, deadline=None)

UNREAD = frozenset({Reason.UNPARSED_GOLD, Reason.UNPARSED_ANSWER, Reason.NO_ANSWER, Reason.OVER_LIMIT})


def mirrored(reason: str, other: str) -> bool:
    """Whether the verdict on a pair and that on the swapped pair say the same. Where a side cannot be read, the reason
    names it by its place; where neither can, either may be named."""
    if reason in UNREAD and other in UNREAD:
        return reason == other == Reason.OVER_LIMIT or Reason.UNPARSED_GOLD in (reason, other)
    return reason == other


# -- the answers that are compared ---------------------------------------------------------------------------------------


class Value(NamedTuple):
    """An answer in LaTeX with its value; `loose`: it must be put in brackets to be multiplied."""

    text: str
    value: Fraction
    loose: bool = False

    def tight(self) -> str:
        return rf"\left({self.text}\right)" if self.loose or self.text.startswith("-") else self.text


INTEGERS = st.integers(-40, 40).map(lambda n: Value(str(n), Fraction(n)))
FRACTIONS = st.builds(
    lambda a, b: Value(rf"\frac{{{a}}}{{{b}}}", Fraction(a, b)), st.integers(1, 30), st.integers(2, 12)
)
NUMBERS = st.recursive(
    INTEGERS | FRACTIONS,
    lambda inner: st.one_of(
        st.builds(lambda a, b: Value(f"{a.text} + {b.tight()}", a.value + b.value, loose=True), inner, inner),
        st.builds(lambda a, b: Value(f"{a.text} - {b.tight()}", a.value - b.value, loose=True), inner, inner),
        st.builds(lambda a, b: Value(rf"{a.tight()} \cdot {b.tight()}", a.value * b.value), inner, inner),
        st.builds(
            lambda a: (
                Value(f"{{{a.tight()}}}^2", a.value**2) if a.loose else Value(rf"\left({a.text}\right)^2", a.value**2)
            ),
            inner,
        ),
    ),
    max_leaves=6,
)
"""Expressions of numbers, as trees, with their values."""


def fraction(value: Fraction) -> str:
    sign = "-" if value < 0 else ""
    return (
        f"{sign}{abs(value.numerator)}"
        if value.denominator == 1
        else rf"{sign}\frac{{{abs(value.numerator)}}}{{{value.denominator}}}"
    )


TERMS = st.tuples(st.integers(-9, 9).filter(bool), st.integers(0, 3), st.integers(0, 2))
POLYNOMIALS = st.lists(TERMS, min_size=1, max_size=4, unique_by=lambda term: term[1:])


def term(coefficient: int, x: int, y: int) -> str:
    letters = "".join(f"{name}^{power}" if power > 1 else name for name, power in (("x", x), ("y", y)) if power)
    if not letters:
        return str(coefficient)
    return {1: "", -1: "-"}.get(coefficient, str(coefficient)) + letters


def polynomial(terms: list[tuple[int, int, int]]) -> str:
    return "+".join(term(*each) for each in terms).replace("+-", "-")


SURDS = st.tuples(st.integers(-9, 9), st.integers(-9, 9).filter(bool), st.sampled_from([2, 3, 5, 6, 7, 10, 11, 127]))


def surd(a: int, b: int, root: int) -> str:
    return f"{a}{b:+d}" + rf"\sqrt{{{root}}}"


ANSWERS = st.one_of(
    NUMBERS.map(lambda number: number.text),
    POLYNOMIALS.map(polynomial),
    SURDS.map(lambda parts: surd(*parts)),
    st.lists(st.integers(-9, 9), min_size=2, max_size=4).map(lambda values: ", ".join(map(str, values))),
    st.lists(st.integers(-9, 9), min_size=2, max_size=3).map(lambda values: f"({', '.join(map(str, values))})"),
    st.lists(st.integers(-9, 9), min_size=1, max_size=3).map(lambda values: rf"\{{{', '.join(map(str, values))}\}}"),
    st.builds(
        lambda a, b, o, c: f"{o}{a}, {a + b}{c}",
        st.integers(-9, 9),
        st.integers(1, 9),
        st.sampled_from("(["),
        st.sampled_from(")]"),
    ),
    st.builds(
        lambda op, n: f"x {op} {n}", st.sampled_from(["<", ">", r"\le", r"\ge", "=", r"\ne"]), st.integers(-9, 9)
    ),
    st.builds(
        lambda n, unit: rf"{n}\text{{ {unit}}}",
        st.integers(1, 99),
        st.sampled_from(["km", "m", "apples", "hours", "degrees", "dollars"]),
    ),
    st.builds(
        lambda n, sign: f"{n}{sign}",
        st.integers(1, 99),
        st.sampled_from([r"\%", r"^\circ", "_8", "!", r"\pi", "i", r" \pmod 7", ":3", ".5", "e^2"]),
    ),
    st.sampled_from(
        [
            "A",
            "(B)",
            r"\text{Evelyn}",
            "odd",
            r"\infty",
            r"-\infty",
            r"\mathbb{R}",
            r"\emptyset",
            "12:30",
            r"\frac{1}{",
            "",
            "???",
            r"\pm 3",
            "x^2+C",
            r"k\pi",
        ]
    ),
)


# -- both ways round ----------------------------------------------------------------------------------------------------


@settings(LAWS, max_examples=500)
@given(ANSWERS, ANSWERS)
def test_a_verdict_is_the_same_both_ways_round(one: str, other: str) -> None:
    assert mirrored(judge(one, other).reason or "pending", judge(other, one).reason or "pending")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("100", "one hundred"),
        (r"\frac{1}{2}", "one half"),
        ("1", "two thirds"),
        ("0, x", "y, x"),
        ("5", "red car"),
        ("x", "red car"),
        (r"\frac{1}{", "5"),
        ("", "5"),
        ("9^{9^{9^{9}}}", "5"),
        ("10%", "10"),
        ("1, 2", "(1, 2)"),
    ],
)
def test_a_verdict_is_the_same_both_ways_round_where_kinds_differ(one: str, other: str) -> None:
    first, second = judge(one, other).reason, judge(other, one).reason
    assert first is not None
    assert second is not None
    assert mirrored(first, second)


@pytest.mark.parametrize(
    "name", ["hardverify_dev", "reported_dev", "inspect_dev", "nemo_skills_dev", "hendrycks", "math_verify"]
)
def test_verdicts_on_labelled_pairs_are_the_same_both_ways_round(data: Data, name: str) -> None:
    pairs = [(row["gold"], row["pred"] or "") for row in data(f"answers/{name}.jsonl")]
    with AnswerChecker(workers=1, policies=EQUALITY) as checker:
        there, back = checker.check_many(pairs), checker.check_many((answer, gold) for gold, answer in pairs)
    turned = [
        (pair, one.reason, other.reason)
        for pair, one, other in zip(pairs, there, back, strict=True)
        if not mirrored(one.reason, other.reason)
        and not (other.reason is Reason.UNPARSED_GOLD and len(pair[1]) > 400)  # a sentence is never read in a gold
    ]
    assert turned == []


def test_math_golds_against_each_other_are_the_same_both_ways_round(data: Data) -> None:
    golds = [row["answer"] for row in data("math500/math500_dev.jsonl")]
    shuffled = random.Random(7).sample(golds, len(golds))
    turned = [
        (one, other)
        for one, other in zip(golds, shuffled, strict=True)
        if judge(one, other).reason is not judge(other, one).reason
    ]
    assert turned == []


# -- the same as itself -------------------------------------------------------------------------------------------------


@LAWS
@given(ANSWERS)
def test_an_answer_that_can_be_read_equals_itself(text: str) -> None:
    assert judge(text, text).reason in (Reason.EQUAL, Reason.UNPARSED_GOLD)


def test_a_math_gold_equals_itself_and_is_the_answer_of_its_solution(data: Data, checker: AnswerChecker) -> None:
    rows = data("math500/math500_dev.jsonl")
    pairs = [(row["answer"], text) for row in rows for text in (row["answer"], row["solution"])]
    verdicts = checker.check_many(pairs)
    assert [
        (gold, verdict.reason)
        for (gold, _), verdict in zip(pairs, verdicts, strict=True)
        if verdict.reason != Reason.EQUAL
    ] == []


# -- formatting ---------------------------------------------------------------------------------------------------------


def outside_text(change: Callable[[str], str]) -> Callable[[str], str]:
    r"""A change that leaves \text{...} and environments alone."""
    return lambda text: text if "\\text" in text or "\\begin" in text or "\\mbox" in text else change(text)


FORMATS: dict[str, Callable[[str], str]] = {
    "dfrac": lambda text: re.sub(r"\\[dt]?frac", r"\\dfrac", text),
    "tfrac": lambda text: re.sub(r"\\[dt]?frac", r"\\tfrac", text),
    "left and right": lambda text: text if "\\left" in text or "\\begin" in text else re.sub(r"(?<!\\)\(", r"\\left(", re.sub(r"(?<!\\)\)", r"\\right)", text)),
    "no left and right": lambda text: re.sub(r"\\(?:left|right)(?![a-z])(?!\.)", "", text),
    "dollars": lambda text: f"${text}$" if "$" not in text else text,
    "double dollars": lambda text: f"$${text}$$" if "$" not in text else text,
    "round delimiters": lambda text: rf"\({text}\)" if "$" not in text else text,
    "a box": lambda text: rf"\boxed{{{text}}}",
    "a box in a sentence": lambda text: rf"Hence the result is $\boxed{{{text}}}$.",
    "a marker": lambda text: f"A long way.\n#### {text}",
    "the answer is": lambda text: f"The answer is ${text}$." if "$" not in text else text,
    "spaces at the ends": lambda text: f"  {text} ",
    "spaces around signs": outside_text(lambda text: re.sub(r"(?<![\\^_{(,=])([-+=<>])", r" \1 ", text)),
    "thin spaces": outside_text(lambda text: re.sub(r"(?<=[0-9}]) ?([-+]) ?(?=[0-9\\])", r"\\,\1\\,", text)),
    "a unicode minus": outside_text(lambda text: text.replace("-", "−")),
    "a unicode pi": lambda text: re.sub(r"\\pi(?![a-z])", "π", text),
    "a unicode root": lambda text: re.sub(r"\\sqrt\{([0-9]+)\}", r"√\1", text),
    "unicode relations": lambda text: re.sub(r"\\leq?(?![a-z])", "≤", re.sub(r"\\geq?(?![a-z])", "≥", text)),
    "unicode infinity": lambda text: re.sub(r"\\infty(?![a-z])", "∞", text),
    "a final stop": lambda text: text + "." if not text.endswith(".") else text,
    "thousands": outside_text(lambda text: re.sub(r"(?<![0-9.,_^{(])[1-9][0-9]{3,8}(?![0-9.,)])", lambda found: f"{int(found[0]):,}".replace(",", "{,}"), text)),
    "braces": lambda text: f"{{{text}}}" if "," not in text and "=" not in text and "\\text" not in text else text,
    "displaystyle": lambda text: rf"\displaystyle {text}",
    "a negative thin space": lambda text: text.replace(", ", r",\! ") if re.search(r", \D", text) and "\\!" not in text else text,
}  # fmt: skip


@settings(LAWS, max_examples=60)
@pytest.mark.parametrize("name", FORMATS)
@given(text=ANSWERS)
def test_formatting_does_not_matter(name: str, text: str) -> None:
    assume(text and judge(text, text).reason is Reason.EQUAL)
    formatted = FORMATS[name](text)
    assert judge(text, formatted).reason is Reason.EQUAL
    assert judge(formatted, text).reason is Reason.EQUAL


@pytest.mark.parametrize("name", FORMATS)
def test_formatting_does_not_matter_for_math_golds(data: Data, name: str) -> None:
    golds = [row["answer"] for row in data("math500/math500_dev.jsonl")]
    changed = [(gold, FORMATS[name](gold)) for gold in golds]
    misses = [
        (gold, text, judge(gold, text).reason)
        for gold, text in changed
        if judge(gold, text).reason is not Reason.EQUAL
    ]
    assert misses == []


@pytest.mark.parametrize("unit", ["km", "meters", "apples", "hours", "square feet", "miles per hour"])
@pytest.mark.parametrize(
    "wrap", [r"\text{ %s}", r"\,\text{%s}", r"\mathrm{~%s}", r"\ \textrm{%s}", r"~\mbox{%s}", " %s", r"\;\text{ %s }"]
)
def test_how_a_unit_is_wrapped_does_not_matter(unit: str, wrap: str) -> None:
    assert judge(rf"12\text{{ {unit}}}", "12" + wrap % unit).reason is Reason.EQUAL


# -- rewriting ----------------------------------------------------------------------------------------------------------


@LAWS
@given(NUMBERS)
def test_an_expression_equals_its_value(number: Value) -> None:
    assert judge(fraction(number.value), number.text).reason is Reason.EQUAL


@LAWS
@given(NUMBERS, st.fractions(max_denominator=50).filter(bool))
def test_an_expression_differs_from_any_other_value(number: Value, shift: Fraction) -> None:
    assert judge(fraction(number.value + shift), number.text).reason is Reason.DIFFERENT


@LAWS
@given(POLYNOMIALS, st.randoms(use_true_random=False))
def test_the_order_of_terms_does_not_matter(terms: list[tuple[int, int, int]], chance: random.Random) -> None:
    assert judge(polynomial(terms), polynomial(chance.sample(terms, len(terms)))).reason is Reason.EQUAL


@LAWS
@given(POLYNOMIALS, POLYNOMIALS)
def test_a_product_equals_its_expansion(one: list[tuple[int, int, int]], other: list[tuple[int, int, int]]) -> None:
    expansion = "+".join(f"({a * c})x^{{{i + k}}}y^{{{j + m}}}" for a, i, j in one for c, k, m in other)
    assert judge(f"({polynomial(one)})({polynomial(other)})", expansion).reason is Reason.EQUAL


@LAWS
@given(POLYNOMIALS, st.integers(1, 9), st.integers(1, 9))
def test_a_fraction_may_be_extended(terms: list[tuple[int, int, int]], below: int, factor: int) -> None:
    one = rf"\frac{{{polynomial(terms)}}}{{{below}x+1}}"
    other = rf"\frac{{{factor}({polynomial(terms)})}}{{{below * factor}x+{factor}}}"
    assert judge(one, other).reason is Reason.EQUAL


@LAWS
@given(POLYNOMIALS, st.integers(0, 3), st.sampled_from([-1, 1]))
def test_a_polynomial_differs_where_a_coefficient_does(
    terms: list[tuple[int, int, int]], place: int, step: int
) -> None:
    a, i, j = terms[place % len(terms)]
    assume(a + step)
    changed = [(a + step, i, j) if (i, j) == each[1:] else each for each in terms]
    assert judge(polynomial(terms), polynomial(changed)).reason is Reason.DIFFERENT


@LAWS
@given(SURDS, st.integers(2, 9))
def test_a_surd_equals_itself_with_a_square_taken_out(parts: tuple[int, int, int], factor: int) -> None:
    a, b, root = parts
    assert judge(surd(a, b * factor, root), surd(a, b, root * factor * factor)).reason is Reason.EQUAL


@LAWS
@given(SURDS)
def test_a_surd_may_have_its_root_below_or_above(parts: tuple[int, int, int]) -> None:
    a, b, root = parts
    norm = a * a - b * b * root
    assert (
        judge(rf"\frac{{1}}{{{surd(a, b, root)}}}", rf"\frac{{{surd(a, -b, root)}}}{{{norm}}}").reason is Reason.EQUAL
    )


@LAWS
@given(SURDS, st.sampled_from(["whole", "factor", "sign", "root"]))
def test_a_surd_differs_where_a_part_does(parts: tuple[int, int, int], what: str) -> None:
    a, b, root = parts
    changed = {
        "whole": (a + 1, b, root),
        "factor": (a, b + 1 or 1, root),
        "sign": (a, -b, root),
        "root": (a, b, root + 1),
    }[what]
    assume(not (what == "factor" and b == -1) and changed[2] not in (4, 8, 12))
    assert judge(surd(*parts), surd(*changed)).reason is Reason.DIFFERENT


@LAWS
@given(st.integers(-9, 9).filter(bool), st.integers(1, 12), st.integers(1, 9))
def test_multiples_of_pi_in_any_form(top: int, bottom: int, factor: int) -> None:
    one = rf"\frac{{{top}\pi}}{{{bottom}}}"
    for other in (
        rf"\frac{{{top * factor}}}{{{bottom * factor}}}\pi",
        f"{top}π/{bottom}",
        rf"{top}\cdot\frac{{\pi}}{{{bottom}}}",
    ):
        assert judge(one, other).reason is Reason.EQUAL
    assert judge(one, rf"\frac{{{top}\pi}}{{{bottom + 1}}}").reason is Reason.DIFFERENT


@LAWS
@given(st.lists(st.integers(-9, 9), min_size=2, max_size=5), st.randoms(use_true_random=False))
def test_the_order_of_a_set_does_not_matter_and_that_of_a_tuple_does(
    values: list[int], chance: random.Random
) -> None:
    shuffled = chance.sample(values, len(values))
    one, other = ", ".join(map(str, values)), ", ".join(map(str, shuffled))
    assert judge(rf"\{{{one}\}}", rf"\{{{other}\}}").reason is Reason.EQUAL
    assert judge(one, other).reason is Reason.EQUAL
    assert judge(f"({one})", f"({other})").reason is (Reason.EQUAL if values == shuffled else Reason.DIFFERENT)


# -- near misses -----------------------------------------------------------------------------------------------------------


def changed_digit(text: str, chance: random.Random) -> str | None:
    places = [found.start() for found in re.finditer(r"[0-9]", text)]
    if not places:
        return None
    place = chance.choice(places)
    return text[:place] + chance.choice([digit for digit in "123456789" if digit != text[place]]) + text[place + 1 :]


def changed_sign(text: str) -> str | None:
    if text.startswith("-"):
        return text[1:]
    turned = re.sub(r"(?<=[0-9a-z)}])([-+])", lambda found: "-" if found[0] == "+" else "+", text, count=1)
    return turned if turned != text else None


def test_a_math_gold_with_a_digit_changed_is_another(data: Data) -> None:
    chance = random.Random(7)
    golds = [row["answer"] for row in data("math500/math500_dev.jsonl")]
    changed = [
        (gold, found)
        for gold in golds
        for found in (changed_digit(gold, chance), changed_digit(gold, chance), changed_sign(gold))
        if found
    ]
    assert len(changed) > 500
    assert [(gold, text) for gold, text in changed if judge(gold, text).reason is Reason.EQUAL] == []


@LAWS
@given(ANSWERS, st.randoms(use_true_random=False))
def test_a_solution_with_its_answer_in_a_box_is_judged_by_the_box(text: str, chance: random.Random) -> None:
    assume(text and judge(text, text).reason is Reason.EQUAL and "\\boxed" not in text)
    noise = chance.choice(
        ["First we try 7.\n", "Let $x=3$. Then\n", r"Not \boxed{0} but" + "\n", "<think>maybe 12</think>\n"]
    )
    solution = rf"{noise}So it is \boxed{{{text}}}."
    assert find_answer(solution) is not None
    assert judge(text, solution).reason is Reason.EQUAL
