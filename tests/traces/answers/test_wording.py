"""What stands around an answer, and how it is written: each rewriting, and what each leaves alone."""

from __future__ import annotations

import pytest

from stillroom.common.records import State
from stillroom.traces.answers import AnswerChecker, Policies, Reason
from stillroom.traces.answers.extract import find_answer
from stillroom.traces.answers.grade import judge
from stillroom.traces.answers.wording import reworded


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("['C']", "C"),
        (r"\mathbb{Z}^+", r"\mathbb{Z+}"),
        (r"v_{\max}", "v_{m a x}"),
        (r"\lambda_{\text{max}}", r"\lambda_{m a x}"),
        (r"\omega^{\prime}", r"\omega'"),
        ("x^*", "x_{ast}"),
        (r"12^{\mathrm{th}}", "12"),
        ("0.(3)", r"0.\overline{3}"),
        ("101 (base 2)", "101_{2}"),
        ("101 in base two", "101_{2}"),
        (r"\frac{1}{3}\text{ (approximately }0.333\text{)}", r"\frac{1}{3} \approx 0.333"),
        ("(1,2) union (3,4)", r"(1,2) \cup (3,4)"),
        ("①③④", "1, 3, 4"),
        ("2\n\n3", "2, 3"),
        (r"\text{The sum is }505.", "505"),
        (r"The\ area\ is\ \frac{1}{2}", r"\frac{1}{2}"),
        ("twenty-five", "25"),
        ("two hundred and six", "206"),
        ("one half", r"\frac{1}{2}"),
        ("n is prime", r"\text{prime}"),
        ("all primes n", r"\text{prime}"),
        (r"even $n$", r"\text{even}"),
    ],
)
def test_rewritings(written: str, read: str) -> None:
    assert reworded(written) == read


@pytest.mark.parametrize(
    "written",
    [
        "x^2", "a_{ij}", "1.5", "f(3)", "2(3)", "(1, 2)", "about 3", "x \\cup y", "12", "1,234", "n is 3", "even or odd n and m",
        "The answer", "base", "x_2", "y'", "two apples",
    ],
)  # fmt: skip
def test_what_is_left_alone(written: str) -> None:
    assert reworded(written) == written


@pytest.mark.parametrize(
    "piece", ["The a ", " ", "( ", "\\, ", "twenty ", "①,", "is ", "1.000", "\\text{ ", "and ", "或", "12个", "\n\n1"]
)
def test_hostile_text_is_read_in_linear_time(piece: str) -> None:
    """With a pattern that backtracks, the longer text would not end within the test's time limit."""
    reworded((piece * 20_000)[:8_000])


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("<think>5</think><answer>42</answer>", "42"),
        ("It is <answer>\\boxed{42}</answer>", "42"),
        ("<answer>42", "42"),  # generation stopped at </answer>
        ("So <|begin_of_box|>A<|end_of_box|>", "A"),
        ("<|begin_of_solution|>The value is 48.<|end_of_solution|>", "48"),
        ("[ANSWER]7[/ANSWER]", "7"),
        ("#### 42</s>", "42"),
        ("The answer is 42.<|im_end|>\n<|im_start|>user\nThe answer is 43.", "42"),
        ("#### 18\n\nQuestion: A hat?\nAnswer: 3", "18"),
        ("A count gives \\boxed{41}. But one was forgotten. So the answer is 42.", "42"),
        ("\\boxed{12}. The answer is (C).", "(C)"),
        ("\\boxed{42}. This answer is correct.", "42"),
        ("It cannot be \\boxed{42}.", None),
        ("It is wrong that the answer is 17.", None),
        ("It might be (D).", "It might be (D)"),
        ("It is (D).", "D"),
        ("Answer: 41\nAnswer: 42", "41 | 42"),
        ("\\boxed{9} \\boxed{9} \\boxed{42}", "9 | 42"),
        ("\\boxed{42} \\boxed{42}", "42"),
        ("The total cost is 12. Therefore the rest is 29.", "29"),
    ],
)
def test_what_surrounds_an_answer(text: str, answer: str | None) -> None:
    assert find_answer(text) == answer


@pytest.mark.parametrize(("gold", "cut"), [("log(5)", "5"), ("sqrt(2)+sqrt(3)", "3"), ("2 hours 30 minutes", "30")])
def test_a_gold_is_read_whole_under_every_policy(gold: str, cut: str) -> None:
    assert judge(gold, f"So it is {cut}", Policies(unmarked="last")).reason is not Reason.EQUAL


@pytest.mark.parametrize(
    ("gold", "answer", "state"),
    [
        ("11:30 p.m.", "23:30", State.ACCEPTED),
        ("3 p.m.", "15:00", State.ACCEPTED),
        ("12 noon", "12:00 p.m.", State.ACCEPTED),
        ("5 a.m.", "5 p.m.", State.REJECTED),
        ("3 p.m.", "3:00", State.UNSCORED),
        ("ACD", "A, C, D", State.ACCEPTED),
        ("A, C", "AD", State.REJECTED),
        ("<", "\\leq", State.REJECTED),
        ("<", "<", State.ACCEPTED),
        ("n = 4k + 3", "n \\equiv 3 \\pmod 4", State.ACCEPTED),
        ("n = 4k + 3", "n \\equiv 1 \\pmod 4", State.REJECTED),
        ("n = 4k + 3", "n \\equiv 3 \\pmod 8", State.REJECTED),
        ("C_1 \\sin x + C_2 \\cos x", "C_1 \\cos x + C_2 \\sin x", State.ACCEPTED),
        ("C_1 \\sin x + C_2 \\cos x", "C_1 \\cos x + 2 C_2 \\sin 2x", State.REJECTED),
        ("AB = 2CD", "CD = \\frac{AB}{2}", State.ACCEPTED),
        ("V = IR", "IR = V", State.ACCEPTED),
        ("9.8 \\text{ m/s}^2", "9.8\\ \\mathrm{m\\,s^{-2}}", State.ACCEPTED),
        ("500 \\text{ nm}", "5 \\times 10^{-7} \\text{ m}", State.ACCEPTED),
        ("3 \\text{ kJ}", "3000 \\text{ J}", State.ACCEPTED),
        ("3 \\text{ kJ}", "300 \\text{ J}", State.REJECTED),
        ("180 - 2\\alpha", "180^\\circ - 2\\alpha", State.ACCEPTED),
        ("convergent", "converges", State.ACCEPTED),
        ("n is prime", "n is even", State.REJECTED),
        ("\\frac{1}{3}", "\\frac{1}{3} (about 0.5)", State.UNSCORED),
    ],
)
def test_kinds_that_people_write(gold: str, answer: str, state: State) -> None:
    with AnswerChecker(workers=1) as checker:
        assert checker.check(gold, f"\\boxed{{{answer}}}").state is state
