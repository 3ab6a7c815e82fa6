"""False positives on recorded, correct solutions of a real model, where the public file is there."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from stillroom.traces.trace import Trace
from tests.traces.filters.filtering import apply_filters, build_filters

DATA = Path(os.environ.get("STILLROOM_DATA", Path(__file__).parents[4] / "shared" / "data"))
COLUMNS = ("6b_finetuning", "6b_verification", "175b_finetuning", "175b_verification")


@pytest.fixture
def solutions(make_trace: Any) -> dict[bool, list[Trace]]:
    path = DATA / "gsm8k" / "graded_solutions_dev.jsonl"
    if not path.is_file():
        pytest.skip(f"{path} is not there: set STILLROOM_DATA to the folder of the public data")
    found: dict[bool, list[Trace]] = {True: [], False: []}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines()):
        row = json.loads(line)
        for index, column in enumerate(COLUMNS):
            trace = make_trace(row[column]["solution"], prompt=row["question"], task=str(number), index=index)
            found[row[column]["is_correct"]].append(trace)
    return found


@pytest.mark.parametrize(
    "name", ["finished", "one_final_answer", "no_repetition", "not_answer_only", "not_refused", "one_language"]
)
def test_correct_solutions_stay(solutions: dict[bool, list[Trace]], name: str) -> None:
    done = apply_filters(solutions[True], build_filters([name]), test=[])
    assert len(solutions[True]) == 1008
    assert [(reject.reason, reject.detail) for reject in done.rejects] == []


def test_the_loops_among_the_wrong_ones_go(solutions: dict[bool, list[Trace]]) -> None:
    done = apply_filters(solutions[False], build_filters(["no_repetition"]), test=[])
    assert len(done.rejects) == 5
