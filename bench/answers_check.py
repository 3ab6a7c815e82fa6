"""Measures the answer checker on labelled pairs and prints the tables of docs/answers.md.

    python bench/answers_check.py ../shared/data

A row with the label `true` is right if accepted; one with `false`, if it is not accepted. What was unscored is
counted apart: it is no evidence, but a right answer that stays unscored is lost.
"""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from stillroom.sampling.records import State
from stillroom.traces.answers import AnswerChecker

SETS = ("reported_dev", "natural_false_positives_dev", "inspect_dev", "nemo_skills_dev", "hendrycks", "math_verify")


class Labelled(NamedTuple):
    """A pair, and whether it is to be accepted; None where that is a matter of policy."""

    gold: str
    answer: str
    expected: bool | None


def rows(path: Path) -> Iterator[dict[str, Any]]:
    with path.open(encoding="utf-8") as lines:
        yield from map(json.loads, lines)


def pairs(path: Path) -> list[Labelled]:
    return [Labelled(row["gold"], row["pred"] or "", row.get("expected")) for row in rows(path)]


def graded(path: Path) -> list[Labelled]:
    """The recorded solutions of GSM8K with their grades."""
    return [
        Labelled(row["ground_truth"], attempt["solution"], attempt["is_correct"])
        for row in rows(path)
        for attempt in row.values()
        if isinstance(attempt, dict)
    ]


def measure(checker: AnswerChecker, name: str, labelled: list[Labelled]) -> None:
    """Prints one row of the table."""
    start = time.perf_counter()
    verdicts = checker.check_many((pair.gold, pair.answer) for pair in labelled)
    seconds = time.perf_counter() - start
    counts = Counter((pair.expected, verdict.state) for pair, verdict in zip(labelled, verdicts, strict=True))
    right, wrong = ([counts[label, state] for state in State] for label in (True, False))
    total = sum(right) + sum(wrong)
    agreed = right[0] + wrong[1] + wrong[2]
    cells = [name, len(labelled), *right, *wrong, f"{agreed / total:.3f}" if total else "-", f"{seconds:.1f}"]
    print("| " + " | ".join(map(str, cells)) + " |", flush=True)


def main() -> None:
    data = Path(sys.argv[1])
    with AnswerChecker() as checker:
        start = time.perf_counter()
        checker.warm()
        print(f"{checker.identity}\nworkers: {checker.workers}, warm after {time.perf_counter() - start:.1f} s\n")
        print("| set | rows | true: accepted | rejected | unscored | false: accepted | rejected | unscored", end="")
        print(" | agreed | s |")
        print("|" + "---|" * 10)
        measure(checker, "GSM8K graded solutions", graded(data / "gsm8k" / "graded_solutions_dev.jsonl"))
        math = [
            Labelled(row["answer"], row["solution"], True) for row in rows(data / "math500" / "math500_dev.jsonl")
        ]
        measure(checker, "MATH answers and solutions", math)
        for name in (*SETS, "hardverify_dev"):
            measure(checker, name, pairs(data / "answers" / f"{name}.jsonl"))
        hostile = pairs(data / "answers" / "hostile_dev.jsonl")
        verdicts = checker.check_many((pair.gold, pair.answer) for pair in hostile)
    reasons = Counter(verdict.reason for verdict in verdicts)
    print(f"\nhostile: {dict(reasons)}, longest {max(verdict.seconds for verdict in verdicts):.2f} s")


if __name__ == "__main__":
    main()
