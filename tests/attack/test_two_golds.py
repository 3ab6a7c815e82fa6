"""One answer for two golds: no text may be accepted for two golds that are not the same answer.

Texts are composed from answers by everything that joins answers in a sentence or formula. A text that is accepted
whatever the gold is (`x where x`) is what a student in a loop would find first.
"""

from __future__ import annotations

import itertools
import os
import random
import re
from collections.abc import Iterator

from stillroom.traces.answers import AnswerChecker
from stillroom.traces.answers.grade import Ruling, locate, not_restated, rule
from stillroom.traces.answers.records import Policies, Reason

GOLDS = [
    "A", "B", "C", "D", "x", "n", "k", "t", "y", "2", "3", "5", "18", "-7", "126", "1234567", "0.25", "0.333",
    r"\frac{7}{12}", r"3\frac{1}{2}", r"\sqrt{2}", r"\pi", r"\frac{3\pi}{4}", "e^2", "2^{99}", r"\ln 2", "3+4i",
    "x+1", "2x", "x^2+2x+1", "x^2+C", r"\sin x", r"2\pi k", r"\{1,2\}", r"\{1,2,3\}", "(3,5)", "(5,3)",
    r"(-\infty,2)", r"(-\infty,2]", "[2,3]", "x<-4", "y=5x", "x+y=1", "3:1", "5:8", r"10\%", "7 km", "7 cm",
    r"45^\circ", r"\text{even}", r"\text{odd}", r"\text{yes}", r"\text{Paris}", r"\begin{pmatrix}1\\2\end{pmatrix}",
    r"x \equiv 3 \pmod 7", "1011_2", r"\text{no solution}", r"x^2 + \frac{y^2}{4} = 1",
    "2s+1 for some integer s", "(u, v) for all u, v",
]  # fmt: skip
"""Pairwise different answers of all kinds."""

SENTINELS = ("A", "B", "n", "2", "18")
"""Golds that every text is tried with, whatever stands in it."""

ONE = [
    "{}", "({})", r"\{{{}\}}", r"\pm {}", "-{}", "not {}", "|{}|", "{}!", "{} where x", "{} for all {}", "{} if {}", r"\text{{{}}}",
    "option {}", "{}.", "answer {}", "{} or so", "{}?", "x = {}", "f(x) = {}", r"\boxed{{{}}}", r"\overline{{{}}}", "{} + 0", "{} * 1", "{}^1", "any {}",
    "some {}", "{}, where {} is any number", "{} + c", "{} t", "{}'", r"{}\%", r"{}^\circ", "{} units", r"\sqrt{{{}}}", r"\vec{{{}}}", "{}_1", "[{}]", "{} ...", r"\approx {}",
]  # fmt: skip
TWO = [
    "{} where {}", "{} for {}", "{}, {}", "{}; {}", "{} or {}", "{} and {}", "{} = {}", r"{} \approx {}", r"{} \ne {}", "{} < {}", r"{} \in {}", r"{} \to {}", r"{} \text{{ or }} {}",
    r"{} \text{{ and }} {}", r"{} \text{{ where }} {}", "{} if {}", "{} with {}", "{} when {} = 1", "({}, {})", "[{}, {}]", r"\{{{}, {}\}}", r"\{{{} \mid {}\}}", "{}/{}", "{}:{}", "{} {}", "{}{}",
    "{} - {}", "{} + {}", r"{} \pm {}", r"{} \cdot {}", "{}^{{{}}}", "{}_{{{}}}", "{}. {}", "({}) {}", "option {}: {}", "{} not {}", "{} but {}", "{} equals {}", "f({}) = {}", "{} | {}", r"{} \mid {}",
    r"{} \cup {}", r"{} \cap {}", r"{} \setminus {}", r"{} \pmod{{{}}}", "{} at {}", "{} such that {}", "{} for some integer {}", "{} for all {}", "{} for some {}", "{}, where {} is a constant",
    r"\boxed{{{}}} or \boxed{{{}}}", r"\boxed{{{}}}, \boxed{{{}}}", r"\boxed{{{}}} \boxed{{{}}}", "Answer: {}\nAnswer: {}", "#### {}\n#### {}", "The answer is {}, not {}", "{} is {}", "{} = {} = x",
    r"\begin{{cases}} {} \\ {} \end{{cases}}", r"\min({}, {})", r"\max({}, {})", r"\gcd({}, {})", r"\frac{{{}}}{{{}}}", r"\binom{{{}}}{{{}}}", "either {} or {}", "both {} and {}", r"{} \equiv {}", "{} ~ {}",
]  # fmt: skip
THREE = [
    "{} where {} = {}", "{}, {} or {}", "{} = {} = {}", r"{} \approx {} \approx {}", "{} or {} where {}", "({}, {}) for {}", "{} < {} < {}", "{} if {}, {} otherwise", "{} for {} and {}", "{}, where {} and {}",
    r"\{{{}, {}, {}\}}", "({}, {}, {})", "{} + {} = {}", "{} = {} where {}", r"{} = {} \approx {}", "{}: {}, {}", r"{} \text{{ for any }} {}, {}", "({}) {} ({})",
]  # fmt: skip
DEFAULT = Policies()
FRAMES = [r"\boxed{{{}}}", "#### {}", "The answer is {}.", r"So we get $\boxed{{{}}}$."]
WHOLE = 135_000
TEXTS = int(os.environ.get("STILLROOM_ATTACK_TEXTS", "8000"))
"""Texts that are tried, spread evenly over the first WHOLE."""
LABELLED = re.compile(r"\([A-D]\) |option [A-D]: |\b[A-D]\. ")


