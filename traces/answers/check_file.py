"""Checks a JSONL file of pairs: one verdict a line, in the order of the input.

The whole input is validated before anything is checked or written, and the output appears whole or not at all. The
file is streamed: its size does not matter. Numbers count as their JSON text, and a null answer as no answer.

    summary = check_file("pairs.jsonl", out="verdicts.jsonl")   # {"verdict", "reason", "detail", "seconds"}
    summary.states["accepted"], summary.agreed, summary.labelled
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, NamedTuple, NoReturn

from stillroom.common.datasets import HasRows
from stillroom.common.files import share
from stillroom.common.records import State, Verdict
from stillroom.errors import InputError, MissingFile
from stillroom.traces.answers.checker import AnswerChecker
from stillroom.traces.answers.records import Policies, Reason

EXPECTED = "expected"
"""The field with the right verdict, if the input has one: true, false, or null where it is a matter of policy."""


class Row(NamedTuple):
    """A line of the input. `expected`: whether the pair is to be accepted; None where nothing is said. `prompt`: what
    was asked, or "" where the line does not say."""

    gold: str
    answer: str
    expected: bool | None
    prompt: str = ""


class _Number(str):
    """The text of a JSON number, as it stood in the file."""


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
            "reasons": {reason.value: self.reasons[reason] for reason in Reason if reason is not Reason.TRUNCATED},
            "expected": {"labelled": total, "agreed": self.agreed, **by_label} if total else None,
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
) -> CheckSummary:
    """Checks every line of a JSONL file.

    `out`: where the verdicts go, or None for the summary alone. `gold`, `pred`: the fields of a line. `prompt`: the
    field with what was asked, where a line has one: an answer that only repeats a formula of it is none. `workers`,
    `timeout_s`, `memory_mb` and `policies` (None: the defaults) as in `AnswerChecker`.
    Raises MissingFile, InputError for bad lines (before any verdict) or an impossible `out`, CheckerError.
    """
    source, start = readable(path), time.perf_counter()
    for _ in read_rows(source, gold, pred, prompt):
        pass
    summary = CheckSummary(out=None if out is None else Path(out))
    checker = AnswerChecker(workers, timeout_s, memory_mb, policies=policies)
    with checker, output(source, out) as sink:
        rows, pairs = (read_rows(source, gold, pred, prompt) for _ in range(2))
        verdicts = checker.stream((row.gold, row.answer, row.prompt) for row in pairs)
        for row, verdict in zip(rows, verdicts, strict=True):
            summary.add(row, verdict)
            if sink is not None:
                sink.write(_line(verdict))
    summary.seconds = time.perf_counter() - start
    return summary


def _line(verdict: Verdict) -> str:
    told = {"verdict": verdict.state, "reason": verdict.reason, "detail": verdict.detail}
    return json.dumps({**told, "seconds": round(verdict.seconds, 6)}) + "\n"


def readable(path: str | os.PathLike[str]) -> Path:
    """The path, if it is a file that can be read twice. Raises MissingFile, InputError."""
    source = Path(path)
    if not source.exists():
        raise MissingFile(f"{source}: no such file")
    if not source.is_file():
        raise InputError(f"{source}: not a regular file, and the input is read twice; save it to a file first")
    return source


def read_rows(source: Path, gold: str, pred: str, prompt: str = "prompt") -> Iterator[Row]:
    """The rows of a file. Raises InputError naming the file, the line and what is wrong with it."""
    try:
        with source.open("rb") as stream:
            for number, line in enumerate(stream, 1):
                yield _row(line, f"{source}:{number}", gold, pred, prompt)
    except OSError as error:
        raise InputError(f"{source}: cannot be read: {error.strerror}") from error


def _row(line: bytes, place: str, gold: str, pred: str, prompt: str) -> Row:
    try:
        record = json.loads(
            line.decode("utf-8-sig"), parse_int=_Number, parse_float=_Number, parse_constant=_no_constant
        )
    except UnicodeDecodeError as error:
        raise InputError(f"{place}: not UTF-8: byte {error.start} is 0x{line[error.start]:02x}") from error
    except (ValueError, RecursionError) as error:
        what = "an empty line" if not line.strip() else f"not JSON: {error}"
        raise InputError(f"{place}: {what}; every line must be one JSON object") from error
    if not isinstance(record, dict):
        raise InputError(f"{place}: not an object but {_kind(record)}; every line must be one JSON object")
    expected = record.get(EXPECTED)
    if expected not in (None, True, False) or isinstance(expected, str):
        raise InputError(f"{place}: {EXPECTED!r} is {_kind(expected)}; it must be true, false or null")
    answer = "" if pred in record and record[pred] is None else _text(record, pred, place)
    asked = "" if record.get(prompt) is None else _text(record, prompt, place)
    return Row(_text(record, gold, place), answer, expected, asked)


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
