"""Checks a file of pairs (any that `common/row_files` reads): one verdict a row, in the order of the input.

The whole input is validated before anything is checked or written, and the output appears whole or not at all. The
file is streamed: its size does not matter. Numbers count as their text, and a null answer as no answer.

    summary = check_file("pairs.jsonl", out="verdicts.jsonl")   # {"verdict", "reason", "detail", "seconds"}
    summary.states["accepted"], summary.agreed, summary.labelled

With `review`, what was left unscored is written to a file in which a person can label it; the next check with the
same file takes these labels, by gold and answer, in the place of the rules.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Any, NamedTuple, NoReturn

from stillroom.common.datasets import HasRows
from stillroom.common.fields import no_field
from stillroom.common.files import replaced, share
from stillroom.common.marks import NamedMarks, in_our_marks
from stillroom.common.records import ANSWER_TYPES, State, Verdict
from stillroom.common.row_files import Fault, FileRow, rows_of
from stillroom.errors import InputError, MissingFile
from stillroom.traces.answers.checker import AnswerChecker
from stillroom.traces.answers.extract import find_answer
from stillroom.traces.answers.records import Policies, Reason

EXPECTED = "expected"
"""The field with the right verdict, if the input has one: true, false, or null where it is a matter of policy."""


ANSWER_TYPE = "answer_type"
"""The field with what an answer must be, if the input has one."""


class Row(NamedTuple):
    """A line of the input. `expected`: whether the pair is to be accepted; None where nothing is said. `prompt`: what
    was asked, `answer_type`: what an answer must be; "" where the line does not say."""

    gold: str
    answer: str
    expected: bool | None
    prompt: str = ""
    answer_type: str = ""


class BadRow(NamedTuple):
    """A row without a usable pair, with what is wrong with it."""

    why: str


class _Number(str):
    """The text of a JSON number, as it stood in the file."""


_ELSEWHERE = frozenset({Reason.TRUNCATED})
"""Reasons that no pair in a file can have."""


@dataclass(slots=True)
class CheckSummary(HasRows):
    """What became of a file. `labelled` maps true and false, where the input expects one, to counts of states.
    `out`: the file of the verdicts, which are its rows."""

    rows: int = 0
    states: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter, repr=False)
    labelled: dict[bool, Counter[str]] = field(
        default_factory=lambda: {True: Counter(), False: Counter()}, repr=False
    )
    seconds: float = 0.0
    out: Path | None = None
    skipped: list[str] = field(default_factory=list, repr=False)
    """What is wrong with each row that was skipped."""

    def add(self, row: Row, verdict: Verdict) -> None:
        """Counts one verdict."""
        self.rows += 1
        self.states[verdict.state] += 1
        self.reasons[verdict.reason] += 1
        if row.expected is not None:
            self.labelled[row.expected][verdict.state] += 1

    @property
    def agreed(self) -> int:
        """Labelled pairs accepted exactly where they are to be: a false one may be rejected or unscored."""
        return (
            self.labelled[True][State.ACCEPTED] + self.labelled[False].total() - self.labelled[False][State.ACCEPTED]
        )

    def as_dict(self) -> dict[str, Any]:
        """Plain data, for JSON: every state and reason is there, with 0 where there was none."""
        by_label = {
            str(label).lower(): {state.value: counts[state] for state in State}
            for label, counts in self.labelled.items()
        }
        total = sum(counts.total() for counts in self.labelled.values())
        return {
            "rows": self.rows,
            "verdicts": {state.value: self.states[state] for state in State},
            "reasons": {reason.value: self.reasons[reason] for reason in Reason if reason not in _ELSEWHERE},
            "expected": {"labelled": total, "agreed": self.agreed, **by_label} if total else None,
            "skipped": len(self.skipped),
            "seconds": round(self.seconds, 3),
        }

    def _rows(self) -> Path:
        if self.out is None:
            raise InputError("the verdicts were counted and not kept: give check a file for them, out=…")
        return self.out


def check_file(
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
    review: str | os.PathLike[str] | None = None,
    skip_bad_rows: bool = False,
    thinking: NamedMarks | None = None,
    answer_type: str = "",
) -> CheckSummary:
    """Checks every row of a file: JSON Lines, a JSON array, CSV, Parquet or Arrow.

    `out`: where the verdicts go, or None for the summary alone. `gold`, `pred`: the fields of a row. `prompt`: the
    field with what was asked, where a row has one: an answer that only repeats a formula of it is none. `workers`,
    `timeout_s`, `memory_mb` and `policies` (None: the defaults) as in `AnswerChecker`. `review`: the file for a
    person's labels. `skip_bad_rows`: bad rows get no verdict and are counted; otherwise the first one is an error.
    `thinking`: marks of thinking in the answers that are in no table. `answer_type`: what an answer must be, where a
    row does not say it itself.
    Raises MissingFile, InputError for bad rows (before any verdict) or an impossible `out`, CheckerError.
    """
    source, start = readable(path), time.perf_counter()
    summary = CheckSummary(out=None if out is None else Path(out))
    for row in read_rows(source, gold, pred, prompt):
        if isinstance(row, BadRow):
            if not skip_bad_rows:
                raise InputError(f"{row.why} (--skip-bad-rows goes on without such rows)")
            summary.skipped.append(row.why)
    labels = Labels.read(review)
    checker = AnswerChecker(workers, timeout_s, memory_mb, policies=policies)
    with checker, output(source, out) as sink:
        rows, pairs = (read_rows(source, gold, pred, prompt, thinking) for _ in range(2))
        verdicts = checker.stream(
            (row.gold, row.answer, row.prompt, row.answer_type or answer_type)
            for row in pairs
            if isinstance(row, Row)
        )
        for row in rows:
            told: dict[str, Any] = {"verdict": None, "reason": "bad_row", "detail": "", "seconds": 0.0}
            if isinstance(row, BadRow):
                told["detail"] = row.why
            else:
                verdict = labels.honoured(row, next(verdicts))
                summary.add(row, verdict)
                told = {"verdict": verdict.state, "reason": verdict.reason, "detail": verdict.detail}
                told["seconds"] = round(verdict.seconds, 6)
            if sink is not None:
                sink.write(json.dumps(told) + "\n")
    labels.write()
    summary.seconds = time.perf_counter() - start
    return summary


_REVIEWED = ("label", "gold", "answer")


class Labels:
    """A person's labels of pairs that the rules left unscored, by gold and final answer."""

    def __init__(self, path: Path | None, known: dict[tuple[str, str], dict[str, Any]]) -> None:
        self._path, self._known = path, known

    @classmethod
    def read(cls, path: str | os.PathLike[str] | None) -> Labels:
        """The labels in a file; none where it is not there yet. Raises InputError for what is no such file."""
        if path is None or not Path(path).exists():
            return cls(None if path is None else Path(path), {})
        known = {}
        for found in rows_of(Path(path), json.loads):
            row = found.values
            lacks = row.told if isinstance(row, Fault) else next((n for n in _REVIEWED if n not in row), "")
            if isinstance(row, Fault) or lacks:
                told = lacks if isinstance(row, Fault) else no_field(row, lacks)
                raise InputError(f"{found.place}: not a row of a review file ({told}): delete the file to start over")
            label = row["label"]
            if not (label is None or isinstance(label, bool)):
                raise InputError(f"{found.place}: label is {label!r}: write true (right), false (wrong) or null")
            known[str(row["gold"]), str(row["answer"])] = row
        return cls(Path(path), known)

    def honoured(self, row: Row, verdict: Verdict) -> Verdict:
        """The person's verdict on a pair that the rules leave unscored, where there is one; and a place for it."""
        if self._path is None or verdict.state is not State.UNSCORED:
            return verdict
        key = (find_answer(row.gold) or row.gold, find_answer(row.answer) or row.answer)
        place = {"gold": key[0], "answer": key[1], "prompt": row.prompt}
        entry = self._known.setdefault(key, place | {"label": None})
        entry |= {"reason": verdict.reason, "detail": verdict.detail}
        if entry["label"] is None:
            return verdict
        state = State.ACCEPTED if entry["label"] else State.REJECTED
        return replace(verdict, state=state, reason=Reason.REVIEWED, detail=f"labelled by hand; {verdict.detail}")

    def write(self) -> None:
        """Writes the file: the labels that there are, and what waits for one, with its reason."""
        if self._path is not None:
            with replaced(self._path) as new:
                new.writelines(json.dumps(row, ensure_ascii=False).encode() + b"\n" for row in self._known.values())


