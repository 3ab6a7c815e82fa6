"""What commands print fits a terminal of 80 columns: no line is longer, no name is cut, and columns stay aligned."""

from __future__ import annotations

import io
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from time import monotonic
from typing import Any

import pytest
from typer.testing import CliRunner

from stillroom.cli import show
from stillroom.cli.app import app
from stillroom.common.printing import Terminal
from stillroom.common.records import Attempt, Task, user
from stillroom.evaluation.results import Comparison, Evaluation, Result
from stillroom.judges.agreement import JudgedPair
from stillroom.judges.calibrate import Calibration, Estimate, GateVerdict, summarise
from stillroom.judges.human_labels import LabelledPair
from stillroom.pipeline.config.load import summaries
from stillroom.pipeline.flows.audit import PairsFound
from stillroom.pipeline.flows.calibration import CalibrationResult, JudgeResult
from stillroom.pipeline.planning.forecast import Forecast, PilotResult
from stillroom.pipeline.planning.plan import Plan, Use
from stillroom.pipeline.planning.preference_plan import PreferencePlan
from stillroom.pipeline.planning.status import StageCost, Status
from stillroom.pipeline.run.progress import Display, progress_table
from stillroom.pipeline.stages.agreement import Agreement, Disagreement
from stillroom.pipeline.stages.judge import Calibrated
from stillroom.preferences.audit import audit_rows
from stillroom.report.evaluation_table import eval_table
from stillroom.report.lint import lint_table
from stillroom.report.loop import show_loop
from stillroom.report.preferences import preference_table
from stillroom.sampling.counts import Counts
from stillroom.sampling.ledger import Means, Totals
from stillroom.students.lint.report import Finding, LintReport
from stillroom.traces.answers import CheckSummary, Reason
from tests.report.test_check_report import differing
from tests.report.test_loop_report import EVALUATION, REPORT, compared, shares

NAMES = (
    "student_before",
    "student_after",
    "control_unfiltered",
    "control_wrong_answers",
    "control_one_round",
    "teacher",
)
MODEL = "Qwen/Qwen3-32B rubric:helpfulness@1 pairwise"
SENTENCE = "control_wrong_answers: 33 of 1,200 attempts could not be scored and count as not accepted"
STYLE = ("student_before", "student_after")


def result(who: str, metric: str, value: float, **more: Any) -> Result:
    found = {"who": who, "metric": metric, "value": value, "low": value - 0.05, "high": value + 0.05, "n": 1200}
    return Result.model_validate(found | more)


def comparison(a: str, b: str, **more: Any) -> Comparison:
    found = {"a": a, "b": b, "test": "mcnemar_exact", "difference": -0.1, "low": -0.218, "high": 0.1, "p": 0.4}
    return Comparison.model_validate(found | {"n": 1200, "p_holm": 0.0004, "detectable": 0.126} | more)


def evaluation() -> Evaluation:
    measures = ("accuracy", "share_stopped", "share_in_form", "pass_at_8", "majority_at_8")
    rows = [result(who, metric, 0.57, draws=8, temperature=0.8) for who in NAMES for metric in measures]
    rows += [result(who, "mean_completion_tokens", 4096.0) for who in NAMES]
    rows += [result("student_after", "accuracy_over_seeds", 0.5, each=[0.5, 0.52, 0.48, 0.51, 0.49], seeds=5)]
    rows += [result("student_after", "difference_over_seeds", 0.4, against=who) for who in NAMES[2:]]
    rows += [result(who, m, v) for who in STYLE for m, v in (("letter_counting_accuracy", 0.3), ("perplexity", 14.2))]
    shares = (("lenient", 0.41), ("readable", 0.95), ("eos_rate", 0.95))
    rows += [result(who, f"letter_counting_{share}", value) for who in STYLE for share, value in shares]
    rows += [result("student_after", "kl_to_base", 1.234, against="student_before")]
    rows += [result("student_after", "perplexity_ratio", 1.063, against="student_before")]
    others = [comparison("student_after", who) for who in NAMES if who != "student_after"]
    forgot = comparison("student_after", "student_before", metric="letter_counting_accuracy", low=-0.2, high=-0.02)
    lenient = forgot.model_copy(update={"metric": "letter_counting_lenient"})
    both = comparison("control_wrong_answers", "student_before")
    return Evaluation(results=tuple(rows), comparisons=(*others, both, forgot, lenient), notes=(SENTENCE,))


