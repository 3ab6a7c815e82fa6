"""The evaluation of a run: who is trained and asked for it, what it holds, and `stillroom eval` on a finished run.

The students of most tests are scripted: a training writes a folder that names its rows, and answers depend on it. One
test trains SmolLM2 in their place.
"""

from __future__ import annotations

import importlib.util
import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest

from stillroom.common.hashing import digest
from stillroom.common.records import Request, Task, user
from stillroom.errors import InputError, MissingExtra, MissingFile
from stillroom.evaluation.results import Evaluation, read_eval
from stillroom.evaluation.token_kl import TokenKl, TokenKls
from stillroom.pipeline.flows.evaluate import evaluate
from stillroom.pipeline.flows.traces import RunResult
from stillroom.pipeline.run.progress import Display
from stillroom.pipeline.stages import plots as plotting
from stillroom.pipeline.stages import token_kl
from stillroom.pipeline.stages import train as students_stage
from stillroom.sampling.teachers.recorded import RecordedTeacher
from stillroom.sampling.teachers.scripted import ScriptedTeacher
from stillroom.students.methods.sft import Sft
from tests.conftest import sum_answer, write_sums
from tests.pipeline.runs import run

CONTROLS = ["control_unfiltered", "control_answers", "control_gold", "control_wrong_answers"]
EVERYBODY = ["student_before", "teacher", *CONTROLS]
BEFORE, AFTER = "student_before", "student_after"
QUIET = Display(quiet=True)


class Done(NamedTuple):
    """What was done since it was last looked at: trainings by folder, questions by model, students that were read
    against their base."""

    trained: list[str]
    asked: list[tuple[str, str, int]]
    read: list[str]

    def clear(self) -> None:
        self.trained.clear()
        self.asked.clear()
        self.read.clear()


