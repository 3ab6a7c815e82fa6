"""The labelled development files: how well the verdicts must agree with the labels, file by file.

A row that is labelled true and not accepted is a miss; one that is labelled false and accepted is a false accept.
`bench/answers.py` measures the same beside another checker.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import pytest

from stillroom.common.records import State
from stillroom.traces.answers import AnswerChecker
from stillroom.traces.answers.records import Policies

Row = dict[str, Any]
Data = Callable[[str], list[Row]]


class Asked(NamedTuple):
    """What is asked of a file. `rows`: how many of it are labelled."""

    rows: int
    agreed: float
    false_accepts: int
    policies: Mapping[str, str] = MappingProxyType({})


ASKED = {
    "hardverify_dev": Asked(250, 0.86, 1),
    "reported_dev": Asked(53, 0.97, 0),
    "natural_false_positives_dev": Asked(6, 1.0, 0),
    "inspect_dev": Asked(48, 0.97, 0),
    "nemo_skills_dev": Asked(30, 0.97, 0, {"percent": "bare"}),
    "hendrycks": Asked(16, 0.97, 0, {"list_order": "given", "percent": "bare"}),
    "math_verify": Asked(269, 1.0, 0),
}
WRONG_LABEL = (r"$1 - \frac{1}{\mathrm{e}}$", r"$1 + \frac{1}{\mathrm{e}}$")
"""A pair of math_verify that is labelled true and is not the same."""
RELATION = re.compile(r"\\[lg]eq?(?![a-zA-Z])|[<>≤≥]")


def policies(name: str, row: Row) -> Policies:
    """Those of the file; in math_verify, what the options of the row's test mean."""
    if name != "math_verify":
        return Policies.of(dict(ASKED[name].policies))
    options = row.get("options", {})
    found = {"chains": "last", "worked_out": "any"}  # as many of its rows have it
    if "expr" in options.get("match_types", ["latex", "expr"]) or r"\boxed" not in row["pred"]:
        found["unmarked"] = "last"
    if options.get("precision") == 2:
        found["rounding"] = "tolerant"
    if (
        options.get("allow_set_relation_comp") is False
        and RELATION.search(row["pred"])
        and not RELATION.search(row["gold"])
    ):
        found["inequalities"] = "distinct"
    if "strict" in options:
        found["parameters"] = "strict" if options["strict"] else "free"
    return Policies.of(found)


def states(name: str, rows: list[Row]) -> list[State]:
    """The state of each row, by a checker for each set of policies."""
    found: dict[int, State] = {}
    wanted = [policies(name, row) for row in rows]
    for each in dict.fromkeys(wanted):
        places = [place for place, one in enumerate(wanted) if one == each]
        with AnswerChecker(workers=1, policies=each) as checker:
            verdicts = checker.check_many((rows[place]["gold"], rows[place]["pred"] or "") for place in places)
        found.update((place, verdict.state) for place, verdict in zip(places, verdicts, strict=True))
    return [found[place] for place in range(len(rows))]


@pytest.mark.parametrize("name", ASKED)
def test_verdicts_agree_with_the_labels(data: Data, name: str) -> None:
    asked = ASKED[name]
    rows = [row for row in data(f"answers/{name}.jsonl") if row.get("expected") is not None]
    labels = [row["expected"] and (row["gold"], row["pred"]) != WRONG_LABEL for row in rows]
    said = [state is State.ACCEPTED for state in states(name, rows)]
    false_accepts = [row for row, label, accepted in zip(rows, labels, said, strict=True) if accepted and not label]
    misses = [row for row, label, accepted in zip(rows, labels, said, strict=True) if label and not accepted]
    assert len(rows) == asked.rows
    assert len(false_accepts) <= asked.false_accepts, false_accepts
    assert 1 - (len(false_accepts) + len(misses)) / len(rows) >= asked.agreed, misses


def test_the_one_wrong_label_is_rejected(checker: AnswerChecker) -> None:
    assert checker.check(*WRONG_LABEL).state is State.REJECTED
