from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from rich.console import Console

from stillroom.evaluation.evaluate import evaluate_answers
from stillroom.evaluation.forgetting import Forgotten, forgetting_results
from stillroom.evaluation.results import Comparison, Evaluation, Result
from stillroom.report.evaluation_table import eval_table


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
    assert sum(line.endswith(("better", "worse", "unclear")) for line in lines) == 3
    assert not any("…" in line for line in lines)


def test_the_columns_are_aligned(evaluation: Evaluation) -> None:
    lines = shown(evaluation)
    differences = [line for line in lines if line.startswith("  ")]
    models = [line for line in lines if "[" in line and line not in differences]
    assert len({line.index("]") for line in models}) == 1
    assert len({line.index("]") for line in differences if "]" in line}) == 1


def test_form_stands_beside_accuracy(scored: Any) -> None:
    answers = scored(range(8)) | {
        task: replace(a, verdict=replace(a.verdict, reason="no_answer"))
        for task, a in scored(unscored=["x", "y"]).items()
    }
    lines = shown(evaluate_answers({"control_gold": answers}))
    header, row = (next(line for line in lines if line.startswith(start)) for start in ("model", "control_gold"))
    assert row[: header.index("format") + 6].endswith(" 80 %")
    assert row[: header.index("EOS") + 3].endswith("100 %")


def test_p_is_shown_as_it_is_left_after_holm(evaluation: Evaluation) -> None:
    (first, *_), lines = evaluation.comparisons, shown(evaluation)
    made = first.model_copy(update={"p": 0.01})
    corrected = Comparison.model_validate(made.model_dump() | {"p_holm": 0.2, "detectable": 0.123})
    (line,) = [
        line for line in shown(Evaluation(results=(), comparisons=(corrected,))) if line.startswith("  student")
    ]
    assert line.split()[-3:] == ["0.20", "12.3", "unclear"]  # its interval alone would say better
    assert any("p, Holm" in line for line in lines)


def test_old_evaluations_have_p_as_it_was(evaluation: Evaluation) -> None:
    old = Comparison(a="a", b="b", test="mcnemar_exact", difference=0.2, low=0.1, high=0.3, p=0.012, n=10)
    lines = shown(Evaluation(results=(), comparisons=(old,)))
    (line,) = [line for line in lines if line.startswith("  b")]
    assert line.split()[-3:] == ["0.0120", "–", "better"]
    assert not any("Holm" in line for line in lines)


def test_what_is_missing_or_unscored_stands_below(evaluation: Evaluation) -> None:
    text = " ".join(shown(evaluation, 120))
    assert "teacher: 3 of 100 tasks got no attempt" in text
    assert "control_unfiltered: 4 of 100 attempts could not be scored" in text


def test_the_whisker_stands_where_the_numbers_are() -> None:
    ends = [("low", 0.0, 0.0, 0.1), ("high", 1.0, 0.9, 1.0), ("mid", 0.5, 0.4, 0.6)]
    results = tuple(Result(who=w, metric="accuracy", value=v, low=a, high=b, n=9) for w, v, a, b in ends)
    bars = {line.split()[0]: line for line in shown(Evaluation(results=results), 120) if line}
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


@pytest.mark.parametrize(
    ("low", "difference", "high", "word"),
    [
        (0.1, 0.2, 0.3, "better"),
        (-0.3, -0.2, -0.1, "worse"),
        (-0.1, 0.1, 0.3, "unclear"),
        (0.0, 0.1, 0.2, "unclear"),
    ],
)
def test_the_word_follows_the_interval(low: float, difference: float, high: float, word: str) -> None:
    found = Comparison(a="a", b="b", test="mcnemar_exact", difference=difference, low=low, high=high, p=0.04, n=10)
    lines = shown(Evaluation(results=(), comparisons=(found,)))
    assert any(line.startswith("  b ") and line.endswith(word) for line in lines)


# -- the blocks below ----------------------------------------------------------------------------------------------


def a_row(who: str, metric: str, value: float, **more: Any) -> Result:
    return Result.model_validate(
        {"who": who, "metric": metric, "value": value, "low": value - 0.05, "high": value + 0.05, "n": 100} | more
    )


