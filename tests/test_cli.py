"""The command line: exit codes, clean output, and one clear message for everything that can go wrong around a run."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ModelServer, Reply, command, served_by, stillroom, sum_answer, write_sums

KEY = "sk-proj-a1B2c3D4e5F6g7H8"

PAIRS = [
    {"gold": "4", "pred": "4"},
    {"gold": "4", "pred": "5"},
    {"gold": "1/2", "pred": "The answer is 0.5."},
]


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run."""
    folder = tmp_path_factory.mktemp("done")
    ended = stillroom("run", write_sums(folder), "--out", folder / "run", "--quiet")
    assert (ended.returncode, ended.stderr) == (0, "")
    return folder / "run"


def pairs(folder: Path, *rows: object) -> Path:
    path = folder / "pairs.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows or PAIRS), encoding="utf-8")
    return path


def one_line(ended: subprocess.CompletedProcess[str]) -> str:
    """What was said on standard error, which is one message without a traceback."""
    assert "Traceback" not in ended.stderr
    assert ended.stderr.startswith("error: ")
    assert "fault of Stillroom" not in ended.stderr
    return ended.stderr.removeprefix("error: ").strip()


# -- the command line itself -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["bogus"], "No such command 'bogus'"),
        (["run"], "Missing argument"),
        (["run", "quickstart", "--bogus"], "No such option: --bogus"),
        (["check", "x.jsonl", "--workers", "many"], "Invalid value for '--workers'"),
        (["run", "no_such_recipe"], "no recipe 'no_such_recipe'"),
        (["run", "gsm8k_recorded", "--set", "keep.per_tsk=1"], "--set keep.per_tsk: unknown key; did you mean"),
        (["status", "nowhere"], "there is no folder nowhere"),
        (["attempts", "nowhere"], "there is no folder nowhere"),
        (["eval", "nowhere"], "there is no folder nowhere"),
        (["eval", "."], "it is not the folder of a run"),
        (["eval", "nowhere", "--bogus"], "No such option: --bogus"),
        (["status", "."], "it is not the folder of a run"),
        (["check", "nowhere.jsonl"], "nowhere.jsonl: no such file"),
    ],
)
def test_wrong_input_is_exit_code_2_and_one_message(tmp_path: Path, args: list[str], said: str) -> None:
    ended = stillroom(*args, cwd=tmp_path)
    assert said in one_line(ended)
    assert ended.returncode == 2
    assert ended.stdout == ""
    assert list(tmp_path.iterdir()) == []  # nothing was begun


def test_without_a_command_it_shows_its_help() -> None:
    ended = stillroom()
    assert ended.returncode == 2
    assert "Usage: " in ended.stdout
    assert ended.stderr == ""


@pytest.mark.parametrize("args", [["--help"], ["-h"], ["run", "--help"], ["check", "-h"], ["status", "-h"]])
def test_help_is_no_failure(args: list[str]) -> None:
    ended = stillroom(*args)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "Usage: " in ended.stdout


def test_version() -> None:
    from stillroom import __version__

    assert stillroom("--version").stdout == f"stillroom {__version__}\n"


@pytest.mark.parametrize("args", [["--debug", "status", "nowhere"], ["status", "nowhere", "--debug"]])
def test_debug_shows_a_traceback_wherever_it_stands(args: list[str]) -> None:
    ended = stillroom(*args)
    assert ended.returncode == 2
    assert "Traceback (most recent call last)" in ended.stderr
    assert "error: there is no folder nowhere" in ended.stderr


# -- run ---------------------------------------------------------------------------------------------------------


def test_run_puts_its_result_on_standard_output_and_the_rest_beside_it(tmp_path: Path) -> None:
    ended = stillroom("run", write_sums(tmp_path), cwd=tmp_path)
    assert ended.returncode == 0
    assert "rows in runs/sums/sft" in ended.stdout
    assert len(ended.stdout.splitlines()) == 1
    for part in ("16 to learn from", "accepted", "filtered"):
        assert part in ended.stderr


