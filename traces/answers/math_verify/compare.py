"""Where our checker and Math-Verify differ on a file of pairs, and why.

Both see every pair, each in separate processes under the same limits. They differ where one accepts and the other
does not; whether the other rejects, says nothing or was stopped is told apart. It does not say who is right, unless
the file does (`expected`).

    summary = check_against("pairs.jsonl", out="differences.jsonl")   # needs stillroom[math-verify]
    summary.table[State.REJECTED, Theirs.ACCEPTED]                    # pairs that only Math-Verify accepts
    [d.line for d in summary.disagreements if d.why is Why.FRAGMENT]
"""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

from stillroom.common.records import State, Verdict
from stillroom.traces.answers.check_file import Row, output, read_rows, readable
from stillroom.traces.answers.checker import AnswerChecker
from stillroom.traces.answers.math_verify.client import Facts, Judgement, MathVerify, Theirs
from stillroom.traces.answers.math_verify.disagreements import Why, policies_of, why
from stillroom.traces.answers.policies import Policies

__all__ = ["AgainstSummary", "Disagreement", "Score", "Theirs", "Why", "check_against"]


@dataclass(frozen=True, slots=True)
class Disagreement:
    """A pair that one of the two accepts and the other does not.

    `line` counts from 1. `expected`: whether it is to be accepted, None where the file does not say. `facts`: what
    Math-Verify has read, None where it did not say within the limit. `theirs_detail`: what stopped it, or empty.
    """

    line: int
    gold: str
    answer: str
    ours: Verdict
    theirs: Theirs
    why: Why
    expected: bool | None = None
    facts: Facts | None = None
    theirs_detail: str = ""

    @property
    def policies(self) -> list[str]:
        """The policies that our verdict names: those that decided it, or that have to."""
        return policies_of(self.ours)

    def as_dict(self) -> dict[str, Any]:
        read = [self.facts.gold.reading, self.facts.answer.reading] if self.facts is not None else [None, None]
        return {
            "line": self.line,
            "gold": self.gold,
            "pred": self.answer,
            "verdict": self.ours.state.value,
            "reason": str(self.ours.reason),
            "detail": self.ours.detail,
            "math_verify": self.theirs.value,
            "math_verify_detail": self.theirs_detail,
            "math_verify_read": {"gold": read[0], "pred": read[1]},
            "why": self.why.value,
            "sentence": self.why.sentence,
            "policies": self.policies,
            "expected": self.expected,
        }


class Score(NamedTuple):
    """Who was right on the labelled pairs, and on those of them where the two differ.

    Right is: accepted exactly where the label is true. Where the two differ, one is right and the other wrong.
    """

    labelled: int
    ours: int
    theirs: int
    differing: int
    ours_differing: int
    theirs_differing: int


@dataclass(slots=True)
class AgainstSummary:
    """What became of a file. `table`: pairs by our state and their outcome; `labels`: the same by label."""

    table: Counter[tuple[State, Theirs]] = field(default_factory=Counter)
    labels: Counter[tuple[bool, bool, bool]] = field(default_factory=Counter)
    disagreements: list[Disagreement] = field(default_factory=list)
    seconds: float = 0.0

    def add(self, row: Row, ours: Verdict, theirs: Theirs) -> bool:
        """Counts a pair. Returns whether the two differ on it."""
        accepted = ours.state is State.ACCEPTED, theirs is Theirs.ACCEPTED
        self.table[ours.state, theirs] += 1
        if row.expected is not None:
            self.labels[row.expected, *accepted] += 1
        return accepted[0] != accepted[1]

    @property
    def rows(self) -> int:
        """Pairs in the file."""
        return self.table.total()

    @property
    def whys(self) -> Counter[Why]:
        """How often the two differ for each reason."""
        return Counter(found.why for found in self.disagreements)

    @property
    def score(self) -> Score | None:
        """Who was right, or None where the file has no labels."""
        if not self.labels:
            return None
        ours, theirs = ({key for key in self.labels if key[0] == key[side]} for side in (1, 2))
        differing = {key for key in self.labels if key[1] != key[2]}
        sets = (set(self.labels), ours, theirs, differing, ours & differing, theirs & differing)
        return Score(*(sum(self.labels[key] for key in keys) for keys in sets))

    def as_dict(self) -> dict[str, Any]:
        """Plain data, for JSON: every cell of the table is there, with 0 where there was none."""
        score = self.score
        return {
            "rows": self.rows,
            "table": {ours.value: {theirs.value: self.table[ours, theirs] for theirs in Theirs} for ours in State},
            "disagreements": len(self.disagreements),
            "why": {reason.value: count for reason, count in self.whys.most_common()},
            "expected": score._asdict() if score is not None else None,
            "seconds": round(self.seconds, 3),
            "differences": [found.as_dict() for found in self.disagreements],
        }


def check_against(
    path: str | os.PathLike[str],
    *,
    out: str | os.PathLike[str] | None = None,
    gold: str = "gold",
    pred: str = "pred",
    prompt: str = "prompt",
    workers: int | None = None,
    timeout_s: float = 5.0,
    memory_mb: int = 2048,
    policies: Policies | None = None,
) -> AgainstSummary:
    """Checks every line of a JSONL file with our checker and with Math-Verify.

    `out`: where the disagreements go, one a line, or None for the summary alone. `gold`, `pred`: the fields of a
    line; `prompt`: that with what was asked, if a line has it, which only ours looks at. `workers` (processes for
    each of the two), `timeout_s`, `memory_mb` and `policies` as in `AnswerChecker`.
    Raises MissingExtra without Math-Verify, MissingFile, InputError for bad lines (before any verdict) or an
    impossible `out`, CheckerError.
    """
    source, start = readable(path), time.perf_counter()
    summary, rows = AgainstSummary(), partial(read_rows, source, gold, pred, prompt)
    for _ in rows():
        pass
    with (
        AnswerChecker(workers, timeout_s, memory_mb, policies=policies) as checker,
        MathVerify(checker.workers, timeout_s, memory_mb) as rival,
        output(source, out) as sink,
    ):
        for found in _differences(checker, rival, rows, summary):
            summary.disagreements.append(found)
            if sink is not None:
                sink.write(json.dumps(found.as_dict()) + "\n")
    summary.seconds = time.perf_counter() - start
    return summary


def _differences(
    checker: AnswerChecker, rival: MathVerify, rows: Callable[[], Iterator[Row]], summary: AgainstSummary
) -> Iterator[Disagreement]:
    """The disagreements in the order of the file; everything is counted on the way."""
    ours = checker.stream(row.pair for row in rows())
    theirs = rival.stream((row.gold, row.answer) for row in rows())
    found: list[tuple[int, Row, Verdict, Judgement, Future[Facts | None] | None]] = []
    for line, (row, verdict, judgement) in enumerate(zip(rows(), ours, theirs, strict=True), 1):
        if summary.add(row, verdict, judgement.theirs):
            stopped = judgement.theirs in (Theirs.TIMEOUT, Theirs.ERROR)  # it would be again
            asked = None if stopped else rival.facts(row.gold, row.answer)
            found.append((line, row, verdict, judgement, asked))
    for line, row, verdict, (outcome, detail), asked in found:
        facts = asked.result() if asked is not None else None
        reason = why(verdict, outcome, facts, row.gold, row.answer)
        yield Disagreement(line, row.gold, row.answer, verdict, outcome, reason, row.expected, facts, detail)
