"""The table of the preference path shows every number with its interval, and nothing that was not measured."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from stillroom.evaluation.results import Comparison, Evaluation, Result
from stillroom.report.preferences import preference_table


def row(who: str, metric: str, value: float, judge: str | None = None) -> Result:
    more = {} if judge is None else {"judge": judge}
    return Result(who=who, metric=metric, value=value, low=value - 0.1, high=value + 0.1, n=60, **more)


def shown(evaluation: Evaluation, width: int = 120) -> str:
    out = io.StringIO()
    Console(file=out, width=width).print(preference_table(evaluation))
    return out.getvalue()


FOUND = Evaluation(
    results=(
        row("student_before", "share_stopped", 0.4),
        row("student_after", "share_stopped", 0.6),
        row("student_before", "pairs_judge_score", 3.5, "style"),
        row("student_after", "pairs_judge_score", 4.0, "style"),
        row("after_minus_before", "pairs_judge_score_matched_length", 0.45, "style"),
        row("after_against_before", "other_judge_win_rate", 0.7, "readability"),
        row("after_minus_before", "other_judge_1_score_raw", -1.5, "reference"),
        row("student_after", "implicit_reward_accuracy", 0.75),
    ),
    comparisons=(
        Comparison(
            a="student_after",
            b="student_before",
            test="mcnemar_exact",
            difference=-0.02,
            low=-0.1,
            high=0.06,
            p=0.7,
            n=100,
        ),
    ),
    notes=("[red]pairs_judge: style:1[/]",),
)


def test_every_measured_number_stands_with_its_interval() -> None:
    lines = [" ".join(line.split()) for line in shown(FOUND).splitlines()]
    assert "stopped by itself 40.0 % [30.0, 50.0] 60.0 % [50.0, 70.0] 60" in lines
    assert "style score 3.500 [3.400, 3.600] 4.000 [3.900, 4.100] 60" in lines
    assert "of matched length +0.450 [0.350, 0.550] 60" in lines
    assert "readability judge: wins 70.0 % [60.0, 80.0] 60" in lines
    assert "reference score −1.500 [−1.600, −1.400] 60" in lines
    assert "preferred by implicit reward 75.0 % [65.0, 85.0] 60" in lines
    assert "not trained, after − before: −2.0 points [−10.0, 6.0], McNemar exact p = 0.70, n = 100" in lines
    assert "note: [red]pairs_judge: style:1[/]" in lines


def test_every_kind_of_what_was_not_trained_has_its_four_shares() -> None:
    ends = {"_accuracy": 0.3, "_lenient": 0.4, "_readable": 0.5, "_eos_rate": 0.6}
    kinds = ("untrained", "simple_sums")
    rows = [row(who, f"{kind}{end}", v) for who in ("student_before", "student_after") for kind in kinds
            for end, v in ends.items()]  # fmt: skip
    kl = row("student_after", "kl_to_base", 0.5)
    strict = FOUND.comparisons[0].model_copy(update={"metric": "untrained_accuracy"})
    lenient = FOUND.comparisons[0].model_copy(update={"metric": "simple_sums_lenient"})
    text = shown(Evaluation(results=(*rows, kl), comparisons=(strict, lenient)))
    lines = [" ".join(line.split()) for line in text.splitlines()]
    for words, value in zip(("right", "lenient", "readable", "EOS"), (30, 40, 50, 60), strict=True):
        for kind in ("not trained", "not trained, simple sums"):
            figures = f"{value}.0 % [{value - 10}.0, {value + 10}.0]"
            assert f"{kind}: {words} {figures} {figures} 60" in lines
    assert any(line.startswith("not trained, after − before: −2.0 points") for line in lines)
    assert any(line.startswith("not trained, simple sums, leniently, after − before: −2.0") for line in lines)
    assert any(line.startswith("KL to the base, student_after: 0.500 nats a token [0.400, 0.600]") for line in lines)


def test_what_was_not_measured_is_not_shown() -> None:
    text = shown(Evaluation(results=FOUND.results[:2]))
    assert "held-out prompts" in text
    for absent in ("held-out pairs", "after minus before", "after against before", "not trained"):
        assert absent not in text


@pytest.mark.parametrize("width", [80, 100])
def test_nothing_is_cut_in_a_narrow_terminal(width: int) -> None:
    wide = [
        Result(who=who, metric=metric, value=61.485, low=57.593, high=65.377, n=1200, judge="readability")
        for who in ("student_before", "student_after")
        for metric in ("pairs_judge_score", "mean_completion_tokens")
    ]
    lines = shown(Evaluation(results=(*wide, *FOUND.results), notes=()), width).splitlines()
    assert max(len(line.rstrip()) for line in lines) <= width
    assert not any("…" in line for line in lines)
    (score,) = [line for line in lines if line.startswith("readability score")]
    assert score.split() == ["readability", "score", *("61.485", "[57.593,", "65.377]") * 2, "1,200"]
