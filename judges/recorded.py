"""Judges that replay what real judges wrote: no model, no request, the same answer every time.

The file is JSON Lines, plain or gzip, in the form of LLMBar's results (arXiv:2310.07641): `dataset`, `idx`, `judge`,
`method`, and `results`, whose last step holds the raw completions of both orders ("swap = False", "swap = True") or
the two ratings (`score_1`, `score_2`). Verdicts are read from these completions, never from the winners on record.

A pair is found by its task's id, `<dataset>/<idx>`, and its answers by their text: a and b exchanged are the same
pair with the orders exchanged. What is not on record is `api_error`: there is nobody to ask.

    judge = open_recorded(Path("judgments.jsonl.gz"), Path("LLMBar_Natural.json"), judge="GPT-4", method="CoT")
    preference = await judge.compare(task, a, b)
"""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

from stillroom.common.records import Attempt, Task
from stillroom.errors import InputError, MissingFile
from stillroom.judges.human_labels import LabelledPair, load_labelled
from stillroom.judges.llmbar import PARSER, SCALE, read_order, read_rating
from stillroom.judges.pairwise import both_orders
from stillroom.judges.records import JudgeState, OrderVerdict, Preference, Rating
from stillroom.judges.registry import JudgeBase, Made, Name, Place, judges


class Completion(NamedTuple):
    """What a judge wrote, and why its text ended: empty where the recording does not say."""

    text: str
    finish: str


@dataclass(frozen=True, slots=True)
class Record:
    """One recorded judgement of a pair. `compared`: the completions with output 1 first, then with output 2 first.
    `rated`: the ratings of output 1 and output 2. One of the two is None. `winners`: what the recording's own parser
    made of the two orders, "1", "2" or None: for comparison only. `calls`: requests that it had taken."""

    task_id: str
    judge: str
    method: str
    compared: tuple[Completion, Completion] | None
    rated: tuple[Completion, Completion] | None
    winners: tuple[str | None, str | None]
    calls: int


@dataclass(frozen=True, slots=True)
class Recording:
    """A file of recorded judgements. `content`: hash of the file. `records`: in file order."""

    path: Path
    content: str
    records: tuple[Record, ...] = field(repr=False)

    def methods(self) -> tuple[tuple[str, str], ...]:
        """Every judge and method on record, in order of appearance."""
        return tuple(dict.fromkeys((record.judge, record.method) for record in self.records))

    def of(self, judge: str, method: str) -> dict[str, Record]:
        """The records of one judge and method by task. Raises InputError naming what there is."""
        found = {r.task_id: r for r in self.records if (r.judge, r.method) == (judge, method)}
        if not found:
            known = ", ".join(f"{j}/{m}" for j, m in self.methods())
            raise InputError(f"{self.path} holds nothing of {judge}/{method}: choose one of {known}")
        return found


def load_recording(path: Path) -> Recording:
    """Reads a recording. Raises MissingFile, or InputError naming file and line of what is not a judgement."""
    if not path.is_file():
        raise MissingFile(f"the recorded judgements {path} are not there: correct the path")
    content = path.read_bytes()
    records = tuple(_record(path, number, line) for number, line in _lines(path, content))
    if not records:
        raise InputError(f"{path} holds no judgements: it is empty")
    return Recording(path, hashlib.sha256(content).hexdigest()[:12], records)


def open_recorded(path: Path, dataset: Path, *, judge: str, method: str) -> RecordedPairwise | RecordedPointwise:
    """The recorded judge for the labelled pairs of `dataset`: pointwise where it rated, else pairwise."""
    return recorded_judge(load_recording(path), load_labelled(dataset), judge=judge, method=method)


def recorded_judge(
    recording: Recording, pairs: Sequence[LabelledPair], *, judge: str, method: str
) -> RecordedPairwise | RecordedPointwise:
    """As `open_recorded`, of what was loaded before."""
    first = next(iter(recording.of(judge, method).values()))
    kind = RecordedPairwise if first.compared else RecordedPointwise
    return kind(recording, pairs, judge=judge, method=method)