def preferences() -> Evaluation:
    rows = [result(who, "pairs_judge_score", 61.485, judge="readability", low=57.593, high=65.377) for who in STYLE]
    rows += [result(who, m, v) for who in STYLE for m, v in (("mean_completion_tokens", 412), ("share_stopped", 0.9))]
    rows += [result(who, "untrained_accuracy", 0.533) for who in STYLE]
    kinds = ("_score_raw", "_score_at_equal_length", "_score_matched_length", "_win_rate")
    rows += [result("after", f"pairs_judge{kind}", 0.4, judge="readability") for kind in kinds]
    rows += [result("student_after", "implicit_reward_accuracy_per_token", 0.75)]
    return Evaluation(results=tuple(rows), comparisons=(comparison(*STYLE),), notes=(SENTENCE,))


def loop() -> Any:
    wrong = [shares("control_wrong_answers", metric, 17) for metric in ("accuracy", "share_stopped")]
    more = [compared("round_2", who, 0.2, 0.2) for who in NAMES[2:5]]
    found = EVALUATION.model_copy(
        update={"results": (*EVALUATION.results, *wrong), "comparisons": (*EVALUATION.comparisons, *more)}
    )
    return replace(REPORT, evaluation=found)


def judged() -> Calibration:
    one, two = (Attempt("t", n, f"answer {n}", None, "stop", 0, 0, None, 0.0, MODEL) for n in (0, 1))
    found = [JudgedPair(LabelledPair(Task("t", user("q"), None, "t"), one, two, "a"), (), "a", 1)] * 2
    figures = ("accuracy", "kappa", "consistency", "first", "final_accuracy", "final_kappa")
    estimates = {name: Estimate(value=0.82, low=0.764, high=0.871, n=1200) for name in figures}
    estimates["beats_longer"] = Estimate(value=-0.04, low=-0.14, high=0.05, n=1200)
    states = {"ok": 1190, "unparsable": 5, "refused": 3, "truncated": 1, "timeout": 1}
    summary = summarise(found, judge=MODEL, kind="pairwise", seed=0)
    return summary.model_copy(update={"notes": (SENTENCE,), "states": states, **estimates})


REFUSED = GateVerdict(False, ("kappa is 0.31 [0.20, 0.41], the least is 0.40", "P(first) is 0.75 [0.69, 0.81]"))


def judges() -> CalibrationResult:
    methods = ("Vanilla_NoRules", "Metrics_Reference", "Rating_Metrics_Reference")
    verdicts = (REFUSED, GateVerdict(True, ()))
    rows = [
        JudgeResult(judge, method, judged(), verdict, pairs=100)
        for judge in ("ChatGPT-0301", "GPT-4")
        for method, verdict in zip(methods, (*verdicts, verdicts[1]), strict=True)
    ]
    return CalibrationResult(Path("runs/llmbar_recorded"), 100, tuple(rows))


def plan() -> Plan:
    return Plan("math", dict.fromkeys(Use, 12_345), dict.fromkeys(Use, 1_234), Means(310.0, 512.0), None, False)


def status() -> Status:
    totals = Totals(12_345, 1_234_567, 12_345_678, 12, 34, 56_789, 3)
    costs = tuple(
        StageCost(stage, 12_345, 12_345_678, 12_345_678, 0, 1234.5)
        for stage in ("sample", "judge: Qwen/Qwen3-32B", "evaluate: control_wrong_answers", "evaluate: teacher")
    )
    verdicts = {"accepted": 1234, "rejected": 5678, "unscored": 12, "none": 3}
    head = (Path("runs/math_tutor"), "math_tutor", "2026-11-30T09:00:00", None, totals, verdicts)
    return Status(*head, {"timeout": 3, "HTTP 500": 9}, costs, 1234, evaluation(), plan(), "", None)


def parts() -> dict[str, Status]:
    return {name: status() for name in ("rounds/1", "control_wrong_answers", "control_one_round")}


def forecast() -> PilotResult:
    counts, usd = Forecast(12_345, 11_111, 13_131), Forecast(1.0, 0.04, 2.5)
    return PilotResult(Path("runs/x"), 50, 7473, counts, counts, counts, counts, Forecast(0.9, 0.8, 0.95), usd)