def test_run_json_is_all_there_is_on_standard_output(tmp_path: Path) -> None:
    ended = stillroom("run", write_sums(tmp_path), "--out", "[red]out[/]", "--json", "-q", cwd=tmp_path)
    assert (ended.returncode, ended.stderr) == (0, "")
    result = json.loads(ended.stdout)
    assert result["folder"] == "[red]out[/]"
    assert result["rows"] > 10
    assert result["evaluation"] is None


def test_names_with_brackets_are_shown_as_they_are(tmp_path: Path) -> None:
    ended = stillroom("run", write_sums(tmp_path), "--out", "[red]out[/]", "-q", cwd=tmp_path)
    assert "[red]out[/]/sft" in ended.stdout
    assert "sums in [red]out[/]: started" in stillroom("status", "[red]out[/]", cwd=tmp_path).stdout


def test_a_run_that_fails_is_exit_code_1(tmp_path: Path) -> None:
    nobody = "teacher={kind: openai, model: m, base_url: 'http://127.0.0.1:9/v1'}"
    ended = stillroom("run", write_sums(tmp_path), "--set", nobody, "--out", tmp_path / "run", "-q")
    assert ended.returncode == 1
    assert "nothing answers at http://127.0.0.1:9/v1" in one_line(ended)


def test_bad_tasks_are_all_told_before_anything_is_asked(tmp_path: Path, model_server: ModelServer) -> None:
    recipe = write_sums(tmp_path, teacher=served_by(model_server))
    with (tmp_path / "tasks.jsonl").open("a") as file:
        file.write('{"question": "", "answer": "4"}\n{"question": "What is 1 + 1?"}\n')
    ended = stillroom("run", recipe, "--out", tmp_path / "run")
    assert ended.returncode == 2
    assert "tasks.jsonl:17" in one_line(ended)
    assert "tasks.jsonl:18" in one_line(ended)
    assert model_server.bodies == []


@pytest.mark.parametrize("out", ["file", "file/below"])
def test_a_folder_that_cannot_be_made(tmp_path: Path, out: str) -> None:
    (tmp_path / "file").write_text("")
    ended = stillroom("run", write_sums(tmp_path), "--out", tmp_path / out)
    assert ended.returncode == 2
    assert "--out" in one_line(ended)


_LIMITED = """
import os, resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # a write beyond the limit fails with EFBIG then, as on a full disk
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), int(sys.argv[1])))
os.execv(sys.executable, [sys.executable, "-m", "stillroom", *sys.argv[2:]])
"""


