"""`stillroom compare`: runs of several kinds in one table, and their students paired on the same held-out tasks."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import stillroom
from stillroom.common.printing import terminal
from stillroom.common.stats.intervals import PairedCounts, mcnemar_exact, paired_difference, wilson
from stillroom.errors import InputError, MissingFile
from stillroom.evaluation.results import AFTER, MEAN_TOKENS, Evaluation, result_of, write_eval
from stillroom.pipeline.flows import compare as comparing
from stillroom.pipeline.flows.compare import RunsCompared
from stillroom.pipeline.planning.status import LOCAL_STUDENT, StageCost, Status, status
from tests.conftest import stillroom as command
from tests.pipeline.test_label_runs import recipe

RIGHT = {"a": [1, 1, 1, 0, 0, 1, 1, 0], "b": [1, 0, 0, 0, 0, 1, 0, 0]}


def finished(folder: Path, **changes: Any) -> Path:
    """A finished run without a student."""
    folder.mkdir(parents=True)
    stillroom.run(recipe(folder, **changes), out=folder / "run")
    return folder / "run"


def measured(run: Path, right: list[int], *, questions: str = "ticket", who: str = AFTER) -> Path:
    """The run, with an evaluation of its student and its answers."""
    n, rows = len(right), []
    for number, each in enumerate(right):
        gold, state = "red", "accepted" if each else "rejected"
        rows.append(
            {"who": who, "task_id": str(number), "question": f"{questions} {number}", "gold": gold, "verdict": state}
        )
    (run / "answers").mkdir(exist_ok=True)
    (run / "answers" / f"{who}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    results = (
        result_of(who, "accuracy", wilson(sum(right), n)),
        result_of(who, MEAN_TOKENS, wilson(n // 2, n)._replace(value=3.0, low=2.0, high=4.0)),
    )
    write_eval(Evaluation(results=results), run / "eval.json")
    return run


def lines_of(found: RunsCompared, folder: Path, width: int = 80) -> list[str]:
    with (folder / "shown").open("w", encoding="utf-8") as file:
        console = terminal(file=file)
        console.width = width
        found.show(console)
    return (folder / "shown").read_text(encoding="utf-8").splitlines()


def test_cost_rows_accuracy_and_tokens_stand_in_one_table_of_80_columns(tmp_path: Path) -> None:
    priced = {"prices": {"prompt": 1.0, "completion": 1e6}}
    a, b = (measured(finished(tmp_path / name, **priced), RIGHT[name]) for name in "ab")
    c = finished(tmp_path / "c", filters=["finished"])
    found = stillroom.compare(a, b, c)
    one, two, three = found.lines
    assert (one.requests, one.tokens, one.usd, one.rows) == (12, 12, 12.0, 3)
    assert (one.replayed, one.metric, one.answer_tokens and one.answer_tokens.value) == (True, "accuracy", 3.0)
    assert (one.result and one.result.value, two.result and two.result.value) == (5 / 8, 2 / 8)
    assert (three.usd, three.rows, three.result) == (None, 4, None)
    lines = lines_of(found, tmp_path)
    assert all(len(line) <= 80 for line in lines)
    assert any("$12.00" in line for line in lines)
    assert any("62.5 %" in line for line in lines)
    assert any("nothing was paid" in line for line in lines)


def test_a_local_student_costs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = (measured(finished(tmp_path / name), RIGHT[name]) for name in "ab")

    def with_student(folder: Path) -> Status:
        found = status(folder)
        student = StageCost(f"{LOCAL_STUDENT} (transformers:x)", 60, 1_000, 100, 0, None)
        return replace(found, costs=(*found.costs, student))

    monkeypatch.setattr(comparing, "status", with_student)
    assert [(line.requests, line.tokens) for line in stillroom.compare(a, b).lines] == [(12, 12)] * 2


def test_students_on_the_same_tasks_are_paired_by_question_not_by_place(tmp_path: Path) -> None:
    a, b = (measured(finished(tmp_path / name), RIGHT[name]) for name in "ab")
    path = b / "answers" / f"{AFTER}.jsonl"
    path.write_text("\n".join(reversed(path.read_text().splitlines())) + "\n")
    (found,) = stillroom.compare(a, b).comparisons
    counts = PairedCounts(both=2, only_a=0, only_b=3, neither=3)
    assert (found.a, found.b) == (str(b), str(a))
    assert (found.difference, found.low, found.high) == paired_difference(counts)[:3]
    assert (found.p, found.n, found.left_out) == (mcnemar_exact(0, 3), 8, 0)


def test_p_is_corrected_for_all_differences(tmp_path: Path) -> None:
    rights = {"a": [0] * 9, "b": [1] * 9, "c": [1] * 8 + [0]}
    runs = [measured(finished(tmp_path / name), right) for name, right in rights.items()]
    found = stillroom.compare(*runs)
    assert len(found.comparisons) == 3
    assert found.comparisons[0].corrected_p == pytest.approx(3 * found.comparisons[0].p)


@pytest.mark.parametrize(
    ("changes", "answers", "note"),
    [
        ({}, {"questions": "another"}, "their held-out tasks differ"),
        ({"scorer": {"kind": "answer"}, "filters": []}, {}, "their scorers differ"),
        ({}, {"who": "student_of_nobody"}, None),  # nothing is measured of a student after training
    ],
)
def test_what_cannot_be_paired_is_said(
    tmp_path: Path, changes: Mapping[str, Any], answers: dict[str, str], note: str | None
) -> None:
    a = measured(finished(tmp_path / "a"), RIGHT["a"])
    b = finished(tmp_path / "b") if not changes else _answered(tmp_path / "b", changes)
    found = stillroom.compare(a, measured(b, RIGHT["b"], **answers))
    assert found.comparisons == ()
    if note is None:
        assert found.notes == ()
    else:
        assert [note in said for said in found.notes] == [True]
        assert note in " ".join(" ".join(lines_of(found, tmp_path, width=200)).split())


def _answered(folder: Path, changes: Mapping[str, Any]) -> Path:
    """A run whose answers are checked as text: gold is a word."""
    folder.mkdir()
    draws = [{"task_id": name, "text": "The answer is 4."} for name in "abcd"]
    path = recipe(folder, **changes)
    (folder / "draws.jsonl").write_text("".join(json.dumps(row) + "\n" for row in draws), encoding="utf-8")
    tasks = [{"id": name, "question": f"ticket {name}", "answer": "4"} for name in "abcd"]
    (folder / "tasks.jsonl").write_text("".join(json.dumps(row) + "\n" for row in tasks), encoding="utf-8")
    stillroom.run(path, set=["keep={per_task: 1}"], out=folder / "run")
    return folder / "run"


def test_a_label_run_is_paired_with_one_whose_gold_only_measures(tmp_path: Path) -> None:
    scorer = {"kind": "label", "labels": ["red", "blue", "green"], "gold": "require"}
    runs = (
        measured(finished(tmp_path / "a"), RIGHT["a"]),
        measured(finished(tmp_path / "b", scorer=scorer), RIGHT["b"]),
    )
    assert len(stillroom.compare(*runs).comparisons) == 1


def test_a_run_of_preferences_shows_its_win_rate_and_is_not_paired(tmp_path: Path) -> None:
    a, b = measured(finished(tmp_path / "a"), RIGHT["a"]), finished(tmp_path / "b")
    own = result_of("after_against_before", "pairs_judge_win_rate", wilson(8, 8))
    wins = result_of("after_against_before", "other_judge_win_rate", wilson(6, 8))
    write_eval(Evaluation(results=(own, wins, result_of(AFTER, MEAN_TOKENS, wilson(1, 2)))), b / "eval.json")
    found = stillroom.compare(a, b)
    assert (found.lines[1].metric, found.lines[1].result) == ("win rate", wins)
    assert "the first measures win rate, the other accuracy" in found.notes[0]
    assert found.comparisons == ()


def test_what_is_not_a_finished_run_is_refused(tmp_path: Path) -> None:
    done = finished(tmp_path / "a")
    with pytest.raises(InputError, match=r"1 run to compare: name two"):
        stillroom.compare(done)
    with pytest.raises(InputError, match=r"is named twice"):
        stillroom.compare(done, done)
    with pytest.raises(MissingFile, match=r"nowhere"):
        stillroom.compare(done, tmp_path / "nowhere")
    begun = finished(tmp_path / "b")
    facts = json.loads((begun / "run.json").read_text())
    (begun / "run.json").write_text(json.dumps(facts | {"finished": None}))
    with pytest.raises(InputError, match=r"is not finished: run its recipe to the end"):
        stillroom.compare(done, begun)
    broken = measured(finished(tmp_path / "c"), RIGHT["a"])
    (broken / "answers" / f"{AFTER}.jsonl").write_text('{"question": "q"}\n')
    with pytest.raises(InputError, match=r"student_after.jsonl:1: not an answer"):
        stillroom.compare(done, broken)


def test_the_command_prints_the_table_or_json(tmp_path: Path) -> None:
    a, b = (measured(finished(tmp_path / name), RIGHT[name]) for name in "ab")
    ended = command("compare", a, b)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "Differences in points" in ended.stdout
    told = json.loads(command("compare", a, b, "--json").stdout)
    assert [run["rows"] for run in told["runs"]] == [3, 3]
    assert told["comparisons"][0]["n"] == 8
    assert command("compare", a).returncode == 2
