"""Answers that are compared by their form, before anything is read as a formula."""

from __future__ import annotations

import pytest

from stillroom.common.records import State
from stillroom.traces.answers import check
from stillroom.traces.answers.forms import by_form


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("27 Nov 2023", "November 27, 2023", True),
        ("May 7th", "7 May", True),
        ("2021-03-15", "March 15, 2021", True),
        ("October 1968", "7 October 1968", None),
        ("7 October 1968", "8 October 1968", False),
        ("June 21", "June 25", False),
        ("May 7", "May 7, 2023", None),
        ("yes", "Ja.", True),
        ("true", "wahr", True),
        ("NO", "no.", True),
        ("yes", "no", None),
        ("{'a': 1, 'b': 2}", '{"b": 2, "a": 1}', True),
        ("{'a': 1}", '{"a": 2}', False),
        ("] ) }", "])}", True),
        ("] )", "] }", False),
        ("St. Louis, Paris", "St Louis, Paris", True),
        ("right whale", "Right-whale.", True),
        ("denver colorado", "Denver, Colorado", True),
        ("Paris, Rome", "Rome, Paris", None),
        ("C2H6", "C₂H₆", True),
        ("C_{2}H_{6}", "C2H6", True),
        ("C2H4", "C2H6", None),
        ("AB, C", "A, BC", None),
        ("A, B and C", "ABC", True),
        ("\\text{C++}", "\\text{C}", None),
    ],
)
def test_by_form(one: str, other: str, same: bool | None) -> None:
    assert by_form(one, other) is same
    assert by_form(other, one) is same


SMALL = "Where is Alyssa?\na) trip\nb) Miami\nc) Atlanta"
SHARE = "What percentage of the cars are blue?"


@pytest.mark.parametrize(
    ("gold", "answer", "prompt", "state"),
    [
        # small letters, and a letter with its option
        ("Miami", "The answer is b)", SMALL, State.ACCEPTED),
        ("Atlanta", "b)", SMALL, State.REJECTED),
        ("{b}", "b) 860", "900 - 40 is: a) 753 b) 860 c) 480", State.ACCEPTED),
        ("12", "C. 12", "", State.ACCEPTED),
        ("C", "Answer: C) -2.72 kcal", "", State.ACCEPTED),
        (
            "F",
            "The correct option is (E): five",
            "How many?\nA) 0\nB) 1\nC) 2\nD) 3\nE) four\nF) five",
            State.UNSCORED,
        ),
        # percentages as the prompt asks
        ("25", "Answer: 25%", SHARE, State.ACCEPTED),
        ("25%", "25", SHARE, State.ACCEPTED),
        ("25", "Answer: 25%", "How many cars are blue?", State.UNSCORED),
        ("0.25", "Answer: 0.25%", SHARE, State.UNSCORED),
        ("25", "Answer: 26%", SHARE, State.REJECTED),
        # what is left around an answer
        ("500", "So it is:\n\\[\n\\text{Answer: 500}\n\\]", "", State.ACCEPTED),
        ("16", "Answer: $16$ (without quotes)", "", State.ACCEPTED),
        ("16", "Answer: $16$\n\nAnswer: 16", "", State.ACCEPTED),
        ("16", "Answer: $17$\n\nAnswer: 16", "", State.UNSCORED),
        ("100.001", "Answer = 100.001", "", State.ACCEPTED),
        ("18", "Final Answer: $#### 18", "", State.ACCEPTED),
        ("42", "Step 1: 20\nFinal: 42", "", State.ACCEPTED),
        ("3", "Answer: \\(3\\)", "For which x is \\sqrt{3x - 5} = 2?", State.ACCEPTED),
        ("-4", "Answer: $y = -4$.", "Find y.", State.ACCEPTED),
        # no answer, and the wrong one
        ("12", "不正解は12", "", State.UNSCORED),
        ("12", "Нет ответа: 12", "", State.UNSCORED),
        ("A", "5 mm", "Which?\nA) 5 Mm\nB) 99\nC) 98", State.UNSCORED),
        ("A", "3", "Which?\nA) 3'\nB) 99\nC) 98", State.REJECTED),
    ],
)
def test_choices_shares_and_what_stands_around(gold: str, answer: str, prompt: str, state: State) -> None:
    verdict = check(gold, answer, prompt)
    assert verdict.state is state, (verdict.reason, verdict.detail)
