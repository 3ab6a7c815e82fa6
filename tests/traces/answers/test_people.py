r"""Answers as people and models write them: what stands around a value, words that are values, and what the question
tells. `right`: accepted; `open`: left unscored; `wrong`: not accepted."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from stillroom.common.records import State
from stillroom.traces.answers import check

RIGHT = [
    # words
    ("x \\ge 5", "at least 5"), ("x \\le 5", "5 or less"), ("x > 5", "more than 5"), ("x < 5", "fewer than 5"),
    ("(-\\infty, 5]", "≤ 5"), ("[5, \\infty)", "5 or more"), ("\\mathbb{R}\\setminus\\{-3\\}", "all real numbers except −3"),
    ("(-\\infty,-4)\\cup(-4,\\infty)", "all real numbers except $-4$"), ("x \\neq -4", "all real numbers except -4"),
    ("\\emptyset", "no solution"), ("25", "twenty-five"), ("n is prime", "prime"), ("72", "The answer is 72 in total."),
    ("-5", "the result is -5 exactly"), ("n \\equiv 3 \\pmod 4", "n = 4k+3"),
    ("n \\equiv 3 \\pmod 4", "\\boxed{n = 4k + 3, k \\in \\mathbb{Z}}"),
    # units
    ("3600 s", "1 h"), ("3600 s", "3600000 ms"), ("1.97 m", "1 m 97 cm"), ("2.5 h", "2 h 30 min"), ("1.73 m", "1.73"),
    ("5 \\mathrm{m/s^2}", "5 m/s^2"), ("5 N", "5"), ("5 J", "5 joules"), ("5 K", "5 kelvin"), ("1 kN", "1000 N"),
    ("5 N m", "5 Nm"), ("5 Nm", "5 N m"), ("5 Nm", "5 N·m"), ("5 \\text{ N m}", "5 Nm"), ("5\\ \\mathrm{N\\cdot m}", "$5$ Nm"),
    ("5 kWh", "5 kW h"), ("5 kWh", "\\boxed{5\\text{ kWh}}"), ("5 m/s", "5 m / s"), ("5 m/s", "5m/s"), ("8 m", "8m"), ("5 Nm", "5"),
    ("1, 2, 3", "\\boxed{1}\\boxed{2}\\boxed{3}"),
    ("88.55±0.04", "$88.55 \\pm 0.04$"),
    # names and lists
    ("World War II", "World War 2"), ("World War 2", "the World War II"), ("Louis XIV", "Louis 14"), ("Type I", "type 1"),
    ("1,2,4,5,10,20", "20 10 5 4 2 1"), ("\\{1,2,3\\}", "1 2 3"), ("-1, 2, 3.5", "\\boxed{-1 2 3.5}"),
    # numbers and notation
    ("127238", "127'238"), ("[4.4, 0]", "[4,4; 0]"), ("(1, 2.5)", "(1; 2,5)"), ("(312,123,231)", "(312, 123, 231)"),
    ("x^*", "x^{*}"), ("\\dot x", "\\dot{x}"), ("12^{\\mathrm{th}}", "12th"), ("\\mathbb Z^+", "\\mathbb{Z}^{+}"),
    ("matrix([1,2],[3,4])", "\\begin{pmatrix}1&2\\\\3&4\\end{pmatrix}"), ("V=IR", "IR=V"),
    # choices
    ("C", "Answer: I think it is C"), ("D", "[D] is correct"), ("C", "C.154 °"), ("B", "我選擇 B"), ("A", "我認為應該選 A"),
    ("C", "\\boxed{12} so (C)"), ("12", "\\boxed{12} so (C)"), ("B", "Ich wähle B"),
    ("3\\ln x", "\\ln(x^3)"), ("2\\ln|x|", "\\ln(x^2)"), ("12 dollars per dozen", "12 dollars per dozen"),
    ("12", "12 dollars per hour"), ("12", "12 for all of them"),
    # around the answer
    ("72", "The answer is 72, in total, so the farmer earns that much."), ("460", "$$\n\\text{ANSWER: } \\$460\n$$"),
    ("B", '```json\n{"reasoning": "A and C are out.", "answer": "B"}\n```'), ("5", '{"answer": "\\\\boxed{5}"}'),
    ("42", "\\boxed{9} " * 20 + "\\boxed{42}"),
    ("5", '{"answer": "\\boxed{5}"}'), ("1, 2", '{"final_answer": ["1", "2"]}'), ("7", '{"answer": 7}'),
]  # fmt: skip
OPEN = [
    ("\\infty", "infinitely many"), ("converges", "The series converges"), ("even", "The function is even"),
    ("8", "8 m"), ("r = (1/B)*(2*V*m/q)**(1/2)", "r = (2*V*m/(q*B**2))**(1/2)"), ("(1, 2)", "1 or 2"),
    ("Malcolm X", "Malcolm 10"), ("Chromosome X", "chromosome 10"), ("World War II", "World War 2 ended"),
    ("Henry VIII", "Edward 8"), ("1,2,4,5,10,20", "20 10 5 4 2"), ("12", "1 2"), ("(1,2,3)", "1 2 3"),
    ("8 mm", "8Mm"), ("5 Nm", "5 nm"), ("5 nm", "5 Nm"), ("5 N", "5 Nm"), ("5 kWh", "5 kW"), ("8", "8 m / s"), ("8", "8m"), ("8m", "8"),
    ("88.55", "88.55±0.04"), ("3", "\\boxed{1}\\boxed{2}\\boxed{3}"), ("88.55", "$\\mathbf{88.55\\pm0.04}$ percent"), ("88.55 kg", "88.55 ± 0.04 kg"),
    ("12", "12 dollars per dozen"), ("12", "12 dollars a dozen"), ("2*log(x)", "log(x**2)"), ("log(x**2)", "2*log(x)"),
    ("12", "The answer is 12 for the first and more for the second"), ("\\ln(1/x^2)", "-2\\ln x"),
    ("42", "\\boxed{9} \\boxed{42}"), ("5", '{"answer": 5}\n{"answer": 6}'), ("C", "\\boxed{C or D}"),
]  # fmt: skip
WRONG = [
    ("World War II", "World War 3"), ("World War II", "World War 1"), ("Type II", "type 11"),
    ("1,2,4,5,10,20", "20 10 5 4 2 3"), ("1, 234", "1 234"), ("1, 2", "12"),
    ("5 Nm", "6 Nm"), ("5 Nm", "5 N/m"), ("5 kWh", "5 kW/h"), ("5 kWh", "5 Wh"), ("5 m/s", "5 s/m"), ("8 m", "8s"),
    ("1, 2, 4", "\\boxed{1}\\boxed{2}\\boxed{3}"), ("4", "\\boxed{1}\\boxed{2}\\boxed{3}"),
    ("2", "2\\pm1"), ("6", "5 ± 0.1"), ("88.55±0.04", "88.55±0.05"), ("88.59", "88.55±0.04"),
    ("5", "at least 5"), ("5", "5 or more"), ("x > 5", "at least 5"), ("x \\ge 5", "at most 5"), ("3", "3:1"), ("3:1", "3"),
    ("312123231", "(312,123,231)"), ("log(5)", "5"), ("sqrt(2)+sqrt(3)", "3"), ("2 hours 30 minutes", "30"),
    ("41", "\\boxed{41} … So the answer is 42"), ("5", "all real numbers except 5"), ("1 m", "1 s"), ("A", "我不选 A"),
    ("3600 s", "1 min"), ("72", "The answer is 72, so not what we want"), ("\\sqrt{x}", "-\\sqrt{x}"),
    ("C", "\\boxed{12} so (D)"), ("13", "\\boxed{12} so (C)"), ("A", '{"answer": "B", "other": "A"}'),
    ("9", "\\boxed{9} " * 20 + "\\boxed{42}"), ("127", "127'238"), ("x", "\\sqrt{x^2}"),
]  # fmt: skip


@pytest.mark.parametrize(("gold", "answer"), RIGHT)
def test_right(gold: str, answer: str) -> None:
    verdict = check(gold, answer)
    assert verdict.state is State.ACCEPTED, verdict.detail


@pytest.mark.parametrize(("gold", "answer"), OPEN)
def test_open(gold: str, answer: str) -> None:
    verdict = check(gold, answer)
    assert verdict.state is State.UNSCORED, verdict.detail


@pytest.mark.parametrize(("gold", "answer"), WRONG)
def test_wrong(gold: str, answer: str) -> None:
    verdict = check(gold, answer)
    assert verdict.state is not State.ACCEPTED, verdict.detail


CAPITAL = "Capital of Australia?\nA) Sydney\nB) Melbourne\nC) Canberra\nD) Perth"
FIND = "The probability may be expressed in the form m/n. Find m + n"
NEEDS = "How much money does Luca need to buy a sour apple candy and a gum? (Unit: $)"
BETWEEN = "Between which two years does the line graph see its maximum peak?"
IN_A_LINE = "The length of BC is () A. 12 B. 13 C. 14"


@pytest.mark.parametrize(
    ("gold", "answer", "prompt", "state"),
    [
        ("C", "Canberra", CAPITAL, State.ACCEPTED),
        ("C", "\\boxed{\\text{canberra}}", CAPITAL, State.ACCEPTED),
        ("C", "c)", CAPITAL, State.ACCEPTED),
        ("C", "Perth", CAPITAL, State.REJECTED),
        ("C", "Brisbane", CAPITAL, State.UNSCORED),
        ("Canberra", "C", CAPITAL, State.ACCEPTED),
        ("Canberra", "D", CAPITAL, State.REJECTED),
        ("B", "\\boxed{13}", IN_A_LINE, State.ACCEPTED),
        ("B", "\\boxed{14}", IN_A_LINE, State.REJECTED),
        ("293", "m+n = 256+37 = 293", "… Find $m+n$.", State.ACCEPTED),
        ("293", "\\boxed{m + n = 293}", "Compute $m+n$.", State.ACCEPTED),
        ("293", "\\boxed{m + n = 294}", "Compute $m+n$.", State.REJECTED),
        ("5", "\\boxed{x + 3 = 5}", "Solve x + 3 = 8.", State.UNSCORED),
        ("\\{1,6,7\\}", "X ∪ Y = {7, 1, 6}", "What is the set X ∪ Y?", State.ACCEPTED),
        ("\\{1,6,7\\}", "$X \\cup Y = \\{7, 1, 6\\}$", "What is the set X ∪ Y?", State.ACCEPTED),
        ("\\{1,6,7\\}", "X ∩ Y = {7, 1, 6}", "What is the set X ∪ Y?", State.UNSCORED),
        ("\\{1,6,7\\}", "X ∪ Y = {7, 1, 6}", "List the members.", State.UNSCORED),
        ("\\{1,6,7\\}", "X ∪ Y = {7, 1, 5}", "What is the set X ∪ Y?", State.REJECTED),
        ("079", "There are C(9,4) = 126, so it is 126/1296 = 7/72 and m + n = 079.", FIND, State.ACCEPTED),
        ("079", "The probability is 7/72 and $m + n = 79$.", FIND, State.ACCEPTED),
        ("079", "There are 126 non-decreasing sequences, so it is 7/72 and m + n = 079.", FIND, State.ACCEPTED),
        ("079", "The probability is 7/72 and not m + n = 079.", FIND, State.UNSCORED),
        ("079", "The probability is 7/72 and m - n = 079.", FIND, State.UNSCORED),
        ("079", "The probability is 7/72 and m + n = 080.", FIND, State.UNSCORED),
        ("079", "The probability is 7/72 and 2m + n = 079.", FIND, State.UNSCORED),
        ("079", "It is wrong that m/n = 7/72 and m + n = 079.", FIND, State.UNSCORED),
        ("079", "If m = 7, then m/n = 7/72 and m + n = 079.", FIND, State.UNSCORED),
        ("1.45", "Luca needs $1.45 to buy a sour apple candy and a gum.", NEEDS, State.ACCEPTED),
        ("1.45", "Luca needs $1.45 to $2 for a sour apple candy.", NEEDS, State.UNSCORED),
        ("1.45", "Luca needs 1.45 to two dollars to buy candy.", NEEDS, State.UNSCORED),
        ("1.45", "Luca needs more than $1.45 to buy a sour apple candy.", NEEDS, State.UNSCORED),
        ("[2007, 2008]", "The graph saw its peak between 2007 and 2008.", BETWEEN, State.ACCEPTED),
        ("2007, 2008", "It peaked between 2007 and 2008.", BETWEEN, State.ACCEPTED),
        ("[2007, 2008]", "The graph saw its peak between 2007 and 2009.", BETWEEN, State.UNSCORED),
        ("[2007, 2008]", "The graph saw its peak between 2007 and 2008 or 2009.", BETWEEN, State.UNSCORED),
        ("3, 4", "It lies between 3 and 4 thousand", BETWEEN, State.UNSCORED),
        ("2007, 2008", "The difference between 2007 and 2008 is small.", BETWEEN, State.UNSCORED),
        ("79", "For n = 1 we have x = 2 and m + n = 79.", FIND, State.UNSCORED),
        ("\\{1,2\\}", "A ∪ B = {1,2}", "Find A ∪ B ∪ C.", State.UNSCORED),
        ("\\{1,2\\}", "A ∪ B = {1,2}", "What is the set A ∪ B'?", State.UNSCORED),
        ("4", "She added 4 to her score to get the total.", "What is the total score?", State.UNSCORED),
        ("[2007, 2008]", "The graph did not peak between 2007 and 2008.", BETWEEN, State.UNSCORED),
        ("[2007, 2008]", "The graph saw its peak between 2007 and 2008.", "When did it peak?", State.UNSCORED),
        ("5", "\\boxed{x + 3 = 5}", "Find x + 3 = 8", State.UNSCORED),
        ("5", "\\boxed{x + y = 5}", "Find x.", State.UNSCORED),
    ],
)
def test_what_the_question_tells(gold: str, answer: str, prompt: str, state: State) -> None:
    verdict = check(gold, answer, prompt)
    assert verdict.state is state, verdict.detail


TAKEN_BACK = Path(__file__).parent / "taken_back.yaml"


@pytest.mark.parametrize("gold", yaml.safe_load(TAKEN_BACK.read_text(encoding="utf-8")))
def test_what_is_denied_doubted_or_said_of_something_else_is_never_accepted(gold: str) -> None:
    for answer in yaml.safe_load(TAKEN_BACK.read_text(encoding="utf-8"))[gold]:
        verdict = check(gold, answer)
        assert verdict.state is not State.ACCEPTED, (answer, verdict.detail)


WHICH = "Which?\nA) {}\nB) 99\nC) 98"


@pytest.mark.parametrize(
    ("option", "answer"),
    [
        (".5", "5"), ("1 1/2", "11/2"), ("2*3", "23"), ("\\frac{1}{23}", "\\frac{12}{3}"), ("2^{3}4", "2^{34}"),
        ("\\sqrt{2x}", "\\sqrt{2}x"), ("e^{2x}", "e^2x"), ("Co", "CO"),
    ],
)  # fmt: skip
def test_an_option_is_compared_as_it_is_written_or_by_what_it_means(option: str, answer: str) -> None:
    assert check("A", answer, WHICH.format(option)).state is not State.ACCEPTED
    assert check("A", option, WHICH.format(option)).state is State.ACCEPTED


@pytest.mark.parametrize("answer", ["\\frac34", "0.75", "x = 3/4", "(A) 3/4", "A"])
def test_an_option_in_another_notation(answer: str) -> None:
    assert check("A", answer, "Which?\nA) 3/4\nB) 4/3\nC) 6").state is State.ACCEPTED


def test_the_letter_of_one_option_with_the_text_of_another() -> None:
    assert check("C", "C. 5", "Which?\nA) 5\nB) 4/3\nC) 6").state is State.UNSCORED


@pytest.mark.parametrize(
    ("gold", "answer"),
    [
        ("42", "It's 42"), ("42", "I got 42"), ("42", "Ans: 42"), ("42", "So, 42"), ("42", "42 QED"), ("42", "42 kWh"),
        ("42", "42 m/s"), ("42", "USD 42"), ("8", "8 kN"), ("8", "8 K"), ("C", "C 6"), ("C", "6 (C)"), ("C", "C (6)"),
        ("1/4", "quarter"), ("12", "dozen"), ("0", "none"), ("42", "My final answer is: 42!"), ("NYC", "New York City"),
    ],
)  # fmt: skip
def test_what_may_be_right_is_not_rejected(gold: str, answer: str) -> None:
    assert check(gold, answer).state is not State.REJECTED
    assert check(answer, gold).state is not State.REJECTED
