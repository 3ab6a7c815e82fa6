"""Where our checker and Math-Verify differ on a file of pairs, and why.

Both see every pair, each in a few killable processes under the same limits. A pair that takes Math-Verify longer is a
time-out; one that kills its process is an error; neither is a verdict of it. They differ where one accepts and the
other does not; whether the other rejects, says nothing or was stopped is told apart. It does not say who is right,
unless the file does (`expected`).

    summary = check_against("pairs.jsonl", out="differences.jsonl")   # needs stillroom[math-verify]
    summary.table[State.REJECTED, Theirs.ACCEPTED]                    # pairs that only Math-Verify accepts
    [d.line for d in summary.disagreements if d.why is Why.FRAGMENT]
"""

from __future__ import annotations

import importlib.util
import json
import os
import time
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple, Self

from stillroom.common.records import State, Verdict
from stillroom.errors import MissingExtra
from stillroom.sampling.workers.pool import TIMEOUT, Program, WorkerPool
from stillroom.traces.answers.checker import AnswerChecker
from stillroom.traces.answers.math_verify.disagreements import Facts, Side, Theirs, Why, policies_of, why
from stillroom.traces.answers.pairs_file import Row, output, readable, whole_rows
from stillroom.traces.answers.records import Policies

MODULE = "stillroom.traces.answers.math_verify.worker"
PACKAGES = {"math_verify": "math-verify", "latex2sympy2_extended": "latex2sympy2_extended", "sympy": "sympy"}


class Judgement(NamedTuple):
    """Math-Verify's verdict on a pair. `detail`: what stood in the way of one, or empty."""

    theirs: Theirs
    detail: str = ""


class MathVerify:
    """Math-Verify in separate processes; they start when first needed.

    `workers`: processes at most. `timeout_s`: limit for a pair in seconds. `memory_mb`: address space of each.
    Raises MissingExtra where Math-Verify is not installed, CheckerError where no process can be started.
    """

    def __init__(self, workers: int, timeout_s: float, memory_mb: int) -> None:
        for module, package in PACKAGES.items():
            if importlib.util.find_spec(module) is None:
                raise MissingExtra("the comparison with Math-Verify", package, "math-verify")
        self._timeout_s = timeout_s
        self._ahead = 64 * workers
        self._threads = ThreadPoolExecutor(workers, thread_name_prefix="stillroom-rival")
        self._pool = WorkerPool(Program(MODULE, memory_mb, "the comparison with Math-Verify"), workers)

    def stream(self, pairs: Iterable[tuple[str, str]]) -> Iterator[Judgement]:
        """Verdicts in the order of the pairs (gold, answer), with a bounded number of pairs in memory."""
        window: deque[Future[Judgement]] = deque()
        for gold, answer in pairs:
            window.append(self._threads.submit(self.verify, gold, answer))
            if len(window) >= self._ahead:
                yield window.popleft().result()
        while window:
            yield window.popleft().result()

    def verify(self, gold: str, answer: str) -> Judgement:
        """Its verdict on one pair. Never raises for what the texts say."""
        asked = self._pool.ask({"task": "verify", "gold": gold, "answer": answer}, self._timeout_s)
        if asked.reason:
            return Judgement(Theirs.TIMEOUT if asked.reason == TIMEOUT else Theirs.ERROR, asked.detail)
        if "error" in asked.reply:
            return Judgement(Theirs.ERROR, asked.reply["error"])
        return Judgement(Theirs.ACCEPTED if asked.reply["accepted"] else Theirs.REJECTED)

    def facts(self, gold: str, answer: str) -> Future[Facts | None]:
        """The facts behind a verdict, when a process is free; None where they cannot be had within the limit."""

        def explained() -> Facts | None:
            asked = self._pool.ask({"task": "explain", "gold": gold, "answer": answer}, self._timeout_s)
            if asked.reason or "error" in asked.reply:
                return None
            sides = {name: Side(**asked.reply[name]) for name in ("gold", "answer")}
            return Facts(**{**asked.reply, **sides})

        return self._threads.submit(explained)

    def close(self) -> None:
        """Ends the processes and waits for them. What is under way gets no verdict. Safe to call twice."""
        self._pool.close()
        self._threads.shutdown(wait=True, cancel_futures=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


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
    summary, rows = AgainstSummary(), partial(whole_rows, source, gold, pred, prompt)
    for _ in rows():
        pass
    with (
        AnswerChecker(workers, timeout_s, memory_mb, policies=policies) as checker,
        MathVerify(checker.workers, timeout_s, memory_mb) as rival,
        output(source, out) as sink,
    ):
        ours = checker.stream((row.gold, row.answer, row.prompt) for row in rows())
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
            told = Disagreement(line, row.gold, row.answer, verdict, outcome, reason, row.expected, facts, detail)
            summary.disagreements.append(told)
            if sink is not None:
                sink.write(json.dumps(told.as_dict()) + "\n")
    summary.seconds = time.perf_counter() - start
    return summary
