"""A whole run in batches, its files answered by hand: what is said, what is written, and that it may be told apart."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from stillroom.errors import InputError, Interrupted
from stillroom.pipeline.flows.run import run
from stillroom.pipeline.run.progress import Display, batches_in_words, progress_line, strays_in_words
from stillroom.sampling.counts import Counts

TASKS = 6


def recipe(folder: Path, **teacher: Any) -> dict[str, Any]:
    rows = [{"question": f"What is {i} + 40?", "answer": str(i + 40)} for i in range(TASKS)]
    (folder / "sums.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    asked = {"kind": "openai", "model": "m", "batch": {"dir": str(folder / "files")}, **teacher}
    return {
        "name": "sums",
        "tasks": {"source": "jsonl", "path": str(folder / "sums.jsonl"), "prompt": "question", "reference": "answer"},
        "teacher": asked,
        "keep": {"per_task": 1, "max_attempts": 2},
        "prices": {"prompt": 1.0, "completion": 2.0},
        "filters": ["finished"],
    }


def answered(folder: Path) -> None:
    """Answers each file of requests that has no answers: draws of the first file are wrong for task 0."""
    for path in sorted(folder.glob("*.requests.jsonl")):
        output = path.with_name(path.name.replace(".requests.", ".output."))
        if output.exists():
            continue
        lines = []
        for line in path.read_text().splitlines():
            asked = json.loads(line)
            number = int(asked["body"]["messages"][-1]["content"].split()[2])
            said = 1 if number == 0 and path.name.startswith("b0001") else number + 40
            choice = {"message": {"content": f"It is {said}.\n#### {said}"}, "finish_reason": "stop"}
            body = {"choices": [choice], "usage": {"prompt_tokens": 5, "completion_tokens": 4}}
            lines.append(
                {"custom_id": asked["custom_id"], "response": {"status_code": 200, "body": body}, "error": None}
            )
        output.write_text("".join(json.dumps(line) + "\n" for line in [*lines, lines[0]]))


def called(folder: Path, given: dict[str, Any]) -> str:
    """What one call of the run says."""
    out = io.StringIO()
    run(given, out=folder / "run", display=Display(Console(file=out, width=400)))
    return out.getvalue()


def test_a_run_goes_on_file_by_file_until_its_rows_are_written(tmp_path: Path) -> None:
    given = recipe(tmp_path)
    for wave, requests in ((1, TASKS), (2, 1)):
        with pytest.raises(
            Interrupted, match=rf"^{requests} requests wait to be answered, in a file\b[\s\S]*run-batch"
        ):
            called(tmp_path, given)
        assert len(list((tmp_path / "files").glob("*.requests.jsonl"))) == wave
        answered(tmp_path / "files")
    said = called(tmp_path, given)
    assert "prices of the recipe as they stand ($1 and $2 for a million tokens)" in said
    assert "1 about what was answered already" in said
    facts = json.loads((tmp_path / "run" / "run.json").read_text())
    assert facts["sampling"]["satisfied"] == TASKS
    assert facts["sampling"]["lines_twice"] == 1
    assert facts["sampling"]["failed"] == 0


@pytest.mark.parametrize(
    "more",
    [
        {"scorer": {"kind": "answer", "fallback": {"kind": "verifier", "teacher": {"kind": "openai", "model": "m", "batch": True}}}},
        {"scorer": {"kind": "judge", "judge": {"kind": "llm", "teacher": {"kind": "openai", "model": "m", "batch": True}}}},
    ],
)  # fmt: skip
def test_a_judge_or_verifier_in_batches_is_refused_before_anything_is_asked(
    tmp_path: Path, more: dict[str, Any]
) -> None:
    with pytest.raises(InputError, match="cannot wait for batches"):
        called(tmp_path, recipe(tmp_path) | more)
    assert not (tmp_path / "files").exists()


def test_the_progress_tells_the_wave_the_lines_and_the_expected_waste() -> None:
    counts = Counts(waves=2, wave=1200, overdraw=3.5, batches="batch_1: 300 of 1,200 lines, about 20 min left")
    said = "wave 2: 1,200 requests (of all, 3.5 expected not to be needed); batch_1: 300 of 1,200 lines, about 20 min left"
    assert batches_in_words(counts) == said
    assert said in progress_line(counts)
    assert "wave" not in progress_line(Counts())


def test_lines_of_no_use_are_told_by_kind() -> None:
    said = strays_in_words(Counts(lines_unknown=3, lines_unread=1))
    assert "3 about nothing that was asked, 1 that cannot be read" in said