def agreement() -> Agreement:
    one = Disagreement("gsm8k/test-1234", 3, True, "rejected", "not_equal", "1,234.50 dollars", "12 " * 40, "")
    return Agreement(2640, 2637, 0.996, 0.999, (one, one))


def pairs() -> PairsFound:
    rows = [
        {"task_id": f"task-{n}", "prompt": "Make it shorter.", "chosen": "a b " * 40, "rejected": "c d " * 50}
        for n in range(9)
    ]
    same = {"task_id": "task-9", "prompt": "p", "chosen": "same", "rejected": "same"}
    return PairsFound(Path("runs/writing_assistant/dpo/train.parquet"), [*rows, same], audit_rows([*rows, same]))


def lint() -> LintReport:
    finding = Finding("duplicates", "error", 12, 1234, ("control_wrong_answers-12",), "task-12 and task-13")
    return LintReport("rows", 1234, 2, (finding,), (SENTENCE,), {"rendering": SENTENCE}, ())


def checked() -> CheckSummary:
    return CheckSummary(rows=12_345, seconds=12.3, reasons=Counter(dict.fromkeys(Reason, 1234)))


def counts() -> Counts:
    numbers = dict.fromkeys(
        ("satisfied", "gave_up", "exhausted", "accepted", "rejected", "unscored", "refused"), 123456
    )
    return Counts(
        tasks_total=123_456,
        **numbers,
        completion_tokens=123_456_789,
        started=monotonic() - 9_999,
        unknown_end="weird",
        waves=12,
        wave=50_000,
        overdraw=1234.5,
        batches=SENTENCE,
        last_refusal=SENTENCE,
        last_failure=SENTENCE,
    )


Show = Callable[[Terminal], object]
PRINTED: dict[str, Show] = {
    "evaluation": lambda console: console.print(eval_table(evaluation())),
    "preferences": lambda console: console.print(preference_table(preferences())),
    "loop": lambda console: show_loop(loop(), console),
    "judge": lambda _: show.show_calibrated(Calibrated(judged(), REFUSED)),
    "judges": lambda console: judges().show(console),
    "status": lambda _: show.show_status(status()),
    "parts": lambda console: console.print(show.parts_table(parts())),
    "preference plan": lambda console: PreferencePlan("x", {"teacher": plan()}, 12, 3, 12_345).show(console),
    "forecast": lambda console: forecast().show(console),
    "agreement": lambda console: agreement().show(console),
    "pairs": lambda _: show.show_pairs(pairs(), 1),
    "lint": lambda console: console.print(lint_table(lint())),
    "check": lambda _: show.show_check(checked(), Path("verdicts.jsonl")),
    "against": lambda _: show.show_against(differing(2, expected=False), Path("differences.jsonl")),
    "recipes": lambda _: show.show_recipes(summaries()),
    "progress": lambda console: console.print(progress_table("sampling", counts())),
    "facts": lambda console: Display(console).line("teacher", f"{MODEL}, {SENTENCE}"),
}