def save(folder: Path, **facts: Any) -> None:
    """A model of which nobody loads more than its facts."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(facts))
    (folder / "model.safetensors").touch()


@pytest.fixture
def done(monkeypatch: pytest.MonkeyPatch) -> Done:
    """Scripted students, and a record of what they and the recorded teacher are asked."""
    found = Done([], [], [])

    def train(settings: Any, rows: Sequence[Any], out: Path, **_: Any) -> Any:
        found.trained.append(f"{out.parent.name}/{out.name}" if out.name != "student" else out.name)
        save(out / "merged", rows=digest(list(rows)), n=len(rows), seed=settings.seed)
        (out / "training.json").write_text('{"losses": [2.0, 1.0]}', encoding="utf-8")
        return SimpleNamespace(rows=len(rows), seconds=0.0, left_out=(), model=out / "merged")

    def student(model: str, **_: Any) -> ScriptedTeacher:
        shift = int(digest((Path(model) / "config.json").read_text(), 6), 16)

        def answer(request: Request) -> str:
            found.asked.append((model, request.task_id, request.index))
            return sum_answer(request.messages[-1].content, request.seed + shift)

        return ScriptedTeacher(answer, identity=f"student-{shift}")

    real = RecordedTeacher.sample

    async def sample(self: RecordedTeacher, request: Request, usage: Any) -> Any:
        found.asked.append(("teacher", request.task_id, request.index))
        return await real(self, request, usage)

    def kls(base: str, student: str, answers: Sequence[Any], **_: Any) -> TokenKls:
        found.read.append(Path(student).parent.name)
        return TokenKls({answer.task: TokenKl(0.5, 4) for answer in answers}, {})

    monkeypatch.setattr(token_kl, "token_kls", kls)
    monkeypatch.setattr(Sft, "train", train)
    monkeypatch.setattr("stillroom.sampling.teachers.transformers.teacher.TransformersTeacher", student)
    monkeypatch.setattr(RecordedTeacher, "sample", sample)
    monkeypatch.setattr(Sft, "lint", lambda *_, **__: None)
    monkeypatch.setattr(students_stage, "before_training", lambda *_, **__: None)
    monkeypatch.setattr(students_stage, "_NEEDED", ())
    return found


def write(folder: Path, **evaluate: Any) -> Path:
    """A recipe of 24 sums with 8 held out, and its student."""
    save(folder / "base")
    path = write_sums(folder, tasks=24)
    recipe = json.loads(path.read_text())
    recipe["tasks"]["test"] = 8
    recipe["student"] = {"model": str(folder / "base"), "method": "sft", "learning_rate": 1e-4}
    recipe["evaluate"] = {"baselines": EVERYBODY, "gold": "answer", "plots": False} | evaluate
    path.write_text(json.dumps(recipe))
    return path


def start(recipe: Path, out: Path, *settings: str) -> Evaluation:
    result = run(recipe, set=settings, out=out, display=QUIET)
    assert isinstance(result, RunResult)
    assert result.evaluation is not None
    return result.evaluation


def asked_of(done: Done, model: str) -> int:
    return sum(model in who for who, _, _ in done.asked)


# -- within a run --------------------------------------------------------------------------------------------------


def test_every_control_is_trained_measured_and_compared(tmp_path: Path, done: Done) -> None:
    found = start(write(tmp_path), tmp_path / "run")
    folders = ["student", "controls/unfiltered", "controls/answers", "controls/gold", "controls/wrong_answers"]
    assert done.trained == folders
    assert found.whos == (BEFORE, AFTER, *CONTROLS, "teacher")
    for who in found.whos:
        for metric in ("accuracy", "share_stopped", "mean_completion_tokens", "share_in_form", "share_repeating"):
            row = found.find(who, metric)
            assert row is not None, (who, metric)
            assert row.n == 8
    pairs = [(c.a, c.b) for c in found.comparisons]
    assert sorted(pairs) == sorted(
        [*((AFTER, other) for other in (BEFORE, *CONTROLS, "teacher")), ("control_wrong_answers", BEFORE)]
    )
    assert {row.metric for row in found.results if (row.model_extra or {}).get("against") == "teacher"} == {
        "tokens_ratio",
        "latency_ratio",
    }


def test_p_is_corrected_for_all_that_is_shown(tmp_path: Path, done: Done) -> None:
    letters = {"source": "jsonl", "path": "tasks.jsonl", "test": 5, "limit": 1}
    found = start(write(tmp_path, retention={"tasks": letters}), tmp_path / "run")
    ps = sorted(c.p for c in found.comparisons)
    smallest = min(found.comparisons, key=lambda c: c.p)
    assert any(c.metric == "untrained_accuracy" for c in found.comparisons)
    assert smallest.p_holm == pytest.approx(min(1, len(ps) * ps[0]))


def test_the_student_is_read_against_its_base_and_nobody_else_is(tmp_path: Path, done: Done) -> None:
    found = start(write(tmp_path), tmp_path / "run")
    assert done.read == ["student"]
    assert [(row.who, row.value, row.n) for row in found.results if row.metric == "kl_to_base"] == [(AFTER, 0.125, 8)]


def test_without_the_base_there_is_no_kl_to_it(tmp_path: Path, done: Done) -> None:
    found = start(write(tmp_path, baselines=["teacher"]), tmp_path / "run")
    assert done.read == []
    assert all(row.metric != "kl_to_base" for row in found.results)


def test_nothing_is_done_twice(tmp_path: Path, done: Done) -> None:
    recipe = write(tmp_path, seeds=2, samples={"draws": 3, "ks": [1, 3]})
    first = start(recipe, tmp_path / "run")
    assert len(done.trained) == 6
    done.clear()
    assert start(recipe, tmp_path / "run") == first
    assert done.trained == []
    assert done.asked == []


def test_a_control_with_fewer_rows_is_trained_and_a_note_says_so(tmp_path: Path, done: Done) -> None:
    found = start(write(tmp_path), tmp_path / "run")
    (note,) = [note for note in found.notes if note.startswith("control_gold is trained on")]
    config = json.loads((tmp_path / "run" / "controls" / "gold" / "merged" / "config.json").read_text())
    assert f"on {config['n']} rows" in note
    assert note in json.loads((tmp_path / "run" / "eval.json").read_text())["notes"]


def test_a_control_without_rows_is_not_trained_and_a_note_says_so(tmp_path: Path, done: Done) -> None:
    recipe = write(tmp_path, baselines=["control_wrong_answers"])
    lines = (tmp_path / "recording.jsonl").read_text().splitlines()
    (tmp_path / "recording.jsonl").write_text("\n".join(line for line in lines if json.loads(line)["right"]) + "\n")
    found = start(recipe, tmp_path / "run")
    assert done.trained == ["student"]
    assert found.whos == (AFTER,)
    assert any(note.startswith("control_wrong_answers is not trained") for note in found.notes)


def test_controls_come_after_the_rows_of_earlier_runs(tmp_path: Path, done: Done) -> None:
    recipe = write(tmp_path, baselines=["control_unfiltered"])
    start(recipe, tmp_path / "first")
    start(recipe, tmp_path / "second", f"earlier=[{tmp_path / 'first' / 'sft'}]", "seed=1", "keep.per_task=1")
    sizes = [
        json.loads((tmp_path / "second" / folder / "merged" / "config.json").read_text())["n"]
        for folder in ("student", "controls/unfiltered")
    ]
    first = json.loads((tmp_path / "first" / "student" / "merged" / "config.json").read_text())["n"]
    assert min(sizes) >= first


def test_several_answers_give_pass_and_majority_at_k(tmp_path: Path, done: Done) -> None:
    found = start(write(tmp_path, samples={"draws": 4, "ks": [1, 4]}), tmp_path / "run")
    for who in (BEFORE, AFTER, "teacher"):
        one, four = (found.find(who, f"pass_at_{k}") for k in (1, 4))
        assert one is not None
        assert four is not None
        assert one.value <= four.value
        assert (four.model_extra or {})["draws"] == 4
        assert found.find(who, "majority_at_4") is not None
    assert found.find("control_wrong_answers", "pass_at_1") is None
    assert asked_of(done, "student/merged") == 8 + 8 * 4


def test_what_cannot_be_scored_is_not_drawn_anew(tmp_path: Path, done: Done, monkeypatch: pytest.MonkeyPatch) -> None:
    """More draws where some were unscored would make their number depend on how they came out."""
    monkeypatch.setattr(sys.modules[__name__], "sum_answer", lambda *_: "I would rather not say.")
    start(write(tmp_path, baselines=[], samples={"draws": 4, "ks": [4]}), tmp_path / "run")
    assert asked_of(done, "student/merged") == 8 + 8 * 4


def test_seeds_are_further_trainings_of_the_same_rows(tmp_path: Path, done: Done) -> None:
    found = start(write(tmp_path, baselines=[BEFORE, "control_unfiltered"], seeds=3), tmp_path / "run")
    assert done.trained == ["student", "controls/unfiltered", "seeds/1", "seeds/2"]
    row = found.find(AFTER, "accuracy_over_seeds")
    after = found.find(AFTER)
    assert row is not None
    assert after is not None
    extra = row.model_extra or {}
    assert extra["seeds"] == 3
    assert extra["each"][0] == pytest.approx(after.value)
    against = [(r.model_extra or {})["against"] for r in found.results if r.metric == "difference_over_seeds"]
    assert against == [BEFORE, "control_unfiltered"]


def test_another_base_in_the_same_folder_is_trained_anew(tmp_path: Path, done: Done) -> None:
    recipe = write(tmp_path, baselines=[])
    start(recipe, tmp_path / "run")
    save(tmp_path / "base", another=1)
    start(recipe, tmp_path / "run")
    assert done.trained == ["student", "student"]


# -- by itself -----------------------------------------------------------------------------------------------------


def test_eval_measures_further_and_asks_for_nothing_again(tmp_path: Path, done: Done) -> None:
    start(write(tmp_path, baselines=[BEFORE, "teacher"]), tmp_path / "run")
    rows = (tmp_path / "run" / "sft" / "train.parquet").read_bytes()
    done.clear()
    found = evaluate(
        tmp_path / "run", set=["evaluate.baselines=[student_before, control_wrong_answers]"], display=QUIET
    )
    assert done.trained == ["controls/wrong_answers"]
    assert {model for model, _, _ in done.asked} == {str(tmp_path / "run" / "controls" / "wrong_answers" / "merged")}
    assert found.whos == (BEFORE, AFTER, "control_wrong_answers")
    assert read_eval(tmp_path / "run" / "eval.json") == found
    assert (tmp_path / "run" / "sft" / "train.parquet").read_bytes() == rows
    facts = json.loads((tmp_path / "run" / "run.json").read_text())
    assert facts["evaluated"]["evaluate"]["baselines"] == [BEFORE, "control_wrong_answers"]
    done.clear()
    assert (
        evaluate(tmp_path / "run", set=["evaluate.baselines=[student_before, control_wrong_answers]"], display=QUIET)
        == found
    )
    assert done == Done([], [], [])


def test_eval_gives_what_the_run_gave(tmp_path: Path, done: Done) -> None:
    first = start(write(tmp_path), tmp_path / "run")
    done.clear()
    assert evaluate(tmp_path / "run", display=QUIET) == first
    assert done == Done([], [], [])


def test_eval_asks_the_teacher_where_it_is_a_baseline(tmp_path: Path, done: Done) -> None:
    start(write(tmp_path, baselines=[]), tmp_path / "run")
    done.clear()
    found = evaluate(tmp_path / "run", set=["evaluate.baselines=[teacher]"], display=QUIET)
    assert found.whos == (AFTER, "teacher")
    assert {model for model, _, _ in done.asked} == {"teacher"}
    assert len(done.asked) == 8


def test_a_run_goes_on_after_an_evaluation_as_if_there_had_been_none(tmp_path: Path, done: Done) -> None:
    recipe = write(tmp_path)
    first = start(recipe, tmp_path / "run")
    evaluate(tmp_path / "run", set=["evaluate.baselines=[control_wrong_answers]"], display=QUIET)
    done.clear()
    assert start(recipe, tmp_path / "run") == first
    assert done == Done([], [], [])


def test_eval_says_that_the_student_is_of_other_rows(tmp_path: Path, done: Done) -> None:
    start(write(tmp_path, baselines=[]), tmp_path / "run")
    facts = json.loads((tmp_path / "run" / "run.json").read_text())
    facts["stages"]["student"] = "another"
    (tmp_path / "run" / "run.json").write_text(json.dumps(facts))
    found = evaluate(tmp_path / "run", display=QUIET)
    assert any("other rows, settings or versions" in note for note in found.notes)
    assert done.trained == ["student"]


def _no_rows(out: Path) -> None:
    (out / "sft" / "train.parquet").unlink()


def _no_student(out: Path) -> None:
    shutil.rmtree(out / "student")


def _other_tasks(out: Path) -> None:
    tasks = out.parent / "tasks.jsonl"
    tasks.write_text("".join(tasks.read_text().splitlines(keepends=True)[:12]))


def _another_kind(out: Path) -> None:
    (out / "recipe.yaml").write_text(json.dumps({"name": "sums", "candidates": []}))


@pytest.mark.parametrize(
    ("spoil", "settings", "error", "said"),
    [
        (_no_rows, (), MissingFile, "there are no rows in"),
        (_no_student, (), MissingFile, "there is no student in"),
        (_other_tasks, (), InputError, "the held-out tasks are not those of the run"),
        (_another_kind, (), InputError, "recipe.yaml"),
        (lambda out: None, ["student.epochs=2"], InputError, "--set student.epochs: an evaluation measures the"),
        (lambda out: None, ["evaluate=null"], InputError, "does not say what to measure"),
        (lambda out: None, ["evaluate.basline=[]"], InputError, "unknown key"),
    ],
)
def test_eval_refuses_what_cannot_be_measured(
    tmp_path: Path, done: Done, spoil: Any, settings: list[str], error: type[Exception], said: str
) -> None:
    start(write(tmp_path, baselines=[]), tmp_path / "run")
    spoil(tmp_path / "run")
    done.clear()
    with pytest.raises(error, match=said.replace(".", r"\.")):
        evaluate(tmp_path / "run", set=settings, display=QUIET)
    assert done == Done([], [], [])


def test_eval_refuses_a_run_that_trains_nobody(tmp_path: Path) -> None:
    run(write_sums(tmp_path), out=tmp_path / "run", display=QUIET)
    with pytest.raises(InputError, match="trains no student"):
        evaluate(tmp_path / "run", display=QUIET)


# -- plots ---------------------------------------------------------------------------------------------------------


def test_plots_lie_beside_the_evaluation(tmp_path: Path, done: Done) -> None:
    pytest.importorskip("matplotlib")
    letters = {"source": "jsonl", "path": "tasks.jsonl", "test": 5, "limit": 1}
    recipe = write(tmp_path, baselines=[BEFORE], plots=True, retention={"tasks": letters})
    tasks = [json.loads(line) for line in (tmp_path / "tasks.jsonl").read_text().splitlines()]
    (tmp_path / "tasks.jsonl").write_text(
        "".join(json.dumps(task | {"level": i % 3}) + "\n" for i, task in enumerate(tasks))
    )
    start(recipe, tmp_path / "run")
    names = {"accuracy", "share_in_form", "retention", "lengths", "learning", "difficulty", "filters"}
    found = {path.name for path in (tmp_path / "run" / "plots").iterdir()}
    assert found == {f"{name}.{kind}" for name in names for kind in ("png", "svg")}


def test_without_matplotlib_there_are_no_plots_and_no_failure(
    tmp_path: Path, done: Done, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(*_: object, **__: object) -> None:
        raise MissingExtra("drawing plots", "matplotlib", "plots")

    monkeypatch.setattr("stillroom.report.plots.run.plot_results", missing)
    start(write(tmp_path, baselines=[], plots=True), tmp_path / "run")
    assert (tmp_path / "run" / "eval.json").is_file()
    assert not (tmp_path / "run" / "plots").exists()


def gym_task(n: int, **inner: Any) -> Task:
    return Task(str(n), user("?"), "1", "gym", {"metadata": inner})


@pytest.mark.parametrize(
    ("tasks", "expected"),
    [
        ([], None),
        ([Task(str(n), user("?"), "1", "x", {"level": f"Level {n % 3}"}) for n in range(6)], "Level 1"),
        ([gym_task(n, num_terms=2, num_digits=n % 2, difficulty={"num_terms": 1, "num_digits": 2}) for n in range(6)],
         "digits: 1"),
        ([gym_task(n, span_length=n % 3, difficulty={"words": [5, 15]}) for n in range(6)], None),
        ([gym_task(n, target=n, difficulty={"target": [1, 99]}) for n in range(60)], None),
        ([Task(str(n), user("?"), "1", "x", {"level": [n]}) for n in range(6)], None),
    ],
)  # fmt: skip
def test_levels_are_what_tasks_say_of_their_difficulty(tasks: list[Task], expected: str | None) -> None:
    found = plotting.level_of(tasks)
    assert (found is None) == (expected is None)
    if found is not None:
        assert found.shown(str(found.of(tasks[1]))) == expected


# -- a real student ------------------------------------------------------------------------------------------------


SUMS = {
    "source": "reasoning_gym",
    "family": "chain_sum",
    "params": {"min_terms": 2, "max_terms": 2, "min_digits": 1, "max_digits": 1},
    "limit": 1,
    "test": 4,
}


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_real_student_is_measured_in_every_way(small_student: Path, tmp_path: Path) -> None:
    for package in ("reasoning_gym", "matplotlib"):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"needs {package}")
    (tmp_path / "texts.jsonl").write_text('{"text": "The cat sat on the mat."}\n{"text": "It rained all day."}\n')
    recipe = write(
        tmp_path,
        baselines=[BEFORE, "teacher", "control_wrong_answers"],
        max_tokens=24,
        samples={"draws": 2, "ks": [1, 2]},
        retention={"tasks": {"sums": SUMS}, "texts": {"path": "texts.jsonl"}, "max_tokens": 8},
        plots=True,
    )
    values = json.loads(recipe.read_text())
    values["student"] |= {"model": str(small_student), "lora": {"r": 4}, "epochs": 1, "batch_size": 8}
    recipe.write_text(json.dumps(values))
    found = start(recipe, tmp_path / "run", "tasks.test=4", "tasks.limit=8")
    for who in (BEFORE, AFTER):
        for metric in ("accuracy", "pass_at_2", "sums_accuracy", "perplexity"):
            assert found.find(who, metric) is not None, (who, metric)
    assert found.find("control_wrong_answers") is not None
    assert found.find(AFTER, "perplexity_ratio") is not None
    again = evaluate(tmp_path / "run", display=QUIET)
    assert again == found
