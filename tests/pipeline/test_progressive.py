"""A chain of teacher, student and next student: run end to end with a real model, and refused where it cannot be."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple, cast

import pytest

from stillroom.common.models.resolve import fingerprint, pick_device, pick_dtype
from stillroom.common.records import Task, user
from stillroom.errors import InputError, MissingFile, RecipeError
from stillroom.evaluation.results import Result
from stillroom.pipeline.flows.progressive import ProgressiveResult, _of_stage, _pairs
from stillroom.pipeline.flows.run import run
from stillroom.pipeline.run.progress import Display
from stillroom.traces.tasks import TaskSet
from tests.conftest import stillroom, write_sums
from tests.pipeline.test_loop import ANSWER, attempts_in, nothing_is_done, to_the_end, write_recipe

QUIET = Display(quiet=True)


def write_stages(folder: Path, *stages: dict[str, Any], **more: Any) -> Path:
    """Writes a chain of stages beside the recipe that they are made of; gives its path."""
    path = folder / "stages.yaml"
    named = [{"recipe": "recipe.yaml"} | stage for stage in stages]
    path.write_text(json.dumps({"name": "steps", "stages": named} | more), encoding="utf-8")
    return path


# -- refused ---------------------------------------------------------------------------------------------------------

TUTOR, PUPIL = {"name": "tutor"}, {"name": "pupil"}


def asks(stage: str) -> dict[str, Any]:
    """The settings of a stage that is taught by the student of another."""
    return {"set": [f"teacher={{kind: transformers, model: 'stage:{stage}'}}"]}


@pytest.mark.parametrize(
    ("stages", "said"),
    [
        ([TUTOR | asks("pupil"), PUPIL], "stage tutor: stage:pupil is the student of no stage before it"),
        ([TUTOR | asks("tutor")], "stage tutor: stage:tutor is the student of no stage before it"),
        ([TUTOR, PUPIL | asks("tutr")], "stage pupil: stage:tutr is the student of no stage before it"),
        ([TUTOR, PUPIL | asks("tutor")], "those before it train nobody"),
        ([TUTOR, TUTOR], "two stages are called 'tutor'"),
        ([TUTOR, {"name": "a/b"}], "stages.2.name"),
        ([], "stages"),
    ],
    ids=["later", "itself", "unknown", "trains-nobody", "same-name", "no-name", "none"],
)
def test_stages_that_do_not_hang_together_are_refused(
    tmp_path: Path, stages: list[dict[str, Any]], said: str
) -> None:
    write_sums(tmp_path)
    done = stillroom("run", write_stages(tmp_path, *stages), "--out", tmp_path / "run")
    assert done.returncode == 2, done.stdout + done.stderr
    assert said in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "run" / "stages").exists(), "a stage was begun"


@pytest.mark.parametrize(
    ("setting", "error", "said"),
    [
        ("teacher.path=nowhere.jsonl", MissingFile, "nowhere"),
        ("tasks.path=nowhere.jsonl", MissingFile, "nowhere"),
        ("keep.per_taks=3", RecipeError, "per_taks"),
    ],
)
def test_what_a_later_stage_lacks_is_found_before_the_first_is_run(
    tmp_path: Path, setting: str, error: type[InputError], said: str
) -> None:
    write_sums(tmp_path)
    stages = write_stages(tmp_path, TUTOR, PUPIL | {"set": [setting]})
    with pytest.raises(error, match=said):
        run(stages, out=tmp_path / "run", display=QUIET)
    assert not (tmp_path / "run" / "stages").exists()


def test_names_that_are_too_long_together_are_refused(tmp_path: Path) -> None:
    write_sums(tmp_path)
    stages = write_stages(tmp_path, {"name": "s" * 40}, name="n" * 90)
    with pytest.raises(RecipeError, match=f"stage {'s' * 40} cannot be run: name"):
        run(stages, out=tmp_path / "run", display=QUIET)


def test_stages_without_students_are_run_and_nothing_is_measured(tmp_path: Path) -> None:
    write_sums(tmp_path)
    stages = write_stages(tmp_path, TUTOR, PUPIL | {"set": ["keep.per_task=1"]}, seed=3)
    done = stillroom("run", stages, "--out", tmp_path / "run", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["evaluation"] is None
    assert found["stages"]["tutor"]["rows"] > found["stages"]["pupil"]["rows"] > 0
    for stage in ("tutor", "pupil"):
        facts = json.loads((tmp_path / "run" / "stages" / stage / "run.json").read_text())
        assert (facts["name"], facts["seed"]) == (f"steps-{stage}", 3)
    assert stillroom("run", stages, "--out", tmp_path / "run").returncode == 0


# -- run -------------------------------------------------------------------------------------------------------------

SAMPLES = f"sampling: {{temperature: 0.3, max_tokens: {ANSWER}}}"
TAUGHT = [f"teacher={{kind: transformers, model: 'stage:tutor', {SAMPLES}}}", "keep.max_attempts=4"]


@pytest.fixture(scope="module")
def chain(small_student: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A chain of two stages, and its finished run: a recording teaches the tutor, and the tutor the pupil."""
    folder = tmp_path_factory.mktemp("chain")
    evaluate = {"baselines": ["student_before", "teacher"], "max_tokens": ANSWER, "plots": False}
    tasks = {"source": "jsonl", "path": "tasks.jsonl", "limit": 16, "test": 8}
    write_recipe(folder, small_student, evaluate=evaluate, tasks=tasks)
    stages = write_stages(folder, TUTOR, PUPIL | {"set": TAUGHT})
    done = to_the_end(stages, folder / "run")
    assert done.returncode == 0, done.stderr
    assert "pupil/student_after" in done.stdout
    return stages, folder / "run"


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_tutor_teaches_the_pupil(chain: tuple[Path, Path]) -> None:
    for stage in ("tutor", "pupil"):
        folder = chain[1] / "stages" / stage
        facts = json.loads((folder / "run.json").read_text())
        assert facts["finished"]
        assert facts["name"] == f"steps-{stage}"
        assert (folder / "student" / "merged" / "config.json").is_file()
    machine = pick_dtype(pick_device())
    named = dict.fromkeys(("student", "before", "after"), "float32")  # as the recipe says
    assert facts["dtypes"] == {"teacher": machine, **named}
    tutor = f"transformers:{fingerprint(str(chain[1] / 'stages' / 'tutor' / 'student' / 'merged'))}"
    assert facts["teacher"]["identity"] == tutor
    examined, asked = (
        {request for request, _, _ in attempts_in(chain[1] / "stages" / stage / "ledger.sqlite", tutor).values()}
        for stage in ("tutor", "pupil")
    )
    assert len(examined) == 8
    assert examined < asked, "as a teacher it was asked otherwise than as a student"
    rows = json.loads(stillroom("status", chain[1] / "stages" / "pupil", "--json").stdout)["rows"]
    assert 4 <= rows <= 16


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_each_stage_is_evaluated_and_compared_with_the_one_before(chain: tuple[Path, Path]) -> None:
    found = json.loads((chain[1] / "eval.json").read_text())
    accuracy = {row["who"]: row for row in found["results"] if row["metric"] == "accuracy"}
    whos = ("student_before", "student_after", "teacher")
    assert accuracy.keys() == {f"{stage}/{who}" for stage in ("tutor", "pupil") for who in whos}
    assert all(row["n"] == 8 and row["low"] <= row["value"] <= row["high"] for row in accuracy.values())
    compared = [(c["a"], c["b"]) for c in found["comparisons"]]
    assert compared[0] == ("pupil/student_after", "tutor/student_after")
    assert ("pupil/student_after", "pupil/student_before") in compared
    assert all(c["p"] <= c["p_holm"] <= 1 for c in found["comparisons"])


