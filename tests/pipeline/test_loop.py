"""Whole loops with a real student: poisoned rounds are rolled back, and a loop that is killed goes on for nothing."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import shutil
import signal
import sqlite3
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from html import unescape
from pathlib import Path
from typing import Any

import pytest

from stillroom.errors import MissingFile
from stillroom.pipeline.flows.loop.loop import LoopResult
from stillroom.pipeline.flows.run import run
from stillroom.pipeline.run.progress import Display
from tests.conftest import Body, ModelServer, Reply, command, completion, served_by, stillroom

pytestmark = pytest.mark.timeout(600)
slow = pytest.mark.slow

SUM = 40
# In float32 everywhere, so that a CPU with bfloat16 trains the student that others do.
STUDENT = {"dtype": "float32", "lora": {"r": 8, "alpha": 16}, "epochs": 8, "batch_size": 4, "learning_rate": 1e-2}
ANSWER = 48  # tokens, which are bytes here: room for a worked answer, and not for what rambles on


def question(a: int) -> str:
    return f"What is {a} + {SUM - a}?"


def worked(a: int) -> str:
    """A short, right trace."""
    return f"{a} + {SUM - a} = {SUM}.\n#### {SUM}"


def rambling(a: int) -> str:
    """The right answer, and then no end of it, in words that a small model learns to go on with on any machine."""
    return worked(a) + "\n" + "and on " * 20


def repeated(_: int) -> str:
    """Right for every task of these, and the same for all of them."""
    return f"Together they make {SUM}.\n#### {SUM}"


def write_recipe(folder: Path, model: Path, **changes: Any) -> Path:
    """Writes sums that all make 40, a recording of one attempt at each in three versions, and a recipe of traces,
    whose path is given. `model`: what the student starts from. `changes` replace its top-level keys."""
    folder.mkdir(parents=True, exist_ok=True)
    asked = range(1, SUM - 1)
    write_lines(folder / "tasks.jsonl", ({"question": question(a), "answer": str(SUM)} for a in asked))
    for say in (worked, rambling, repeated):
        write_lines(folder / f"{say.__name__}.jsonl", ({"question": question(a), "text": say(a)} for a in asked))
    recipe = {
        "name": "forty",
        "tasks": {"source": "jsonl", "path": "tasks.jsonl", "limit": 16, "test": 8, "validation": 7},
        "teacher": {"kind": "recorded", "path": "worked.jsonl", "prompt": "question"},
        "scorer": {"workers": 1},
        "keep": {"per_task": 1, "max_attempts": 1},
        "filters": ["finished"],
        "student": {"model": str(model), **STUDENT},
        "evaluate": {"baselines": [], "max_tokens": ANSWER, "plots": False},
    }
    path = folder / "recipe.yaml"
    path.write_text(json.dumps(recipe | changes), encoding="utf-8")  # JSON is YAML
    return path


def write_lines(path: Path, rows: Any) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def to_the_end(recipe: Path, out: Path, *more: str) -> subprocess.CompletedProcess[str]:
    """The command line, with time to train in."""
    return subprocess.run(
        command("run", recipe, "--out", out, *more), capture_output=True, text=True, timeout=500, check=False
    )


def loop(**changes: Any) -> dict[str, Any]:
    return {"start": "continue", "traces": "replace", "tasks": "same", "control_one_round": False} | changes


# -- refused ---------------------------------------------------------------------------------------------------------


@slow
def test_a_teacher_of_a_later_round_that_is_not_there_is_found_before_the_first(
    small_student: Path, tmp_path: Path
) -> None:
    change = {"teacher": {"kind": "recorded", "path": "nowhere.jsonl"}}
    recipe = write_recipe(tmp_path, small_student, loop=loop(rounds=2, overrides={"round": {"2": change}}))
    with pytest.raises(MissingFile, match=r"nowhere\.jsonl"):
        run(recipe, out=tmp_path / "run", display=Display(quiet=True))
    assert not (tmp_path / "run" / "rounds").exists()


# -- poisoned rounds -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Poisoned:
    """A loop whose second round was poisoned: how it ended, and the same command once more, in this process."""

    out: Path
    done: subprocess.CompletedProcess[str]
    again: LoopResult

    @property
    def failures(self) -> set[str]:
        """What the guard found worse."""
        return {each["measure"] for each in self.again.rounds[1]["guard"]["checks"] if each["worse"]}


@pytest.fixture(scope="module")
def clean(small_student: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished loop of one round, with a good teacher."""
    folder = tmp_path_factory.mktemp("loop")
    recipe = write_recipe(folder, small_student, loop=loop(rounds=1))
    done = to_the_end(recipe, folder / "run")
    assert done.returncode == 0, done.stderr
    return folder


