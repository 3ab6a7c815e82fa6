"""The lint of KTO rows: real collator, both kinds of answers, and what holds between them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from stillroom.common.records import State, Verdict
from stillroom.students.lint.labelled import lint_labelled
from stillroom.students.lint.report import LintReport
from stillroom.students.methods.kto import Kto
from stillroom.students.records import Answered


@pytest.fixture
def settings(tiny: Path) -> Kto:
    return Kto(model=str(tiny), batch_size=3)


@pytest.fixture
def rows(row: Any) -> list[dict[str, Any]]:
    right = [row(f"{a} + 1?", f"it is {a + 1}", task_id=f"t{a}", label=True) for a in range(4)]
    wrong = [row(f"{a} + 1?", f"no idea about {a}", task_id=f"t{a}", label=False) for a in range(4)]
    return [*right, *wrong]


def lint(rows: Any, settings: Kto, **more: Any) -> LintReport:
    return lint_labelled(rows, settings, settings.kto, reference=settings.reference, **more)


def found_in(rows: Any, settings: Kto, **more: Any) -> dict[str, int]:
    report = lint(rows, settings, **more)
    return {found.name: found.count for found in report.findings}


def test_good_rows_have_no_finding_and_are_shown_with_their_mask(rows: Any, settings: Kto) -> None:
    report = lint(rows, settings)
    assert (report.what, report.rows, report.trainable, report.findings) == ("rows", 8, 8, ())
    assert {"one_label", "both_labels", "stop_not_in_loss"} <= set(report.checked)
    assert report.shown[0].facts.startswith("row 1 (task t0): ")
    assert report.shown[0].count("loss") > 0
    assert report.notes[0].endswith("its log-probabilities taken before the first step")
    assert report.summary.endswith("on 8 rows: nothing found")


def test_it_is_what_the_method_runs(rows: Any, settings: Kto) -> None:
    assert settings.lint(rows) == lint(rows, settings)


def _both(rows: list[Any], row: Callable[..., Any]) -> list[Any]:
    return [*rows, rows[0] | {"label": False}]


def _one_kind(rows: list[Any], row: Callable[..., Any]) -> list[Any]:
    return rows[:4]


def _one_kind_fits(rows: list[Any], row: Callable[..., Any]) -> list[Any]:
    return [*rows[:4], row("2?", "long " * 60, label=False)]


def _one_prompt(rows: list[Any], row: Callable[..., Any]) -> list[Any]:
    return [row("same?", f"answer {i}", label=i < 2) for i in range(4)]


def _no_label(rows: list[Any], row: Callable[..., Any]) -> list[Any]:
    return [*rows, row("2?", "2", label="yes")]


def _empty(rows: list[Any], row: Callable[..., Any]) -> list[Any]:
    return [*rows, row("2?", " ", label=False)]


def _long(rows: list[Any], row: Callable[..., Any]) -> list[Any]:
    return [*rows, row("2?", "long " * 60, label=False)]


@pytest.mark.parametrize(
    ("change", "name", "count", "severity"),
    [
        (_both, "both_labels", 2, "warning"),
        (_one_kind, "one_label", 1, "error"),
        (_one_kind_fits, "one_label", 1, "error"),
        (_one_prompt, "one_prompt", 1, "error"),
        (_no_label, "not_a_row", 1, "error"),
        (_empty, "empty_answer", 1, "error"),
        (_long, "too_long", 1, "warning"),
    ],
)
def test_what_is_wrong_is_found(
    change: Any, name: str, count: int, severity: str, rows: Any, row: Any, settings: Kto
) -> None:
    report = lint(change(rows, row), settings)
    found = report.find(name)
    assert found is not None
    assert (found.count, found.severity) == (count, severity)


def test_without_a_kl_term_one_prompt_is_enough(row: Any, settings: Kto) -> None:
    apo = Kto.model_validate(settings.model_dump() | {"kto": {"loss_type": "apo_zero_unpaired"}})
    assert found_in(_one_prompt([], row), apo) == {}


def test_weights_that_do_not_fit_the_rows_are_told(rows: Any, settings: Kto) -> None:
    apart = {"desirable_weight": 3.0, "undesirable_weight": 1.0}
    assert found_in(rows, Kto.model_validate(settings.model_dump() | {"kto": apart})) == {"weights_apart": 1}
    assert found_in(rows, Kto.model_validate(settings.model_dump() | {"kto": {"desirable_weight": 3.0}})) == {}


def test_only_desirable_answers_are_checked(rows: Any, settings: Kto) -> None:
    asked: list[str] = []

    def checker(answered: Sequence[Answered]) -> list[Verdict]:
        asked.extend(each.text for each in answered)
        return [Verdict(State.REJECTED if each.text == "it is 2" else State.ACCEPTED, "wrong") for each in answered]

    report = lint(rows, settings, checker=checker)
    assert asked == [f"it is {a + 1}" for a in range(4)]
    found = report.find("answer_rejected")
    assert found is not None
    assert found.examples == ("row 2 (task t1)",)


def test_a_collator_that_masks_the_end_is_found(rows: Any, settings: Kto, tokenizer: Any) -> None:
    from stillroom.students.lint.rendered_rows import answer_collator

    def broken(fed: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
        batch = {**answer_collator(tokenizer)(fed)}
        batch["labels"] = batch["labels"].masked_fill(batch["input_ids"] == 2, -100)
        return batch

    assert found_in(rows, settings, collator=broken)["stop_not_in_loss"] == 8


@pytest.mark.parametrize("method", ["dpo", "kto", "orpo"])
def test_a_reference_that_preferences_have_moved_is_told(
    method: str, rows: Any, settings: Kto, tmp_path: Path, tiny: Path
) -> None:
    from stillroom.students.export.save import write_record

    moved = tmp_path / "student" / "merged"
    moved.parent.mkdir()
    moved.symlink_to(tiny)
    write_record({"settings": {"method": method, "model": str(tiny)}}, moved.parent)
    assert found_in(rows, settings.model_copy(update={"model": str(moved)})) == {"reference_is_dpo": 1}
