"""Gathers tasks row by row: finds repeated ids and prompts, and refuses bad rows all together.

What is the same prompt is decided after white space is made single; case and punctuation count, for `x` and `X` are
two unknowns. A repeated prompt with the same reference is left out; with another one, nobody can say which is right:
the row is bad, and with `bad_rows: skip` both are left out. Ids and prompts are known by 128-bit hashes, and the
tasks are in a store: what is held of a task while its source is read are about 300 bytes, whatever it says.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from fractions import Fraction

from stillroom.common.hashing import digest
from stillroom.common.records import Task
from stillroom.errors import TaskError
from stillroom.traces.tasks.reading import Found, RowReader
from stillroom.traces.tasks.records import UNWANTED, LeftOut, Problem, Row
from stillroom.traces.tasks.store import TaskSequence, TaskStore

SHOWN = 10


class Gathered:
    """The tasks of one source in row order, and what was left out of it.

    `apart_from`: the prompt hashes of the test split, which no task here may have.
    """

    def __init__(self, reader: RowReader, apart_from: Collection[bytes] = frozenset()) -> None:
        self.left_out: list[LeftOut] = []
        self._reader = reader
        self._apart_from = apart_from
        self._store = TaskStore()
        self._by_prompt: dict[bytes, int] = {}  # hash to place in the store
        self._by_id: dict[bytes, int] = {}
        self._doubtful: set[int] = set()

    @property
    def tasks(self) -> TaskSequence:
        """The tasks in row order, without those whose prompt came with two references."""
        return self._store.sequence(place for place in range(len(self._store)) if place not in self._doubtful)

    @property
    def keys(self) -> Collection[bytes]:
        """The hashes of all prompts seen."""
        return self._by_prompt.keys()

    def __len__(self) -> int:
        return len(self._store) - len(self._doubtful)

    def add(self, row: Row | LeftOut) -> None:
        """Takes one row, or what the source says about a bad one."""
        found = row if isinstance(row, LeftOut) else self._reader.read(row)
        bad = found if isinstance(found, LeftOut) else self._enter(found)
        if bad is not None:
            self.left_out.append(bad)

    def _enter(self, found: Found) -> LeftOut | None:
        task, prompt, name = found.task, _key(found.prompt), _key(found.task.id)
        if prompt in self._apart_from:
            return LeftOut(task.source, Problem.IN_TEST_SPLIT, "its prompt is in the test split")
        if prompt in self._by_prompt:
            return self._repeated(task, self._by_prompt[prompt])
        if name in self._by_id:
            first = self._store[self._by_id[name]]
            return LeftOut(task.source, Problem.DUPLICATE_ID, f"id {task.id!r} is also at {first.source}")
        self._by_prompt[prompt] = self._by_id[name] = self._store.add(task)
        return None

    def _repeated(self, task: Task, place: int) -> LeftOut:
        first = self._store[place]
        if same_reference(first.reference, task.reference):
            return LeftOut(task.source, Problem.DUPLICATE_PROMPT, f"the prompt of {first.source}")
        detail = f"reference {task.reference!r}, but {first.reference!r} at {first.source} for the same prompt"
        if place not in self._doubtful:
            self._doubtful.add(place)
            back = f"reference {first.reference!r}, but {task.reference!r} at {task.source} for the same prompt"
            self.left_out.append(LeftOut(first.source, Problem.CONTRADICTING_REFERENCE, back))
        return LeftOut(task.source, Problem.CONTRADICTING_REFERENCE, detail)


def _key(text: str) -> bytes:
    return bytes.fromhex(digest(text))


def same_reference(a: str | None, b: str | None) -> bool:
    """Whether two references say the same: equal text, or numbers of equal value ("1,000" and "1000.0")."""
    if a == b or a is None or b is None:
        return a == b
    return _value(a) == _value(b)


def _value(reference: str) -> Fraction | str:
    bare = "".join(reference.split())
    # Fraction builds 10**exponent: a reference of "1e999999999" must stay text.
    if len(bare) > 40 or "e" in bare.lower():
        return bare
    try:
        return Fraction(bare.replace(",", ""))
    except (ValueError, ZeroDivisionError):
        return bare


def refuse_bad_rows(left_out: Iterable[LeftOut]) -> None:
    """Raises one TaskError for all bad rows: the first ten in full, and how many more."""
    bad = [item for item in left_out if item.reason not in UNWANTED]
    if not bad:
        return
    lines = [f"  {item.source}: {item.reason.value}: {item.detail}" for item in bad[:SHOWN]]
    if len(bad) > SHOWN:
        lines.append(f"  and {len(bad) - SHOWN:,} more ({tally(bad)} in all)")
    rows = "1 row is not a task" if len(bad) == 1 else f"{len(bad):,} rows are not tasks"
    fix = "Fix them, or set `tasks.bad_rows: skip` to leave them out and have them counted."
    raise TaskError("\n".join([f"{rows}:", *lines, fix]))


def tally(items: Iterable[LeftOut]) -> str:
    """`missing_field 3, not_json 1`: most frequent first."""
    counts = Counter(item.reason.value for item in items)
    return ", ".join(f"{reason} {n:,}" for reason, n in sorted(counts.items(), key=lambda pair: (-pair[1], pair[0])))