@slow
def test_a_loop_of_good_traces_is_kept(clean: Path) -> None:
    (only,) = json.loads((clean / "run" / "rounds.json").read_text())
    assert (only["kept"], only["why"], only["guard"]["passed"]) == (True, None, True)
    assert (clean / "run" / "student" / "merged" / "config.json").is_file()
    assert json.loads((clean / "run" / "run.json").read_text())["stopped"] == "its one round is done"


def poisoned(clean: Path, model: Path, folder: Path, say: Callable[[int], str]) -> Poisoned:
    """The loop goes on with a second round, whose teacher is another; the first is there, and is not done again."""
    shutil.copytree(clean / "run" / "rounds", folder / "run" / "rounds")
    shutil.copy(clean / "run" / "run.json", folder / "run")
    shutil.copy(clean / "run" / "recipe.yaml", folder / "run")
    teacher = {"kind": "recorded", "path": f"{say.__name__}.jsonl"}
    two = loop(rounds=2, overrides={"round": {"2": {"teacher": teacher}}})
    recipe = write_recipe(folder, model, loop=two, evaluate={"baselines": [], "max_tokens": ANSWER})
    done = to_the_end(recipe, folder / "run")
    with pytest.MonkeyPatch.context() as patch:
        nothing_is_done(patch)
        again = run(recipe, out=folder / "run", display=Display(quiet=True))
    assert isinstance(again, LoopResult)
    return Poisoned(folder / "run", done, again)


def nothing_is_done(patch: pytest.MonkeyPatch) -> None:
    """From now on nobody trains, and no local model is asked."""
    from stillroom.sampling.teachers.transformers.teacher import TransformersTeacher
    from stillroom.students.methods.sft import Sft

    def never(*_: object, **__: object) -> Any:
        raise AssertionError("done before, and done again")

    patch.setattr(Sft, "train", never)
    patch.setattr(TransformersTeacher, "sample", never)


@pytest.fixture(scope="module")
def never_stops(clean: Path, small_student: Path, tmp_path_factory: pytest.TempPathFactory) -> Poisoned:
    return poisoned(clean, small_student, tmp_path_factory.mktemp("never_stops"), rambling)


@pytest.fixture(scope="module")
def says_the_same(clean: Path, small_student: Path, tmp_path_factory: pytest.TempPathFactory) -> Poisoned:
    return poisoned(clean, small_student, tmp_path_factory.mktemp("says_the_same"), repeated)


def check_rolled_back(found: Poisoned) -> None:
    """Round 1 is kept, round 2 is not, and the reason stands wherever anybody looks."""
    said = " ".join((found.done.stdout + found.done.stderr).split())
    assert found.done.returncode == 0, said
    assert "round 1 is kept" in said
    first, second = found.again.rounds
    why = second["why"]
    assert (first["kept"], second["kept"], found.again.kept) == (True, False, 1)
    assert why
    assert f"round 2 is rolled back: {why}" in said
    assert found.again.stopped == f"round 2 was rolled back, and the loop ended there: {why}"
    assert f"The loop ended: {found.again.stopped}." in said
    assert json.loads((found.out / "rounds.json").read_text()) == list(found.again.rounds)
    assert json.loads((found.out / "run.json").read_text())["stopped"] == found.again.stopped
    assert why in " ".join(unescape((found.out / "report.html").read_text()).replace("\xa0", " ").split())
    student, own = found.out / "student", found.out / "rounds" / "1" / "student"
    assert student.resolve() == own.resolve()
    assert (student / "merged" / "config.json").is_file()


@slow
def test_a_round_of_traces_that_never_stop_is_rolled_back(never_stops: Poisoned) -> None:
    check_rolled_back(never_stops)
    assert "share_stopped" in never_stops.failures
    why = never_stops.again.rounds[1]["why"]
    assert "share that stops fell from" in why
    second = never_stops.again.rounds[1]
    assert second["rows"] == second["accepted"] == 16, "the poison did not get past the checker and the filters"


