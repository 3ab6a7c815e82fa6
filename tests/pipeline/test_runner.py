"""Whole runs without a student: what lands on disk, and that nothing is asked or lost twice, however a run ended."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from stillroom.errors import InputError, RunError, RunFolderError
from stillroom.pipeline.config.load import load_recipe
from stillroom.pipeline.config.recipe import Recipe
from stillroom.pipeline.flows.traces import RunResult
from stillroom.pipeline.run.progress import Display
from stillroom.sampling.teachers.recorded import RecordedTeacher
from tests.conftest import (
    Body,
    ModelServer,
    Reply,
    command,
    served_by,
    stillroom,
    sum_answer,
    sums_until,
    write_sums,
)
from tests.pipeline.runs import run

QUIET = Display(quiet=True)


def start(recipe: Path, out: Path, **more: Any) -> RunResult:
    result: RunResult = run(recipe, out=out, display=QUIET, **more)
    return result


def files(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, by its path in it."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def sft(folder: Path) -> list[dict[str, Any]]:
    import datasets

    rows: list[dict[str, Any]] = datasets.load_dataset(
        str(folder / "sft"), split="train", cache_dir=str(folder.parent / "cache")
    ).to_list()
    return rows


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> RunResult:
    """One finished run, for tests that only look at it."""
    folder = tmp_path_factory.mktemp("finished")
    return start(write_sums(folder), folder / "run")


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """(task, draw) of every request that reaches a recorded teacher."""
    seen: list[tuple[str, int]] = []
    real = RecordedTeacher.sample

    async def sample(self: RecordedTeacher, request: Any, usage: Any) -> Any:
        seen.append((request.task_id, request.index))
        return await real(self, request, usage)

    monkeypatch.setattr(RecordedTeacher, "sample", sample)
    return seen


# -- what lands on disk ------------------------------------------------------------------------------------------


def test_a_run_has_the_layout_that_the_design_promises(finished: RunResult) -> None:
    names = {name for name in files(finished.folder) if not name.startswith((".lock", "rejects/"))}
    assert names == {"recipe.yaml", "run.json", "ledger.sqlite", "sft/train.parquet", "sft/README.md"}
    facts = json.loads((finished.folder / "run.json").read_text())
    assert facts["name"] == "sums"
    assert facts["seed"] == 0
    assert facts["rows"] == finished.rows
    assert facts["teacher"]["identity"].startswith("recorded@")
    assert {"stillroom", "python", "mpmath", "sympy"} <= facts["versions"].keys()
    assert sum(facts["sampling"]["stops"].values()) == finished.tasks == 16


def test_rows_load_as_a_dataset_and_hold_what_was_accepted(finished: RunResult) -> None:
    rows = sft(finished.folder)
    assert len(rows) == finished.rows > 10
    for row in rows:
        a, b = row["prompt"][-1]["content"].removeprefix("What is ").removesuffix("?").split(" + ")
        assert row["completion"][0]["role"] == "assistant"
        assert row["completion"][0]["content"].endswith(f"#### {int(a) + int(b)}")
    keys = [(row["task_id"], row["index"]) for row in rows]
    assert len(set(keys)) == len(keys)
    assert max(sum(task == key[0] for key in keys) for task, _ in keys) <= 2  # keep.per_task


def test_every_attempt_is_counted_once(finished: RunResult) -> None:
    status = json.loads(stillroom("status", finished.folder, "--json").stdout)
    assert sum(status["verdicts"].values()) == status["ledger"]["attempts"] >= finished.attempts
    assert status["verdicts"]["accepted"] >= finished.accepted >= finished.rows


def test_what_filters_drop_is_kept_with_its_reason(tmp_path: Path) -> None:
    recipe = write_sums(tmp_path, filters=["finished", {"min_tokens": 10_000}])
    with pytest.raises(RunError, match="rejects/"):
        start(recipe, tmp_path / "run")
    lines = [json.loads(line) for text in files(tmp_path / "run" / "rejects").values() for line in text.splitlines()]
    assert lines
    assert {line["reason"] for line in lines} == {"too_short"}


def test_grades_are_compared_and_every_disagreement_is_listed(tmp_path: Path) -> None:
    teacher = {"kind": "recorded", "path": "recording.jsonl", "prompt": "question", "grade": "right"}
    recipe = write_sums(tmp_path, teacher=teacher, keep={"per_task": 4, "max_attempts": 4})
    lines = (tmp_path / "recording.jsonl").read_text().splitlines()
    wrong = json.loads(lines[5])
    lines[5] = json.dumps({**wrong, "right": not wrong["right"]})
    (tmp_path / "recording.jsonl").write_text("\n".join(lines))
    result = start(recipe, tmp_path / "run")
    written = json.loads((tmp_path / "run" / "agreement.json").read_text())
    assert (written["graded"], written["agreed"]) == (64, 63)
    assert written["low"] < written["share"] == 63 / 64 < written["high"]
    [listed] = written["disagreements"]
    assert (listed["index"], listed["grade"]) == (1, not wrong["right"])
    assert listed["ending"] == wrong["text"][-200:]
    assert result.agreement is not None
    assert result.agreement.agreed == 63


# -- again and elsewhere -----------------------------------------------------------------------------------------


def test_a_finished_run_asks_nothing_again_and_writes_the_same_bytes(
    tmp_path: Path, asked: list[tuple[str, int]]
) -> None:
    recipe = write_sums(tmp_path)
    first = start(recipe, tmp_path / "run")
    before = files(tmp_path / "run" / "sft")
    assert len(asked) == len(set(asked)) > 0
    asked.clear()
    again = start(recipe, tmp_path / "run")
    assert asked == []
    assert files(tmp_path / "run" / "sft") == before
    assert again == first


@pytest.mark.parametrize("overrides", [[], ["teacher.concurrency=1"], ["scorer.workers=2"]])
def test_the_same_recipe_and_recording_give_the_same_bytes_anywhere(
    tmp_path: Path, finished: RunResult, overrides: list[str]
) -> None:
    start(write_sums(tmp_path), tmp_path / "elsewhere", set=overrides)
    assert files(tmp_path / "elsewhere" / "sft") == files(finished.folder / "sft")


def test_more_to_keep_asks_only_for_what_is_missing(tmp_path: Path, asked: list[tuple[str, int]]) -> None:
    recipe = write_sums(tmp_path)
    start(recipe, tmp_path / "run", set=["keep.per_task=1"])
    had = set(asked)
    asked.clear()
    grown = start(recipe, tmp_path / "run")
    assert asked
    assert not had & set(asked)
    assert grown.rows == start(recipe, tmp_path / "fresh").rows


def test_a_run_that_was_killed_before_its_first_note_can_be_gone_on_with(tmp_path: Path) -> None:
    recipe, out = write_sums(tmp_path), tmp_path / "run"
    start(recipe, out)
    for name in ("run.json", "recipe.yaml"):
        (out / name).unlink()
    assert start(recipe, out).rows > 0


def test_a_mistake_found_late_does_not_spoil_the_folder(tmp_path: Path) -> None:
    recipe, out = write_sums(tmp_path), tmp_path / "run"
    (tmp_path / "recording.jsonl").rename(tmp_path / "elsewhere.jsonl")
    with pytest.raises(InputError, match=r"there is no file .*recording\.jsonl"):
        start(recipe, out)
    (tmp_path / "elsewhere.jsonl").rename(tmp_path / "recording.jsonl")
    assert start(recipe, out).rows > 0


@pytest.mark.parametrize("test", [None, 4])
def test_a_recipe_that_names_no_filters_runs_with_and_without_a_test_split(tmp_path: Path, test: int | None) -> None:
    tasks = {"source": "jsonl", "path": "tasks.jsonl"} | ({} if test is None else {"test": test})
    path = write_sums(tmp_path)
    recipe = json.loads(path.read_text())
    del recipe["filters"]
    recipe["tasks"] = tasks
    path.write_text(json.dumps(recipe))
    assert start(path, tmp_path / "run").rows > 0
    found = load_recipe(path).recipe
    assert isinstance(found, Recipe)
    names = [each.name for each in found.filters]
    assert (
        names == ["finished", "one_final_answer", "no_repetition", "dedup", "decontaminate"][: None if test else -1]
    )


def test_a_filter_that_is_named_is_never_left_out(tmp_path: Path) -> None:
    named = ["finished", {"decontaminate": "test"}]
    with pytest.raises(InputError, match="decontaminate compares with the test split, which is empty"):
        start(write_sums(tmp_path, filters=named), tmp_path / "run")


# -- folders that are not this run's -----------------------------------------------------------------------------


def test_the_folder_of_another_recipe_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    start(write_sums(tmp_path), tmp_path / "run")
    before = files(tmp_path / "run")
    other = write_sums(tmp_path / "other", name="others")
    with pytest.raises(
        RunFolderError, match=r"recipe 'sums', not of 'others': give another folder with --out"
    ) as caught:
        start(other, tmp_path / "run")
    assert caught.value.exit_code == 2
    assert files(tmp_path / "run") == before


def test_a_folder_with_other_things_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    out = tmp_path / "thesis"
    out.mkdir()
    (out / "chapter.tex").write_text("precious")
    with pytest.raises(RunFolderError, match="is not empty and no run folder"):
        start(write_sums(tmp_path), out)
    assert files(out) == {"chapter.tex": b"precious"}


@pytest.mark.parametrize("content", ["{", "[]", '{"name": 5}'])
def test_a_folder_with_a_damaged_record_is_refused(tmp_path: Path, content: str) -> None:
    out = tmp_path / "run"
    out.mkdir()
    (out / "run.json").write_text(content)
    with pytest.raises(RunFolderError):
        start(write_sums(tmp_path), out)


@pytest.mark.parametrize("out", ["file", "file/below"])
def test_a_file_is_no_folder(tmp_path: Path, out: str) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"file.*give another folder with --out"):
        start(write_sums(tmp_path), tmp_path / out)


# -- runs that come to nothing -----------------------------------------------------------------------------------


def test_nothing_accepted_says_what_the_verdicts_were(tmp_path: Path) -> None:
    recipe = write_sums(tmp_path)
    rows = [json.loads(line) for line in (tmp_path / "tasks.jsonl").read_text().splitlines()]
    (tmp_path / "tasks.jsonl").write_text("".join(json.dumps({**row, "answer": "-1"}) + "\n" for row in rows))
    with pytest.raises(RunError, match=r"none of 64 attempts was accepted \(different 64\)"):
        start(recipe, tmp_path / "run")


def test_a_recording_of_other_tasks_says_so(tmp_path: Path) -> None:
    recipe = write_sums(tmp_path)
    (tmp_path / "recording.jsonl").write_text('{"question": "Who?", "text": "Me."}\n')
    with pytest.raises(InputError, match=r"none of the tasks: the prompt of the first task is 'What is .* 'Who\?'"):
        start(recipe, tmp_path / "run")
    noted = json.loads((tmp_path / "run" / "run.json").read_text())["recording"]["teacher"]
    assert (noted["attempts"], noted["matched_attempts"], noted["bad_rows"]) == (1, 0, {})


def test_what_a_server_says_is_shown_as_it_is(
    tmp_path: Path, model_server: ModelServer, capfd: pytest.CaptureFixture[str]
) -> None:
    """Square brackets are markup to the terminal's library, and a server may say anything."""

    def script(body: Body) -> str | Reply:
        question = body["messages"][-1]["content"]
        said = {"error": {"message": "[/b] [red]bad[/] prompt"}}
        return Reply(said, 400) if question.startswith("What is 2 ") else sum_answer(question, body["seed"])

    model_server.script = script
    recipe = write_sums(tmp_path, teacher=served_by(model_server))
    result = run(recipe, out=tmp_path / "run", display=Display(Console(stderr=True, width=200)))
    assert "last failure: HTTP 400: [/b] [red]bad[/] prompt" in capfd.readouterr().err
    assert result.tasks == 16
    assert result.rows > 10  # the other tasks went on


