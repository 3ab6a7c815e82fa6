"""KTO and ORPO in whole runs, with a recorded teacher and a tiny student: rows, card, rejects, lint, student, export."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

import stillroom as product
from stillroom.common.labelled_rows import read_answers
from stillroom.errors import InputError, NothingLeft, RecipeError
from stillroom.pipeline.config.load import load_any
from stillroom.pipeline.flows.run import run
from stillroom.pipeline.flows.traces import RunResult
from stillroom.pipeline.run.progress import Display
from stillroom.students.methods.kto import Kto
from tests.conftest import stillroom, write_sums
from tests.pipeline.test_given import recipe as given_recipe
from tests.pipeline.test_preferences import write_prompts

for package in ("torch", "trl", "peft"):
    pytest.importorskip(package)

QUIET = Display(quiet=True)


@pytest.fixture
def student(tiny: Path) -> dict[str, Any]:
    shared = {"batch_size": 4, "epochs": 1, "dtype": "float32"}
    return {"model": str(tiny), "method": "kto", "kto": {"per_task": 2}, **shared}


@pytest.fixture
def roomy(tmp_path: Path, student: dict[str, Any], make_model: Any, make_tokenizer: Any) -> dict[str, Any]:
    """A student for longer conversations, without a block of settings."""
    folder = tmp_path / "roomy"
    for part in (make_model(max_position_embeddings=2048), make_tokenizer()):
        part.save_pretrained(folder)
    return {key: value for key, value in student.items() if key != "kto"} | {"model": str(folder)}


def sums(folder: Path, **changes: Any) -> Path:
    """Eight tasks and six draws of each, of which more are wrong than right."""
    whole = {"keep": {"policy": "fixed", "attempts": 6}, "filters": ["finished", "one_final_answer"]} | changes
    held_out = whole.pop("tasks", None)
    path = write_sums(folder, 8, 6, **whole)
    if held_out is not None:
        path.write_text(json.dumps(json.loads(path.read_text()) | {"tasks": held_out}))
    return path


def training(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "student" / "training.json").read_text())
    return found


# -- recipes of traces ---------------------------------------------------------------------------------------------


def test_method_kto_is_all_that_a_recipe_of_traces_has_to_say(tmp_path: Path, student: dict[str, Any]) -> None:
    path = sums(tmp_path, student=student)
    result = run(path, out=tmp_path / "run", display=QUIET)
    assert isinstance(result, RunResult)
    rows = read_answers(tmp_path / "run" / "kto")
    labels = Counter(row["label"] for row in rows)
    left_out = [json.loads(line) for line in (tmp_path / "run" / "rejects" / "kto.jsonl").read_text().splitlines()]
    assert labels[True]
    assert labels[False]
    assert {left["reason"] for left in left_out} == {"over_limit"}
    accepted = sum(left["label"] for left in left_out) + labels[True]
    assert accepted == result.rows
    assert len(rows) + len(left_out) == result.attempts  # none was unscored
    assert max(Counter((row["task_id"], row["label"]) for row in rows).values()) == 2
    record = training(tmp_path / "run")
    assert record["labels"] == {"desirable": labels[True], "undesirable": labels[False]}
    assert 1 <= record["class_weights"]["ratio"] <= 4 / 3 + 1e-9
    card = (tmp_path / "run" / "kto" / "README.md").read_text()
    assert f"| label true: accepted, and passed the filters | {labels[True]} |" in card
    assert f"| label false: rejected, and of the same form | {labels[False]} |" in card
    assert f"| left out: over limit | {len(left_out)} |" in card
    assert json.loads((tmp_path / "run" / "lint.json").read_text())["rows"] == len(rows)


def test_the_right_answers_are_true_and_the_wrong_ones_false(tmp_path: Path, student: dict[str, Any]) -> None:
    run(sums(tmp_path, student=student), out=tmp_path / "run", display=QUIET)
    for row in read_answers(tmp_path / "run" / "kto"):
        a, b = row["prompt"][-1]["content"].removeprefix("What is ").removesuffix("?").split(" + ")
        said = row["completion"][-1]["content"].rpartition("#### ")[2]
        assert row["label"] is (int(said) == int(a) + int(b))


def test_what_cannot_be_scored_is_never_undesirable(tmp_path: Path, student: dict[str, Any]) -> None:
    path = sums(tmp_path, student=student, filters=[])
    lines = [json.loads(line) for line in (tmp_path / "recording.jsonl").read_text().splitlines()]
    for line in lines[::5]:
        line["text"] = "I cannot say."
    (tmp_path / "recording.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    result = run(path, out=tmp_path / "run", display=QUIET)
    assert isinstance(result, RunResult)
    rows = read_answers(tmp_path / "run" / "kto")
    assert not any("cannot say" in row["completion"][-1]["content"] for row in rows)
    left_out = (tmp_path / "run" / "rejects" / "kto.jsonl").read_text()
    assert "cannot say" not in left_out
    assert len(rows) + len(left_out.splitlines()) == result.attempts - len(lines[::5])


def test_the_same_recording_gives_the_same_bytes_and_nothing_is_done_twice(
    tmp_path: Path, student: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = sums(tmp_path, student=student)
    for name in ("one", "two"):
        run(path, out=tmp_path / name, display=QUIET)
    for file in ("kto/train.parquet", "kto/README.md", "rejects/kto.jsonl", "student/merged/model.safetensors"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes(), file

    def never(*_: object, **__: object) -> Any:
        raise AssertionError("trained before, and trained again")

    monkeypatch.setattr(Kto, "train", never)
    run(path, out=tmp_path / "one", display=QUIET)


def test_another_method_leaves_no_labelled_rows_of_an_earlier_time(tmp_path: Path, student: dict[str, Any]) -> None:
    path = sums(tmp_path, student=student)
    run(path, out=tmp_path / "run", display=QUIET)
    run(path, set=["student.method=sft", "student.kto=null"], out=tmp_path / "run", display=QUIET)
    assert not (tmp_path / "run" / "kto" / "train.parquet").exists()
    assert not (tmp_path / "run" / "rejects" / "kto.jsonl").exists()
    assert training(tmp_path / "run")["settings"]["method"] == "sft"


def test_the_command_line_runs_lints_and_exports_it(tmp_path: Path, student: dict[str, Any]) -> None:
    path = sums(tmp_path, student=student)
    done = stillroom("run", path, "--out", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    told = " ".join(done.stderr.split())
    assert "labelled " in told
    assert "desirable rows with weight 1" in told
    assert "trained on " in told
    rows = read_answers(tmp_path / "run" / "kto")
    linted = stillroom("lint", path, "--out", tmp_path / "run")
    assert linted.returncode == 0, linted.stderr
    assert f"on {len(rows)} rows: nothing found" in " ".join((linted.stdout + linted.stderr).split())
    lines = [json.loads(line) for line in stillroom("export", tmp_path / "run", "--rows", "kto").stdout.splitlines()]
    assert [line["label"] for line in lines] == [row["label"] for row in rows]
    assert all(set(line) == {"prompt", "completion", "label"} for line in lines)


def test_undesirable_answers_are_exported_to_no_format_that_would_train_on_them(
    tmp_path: Path, student: dict[str, Any]
) -> None:
    run(sums(tmp_path, student=student), out=tmp_path / "run", display=QUIET)
    for name in ("messages", "openai", "axolotl", "sharegpt", "alpaca"):
        with pytest.raises(InputError, match=f"does not fit --rows {name}: it says whether its answer is desirable"):
            product.export(tmp_path / "run" / "kto", rows=name)
    both = product.export(tmp_path / "run" / "kto", rows="trl")
    assert both.lines == len(read_answers(tmp_path / "run" / "kto"))
    assert not product.export(tmp_path / "run", rows="trl").source.labelled  # the SFT rows


def test_a_student_is_compared_with_one_of_the_accepted_answers_alone(
    tmp_path: Path, student: dict[str, Any]
) -> None:
    evaluate = {
        "baselines": ["student_before"],
        "variants": {"sft": {"method": "sft"}, "apo": {"kto": {"per_task": 2, "loss_type": "apo_zero_unpaired"}}},
        "max_tokens": 8,
        "plots": False,
    }
    tasks = {"source": "jsonl", "path": "tasks.jsonl", "test": 2}
    run(sums(tmp_path, student=student, evaluate=evaluate, tasks=tasks), out=tmp_path / "run", display=QUIET)
    rows = read_answers(tmp_path / "run" / "kto")
    records = {
        name: json.loads((tmp_path / "run" / "variants" / name / "training.json").read_text())
        for name in ("sft", "apo")
    }
    assert records["apo"]["rows"] == len(rows)
    assert records["apo"]["settings"]["kto"]["loss_type"] == "apo_zero_unpaired"
    assert records["sft"]["rows"] < len(rows)
    assert "labels" not in records["sft"]
    measured = json.loads((tmp_path / "run" / "eval.json").read_text())
    assert {"student_after", "student_sft", "student_apo"} <= {row["who"] for row in measured["results"]}
    assert product.evaluate(tmp_path / "run", display=QUIET).notes == tuple(measured["notes"])


def test_where_nothing_was_rejected_the_run_says_what_to_do(tmp_path: Path, student: dict[str, Any]) -> None:
    path = sums(tmp_path, student=student)
    lines = [json.loads(line) for line in (tmp_path / "recording.jsonl").read_text().splitlines()]
    right = [line for line in lines if line["right"]]
    (tmp_path / "recording.jsonl").write_text("".join(json.dumps(line) + "\n" for line in right))
    with pytest.raises(NothingLeft, match=r"none was rejected.*set student\.method: sft"):
        run(path, out=tmp_path / "run", display=QUIET)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"student": {"batch_size": 1}}, "batch_size is 1.*set batch_size: 2 or more"),
        ({"scorer": {"kind": "none"}}, "scorer.kind none rejects none"),
        ({"earlier": ["sft"]}, "earlier adds SFT rows"),
        ({"evaluate": {"baselines": ["control_gold"], "gold": "answer"}}, "control_gold is trained on SFT rows"),
        ({"evaluate": {"baselines": [], "variants": {"two": {"kto": {"per_task": 3}}}}}, "another kto.per_task"),
        (
            {"student": {"method": "orpo", "kto": None}},
            "learns from pairs, and this recipe makes traces: set method: sft or kto",
        ),
    ],
)
def test_recipes_that_are_refused_before_anything_is_paid(
    changes: dict[str, Any], said: str, tmp_path: Path, student: dict[str, Any]
) -> None:
    tasks = {"source": "jsonl", "path": "tasks.jsonl", "test": 2}
    path = sums(tmp_path, **{"tasks": tasks, **changes, "student": student | changes.get("student", {})})
    with pytest.raises(RecipeError, match=said):
        load_any(path)


def test_a_loop_is_refused(tmp_path: Path, student: dict[str, Any]) -> None:
    tasks = {"source": "jsonl", "path": "tasks.jsonl", "test": 2}
    evaluate = {"baselines": ["student_before"]}
    path = sums(tmp_path, tasks=tasks, student=student, evaluate=evaluate, loop={"rounds": 2, "tasks": "same"})
    with pytest.raises(RecipeError, match="rejected answers of one run, and the rounds of a loop"):
        load_any(path)


# -- recipes of pairs ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["kto", "orpo"])
def test_pairs_of_a_file_are_learned_from(method: str, tmp_path: Path, roomy: dict[str, Any]) -> None:
    path = given_recipe(tmp_path, "hh_prompt.jsonl", student=roomy | {"method": method})
    result = run(path, out=tmp_path / "run", display=QUIET)
    record = training(result.folder)
    assert record["settings"]["method"] == method
    assert record["rows"] == (4 if method == "kto" else 2)
    assert (result.folder / "dpo" / "train.parquet").is_file()
    assert product.lint(path, out=result.folder).rows == record["rows"]
    if method == "kto":
        assert [row["label"] for row in read_answers(result.folder / "kto")] == [True, False, True, False]
        card = (result.folder / "kto" / "README.md").read_text()
        assert "| label false: rejected in its pairs | 2 |" in card
    else:
        assert not (result.folder / "kto").exists()
    again = run(path, out=tmp_path / "run", display=QUIET)
    assert again == result


@pytest.mark.parametrize("method", ["kto", "orpo"])
def test_pairs_of_a_judge_are_learned_from_and_measured(method: str, tmp_path: Path, roomy: dict[str, Any]) -> None:
    evaluate = {"judge": {"kind": "readability"}, "max_tokens": 8}
    path = write_prompts(tmp_path, student=roomy | {"method": method}, evaluate=evaluate)
    result = run(path, out=tmp_path / "run", display=QUIET)
    record = training(result.folder)
    assert record["settings"]["method"] == method
    measured = {row["metric"] for row in json.loads((result.folder / "eval.json").read_text())["results"]}
    assert ("implicit_reward_accuracy" in measured) is (method == "kto")
    if method == "kto":
        rows = read_answers(result.folder / "kto")
        assert record["labels"] == {"desirable": len(rows) // 2, "undesirable": len(rows) // 2}
        assert {row["source"] for row in rows} != {None}