def limited(size: int, *args: object) -> subprocess.CompletedProcess[str]:
    """Runs the command line where no file can grow beyond `size` bytes."""
    words = [sys.executable, "-c", _LIMITED, str(size), *map(str, args)]
    return subprocess.run(words, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.skipif(sys.platform == "win32", reason="needs resource limits")
@pytest.mark.parametrize("size", [100, 50_000])
def test_a_full_disk_is_one_message_and_costs_nothing_that_was_written(
    tmp_path: Path, model_server: ModelServer, size: int
) -> None:
    model_server.script = lambda body: sum_answer(body["messages"][-1]["content"], body["seed"])
    recipe, out = write_sums(tmp_path, teacher=served_by(model_server)), tmp_path / "run"
    ended = limited(size, "run", recipe, "--out", out, "-q")
    assert ended.returncode == 1
    assert "free some space and run the same command again" in one_line(ended)
    asked = len(model_server.bodies)
    assert (asked > 0) == (size > 100)
    again = stillroom("run", recipe, "--out", out, "-q")
    assert (again.returncode, again.stderr) == (0, "")
    if asked:
        ledger = json.loads(stillroom("status", out, "--json").stdout)["ledger"]
        # In flight when the disk was full: at most the four slots, and their four siblings that waited to be written.
        assert len(model_server.bodies) <= ledger["attempts"] + ledger["cancelled"] + 8
        assert len(model_server.bodies) < 2 * ledger["attempts"]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_full_disk_behind_standard_output(done: Path) -> None:
    with open("/dev/full", "w") as full:
        ended = subprocess.run(
            command("attempts", done), stdout=full, stderr=subprocess.PIPE, text=True, timeout=60, check=False
        )
    assert ended.returncode == 1
    assert ended.stderr == f"error: cannot read or write standard output: {os.strerror(errno.ENOSPC)}\n"


# -- keys --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("debug", [[], ["--debug"]])
def test_a_key_of_the_environment_is_in_no_file_and_no_output(
    tmp_path: Path, model_server: ModelServer, debug: list[str]
) -> None:
    """The server even quotes the key, as some do: in a refusal that is asked again, and then in a 401."""
    replies: Iterator[str | Reply] = iter([Reply({"error": {"message": f"overloaded, {KEY}"}}, 500)])
    refused = Reply({"error": {"message": f"Incorrect API key provided: {KEY}"}}, 401)
    model_server.script = lambda body: next(replies, refused)
    teacher = served_by(model_server, api_key_env="MY_KEY", concurrency=1)
    recipe = write_sums(tmp_path, teacher=teacher)
    ended = stillroom("run", recipe, "--out", tmp_path / "run", *debug, env={**os.environ, "MY_KEY": KEY})
    assert model_server.headers[0]["authorization"] == f"Bearer {KEY}"
    assert ended.returncode == 2
    assert "MY_KEY is set, but was refused" in ended.stderr
    assert KEY not in ended.stdout + ended.stderr
    kept = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}
    assert any(b"overloaded, ***" in content for content in kept.values())
    assert not [path for path, content in kept.items() if KEY.encode() in content]


def test_nobody_at_the_address_is_one_message(tmp_path: Path, model_server: ModelServer) -> None:
    recipe = write_sums(tmp_path, teacher=served_by(model_server))
    model_server.close()
    ended = stillroom("run", recipe, "--out", tmp_path / "run", "-q")
    assert ended.returncode == 1
    assert f"nothing answers at {model_server.url}" in one_line(ended)


# -- check -------------------------------------------------------------------------------------------------------


def test_check_writes_one_verdict_a_line_in_order(tmp_path: Path) -> None:
    out = tmp_path / "verdicts.jsonl"
    ended = stillroom("check", pairs(tmp_path), "--out", out)
    assert (ended.returncode, ended.stderr) == (0, "")
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    assert [(line["verdict"], line["reason"]) for line in lines] == [
        ("accepted", "equal"),
        ("rejected", "different"),
        ("accepted", "equal"),
    ]
    assert all(set(line) == {"verdict", "reason", "detail", "seconds"} for line in lines)
    assert "3 answers" in ended.stdout


def test_check_json_is_all_there_is_on_standard_output(tmp_path: Path) -> None:
    ended = stillroom("check", pairs(tmp_path, {"a": "4", "b": "4"}), "--gold", "a", "--pred", "b", "--json")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert json.loads(ended.stdout)["verdicts"] == {"accepted": 1, "rejected": 0, "unscored": 0}


@pytest.mark.parametrize(
    ("content", "options", "said"),
    [
        ("not json\n", [], "pairs.jsonl:1"),
        ('{"gold": "4", "pred": "4"}\n{"gold": "4"}\n', [], "pairs.jsonl:2: no field 'pred'"),
        ('{"gold": "4", "pred": "4"}\n', ["--gold", "answer"], "no field 'answer'"),
        ('{"gold": "4", "pred": "4"}\n', ["--out", "nowhere/v.jsonl"], "nowhere/v.jsonl"),
        ('{"gold": "4", "pred": "4"}\n', ["--out", "pairs.jsonl"], "pairs.jsonl"),
        ('{"gold": "4", "pred": "4"}\n', ["--timeout", "0"], "timeout"),
        ('{"gold": "4", "pred": "4"}\n', ["--workers", "0"], "workers"),
    ],
)
def test_check_refuses_bad_input(tmp_path: Path, content: str, options: list[str], said: str) -> None:
    (tmp_path / "pairs.jsonl").write_text(content)
    ended = stillroom("check", "pairs.jsonl", *options, cwd=tmp_path)
    assert said in one_line(ended)
    assert ended.returncode == 2
    assert [path.name for path in tmp_path.iterdir()] == ["pairs.jsonl"]
    assert (tmp_path / "pairs.jsonl").read_text() == content