# -- killed, stopped, and run twice ------------------------------------------------------------------------------


class Running:
    """A run in a process of its own, held up by its server."""

    def __init__(self, recipe: Path, out: Path) -> None:
        self.recipe, self.out = recipe, out
        self.process = subprocess.Popen(
            command("run", recipe, "--out", out),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self.said = ""

    def signal(self, number: int) -> None:
        """To the whole group, as a terminal does on Ctrl-C."""
        os.killpg(self.process.pid, number)

    def wait_until_it_says(self, text: str) -> None:
        assert self.process.stderr is not None
        while text not in " ".join(self.said.split()):
            line = self.process.stderr.readline()
            assert line, f"ended without saying {text!r}: {self.said}"
            self.said += line

    def end(self) -> int:
        """The exit code, when it has ended."""
        rest = self.process.communicate(timeout=60)[1]
        self.said = " ".join((self.said + rest).split())
        return self.process.returncode


@pytest.fixture
def held(model_server: ModelServer, tmp_path: Path) -> Iterator[Running]:
    """A run whose first 20 requests were answered, with 4 more in flight that will not be before the release."""
    model_server.script = sums_until(model_server, answered=20)
    recipe = write_sums(tmp_path, teacher=served_by(model_server), keep={"per_task": 2, "max_attempts": 6})
    running = Running(recipe, tmp_path / "run")
    assert model_server.wait_for(waiting=4), running.process.poll()
    yield running
    if running.process.poll() is None:
        running.signal(signal.SIGKILL)
    running.process.wait()
    if running.process.stderr is not None:
        running.process.stderr.close()


def drawn(bodies: list[Body]) -> set[tuple[str, int]]:
    """What was asked, as (question, seed)."""
    return {(body["messages"][-1]["content"], body["seed"]) for body in bodies}


def on_record(out: Path) -> int:
    """Requests in a run's ledger: those that were answered, and siblings that were cancelled as not needed."""
    ledger = json.loads(stillroom("status", out, "--json").stdout)["ledger"]
    assert ledger["attempts"] > 12
    assert ledger["failures"] == 0
    return int(ledger["attempts"] + ledger["cancelled"])


def test_a_killed_run_pays_for_nothing_twice_and_ends_as_if_it_had_not_been(
    held: Running, model_server: ModelServer, tmp_path: Path
) -> None:
    held.signal(signal.SIGKILL)
    assert held.end() == -signal.SIGKILL
    assert model_server.wait_for(gone=4)
    assert on_record(held.out) == 20
    before = model_server.bodies[:]
    in_flight = drawn(before[20:])

    model_server.release()
    resumed = start(held.recipe, held.out)
    after = model_server.bodies[len(before) :]
    assert drawn(after) & drawn(before) <= in_flight
    assert len(drawn(after)) == len(after)

    # As an uninterrupted run of the recording of that run, and as one of the same server.
    lines = stillroom("attempts", held.out, "--out", tmp_path / "replay" / "attempts.jsonl")
    assert lines.returncode == 0, lines.stderr
    keep = {"per_task": 2, "max_attempts": 6}
    teacher = {"kind": "recorded", "path": "attempts.jsonl"}
    replayed = start(write_sums(tmp_path / "replay", teacher=teacher, keep=keep), tmp_path / "replay" / "run")
    straight = start(held.recipe, tmp_path / "straight")
    assert resumed.rows == replayed.rows == straight.rows > 10
    rows = [
        (folder / "sft" / "train.parquet").read_bytes() for folder in (held.out, replayed.folder, straight.folder)
    ]
    assert rows[0] == rows[1] == rows[2]


def test_ctrl_c_waits_for_what_is_in_flight_and_keeps_it(held: Running, model_server: ModelServer) -> None:
    held.signal(signal.SIGINT)
    held.wait_until_it_says("stopping: waiting for 4 requests in flight")
    model_server.release()
    assert held.end() == 1
    assert "run the same command again to go on" in held.said
    assert "Traceback" not in held.said
    assert on_record(held.out) == 24 == len(model_server.bodies)
    start(held.recipe, held.out)
    assert len(drawn(model_server.bodies)) == len(model_server.bodies)


def test_ctrl_c_twice_ends_at_once_and_keeps_what_was_answered(held: Running, model_server: ModelServer) -> None:
    held.signal(signal.SIGINT)
    held.wait_until_it_says("stopping: waiting for 4 requests in flight")
    held.signal(signal.SIGINT)
    assert held.end() == 1
    assert model_server.wait_for(gone=4)
    assert "stopped at once" in held.said
    assert "Traceback" not in held.said
    assert on_record(held.out) == 24
    model_server.release()
    assert start(held.recipe, held.out).rows > 10


def test_a_second_process_on_the_same_run_is_refused(held: Running, model_server: ModelServer) -> None:
    second = stillroom("run", held.recipe, "--out", held.out)
    assert second.returncode == 1
    assert "another process is working on" in second.stderr
    assert "--out" in second.stderr
    assert len(model_server.bodies) == 24
    model_server.release()
    assert held.end() == 0
