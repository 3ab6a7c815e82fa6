"""Answer types: what an answer must be, and how it is read then."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from stillroom.common.records import ANSWER_TYPES, State
from stillroom.errors import InputError
from stillroom.traces.answers import check, check_file

A, R, U = State.ACCEPTED, State.REJECTED, State.UNSCORED


@pytest.mark.parametrize(
    ("answer_type", "gold", "answer", "state", "reason"),
    [
        ("integer", "42", "\\boxed{42}", A, "equal"),
        ("integer", "42", "\\boxed{42.0}", A, "equal"),
        ("integer", "42", "\\boxed{43}", R, "different"),
        ("integer", "42", "\\boxed{42.5}", R, "different"),
        ("integer", "42", "\\boxed{42 \\text{ apples}}", A, "equal"),
        ("integer", "42", "\\boxed{x + 1}", U, "other_type"),
        ("integer", "42", "\\boxed{(41, 43)}", U, "other_type"),
        ("integer", "42", "\\boxed{B}", U, "other_type"),
        ("integer", "42", "\\boxed{\\text{none}}", U, "other_type"),
        ("integer", "1/2", "\\boxed{1/2}", U, "unparsed_gold"),
        ("number", "1/2", "\\boxed{0.5}", A, "equal"),
        ("number", "2\\pi", "\\boxed{2\\pi}", A, "equal"),
        ("number", "12", "(A) 12", A, "equal"),
        ("number", "12", "\\boxed{x = 12}", A, "equal"),
        ("number", "12", "\\boxed{x < 12}", U, "other_type"),
        ("expression", "x^2 - 1", "\\boxed{(x-1)(x+1)}", A, "equal"),
        ("expression", "x^2 - 1", "\\boxed{x^2 - 1 < 5}", U, "other_type"),
        ("expression", "x^2 - 1", "\\boxed{\\{x, 1\\}}", U, "other_type"),
        ("equation", "y = 2x + 1", "\\boxed{2x - y + 1 = 0}", A, "equal"),
        ("equation", "y = 2x + 1", "\\boxed{2x + 1}", U, "other_type"),
        ("set", "\\{1, 2\\}", "\\boxed{2, 1}", A, "equal"),
        ("set", "\\{1, 2\\}", "\\boxed{(1, 2)}", U, "other_type"),
        ("list", "1, 2", "\\boxed{2, 1}", A, "equal"),
        ("list", "1, 2", "\\boxed{x < 2}", U, "other_type"),
        ("tuple", "(312,123,231)", "\\boxed{(312, 123, 231)}", A, "equal"),
        ("tuple", "(1, 2)", "\\boxed{(2, 1)}", R, "different"),
        ("tuple", "(1, 2)", "\\boxed{1 < x < 2}", U, "other_type"),
        ("interval", "(1, 2)", "\\boxed{1 < x < 2}", A, "equal"),
        ("interval", "(-\\infty, 3)", "\\boxed{x < 3}", A, "equal"),
        ("interval", "[1, 2]", "\\boxed{2}", U, "other_type"),
        ("interval", "(1, 2) \\cup (3, 4)", "\\boxed{(3, 4) \\cup (1, 2)}", A, "equal"),
        ("matrix", "\\begin{pmatrix}1&2\\\\3&4\\end{pmatrix}", "\\boxed{\\begin{bmatrix}1&2\\\\3&4\\end{bmatrix}}", A, "equal"),
        ("matrix", "\\begin{pmatrix}1&2\\\\3&4\\end{pmatrix}", "\\boxed{1, 2, 3, 4}", U, "other_type"),
        ("choice", "C", "The answer is (C) 12.", A, "equal"),
        ("choice", "C", "\\boxed{c}", A, "equal"),
        ("choice", "C", "\\boxed{D}", R, "different"),
        ("choice", "C", "\\boxed{12}", U, "other_type"),
        ("choice", "C", "\\boxed{C + 1}", U, "other_type"),
        ("choice", "A, C", "\\boxed{AC}", A, "equal"),
        ("choice", "2", "\\boxed{(2)}", A, "equal"),
        ("choice", "12", "\\boxed{A}", U, "unparsed_gold"),
        ("text", "May", "\\boxed{\\text{may}}", A, "equal"),
        ("text", "e", "\\boxed{2.718281828459045}", R, "different"),
        ("text", "pi", "\\boxed{3.14159265358979}", R, "different"),
        ("text", "Paris", "\\boxed{\\text{London}}", R, "different"),
        ("gold", "3/4", "\\boxed{0.75}", A, "equal"),
        ("gold", "3/4", "\\boxed{(3, 4)}", U, "other_type"),
        ("gold", "(1, 2)", "\\boxed{1 < x < 2}", A, "equal"),  # may be an interval
        ("gold", "C", "\\boxed{C}", A, "equal"),
    ],
)  # fmt: skip
def test_only_the_type_is_taken(answer_type: str, gold: str, answer: str, state: State, reason: str) -> None:
    verdict = check(gold, answer, "", answer_type)
    assert (verdict.state, verdict.reason) == (state, reason), verdict.detail


@pytest.mark.parametrize("answer_type", sorted(ANSWER_TYPES))
@pytest.mark.parametrize("answer", ["1 or 2", "any", "0..100", "", "everything", "1, 2, 3, 4, 5, 6, 7, 8, 9"])
def test_no_type_takes_what_fits_everything(answer_type: str, answer: str) -> None:
    for gold in ("5", "x + 1", "(1, 2)", "C", "x < 3", "May"):
        assert check(gold, f"\\boxed{{{answer}}}", "", answer_type).state is not State.ACCEPTED


def test_an_unknown_type() -> None:
    with pytest.raises(InputError, match=r"no answer type 'numeric': there are integer, number"):
        check("1", "1", "", "numeric")


def test_in_a_file(tmp_path: Path) -> None:
    rows = [{"gold": "5", "pred": "x < 5"}, {"gold": "x < 5", "pred": "x < 5", "answer_type": "interval"}]
    path = tmp_path / "pairs.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    summary = check_file(path, answer_type="integer", workers=1)
    assert (summary.states["accepted"], summary.reasons["other_type"]) == (1, 1)
    path.write_text(json.dumps(rows[0] | {"answer_type": "numeric"}) + "\n")
    with pytest.raises(InputError, match=r"'answer_type' is 'numeric'; it must be one of"):
        check_file(path)