@slow
def test_a_rolled_back_round_is_measured_beside_the_one_before(never_stops: Poisoned) -> None:
    evaluation = never_stops.again.evaluation
    assert json.loads((never_stops.out / "eval.json").read_text())["results"]
    stopped = {who: evaluation.find(who, "share_stopped") for who in ("round_1", "round_2")}
    assert all(row is not None and row.n == 8 for row in stopped.values())
    before, after = (row.value for row in stopped.values() if row is not None)
    assert before >= 0.75 > 0.25 >= after
    pairs = [(c.a, c.b) for c in evaluation.comparisons]
    assert pairs == [("round_1", "student_before"), ("round_2", "round_1")]


@slow
def test_the_guard_looks_at_tasks_of_its_own(never_stops: Poisoned) -> None:
    """7 of validation, where 8 are reported."""
    for each in never_stops.again.rounds:
        checks = {check["measure"]: check["n"] for check in each["guard"]["checks"]}
        assert (checks["accuracy"], checks["share_stopped"], checks["share_repeating"]) == (7, 7, 7)
        assert (8 * each["accuracy"]).is_integer()
        assert (7 * each["validation_accuracy"]).is_integer()
    assert "7 validation tasks right" in never_stops.done.stderr


@slow
def test_a_round_of_one_and_the_same_trace_is_rolled_back(says_the_same: Poisoned) -> None:
    check_rolled_back(says_the_same)
    assert says_the_same.failures == {"distinct_traces", "distinct_4"}
    why = says_the_same.again.rounds[1]["why"]
    assert "share of distinct traces fell from 100 % to 12.5 %" in why


@slow
def test_the_report_of_a_rolled_back_round_shows_its_plots(never_stops: Poisoned) -> None:
    if importlib.util.find_spec("matplotlib") is None:
        assert "no plots" in never_stops.done.stderr
    else:
        students = len(list(never_stops.out.glob("rounds/*/student/training.json")))  # each with its learning curve
        assert (never_stops.out / "report.html").read_text().count("data:image/svg+xml") == 2 + students > 2
        suffixes = Counter(file.suffix for file in (never_stops.out / "plots").iterdir())
        assert suffixes == {".png": 2 + students, ".svg": 2 + students}


@slow
def test_who_sampled_a_poisoned_round_is_told(never_stops: Poisoned) -> None:
    assert "round 2 of 2: the teacher samples" in " ".join(never_stops.done.stderr.split())
    assert "student of round 1" not in {row.sampler for row in never_stops.again.report.rounds}


@slow
def test_the_state_of_a_loop_can_be_asked_for(never_stops: Poisoned) -> None:
    shown = stillroom("status", never_stops.out)
    assert shown.returncode == 0, shown.stderr
    assert "rounds/2" in shown.stdout
    found = json.loads(stillroom("status", never_stops.out, "--json").stdout)
    assert list(found["parts"]) == ["rounds/1", "rounds/2"]
    assert found["finished"]
    assert found["rows"] == 32


# -- killed, and gone on with ----------------------------------------------------------------------------------------

Ids = dict[str, dict[int, tuple[str, int, float]]]
"""Of each ledger: row id -> request, draw, time of writing."""
ANSWERED, IN_FLIGHT, HELD_OUT = 10, 4, 10


@dataclass
class Served:
    """A loop of two rounds, and the server that both rounds' teachers are asked of. `hold`: which requests it holds
    back."""

    recipe: Path
    server: ModelServer
    hold: Callable[[Body], bool] = lambda _: False

    def reply(self, body: Body) -> Reply:
        a = int(body["messages"][-1]["content"].split()[2])
        right = body["seed"] % 5 < 3
        return Reply(
            completion(worked(a) if right else f"I take it to be {SUM + 1}.\n#### {SUM + 1}"), wait=self.hold(body)
        )

    def asked(self, start: int = 0) -> Counter[tuple[str, str, int]]:
        """How often each request was made, from the `start`-th on."""
        bodies = self.server.bodies[start:]
        return Counter((body["model"], body["messages"][-1]["content"], body["seed"]) for body in bodies)


