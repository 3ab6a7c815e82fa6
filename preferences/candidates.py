"""From what was drawn to candidates, task by task: several sources, each kept on what it wrote.

    drawn = [Drawn("teacher", outcomes), Drawn("student", own, on_policy=True)]
    gathered = gather(drawn, order=tasks)
    slates = slates_of(gathered, judged)          # judged: a Judged for each candidate, joined by id

A recording is a source like any other: replay it through the core (`stillroom.sampling.teachers.recorded`), one
source for each model in it. Thinking is cut off: what is compared, and later learned, is the answer.

Texts of one task that are equal but for white space become one candidate: an answer must never meet itself in a pair.
The student's own comes first, then the earlier source, then the earlier draw. Left out, with a reason: `same_text`
(the others of equal texts), `truncated`, `filtered` (the server cut it for its content), `empty`, and
`template_tokens` (marks of a chat template inside the text, which a tokenizer would read as turns).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from stillroom.common.marks import opened_by_template, split_thinking
from stillroom.common.records import Attempt, Outcome, Task
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


class Gathered(NamedTuple):
    """The candidates of each task, by its id, in the order of the tasks; a task without candidates has none there."""

    tasks: tuple[Task, ...]
    by_task: Mapping[str, tuple[Candidate, ...]]
    left_out: tuple[LeftOut, ...]

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
    left_out: list[LeftOut] = []
    # The student's own first: where a teacher wrote the same, the pair is on policy all the same.
    ranked = sorted(drawn, key=lambda source: not source.on_policy)
    sources = [(source, {outcome.task.id: outcome for outcome in source.outcomes}) for source in ranked]
    by_task: dict[str, tuple[Candidate, ...]] = {}
    for task in order:
        by_text: dict[str, Candidate] = {}
        for source, outcomes in sources:
            attempts = outcomes[task.id].attempts if task.id in outcomes else ()
            for scored in sorted(attempts, key=lambda scored: scored.attempt.index):
                attempt, text = scored.attempt, answer_of(scored.attempt)
                candidate = Candidate(
                    task.id, source.name, attempt.index, text, attempt.completion_tokens, source.on_policy
                )
                reason = _unfit(attempt, text)
                if reason is not None:
                    left_out.append(LeftOut(candidate.id, reason))
                    continue
                kept = by_text.setdefault(same_text(text), candidate)
                if kept is not candidate:
                    left_out.append(LeftOut(candidate.id, "same_text", f"as {kept.id}"))
        by_task[task.id] = tuple(by_text.values())
    return Gathered(tuple(order), by_task, tuple(left_out))


def _unfit(attempt: Attempt, text: str) -> str | None:
    if attempt.finish_reason == "length":
        return "truncated"
    if attempt.finish_reason == "content_filter":
        return "filtered"
    return unfit_text(text)


def unfit_text(text: str) -> str | None:
    """Why a text cannot be a candidate; None where it can."""
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
