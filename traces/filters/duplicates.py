"""`dedup`: the same trace again.

**Exact**, always: equal text after case, white space and Unicode forms are made one. Within a task any repeat goes;
between tasks only one of at least `across_words` words, since short answers ("3 + 4 = 7. The answer is 7.") are
rightly shared by tasks that ask the same in other words.

**Near**, with `near`: within a task, traces whose sets of word triples have a Jaccard similarity of at least `near`.
Numbers count as words, so two derivations with other numbers are far apart. Candidates come from MinHash and LSH
(Broder 1997; datasketch), and each is then compared whole: chance never drops a trace, and with the fixed seed of
the hashes the outcome is the same on every machine. `scope: all` compares between tasks too, which for tasks made
from one template drops sound traces.

The first in the order of the traces stays. Give them by task, then by draw: within a task, what came before is
forgotten when the next one begins. What is held are hashes: about 200 bytes a trace that stays; with `scope: all`,
8 bytes a word more.

    filters: [dedup]
    filters: [{dedup: {near: 0.8}}]
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from typing import Any, ClassVar, Literal, NamedTuple

from pydantic import Field

from stillroom.common.hashing import digest
from stillroom.common.records import Task
from stillroom.common.similarity import MAX_WORDS, PERMUTATIONS, SEED, SHINGLE, bands, datasketch
from stillroom.common.text import tokens
from stillroom.traces.filters.base import Check, FilterSettings, Finding, filters
from stillroom.traces.trace import Trace


@filters.register
class Dedup(FilterSettings):
    """Reasons: same_text, same_text_as_other_task, near_duplicate."""

    name: Literal["dedup"] = "dedup"
    short: ClassVar[str | None] = "near"
    near: float | None = Field(default=None, gt=0, le=1)
    """Jaccard similarity of word triples from which two traces count as the same; null: only equal texts."""
    scope: Literal["task", "all"] = "task"
    """Whether near duplicates are looked for within a task or among all."""
    across_words: int = Field(default=20, ge=1)
    """Words from which an equal text counts as a duplicate between tasks."""

    def start(self, test: Sequence[Task]) -> Check:
        """A check that remembers the traces it has let pass: a hash of each text, and whose it was."""
        by_text: dict[bytes, _Seen] = {}
        again: dict[tuple[str, bytes], _Seen] = {}  # of later tasks that have the text too
        near = None if self.near is None else _Near(self.near, self.scope)

        def check(trace: Trace) -> Finding | None:
            text = unicodedata.normalize("NFKC", trace.full_text).casefold()
            key, seen = bytes.fromhex(digest(" ".join(text.split()))), _Seen(trace.task.id, trace.attempt.index)
            other = by_text.get(key)
            if other is not None:
                same = other if other.task_id == seen.task_id else again.get((seen.task_id, key))
                if same is not None:
                    return Finding("same_text", f"as draw {same.draw} of the task")
                if len(tokens(trace.full_text)) >= self.across_words:
                    return Finding("same_text_as_other_task", f"as draw {other.draw} of task {other.task_id}")
            found = None if near is None else near.look(trace, seen)
            if found is None and by_text.setdefault(key, seen) is not seen:
                again[seen.task_id, key] = seen
            return found

        return check


class _Seen(NamedTuple):
    """A trace that passed: all that is held of it in addition to hashes."""

    task_id: str
    draw: int


class _Near:
    """LSH finds candidates, the similarity of the sets decides. Of a trace that passed, the hashes of its shingles
    are held; within `scope: task`, until the next task begins."""

    def __init__(self, threshold: float, scope: str) -> None:
        self._threshold, self._scope = threshold, scope
        self._module = datasketch("the filter dedup with `near`")
        self._forget()

    def _forget(self) -> None:
        self._lsh = self._module.MinHashLSH(num_perm=PERMUTATIONS, params=bands(self._threshold))
        self._seen: list[_Seen] = []
        self._hashes: list[Any] = []

    def look(self, trace: Trace, seen: _Seen) -> Finding | None:
        """Why the trace goes; it is held where it stays."""
        import numpy as np

        if self._scope == "task" and self._seen and seen.task_id != self._seen[-1].task_id:
            self._forget()
        words = tokens(trace.full_text)[:MAX_WORDS]
        # The task's id in each shingle keeps traces of other tasks from being candidates at all.
        mark = f"{seen.task_id}\n" if self._scope == "task" else ""
        runs = range(max(1, len(words) - SHINGLE + 1))
        shingles = {mark + " ".join(words[i : i + SHINGLE]) for i in runs}
        sketch = self._module.MinHash(num_perm=PERMUTATIONS, seed=SEED)
        sketch.update_batch([shingle.encode("utf-8", "replace") for shingle in sorted(shingles)])
        # 8 bytes a shingle, and not about 100. Two sets of `MAX_WORDS` shingles share a hash by chance with a
        # probability of 2e-11.
        hashes = np.unique(np.fromiter(map(hash, shingles), dtype=np.int64, count=len(shingles)))
        for number in sorted(self._lsh.query(sketch)) if self._seen else ():
            other = self._hashes[number]
            shared = len(np.intersect1d(hashes, other, assume_unique=True))
            similarity = shared / (len(hashes) + len(other) - shared)
            if similarity >= self._threshold:
                draw, task = self._seen[number].draw, self._seen[number].task_id
                detail = f"similarity {similarity:.2f} to draw {draw} of task {task}"
                return Finding("near_duplicate", f"{detail}, the limit is {self._threshold:g}")
        self._lsh.insert(len(self._seen), sketch)
        self._seen.append(seen)
        self._hashes.append(hashes)
        return None
