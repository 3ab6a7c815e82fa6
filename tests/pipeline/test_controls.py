"""The rows of the controls: as many as the student's where there are, each kind from where it says, and counted."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from stillroom.common.records import (
    Attempt,
    FinishReason,
    Outcome,
    ScoredAttempt,
    State,
    StopReason,
    Task,
    Verdict,
    user,
)
from stillroom.pipeline.config.recipe import Baseline, Recipe
from stillroom.pipeline.run.folder import RunFolder
from stillroom.pipeline.stages.controls import ControlRows, control_rows, in_form_of
from stillroom.pipeline.stages.filter import Distilled, distil
from stillroom.sampling.plugins import codes_in, require_trust
from stillroom.traces.rows import SftRow
from stillroom.traces.tasks import TaskSet
from tests.pipeline.loop_fakes import Held

RIGHT, WRONG, UNREAD = State.ACCEPTED, State.REJECTED, State.UNSCORED


def task(n: int, **metadata: Any) -> Task:
    return Task(f"t{n}", user(f"What is {n} + {n}?"), str(2 * n), f"tasks:{n}", metadata)


def said(t: Task, *answers: tuple[State, str] | tuple[State, str, FinishReason]) -> Outcome:
    """An outcome: of each attempt its verdict and text."""
    attempts = [
        ScoredAttempt(
            Attempt(t.id, i, text, None, finish[0] if finish else "stop", 1, 1, None, 0.1, "m"), Verdict(state, "r")
        )
        for i, (state, text, *finish) in enumerate(answers)
    ]
    kept = tuple(i for i, (state, *_) in enumerate(answers) if state is RIGHT)
    return Outcome(t, tuple(attempts), kept, StopReason.SATISFIED)


def right(n: int, draw: int = 0) -> tuple[State, str]:
    return RIGHT, f"In way number {draw} we take {n} twice.\n#### {2 * n}"


def wrong(n: int, draw: int = 0) -> tuple[State, str]:
    return WRONG, f"In way number {draw} we take {n} once too often.\n#### {3 * n}"


def recipe(**changes: Any) -> Recipe:
    evaluate = {"baselines": ["control_gold"], "gold": "solution"} | changes.pop("evaluate", {})
    return Recipe.model_validate(
        {
            "name": "sums",
            "tasks": {"source": "jsonl", "path": "tasks.jsonl", "test": 1},
            "teacher": {"kind": "recorded", "path": "recording.jsonl"},
            "scorer": {"workers": 1},
            "filters": ["finished", "one_final_answer", "dedup"],
            "student": {"model": "m", "method": "sft"},
            "evaluate": evaluate,
        }
        | changes
    )


def control(
    name: Baseline, outcomes: Sequence[Outcome], folder: Path, made: Recipe | None = None, **more: Any
) -> tuple[ControlRows, Distilled]:
    """The control's rows, and the student's."""
    made = made or recipe(**more)
    tasks = TaskSet([outcome.task for outcome in outcomes], (task(99),))
    distilled = distil(made, tasks, Held(outcomes), RunFolder(folder / "run", "sums"), "m")  # type: ignore[arg-type]
    return control_rows(name, distilled, tasks, made, Path()), distilled


def texts(rows: Sequence[SftRow]) -> list[str]:
    return [row["completion"][0]["content"] for row in rows]


# -- unfiltered ----------------------------------------------------------------------------------------------------


def test_unfiltered_is_as_large_as_the_student_and_has_its_system_prompt(tmp_path: Path) -> None:
    student = {"model": "m", "method": "sft", "system": "Be brief."}
    outcomes = [said(task(n), wrong(n), right(n, 1), (UNREAD, "hm")) for n in range(1, 9)]
    found, distilled = control("control_unfiltered", outcomes, tmp_path, student=student)
    assert len(found.rows) == found.wanted == distilled.written == 8
    assert found.note is None
    firsts = {f"t{n}": wrong(n)[1] for n in range(1, 9)}  # every task's first attempt, and it is wrong
    assert {row["task_id"]: row["completion"][0]["content"] for row in found.rows} == firsts
    assert {row["index"] for row in found.rows} == {0}
    assert {tuple(turn["role"] for turn in row["prompt"]) for row in found.rows} == {("system", "user")}


# -- form without skill --------------------------------------------------------------------------------------------


def test_a_filter_of_the_user_starts_at_the_recipe(tmp_path: Path) -> None:
    """Not at the current folder: the recipe may lie anywhere."""
    (tmp_path / "mine.py").write_text("def keep(trace):\n    return 'once' in trace.attempt.text\n")
    made = recipe(filters=[{"python": "mine.py:keep"}])
    require_trust(codes_in(made, tmp_path), trust=True)
    outcomes = [said(task(n), wrong(n), (WRONG, f"No. #### {n}")) for n in range(1, 4)]
    tasks = TaskSet([outcome.task for outcome in outcomes], (task(99),))
    distilled = Distilled(6, 6, (), tmp_path, Held(outcomes), None)
    found = control_rows("control_wrong_answers", distilled, tasks, made, tmp_path)
    assert sorted(texts(found.rows)) == [wrong(n)[1] for n in (1, 2, 3)]


def test_control_wrong_answers_learns_from_wrong_answers_in_the_right_form(tmp_path: Path) -> None:
    outcomes = [
        said(task(1), right(1), wrong(1, 1), (WRONG, "Cut #### 3", "length"), (UNREAD, "no idea")),
        said(task(2), wrong(2), right(2, 1), (WRONG, "#### 5\n#### 7")),
        said(task(3), wrong(3), wrong(3)),
    ]
    found, distilled = control("control_wrong_answers", outcomes, tmp_path)
    assert distilled.written == found.wanted == 2
    assert len(found.rows) == 2
    assert found.note is None
    assert all("once too often" in text for text in texts(found.rows))


def test_control_wrong_answers_passes_the_filters_that_the_student_passed(tmp_path: Path) -> None:
    twice = WRONG, "Either one.\n#### 5\nor, no.\nThe answer is 7."
    outcomes = [said(task(n), right(n), right(n, 1), twice, wrong(n, 3), wrong(n, 3)) for n in (1, 2, 3)]
    found, _ = control("control_wrong_answers", outcomes, tmp_path)
    assert len(found.rows) == 3  # one a task: the second is a duplicate, and the one with two answers is none
    assert all(row["index"] == 3 for row in found.rows)
    assert found.note == (
        "control_wrong_answers is trained on 3 rows, the student on 6: no more wrong attempts ended by themselves and passed "
        "the filters"
    )


def test_where_nothing_is_wrong_format_only_has_no_rows_and_says_so(tmp_path: Path) -> None:
    found, _ = control("control_wrong_answers", [said(task(1), right(1), (UNREAD, "hm"))], tmp_path)
    assert found.rows == []
    assert found.note == (
        "control_wrong_answers is not trained, there is no row for it: no wrong attempts ended by themselves and passed the "
        "filters"
    )


# -- answers without reasoning -------------------------------------------------------------------------------------


def test_answers_are_the_students_rows_with_the_reasoning_left_out(tmp_path: Path) -> None:
    outcomes = [
        said(task(1), (RIGHT, "<think>1 and 1</think>We add.\n#### 2")),
        said(task(2), (RIGHT, "We add. Thus $x = \\boxed{4}$.")),
        said(task(3), right(3), right(3, 1)),
    ]
    found, distilled = control("control_answers", outcomes, tmp_path)
    assert texts(found.rows) == ["#### 2", "Thus $x = \\boxed{4}$.", "#### 6", "#### 6"]
    assert found.note is None
    whole = distilled.rows
    assert [{**row, "completion": None} for row in found.rows] == [{**row, "completion": None} for row in whole]


def test_what_the_checker_does_not_accept_is_replaced_by_the_reference(tmp_path: Path) -> None:
    """As where a scorer with other rules than the checker's had accepted it."""
    outcomes = [
        said(task(1), (RIGHT, "We add.\n#### 17")),
        said(task(2), (RIGHT, "We add, and so it is:\nThe answer is 44.")),
        said(task(3), (RIGHT, "#### 6")),
        said(task(4), (RIGHT, "It all depends.\nOr not.")),
    ]
    found, _ = control("control_answers", outcomes, tmp_path, filters=["finished"])
    assert texts(found.rows) == ["#### 2", "The answer is 4.", "#### 6", "8"]
    assert found.note == (
        "control_answers: 3 of 4 rows hold the reference, since the checker does not accept what their last lines "
        "say; 1 of 4 rows are as they were: they are nothing but their answer"
    )


