from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from stillroom.students.evaluate.measure import evaluate_answers
from stillroom.students.evaluate.results import Comparison, Evaluation, Result
from stillroom.students.evaluate.table import comparison_lines, eval_table


@pytest.fixture
def evaluation(scored: Any) -> Evaluation:
    return evaluate_answers(
        {
            "student_before": scored(range(3), range(3, 100)),
            "student_after": scored(range(2, 55), [0, 1, *range(55, 100)]),
            "teacher": scored(range(8), range(8, 97), finish="length"),
            "control_unfiltered": scored([99], range(95), range(95, 99)),
        }
    )


def shown(evaluation: Evaluation, width: int = 80, encoding: str = "utf-8") -> list[str]:
    file = io.TextIOWrapper(io.BytesIO(), encoding=encoding, newline="\n")
    Console(file=file, width=width).print(eval_table(evaluation))
    file.seek(0)
    return [line.rstrip() for line in file.read().splitlines()]


@pytest.mark.parametrize("width", [80, 100, 120])
def test_one_line_a_model_and_a_comparison(evaluation: Evaluation, width: int) -> None:
    lines = shown(evaluation, width)
    assert max(map(len, lines)) <= width
    after = next(line for line in lines if line.startswith("student_after "))
    for part in ("53.0 %", "[43.3, 62.5]", "●", " 100 ", "100 %", "20"):
        assert part in after
    assert sum(" − " in line for line in lines) == 3
    assert not any("…" in line for line in lines)


def test_the_columns_are_aligned(evaluation: Evaluation) -> None:
    lines = shown(evaluation)
    models = [line for line in lines if "[" in line and " − " not in line]
    assert len({line.index("[") for line in models}) == 1
    differences = [line for line in lines if " − " in line]
    assert len({line.index("[") for line in differences}) == 1


def test_what_is_missing_or_unscored_stands_below(evaluation: Evaluation) -> None:
    text = " ".join(shown(evaluation, 120))
    assert "teacher: 3 of 100 tasks got no attempt" in text
    assert "control_unfiltered: 4 of 100 attempts could not be scored" in text


def test_the_whisker_stands_where_the_numbers_are() -> None:
    ends = [("low", 0.0, 0.0, 0.1), ("high", 1.0, 0.9, 1.0), ("mid", 0.5, 0.4, 0.6)]
    results = tuple(Result(who=w, metric="accuracy", value=v, low=a, high=b, n=9) for w, v, a, b in ends)
    bars = {line.split()[0]: line for line in shown(Evaluation(results=results), 120)}
    assert "●━━" in bars["low"]
    assert "━━●" in bars["high"]
    assert "·━━━●━━━·" in bars["mid"]


def test_a_plain_terminal_gets_plain_characters() -> None:
    results = (Result(who="mid", metric="accuracy", value=0.5, low=0.4, high=0.6, n=9),)
    file = io.StringIO()
    console = Console(file=file, width=100)
    segments = list(console.render(eval_table(Evaluation(results=results)), console.options.update(width=100)))
    assert any("●" in segment.text for segment in segments)
    options = console.options
    options.encoding = "ascii"
    text = "".join(segment.text for segment in console.render(eval_table(Evaluation(results=results)), options))
    assert "===o===" in text


def test_names_from_outside_are_not_markup() -> None:
    results = (Result(who="[red]x[/nothing]", metric="accuracy", value=0.5, low=0.4, high=0.6, n=9),)
    assert any("[red]x[/nothing]" in line for line in shown(Evaluation(results=results), 120))


def test_comparisons_in_plain_words(evaluation: Evaluation) -> None:
    first = comparison_lines(evaluation)[0]
    assert first.startswith("student_after − student_before: +50.0 points [")
    assert first.endswith("], McNemar exact p < 0.0001")


@pytest.mark.parametrize(
    ("low", "difference", "high", "word"),
    [
        (0.1, 0.2, 0.3, "better"),
        (-0.3, -0.2, -0.1, "worse"),
        (-0.1, 0.1, 0.3, "not shown"),
        (0.0, 0.1, 0.2, "not shown"),
    ],
)
def test_the_word_follows_the_interval(low: float, difference: float, high: float, word: str) -> None:
    found = Comparison(a="a", b="b", test="mcnemar_exact", difference=difference, low=low, high=high, p=0.04, n=10)
    lines = shown(Evaluation(results=(), comparisons=(found,)))
    assert any(line.startswith("a − b") and line.endswith(word) for line in lines)


@pytest.mark.parametrize(
    ("difference", "p", "expected"),
    [
        (0.0, 1.0, "a − b: 0.0 points [−10.0, 10.0], McNemar exact p = 1.00"),
        (-0.02, 0.0123, "a − b: −2.0 points [−10.0, 10.0], McNemar exact p = 0.0123"),
        (-0.0001, 0.5, "a − b: 0.0 points [−10.0, 10.0], McNemar exact p = 0.50"),
    ],
)
def test_signs_and_small_numbers(difference: float, p: float, expected: str) -> None:
    found = Comparison(a="a", b="b", test="mcnemar_exact", difference=difference, low=-0.1, high=0.1, p=p, n=10)
    assert comparison_lines(Evaluation(results=(), comparisons=(found,))) == [expected]