def readable(path: str | os.PathLike[str]) -> Path:
    """The path, if it is a file that can be read twice. Raises MissingFile, InputError."""
    source = Path(path)
    if not source.exists():
        raise MissingFile(f"{source}: no such file")
    if not source.is_file():
        raise InputError(f"{source}: not a regular file, and the input is read twice; save it to a file first")
    return source


def read_rows(
    source: Path, gold: str, pred: str, prompt: str = "prompt", thinking: NamedMarks | None = None
) -> Iterator[Row | BadRow]:
    """The rows of a file, and what is wrong with the bad ones, with file and line (of Parquet: row).

    `thinking`: marks in the answers that are in no table. Raises InputError for a file that cannot be read.
    """
    for found in rows_of(source, _parsed, blanks=True):
        try:
            row = _row(_record(found), found.place, gold, pred, prompt)
            yield row._replace(answer=in_our_marks(row.answer, thinking))
        except InputError as error:
            yield BadRow(str(error))


def whole_rows(source: Path, gold: str, pred: str, prompt: str) -> Iterator[Row]:
    """As `read_rows`. Raises InputError for a bad row."""
    for row in read_rows(source, gold, pred, prompt):
        if isinstance(row, BadRow):
            raise InputError(row.why)
        yield row


def _parsed(text: str) -> Any:
    return json.loads(text, parse_int=_Number, parse_float=_Number, parse_constant=_no_constant)