def test_a_row_whose_reference_cannot_be_read_is_left_out_and_counted(tmp_path: Path) -> None:
    odd = Task("odd", user("?"), "", "tasks:1")
    found, _ = control("control_answers", [said(odd, right(1)), said(task(2), right(2))], tmp_path)
    assert texts(found.rows) == ["#### 4"]
    assert found.note == (
        "control_answers is trained on 1 row, the student on 2: 1 of 2 rows are left out: the checker does not "
        "accept even the reference in their form"
    )


@pytest.mark.parametrize(
    ("text", "reference", "form"),
    [
        ("We add.\n#### 7", "12", "#### 12"),
        ("So \\boxed{7}.", "\\frac{1}{2}", "$\\boxed{\\frac{1}{2}}$"),
        ("The answer is 7.", "12", "The answer is 12."),
        ("The answer is this:\n#### 7", "12", "#### 12"),
        ("#### 7\nThe Answer Is 7", "12", "The answer is 12."),
        ("7", "12", "12"),
        ("#### 7", "6 + 6 = 12\n#### 12", "#### 12"),
    ],
)
def test_the_reference_in_the_form_of_a_text(text: str, reference: str, form: str) -> None:
    assert in_form_of(text, reference) == form


# -- gold solutions ------------------------------------------------------------------------------------------------


