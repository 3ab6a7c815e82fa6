from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from stillroom.common.records import State
from stillroom.traces.answers import AnswerChecker, Reason, state_of

Data = Callable[[str], list[dict[str, Any]]]
MATRIX = r"\begin{pmatrix}0&1\\1&0\end{pmatrix}"


@pytest.mark.parametrize("reason", list(Reason))
def test_only_equal_is_accepted_and_only_different_rejected(reason: Reason) -> None:
    expected = {Reason.EQUAL: State.ACCEPTED, Reason.DIFFERENT: State.REJECTED}.get(reason, State.UNSCORED)
    assert state_of(reason) is expected


@pytest.mark.parametrize(
    ("gold", "answer"),
    [
        (r"\frac{\sqrt{3}}{3}", r"\boxed{\frac{1}{\sqrt{3}}}"),
        (r"\frac{\sqrt{3}}{3}", r"\frac{\sqrt{3}}{3} \approx 0.577"),
        (r"\sqrt{3} - 1", "-1 + sqrt(3)"),
        ("e^{16} - 1", "-1 + exp(16)"),
        (r"-2\pi", "-2*pi"),
        ("x^2+2x+1", "(x+1)^2"),
        ("y = x^2+2x+1", "2x+ 1+x^2"),
        (r"\ln 8", r"3\ln 2"),
        (r"\binom{10}{3}", "120"),
        (r"\left( 3, \frac{\pi}{2} \right)", r"(3,\pi/2)"),
        ("(p,q)=(3,2)", "(3,2)"),
        (r"\{3, 2, 1\}", r"\{1,2,3\}"),
        ("-2,1", r"\boxed{-2} and \boxed{1}"),
        (r"x\in\{1,2\}", r"\{1,2\}"),
        (r"(-∞, -3) ∪ (3, +∞)", r"(-\infty,-3)\cup(3,\infty)"),
        ("2>x", "x<2"),
        (r"(-\infty, 3)", "x<3"),
        (MATRIX, r"\begin{bmatrix} 0 & 1 \\ 1 & 0 \end{bmatrix}"),
        (r"\cot t \cdot 2", r"2\cot t"),
        ("C", r"The answer is \boxed{\text{(C)}}."),
        ("C", "(C) 12 apples"),
        ("odd", r"\text{Odd}"),
        (r"\text{Evelyn}", "Evelyn"),
        ("12:00", "12:00"),
        ("52_8", "52_{8}"),
        (r"\overline{AB}", r"\overline{AB}"),
        (r"\sqrt{2}", "1.4142135623730951"),
        ("1:2", "2:4"),
        ("1,2", "(1,2)"),
        (r"\frac{\pi}{6}", "30°"),
        ("45°", "45"),
        (r"\pi", "3.14"),
        ("x^2+C", "x^2+K"),
        ("f(x)=2x", "f(z)=2z"),
        (MATRIX.replace("&1", r"&\frac{1}{3}"), MATRIX.replace("&1", "&0.333")),
        (r"\tan(x/2)", r"\frac{1-\cos x}{\sin x}"),
        (r"2 \arcsin \sqrt{a}", r"\arccos(1 - 2a)"),
        ("2x+4y-3=0", r"y = -\frac{1}{2}x + \frac{3}{4}"),
        (r"\{x | x < \frac{3}{2}\} - \{-6\}", r"(-\infty, -6) \cup (-6, \frac{3}{2})"),
        (r"1\leq|z|\leq \frac{3}{2}", r"z \in [-\frac{3}{2}, -1] \cup [1, \frac{3}{2}]"),
        (r"a \leqslant -2 \text{ or } a = 1", r"(-\infty, -2] \cup \{1\}"),
        (r"96-10\sqrt{21}", r"\frac{6\sqrt{1789-240\sqrt{21}}+8\sqrt{1236-240\sqrt{21}}}{5}"),
        (r"\frac{d !}{2 k(d-k) !}", r"\dfrac{\dbinom{d}{k} (k - 1)!}{2}"),
        (r"x = k\pi", r"n\pi"),
        (r"3 \pm 2\sqrt{2}", r"3+2\sqrt2, 3-2\sqrt2"),
        (r"x \equiv 5 \pmod 7", r"x \equiv 12 \pmod{7}"),
        ("10", r"The share is $\boxed{10}\%$."),
    ],
)
def test_accepted(checker: AnswerChecker, gold: str, answer: str) -> None:
    assert checker.check(gold, answer).reason == Reason.EQUAL


