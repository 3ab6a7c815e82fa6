"""Answers that do not answer: the question restated, arithmetic left to do, chains that contradict themselves.

A student in a loop is rewarded for whatever the checker accepts, so it finds such forms by itself. They are generated
here for golds of ten kinds, with the prompts that ask for them, and none may be accepted. The other way round, exact
forms that people do give as answers are generated, and each must be accepted.
"""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import NamedTuple

import pytest

from stillroom.common.records import Attempt, State, Task, user
from stillroom.traces.answers import AnswerChecker
from stillroom.traces.scorers.answer import AnswerScorer

FRAMES = [r"We get \boxed{%s}.", "Let us see.\n#### %s", "The answer is %s.", r"So $x$ is what it is: $\boxed{%s}$"]


class Question(NamedTuple):
    """What is asked, its gold, and answers that only restate it."""

    kind: str
    prompt: str
    gold: str
    restated: list[str]


# -- ten kinds of gold -------------------------------------------------------------------------------------------------


def sums() -> Iterator[Question]:
    for a, b in ((43, 83), (7, 12), (250, 118), (19, 36)):
        forms = [
            f"{a} + {b}",
            f"{b} + {a}",
            f"({a} + {b})",
            f"{a}+{b}+0",
            rf"{a} + {b} = {a} + {b}",
            rf"\text{{sum}} = {a} + {b}",
        ]
        yield Question("sum", f"What is {a} + {b}?", str(a + b), forms)


def products() -> Iterator[Question]:
    for a, b in ((12, 14), (7, 8), (25, 16), (9, 41)):
        forms = [
            f"{a} * {b}",
            rf"{a} \cdot {b}",
            rf"{b} \times {a}",
            f"{a}({b})",
            rf"\frac{{{a}}}{{1}} \cdot {b}",
            f"{a}·{b}",
        ]
        yield Question("product", rf"Compute ${a} \times {b}$.", str(a * b), forms)


