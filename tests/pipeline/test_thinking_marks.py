"""Marks of thinking that a recipe names: in the verdicts, in the rows, and for answers that are on record."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq

from stillroom.sampling.ledger import Ledger
from tests.pipeline.runs import run

MARKS = "teacher.sampling.thinking={open: '((', close: '))'}"


def recipe(folder: Path) -> Path:
    """Four sums; the teacher thinks of a wrong answer between (( and )), twice before it answers and twice amid."""
    tasks = [{"question": f"What is {n} + {n}?", "answer": str(2 * n)} for n in range(5, 9)]
    said = [
        {
            "question": task["question"],
            "text": f"((Perhaps \\boxed{{{n}}}, or more.)) It is \\boxed{{{2 * n}}}."
            if n % 2
            else f"We double {n}: it is \\boxed{{{2 * n}}}. ((Or is it \\boxed{{{n}}}?)) So \\boxed{{{2 * n}}}.",
        }
        for n, task in enumerate(tasks, 5)
    ]
    for name, rows in (("tasks.jsonl", tasks), ("said.jsonl", said)):
        (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    path = folder / "recipe.yaml"
    path.write_text(
        "name: thoughtful\ntasks: {source: jsonl, path: tasks.jsonl, test: 0}\n"
        "teacher: {kind: recorded, path: said.jsonl, prompt: question}\nfilters: [finished]\n"
    )
    return path


def test_thinking_in_named_marks_is_trained_as_thinking(tmp_path: Path) -> None:
    result = run(recipe(tmp_path), set=[MARKS], out=tmp_path / "run")
    assert result.rows == 2  # thinking amid an answer is no thinking part that a row could hold
    answers = [
        row["completion"][0]["content"]
        for row in pq.read_table(tmp_path / "run" / "sft" / "train.parquet").to_pylist()
    ]
    assert sorted(answers) == [
        f"<think>\nPerhaps \\boxed{{{n}}}, or more.\n</think>\n\nIt is \\boxed{{{2 * n}}}." for n in (5, 7)
    ]


def test_marks_that_are_named_afterwards_are_read_into_what_is_on_record(tmp_path: Path) -> None:
    path, out = recipe(tmp_path), tmp_path / "run"
    run(path, out=out)
    with Ledger.read(out) as ledger:
        before = ledger.totals()
    late = run(path, set=[MARKS], out=out)
    at_once = run(path, set=[MARKS], out=tmp_path / "again")
    with Ledger.read(out) as ledger:
        assert ledger.totals() == before  # nothing was asked again
    assert late.rows == at_once.rows == 2
    rows = [pq.read_table(folder / "sft" / "train.parquet").to_pylist() for folder in (out, tmp_path / "again")]
    assert rows[0] == rows[1]
