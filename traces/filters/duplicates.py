"""`dedup`: the same trace again.

**Exact**, always: equal text after case, white space and Unicode forms are made one. Within a task any repeat goes;
between tasks only one of at least `across_words` words, since short answers ("3 + 4 = 7. The answer is 7.") are
rightly shared by tasks that ask the same in other words.

**Near**, with `near`: within a task, traces whose sets of word triples have a Jaccard similarity of at least `near`.
Numbers count as words, so two derivations with other numbers are far apart. Candidates come from MinHash and LSH
(Broder 1997; datasketch), and each is then compared exactly: chance never drops a trace, and with the fixed seed of
the hashes the outcome is the same on every machine. `scope: all` compares between tasks too, which for tasks made
from one template drops sound traces.

The first in the order of the traces stays.

    filters: [dedup]
    filters: [{dedup: {near: 0.8}}]
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from typing import Any, ClassVar, Literal

from pydantic import Field

from stillroom.errors import MissingExtra
from stillroom.sampling.hashing import digest
from stillroom.sampling.records import Task
from stillroom.traces.filters.base import Check, Finding, Settings
from stillroom.traces.filters.words import tokens
from stillroom.traces.traces import Trace

PERMUTATIONS = 128
SHINGLE = 3
MISSED = 0.001
"""Share of the pairs just at the limit that may be missed."""
MAX_WORDS = 20_000
"""Words that are compared: an endless text must not fill the memory."""
_SEED = 1


class Dedup(Settings):
    """Reasons: same_text, same_text_as_other_task, near_duplicate. `near`: Jaccard similarity (None: exact)."""

    name: Literal["dedup"] = "dedup"
    short: ClassVar[str | None] = "near"
    near: float | None = Field(default=None, gt=0, le=1)
    scope: Literal["task", "all"] = "task"
    across_words: int = Field(default=20, ge=1)

    def start(self, test: Sequence[Task]) -> Check:
        """A check that remembers the traces it has let pass."""
        exact = _Exact(self.across_words)
        near = None if self.near is None else _Near(self.near, self.scope)

        def check(trace: Trace) -> Finding | None:
            found = exact.find(trace) or (near.find(trace) if near else None)
            if found is None:
                exact.add(trace)
                if near:
                    near.add(trace)
            return found

        return check


class _Exact:
    def __init__(self, across_words: int) -> None:
        self._across_words = across_words
        self._by_task: dict[tuple[str, str], Trace] = {}
        self._by_text: dict[str, Trace] = {}

    def find(self, trace: Trace) -> Finding | None:
        key = _key(trace)
        same = self._by_task.get((trace.task.id, key))
        if same is not None:
            return Finding("same_text", f"as draw {same.attempt.index} of the task")
        other = self._by_text.get(key)
        if other is None or len(tokens(trace.full_text)) < self._across_words:
            return None
        return Finding("same_text_as_other_task", f"as draw {other.attempt.index} of task {other.task.id}")

    def add(self, trace: Trace) -> None:
        key = _key(trace)
        self._by_task[trace.task.id, key] = trace
        self._by_text.setdefault(key, trace)


def _key(trace: Trace) -> str:
    text = unicodedata.normalize("NFKC", trace.full_text).casefold()
    return digest(" ".join(text.split()))


class _Near:
    """LSH finds candidates, the exact similarity decides."""

    def __init__(self, threshold: float, scope: str) -> None:
        self._threshold = threshold
        self._scope = scope
        self._module = _datasketch()
        self._lsh = self._module.MinHashLSH(num_perm=PERMUTATIONS, params=_bands(threshold))
        self._traces: list[Trace] = []
        self._sets: list[frozenset[str]] = []
        self._last: tuple[Trace, frozenset[str], Any] | None = None

    def find(self, trace: Trace) -> Finding | None:
        shingles, sketch = self._sketch(trace)
        for number in sorted(self._lsh.query(sketch)):
            similarity = _jaccard(shingles, self._sets[number])
            if similarity >= self._threshold:
                other = self._traces[number]
                detail = f"similarity {similarity:.2f} to draw {other.attempt.index} of task {other.task.id}"
                return Finding("near_duplicate", f"{detail}, the limit is {self._threshold:g}")
        return None

    def add(self, trace: Trace) -> None:
        shingles, sketch = self._sketch(trace)
        self._lsh.insert(len(self._traces), sketch)
        self._traces.append(trace)
        self._sets.append(shingles)

    def _sketch(self, trace: Trace) -> tuple[frozenset[str], Any]:
        """Shingles and MinHash of a trace; those of the last one are kept, since `add` follows `find`."""
        if self._last is None or self._last[0] is not trace:
            shingles = self._shingles(trace)
            sketch = self._module.MinHash(num_perm=PERMUTATIONS, seed=_SEED)
            sketch.update_batch([shingle.encode("utf-8", "replace") for shingle in sorted(shingles)])
            self._last = (trace, shingles, sketch)
        return self._last[1], self._last[2]

    def _shingles(self, trace: Trace) -> frozenset[str]:
        words = tokens(trace.full_text)[:MAX_WORDS]
        runs = [" ".join(words[i : i + SHINGLE]) for i in range(max(1, len(words) - SHINGLE + 1))]
        # The task's id in each shingle keeps traces of other tasks from being candidates at all.
        mark = f"{trace.task.id}\n" if self._scope == "task" else ""
        return frozenset(mark + run for run in runs)


def _bands(threshold: float) -> tuple[int, int]:
    """Bands and rows of the LSH: as many rows as still miss at most `MISSED` of the pairs at the threshold.

    A pair of similarity s is missed with probability (1 - s^rows)^bands (Leskovec, Rajaraman and Ullman, Mining of
    Massive Datasets, chapter 3). The library's own choice weighs misses against false candidates; here a false
    candidate costs time only.
    """
    for rows in range(PERMUTATIONS // 4, 1, -1):
        bands = PERMUTATIONS // rows
        if (1 - threshold**rows) ** bands <= MISSED:
            return bands, rows
    return PERMUTATIONS, 1


def _jaccard(a: frozenset[str], b: frozenset[str]) -> float:
    return len(a & b) / len(a | b)


def _datasketch() -> Any:
    try:
        import datasketch
    except ImportError as error:
        raise MissingExtra("the filter dedup with `near`", "datasketch", "train") from error
    return datasketch
