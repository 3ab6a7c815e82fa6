"""Distributions that somebody else recorded: `signal: {kind: recorded, path: …}`, JSON Lines or Parquet.

One row of the file is one answer:

    {"prompt_ids": [1, 403, 28], "answer_ids": [7, 2],
     "ids": [[7, 9, 31], [2, 7, 5]], "log_probs": [[-0.1, -2.9, -4.0], [-0.01, -5.2, -6.0]]}

`ids` and `log_probs` have one list for each token of the answer: what was likely in its place, at T = 1, in any
order. `prompt_ids` is the prompt as the teacher read it, in tokens; without it, the row serves every prompt with that
answer. Log-probabilities are natural logarithms, and of the whole distribution: what they leave is the tail. They are
checked as a server's are, and go into the run's cache like all that is captured; later runs do not read the file.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from stillroom.common.files import at_home
from stillroom.common.outside import NotJson, read_json
from stillroom.errors import InputError, MissingFile
from stillroom.students.data.encode import EncodedRow
from stillroom.students.whitebox.cache.prompted import Reading
from stillroom.students.whitebox.cache.record import Entry
from stillroom.students.whitebox.cache.rules import Rule, Temperatures
from stillroom.students.whitebox.cache.sources import Scored, SignalSettings, Source, signals, start_of

_Key = tuple[tuple[int, ...] | None, tuple[int, ...]]


@signals.register
class RecordedSignal(SignalSettings):
    """A file with ids and log-probabilities of each position."""

    kind: Literal["recorded"] = "recorded"
    path: str = Field(min_length=1)
    """The file: `.jsonl` or `.parquet`; a relative path starts at the recipe."""

    def identity(self, base: Path) -> str:
        with self._file(base).open("rb") as file:
            return f"recorded:sha256:{hashlib.file_digest(file, 'sha256').hexdigest()[:32]}"

    def make(self, base: Path, vocabulary: int) -> Source:
        return RecordedSource(self._file(base), vocabulary)

    def _file(self, base: Path) -> Path:
        file = base / at_home(self.path)
        if not file.is_file():
            raise MissingFile(f"there is no file {str(file)!r}, which student.signal.path names")
        return file


class RecordedSource:
    """Rows of a file, read when the first is asked for. Raises InputError naming the line for one that cannot be
    read."""

    def __init__(self, file: Path, vocabulary: int) -> None:
        self._file, self._vocabulary = file, vocabulary
        self._rows: dict[_Key, tuple[int, Mapping[str, Any]]] | None = None

    async def score(
        self, rows: Sequence[EncodedRow], rule: Rule, temperatures: Temperatures
    ) -> AsyncGenerator[Scored]:
        """See `Source`."""
        if self._rows is None:
            self._rows = dict(self._read())
        reading = Reading(rule, self._vocabulary, f"the file {self._file}", whole=False)
        for number, row in enumerate(rows):
            yield Scored(number, self._entry(row, reading, self._rows))

    async def close(self) -> None:
        """Nothing is open."""

    def _entry(self, row: EncodedRow, reading: Reading, held: Mapping[_Key, tuple[int, Mapping[str, Any]]]) -> Entry:
        start = start_of(row)
        prompt, answer = tuple(row.input_ids[:start]), tuple(row.input_ids[start:])
        found = held.get((prompt, answer)) or held.get((None, answer))
        if found is None:
            same = any(key[1] == answer for key in held)
            why = "behind another prompt than the teacher's" if same else "not at all"
            raise InputError(
                f"{row.name}: its answer stands {why} in {self._file}, which has {len(held):,} rows: record it with "
                "the tokens of this training, or leave the row out"
            )
        line, values = found
        ids, log_probs = values.get("ids"), values.get("log_probs")
        if (
            not isinstance(ids, list)
            or not isinstance(log_probs, list)
            or not len(ids) == len(log_probs) == len(answer)
        ):
            raise InputError(
                f"{self._file}:{line}: ids and log_probs need a list for each of the {len(answer):,} tokens of "
                "answer_ids"
            )
        positions = [reading.position(row, at, *pair) for at, pair in enumerate(zip(ids, log_probs, strict=True))]
        return reading.of(row, positions)

    def _read(self) -> Iterator[tuple[_Key, tuple[int, Mapping[str, Any]]]]:
        for line, values in self._lines():
            answer, prompt = (values.get(name) for name in ("answer_ids", "prompt_ids"))
            if not _are_ids(answer) or not (prompt is None or _are_ids(prompt)):
                raise InputError(f"{self._file}:{line}: answer_ids, and prompt_ids where it is there, must be ids")
            yield (None if prompt is None else tuple(prompt), tuple(answer or ())), (line, values)

    def _lines(self) -> Iterator[tuple[int, Mapping[str, Any]]]:
        """Each row with its number."""
        if self._file.suffix == ".parquet":
            import pyarrow as pa
            import pyarrow.parquet as pq

            try:
                yield from enumerate(pq.read_table(self._file).to_pylist(), 1)
            except (OSError, pa.ArrowException) as error:
                raise InputError(f"{self._file} cannot be read as parquet: {error}") from None
            return
        for line, text in enumerate(self._file.read_bytes().splitlines(), 1):
            if not text.strip():
                continue
            try:
                values = read_json(text)
            except NotJson as error:
                raise InputError(f"{self._file}:{line}: not JSON: {error}") from None
            if not isinstance(values, dict):
                raise InputError(f"{self._file}:{line}: an object is expected, with answer_ids, ids and log_probs")
            yield line, values


def _are_ids(value: Any) -> bool:
    return isinstance(value, list) and all(type(token) is int and token >= 0 for token in value)
