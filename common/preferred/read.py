"""Reads a file of preferences: detects its layout, puts the answers to one prompt together, counts what is left out.

    found = read_preferences(Path("hh.jsonl"), "the pairs", Reading(bad_rows="skip"))
    found.rows[0].what.winner, found.notes(), found.counts()

What it refuses, all at once and with file and line, before anything is paid for: rows that are not of the layout, an
answer that is missing, two equal answers, a label that is not understood, an id twice. Conversations that part before
their last turns are counted and left out: they are good rows, but no pair of single answers.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from stillroom.common.fields import has_field
from stillroom.common.files import at_home
from stillroom.common.preferred.base import (
    MODELS,
    PROMPTS,
    Flaw,
    Layout,
    Preferred,
    Reading,
    RowFault,
    Values,
    Winner,
    layouts,
)
from stillroom.common.preferred.chosen import NAMES as CHOSEN
from stillroom.common.preferred.compared import NAMES as COMPARED
from stillroom.common.preferred.compared import are_two
from stillroom.common.preferred.scored import NAMES as SCORED
from stillroom.common.preferred.winners import most_said
from stillroom.common.row_files import Fault, FileRow, files_of, rows_of
from stillroom.common.row_files.data_sets import DataSet, DataSetRows
from stillroom.common.turns import picture_in
from stillroom.errors import InputError, MissingFile

_PEEKED = 20  # rows that a layout is told from
_SHOWN = 10  # bad rows named in one message
_PEOPLE = ("annotator", "annotator_id", "rater", "rater_id", "judge", "worker", "worker_id", "reviewer", "user_id")
"""Columns that say who judged."""
_FLIPPED: dict[Winner, Winner] = {"a": "b", "b": "a", "tie": "tie"}


class Placed(NamedTuple):
    """A preference. `name`: its id, else the place of its first row; no other has it. `place`: that place, short."""

    name: str
    place: str
    what: Preferred


class Left(NamedTuple):
    """A row that gives no preference."""

    place: str
    reason: Flaw
    detail: str


@dataclass(frozen=True, slots=True)
class PreferenceRows:
    """What a file holds. `detected`: the layout was not named. `seen`: rows of the file. `joined`: rows that were put
    to an earlier one, of the same prompt or the same two answers. `left_out`: in file order."""

    path: Path
    layout: str
    detected: bool
    seen: int
    joined: int
    rows: tuple[Placed, ...]
    left_out: tuple[Left, ...]

    def counts(self) -> dict[str, Any]:
        """Plain data, for the record of a run. `unpaired`: prompts with a single answer. `ties`: of comparisons.
        `voted`: comparisons that several people judged; `split`: of them, those on which they differ."""
        voted = [row.what for row in self.rows if len(row.what.votes) > 1]
        return {
            "layout": self.layout,
            "rows": self.seen,
            "prompts" if self._scored else "comparisons": len(self.rows),
            "joined": self.joined,
            "ties": sum(_is_tie(row.what) for row in self.rows),
            "unpaired": sum(len(row.what.answers) < 2 for row in self.rows),
            "voted": len(voted),
            "split": sum(len(set(each.votes)) > 1 for each in voted),
            "left_out": {
                reason.value: n for reason, n in sorted(Counter(each.reason for each in self.left_out).items())
            },
        }

    @property
    def _scored(self) -> bool:
        return any(row.what.winner is None for row in self.rows)

    def summary(self) -> str:
        """How much there is, in a line."""
        counts, what = self.counts(), "prompts with scored answers" if self._scored else "comparisons"
        return (
            f"{len(self.rows):,} {what} in {self.seen:,} rows of {self.path.name}; {counts['ties']:,} ties, "
            f"{counts['unpaired']:,} with one answer only"
        )

    def notes(self) -> Iterator[str]:
        """What a user should be told besides: how it was read, and what was left out."""
        counts = self.counts()
        if self.detected:
            yield f"rows are read with layout: {self.layout} ({layouts[self.layout].about})"
        if counts["voted"]:
            yield f"{counts['voted']:,} were judged more than once, {counts['split']:,} differently: most decide"
        if counts["left_out"]:
            told = ", ".join(f"{name.replace('_', ' ')} {n:,}" for name, n in counts["left_out"].items())
            yield f"{len(self.left_out):,} rows left out: {told} (such as {self.left_out[0].place})"
        if judge := layouts[self.layout].judged_by:
            yield f"these preferences are {judge}'s, not people's"


def _is_tie(what: Preferred) -> bool:
    if what.winner is not None:
        return what.winner == "tie"
    scores = [answer.score for answer in what.answers if answer.score is not None]
    return len(scores) > 1 and max(scores) == min(scores)


class FileRows:
    """The rows of files, as often as they are asked for."""

    def __init__(self, files: Sequence[Path]) -> None:
        self._files = files

    def __iter__(self) -> Iterator[FileRow]:
        return (row for file in self._files for row in rows_of(file, json.loads))  # scores of others may be NaN


class _Opened(NamedTuple):
    """Rows that may be gone through several times; what they are called; whether their places need no folder."""

    rows: FileRows | DataSetRows
    path: Path
    one_file: bool


def _opened(path: str | Path, key: str, how: Reading, base: Path) -> _Opened:
    """Raises MissingFile, or InputError."""
    if how.source == "hf":
        data = DataSet(str(path), how.name, how.split or "train")
        return _Opened(data.rows(base, key), Path(data.where), one_file=True)
    where = base / at_home(path)
    try:
        files = files_of(where, key, split=how.split)
    except MissingFile as error:
        if re.fullmatch(r"[\w.-]+/[\w.-]+", str(path)) and not Path(path).suffix:
            raise MissingFile(f"{error}; to take the data set {path} from the hub, set source: hf") from None
        raise
    return _Opened(FileRows(files), where, len(files) == 1)


def read_preferences(path: str | Path, key: str, how: Reading | None = None, base: Path = Path()) -> PreferenceRows:
    """The preferences of the files that `path` names, or of a data set. `key`: what the path is of, for messages;
    `base`: where a relative path starts.

    Raises MissingFile, or InputError naming file and line of what is wrong.
    """
    how = how or Reading()
    rows, where, one_file = _opened(path, key, how, base)
    return _read(rows, where, key, how, one_file=one_file)


def _read(rows: FileRows | DataSetRows, path: Path, key: str, how: Reading, *, one_file: bool) -> PreferenceRows:
    layout = how.layout or _detected(rows, path, how)
    if layout not in layouts:
        raise InputError(f"{key}: {layouts.unknown(layout, set(layouts), 'layout')}")
    gathered = _Gathered(layouts[layout](), how.prefer, one_file=one_file)
    for row in rows:
        gathered.add(row)
    bad = [left for left in gathered.left_out if left.reason is not Flaw.SEVERAL_TURNS]
    if bad and how.bad_rows == "refuse":
        raise InputError(_refusal(path, layout, bad))
    if not gathered.rows:
        told = f": {_refusal(path, layout, bad)}" if bad else f": {gathered.seen:,} rows, none of which gives one"
        raise InputError(f"{path} holds no preference that can be read{told}")
    found = tuple(gathered.rows.values())
    return PreferenceRows(
        path, layout, how.layout is None, gathered.seen, gathered.joined, found, tuple(gathered.left_out)
    )


_KNOWN = frozenset({*PROMPTS, *MODELS, *COMPARED, *SCORED, *CHOSEN, *_PEOPLE, "id"})


def plain_names(values: dict[str, Any]) -> dict[str, Any]:
    """The row with the headings of a spreadsheet as layouts call them: "Response A" is `response_a`."""
    found = {}
    for name, value in values.items():
        plain = _plain(name)
        found[plain if plain in _KNOWN and plain not in values and plain not in found else name] = value
    return found


def _plain(name: str) -> str:
    return re.sub(r"[\s\-]+", "_", name.strip()).casefold()


def detected(rows: Sequence[Values]) -> str | None:
    """The one layout that all rows are plainly of; None where there is none, or more than one."""
    found = [name for name, kind in layouts.items() if rows and all(kind().fits(row) for row in rows)]
    return found[0] if len(found) == 1 else None


def first_rows(rows: Iterable[FileRow]) -> list[dict[str, Any]]:
    """The first rows that can be read at all, from which a layout is told."""
    found: list[dict[str, Any]] = []
    for row in rows:
        if not isinstance(row.values, Fault):
            found.append(plain_names(row.values))
        if len(found) == _PEEKED:
            break
    return found


def _detected(found_rows: FileRows | DataSetRows, path: Path, how: Reading) -> str:
    """Raises InputError where the layout cannot be told."""
    rows = first_rows(found_rows)
    if not rows:
        faults = (f"{row.short}: {row.values.told}" for row in found_rows if isinstance(row.values, Fault))
        fault = next(faults, "")
        raise InputError(f"{path} holds no preference{f': {fault}' if fault else ': it is empty'}")
    if (found := detected(rows)) is not None:
        return found
    if how.prefer is not None and all(are_two(row) and has_field(row, how.prefer) for row in rows):
        return "comparison"
    fits = {name: sum(kind().fits(row) for row in rows) for name, kind in layouts.items()}
    near = [name for name, n in sorted(fits.items(), key=lambda item: -item[1]) if n]
    if len(near) == 1 and fits[near[0]] * 2 >= len(rows):  # mostly of one: its bad rows are named by their lines
        return near[0]
    hint = f"the first rows are of {' and of '.join(near)}" if near else "the first rows are of none"
    if not near and all(map(are_two, rows)):
        hint = "two answers, but no column of labels that is known by its name: give it with prefer"
    have = ", ".join(repr(str(name)[:30]) for name in list(rows[0])[:10])
    raise InputError(
        f"{path}: the layout of these preferences cannot be told: {hint} (row 1 has: {have}). Name it: "
        f"{', '.join(layouts)}"
    )


def _refusal(path: Path, layout: str, bad: Sequence[Left]) -> str:
    lines = "".join(f"\n  {left.place}: {left.reason}: {left.detail}" for left in bad[:_SHOWN])
    more = f"\n  and {len(bad) - _SHOWN:,} more" if len(bad) > _SHOWN else ""
    one = "1 row is" if len(bad) == 1 else f"{len(bad):,} rows are"
    return (
        f"{path}: {one} not of the layout {layout} ({layouts[layout].about}):{lines}{more}\nFix them, or leave them "
        "out and have them counted with bad_rows: skip"
    )


class _Gathered:
    """Takes rows one by one, and puts to an earlier one what belongs to it."""

    def __init__(self, layout: Layout, prefer: str | None, *, one_file: bool) -> None:
        self._layout, self._prefer, self._one_file = layout, prefer, one_file
        self.rows: dict[Any, Placed] = {}
        self.left_out: list[Left] = []
        self.seen = self.joined = 0
        self._ids: dict[str, tuple[str, Any]] = {}

    def add(self, row: FileRow) -> None:
        self.seen += 1
        try:
            if isinstance(row.values, Fault):
                what = "not JSON: " if row.values.kind == "json" else ""
                raise RowFault(Flaw.NOT_READ, f"{what}{row.values.told}")
            values = plain_names(row.values)
            if (name := picture_in(values)) is not None:
                raise RowFault(Flaw.NOT_TEXT, f"the field {name!r} holds an image or a sound: only texts are read")
            prefer = self._prefer
            if prefer in row.values and prefer not in values:
                prefer = _plain(str(prefer))
            self._take(row, self._layout.read(values, prefer))
        except RowFault as fault:
            self.left_out.append(Left(row.short, fault.reason, fault.detail))
        except InputError as error:
            raise InputError(f"{row.place}: {error}") from None

    def _take(self, row: FileRow, found: Preferred) -> None:
        key = _key(found, by_prompt=self._layout.grouped and found.winner is None)
        name = row.short if self._one_file else row.place
        if found.id is not None:
            first, its_key = self._ids.setdefault(found.id, (row.short, key))
            if its_key != key:
                raise RowFault(Flaw.DUPLICATE_ID, f"the id {found.id!r} is that of {first}, whose answers are others")
            name = found.id
        if (known := self.rows.get(key)) is None:
            self.rows[key] = Placed(name, row.short, found)
            return
        self.joined += 1
        self.rows[key] = known._replace(what=_joined(known.what, found))


def _key(found: Preferred, *, by_prompt: bool) -> Any:
    """What rows that belong together share: the prompt, or the prompt and both answers. The same answers under
    another id are another item, unless a column says who judged."""
    if by_prompt:
        return found.prompt
    texts = frozenset(answer.text for answer in found.answers)
    by_person = any(name in found.rest for name in _PEOPLE)
    return (found.prompt, texts, None if by_person else found.id)


def _joined(first: Preferred, other: Preferred) -> Preferred:
    """Two rows of one prompt with scored answers, or two judgements of the same two answers."""
    if first.winner is None or other.winner is None:
        known = set(first.answers)
        return replace(first, answers=(*first.answers, *(each for each in other.answers if each not in known)))
    same = first.answers[0].text == other.answers[0].text
    votes = other.votes or (other.winner,)
    votes = (*(first.votes or (first.winner,)), *(votes if same else (_FLIPPED[vote] for vote in votes)))
    return replace(first, winner=most_said(votes), votes=votes)
