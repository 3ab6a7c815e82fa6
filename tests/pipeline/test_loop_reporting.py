"""What the report of a loop is made of: each round's row, and each setting in words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from stillroom.errors import MissingExtra, NothingLeft
from stillroom.pipeline.flows.loop import loop as loop_reporting
from stillroom.pipeline.flows.loop.evaluation import LoopControls, evaluate_loop
from stillroom.pipeline.flows.loop.loop import facts, report_of, row_of, settings_in_words, why_stopped, write_report
from stillroom.pipeline.run.progress import Display
from tests.pipeline.loop_fakes import OTHER, QUIET, TASKS, Scripted, loop_recipe, run_rounds

HOSTILE = "<script>alert(1)</script>\n#### 7"


def test_the_row_of_a_round_is_what_it_was(tmp_path: Path) -> None:
    rounds, _, _ = run_rounds(tmp_path, [Scripted(before=0.5), Scripted()], {"rounds": 2})
    first, second = map(row_of, rounds)
    assert (first.number, first.tasks, first.attempts, first.accepted, first.rows) == (1, 4, 8, 4, 4)
    assert (second.number, second.tasks, second.attempts, second.accepted, second.rows) == (2, 4, 8, 4, 8)
    assert (first.sampler, second.sampler) == ("the teacher", "the student of round 1")
    assert (first.rolled_back, first.why, first.verdict) == (False, "", "kept")
    assert {check.measure for check in second.checks} >= {"accuracy", "share_stopped", "share_repeating"}
    assert set(first.not_checked) >= {"distinct_traces", "untrained", "perplexity"}
    assert len(first.traces) == 3
    assert first.traces[0][0].startswith("What is ")


def test_what_was_answered_after_a_task_had_stopped_counts_neither_as_attempt_nor_as_accepted(tmp_path: Path) -> None:
    """Such attempts are in the ledger, and in the counts of the sampling."""
    rounds, _, _ = run_rounds(tmp_path, [Scripted(before=0.5)], {"rounds": 1})
    assert rounds[0].run is not None
    rounds[0].run.context.folder.note(sampling={"accepted": 99})
    row = row_of(rounds[0])
    assert (row.accepted, row.attempts) == (facts(rounds[0])["accepted"], facts(rounds[0])["attempts"]) == (4, 8)


def test_the_row_of_a_round_that_came_to_nothing(tmp_path: Path) -> None:
    rounds, _, _ = run_rounds(tmp_path, [Scripted(before=0.5), NothingLeft("no trace is left")])
    row = row_of(rounds[1])
    assert (row.tasks, row.attempts, row.accepted, row.rows, row.seconds, row.traces) == (
        None,
        None,
        None,
        None,
        None,
        (),
    )
    assert (row.rolled_back, row.why, row.verdict) == (True, "no trace is left", "rolled back")
    assert facts(rounds[1]) == {
        "round": 2, "kept": False, "why": "no trace is left", "level": 0, "tasks": None, "attempts": None,
        "accepted": None, "first_right": None, "rows": None, "rows_trained_on": None, "accuracy": None,
        "validation_accuracy": None, "guard": None,
    }  # fmt: skip


def test_the_facts_of_a_round_are_plain_data(tmp_path: Path) -> None:
    rounds, _, _ = run_rounds(tmp_path, [Scripted(before=0.5), Scripted(right=0.0, first=0.25)], {"rounds": 2})
    first, second = map(facts, rounds)
    assert (first["kept"], first["why"], first["accuracy"], first["first_right"]) == (True, None, 0.5, 0.5)
    assert (second["kept"], second["accuracy"], second["first_right"]) == (False, 0.0, 0.25)
    assert (second["rows"], second["rows_trained_on"]) == (4, 8)
    assert second["why"].startswith("accuracy fell from 50 % to 0 %")
    assert second["guard"]["passed"] is False
    assert [c["measure"] for c in second["guard"]["checks"] if c["worse"]] == ["accuracy"]


def test_without_a_guard_a_round_is_kept_unchecked(tmp_path: Path) -> None:
    rounds, _, _ = run_rounds(tmp_path, [Scripted(before=0.5)], {"rounds": 1, "guard": None})
    row = row_of(rounds[0])
    assert (row.verdict, row.checks, dict(row.not_checked)) == ("kept, unchecked", (), {})


# -- the page ----------------------------------------------------------------------------------------------------


def test_the_page_shows_the_rounds_and_escapes_what_models_said(tmp_path: Path) -> None:
    script = [Scripted(before=0.5, says=HOSTILE), Scripted(right=0.0, says=HOSTILE)]
    rounds, _, loaded = run_rounds(tmp_path, script, evaluate={"baselines": [], "plots": False})
    assert rounds[0].run is not None
    evaluation = evaluate_loop(loaded.recipe, rounds, rounds[0].run.tasks.test, LoopControls({}, []))
    report = report_of(loaded.recipe, rounds, evaluation, why_stopped(rounds, 3))
    write_report(report, loaded.recipe, rounds, tmp_path, QUIET)
    page = (tmp_path / "report.html").read_text()
    assert "<script>alert" not in page
    assert "rolled back" in page
    assert not (tmp_path / "plots").exists()


def test_without_matplotlib_there_is_a_page_and_a_note(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def missing(*_: object) -> Any:
        raise MissingExtra("plots", "matplotlib", "plots")

    rounds, _, loaded = run_rounds(tmp_path, [Scripted(before=0.5)], {"rounds": 1})
    monkeypatch.setattr(loop_reporting, "_plots", missing)
    assert rounds[0].run is not None
    evaluation = evaluate_loop(loaded.recipe, rounds, rounds[0].run.tasks.test, LoopControls({}, []))
    write_report(report_of(loaded.recipe, rounds, evaluation, "x"), loaded.recipe, rounds, tmp_path, Display())
    assert (tmp_path / "report.html").is_file()
    assert "no plots: plots needs the package 'matplotlib'" in " ".join(capsys.readouterr().err.split())


# -- settings ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("loop", "changes", "name", "said"),
    [
        ({"rounds": 5}, {}, "rounds", "5 at most"),
        ({}, {"teacher": OTHER}, "teacher", "round 1: other; then the last student"),
        ({"teacher": "best"}, {"teacher": OTHER}, "teacher", "round 1: other; then the best student"),
        ({}, {}, "prompt", "from round 2 on as it is trained"),
        ({"prompt": "teacher"}, {}, "prompt", "from round 2 on with the first teacher's prompt and examples"),
        ({}, {}, "start", "every student starts from base"),
        ({"start": "continue"}, {}, "start", "every student starts from the student of the round before"),
        ({}, {}, "traces", "of all rounds so far"),
        ({"traces": "replace"}, {}, "traces", "of this round only"),
        ({}, {}, "tasks", "the next 4 in each round (jsonl)"),
        ({"tasks": "same"}, {}, "tasks", "the same 4 in each round (jsonl)"),
        ({"tasks": "same"}, {"tasks": {**TASKS, "limit": None}}, "tasks", "the same in each round (jsonl)"),
        (
            {"levels": [{}, {}], "advance_at": 0.7},
            {},
            "levels",
            "2, the next one where 70% were right at the first attempt",
        ),
        ({"later": {"keep": {"max_attempts": 2}}}, {}, "overrides", "from round 2 on: {'keep': {'max_attempts': 2}}"),
        ({"in_round": {"3": {"student": {"epochs": 1}}}}, {}, "round 3", "{'student': {'epochs': 1}}"),
    ],
)
def test_each_setting_is_said_in_words(loop: dict[str, Any], changes: dict[str, Any], name: str, said: str) -> None:
    assert dict(settings_in_words(loop_recipe(loop, **changes)))[name] == said


def test_what_was_not_set_is_not_said() -> None:
    assert [name for name, _ in settings_in_words(loop_recipe())] == [
        "rounds", "teacher", "prompt", "start", "traces", "tasks",
    ]  # fmt: skip