BEFORE, AFTER = "student_before", "student_after"
SEVERAL = [
    a_row(who, f"{name}_at_{k}", value, draws=8, temperature=0.8)
    for who, value in ((BEFORE, 0.1), (AFTER, 0.5))
    for k in (1, 8)
    for name in ("pass", "majority")
]
SEEDS = [
    a_row(AFTER, "accuracy_over_seeds", 0.51, each=[0.5, 0.52], seeds=2),
    a_row(AFTER, "difference_over_seeds", 0.41, against=BEFORE),
]
FORGOTTEN = [
    *(a_row(who, "letter_counting_accuracy", value) for who, value in ((BEFORE, 0.3), (AFTER, 0.2))),
    *(a_row(who, "perplexity", value) for who, value in ((BEFORE, 14.2), (AFTER, 15.1))),
    a_row(AFTER, "perplexity_ratio", 1.063, low=1.04, high=1.08, n=60, against=BEFORE),
]
LESS = Comparison.model_validate(
    {"a": AFTER, "b": BEFORE, "test": "mcnemar_exact", "difference": -0.1, "low": -0.18, "high": -0.02, "p": 0.001,
     "p_holm": 0.004, "n": 100, "metric": "letter_counting_accuracy"}
)  # fmt: skip


def below(evaluation: Evaluation, rows: Sequence[Result], *comparisons: Comparison) -> Evaluation:
    return Evaluation(
        results=(*evaluation.results, *rows),
        comparisons=(*evaluation.comparisons, *comparisons),
        notes=evaluation.notes,
    )


def test_all_of_it_fits_80_columns(evaluation: Evaluation) -> None:
    lines = shown(below(evaluation, [*SEVERAL, *SEEDS, *FORGOTTEN], LESS))
    assert max(map(len, lines)) <= 80
    assert not any("…" in line for line in lines)


def test_what_was_not_trained_stands_in_a_block_of_its_own(evaluation: Evaluation) -> None:
    lines = shown(below(evaluation, FORGOTTEN, LESS))
    start = next(i for i, line in enumerate(lines) if line.startswith("Not trained"))
    tasks, texts = lines[start + 2 : start + 4]
    assert tasks.split()[:8] == ["letter_counting", "100", "30.0", "%", "20.0", "%", "−10.0", "[−18.0,"]
    assert tasks.split()[-2:] == ["0.0040", "worse"]
    assert texts.split() == ["perplexity", "60", "14.20", "15.10", "+6.3", "%", "[4.0,", "8.0]", "worse"]
    assert not any("letter_counting" in line for line in lines[:start])
    assert [line for line in lines if line.startswith(AFTER)][1:] == [f"{AFTER} −"]  # and in no other block


def test_perplexity_of_several_students_is_named(evaluation: Evaluation) -> None:
    renamed = [
        row.model_copy(update={"who": f"{stage}/{row.who}"} | ({"against": f"{stage}/{BEFORE}"} if ratio else {}))
        for stage in ("a", "b")
        for row in FORGOTTEN[2:]
        for ratio in [row.metric == "perplexity_ratio"]
    ]
    lines = [line.split() for line in shown(below(evaluation, renamed), width=120)]
    found = [line for line in lines if line and line[0] == "perplexity,"]
    assert [line[1:5] for line in found] == [[f"{s}/{AFTER}", "60", "14.20", "15.10"] for s in ("a", "b")]


def test_several_answers_and_several_seeds(evaluation: Evaluation) -> None:
    lines = shown(below(evaluation, [*SEVERAL, *SEEDS]))
    assert "Any of k right, and the majority of k of 8 answers to each task, temperature 0.8" in lines
    assert sum(line.startswith(AFTER) and " 8 " in line and "[45.0, 55.0]" in line for line in lines) == 1
    assert "Several trainings, each from another seed" in lines
    over = lines.index("  2 trainings: 50.0, 52.0 %") - 1
    assert lines[over].split() == [AFTER, "51.0", "[46.0,", "56.0]", "100"]
    assert any(line.split()[:3] == ["minus", BEFORE, "+41.0"] for line in lines)


def test_the_seeds_of_every_stage_of_a_chain_are_shown(evaluation: Evaluation) -> None:
    stages = [
        row.model_copy(update={"who": f"{s}/{AFTER}"} | ({"against": f"{s}/{BEFORE}"} if row is SEEDS[1] else {}))
        for s in ("a", "b")
        for row in SEEDS
    ]
    lines = shown(below(evaluation, stages), width=120)
    start = lines.index("Several trainings, each from another seed")
    told = [line.split()[0] for line in lines[start + 2 : start + 8]]
    assert told == [f"a/{AFTER}", "2", "minus", f"b/{AFTER}", "2", "minus"]


LONG = ("control_answers_without_reasoning", "stage_of_column_arithmetic/student_after", "x" * 24)