@dataclass
class Kills:
    """A run that was killed again and again. `before`: what was on the ledgers at each kill, and `after`: once the
    next start had come as far as its own end. `asked`: requests of this run; `in_flight`: those that no answer to
    was sent when it was killed."""

    out: Path
    before: dict[str, Ids] = field(default_factory=dict)
    after: dict[str, Ids] = field(default_factory=dict)
    in_flight: set[tuple[str, str, int]] = field(default_factory=set)
    asked: Counter[tuple[str, str, int]] = field(default_factory=Counter)
    unfinished: bool = False


@pytest.fixture(scope="module")
def served(small_student: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with pytest.MonkeyPatch.context() as patch:
        for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            patch.delenv(name, raising=False)
        server = ModelServer()
        recipe = write_recipe(
            tmp_path_factory.mktemp("served"),
            small_student,
            tasks={"source": "jsonl", "path": "tasks.jsonl", "limit": 6, "test": HELD_OUT},
            teacher=served_by(server, concurrency=IN_FLIGHT, sampling={"max_tokens": 64}),
            keep={"per_task": 2, "max_attempts": 6},
            filters=["finished", "dedup"],
            evaluate={"baselines": [], "max_tokens": ANSWER, "plots": False, "concurrency": 1},
            student={"model": str(small_student), **STUDENT},
            loop={"rounds": 2, "overrides": {"round": {"2": {"teacher": {"model": "m2"}}}}},
        )
        found = Served(recipe, server)
        server.script = found.reply
        yield found
        server.close()


@pytest.fixture(scope="module")
def straight(served: Served) -> Path:
    """The folder of a run that nobody disturbed."""
    out = served.recipe.parent / "straight"
    done = to_the_end(served.recipe, out)
    assert done.returncode == 0, done.stderr
    return out


@pytest.fixture(scope="module")
def killed(served: Served) -> Kills:
    """The same, killed in sampling, in training, between the rounds, in evaluation and in a control's training."""
    found = Kills(served.recipe.parent / "killed")
    first = len(served.server.bodies)

    def answered() -> bool:
        return served.server.wait_for(waiting=IN_FLIGHT, timeout_s=0) and len(rows_in(found.out, "rounds/1")) > 0

    def answering() -> bool:
        return 0 < len(rows_in(found.out, "rounds/2", "transformers:")) < HELD_OUT

    served.hold = lambda _: len(served.server.bodies) - first > ANSWERED
    kill(found, "sampling", served, answered)
    found.in_flight |= set(served.asked(first + ANSWERED))
    served.hold = lambda body: body["model"] == "m2"
    kill(found, "training", served, (found.out / "rounds" / "1" / ".student.part" / "trl").exists)
    found.unfinished = not (found.out / "rounds" / "1" / "student").exists()
    kill(found, "between", served, (found.out / "rounds.json").exists)
    found.in_flight |= {request for request in served.asked(first) if request[0] == "m2"}
    served.hold = lambda _: False
    kill(found, "evaluation", served, answering)
    kill(found, "control", served, (found.out / "controls" / "one_round" / ".student.part").exists)
    done = to_the_end(served.recipe, found.out)
    assert done.returncode == 0, done.stderr
    found.after["control"] = ids(found.out)
    found.asked = served.asked(first)
    return found


def kill(found: Kills, stage: str, served: Served, there: Callable[[], bool]) -> None:
    """Starts the run, or goes on with it, and kills it as soon as it is `there`."""
    last = next(reversed(found.before), None)
    with subprocess.Popen(
        command("run", served.recipe, "--out", found.out, "--quiet"), stderr=subprocess.PIPE, text=True
    ) as process:
        deadline = time.monotonic() + 240
        while not there():
            assert process.poll() is None, process.stderr.read() if process.stderr is not None else ""
            assert time.monotonic() < deadline, f"it did not come to {stage}"
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(0.02)
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    found.before[stage] = ids(found.out)
    if last is not None:
        found.after[last] = found.before[stage]


def ids(out: Path) -> Ids:
    """All attempts on all ledgers of a loop."""
    return {str(file.parent.relative_to(out)): attempts_in(file) for file in sorted(out.rglob("ledger.sqlite"))}


def attempts_in(file: Path, teacher: str = "") -> dict[int, tuple[str, int, float]]:
    with contextlib.closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as db:
        query = "SELECT id, request, draw, at FROM attempts WHERE teacher LIKE ?"
        return {row[0]: (row[1], row[2], row[3]) for row in db.execute(query, (f"{teacher}%",))}


def rows_in(out: Path, run: str, teacher: str = "") -> dict[int, tuple[str, int, float]]:
    """Attempts on the ledger of a run, none while there is no ledger."""
    file = out / run / "ledger.sqlite"
    if not file.exists():
        return {}
    try:
        return attempts_in(file, teacher)
    except sqlite3.OperationalError:  # the ledger is there, its tables not yet
        return {}


@slow
def test_a_loop_runs_to_its_end_with_its_control_beside_it(straight: Path, served: Served) -> None:
    assert max(served.asked().values()) == 1
    evaluation = json.loads((straight / "eval.json").read_text())
    assert list(dict.fromkeys(row["who"] for row in evaluation["results"])) == [
        "student_before",
        "round_1",
        "round_2",
        "control_one_round",
    ]
    rounds = json.loads((straight / "rounds.json").read_text())
    assert [(each["round"], each["kept"], each["why"]) for each in rounds] == [(1, True, None), (2, True, None)]
    assert rounds[1]["rows_trained_on"] == rounds[0]["rows"] + rounds[1]["rows"]
    assert (straight / "student").resolve() == (straight / "rounds" / "2" / "student").resolve()
    asked = {(model, said) for model, said, _ in served.asked()}
    both = [{said for of, said in asked if of == model} for model in ("m", "m2")]
    assert both[1] < both[0], "the control was not given the tasks of round 2 as well"


@slow
def test_a_killed_loop_asks_for_nothing_twice(straight: Path, killed: Kills) -> None:
    assert killed.unfinished, "the kill came too late to be in the training"
    again = {request for request, times in killed.asked.items() if times > 1}
    assert again <= killed.in_flight
    assert max(killed.asked.values()) == 2
    assert len(killed.in_flight) <= 2 * IN_FLIGHT


@slow
def test_what_was_on_the_ledgers_at_a_kill_stays_there(killed: Kills) -> None:
    for stage, before in killed.before.items():
        for run_of, rows in before.items():
            assert rows.items() <= killed.after[stage][run_of].items(), f"{stage}: {run_of}"
    assert killed.before["sampling"].keys() == {"rounds/1"}
    assert len(killed.before["sampling"]["rounds/1"]) == ANSWERED
    assert killed.before["evaluation"]["rounds/2"].items() < killed.after["evaluation"]["rounds/2"].items()


@slow
def test_a_killed_loop_ends_as_one_that_was_not(straight: Path, killed: Kills) -> None:
    for run_of in ("rounds/1", "rounds/2", "controls/one_round"):
        rows, losses = zip(*(trained_on(out / run_of) for out in (straight, killed.out)), strict=True)
        assert rows[0] == rows[1], run_of
        assert losses[0] == losses[1], run_of
    assert measured(straight) == measured(killed.out)
    assert (killed.out / "student").resolve() == (killed.out / "rounds" / "2" / "student").resolve()
    assert not list(killed.out.rglob(".*.part"))


def trained_on(folder: Path) -> tuple[bytes, list[float]]:
    """The rows of a run, and the losses of the student that was trained on them."""
    training = json.loads((folder / "student" / "training.json").read_text())
    return (folder / "sft" / "train.parquet").read_bytes(), training["losses"]


def measured(out: Path) -> dict[str, Any]:
    """All of the evaluation that does not tell of the time it took."""
    found: dict[str, Any] = json.loads((out / "eval.json").read_text())
    return found | {"results": [row for row in found["results"] if "latency" not in row["metric"]]}


@slow
def test_a_finished_loop_asks_nobody_anything(served: Served, killed: Kills) -> None:
    before, asked = ids(killed.out), len(served.server.bodies)
    trained = (killed.out / "student" / "training.json").stat().st_mtime_ns
    done = to_the_end(served.recipe, killed.out, "--json", "--quiet")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["kept"] == 2
    assert [each["why"] for each in result["rounds"]] == [None, None]
    assert len(served.server.bodies) == asked
    assert ids(killed.out) == before
    assert (killed.out / "student" / "training.json").stat().st_mtime_ns == trained
