"""`decontaminate`: traces that hold a held-out task.

A trace, its prompt included, is compared with the prompts of the test split, token by token (words, numbers, signs of
arithmetic; case and punctuation do not count):

1. *same_prompt*: the trace's task asks what a test task asks.
2. *shared_ngram*: they share a run of `ngram` tokens (13, as in Brown et al. 2020, appendix C,
   https://arxiv.org/abs/2005.14165).
3. *whole_prompt*: the whole of a test prompt of at least `MIN_WHOLE` tokens stands in the trace.

Where we differ from the paper: tasks of a recipe share a template, and generated ones share their wording too, so
that a run may be shared by all of them and prove nothing. A run counts only if, with its numbers masked, it stands in
one test prompt alone; for prompts made of shared wording, the numbers are what tells them apart, and rules 1 and 3,
which compare whole prompts, decide. A test prompt within a longer formula ("3 + 4" in "3 + 4 + 5") is another task.

    filters: [{decontaminate: test}]
    filters: [{decontaminate: {against: test, ngram: 10}}]
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import ClassVar, Literal

from pydantic import Field

from stillroom.common.records import Task, asked
from stillroom.common.text import excerpt, is_number, is_sign, tokens
from stillroom.errors import InputError
from stillroom.traces.filters.base import Check, FilterSettings, Finding, filters
from stillroom.traces.trace import Trace

MIN_WHOLE = 8
"""Tokens from which a prompt's standing in a trace is not a coincidence: the least N that Brown et al. 2020 use."""

Run = tuple[str, ...]


@filters.register
class Decontaminate(FilterSettings):
    """Reasons: same_prompt, shared_ngram, whole_prompt; the detail names the test task and quotes what matched."""

    name: Literal["decontaminate"] = "decontaminate"
    short: ClassVar[str | None] = "against"
    against: Literal["test"] = "test"
    """What traces are compared with: the held-out tasks."""
    ngram: int = Field(default=13, ge=5)
    """Tokens in a row that a trace and a test prompt must not share."""

    def start(self, test: Sequence[Task]) -> Check:
        """A check with an index of the test prompts. Raises InputError where there is no test split."""
        if not test:
            raise InputError(
                "the filter decontaminate compares with the test split, which is empty: set `tasks.test` (or "
                "`tasks.test_path`), or take the filter out"
            )
        prompts = [tuple(tokens(asked(task.messages))) for task in test]
        # Runs of the prompts whose wording stands in one prompt alone, and in which.
        owners = Counter(run for prompt in prompts for run in {_masked(run) for run in _runs(prompt, self.ngram)})
        same: dict[Run, int] = {}
        distinctive: dict[Run, int] = {}
        heads: dict[Run, list[int]] = {}
        for number, prompt in enumerate(prompts):
            same.setdefault(prompt, number)
            distinctive |= {run: number for run in _runs(prompt, self.ngram) if owners[_masked(run)] == 1}
            if len(prompt) >= MIN_WHOLE:
                heads.setdefault(prompt[:MIN_WHOLE], []).append(number)

        def found(reason: str, number: int, matched: Run) -> Finding:
            task = test[number]
            return Finding(reason, f"test task {task.id} ({task.source}): {excerpt(' '.join(matched), 160)}")

        def check(trace: Trace) -> Finding | None:
            prompt = tuple(tokens(asked(trace.task.messages)))
            if prompt in same:
                return found("same_prompt", same[prompt], prompt)
            for text in (prompt, tuple(tokens(trace.full_text))):
                for run in _runs(text, self.ngram):
                    if run in distinctive:
                        return found("shared_ngram", distinctive[run], run)
                for start, head in enumerate(_runs(text, MIN_WHOLE)):
                    for number in heads.get(head, ()):
                        if _stands_at(text, start, prompts[number]):
                            return found("whole_prompt", number, prompts[number])
            return None

        return check


def _runs(text: Run, length: int) -> Iterator[Run]:
    return (text[i : i + length] for i in range(len(text) - length + 1))


def _masked(run: Run) -> Run:
    return tuple("#" if is_number(token) else token for token in run)


def _stands_at(text: Run, start: int, prompt: Run) -> bool:
    """Whether the prompt stands there whole, and not as a part of a longer formula."""
    end = start + len(prompt)
    if text[start:end] != prompt:
        return False

    def formula(*joined: str) -> bool:
        return all(is_number(token) or is_sign(token) for token in joined)

    goes_before = start > 0 and formula(text[start - 1], prompt[0])
    goes_on = end < len(text) and formula(prompt[-1], text[end])
    return not (goes_before or goes_on)
