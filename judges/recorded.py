"""Judges that replay what real judges wrote: no model, no request, the same answer every time.

Rows that hold no judgement are refused together, or left out and counted (`bad_rows: skip`).

The file holds rows of any format (`common/row_files`) in the form of LLMBar's results: `dataset`, `idx`, `judge`,
`method`, and `results`, whose last step holds the raw completions of both orders ("swap = False", "swap = True") or
the two ratings (`score_1`, `score_2`). Verdicts are read from these completions, never from the winners on record.

A pair is found by its task's id, `<dataset>/<idx>`, and its answers by their text: a and b exchanged are the same
pair with the orders exchanged. What is not on record is `api_error`: there is nobody to ask.

LLMBar (Zeng et al. 2023, arXiv:2310.07641) asks for "Output (a)" or "Output (b)", alone or after an explanation that
ends in "Therefore, Output (a) is better.", and for an integer from 0 to 9 in its rating methods. A text that was cut
off, one without a verdict, a rating off the scale or with other words about it is a failure, never a tie or a loss.

    recording, pairs = load_recording(Path("judgments.jsonl.gz")), load_labelled(Path("LLMBar_Natural.json"))
    judge = recorded_judge(recording, pairs, judge="GPT-4", method="CoT")
    preference = await judge.compare(task, a, b)
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

from stillroom.common.preferred import Reading
from stillroom.common.records import Attempt, Task
from stillroom.common.row_files import Fault, FileRow, digest_of, rows_of
from stillroom.errors import InputError, MissingFile
from stillroom.judges.human_labels import LabelledPair, read_labelled
from stillroom.judges.records import JudgeState, OrderVerdict, Preference, Rating, both_orders
from stillroom.judges.registry import JudgeBase, Made, Name, Place, judges

BadRows = Literal["refuse", "skip"]
_SHOWN = 10  # bad rows that are told in full
PARSER = "llmbar-1"  # part of a judge's identity: raise it when a text could be read differently
SCALE = (0, 9)
_FILTERED = frozenset({"content_filter", "content management policy"})

_NAME = r"[\"'*]*output \((?P<{}>[ab])\)[\"'*]*"
# "is better", "is clearly the better choice"; the words between are listed: "is not better" is not among them.
_IS_BETTER = (
    _NAME.format("is")
    + r"(?: is| would be)(?: (?:the|a|an|much|far|clearly|slightly|overall|generally|therefore|indeed|also|still))*"
    r" better\b"
)
_BETTER_IS = r"\bbetter(?: (?:output|response|choice|option|answer|one))?(?: for [^.\n]{0,60}?)? is " + _NAME.format(
    "of"
)
_CHOOSES = r"\b(?:choose|select|prefer|pick) " + _NAME.format("takes")
# A line that is nothing but the answer, with at most a remark in brackets.
_ALONE = r"^[ \t]*" + _NAME.format("alone") + r"[ \t]*(?:\([^\n]*\))?\.?[ \t]*$"
_STATEMENT = re.compile("|".join((_IS_BETTER, _BETTER_IS, _CHOOSES, _ALONE)), re.IGNORECASE | re.MULTILINE)
_EQUAL = re.compile(
    r"\bneither (?:output|output \(a\) nor output \(b\)|of the(?: two)? outputs|one) is better\b"
    r"|\bboth (?:outputs|output \(a\) and output \(b\)) are equally (?:good|bad|helpful|accurate|correct|valid)\b",
    re.IGNORECASE,
)
# Not the judge's own verdict: what another assistant said, a question, the choice as the prompt words it.
_REPORTED = re.compile(
    r"\bassistant \([ab]\)(?:'s)? (?:\w+ )?"
    r"(?:argu|claim|believ|stat|suggest|say|said|conclu|evaluat|prefer|select|think)",
    re.IGNORECASE,
)
_AGREES = re.compile(r"\bI (?:\w+ )?agree\b", re.IGNORECASE)
_DENIED = re.compile(
    r"\bdisagree\b|(?:\bnot|\bcannot|n't) (?:\w+ )?(?:agree|believe|think|claim|say|conclude)\b", re.IGNORECASE
)
_ASKED = re.compile(r"\b(?:whether|if|which|either|or|nor)[\s\"',]*(?:therefore,? )?$", re.IGNORECASE)
_REFUSAL = re.compile(
    r"^\W*(?:I(?:'m| am) (?:sorry|unable|not able)|sorry\b|I (?:cannot|can't|can not|won't)\b)", re.IGNORECASE
)
_RATING = re.compile(
    r"\s*(?:(?:overall )?score(?: of the output)?(?: is)?:?\s*)?([0-9]{1,6})(?:\s*/\s*([0-9]{1,6}))?\.?\s*",
    re.IGNORECASE,
)


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
    """A file of recorded judgements. `content`: hash of the file. `records`: in file order. `bad`: the rows that were
    left out, each with its place and why."""

    path: Path
    content: str
    records: tuple[Record, ...] = field(repr=False)
    bad: tuple[str, ...] = ()

    @property
    def notes(self) -> tuple[str, ...]:
        """What was left out, for people."""
        if not self.bad:
            return ()
        rows = "1 bad row" if len(self.bad) == 1 else f"{len(self.bad):,} bad rows"
        return (f"recorded judgements: {rows} left out, the first {self.bad[0]}",)

    def counts(self) -> dict[str, int]:
        """The same in numbers, for the record of a run."""
        return {"records": len(self.records), "left_out": len(self.bad)}

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


def load_recording(path: Path, bad_rows: BadRows = "refuse") -> Recording:
    """Reads a recording. Raises MissingFile, or InputError naming file and line of what is not a judgement, unless
    that is to be skipped."""
    if not path.is_file():
        raise MissingFile(f"the recorded judgements {path} are not there: correct the path")
    records: list[Record] = []
    bad: list[str] = []
    for row in rows_of(path, json.loads):
        try:
            records.append(_record(row))
        except _NoRecord as error:
            bad.append(f"{row.place}: {error}")
    if bad and (bad_rows == "refuse" or not records):
        raise InputError(_refusal(bad, could_skip=bad_rows == "refuse"))
    if not records:
        raise InputError(f"{path} holds no judgements: it is empty")
    return Recording(path, digest_of([path])[:12], tuple(records), tuple(bad))


def _refusal(bad: Sequence[str], *, could_skip: bool) -> str:
    one, more = len(bad) == 1, len(bad) - _SHOWN
    lines = [f"  {each}" for each in bad[:_SHOWN]] + ([f"  and {more:,} more"] if more > 0 else [])
    fix = f"Fix {'it' if one else 'them'}, or set `bad_rows: skip` to leave out and count such rows."
    what = "1 row holds" if one else f"{len(bad):,} rows hold"
    return "\n".join([f"{what} no recorded judgement:", *lines, *([fix] if could_skip else [])])


def recorded_judge(
    recording: Recording, pairs: Sequence[LabelledPair], *, judge: str, method: str
) -> RecordedPairwise | RecordedPointwise:
    """The recorded judge for these labelled pairs: pointwise where it rated, else pairwise."""
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


class _NoRecord(Exception):
    """A row is not a recorded judgement, and why."""


def _record(found: FileRow) -> Record:
    if isinstance(found.values, Fault):
        what = "not JSON: " if found.values.kind == "json" else ""
        raise _NoRecord(f"{what}{found.values.told}")
    row = found.values
    try:
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
        raise _NoRecord(why) from error


def _completion(value: Any) -> Completion:
    text, finish = value
    if not isinstance(text, str) or not isinstance(finish, str):
        raise ValueError(f"a completion is [text, finish reason], both text; it is {value!r:.80}")
    return Completion(text, finish)


def read_order(text: str, finish: str) -> OrderVerdict:
    """What a judge said about (a), shown first, and (b), shown second. `finish`: why the text ended, or empty.

    LLMBar's own patterns search the whole text for (a) before (b), so an explanation that begins a paragraph with
    "Output (a)", or reports what another assistant argued, counts for (a). Here the last statement that the judge
    makes itself is its verdict.

    >>> read_order("Output (b) is better.\\n\\nOutput (a) leaves out the date.", "stop").winner
    'second'
    """
    if (cut := _cut(text, finish)) is not None:
        return OrderVerdict(cut[0], None, text, cut[1])
    # Every verdict that the judge gives in its own name: where it stands, and "a", "b" or "equal".
    statements = [(found.start(), "equal") for found in _EQUAL.finditer(text)]
    for found in _STATEMENT.finditer(text):
        if found["alone"] or _is_own(text, found.start()):
            statements.append((found.start(), next(name for name in found.groupdict().values() if name).lower()))
    if not statements:
        state, detail = _nothing(text, "names neither output as the better one")
        return OrderVerdict(state, None, text, detail)
    _, said = max(statements)
    if said == "equal":
        return OrderVerdict(JudgeState.TIE, None, text)
    return OrderVerdict(JudgeState.OK, "first" if said == "a" else "second", text)


def read_rating(text: str, finish: str) -> Rating:
    """A rating from 0 to 9, which must be all that the judge wrote. "8/10" is no 8: the scale ends at 9.

    >>> read_rating("10", "stop").detail
    'the rating 10 is off the scale of 0 to 9'
    """
    if (cut := _cut(text, finish)) is not None:
        return Rating(cut[0], None, text=text, detail=cut[1])
    found = _RATING.fullmatch(text)
    if found is None:
        state, detail = _nothing(text, "is not one integer")
        return Rating(state, None, text=text, detail=detail)
    score, out_of = int(found[1]), int(found[2] or SCALE[1])
    if out_of != SCALE[1] or not SCALE[0] <= score <= SCALE[1]:
        read = f"{score}/{out_of}" if found[2] else str(score)
        detail = f"the rating {read} is off the scale of {SCALE[0]} to {SCALE[1]}"
        return Rating(JudgeState.PARSE_FAILED, None, text=text, detail=detail)
    return Rating(JudgeState.OK, float(score), text=text)


def _is_own(text: str, start: int) -> bool:
    """Whether the statement that begins at `start` is the judge's: judged by its sentence up to there."""
    before = re.split(r"[.\n]", text[max(0, start - 400) : start])[-1]
    if _ASKED.search(before) or _DENIED.search(before):
        return False
    return _AGREES.search(before) is not None or _REPORTED.search(before) is None