def composed() -> Iterator[tuple[str, tuple[str, ...]]]:
    """Texts with the golds that stand in them; the pairs all, the threes drawn."""
    drawn = random.Random(1931)
    for shape, gold in itertools.product(ONE, GOLDS):
        yield shape.format(*[gold] * shape.count("{}")), (gold,)
    for shape, one, other in itertools.product(TWO, GOLDS[:32], GOLDS):
        yield shape.format(one, other), (one, other)
    for shape in itertools.cycle(THREE):
        golds = tuple(drawn.sample(GOLDS, 3))
        yield shape.format(*golds), golds


def framed(text: str, number: int) -> str:
    """As a completion; a text that brings its own mark stands alone."""
    marked = any(mark in text for mark in ("boxed", "####", "nswer"))
    return text if marked else FRAMES[number % len(FRAMES)].format(text)


def names_its_choice(answer: str, fits: list[str]) -> bool:
    """Whether an answer is a choice with its letter, `(A) 5`: right where A is asked for, and where 5 is."""
    return bool(LABELLED.search(answer)) and len(fits) == 2 and fits[0] in "ABCD" and fits[1] in answer


def accepted(checker: AnswerChecker, gold: str, text: str) -> bool:
    """Whether a text is accepted for a gold: by a worker only where it is asked."""
    found = locate(text, Reason.NO_ANSWER, Reason.UNPARSED_ANSWER)
    if isinstance(found, Ruling):
        return False
    ruling = rule(gold, found, DEFAULT)
    if ruling.reason is None:
        return str(checker.check(gold, text).reason) == Reason.EQUAL
    return not_restated(ruling, gold, found, "", DEFAULT).reason is Reason.EQUAL


def test_the_golds_are_different_answers(checker: AnswerChecker) -> None:
    pairs = itertools.permutations(GOLDS, 2)
    assert [(gold, text) for gold, text in pairs if accepted(checker, gold, rf"\boxed{{{text}}}")] == []


def test_each_gold_is_its_own_answer(checker: AnswerChecker) -> None:
    assert [gold for gold in GOLDS if not accepted(checker, gold, rf"\boxed{{{gold}}}")] == []


def test_no_text_is_accepted_for_two_golds(checker: AnswerChecker) -> None:
    others = random.Random(77)
    found = []
    for number, (text, within) in enumerate(itertools.islice(composed(), 0, WHOLE, WHOLE // TEXTS)):
        answer = framed(text, number)
        golds = dict.fromkeys([*within, *SENTINELS, *others.sample(GOLDS, 3)])
        fits = [gold for gold in golds if accepted(checker, gold, answer)]
        if len(fits) > 1 and not names_its_choice(text, fits):
            found.append((answer, fits))
    assert found == []
