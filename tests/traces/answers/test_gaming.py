"""Answers that hedge, spray, restate or claim: no ordinary gold accepts one of them."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from stillroom.common.records import State
from stillroom.traces.answers import AnswerChecker

KINDS: dict[str, list[dict[str, str]]] = yaml.safe_load(Path(__file__).with_name("gaming.yaml").read_text("utf-8"))


def test_there_are_two_hundred() -> None:
    assert sum(map(len, KINDS.values())) >= 200


@pytest.mark.parametrize("kind", KINDS)
def test_no_game_is_accepted(kind: str) -> None:
    with AnswerChecker(workers=1) as checker:
        taken = [row for row in KINDS[kind] if checker.check(row["gold"], row["pred"]).state is State.ACCEPTED]
    assert taken == []


def test_the_plain_answers_are_accepted() -> None:
    """The control: against a checker that accepts nothing, the test above would say nothing."""
    with AnswerChecker(workers=1) as checker:
        for gold in {row["gold"] for rows in KINDS.values() for row in rows}:
            assert checker.check(gold, f"\\boxed{{{gold}}}").state is State.ACCEPTED, gold
