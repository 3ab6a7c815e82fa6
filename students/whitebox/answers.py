"""Answers of a model that is being trained, or is about to be: asked through the core, kept in the ledger.

    answered = await ask(teacher, tasks, sampling, seed=7, ledger=ledger)
    rows = [answer_row(each, tokenizer, special, system=None) for each in answered]

What is in the ledger is not sampled again, so that a training that was killed goes on with the same answers. A task
that got no answer is left out and counted by the caller.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from stillroom.common.marks import CLOSE, OPEN
from stillroom.common.records import Message, Outcome, SamplingParams, ScoredAttempt, Task
from stillroom.sampling.core import Core
from stillroom.sampling.ledger import Ledger
from stillroom.sampling.policy import Fixed
from stillroom.sampling.scorers.base import Scorer
from stillroom.sampling.scorers.none import EveryAnswer
from stillroom.sampling.teachers.base import Teacher
from stillroom.students.data.encode import IGNORED, EncodedRow, ids_of
from stillroom.students.data.rows import SftRow
from stillroom.students.records import TrainingPlace


async def ask(
    teacher: Teacher,
    tasks: Sequence[Task],
    sampling: SamplingParams,
    *,
    seed: int,
    ledger: Ledger,
    scorer: Scorer | None = None,
) -> dict[str, ScoredAttempt]:
    """One answer to each task, by its id, where it got one. `scorer`: None accepts every answer."""
    found: dict[str, ScoredAttempt] = {}

    def take(outcome: Outcome) -> None:
        if outcome.attempts:
            found[outcome.task.id] = outcome.attempts[0]

    core = Core(
        teacher,
        scorer or EveryAnswer(),
        Fixed(policy="fixed", attempts=1),
        ledger,
        sampling=sampling,
        seed=seed,
        ahead=False,
    )
    await core.run(tasks, take)
    return found


@contextmanager
def kept_answers(place: TrainingPlace, scratch: Path) -> Iterator[Ledger]:
    """The run's ledger, or one in `scratch` that goes with it."""
    if place.ledger is not None:
        yield place.ledger
        return
    scratch.mkdir(parents=True, exist_ok=True)
    ledger = Ledger.open(scratch)
    try:
        yield ledger
    finally:
        ledger.close()


def answer_row(task: Task, scored: ScoredAttempt, tokenizer: Any, special: frozenset[int]) -> EncodedRow | None:
    """The answer in tokens, as a row; None for an empty one. An answer that was cut off has no end token: nothing
    was said there."""
    text, thought = scored.attempt.text, scored.attempt.reasoning
    ended = scored.attempt.finish_reason == "stop"
    if not ended:
        text = text.rstrip("\N{REPLACEMENT CHARACTER}")  # the first bytes of a letter that was cut in two
    if not text.strip():
        return None
    if thought is not None:
        text = f"{OPEN}\n{thought}\n{CLOSE}\n\n{text}"
    ids = ids_of(SftRow(task.id, task.messages, (Message("assistant", text),)), tokenizer, special)
    answer = ids.answer if ended else ids.answer[:-1]
    return EncodedRow(task.id, ids.prompt + answer, [IGNORED] * len(ids.prompt) + answer)