def quotients() -> Iterator[Question]:
    for a, b in ((252, 2), (144, 12), (85, 5), (1000, 8)):
        forms = [
            f"{a}/{b}",
            rf"\frac{{{a}}}{{{b}}}",
            rf"{a} \div {b}",
            f"{2 * a}/{2 * b}",
            rf"\dfrac{{{a}}}{{{b}}}",
            rf"{a} \cdot \frac{{1}}{{{b}}}",
        ]
        yield Question("quotient", f"Divide {a} by {b}, that is {a}/{b}.", str(a // b), forms)


def fractions() -> Iterator[Question]:
    for p, q, r, s in ((1, 2, 1, 3), (3, 4, 1, 6), (2, 5, 1, 7), (5, 8, 1, 3)):
        total = Fraction(p, q) + Fraction(r, s)
        one, other = rf"\frac{{{p}}}{{{q}}}", rf"\frac{{{r}}}{{{s}}}"
        forms = [
            f"{one} + {other}",
            f"{other} + {one}",
            f"{p}/{q} + {r}/{s}",
            rf"\frac{{{p * s} + {r * q}}}{{{q * s}}}",
            f"({p * s}+{r * q})/{q * s}",
            rf"1 - (1 - {one} - {other})",
        ]
        yield Question(
            "fraction", f"What is ${one} + {other}$?", rf"\frac{{{total.numerator}}}{{{total.denominator}}}", forms
        )


def equations() -> Iterator[Question]:
    for root, shift in ((2, 3), (11, 5), (-4, 9), (30, 12)):
        forms = [
            f"x + {shift} = {root + shift}",
            f"x = {root + shift} - {shift}",
            f"{root + shift} - {shift}",
            f"2x = {2 * root}",
            f"x - {root} = 0" if root > 0 else f"x + {-root} = 0",
            f"{root + shift} = x + {shift}",
            f"3x + {shift} = {3 * root + shift}",
        ]
        yield Question("equation", f"Solve x + {shift} = {root + shift} for x.", str(root), forms)


def inequalities() -> Iterator[Question]:
    for bound, shift in ((2, 3), (7, 4), (-1, 6), (10, 1)):
        forms = [
            f"x + {shift} < {bound + shift}",
            f"x < {bound + shift} - {shift}",
            f"2x < {2 * bound}",
            f"{bound + shift} > x + {shift}",
            rf"(-\infty, {bound + shift} - {shift})",
            rf"\{{x \mid x + {shift} < {bound + shift}\}}",
        ]
        yield Question("inequality", f"Solve x + {shift} < {bound + shift}.", rf"(-\infty, {bound})", forms)


def radicals() -> Iterator[Question]:
    for factor, root in ((5, 2), (3, 7), (2, 11), (4, 3)):
        whole = factor * factor * root
        forms = [
            rf"\sqrt{{{whole}}}",
            rf"\sqrt{{{whole}}} + 0",
            rf"\sqrt{{{factor * factor}}} \cdot \sqrt{{{root}}} \cdot \sqrt{{1}}",
            rf"x = \sqrt{{{whole}}}",
            rf"{factor - 1}\sqrt{{{root}}} + \sqrt{{{root}}}",
            rf"\sqrt{{{whole}}}\text{{ units}}",
        ]
        yield Question("radical", rf"Simplify $\sqrt{{{whole}}}$.", rf"{factor}\sqrt{{{root}}}", forms)


def counts() -> Iterator[Question]:
    for n, k in ((10, 3), (8, 2), (12, 4), (9, 5)):
        forms = [
            rf"\binom{{{n}}}{{{k}}}",
            rf"\frac{{{n}!}}{{{k}! \cdot {n - k}!}}",
            rf"\binom{{{n}}}{{{k}}} + 0",
            rf"\binom{{{n - 1}}}{{{k}}} + \binom{{{n - 1}}}{{{k - 1}}}",
            rf"\dbinom{{{n}}}{{{k}}}",
            rf"C = \binom{{{n}}}{{{k}}}",
        ]
        yield Question("count", rf"Compute $\binom{{{n}}}{{{k}}}$.", str(math.comb(n, k)), forms)


def polynomials() -> Iterator[Question]:
    for a, b in ((1, 1), (2, 3), (4, 5), (3, 7)):
        forms = [
            f"(x+{a})(x+{b})",
            rf"(x+{b}) \cdot (x+{a})",
            f"(x+{a})*(x+{b})",
            f"(x + {a}) (x + {b})",
            f"x^2 + {a}x + {b}x + {a * b}",
            f"x^2 + ({a}+{b})x + {a * b}",
        ]
        yield Question("polynomial", f"Expand (x+{a})(x+{b}).", f"x^2 + {a + b}x + {a * b}" if a * b else "", forms)


def choices() -> Iterator[Question]:
    for letter, wrong in itertools.islice(itertools.permutations("ABCD", 2), 0, 12, 3):
        forms = [
            "x where x",
            f"{wrong} where {letter}",
            "any of A, B, C, D",
            "A, B, C, D",
            f"{letter} or {wrong}",
            f"{wrong} = {letter}",
            "x",
            f"{letter} where {letter} = {wrong}",
        ]
        yield Question("choice", "Which one is right: (A), (B), (C) or (D)?", letter, forms)


QUESTIONS = [
    question
    for make in (
        sums,
        products,
        quotients,
        fractions,
        equations,
        inequalities,
        radicals,
        counts,
        polynomials,
        choices,
    )
    for question in make()
]


# -- what fits every number --------------------------------------------------------------------------------------------


def evasions(gold: int) -> list[str]:
    """Forms that are the number, or have it in them, and leave it to the reader."""
    return [
        f"{gold + 1} - 1", f"{gold - 1} + 1", f"{2 * gold}/2", rf"\frac{{{3 * gold}}}{{3}}", rf"\sqrt{{{gold * gold}}}", f"|-{gold}|", f"{gold + 1} = {gold}", f"{gold} = {gold + 1}", rf"{gold} \approx {gold + 1}",
        rf"{gold + 1} \approx {gold}", f"{gold} or {gold + 1}", f"{gold}, {gold + 1}", rf"{gold} \pm 1", f"{gold - 1} < x < {gold + 1}", rf"\max({gold}, 1)", rf"\lfloor {gold}.5 \rfloor", rf"{gold} \sin(\pi/2)",
        rf"\log_{{10}} 10^{{{gold}}}", rf"\ln e^{{{gold}}}", rf"\sum_{{i=1}}^{{{gold}}} 1", rf"{gold} \cdot \cos 0", rf"-{gold} e^{{i\pi}}", f"({gold})^2/{gold}", f"not {gold + 1}", "x where x", "x = x", rf"{gold} \ne {gold + 1}",
        f"{gold}:1", rf"\gcd({gold}, {2 * gold})", rf"x + 1 = {gold + 1}", f"x = {gold} = {gold + 1}", rf"\{{{gold}, {gold + 1}\}}", f"{gold} to {gold + 1}", f"between {gold - 1} and {gold + 1}",
    ]  # fmt: skip


NUMBERS = [question for question in QUESTIONS if question.gold.isdigit()]
ATTACKS = [
    *((question, form) for question in QUESTIONS for form in question.restated),
    *((question, form) for question in NUMBERS for form in evasions(int(question.gold))),
]


async def states(pairs: list[tuple[Question, str]]) -> list[State]:
    """As a run scores them: a task with its prompt, and an attempt."""
    scorer = AnswerScorer(AnswerChecker(workers=1))
    found = []
    try:
        for number, (question, form) in enumerate(pairs):
            task = Task(str(number), user(question.prompt), question.gold, "generated")
            attempt = Attempt(
                task_id=task.id,
                index=0,
                text=FRAMES[number % len(FRAMES)] % form,
                reasoning=None,
                finish_reason="stop",
                prompt_tokens=1,
                completion_tokens=1,
                logprobs=None,
                latency_s=0.0,
                teacher="generated",
            )
            found.append((await scorer.score(task, attempt)).state)
    finally:
        await scorer.close()
    return found


def test_there_are_forty_golds_of_ten_kinds_and_five_hundred_attacks() -> None:
    assert len(QUESTIONS) >= 40
    assert len({question.kind for question in QUESTIONS}) == 10
    assert len({(question.prompt, form) for question, form in ATTACKS}) >= 500


async def test_nothing_that_does_not_answer_is_accepted() -> None:
    found = zip(ATTACKS, await states(ATTACKS), strict=True)
    assert [(question.gold, form) for (question, form), state in found if state is State.ACCEPTED] == []


async def test_every_gold_is_accepted_as_its_own_answer() -> None:
    pairs = [(question, question.gold) for question in QUESTIONS]
    found = zip(pairs, await states(pairs), strict=True)
    assert [question.gold for (question, _), state in found if state is not State.ACCEPTED] == []


# -- exact forms that are answers --------------------------------------------------------------------------------------


def exact_forms() -> Iterator[tuple[str, str]]:
    """Golds with an answer that is worked out, however it is written."""
    for root in (2, 3, 5, 6, 7, 10, 13):
        yield rf"\sqrt{{{root}}}", rf"√{root}"
        yield rf"3\sqrt{{{root}}}", rf"3 \cdot \sqrt{{{root}}}"
        yield rf"\frac{{\sqrt{{{root}}}}}{{2}}", rf"\sqrt{{{root}}}/2"
        yield rf"1 + \sqrt{{{root}}}", rf"\sqrt{{{root}}} + 1"
        yield rf"\frac{{1 + \sqrt{{{root}}}}}{{2}}", rf"\frac12 + \frac{{\sqrt{{{root}}}}}{{2}}"
        yield rf"\frac{{\sqrt{{{root}}}}}{{{root}}}", rf"\frac{{1}}{{\sqrt{{{root}}}}}"
    for top, bottom in ((3, 4), (1, 6), (2, 3), (5, 12), (7, 8)):
        yield rf"\frac{{{top}\pi}}{{{bottom}}}", rf"{top}\pi/{bottom}"
        yield rf"\frac{{{top}\pi}}{{{bottom}}}", rf"\frac{{{top}}}{{{bottom}}}\pi"
        yield rf"\frac{{{top}}}{{{bottom}}}", f"{top}/{bottom}"
        yield f"{top}/{bottom}", rf"\frac{{{2 * top}}}{{{2 * bottom}}}"
        yield rf"-\frac{{{top}}}{{{bottom}}}", rf"\frac{{-{top}}}{{{bottom}}}"
        yield rf"\frac{{{4 * bottom + top}}}{{{bottom}}}", rf"4\frac{{{top}}}{{{bottom}}}"
    for base, exponent in ((2, 99), (3, 50), (7, 20), (2, 64), (10, 12), (5, 31)):
        yield f"{base}^{{{exponent}}}", f"{base}^{{{exponent}}}"
        yield str(base**exponent), f"{base}^{{{exponent}}}"
        yield f"{base}^{{{exponent}}} - 1", f"{base}^{{{exponent}}} - 1"
        yield str(base**exponent - 1), f"{base}^{{{exponent}}} - 1"
    for n, k in ((10, 3), (20, 5), (52, 5), (9, 4), (30, 15), (12, 6)):
        yield rf"\binom{{{n}}}{{{k}}}", rf"\binom{{{n}}}{{{k}}}"
        yield str(math.comb(n, k)), rf"\binom{{{n}}}{{{k}}}"
        yield rf"\binom{{{n}}}{{{k}}}", str(math.comb(n, k))
        yield str(math.factorial(n)), f"{n}!"
    for k in range(2, 8):
        yield f"e^{k}", f"e^{{{k}}}"
        yield rf"\ln {k}", rf"\ln({k})"
        yield rf"{k}\pi", rf"{k} \cdot \pi"
        yield f"{k} + 4i", f"4i + {k}"
        yield f"{k}e", rf"{k} \cdot e"
        yield rf"\pi^{k}", rf"\pi^{{{k}}}"
        yield rf"\log_2 {2 * k + 1}", rf"\frac{{\ln {2 * k + 1}}}{{\ln 2}}"
        yield f"{k},000,000", rf"{k} \times 10^6"
        yield f"0.{k}5", f"{k}5/100"
        yield f"{k}.5", rf"{k}\frac{{1}}{{2}}"
        yield rf"\frac{{\pi}}{{{k}}} + 1", rf"1 + \frac{{\pi}}{{{k}}}"
        yield f"({k}, {k + 1})", f"({k}, {k + 1})"
        yield rf"\{{{k}, -{k}\}}", rf"\pm {k}"
        yield rf"(-\infty, {k})", f"x < {k}"
        yield f"{k}", f"x = {k}"
        yield f"{k * 9}", rf"{k} \cdot 9 = {k * 9}"
        yield f"{k}x + 1", f"1 + {k}x"
        yield f"x^2 + {2 * k}x + {k * k}", f"(x + {k})^2"
        yield f"{k} km", f"{k}000 meters"
        yield f"{k * 10}%", f"0.{k}"


EXACT = list(dict.fromkeys(exact_forms()))
WORDS = "A farmer counts what is left of the field, and says how much it is. What does he say?"


def test_there_are_two_hundred_exact_forms() -> None:
    assert len(EXACT) >= 200


async def test_every_exact_form_is_accepted() -> None:
    pairs = [(Question("exact", WORDS, gold, []), form) for gold, form in EXACT]
    found = zip(pairs, await states(pairs), strict=True)
    assert [(question.gold, form) for (question, form), state in found if state is not State.ACCEPTED] == []


# -- the prompt ---------------------------------------------------------------------------------------------------------

ASKED: list[tuple[str, Callable[[str], str]]] = [
    ("plain", lambda formula: f"What is {formula.replace('$', '')}?"),
    ("in dollars", lambda formula: f"Compute ${formula}$."),
    ("in a display", lambda formula: rf"Evaluate \[ {formula} \] as a number."),
    ("with examples before", lambda formula: f"What is 1 + 1?\n#### 2\n\nWhat is {formula}?"),
    ("within a longer one", lambda formula: f"We know y = 3 and z = {formula}. Find z."),
]


@pytest.mark.parametrize(("how", "ask"), ASKED, ids=[how for how, _ in ASKED])
@pytest.mark.parametrize(
    ("formula", "gold"),
    [(r"2^{100}", str(2**100)), ("10!", "3628800"), (r"\binom{12}{5}", "792"), (r"\sqrt{72}", r"6\sqrt{2}"), (r"e \cdot e", "e^2"), (r"\frac{2}{\sqrt{2}}", r"\sqrt{2}"), ("3^{40} - 1", str(3**40 - 1))],
)  # fmt: skip
def test_a_formula_of_the_prompt_is_no_answer(
    checker: AnswerChecker, how: str, ask: Callable[[str], str], formula: str, gold: str
) -> None:
    answer = rf"\boxed{{{formula}}}"
    assert checker.check(gold, answer, prompt=ask(formula)).state is not State.ACCEPTED
    assert checker.check(gold, answer, prompt=WORDS).state is State.ACCEPTED
    assert checker.check(formula, answer, prompt=ask(formula)).state is State.ACCEPTED, (
        "the gold is written so itself"
    )


# -- arithmetic of any shape -------------------------------------------------------------------------------------------


def arithmetic(chance: random.Random, depth: int) -> tuple[str, Fraction]:
    """A formula of whole numbers with at least one thing to do at its top, and its value."""
    if depth == 0:
        number = chance.randint(2, 99)
        return str(number), Fraction(number)
    one, x = arithmetic(chance, chance.randint(0, depth - 1))
    other, y = arithmetic(chance, depth - 1)
    made = {
        "sum": (f"{one} + {other}", x + y),
        "difference": (f"{one} - ({other})", x - y),
        "product": (chance.choice([rf"({one}) \cdot ({other})", f"({one})({other})", f"({one})*({other})"]), x * y),
        "square": (f"({one})^{{2}}", x * x),
        "root": (rf"\sqrt{{{int(y) ** 2}}} + {one}", abs(int(y)) + x),
        "floor": (rf"\lfloor {one} \rfloor", Fraction(math.floor(x))),
        "absolute": (rf"\left|{one}\right|", abs(x)),
        "maximum": (rf"\max({one}, {other})", max(x, y)),
        "whole quotient": (rf"\frac{{({one}) \cdot 3}}{{3}}", x),
        "log": (rf"{one} + \log_2 8", x + 3),
        "sine": (rf"({one}) \cdot \sin\frac{{\pi}}{{2}}", x),
        "times one": (rf"({one}) \cdot 1", x),
        "plus zero": (f"{one} + 0", x),
    }
    return made[chance.choice(sorted(made))]


def test_no_arithmetic_is_its_own_result(checker: AnswerChecker) -> None:
    chance = random.Random(8128)
    made = [arithmetic(chance, chance.randint(1, 3)) for _ in range(1_500)]
    pairs = [
        (f"{value.numerator}/{value.denominator}" if value.denominator > 1 else str(value), rf"\boxed{{{text}}}")
        for text, value in made
    ]
    found = zip(pairs, checker.check_many(pairs), strict=True)
    assert [pair for pair, verdict in found if verdict.state is State.ACCEPTED] == []


# -- what changes nothing ----------------------------------------------------------------------------------------------

WRAPPERS = [
    "-(-{})", r"{} \cdot 1!", r"{} \cdot 0!", "({})^{{1!}}", r"{} \cdot \binom{{5}}{{5}}", "({}) + 0", "({}) i^4", r"({}) \cdot \frac{{\pi}}{{\pi}}", r"\frac{{-({})}}{{-1}}", "(({})^{{-1}})^{{-1}}",
    r"2 \cdot \frac{{{}}}{{2}}", r"\frac{{2 ({})}}{{2}}", r"{} \cdot 1.0", r"\sqrt{{({})^2}}", r"e^{{\ln ({})}}", r"\ln e^{{{}}}", r"{} \cdot 10^3 \cdot 10^{{-3}}", "({}) e^0", "({}) + 0i", r"\frac{{{}}}{{1}}",
]  # fmt: skip
ASKED_FOR = [
    (r"5\sqrt{2}", r"\sqrt{50}", r"Simplify $\sqrt{50}$."),
    ("3628800", "10!", "Compute 10!"),
    ("x^2+5x+6", "(x+2)(x+3)", "Expand (x+2)(x+3)."),
    (r"\sqrt{2}", r"\frac{2}{\sqrt{2}}", r"Rationalise $\frac{2}{\sqrt{2}}$."),
    (r"\frac{3\pi}{4}", r"\frac{\pi}{2} + \frac{\pi}{4}", r"Add $\frac{\pi}{2} + \frac{\pi}{4}$."),
]  # fmt: skip


@pytest.mark.parametrize(("gold", "formula", "prompt"), ASKED_FOR)
def test_nothing_that_changes_nothing_makes_a_formula_an_answer(
    checker: AnswerChecker, gold: str, formula: str, prompt: str
) -> None:
    answers = [rf"\boxed{{{wrapper.format(formula)}}}" for wrapper in WRAPPERS]
    verdicts = checker.check_many((gold, answer, prompt) for answer in answers)
    assert [
        answer for answer, verdict in zip(answers, verdicts, strict=True) if verdict.state is State.ACCEPTED
    ] == []


LARGE = [
    ("121931812224", "123456 * 987654 * 1!"), ("121931812224", "123456 * 987654 * 1^2"), ("121931812224", "123456 * 987654 + 0^2"), ("121931812224", r"\sqrt{121931812224^2}"),
    ("1000000007", "10^9 + 3 + 4"), ("2000000000", "10^9 + 10^9"), ("15241383936", "123456^2"), ("1073741824", r"2^{15} \cdot 32768"), ("3000000000", "10^9 * 3 * 1!"),
]  # fmt: skip


@pytest.mark.parametrize(("gold", "answer"), LARGE)
def test_a_large_number_is_no_excuse_for_arithmetic(checker: AnswerChecker, gold: str, answer: str) -> None:
    assert checker.check(gold, rf"\boxed{{{answer}}}").state is not State.ACCEPTED


DENIED = [
    "(A) is false",
    "A. Wrong",
    "(A) is incorrect",
    "(A) can be ruled out",
    "(A) 5 is wrong",
    "(A) ???",
    "(A) to D",
    "(A) through (C)",
    "(A) plus B",
    "(A) if not (B)",
]


@pytest.mark.parametrize("answer", DENIED)
def test_a_choice_that_is_denied_is_not_chosen(checker: AnswerChecker, answer: str) -> None:
    assert checker.check("A", rf"\boxed{{{answer}}}").state is not State.ACCEPTED


CHOSEN = ["(A)", "A", "(A) 5", "A. an ellipse", "(A) to the left", "(A) It is not possible"]


@pytest.mark.parametrize("answer", CHOSEN)
def test_a_choice_with_its_text_is_chosen(checker: AnswerChecker, answer: str) -> None:
    assert checker.check("A", rf"\boxed{{{answer}}}").state is State.ACCEPTED


WORDS_BEHIND = [
    "hundreds",
    "dozens",
    "lakh",
    "crore",
    "gross",
    "tens",
    "millionths",
    "tripled",
    "doubled",
    "negated",
    "nope",
    "nineteen",
    "permille",
]


@pytest.mark.parametrize("word", [*WORDS_BEHIND, "is false", "below zero", "over two", "to the second power"])
def test_words_that_change_a_number_are_no_unit(checker: AnswerChecker, word: str) -> None:
    assert checker.check("18", rf"\boxed{{18 \text{{ {word}}}}}").state is not State.ACCEPTED


@pytest.mark.parametrize(
    ("gold", "answer", "wanted"),
    [
        ("(1,2)", "y=1, x=2", State.UNSCORED),
        ("(1,2)", "(y,x)=(1,2)", State.UNSCORED),
        ("(1,2)", "x=1, y=2", State.ACCEPTED),
        ("(1,2)", "(x,y)=(1,2)", State.ACCEPTED),
        ("99.6%", "100%", State.UNSCORED),
        ("1.396", "140%", State.UNSCORED),
        ("1", "100%", State.ACCEPTED),
        ("8", "8 m", State.UNSCORED),
        ("|x|", r"x + 0\ln x", State.UNSCORED),
        ("|x|", r"(\sqrt{x})^2", State.UNSCORED),
        (r"|x-1|", r"1-x+0\sqrt{1-x}", State.UNSCORED),
        ("|x-1|", "|1-x|", State.ACCEPTED),
    ],
)
def test_what_reads_in_two_ways_is_open(checker: AnswerChecker, gold: str, answer: str, wanted: State) -> None:
    assert checker.check(gold, answer).state is wanted


HONEST = [
    ("y=2x+3", "-2x+y=3", "Pens cost 3."), ("0.5", "1/2", "A recipe takes 3 1/2 cups."), ("12.5", "12.50", "Each costs 12.5 dollars."),
    ("18", r"\$18", "The bill is $18."), ("1500000", r"1.5\times 10^6", "How many people live there?"), (r"1+2\sqrt{2}", r"2\sqrt{2}+1", r"A side is $2\sqrt{2}$."),
]  # fmt: skip


@pytest.mark.parametrize(("gold", "answer", "prompt"), HONEST)
def test_an_honest_answer_may_share_numbers_with_its_prompt(
    checker: AnswerChecker, gold: str, answer: str, prompt: str
) -> None:
    assert checker.check(gold, rf"\boxed{{{answer}}}", prompt=prompt).state is State.ACCEPTED