def test_gold_is_one_row_for_each_task_that_the_student_learns_from(tmp_path: Path) -> None:
    outcomes = [
        said(task(1, solution="Twice one is two.\n#### 2"), right(1), right(1, 1)),
        said(task(2, solution="Never learned from."), wrong(2)),
        said(task(3, solution="  Twice three.\n#### 6\n"), right(3)),
    ]
    found, distilled = control("control_gold", outcomes, tmp_path)
    assert texts(found.rows) == ["Twice one is two.\n#### 2", "Twice three.\n#### 6"]
    assert [row["prompt"] for row in found.rows] == [distilled.rows[i]["prompt"] for i in (0, 2)]
    assert found.note == ("control_gold is trained on 2 rows, the student on 3: a gold solution for each of 2 tasks")


def test_with_one_row_a_task_gold_says_nothing(tmp_path: Path) -> None:
    found, _ = control("control_gold", [said(task(n, solution="So."), right(n)) for n in (1, 2)], tmp_path)
    assert (len(found.rows), found.wanted, found.note) == (2, 2, None)


@pytest.mark.parametrize(
    ("metadata", "gold", "there"),
    [
        ({"solution": "So."}, "solution", True),
        ({"extra": {"steps": "So."}}, "extra.steps", True),
        ({"extra.steps": "So."}, "extra.steps", True),
        ({"extra": {"steps": {}}}, "extra.steps.all", False),
        ({"extra": "So."}, "extra.steps", False),
        ({"solution": ""}, "solution", False),
        ({"solution": 7}, "solution", False),
        ({"solution": ["So."]}, "solution", False),
        ({}, "solution", False),
        ({}, "answer", True),  # the field that the reference was read from, which is not a metadata then
    ],
)
def test_where_the_gold_solution_stands(tmp_path: Path, metadata: dict[str, Any], gold: str, there: bool) -> None:
    found, _ = control("control_gold", [said(task(1, **metadata), right(1))], tmp_path, evaluate={"gold": gold})
    assert len(found.rows) == int(there)
    assert (found.note is None) is there
    assert there or f"1 of 1 tasks have no text in {gold!r}" in str(found.note)


# -- all of them ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["student_before", "teacher"])
def test_who_is_not_trained_is_no_control(name: Baseline, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=f"{name} is not a control"):
        control(name, [said(task(1), right(1))], tmp_path)


@pytest.mark.parametrize("name", ["control_unfiltered", "control_answers", "control_gold", "control_wrong_answers"])
def test_the_same_run_gives_the_same_rows(name: Baseline, tmp_path: Path) -> None:
    outcomes = [said(task(n, solution="So."), wrong(n), right(n, 1), right(n, 2)) for n in range(1, 7)]
    first, distilled = control(name, outcomes, tmp_path)
    again, _ = control(name, outcomes, tmp_path / "elsewhere")
    assert first == again
    assert first.rows
    assert len(first.rows) <= distilled.written == first.wanted