class _Recorded:
    """What both kinds share: finding the record of a task among those of one judge and method."""

    def __init__(self, recording: Recording, pairs: Sequence[LabelledPair], *, judge: str, method: str) -> None:
        records = recording.of(judge, method)
        self._known = {pair.task.id: (pair, records[pair.task.id]) for pair in pairs if pair.task.id in records}
        if not self._known:
            raise InputError(
                f"{recording.path} holds no judgement of {judge}/{method} on these pairs: their ids must be "
                f"<dataset>/<idx>, such as {next(iter(records))!r}"
            )
        self.identity = f"recorded:{judge}/{method}@{recording.content}+{PARSER}"

    async def close(self) -> None:
        """Nothing to free."""


class RecordedPairwise(_Recorded):
    """Replays comparisons."""

    async def compare(self, task: Task, a: Attempt, b: Attempt) -> Preference:
        """The recorded judgement, mirrored where a and b are exchanged; `api_error` where there is none."""
        pair, record = self._known.get(task.id, (None, None))
        if pair is None or record is None or record.compared is None:
            return _absent(f"task {task.id!r} is not on record")
        one_first, two_first = (read_order(*completion) for completion in record.compared)
        if (a.text, b.text) == (pair.a.text, pair.b.text):
            return both_orders(one_first, two_first, record.calls)
        if (a.text, b.text) == (pair.b.text, pair.a.text):
            return both_orders(two_first, one_first, record.calls)
        return _absent(f"these answers to task {task.id!r} are not on record")


class RecordedPointwise(_Recorded):
    """Replays ratings, from 0 to 9 as LLMBar asks for them."""

    scale = (float(SCALE[0]), float(SCALE[1]))

    async def rate(self, task: Task, answer: Attempt) -> Rating:
        """The recorded rating; `api_error` where there is none."""
        pair, record = self._known.get(task.id, (None, None))
        if pair is not None and record is not None and record.rated is not None:
            for recorded, completion in zip((pair.a, pair.b), record.rated, strict=True):
                if answer.text == recorded.text:
                    return read_rating(*completion)
        detail = f"this answer to task {task.id!r} is not on record"
        return Rating(JudgeState.API_ERROR, None, calls=0, detail=detail)


def _absent(why: str) -> Preference:
    missing = OrderVerdict(JudgeState.API_ERROR, None, detail=why)
    return both_orders(missing, missing, calls=0)


def _lines(path: Path, content: bytes) -> Iterator[tuple[int, str]]:
    try:
        plain = gzip.decompress(content) if content.startswith(b"\x1f\x8b") else content
        text = plain.decode("utf-8-sig")
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise InputError(
            f"{path} cannot be read as JSON Lines ({error}): it is damaged or of another kind"
        ) from error
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            yield number, line


def _record(path: Path, number: int, line: str) -> Record:
    try:
        row: Mapping[str, Any] = json.loads(line)
        steps = row["results"]
        last = steps[-1]
        one, two = last["swap = False"], last["swap = True"]
        rated = "score_1" in last
        said = (last["score_1"], last["score_2"]) if rated else (one["completion"], two["completion"])
        texts = (_completion(said[0]), _completion(said[1]))
        return Record(
            task_id=f"{row['dataset']}/{row['idx']}",
            judge=str(row["judge"]),
            method=str(row["method"]),
            compared=None if rated else texts,
            rated=texts if rated else None,
            winners=(one["winner"], two["winner"]),
            calls=sum(2 if isinstance(step, dict) else 1 for step in steps),
        )
    except (KeyError, IndexError, TypeError, ValueError, RecursionError) as error:
        why = f"no {error}" if isinstance(error, KeyError) else str(error)
        raise InputError(f"{path}:{number}: no recorded judgement ({why}): correct or remove the line") from error


def _completion(value: Any) -> Completion:
    text, finish = value
    if not isinstance(text, str) or not isinstance(finish, str):
        raise ValueError(f"a completion is [text, finish reason], both text; it is {value!r:.80}")
    return Completion(text, finish)


@judges.register
class RecordedJudgeSettings(JudgeBase):
    """Replays recorded judgements."""

    kind: Literal["recorded"]
    path: Name
    """File of recordings."""
    judge: Name
    """The judge's name in the file."""
    method: Name
    """Its prompting method."""
    pairs: Name
    """File of the labelled pairs that it judged."""

    @property
    def files(self) -> tuple[str, ...]:
        return (self.path, self.pairs)

    def make(self, place: Place) -> Made:
        judge = open_recorded(place.base / self.path, place.base / self.pairs, judge=self.judge, method=self.method)
        return Made(None, judge) if isinstance(judge, RecordedPairwise) else Made(judge, None)
