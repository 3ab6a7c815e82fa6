"""Functions of a program in a recipe that is a dict."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import stillroom
from stillroom.common.records import Attempt, Task, Verdict
from stillroom.errors import InputError, RecipeError, StillroomError
from stillroom.pipeline.run.progress import Display
from stillroom.traces.trace import Trace

QUIET = Display(quiet=True)
ROWS = [{"question": f"{a} + 1", "answer": str(a + 1)} for a in range(4)]
asked: list[str] = []


async def teach(messages: list[dict[str, str]], sampling: Any) -> str:
    asked.append(messages[-1]["content"])
    return f"The answer is {int(messages[-1]['content'].split()[0]) + 1}."


def recipe(**more: Any) -> dict[str, Any]:
    return {"name": "live", "tasks": ROWS, "teacher": teach, "filters": [], "keep": {"max_attempts": 1}, **more}


def run(folder: Path, **more: Any) -> Any:
    return stillroom.run(recipe(**more), out=folder, display=QUIET)


def test_a_run_of_functions_gives_rows_and_is_never_paid_for_twice(tmp_path: Path) -> None:
    asked.clear()
    result = run(tmp_path / "run")
    assert repr(result) == f"RunResult(folder={tmp_path / 'run'!r}, tasks=4, attempts=4, accepted=4, rows=4)"
    rows = result.to_dataset()
    assert sorted(row["prompt"][0]["content"] for row in rows) == [f"{a} + 1" for a in range(4)]
    assert len(result.to_pandas()) == 4
    assert len(asked) == 4
    run(tmp_path / "run")
    assert len(asked) == 4, "the same function was asked again"
    assert len(stillroom.attempts(tmp_path / "run").to_pandas()) == 4


def test_an_edited_function_is_asked_again(tmp_path: Path) -> None:
    async def other(messages: list[dict[str, str]], sampling: Any) -> str:
        return await teach(messages, sampling) + " Surely."

    run(tmp_path)
    asked.clear()
    assert "Surely" in run(tmp_path, teacher=other).to_dataset()[0]["completion"][0]["content"]
    assert len(asked) == 4


def test_scorers_and_filters_decide(tmp_path: Path) -> None:
    def score(task: Task, attempt: Attempt) -> float:
        return float(task.messages[-1].content[0])

    def small(trace: Trace) -> bool | str:
        return trace.verdict.score != 3 or "three"

    result = run(tmp_path, scorer={"kind": "function", "function": score, "accept": 2}, filters=["finished", small])
    assert (result.accepted, result.rows) == (2, 1)
    [reject] = (tmp_path / "rejects").glob("*small.jsonl")
    assert '"reason": "three"' in reject.read_text(encoding="utf-8")


def test_what_a_scorer_raises_is_told_with_its_line(tmp_path: Path) -> None:
    async def score(task: Task, attempt: Attempt) -> Verdict:
        raise ZeroDivisionError("no")

    with pytest.raises(StillroomError, match="none of 4 attempts was accepted"):
        run(tmp_path, scorer=score)
    details = {row["detail"] for row in stillroom.attempts(tmp_path).rows}
    [detail] = details
    assert detail.startswith("test_live.py:")
    assert "ZeroDivisionError: no" in detail


def test_what_a_teacher_raises_is_a_failed_request(tmp_path: Path) -> None:
    async def teacher(messages: list[dict[str, str]], sampling: Any) -> str:
        raise KeyError("nothing there")

    with pytest.raises(StillroomError, match=r"test_live\.py:\d+: KeyError: 'nothing there'"):
        run(tmp_path, teacher=teacher)


def plain(messages: object, sampling: object) -> str:
    return ""


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"teacher": plain}, "plain is a plain function, and this one must be async"),
        ({"teacher": 3}, "teacher: expected keys with values, found 3"),
        ({"teacher": {"kind": "function", "function": "teach"}}, "function is a str: give a Python function"),
        ({"scorer": lambda attempt: True}, "it is called as <lambda>"),
        ({"filters": [lambda: True]}, "it is called as <lambda>"),
        ({"filters": [print, 3]}, "a filter is a name"),
        ({"tasks": []}, "tasks.rows"),
        ({"tasks": [3]}, "tasks.1"),
    ],
)
def test_what_cannot_be_used_is_one_clear_message_before_anybody_is_asked(
    more: dict[str, Any], message: str, tmp_path: Path
) -> None:
    asked.clear()
    with pytest.raises(InputError, match=message.replace(".", r"\.").replace("(", r"\(")) as caught:
        run(tmp_path, **more)
    assert caught.value.exit_code == 2
    assert asked == []


def test_the_folder_of_such_a_run_says_what_is_missing(tmp_path: Path) -> None:
    run(tmp_path)
    with pytest.raises(InputError, match="teach was a function of the Python program that made this run"):
        stillroom.run(str(tmp_path / "recipe.yaml"), out=tmp_path, display=QUIET)
    assert "cannot be said" in repr(stillroom.status(tmp_path)) or stillroom.status(tmp_path).plan is None


def test_texts_are_tasks_without_an_answer(tmp_path: Path) -> None:
    tasks = ["1 + 1", "2 + 1"]
    assert run(tmp_path / "a", tasks=tasks, scorer={"kind": "none"}).rows == 2
    with pytest.raises(RecipeError, match="needs a reference"):
        run(tmp_path / "b", tasks=tasks)
