"""From what was drawn to candidates, task by task: several sources, each kept on what it wrote.

    drawn = [Drawn("teacher", outcomes), Drawn("student", own, on_policy=True)]
    gathered = gather(drawn, order=tasks)
    slates = slates_of(gathered, judged)          # judged: a Judged for each candidate, joined by id

A recording is a source like any other: replay it through the core (`stillroom.sampling.teachers.recorded`), one
source for each model in it. Thinking is cut off: what is compared, and later learned, is the answer.

Texts of one task that are equal but for white space become one candidate: an answer must never meet itself in a pair.
The student's own comes first, then the earlier source, then the earlier draw. Left out, with a reason: `truncated`,
`filtered` (the server cut it for its content), `empty`, and `template_tokens` (marks of a chat template inside the
text, which a tokenizer would read as turns).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from stillroom.common.marks import opened_by_template, split_thinking
from stillroom.common.records import Attempt, Outcome, ScoredAttempt, Task, Verdict
from stillroom.errors import InputError
from stillroom.preferences.records import Candidate, Judged, LeftOut, Slate

# Of ChatML, Llama 2 and 3, Gemma, Phi, Mistral, Cohere, and the end of GPT-2's documents.
TEMPLATE_TOKEN = re.compile(
    r"<\|(?:im_start|im_end|im_sep|endoftext|end_of_text|begin_of_text|start_header_id|end_header_id|eot_id|eom_id"
    r"|system|user|assistant|end|START_OF_TURN_TOKEN|END_OF_TURN_TOKEN|pad)\|>"
    r"|<(?:start_of_turn|end_of_turn|bos|eos)>|\[/?INST\]|<</?SYS>>|</s>|<s>(?=\s*\[INST\])"
)


@dataclass(frozen=True, slots=True)
class Drawn:
    """What one source wrote. `name`: kept on every candidate, other for each source. `on_policy`: the student that
    will be trained wrote it."""

    name: str
    outcomes: Iterable[Outcome]
    on_policy: bool = False


class Merged(NamedTuple):
    """Candidates of one text: the id that stays, and the ids that went."""

    kept: str
    same: tuple[str, ...]


class Gathered(NamedTuple):
    """The candidates of each task, by its id, in the order of the tasks; a task without candidates has none there.

    `verdicts`: what the core's scorer said about a candidate, by its id. `counts`: by source, what was drawn, kept,
    merged, left out for which reason, and how many requests failed.
    """

    tasks: tuple[Task, ...]
    by_task: Mapping[str, tuple[Candidate, ...]]
    verdicts: Mapping[str, Verdict]
    left_out: tuple[LeftOut, ...]
    merged: tuple[Merged, ...]
    counts: Mapping[str, Mapping[str, int]]

    @property
    def candidates(self) -> Iterator[Candidate]:
        """All of them, by task."""
        return (candidate for found in self.by_task.values() for candidate in found)


def same_text(text: str) -> str:
    """What two texts have in common that differ in white space only."""
    return " ".join(text.split())


def answer_of(attempt: Attempt) -> str:
    """The answer without its thinking part; empty where the thinking was never ended.

    >>> answer_of(Attempt("t", 0, "<think>Hm.</think>Yes.", None, "stop", 1, 9, None, 0.1, "m"))
    'Yes.'
    """
    return split_thinking(attempt.text, opened=opened_by_template(attempt.text)).text.strip()


def gather(drawn: Sequence[Drawn], *, order: Sequence[Task]) -> Gathered:
    """The candidates of the tasks in `order`; outcomes of other tasks are not part of it.

    Raises InputError where two sources have one name, or two tasks one id.
    """
    _only_once([source.name for source in drawn], "two sources are called", "give each its own name")
    _only_once([task.id for task in order], "two tasks have the id", "candidates are joined by it")
    return _Gathering(drawn, order).result()


class _Gathering:
    def __init__(self, drawn: Sequence[Drawn], order: Sequence[Task]) -> None:
        self._order = order
        self._verdicts: dict[str, Verdict] = {}
        self._left_out: list[LeftOut] = []
        self._merged: list[Merged] = []
        self._counts: dict[str, Counter[str]] = {source.name: Counter() for source in drawn}
        # The student's own first: where a teacher wrote the same, the pair is on policy all the same.
        ranked = sorted(drawn, key=lambda source: not source.on_policy)
        self._sources = [(source, {outcome.task.id: outcome for outcome in source.outcomes}) for source in ranked]

    def result(self) -> Gathered:
        by_task = {task.id: self._of_task(task.id) for task in self._order}
        counts = {name: dict(sorted(found.items())) for name, found in self._counts.items()}
        return Gathered(
            tuple(self._order), by_task, self._verdicts, tuple(self._left_out), tuple(self._merged), counts
        )

    def _of_task(self, task_id: str) -> tuple[Candidate, ...]:
        by_text: dict[str, list[Candidate]] = {}
        for source, outcomes in self._sources:
            outcome = outcomes.get(task_id)
            if outcome is None:
                continue
            self._counts[source.name]["failed_requests"] += outcome.failed
            for scored in sorted(outcome.attempts, key=lambda scored: scored.attempt.index):
                candidate = self._candidate(source, task_id, scored)
                if candidate is not None:
                    by_text.setdefault(same_text(candidate.text), []).append(candidate)
        return tuple(self._one_of(same) for same in by_text.values())

    def _candidate(self, source: Drawn, task_id: str, scored: ScoredAttempt) -> Candidate | None:
        attempt, text = scored.attempt, answer_of(scored.attempt)
        candidate = Candidate(task_id, source.name, attempt.index, text, attempt.completion_tokens, source.on_policy)
        self._counts[source.name]["drawn"] += 1
        reason = _unfit(attempt, text)
        if reason is not None:
            self._counts[source.name][reason] += 1
            self._left_out.append(LeftOut(candidate.id, reason))
            return None
        self._verdicts[candidate.id] = scored.verdict
        return candidate

    def _one_of(self, same: Sequence[Candidate]) -> Candidate:
        first, *others = same
        self._counts[first.source]["kept"] += 1
        for other in others:
            self._counts[other.source]["merged"] += 1
        if others:
            self._merged.append(Merged(first.id, tuple(other.id for other in others)))
        return first


def _unfit(attempt: Attempt, text: str) -> str | None:
    if attempt.finish_reason == "length":
        return "truncated"
    if attempt.finish_reason == "content_filter":
        return "filtered"
    if not text:
        return "empty"
    return "template_tokens" if TEMPLATE_TOKEN.search(text) else None


class Slates(NamedTuple):
    """Slates in the order of the tasks. `left_out`: tasks without a candidate, candidates without a judgement."""

    slates: tuple[Slate, ...]
    left_out: tuple[LeftOut, ...]


def slates_of(
    gathered: Gathered, judged: Iterable[Judged], *, ends: Mapping[str, tuple[str | None, str | None]] | None = None
) -> Slates:
    """Joins candidates with what the judge made of them, by id. `ends`: ids of the best and the worst by task id, as
    a tournament found them.

    Left out: a task without a candidate (`no_candidates`), a candidate that was not judged (`not_judged`).
    Raises InputError where a candidate was judged twice, or one was judged that is not there.
    """
    by_id: dict[str, Judged] = {}
    for each in judged:
        if by_id.setdefault(each.candidate.id, each) is not each:
            raise InputError(f"candidate {each.candidate.id!r} was judged twice: give each judgement once")
    unknown = by_id.keys() - {candidate.id for candidate in gathered.candidates}
    if unknown:
        raise InputError(f"{min(unknown)!r} was judged, but is not a candidate: judge what was gathered")
    slates, left_out = [], []
    for task in gathered.tasks:
        found = gathered.by_task[task.id]
        left_out += [LeftOut(candidate.id, "not_judged") for candidate in found if candidate.id not in by_id]
        if not found:
            left_out.append(LeftOut(task.id, "no_candidates"))
            continue
        best, worst = (ends or {}).get(task.id, (None, None))
        answers = tuple(by_id[candidate.id] for candidate in found if candidate.id in by_id)
        slates.append(Slate(task, answers, best, worst))
    return Slates(tuple(slates), tuple(left_out))


def _only_once(names: Sequence[str], what: str, fix: str) -> None:
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise InputError(f"{what} {twice[0]!r}: {fix}")