# -- status and attempts -----------------------------------------------------------------------------------------


def test_status_of_a_run(done: Path) -> None:
    shown = stillroom("status", done)
    assert (shown.returncode, shown.stderr) == (0, "")
    assert "attempts accepted" in shown.stdout
    read = json.loads(stillroom("status", done, "--json").stdout)
    assert read["name"] == "sums"
    assert read["finished"] is not None
    assert read["ledger"]["attempts"] == sum(read["verdicts"].values())


def test_eval_of_a_run_without_a_student(done: Path) -> None:
    ended = stillroom("eval", done, "--json")
    assert "trains no student, so there is nothing to measure" in one_line(ended)
    assert (ended.returncode, ended.stdout) == (2, "")


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("notes.txt", "mine", "it is not the folder of a run"),
        ("run.json", "{", "it is not the folder of a run"),
        ("run.json", "[]", "it is not the folder of a run"),
        ("run.json", '{"started": "today"}', "it is not the folder of a run"),
        ("run.json", '{"name": "sums"}', "holds no ledger"),
    ],
)
@pytest.mark.parametrize("asked", ["status", "attempts"])
def test_a_folder_of_something_else(tmp_path: Path, asked: str, name: str, content: str, said: str) -> None:
    (tmp_path / name).write_text(content)
    ended = stillroom(asked, tmp_path)
    assert said in one_line(ended)
    assert ended.returncode == 2


def test_attempts_are_exported_in_draw_order_with_their_verdicts(done: Path, tmp_path: Path) -> None:
    out = tmp_path / "attempts.jsonl"
    ended = stillroom("attempts", done, "--out", out)
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    assert ended.stdout == f"{len(lines)} attempts written to {out}\n"
    assert [(line["task_id"], line["index"]) for line in lines] == sorted((x["task_id"], x["index"]) for x in lines)
    assert {line["verdict"] for line in lines} == {"accepted", "rejected"}
    assert stillroom("attempts", done).stdout == out.read_text()


def test_attempts_that_cannot_be_written(done: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    ended = stillroom("attempts", done, "--out", tmp_path / "file" / "attempts.jsonl")
    assert "cannot write" in one_line(ended)
    assert ended.returncode == 1


@pytest.mark.skipif(sys.platform == "win32", reason="needs a POSIX pipe")
@pytest.mark.parametrize("asked", ["attempts", "status"])
def test_a_reader_that_goes_away_is_no_mistake(done: Path, asked: str) -> None:
    """As with `| head -1`, whose end of the pipe is closed before anything is written."""
    reading, writing = os.pipe()
    os.close(reading)
    try:
        ended = subprocess.run(
            command(asked, done), stdout=writing, stderr=subprocess.PIPE, text=True, timeout=60, check=False
        )
    finally:
        os.close(writing)
    assert ended.stderr == ""
    assert ended.returncode == 1


_INTERRUPTED = """
import signal, sys
from stillroom.cli import app as cli
from stillroom.pipeline.flows import run as linting
def lint(*args, **options):
    signal.raise_signal(signal.SIGINT)
    while True:  # until the interpreter looks at signals
        pass
linting.lint = lint
sys.argv = ["stillroom", "lint", "quickstart"]
cli.main()
"""


def test_ctrl_c_outside_the_sampling_is_one_message_too() -> None:
    words = [sys.executable, "-c", _INTERRUPTED]
    ended = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert "stopped; everything that had been answered is kept: run the same command to go on" in one_line(ended)
    assert ended.returncode == 1