def printed(name: str, width: int, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    file = io.StringIO()
    console = Terminal(
        file=file, width=width, force_terminal=True, color_system=None, highlight=False, markup=False, emoji=False
    )
    monkeypatch.setattr(show, "terminal", lambda: console)
    PRINTED[name](console)
    return [line.rstrip() for line in file.getvalue().splitlines()]


@pytest.mark.parametrize("name", PRINTED)
@pytest.mark.parametrize("width", [80, 100])
def test_nothing_is_wider_than_the_terminal_or_cut(name: str, width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = printed(name, width, monkeypatch)
    assert [line for line in lines if len(line) > width] == []
    cut = [line for line in lines if "…" in line]
    assert cut == []


NAMED: dict[str, tuple[str, ...]] = {
    "evaluation": NAMES,
    "preferences": ("readability score", "not trained: right", "  of matched length", "readability judge: wins"),
    "loop": ("control wrong answers", "control one round", "round 2 − control wrong answers", "diversity of traces"),
    "judge": ("Cohen's kappa, order verdict and label", "accuracy minus that of 'longer wins'"),
    "judges": ("  Rating_Metrics_Reference", "  Vanilla_NoRules"),
    "status": ("judge: Qwen/Qwen3-32B", "evaluate: control_wrong_answers", "asked again: cut off, other max_tokens"),
    "parts": ("control_wrong_answers", "control_one_round"),
    "preference plan": ("candidates of teacher",),
    "forecast": ("traces kept, before filters",),
    "check": ("unscored  unparsed_answer", "unscored  not_worked_out"),
    "recipes": tuple(each.name for each in summaries()),
}


@pytest.mark.parametrize("name", NAMED)
@pytest.mark.parametrize("width", [80, 100])
def test_a_name_stands_in_one_line_with_its_numbers(name: str, width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = printed(name, width, monkeypatch)
    for each in NAMED[name]:
        rows = [line for line in lines if line.startswith(f"{each}  ")]
        assert rows, each
        assert all(line.removeprefix(each).strip() for line in rows)


# What has to stand at one place in all lines that it stands in, by table.
COLUMNS = {
    "evaluation": (
        r"^\w+ +57\.0 % +\[[^]]*(\])",  # the models
        r"^  (?!right |lenient )\w+ .*\d(\]) +\d\.\d{4}",  # their differences
        r"^  (?:right|lenient) .*\d(\]) +\d\.\d{4}",
        r"^\w+ +8 .*\] .*(\])",
        r"^  minus .*(\])",
    ),
    "preferences": (r"^(?:stopped|tokens|readability score +61|not trained: right).*(\])", r"^.* \+0\.400 .*(\])"),
    "loop": (r"^(?:teacher|control) .*(\])", r"^round .*(\])"),
    "judge": (r"^(?:acc|Coh|cons|P\(first\)  ).*(\])",),
    "judges": (r"^  \w+ +\.82.*(\])$", r"^  \w+ +\.82.*(\]) +\d"),
    "status": (
        r"\d(?=  12,345,678)()",
        r"^(?:on record|asked).* [\d,]+()$",
        r"^  (?!right |lenient )\w+ .*(\]) +\d\.\d{4}",
    ),
    "parts": (r"12,345,678()",),
    "preference plan": (r"^(?:candidates|the judge).* about [\d,]+()$",),
    "forecast": (r"^(?:att|tok|US|time|tra|tasks).*()$",),
    "check": (r"^(?:acc|rej|uns).* %()$",),
    "progress": (r"^(?:tasks|attempts) +123,456()",),
}


@pytest.mark.parametrize("name", COLUMNS)
@pytest.mark.parametrize("width", [80, 100])
def test_columns_are_aligned(name: str, width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = printed(name, width, monkeypatch)
    for column in COLUMNS[name]:
        places = [found.start(1) for line in lines if (found := re.search(column, line))]
        assert len(places) > 1, column
        assert len(set(places)) == 1, column


def test_whiskers_are_drawn_where_they_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not any("●" in line for line in printed("evaluation", 80, monkeypatch))
    assert sum("●" in line for line in printed("evaluation", 100, monkeypatch)) == len(NAMES)


def test_a_line_of_a_terminal_ends_between_words_and_a_path_stays_whole() -> None:
    file, path = io.StringIO(), "/a/very/long/path" * 9
    console = Terminal(file=file, width=40, force_terminal=True, color_system=None, highlight=False)
    console.print(f"one two three four five six seven eight nine ten in {path} and more", soft_wrap=True)
    lines = file.getvalue().splitlines()
    assert path in lines
    assert max(len(line) for line in lines if line != path) <= 40
    assert (
        " ".join(line.strip() for line in lines)
        == f"one two three four five six seven eight nine ten in {path} and more"
    )


COMMANDS = ("", "run", "status", "check", "attempts", "pairs", "lint", "eval", "recipes", "new", "schema", "judge")


@pytest.mark.parametrize("command", [*COMMANDS, "judge calibrate"])
@pytest.mark.parametrize("width", [80, 100])
def test_help_fits_the_terminal(command: str, width: int) -> None:
    shown = CliRunner().invoke(app, [*command.split(), "--help"], env={"COLUMNS": str(width), "FORCE_COLOR": None})
    lines = shown.stdout.splitlines()
    assert shown.exit_code == 0
    assert [line for line in lines if len(line) > width] == []
    assert [line for line in lines if "…" in line and "loop, …" not in line] == []
