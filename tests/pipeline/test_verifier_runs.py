"""Runs with a verifier: what it decides is reported apart, paid for once, and believed only behind its gate."""

from __future__ import annotations

import json
import re
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from stillroom.errors import GateFailed, InputError, RecipeError
from stillroom.pipeline.flows.audit import calibrate_verifier
from stillroom.sampling.ledger import Ledger
from tests.conftest import Body, ModelServer, Reply, command, completion, stillroom
from tests.pipeline.runs import run

TASKS = 12


def gold(number: int) -> str:
    return f"All powers of {number}"


def right(number: int) -> str:
    """An answer that no rule reads as the gold one, or as another."""
    return f"n = {number}^k, k \\in \\mathbb{{Z}}_{{\\ge 0}}"


def write_recipe(folder: Path, server: ModelServer, **verifier: Any) -> Path:
    """Tasks whose gold answers are words; the teacher is right in even ones."""
    numbers = range(2, 2 + TASKS)
    files: dict[str, list[dict[str, Any]]] = {
        "tasks.jsonl": [{"question": f"Which n, number {n}?", "answer": gold(n)} for n in numbers],
        "said.jsonl": [
            {"question": f"Which n, number {n}?", "text": f"It is \\boxed{{{right(n + n % 2)}}}."} for n in numbers
        ],
        "labelled.jsonl": [
            {"gold": gold(n), "pred": f"\\boxed{{{right(n + k)}}}", "expected": k == 0, "prompt": f"Labelled {n}?"}
            for n in range(30, 52)
            for k in (0, 1)
        ],
    }
    folder.mkdir(exist_ok=True)
    for name, rows in files.items():
        (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    teacher = {"kind": "openai", "model": "m", "base_url": server.url, "concurrency": 4}
    fallback = {"kind": "verifier", "teacher": teacher, **verifier}
    recipe = {
        "name": "verified",
        "tasks": {"source": "jsonl", "path": "tasks.jsonl", "test": 0},
        "teacher": {"kind": "recorded", "path": "said.jsonl", "prompt": "question"},
        "scorer": {"kind": "answer", "fallback": fallback},
        "filters": ["finished"],
    }
    path = folder / "recipe.yaml"
    path.write_text(json.dumps(recipe))
    return path


def knows(body: Body) -> str:
    """A verifier that is always right: the numbers of the two answers are the same, or not."""
    one, other = (re.findall(r"\d+", part)[0] for part in re.findall(r"<[AB]>(.*?)</[AB]>", str(body), re.DOTALL))
    return "[[same]]" if one == other else "[[different]]"


GATE: dict[str, Any] = {"labelled": "labelled.jsonl"}


def test_what_it_decides_is_counted_apart(tmp_path: Path, model_server: ModelServer) -> None:
    model_server.script = knows
    ended = stillroom("run", write_recipe(tmp_path, model_server), "--out", tmp_path / "run")
    assert ended.returncode == 0, ended.stderr
    said = " ".join(ended.stderr.split())
    assert "12 attempts: 6 accepted (6 by the verifier), 6 rejected (6 by the verifier), 0 unscored" in said
    assert len(model_server.bodies) == 2 * TASKS
    rows = [json.loads(line) for line in stillroom("attempts", tmp_path / "run").stdout.splitlines()]
    assert {row["reason"] for row in rows if row["verdict"] == "accepted"} == {"verifier"}
    assert json.loads((tmp_path / "run" / "run.json").read_text())["sampling"]["verified"] == 6


def test_a_run_killed_while_verifying_asks_nothing_twice(tmp_path: Path, model_server: ModelServer) -> None:
    model_server.script = lambda body: Reply(completion(knows(body)), wait=len(model_server.bodies) > 9)
    recipe = write_recipe(tmp_path, model_server)
    process = subprocess.Popen(
        command("run", recipe, "--out", tmp_path / "run"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    assert model_server.wait_for(waiting=4)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert model_server.wait_for(gone=4)
    before = len(model_server.bodies)
    model_server.release()
    result = run(recipe, out=tmp_path / "run")
    in_flight = 4
    assert len(model_server.bodies) == before + 2 * TASKS - (before - in_flight)
    straight = run(write_recipe(tmp_path / "straight", model_server), out=tmp_path / "two")
    assert (result.accepted, result.rows) == (straight.accepted, straight.rows) == (6, 6)
    tables = [(folder / "sft" / "train.parquet").read_bytes() for folder in (tmp_path / "run", tmp_path / "two")]
    assert tables[0] == tables[1]
    run(recipe, out=tmp_path / "run")
    assert len(model_server.bodies) == before + 2 * TASKS - (before - in_flight) + 2 * TASKS


def test_the_gate_lets_a_good_verifier_in_and_pays_for_it_once(tmp_path: Path, model_server: ModelServer) -> None:
    model_server.script = knows
    recipe = write_recipe(tmp_path, model_server, gate=GATE)
    found = calibrate_verifier(recipe, tmp_path / "labelled.jsonl", out=tmp_path / "run")
    assert found.gate.passed
    assert found.calibration.accuracy is not None
    assert (found.calibration.accuracy.value, found.calibration.answers, found.calibration.wrong) == (1.0, 44, 22)
    assert found.calibration.open_answers == 44
    asked = len(model_server.bodies)
    assert run(recipe, out=tmp_path / "run").accepted == 6
    assert len(model_server.bodies) == asked + 2 * TASKS


def test_the_gate_refuses_one_that_says_yes_to_everything(tmp_path: Path, model_server: ModelServer) -> None:
    model_server.script = lambda body: "[[same]]"
    recipe, out = write_recipe(tmp_path, model_server, gate=GATE), tmp_path / "run"
    ended = stillroom("run", recipe, "--out", out)
    said = " ".join(ended.stderr.split())
    assert ended.returncode == 1, said
    assert "the verifier fails the gate on 44 labelled answers: wrong answers that it accepts: 1.000" in said
    assert "Nothing was sampled." in said
    with Ledger.read(out) as ledger:
        assert {asked.task_id.split("-")[0] for asked in ledger.requests()} == {"judge"} or ledger.count() <= 88
        assert list(ledger.outcomes()) == []
    assert json.loads((out / "verifier.json").read_text())["false_accepts"]["value"] == 1.0
    lenient = write_recipe(tmp_path, model_server, gate=GATE | {"required": False})
    assert run(lenient, out=tmp_path / "lenient").accepted == 12


def test_the_command_shows_it(tmp_path: Path, model_server: ModelServer) -> None:
    model_server.script = knows
    recipe = write_recipe(tmp_path, model_server)
    shown = stillroom("check", recipe, "--calibrate", tmp_path / "labelled.jsonl", "--out", tmp_path / "run")
    assert shown.returncode == 0, shown.stderr
    assert re.search(r"wrong answers accepted +0\.000 +\[0\.000, 0\.149\] +22", shown.stdout), shown.stdout
    assert re.search(r"gate +passed", shown.stdout)
    assert max(map(len, shown.stdout.splitlines())) <= 100
    found = stillroom(
        "check", recipe, "--calibrate", tmp_path / "labelled.jsonl", "--out", tmp_path / "run", "--json"
    )
    assert json.loads(found.stdout)["gate"]["passed"] is True


def test_what_cannot_be_measured_is_said(tmp_path: Path, model_server: ModelServer) -> None:
    recipe = write_recipe(tmp_path, model_server)
    (tmp_path / "unlabelled.jsonl").write_text('{"gold": "1", "pred": "1"}\n')
    with pytest.raises(InputError, match="holds no labelled answers: every row needs gold, pred and expected"):
        calibrate_verifier(recipe, tmp_path / "unlabelled.jsonl", out=tmp_path / "run")
    plain = json.loads(recipe.read_text()) | {"scorer": {"kind": "answer"}}
    recipe.write_text(json.dumps(plain))
    with pytest.raises(RecipeError, match="the recipe has no verifier"):
        calibrate_verifier(recipe, tmp_path / "labelled.jsonl", out=tmp_path / "run")


def test_a_gate_in_python(tmp_path: Path, model_server: ModelServer) -> None:
    model_server.script = lambda body: "[[same]]"
    with pytest.raises(GateFailed, match="the verifier fails the gate"):
        run(write_recipe(tmp_path, model_server, gate=GATE), out=tmp_path / "run")