def _record(found: FileRow) -> dict[str, Any]:
    """The values of a row; a number is its text. Raises InputError for one that cannot be read."""
    if isinstance(found.values, Fault):
        kind, told = found.values
        told = f"not JSON: {told}" if kind == "json" else told
        raise InputError(
            f"{found.place}: {told}" + ("" if kind == "cells" else "; every line must be one JSON object")
        )
    return {k: _Number(v) if type(v) in (int, float) else v for k, v in found.values.items()}


def _row(record: dict[str, Any], place: str, gold: str, pred: str, prompt: str) -> Row:
    expected = record.get(EXPECTED)
    if isinstance(expected, str):  # a cell of CSV
        expected = {"true": True, "false": False}.get(expected.lower(), expected)
    if expected not in (None, True, False) or isinstance(expected, str):
        raise InputError(f"{place}: {EXPECTED!r} is {_kind(expected)}; it must be true, false or null")
    answer = "" if pred in record and record[pred] is None else _text(record, pred, place)
    asked = "" if record.get(prompt) is None else _text(record, prompt, place)
    kind = str(record.get(ANSWER_TYPE) or "")
    if kind and kind not in ANSWER_TYPES:
        raise InputError(f"{place}: {ANSWER_TYPE!r} is {kind!r}; it must be one of {', '.join(ANSWER_TYPES)}")
    return Row(_text(record, gold, place), answer, expected, asked, kind)


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON value")


def _text(record: dict[str, Any], name: str, place: str) -> str:
    if name not in record:
        known = ", ".join(map(repr, list(record)[:8])) or "none"
        raise InputError(f"{place}: no field {name!r}; it has {known}. Name the field with --gold or --pred")
    if not isinstance(record[name], str):
        raise InputError(f"{place}: {name!r} is {_kind(record[name])}; it must be a string or a number")
    return str(record[name])


def _kind(value: Any) -> str:
    kinds = {dict: "an object", list: "an array", bool: "a boolean", type(None): "null", _Number: "a number"}
    return kinds.get(type(value), "a string")


@contextmanager
def output(source: Path, out: str | os.PathLike[str] | None) -> Iterator[IO[str] | None]:
    """A stream whose content becomes the file `out` if all goes well, and leaves nothing behind if not."""
    if out is None:
        yield None
        return
    target = Path(out)
    if target.is_dir() or (target.exists() and target.samefile(source)):
        raise InputError(f"{target}: the verdicts cannot be written there; choose another file with --out")
    try:
        descriptor, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    except OSError as error:
        raise InputError(f"{target}: the verdicts cannot be written there: {error.strerror}") from error
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as stream:
            yield stream
        share(Path(name))
        Path(name).replace(target)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
