"""Faults that public tools for white-box distillation have or had, each with the test that holds it off.

`TRAPS` names the test of each; those that stand nowhere else are here.
"""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open

from stillroom.common.models.resolve import load_model, load_tokenizer
from stillroom.students.data.encode import EncodedRow, encode_rows
from stillroom.students.data.rows import read_rows
from stillroom.students.methods.distil import Distil
from stillroom.students.methods.sft import Sft
from stillroom.students.whitebox import divergence
from stillroom.students.whitebox.head import Head
from stillroom.students.whitebox.loss import Reader, WhiteBoxLoss, padded
from stillroom.students.whitebox.objectives import Soft, objectives
from stillroom.students.whitebox.probe import toy
from tests.conftest import tiny as tiny_models

HERE = Path(__file__).parent
ROOT = HERE.parents[2]

TRAPS = {
    "T² missing, or only in the printed loss": "test_divergence.py::test_temperature_squared_is_in_the_gradient",
    "tail": "test_divergence.py::test_top_k_with_its_tail_rises_to_the_full_kl",
    "cache of another temperature": (
        "test_cache.py::test_a_temperature_that_was_not_declared_is_refused_with_those_that_were"
    ),
    "cache of another tokenizer": "test_cache.py::test_an_id_beyond_the_tokenizer_is_refused",
    "reverse KL offline": "test_cache_training.py::test_what_a_cache_cannot_serve_is_refused_with_the_reason",
    "entries of a server shifted or cut": (
        "test_cache_sources.py::test_what_is_no_distribution_is_refused_by_row_and_place"
    ),
    "reverse KL on a top-k support": "test_traps.py::test_the_reverse_kl_is_not_offered_on_a_part_of_the_vocabulary",
    "shift": "test_traps.py::test_a_teacher_of_positions_is_matched_only_when_aligned",
    "first answer token and EOS": (
        "test_distil.py::test_first_answer_token_and_end_have_a_gradient_and_nothing_behind_them"
    ),
    "vocabulary padding": "test_distil.py::test_loss_and_gradient_of_a_step_are_those_of_its_positions_one_by_one",
    "same size, other tokenizer": "test_distil.py::test_other_tokens_of_the_same_number_are_refused",
    "template of the teacher": "test_distil.py::test_the_teacher_reads_under_its_own_system_prompt",
    "mask": "test_distil.py::test_hard_labels_alone_are_sft",
    "reduction": "test_distil.py::test_accumulation_changes_nothing",
    "teacher in train mode": "test_distil.py::test_a_teacher_with_dropout_says_the_same_twice",
    "bf16 softmax": "test_divergence.py::test_half_precision_is_widened_before_anything_is_exponentiated",
    "head post-processing": "test_distil.py::test_what_a_family_does_behind_its_head_is_done_here",
    "tied head and LoRA": "test_distil.py::test_an_adapter_on_the_output_layer_is_refused",
    "packing leaks": "test_distil.py::test_loss_and_gradient_of_a_step_are_those_of_its_positions_one_by_one",
    "truncation empties the answer": "test_traps.py::test_a_row_over_the_limit_is_left_out_and_counted",
    "clamp kills the gradient": "test_traps.py::test_a_hopeless_token_still_has_a_gradient",
    "logged loss and gradient": "test_traps.py::test_the_loss_that_is_logged_is_the_one_that_is_trained",
    "projections saved": "test_traps.py::test_the_student_s_folder_is_that_of_plain_training",
    "experimental API": "test_traps.py::test_nothing_is_imported_from_trl_experimental",
}


@pytest.mark.parametrize("trap", TRAPS)
def test_every_trap_has_its_test(trap: str) -> None:
    file, _, name = TRAPS[trap].partition("::")
    tree = ast.parse((HERE / file).read_text(encoding="utf-8"))
    assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def test_the_reverse_kl_is_not_offered_on_a_part_of_the_vocabulary() -> None:
    """It would push mass out of the part that is looked at."""
    reverse = [objectives[name] for name in ("reverse_kl", "skew_reverse_kl", "jsd")]
    assert not any("top_k" in each.model_fields for each in reverse)