@pytest.mark.parametrize("width", [80, 100, 120])
def test_long_names_are_in_full_and_nothing_is_cut(width: int) -> None:
    rows = [a_row(who, metric, 0.5) for who in LONG for metric in ("accuracy", "share_stopped", "share_in_form")]
    comparisons = [
        Comparison(
            a=LONG[1], b=b, test="mcnemar_exact", difference=-0.1, low=-0.218, high=0.1, p=0.4, n=100, p_holm=1
        )
        for b in (LONG[0], LONG[2])
    ]
    lines = shown(Evaluation(results=tuple(rows), comparisons=tuple(comparisons)), width)
    assert max(map(len, lines)) <= width
    assert not any("…" in line for line in lines)
    for word in ("accuracy", "95 % interval", "format", "EOS", "tokens", "points", "MDE"):
        assert any(word in line for line in lines), word
    assert any("0–100 %" in line for line in lines) == (width == 120)  # whiskers, where they break no name
    starts = [line.split("  ")[0].strip() if line[:1] != " " else line.split()[0] for line in lines if line]
    for who in LONG:
        assert who in "".join(starts)
    assert len({line.index("[") for line in lines if "[50" in line or "[45" in line}) == 1


# -- retention -----------------------------------------------------------------------------------------------------


def retention(*families: str) -> Evaluation:
    """Of 100 tasks of each family: right, right leniently, readable, stopped, before and after."""
    found = {}
    for who, counts in ((BEFORE, (58, 67, 74, 86)), (AFTER, (0, 55, 2, 99))):
        facts = [{name: {f"t{i}": i < count for i in range(100)} for name in families} for count in counts]
        found[who] = Forgotten(facts[0], lenient=facts[1], readable=facts[2], stopped=facts[3])
    rows, comparisons, notes = forgetting_results(found, after=AFTER, before=BEFORE, seed=0)
    return Evaluation(results=tuple(rows), comparisons=tuple(comparisons), notes=tuple(notes))


@pytest.mark.parametrize("width", [80, 120])
def test_retention_is_one_block_of_four_lines_a_kind(width: int) -> None:
    lines = shown(retention("products", "simple_equations"), width)
    start = next(n for n, line in enumerate(lines) if line.startswith("Not trained, before and after"))
    header, *block = lines[start + 1 : start + 12]
    assert [line[:18].rstrip() for line in block] == [
        "products", "  right", "  lenient", "  readable", "  EOS",
        "simple_equations", "  right", "  lenient", "  readable", "  EOS",
    ]  # fmt: skip
    assert max(map(len, lines)) <= width
    measured = [line for line in block if line.startswith("  ")]
    assert {line.rindex(" %") for line in measured} == {header.index("after") + 3}
    assert "58.0 %   0.0 %   −58.0" in measured[0]
    assert [line.split()[-1] for line in measured[:4]] == ["worse", "worse", "–", "–"]
    assert "86.0 %  99.0 %   +13.0" in measured[3]
    assert "lenient: ended by itself, and the last number is the reference" in " ".join(lines)


def test_an_evaluation_from_before_has_the_one_line_of_then() -> None:
    old = retention("products")
    strict = old.model_copy(update={
        "results": tuple(row for row in old.results if row.metric.endswith("_accuracy")),
        "comparisons": old.comparisons[:1],
    })  # fmt: skip
    lines = shown(strict)
    assert next(line for line in lines if line.startswith("products")).split()[-1] == "worse"
    assert not any("lenient" in line or "readable" in line for line in lines)


def test_the_kl_to_the_teacher_is_a_table() -> None:
    of = {"against": "teacher", "tokens": 900}
    rows = (
        a_row(AFTER, "kl_to_teacher", 0.0751, **of, each=(0.074, 0.075, 0.0763)),
        a_row("student_hard", "kl_to_teacher", 0.0953, **of, each=(0.09, 0.1, 0.0959)),
        a_row(BEFORE, "kl_to_teacher", 2.52, **of),
        a_row(AFTER, "kl_to_teacher_ratio", 0.788, against="student_hard"),
    )
    lines = [" ".join(line.split()) for line in shown(Evaluation(results=rows))]
    assert lines[lines.index("KL to the teacher, on its answers to held-out tasks") + 1 :][:8] == [
        "nats a token 95 % interval n",
        f"{AFTER} 0.075 [0.025, 0.125] 100",
        "3 trainings: 0.074, 0.075, 0.076",
        "student_hard 0.095 [0.045, 0.145] 100",
        "3 trainings: 0.090, 0.100, 0.096",
        f"{BEFORE} 2.520 [2.470, 2.570] 100",
        f"{AFTER} against student_hard −21.2 % [−26.2, −16.2] 100 better",
        "",
    ]


def test_the_kl_to_the_base_is_a_sentence() -> None:
    row = a_row(AFTER, "kl_to_base", 0.5314, against=BEFORE, tokens=4_100).model_copy(update={"n": 50})
    text = " ".join(shown(Evaluation(results=(row,)), 120))
    assert f"KL to the base, {AFTER}: 0.531 nats a token [0.481, 0.581], on the base's answers to 50 held-out" in text
