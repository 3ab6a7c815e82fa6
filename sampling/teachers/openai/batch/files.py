"""What is on disk about batches: for each its requests, a record of its progress, and its results.

    batches/b0001-3f2a9c41.requests.jsonl    the requests, written whole before anything is sent
    batches/b0001-3f2a9c41.json              which file and batch of the server they are, and what was done last
    batches/b0001-3f2a9c41.output.jsonl      the answers, whole or not there
    batches/b0001-3f2a9c41.errors.jsonl      the failures, whole or not there

A step that costs money is noted before it is taken (`creating`) and after, so that a process that was killed between
the two knows what to look for. Each file is put in place whole. A request is in hand while a batch that has it is
open, and answered once a batch brought an answer; the first answer counts. One process at a time uses a folder.

    with BatchFiles(folder / "batches") as files:
        batch = files.write([Line(name, data), …])
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple, Self, get_args

from filelock import FileLock, Timeout

from stillroom.common.files import replaced
from stillroom.common.hashing import digest
from stillroom.errors import LedgerError, RunError
from stillroom.sampling.teachers.openai.batch.lines import Place, Result, ids_in, result_at, results_in

State = Literal["written", "creating", "sent", "refused", "done"]
"""Only on disk; about to be created at the server; created there; refused as a whole; its results are here."""
OPEN: tuple[State, ...] = ("written", "creating", "sent")
_NAME = re.compile(r"b(\d{4,9})-[0-9a-f]{8}")
_REQUESTS = ".requests.jsonl"


class Line(NamedTuple):
    """A request as it is written, and its name."""

    custom_id: str
    data: bytes


@dataclass
class Batch:
    """One batch. `file_id`, `batch_id`: what the server calls its file and it, None until it is told. `waiting`:
    names of its requests that have no result so far, while it is open."""

    name: str
    folder: Path
    state: State = "written"
    file_id: str | None = None
    batch_id: str | None = None
    lines: int = 0
    waiting: set[str] = field(default_factory=set)

    @property
    def requests(self) -> Path:
        """The file of its requests."""
        return self.folder / f"{self.name}{_REQUESTS}"

    @property
    def output(self) -> Path:
        """The file of its answers."""
        return self.folder / f"{self.name}.output.jsonl"

    @property
    def errors(self) -> Path:
        """The file of its failures."""
        return self.folder / f"{self.name}.errors.jsonl"

    @property
    def record(self) -> Path:
        """The file that records its progress."""
        return self.folder / f"{self.name}.json"

    @property
    def open(self) -> bool:
        """Whether its results are still to come."""
        return self.state in OPEN

    def note(self, state: State, *, file_id: str | None = None, batch_id: str | None = None) -> None:
        """Notes its progress on disk. Raises RunError where the disk is full."""
        self.state = state
        self.file_id, self.batch_id = file_id or self.file_id, batch_id or self.batch_id
        known = {"state": state, "file_id": self.file_id, "batch_id": self.batch_id, "lines": self.lines}
        with replaced(self.record) as file:
            file.write(json.dumps(known, indent=1).encode() + b"\n")


class Taken(NamedTuple):
    """What the results of a batch came to. `answered`: new answers; `failed`: names with a failure and no answer;
    `missing`: names of its requests that no line is about. Lines that are of no use: `unknown`, about no request of
    the batch; `twice`, about one that had an answer; `unread`, which cannot be read."""

    answered: frozenset[str]
    failed: dict[str, Result]
    missing: frozenset[str]
    unknown: int
    twice: int
    unread: int


class BatchFiles:
    """The batches of a folder. Raises LedgerError where another process uses it, or it cannot be written."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.batches: list[Batch] = []
        self._answers: dict[str, tuple[Path, Place]] = {}
        self._in_hand: dict[str, Batch] = {}
        self._lock = FileLock(folder / ".lock", timeout=0)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._lock.acquire()
            self._load()
        except Timeout:
            raise LedgerError(f"another process exchanges batches in {folder}: wait for it to end") from None
        except OSError as error:
            self._lock.release()
            raise LedgerError(f"cannot use {folder}: {error.strerror or error}") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Gives the folder back. Safe to call twice."""
        self._lock.release()

    @property
    def open_batches(self) -> list[Batch]:
        """Those whose results are still to come, oldest first."""
        return [batch for batch in self.batches if batch.open]

    def batch_of(self, name: str) -> Batch | None:
        """The open batch that has a request; None where none has."""
        return self._in_hand.get(name)

    def answer(self, name: str) -> Result | None:
        """The answer to a request, where a batch brought one. Raises LedgerError where it cannot be read any more."""
        if (found := self._answers.get(name)) is None:
            return None
        try:
            return result_at(*found)
        except OSError as error:
            raise LedgerError(f"cannot read {found[0]}: {error.strerror or error}") from error

    def forget(self, name: str) -> None:
        """Takes an answer that nobody can use for none, so that the request may be asked again."""
        self._answers.pop(name, None)

    def write(self, lines: Sequence[Line]) -> Batch:
        """A new batch with these requests, whole on disk. Raises RunError where the disk is full."""
        number = 1 + max((int(found[1]) for b in self.batches if (found := _NAME.fullmatch(b.name))), default=0)
        ids = [line.custom_id for line in lines]
        batch = Batch(f"b{number:04}-{digest([str(self.folder.resolve()), number, ids], 8)}", self.folder)
        with replaced(batch.requests) as file:
            file.writelines(line.data for line in lines)
        self._take_in(batch, ids)
        return batch

    def finish(self, batch: Batch) -> Taken:
        """Reads the results of a batch, whose files are in place, and closes it."""
        taken = self._index(batch)
        self._let_go(batch, "done")
        return taken

    def refuse(self, batch: Batch) -> None:
        """Closes a batch that the server refused as a whole: its requests are in nobody's hands."""
        self._let_go(batch, "refused")

    def _let_go(self, batch: Batch, state: State) -> None:
        batch.note(state)
        for name in batch.waiting:
            if self._in_hand.get(name) is batch:
                del self._in_hand[name]
        batch.waiting = set()

    def _take_in(self, batch: Batch, ids: Sequence[str]) -> None:
        batch.lines, batch.waiting = len(ids), set(ids)
        self.batches.append(batch)
        self._in_hand |= dict.fromkeys(ids, batch)

    def _load(self) -> None:
        """Reads what is there. A file of requests without a record was never sent."""
        for path in sorted(self.folder.glob(f"*{_REQUESTS}")):
            batch = Batch(path.name.removesuffix(_REQUESTS), self.folder)
            if not _NAME.fullmatch(batch.name):
                continue
            known = _record_of(batch)
            batch.state = known.get("state", "written")
            batch.file_id, batch.batch_id = known.get("file_id"), known.get("batch_id")
            ids = ids_in(path)
            if batch.open:
                self._take_in(batch, ids)
                continue
            batch.lines, batch.waiting = len(ids), set(ids)
            self.batches.append(batch)
            if batch.state == "done":
                self._index(batch)
            batch.waiting = set()

    def _index(self, batch: Batch) -> Taken:
        """Notes where the answers to a batch stand, and counts what else its files hold."""
        answered, failed = set[str](), dict[str, Result]()
        unknown = twice = unread = 0
        for path in (batch.output, batch.errors):
            for place, result in _results(path):
                if result is None:
                    unread += 1
                elif result.custom_id not in batch.waiting:
                    unknown += 1
                elif result.custom_id in answered or (result.custom_id in failed and not result.answered):
                    twice += 1
                elif result.answered:
                    failed.pop(result.custom_id, None)
                    answered.add(result.custom_id)
                    self._answers.setdefault(result.custom_id, (path, place))
                else:
                    failed[result.custom_id] = result
        missing = frozenset(batch.waiting - answered - failed.keys())
        return Taken(frozenset(answered), failed, missing, unknown, twice, unread)


def _results(path: Path) -> Iterator[tuple[Place, Result | None]]:
    try:
        if path.is_file():
            yield from results_in(path)
    except OSError as error:
        raise LedgerError(f"cannot read {path}: {error.strerror or error}") from error


def _record_of(batch: Batch) -> dict[str, Any]:
    """What the record of a batch says; nothing where there is none. Raises RunError for one that makes no sense:
    sending its requests again might buy them twice."""
    try:
        text = batch.record.read_bytes()
    except FileNotFoundError:
        return {}
    try:
        known = json.loads(text)
        state, ids = known["state"], [known["file_id"], known["batch_id"]]
        if state not in get_args(State) or not all(one is None or isinstance(one, str) for one in ids):
            raise ValueError
    except (ValueError, LookupError, TypeError):
        raise RunError(
            f"{batch.record} is damaged, and says which batch of the server has the requests in "
            f"{batch.requests.name}: bring it back from a copy; or remove both files, after which those requests "
            "are paid for again"
        ) from None
    return dict(known)