def test_a_teacher_of_positions_is_matched_only_when_aligned() -> None:
    """The teacher is the student itself. Read one place off, the loss is far from 0."""
    model = toy(vocabulary=30, seed=4)
    row = _row([3, 9, 14, 20, 8, 2], answer=3)
    shifted = row._replace(input_ids=[11, *row.input_ids[:-1]])

    def loss(read: Any) -> float:
        head = Head(model, 30, "the toy")
        teacher = Reader(model, head, flat=False, rows={"task": [read]})
        of = WhiteBoxLoss({"task": [Soft()]}, {"task": [row]}, Reader(model, head, flat=False), teacher)
        return float(of(model, {"task": padded([row], [0])}, torch.ones(3)).detach())

    assert loss(row) == pytest.approx(0, abs=1e-6)
    assert loss(shifted) > 0.1


def _row(ids: list[int], answer: int) -> EncodedRow:
    return EncodedRow("a row", ids, [-100] * (len(ids) - answer) + ids[-answer:])


def test_a_hopeless_token_still_has_a_gradient() -> None:
    """The teacher is sure of a token that the student gives e^-60: a clamp at -10 would teach nothing."""
    logits = torch.tensor([[60.0, 0.0]], requires_grad=True)
    (gradient,) = torch.autograd.grad(divergence.forward_kl(logits, torch.tensor([[-60.0, 60.0]])), logits)
    assert gradient[0].tolist() == pytest.approx([1.0, -1.0])


def test_a_row_over_the_limit_is_left_out_and_counted(rows: list[dict[str, Any]], tiny: Path, tmp_path: Path) -> None:
    read = encode_rows(read_rows(rows), tiny_models.make_tokenizer(), 256).rows
    longest = max(len(each.input_ids) for each in read)
    wanted = Distil(model=str(tiny), objectives=[{"kind": "hard"}], max_length=longest - 1, epochs=1, dtype="float32")
    trained = wanted.train(rows, tmp_path / "student", seed=1)
    assert trained.left_out
    assert {left.reason for left in trained.left_out} == {"too_long"}
    assert trained.rows + len(trained.left_out) == len(rows)
    assert all(loss == loss for loss in trained.losses)


def test_the_loss_that_is_logged_is_the_one_that_is_trained(
    rows: list[dict[str, Any]], tiny: Path, tmp_path: Path
) -> None:
    """By a step that is too small to bend: the logged loss falls by what the gradient says it does."""
    read = encode_rows(read_rows(rows), load_tokenizer(str(tiny)), 256).rows
    model, teacher = (load_model(str(tiny), "float32", "cpu").double() for _ in range(2))
    with torch.no_grad():
        for weight in teacher.parameters():
            weight.mul_(3)

    def loss() -> Any:
        readers = [Reader(each, Head(each, 259, "a model"), flat=False) for each in (model, teacher)]
        of = WhiteBoxLoss({"task": [Soft(temperature=2)]}, {"task": read}, readers[0], readers[1])
        batches = of.step([{"row": torch.arange(len(read))}])
        return of(model, batches[0], of.counts(batches))

    before = loss()
    before.backward()
    size, slope = 1e-6, 0.0
    with torch.no_grad():
        for weight in model.parameters():
            slope += float((weight.grad**2).sum())
            weight -= size * weight.grad
    assert (float(before.detach()) - float(loss().detach())) / size == pytest.approx(slope, rel=1e-3)


def test_the_student_s_folder_is_that_of_plain_training(
    rows: list[dict[str, Any]], tiny: Path, tmp_path: Path
) -> None:
    """Nothing of a teacher is saved into it."""
    common: dict[str, Any] = {"model": str(tiny), "epochs": 1, "dtype": "float32"}
    Sft(**common).train(rows, tmp_path / "sft", seed=1)
    Distil(**common, teacher=str(tiny)).train(rows, tmp_path / "distil", seed=1)

    def inside(folder: Path) -> tuple[list[str], dict[str, list[str]]]:
        files = sorted(str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file())
        tensors = {}
        for file in folder.rglob("*.safetensors"):
            with safe_open(file, "pt") as held:
                tensors[str(file.relative_to(folder))] = sorted(held.keys())
        return files, tensors

    assert inside(tmp_path / "distil") == inside(tmp_path / "sft")
    record = json.loads((tmp_path / "distil" / "training.json").read_text(encoding="utf-8"))
    assert record["teacher"].startswith("sha256:")


def test_nothing_is_imported_from_trl_experimental() -> None:
    """Its trainers vanish between minor versions."""
    rooms = ("common", "sampling", "traces", "judges", "preferences", "students", "evaluation", "report", "pipeline")
    found = [
        str(path.relative_to(ROOT))
        for room in rooms
        for path in (ROOT / room).rglob("*.py")
        if "trl.experimental" in path.read_text(encoding="utf-8")
    ]
    assert found == []
