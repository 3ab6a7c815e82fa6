"""Rehearsal: which rows go with which, what the base said, and that the student is held to it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from stillroom.errors import MissingFile
from stillroom.pipeline.stages.train import training_inputs
from stillroom.sampling.ledger import Ledger
from stillroom.students.methods.distil import Distil
from stillroom.students.records import TrainingPlace
from stillroom.students.whitebox.feed import Feed, Rehearsal
from stillroom.students.whitebox.rehearsal import Rehearse, everyday_prompts, prompts_of

LETTERS = {"source": "reasoning_gym", "family": "letter_counting", "limit": 4}


@pytest.mark.parametrize("share", [0.25, 0.5, 1.0, 1.5])
def test_what_is_rehearsed_with_a_row_does_not_depend_on_the_batches(share: float) -> None:
    drawn = list(range(12))
    found = []
    for size in (1, 3, 12):
        feed = Feed(Rehearsal(rows=5, share=share, seed=3))
        parts = feed.step([drawn[i : i + size] for i in range(0, 12, size)])
        assert [row for part in parts for row in part["task"]] == drawn
        found.append([row for part in parts for row in part["rehearsal"]])
    assert found[0] == found[1] == found[2]
    assert len(found[0]) == int(12 * share)
    for start in range(0, len(found[0]) - 4, 5):
        assert sorted(found[0][start : start + 5]) == list(range(5))  # each once before any comes again


def test_prompts_come_from_each_kind_in_turns(tmp_path: Path) -> None:
    settings = Rehearse.model_validate({"tasks": {"letters": LETTERS}, "n": 10})
    kinds = [kind for kind, _ in prompts_of(settings, tmp_path, 7)]
    assert kinds.count("letters") == 4
    assert kinds.count("everyday") == 6
    assert prompts_of(settings, tmp_path, 7) == prompts_of(settings, tmp_path, 7)
    assert prompts_of(settings, tmp_path, 7) != prompts_of(settings, tmp_path, 8)


def test_the_prompts_that_come_with_stillroom_are_distinct_and_none_is_a_text_for_measuring() -> None:
    from stillroom.evaluation.forgetting import everyday_texts

    prompts = everyday_prompts()
    assert len(set(prompts)) == len(prompts) >= 60
    assert not any(prompt in text for prompt in prompts for text in everyday_texts().values())


def settings(model: Path, **more: Any) -> Distil:
    common = {"objectives": [{"kind": "hard"}], "epochs": 2, "dtype": "float32", "learning_rate": 1e-2}
    return Distil.model_validate({"method": "distil", "model": str(model)} | common | more)


def training(folder: Path) -> Any:
    return json.loads((folder / "training.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("lora", [True, False])
def test_the_student_is_held_to_the_base_on_what_it_rehearses(
    lora: bool, rows: list[dict[str, Any]], tiny: Path, tmp_path: Path
) -> None:
    drift = []
    for weight in (1e-6, 20.0):
        out = tmp_path / str(weight)
        rehearse = {"n": 12, "share": 1, "weight": weight, "max_tokens": 8}
        settings(tiny, rehearse=rehearse, lora=lora, epochs=12).train(rows, out, seed=1)
        found = training(out)
        means = [mean for _, mean in found["objectives"]]
        assert means[0] == pytest.approx(0, abs=1e-6)
        drift.append(means[-1])
    assert drift[1] < 0.5 * drift[0]
    assert found["rehearsal"]["rows"] + found["rehearsal"]["empty"] == 12
    assert found["rehearsal"]["by_kind"] == {"everyday": found["rehearsal"]["rows"]}


def test_rehearsal_leaves_the_weights_of_the_task_as_they_are(
    rows: list[dict[str, Any]], tiny: Path, tmp_path: Path
) -> None:
    """Each group is divided by its own tokens: at the first step the loss of the task is that of plain training."""
    out = tmp_path / "with"
    settings(tiny, rehearse={"n": 4, "max_tokens": 8}).train(rows, out, seed=1)
    plain = settings(tiny).train(rows, tmp_path / "plain", seed=1)
    assert training(out)["objectives"][0][0] == pytest.approx(plain.losses[0], rel=1e-5)


def test_accumulation_changes_nothing_of_what_is_rehearsed(
    rows: list[dict[str, Any]], tiny: Path, tmp_path: Path
) -> None:
    found = []
    for size, steps in ((8, 1), (2, 4)):
        wanted = settings(
            tiny, rehearse={"n": 5, "max_tokens": 8}, batch_size=size, gradient_accumulation=steps, lora=None
        )
        wanted.train(rows, tmp_path / str(size), seed=1)
        found.append([mean for step in training(tmp_path / str(size))["objectives"] for mean in step])
    assert found[0] == pytest.approx(found[1], rel=1e-4, abs=1e-6)


def test_the_base_answers_once_and_its_answers_are_in_the_ledger(
    rows: list[dict[str, Any]], tiny: Path, tmp_path: Path
) -> None:
    ledger = Ledger.open(tmp_path)
    try:
        place, wanted = TrainingPlace(ledger=ledger), settings(tiny, rehearse={"n": 6, "max_tokens": 8}, epochs=1)
        wanted.train(rows, tmp_path / "one", seed=1, place=place)
        held = ledger.count()
        wanted.train(rows, tmp_path / "two", seed=1, place=place)
        assert ledger.count() == held == 6
    finally:
        ledger.close()
    assert training(tmp_path / "one")["rehearsal"] == training(tmp_path / "two")["rehearsal"]
    assert training(tmp_path / "one")["losses"] == training(tmp_path / "two")["losses"]


def test_nothing_to_rehearse_is_refused() -> None:
    with pytest.raises(ValidationError, match="nothing is named to rehearse"):
        Rehearse(prompts=None)


def test_tasks_that_are_not_there_are_said_before_anything_is_paid_for(tiny: Path, tmp_path: Path) -> None:
    wanted = settings(tiny, rehearse={"tasks": {"source": "jsonl", "path": "other.jsonl", "prompt": "question"}})
    with pytest.raises(MissingFile, match=r"other\.jsonl"):
        wanted.check(tmp_path, 7)
    (tmp_path / "other.jsonl").write_text('{"question": "Who?"}\n', encoding="utf-8")
    wanted.check(tmp_path, 7)
    assert wanted.files == ("other.jsonl",)


def test_other_tasks_to_rehearse_are_another_training(tiny: Path, tmp_path: Path) -> None:
    """The file has the same name."""
    wanted = settings(tiny, rehearse={"tasks": {"source": "jsonl", "path": "other.jsonl", "prompt": "question"}})
    found = set()
    for asked in ("Who?", "Where?", "Who?"):
        (tmp_path / "other.jsonl").write_text(json.dumps({"question": asked}) + "\n", encoding="utf-8")
        found.add(training_inputs([], wanted, tmp_path, 7))
    assert len(found) == 2
