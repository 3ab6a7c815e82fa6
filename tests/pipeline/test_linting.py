"""`stillroom lint`: on the rows that a run has written, with a student that has a tokenizer and no weights."""

from __future__ import annotations

import json
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from stillroom.cli.show import show_lint
from stillroom.common.records import Message, State, user
from stillroom.errors import InputError, MissingFile, RunFolderError, TrainingError
from stillroom.pipeline.config.load import load_recipe
from stillroom.pipeline.flows.run import lint, run
from stillroom.pipeline.run.folder import RunFolder
from stillroom.pipeline.run.progress import Display
from stillroom.pipeline.stages.train import answers_of, before_training, lint_traces
from stillroom.students.records import Answered
from stillroom.traces.scorers.answer import AnswerScorerSettings
from stillroom.traces.tasks import load_tasks
from tests.conftest import write_sums

QUIET = Display(quiet=True)
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
PAIRS = [
    {"prompt": f"Write about a {thing}.", "text": f"{style} {thing}."}
    for thing in ("boat", "clock", "garden", "kettle")
    for style in ("One day there was a", "In order to utilise the")
]


@pytest.fixture(scope="module")
def student(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that is a model but for its weights: bytes and three special tokens."""
    import tokenizers
    import transformers
    from tokenizers import decoders, models, pre_tokenizers

    folder = tmp_path_factory.mktemp("models") / "student"
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    raw = tokenizers.Tokenizer(models.BPE(vocab={t: i for i, t in enumerate([*SPECIAL, *letters])}, merges=[]))
    raw.pre_tokenizer, raw.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    raw.add_special_tokens(SPECIAL)
    made = transformers.PreTrainedTokenizerFast(
        tokenizer_object=raw, chat_template=CHATML, eos_token="<|im_end|>", pad_token="<|endoftext|>"
    )
    made.save_pretrained(folder)
    transformers.LlamaConfig(vocab_size=260, max_position_embeddings=512).save_pretrained(folder)
    return folder


@pytest.fixture
def ran(tmp_path: Path) -> tuple[Path, Path]:
    """A recipe without a student, and its run's folder."""
    recipe = write_sums(tmp_path / "recipe")
    run(recipe, out=tmp_path / "run", display=QUIET)
    return recipe, tmp_path / "run"


def with_student(student: Path, method: str = "sft") -> list[str]:
    return [f"student={{model: '{student}', method: {method}}}"]


def change(run: Path, rows: Callable[[list[dict[str, Any]]], list[dict[str, Any]]]) -> None:
    """Other rows in the run's folder."""
    import datasets
    import pyarrow.parquet as pq

    file = run / "sft" / "train.parquet"
    datasets.Dataset.from_list(rows(pq.read_table(file).to_pylist())).to_parquet(file)


def test_the_rows_of_a_run_are_linted_and_checked(ran: tuple[Path, Path], student: Path) -> None:
    recipe, folder = ran
    report = lint(recipe, set=with_student(student), out=folder)
    assert report.findings == ()
    assert report.rows > 10
    assert "answer_rejected" in report.checked
    assert set(report.skipped) == {"test_leak", "test_leak_near", "other_system_prompt"}
    assert json.loads((folder / "lint.json").read_text(encoding="utf-8")) == report.as_dict()
    assert "Lint before training: sums" in (folder / "lint.html").read_text(encoding="utf-8")


def test_an_answer_that_is_wrong_now_is_found(ran: tuple[Path, Path], student: Path) -> None:
    recipe, folder = ran

    def wrong(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        rows[2]["completion"][0]["content"] = "That makes nothing.\n#### 999999"
        rows[3]["task_id"] = "another"
        return rows

    change(folder, wrong)
    report = lint(recipe, set=with_student(student), out=folder)
    assert [found.name for found in report.findings] == ["answer_rejected", "answer_unscored"]
    assert [found.count for found in report.findings] == [1, 1]
    assert "#### 999999" in report.findings[0].detail


@pytest.mark.parametrize(("earlier", "said"), [(("other/sft",), None), ((), State.UNSCORED)])
def test_another_task_of_the_same_id_is_not_this_one(tmp_path: Path, earlier: tuple[str, ...], said: State) -> None:
    """As in rows of an earlier round, whose file numbered its tasks likewise."""
    loaded = load_recipe(write_sums(tmp_path))
    tasks = load_tasks(loaded.recipe.tasks, base=loaded.base, seed=0)
    here = tasks.train[0]
    asked = [(Message("system", "Be brief."), *here.messages), user("What is the capital of France?")]
    recipe = loaded.recipe.model_copy(update={"earlier": earlier})
    with answers_of(recipe, AnswerScorerSettings(), tasks) as checker:
        found = checker([Answered(here.id, prompt, f"#### {here.reference}") for prompt in asked])
    assert [verdict and verdict.state for verdict in found] == [State.ACCEPTED, said]


def test_settings_can_be_tried_on_rows_that_are_there(ran: tuple[Path, Path], student: Path) -> None:
    recipe, folder = ran
    report = lint(recipe, set=[*with_student(student), "student.max_length=20"], out=folder)
    assert [(found.name, found.severity) for found in report.findings] == [
        ("nothing_left", "error"),
        ("too_long", "error"),
    ]


def test_a_held_out_task_among_the_rows_is_found(ran: tuple[Path, Path], student: Path) -> None:
    """The run held nothing out; the recipe does now."""
    recipe, folder = ran
    report = lint(recipe, set=[*with_student(student), "tasks.test=8"], out=folder)
    assert {"test_leak"} <= {found.name for found in report.errors}


def test_without_rows_it_says_what_to_run(tmp_path: Path, student: Path) -> None:
    recipe = write_sums(tmp_path)
    with pytest.raises(MissingFile, match=r"no rows in .*train\.parquet yet.*stillroom run"):
        lint(recipe, set=with_student(student), out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_recipe_without_a_student_is_refused(ran: tuple[Path, Path]) -> None:
    with pytest.raises(InputError, match="trains no student"):
        lint(ran[0], out=ran[1])
    with pytest.raises(InputError, match="trains no student"):
        lint("llmbar_recorded")


def test_the_folder_of_another_recipe_is_refused(ran: tuple[Path, Path], student: Path) -> None:
    recipe, folder = ran
    with pytest.raises(RunFolderError, match="not of 'others'"):
        lint(recipe, set=[*with_student(student), "name=others"], out=folder)


# -- preferences ---------------------------------------------------------------------------------------------------


def write_preferences(folder: Path) -> Path:
    folder.mkdir(parents=True)
    prompts = list(dict.fromkeys(row["prompt"] for row in PAIRS))
    lines = {"prompts": [{"prompt": p} for p in prompts], "plain": PAIRS[::2], "long": PAIRS[1::2]}
    for name, rows in lines.items():
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    recipe = {
        "name": "notes",
        "tasks": {"source": "jsonl", "path": "prompts.jsonl", "prompt": "prompt", "reference": None, "test": 1},
        "candidates": [
            {
                "name": name,
                "teacher": {"kind": "recorded", "path": f"{name}.jsonl", "prompt": "prompt", "model": name},
            }
            for name in ("plain", "long")
        ],
        "judge": {"kind": "style"},
    }
    (folder / "recipe.yaml").write_text(json.dumps(recipe), encoding="utf-8")
    return folder / "recipe.yaml"


def test_pairs_for_training_are_linted_and_held_out_ones_are_not(tmp_path: Path, student: Path) -> None:
    recipe = write_preferences(tmp_path / "recipe")
    run(recipe, out=tmp_path / "run", display=QUIET)
    assert (tmp_path / "run" / "dpo" / "test.parquet").is_file()
    report = lint(recipe, set=with_student(student, "dpo"), out=tmp_path / "run")
    assert (report.what, report.rows) == ("pairs", 3)
    assert report.errors == ()
    assert [found.name for found in report.warnings] == ["reference_off_policy"]  # both sources are others


# -- before training -----------------------------------------------------------------------------------------------


def broken(ran: tuple[Path, Path], student: Path) -> tuple[Any, RunFolder]:
    """The lint of a run's rows, one of them empty."""
    loaded = load_recipe(ran[0], with_student(student))
    tasks = load_tasks(loaded.recipe.tasks, base=loaded.base, seed=0)
    rows = [
        {"prompt": [{"role": "user", "content": "q"}], "completion": [{"role": "assistant", "content": t}]}
        for t in " a"
    ]
    settings = loaded.recipe.student
    assert settings is not None
    return lint_traces(loaded.recipe, settings, tasks, rows, check=False), RunFolder(ran[1], "sums")


def test_an_error_stops_the_run_after_it_was_kept_and_told(ran: tuple[Path, Path], student: Path) -> None:
    report, folder = broken(ran, student)
    shown = StringIO()
    with pytest.raises(TrainingError, match="rows with an empty answer"):
        before_training(report, folder, Display(Console(file=shown, width=200)))
    assert "error: rows with an empty answer" in shown.getvalue()
    assert (folder.path / "lint.json").is_file()


def test_of_a_control_it_is_only_told(ran: tuple[Path, Path], student: Path) -> None:
    report, folder = broken(ran, student)
    before_training(report, folder, QUIET, name="lint_control", stop=False)
    assert json.loads((folder.path / "lint_control.json").read_text(encoding="utf-8"))["errors"] == 1


def test_it_can_be_shown(ran: tuple[Path, Path], student: Path, capsys: pytest.CaptureFixture[str]) -> None:
    show_lint(broken(ran, student)[0])
    shown = capsys.readouterr().out
    assert "rows with an empty answer" in shown
    assert "in the loss" in shown