def test_stages_are_compared_with_all_before_them_that_hold_out_the_same() -> None:
    class Only(NamedTuple):
        tasks: TaskSet

    same, other = (TaskSet([], (Task(name, user(name), "1", "x"),)) for name in ("same", "other"))
    links = cast(Any, {"a": Only(same), "b": Only(other), "c": Only(same), "d": Only(same)})
    found = [tuple(who.split("/")[0] for who in pair) for pair in _pairs(links, list("abcd"))]
    assert found == [("c", "a"), ("d", "a"), ("d", "c")]


def test_a_row_of_a_stage_names_those_of_its_stage() -> None:
    limits = {"value": 1.1, "low": 1.0, "high": 1.2, "n": 9}
    row = Result.model_validate({"who": "student_after", "metric": "ratio", "against": "student_before", **limits})
    found = _of_stage(row, "b").model_dump()
    assert (found["who"], found["against"]) == ("b/student_after", "b/student_before")
    assert "against" not in _of_stage(Result.model_validate({"who": "x", "metric": "m", **limits}), "b").model_dump()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_finished_chain_does_nothing_again(chain: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    before = json.loads((chain[1] / "eval.json").read_text())
    nothing_is_done(monkeypatch)
    again = run(chain[0], out=chain[1], display=QUIET)
    assert isinstance(again, ProgressiveResult)
    assert again.evaluation is not None
    assert json.loads(again.evaluation.model_dump_json(exclude_none=True)) == before
    assert list(again.stages) == ["tutor", "pupil"]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_state_of_a_chain_can_be_asked_for(chain: tuple[Path, Path]) -> None:
    shown = stillroom("status", chain[1])
    assert shown.returncode == 0, shown.stderr
    assert "stages/pupil" in shown.stdout
    found = json.loads(stillroom("status", chain[1], "--json").stdout)
    assert sorted(found["parts"]) == ["stages/pupil", "stages/tutor"]
    assert found["finished"]