@pytest.mark.parametrize(
    ("gold", "answer"),
    [
        ("4t", "4"),
        ("x+2m", "x+2"),
        (r"\frac \pi4 + 2 - \sqrt2", "2"),
        (r"1 - \frac{1}{\mathrm{e}}", r"1 + \frac{1}{\mathrm{e}}"),
        (r"\frac{1}{2004!}", r"\frac{1}{2006!}"),
        (r"\frac{1}{10^{20}}", "0"),
        (r"2^{100}", "2^{100}+1"),
        ("x^2+2x+1", "x^3+2x+1"),
        ("52_8", "52"),
        ("1011_2", "1011"),
        (r"x \equiv 5 \pmod 7", r"x \equiv 5 \pmod 8"),
        ("2 hours 30 minutes", "2 hours 45 minutes"),
        (r"\tan(x/2)", r"\frac{1-\cos x}{\sin x} + 10^{-300}"),
        (r"\sqrt{x^2}", "x"),
        ("2,2,3", "2,3"),
        ("2", "2 2/3"),
        (r"\boxed{\{x | -1 < x < 1\}}", "1"),
        (r"\frac75+\frac15 i", r"\frac15"),
        ("0.0000001", "0.0000002"),
        ("20:34", "10:17"),
        ("[0,9)", "[0,1)"),
        ("(0,9)", "[0,9)"),
        ("C", "The answer is (D)."),
        ("odd", r"\text{oddd}"),
        ("listen", "silent"),
        ("12", "(1,2)"),
        (r"4", r"4\sqrt{2}"),
        (r"\sqrt{67},-\sqrt{85}", r"\sqrt{67}"),
    ],
)
def test_rejected(checker: AnswerChecker, gold: str, answer: str) -> None:
    assert checker.check(gold, answer).reason == Reason.DIFFERENT


@pytest.mark.parametrize(
    ("gold", "answer", "reason"),
    [
        ("", "5", Reason.UNPARSED_GOLD),
        ("???", "???", Reason.UNPARSED_GOLD),
        (r"\frac{1}{", r"\frac{1}{", Reason.UNPARSED_GOLD),
        (r"\boxed{12", r"\boxed{12", Reason.UNPARSED_GOLD),
        ("\x00", "\x00", Reason.UNPARSED_GOLD),
        (r"1:2:3:\ldots", r"1:4:9:\ldots", Reason.NEEDS_POLICY),
        ("1+", "1", Reason.UNPARSED_GOLD),
        ("5", "", Reason.NO_ANSWER),
        ("5", "First one thing.\nThen another, and no end", Reason.NO_ANSWER),
        ("5", "<think>it must be 5", Reason.NO_ANSWER),
        ("5", r"\boxed{5 \pmod 7}", Reason.NEEDS_POLICY),
        ("-1", r"\forall x>0, f(x) = -1", Reason.NEEDS_POLICY),
        ("42", "\\boxed{\u202e24\u202c}", Reason.UNPARSED_ANSWER),
        ("42", "\\boxed{\ud800}", Reason.UNPARSED_ANSWER),
        ("5", r"\boxed{5+}", Reason.UNPARSED_ANSWER),
        ("42", r"\boxed{9^{9^{9^9}}}", Reason.OVER_LIMIT),
        ("42", "x" * 1_000_001, Reason.OVER_LIMIT),
        ("11_2", "3", Reason.NEEDS_POLICY),
        ("5g", "5l", Reason.NEEDS_POLICY),
        ("10%", "10", Reason.NEEDS_POLICY),
        (r"\frac13", "0.33", Reason.NEEDS_POLICY),
        ("x^2+C", "x^2", Reason.NEEDS_POLICY),
        ("5", r"\boxed{1\frac{9}{5}}", Reason.UNPARSED_ANSWER),
        ("20", "2 10", Reason.UNPARSED_ANSWER),
        ("5", r"\not= 5", Reason.UNPARSED_ANSWER),
        ("5", r"\not\in \{5\}", Reason.UNPARSED_ANSWER),
        ("12", r"12 \checkmark", Reason.NEEDS_POLICY),
        ("12", r"\ensuremath{12}", Reason.UNPARSED_ANSWER),
        (r"\log 100", "2", Reason.NEEDS_POLICY),
        (r"42", r"42+\frac{1}{(999+\pi)!}", Reason.NEEDS_POLICY),
        ("Petya will win", "Petya", Reason.NEEDS_POLICY),
    ],
)
def test_unscored(checker: AnswerChecker, gold: str, answer: str, reason: Reason) -> None:
    verdict = checker.check(gold, answer)
    assert (verdict.state, verdict.reason) == (State.UNSCORED, reason)