def _cut(text: str, finish: str) -> tuple[JudgeState, str] | None:
    """The failure that the end of the text shows, whatever it says: more text could have taken a verdict back."""
    if finish in _FILTERED:
        return JudgeState.REFUSED, f"ended by the provider: {finish}"
    if finish == "length":
        return JudgeState.TRUNCATED, f"cut off at the length limit after {len(text)} characters"
    return None


def _nothing(text: str, why: str) -> tuple[JudgeState, str]:
    """The failure of a text without a verdict."""
    if not text.strip():
        return JudgeState.PARSE_FAILED, "the judge wrote nothing"
    state = JudgeState.REFUSED if _REFUSAL.match(text) else JudgeState.PARSE_FAILED
    return state, f"{text[:60]!r} {why}"


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
    bad_rows: BadRows = "refuse"
    """Whether a row that holds no judgement, or no labelled pair, ends the run or is left out and counted."""

    @property
    def files(self) -> tuple[str, ...]:
        return (self.path, self.pairs)

    def make(self, place: Place) -> Made:
        recording = load_recording(place.base / self.path, self.bad_rows)
        labelled = read_labelled(place.base / self.pairs, Reading(bad_rows=self.bad_rows))
        judge = recorded_judge(recording, labelled.pairs, judge=self.judge, method=self.method)
        notes = (*recording.notes, *(labelled.notes if labelled.left_out else ()))
        if isinstance(judge, RecordedPairwise):
            return Made(None, judge, notes=notes)
        return Made(judge, None, notes=notes)
