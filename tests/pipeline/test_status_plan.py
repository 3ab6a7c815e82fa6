"""`status` says beforehand what a run would pay for: it is held to what the run then asks of the server."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stillroom.errors import InputError, RunFolderError
from stillroom.pipeline.config.load import load_recipe
from stillroom.pipeline.planning.plan import Plan, Use
from stillroom.pipeline.planning.status import status
from stillroom.pipeline.run.folder import RunFolder, made_from
from stillroom.pipeline.run.progress import Display
from stillroom.sampling.ledger import Ledger
from stillroom.traces.tasks import load_tasks
from tests.conftest import Body, ModelServer, Reply, completion, served_by, stillroom, sum_answer, write_sums
from tests.pipeline.runs import run

QUIET = Display(quiet=True)
FIXED = {"policy": "fixed", "attempts": 3, "per_task": 2}
TASKS = 8


def sums(server: ModelServer, cut: Callable[[Body], bool] = lambda body: False) -> Callable[[Body], Reply]:
    """Answers sums; those that `cut` names end at the limit."""

    def script(body: Body) -> Reply:
        text = sum_answer(body["messages"][-1]["content"], body["seed"])
        return Reply(completion(text, finish="length" if cut(body) else "stop"))

    return script


@pytest.fixture
def recipe(model_server: ModelServer, tmp_path: Path) -> Path:
    model_server.script = sums(model_server)
    return write_sums(tmp_path, tasks=TASKS, teacher=served_by(model_server), keep=FIXED)


def planned(recipe: Path, out: Path, *changes: str) -> Plan:
    found = status(out, recipe=recipe, set=changes).plan
    assert isinstance(found, Plan)
    return found


def uses(plan: Plan) -> dict[Use, int]:
    return {use: n for use, n in plan.draws.items() if n}


def asked_by(server: ModelServer, recipe: Path, out: Path, *changes: str) -> int:
    before = len(server.bodies)
    run(recipe, out=out, set=changes, display=QUIET)
    return len(server.bodies) - before


def written(folder: Path) -> dict[str, bytes]:
    """Every file but the two that SQLite shares among readers."""
    return {
        p.name: p.read_bytes() for p in folder.rglob("*") if p.is_file() and not p.name.endswith(("-wal", "-shm"))
    }


DRAWS = 3 * TASKS


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ((), {Use.USED: DRAWS}),
        (("filters=[finished]",), {Use.USED: DRAWS}),
        (("scorer.timeout_s=4",), {Use.SCORED_ANEW: DRAWS}),
        (("tasks.limit=5",), {Use.USED: 15}),
        (("keep.attempts=2",), {Use.USED: 2 * TASKS, Use.NOT_NEEDED: TASKS}),
        (("keep.attempts=5",), {Use.USED: DRAWS, Use.MORE: 2 * TASKS}),
        (("teacher.sampling.temperature=0.5",), {Use.CHANGED: DRAWS}),
        (("teacher.system=Be brief.",), {Use.CHANGED: DRAWS}),
        (("teacher.model=n",), {Use.CHANGED: DRAWS}),
        (("seed=1",), {Use.CHANGED: DRAWS}),
        (("teacher.sampling.max_tokens=64",), {Use.USED: DRAWS}),
        (("teacher.sampling.max_tokens=2",), {Use.CUT_OFF: DRAWS}),  # each answer has 3 tokens
    ],
)
def test_what_is_planned_is_what_is_asked(
    change: tuple[str, ...], expected: dict[Use, int], recipe: Path, model_server: ModelServer, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    model_server.models = Reply({"object": "list", "data": [{"id": m, "object": "model"} for m in "mn"]})
    run(recipe, out=out, display=QUIET)
    found = planned(recipe, out, *change)
    assert uses(found) == expected
    assert found.all_tokens == 10 * found.asked  # 7 asked and 3 answered by the server
    assert asked_by(model_server, recipe, out, *change) == found.asked
    assert planned(recipe, out, *change).asked == 0


def test_another_max_tokens_pays_for_what_was_cut_off_only(model_server: ModelServer, tmp_path: Path) -> None:
    # One request at a time: with more, some are in flight that turn out not to be needed.
    recipe = write_sums(tmp_path, tasks=TASKS, teacher=served_by(model_server, concurrency=1), keep=FIXED)
    out = tmp_path / "run"
    model_server.script = sums(model_server, lambda body: body["max_tokens"] == 1024 and body["seed"] % 3 == 0)
    run(recipe, out=out, display=QUIET)
    cut = sum(body["seed"] % 3 == 0 for body in model_server.bodies)
    assert 0 < cut < DRAWS
    change = "teacher.sampling.max_tokens=2048"
    found = planned(recipe, out, change)
    assert 0 < found.draws[Use.CUT_OFF] == found.asked <= cut
    with Ledger.read(out) as ledger:
        whole = sum(row["finish_reason"] == "stop" for row in ledger.rows())
    assert found.draws[Use.USED] + found.draws[Use.NOT_NEEDED] == whole
    assert asked_by(model_server, recipe, out, change) == found.asked
    assert planned(recipe, out, change).asked == 0


def test_more_tasks_pay_for_themselves(recipe: Path, model_server: ModelServer, tmp_path: Path) -> None:
    out = tmp_path / "run"
    run(recipe, out=out, display=QUIET)
    write_sums(tmp_path, tasks=TASKS + 4, teacher=served_by(model_server), keep=FIXED)
    found = planned(recipe, out)
    assert uses(found) == {Use.USED: DRAWS, Use.NEW: 12}
    assert found.tasks[Use.NEW] == 4
    assert asked_by(model_server, recipe, out) == 12


def test_a_satisfied_task_is_not_drawn_for_whatever_it_lacked(
    recipe: Path, model_server: ModelServer, tmp_path: Path
) -> None:
    until = ["keep={per_task: 2, max_attempts: 6}"]
    out = tmp_path / "run"
    run(recipe, out=out, set=until, display=QUIET)
    assert planned(recipe, out, *until).asked == 0
    more = planned(recipe, out, "keep={per_task: 3, max_attempts: 6}")
    assert more.asked > 0
    assert set(uses(more)) <= {Use.USED, Use.MORE, Use.NOT_NEEDED}


def test_held_out_tasks_that_the_teacher_answers_are_counted(model_server: ModelServer, tmp_path: Path) -> None:
    model_server.script = sums(model_server)
    tasks = {"source": "jsonl", "path": "tasks.jsonl", "test": 3}
    recipe = write_sums(tmp_path, tasks=TASKS, teacher=served_by(model_server), keep=FIXED)
    values = json.loads(recipe.read_text()) | {"tasks": tasks}
    recipe.write_text(json.dumps(values))
    out = tmp_path / "run"
    run(recipe, out=out, display=QUIET)
    values |= {"student": {"model": "m"}, "evaluate": {"baselines": ["teacher"]}}
    recipe.write_text(json.dumps(values))
    assert uses(planned(recipe, out)) == {Use.USED: 3 * (TASKS - 3), Use.NEW: 3}


def test_money_is_told_where_there_are_prices(recipe: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    run(recipe, out=out, display=QUIET)
    change = ["teacher.sampling.temperature=0.5", "prices={prompt: 1, completion: 2}"]
    assert planned(recipe, out, *change).usd == pytest.approx(DRAWS * (7 * 1 + 3 * 2) / 1e6)
    assert planned(recipe, out, change[0]).usd is None


def test_nobody_is_asked_and_nothing_is_written(recipe: Path, model_server: ModelServer, tmp_path: Path) -> None:
    out = tmp_path / "run"
    run(recipe, out=out, display=QUIET)
    before = len(model_server.bodies), written(out)
    planned(recipe, out, "seed=1")
    assert (len(model_server.bodies), written(out)) == before


# -- which recipe, and how it is told ----------------------------------------------------------------------------


@pytest.fixture
def noted(recipe: Path, tmp_path: Path) -> Path:
    """A finished run whose `run.json` says where its recipe was."""
    out = tmp_path / "run"
    run(recipe, out=out, display=QUIET)
    loaded = load_recipe(recipe)
    RunFolder(out, "sums").note(**made_from(loaded, load_tasks(loaded.recipe.tasks, base=loaded.base, seed=0)))
    return out


def test_the_recipe_of_the_run_is_weighed_where_none_is_named(noted: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir("/")
    shown = stillroom("status", noted)
    assert shown.returncode == 0
    assert "nothing would be paid for" in shown.stdout
    shown = stillroom("status", noted, "--set", "seed=1")
    assert "the request changed: another teacher, prompt, sampling or seed" in shown.stdout
    assert "about 240 tokens would be paid for: 24 draws" in shown.stdout
    read = json.loads(stillroom("status", noted, "--set", "seed=1", "--json").stdout)["plan"]
    assert (read["asked"], read["tokens"]) == (DRAWS, 240)
    assert read["uses"]["request_changed"] == {"tasks": TASKS, "draws": DRAWS, "tokens": 240}


def test_the_table_is_aligned(noted: Path) -> None:
    lines = stillroom("status", noted, "--set", "keep.attempts=4").stdout.splitlines()
    [head] = [line for line in lines if line.startswith("if it were run now")]
    table = lines[lines.index(head) : lines.index(head) + 3]
    assert len({len(line.rstrip()) for line in table}) == 1


def test_a_recipe_that_cannot_be_weighed_is_said_but_fails_only_if_it_was_named(noted: Path, tmp_path: Path) -> None:
    (tmp_path / "tasks.jsonl").unlink()
    found = status(noted)
    assert found.plan is None
    assert "there is no file" in found.no_plan
    assert "what would be paid for now cannot be said" in stillroom("status", noted).stdout
    with pytest.raises(InputError, match="there is no file"):
        status(noted, set=["seed=1"])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--recipe", "no_such"], "no recipe 'no_such'"),
        (["--recipe", "quickstart"], "is the folder of a run of recipe 'sums', not of 'quickstart'"),
        (["--set", "keep.no_such=1"], "unknown key"),
    ],
)
def test_a_wrong_recipe(noted: Path, words: list[str], said: str) -> None:
    ended = stillroom("status", noted, *words)
    assert ended.returncode == 2
    assert said in " ".join(ended.stderr.split())


def test_a_run_that_does_not_say_where_its_recipe_was(noted: Path) -> None:
    facts: dict[str, Any] = json.loads((noted / "run.json").read_text())
    del facts["recipe"]
    (noted / "run.json").write_text(json.dumps(facts))
    assert "name it with --recipe" in status(noted).no_plan
    with pytest.raises(RunFolderError, match="name it with --recipe"):
        status(noted, set=["seed=1"])


def test_salvage_is_offered_done_and_told(noted: Path) -> None:
    with (noted / "ledger.sqlite").open("r+b") as file:
        file.write(bytes(100))
    ended = stillroom("status", noted)
    assert ended.returncode == 1
    assert f"stillroom status {noted} --salvage" in " ".join(ended.stderr.split())
    ended = stillroom("status", noted, "--salvage")
    assert ended.returncode == 0, ended.stderr
    assert "saved 24 attempts, 24 verdicts" in ended.stdout
    assert "nothing would be paid for" in ended.stdout
    assert stillroom("status", noted).returncode == 0
    assert json.loads(stillroom("status", noted, "--json").stdout)["salvaged"] is None
