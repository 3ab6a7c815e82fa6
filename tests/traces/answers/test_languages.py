"""Answers in twelve languages: what is right is accepted, and nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from stillroom.common.records import State
from stillroom.traces.answers import AnswerChecker, Policies
from stillroom.traces.answers.wording import reworded

TABLE: dict[str, list[dict[str, Any]]] = yaml.safe_load(Path(__file__).with_name("languages.yaml").read_text("utf-8"))


def test_twelve_languages_with_ten_answers_each() -> None:
    assert len(TABLE) == 12
    assert all(len(rows) == 10 and sum(not row["right"] for row in rows) == 3 for rows in TABLE.values())


@pytest.mark.parametrize("language", TABLE)
def test_right_answers_are_accepted_and_nothing_else(language: str) -> None:
    for row in TABLE[language]:
        with AnswerChecker(workers=1, policies=Policies.of(row.get("policies", {}))) as checker:
            verdict = checker.check(row["gold"], row["pred"])
        assert (verdict.state is State.ACCEPTED) is row["right"], (row, verdict)


@pytest.mark.parametrize(
    "written",
    [
        "12以上",
        "12未満",
        "約12",
        "12万",
        "12億",
        "12個半",
        "12分之5",
        "12명 이상",
        "12만",
        "12 тысяч",
        "12 mil",
        "12 oder mehr",
    ],
)
def test_what_changes_the_number_is_not_taken_for_a_unit(written: str) -> None:
    with AnswerChecker(workers=1) as checker:
        assert checker.check("12", f"Answer: {written}").state is not State.ACCEPTED


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("12元", r"12\text{ 元}"),
        ("858颗糖果", r"858\text{ 颗}"),
        ("24個です", r"24\text{ 個}"),
        ("7입니다", "7"),
        ("١٬٢٥٠", "1,250"),
        ("٢٫٥", "2.5"),
        ("४८", "48"),
        ("１５", "15"),
        ("3、5", "3,5"),
        ("x=1或x=2", "x=1 or x=2"),
        ("8 und -2", "8, -2"),
        ("1.234,50", "1234.50"),
    ],
)
def test_signs_of_other_scripts(written: str, read: str) -> None:
    assert reworded(written) == read