def test_a_verdict_shows_the_answer_that_was_read(checker: AnswerChecker) -> None:
    assert checker.check("5", r"So $x = \boxed{\dfrac{1}{2}}$.").detail == r"\dfrac{1}{2}"


def test_unseen_math_golds_equal_themselves(checker: AnswerChecker, data: Data) -> None:
    rows = data("math500/math500_dev.jsonl")
    verdicts = checker.check_many((row["answer"], row["solution"]) for row in rows)
    misses = [row["answer"] for row, verdict in zip(rows, verdicts, strict=True) if verdict.state != State.ACCEPTED]
    assert misses == []


def test_gsm8k_grades(checker: AnswerChecker, data: Data) -> None:
    graded = [
        (row["ground_truth"], attempt["solution"], attempt["is_correct"])
        for row in data("gsm8k/graded_solutions_dev.jsonl")
        for attempt in row.values()
        if isinstance(attempt, dict)
    ]
    verdicts = checker.check_many((gold, solution) for gold, solution, _ in graded)
    disagreed = [
        solution[-60:]
        for (_, solution, correct), verdict in zip(graded, verdicts, strict=True)
        if (verdict.state is State.ACCEPTED) != correct
    ]
    assert len(graded) == 2640
    assert disagreed == []


def test_natural_false_accepts_are_not_accepted(checker: AnswerChecker, data: Data) -> None:
    rows = data("answers/natural_false_positives_dev.jsonl")
    verdicts = checker.check_many((row["gold"], row["pred"]) for row in rows)
    assert State.ACCEPTED not in [verdict.state for verdict in verdicts]


@pytest.mark.parametrize(
    ("gold", "answer", "reason"),
    [
        ("18", "9 * 2 = 18", Reason.EQUAL),
        ("18", "9 * 2 = 18 = 36 / 2", Reason.EQUAL),
        ("18", "19 = 18", Reason.NEEDS_POLICY),
        ("35", "7 * 5 = 30", Reason.NEEDS_POLICY),
        ("-20", "64 + 4 = 70", Reason.DIFFERENT),
        ("18", "x = 19 = 20", Reason.DIFFERENT),
        (r"\sqrt{2}", r"\sqrt{2} \approx 1.41", Reason.EQUAL),
        ("(1, 2)", "(x, y) = (1, 2) = (1, 3)", Reason.NEEDS_POLICY),
    ],
)
def test_a_chain_is_one_claim(checker: AnswerChecker, gold: str, answer: str, reason: Reason) -> None:
    """One that contradicts itself is open where any of its sides may be the gold, and different where none is."""
    assert checker.check(gold, rf"\boxed{{{answer}}}").reason == reason
