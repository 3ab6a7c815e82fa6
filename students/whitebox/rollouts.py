"""Rollouts: the student's own answers during its training, in the place of some of the rows that are drawn.

    rollouts = Rollouts(settings, order, rows, read_by_teacher, live, place, ledger)
    rollouts([4, 0, 7, 2])         # of one step: {1: 0, 3: None}: place 1 is rollout 0, place 3 is left out

Every `refresh` steps the student, as it is then, answers all prompts that the next steps need: through the sampling
core, into the ledger, under an identity that names everything the training depends on and the step. So a training
that was killed, started again, finds its answers there, and ends with the same student. Answers are sampled in blocks
that hold a prompt once; a block that was interrupted is sampled again as a whole, since a batch of other rows would
round otherwise.

Left out and counted: empty answers, those whose text holds the end token, those too long in tokens, and those that
`keep` does not want. An answer that was cut off has no end token.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from stillroom.common.hashing import digest
from stillroom.common.records import Messages, ScoredAttempt, State, Task
from stillroom.errors import RecipeError, TrainingError
from stillroom.sampling.ledger import Ledger, request_key, scorer_key
from stillroom.sampling.scorers.base import Scorer
from stillroom.sampling.scorers.none import EveryAnswer
from stillroom.students.data.encode import IGNORED, EncodedRow, special_ids
from stillroom.students.data.rows import SftRow
from stillroom.students.records import Gate, TrainingPlace
from stillroom.students.whitebox.answers import answer_row, ask
from stillroom.students.whitebox.on_policy import OnPolicy, is_replaced
from stillroom.students.whitebox.order import Order

BLOCK = 64
"""Answers sampled at once, at most."""
MOST_KILLS = 1000


class Live(NamedTuple):
    """The student as it is trained. `model`: the causal language model itself; `identity`: names all that its
    training depends on; `name`: for messages; `end_id`: what ends a turn; `longest`: tokens that a row may have."""

    model: Any
    tokenizer: Any
    identity: str
    name: str
    end_id: int
    longest: int


class ReadBy(NamedTuple):
    """The rows of the task as the teacher reads them, and how many tokens it can read."""

    rows: Sequence[EncodedRow]
    longest: int


class Due(NamedTuple):
    """A rollout that is needed: at which place of which step, in the place of which row."""

    step: int
    place: int
    row: int


class Named(NamedTuple):
    """The identity that a block is asked under. `known`: its answers are on record."""

    identity: str
    known: bool


class Rollouts:
    """See the module. `rows`: those of the task, in the order of `encoded`, which is how the student reads them.

    `own`, `teachers`: the rollouts in tokens, as the student and as the teacher reads them; both are replaced at
    every sampling. Raises RecipeError for a row that leaves no room for an answer, or that `keep` cannot judge.
    """

    def __init__(
        self,
        settings: OnPolicy,
        order: Order,
        rows: Sequence[SftRow],
        encoded: Sequence[EncodedRow],
        teacher: ReadBy | None,
        live: Live,
        place: TrainingPlace,
        ledger: Ledger,
    ) -> None:
        self._settings, self.order, self._live, self._ledger = settings, order, live, ledger
        self._encoded, self._teacher = encoded, teacher
        self.own: list[EncodedRow] = []
        self.teachers: list[EncodedRow] = []
        self.counts: Counter[str] = Counter()
        self._special = special_ids(live.tokenizer)
        named = {row.name: row for row in rows}
        self._rows = [named[row.name] for row in encoded]
        self._gate = None if settings.keep == "all" else _gate(settings, place.gate)
        self._tasks = [self._task(row) for row in self._rows]
        self._check_room()
        self._runner = asyncio.Runner()
        self._scorer: Scorer = EveryAnswer()
        if self._gate is not None:
            self._scorer = self._gate.scorer()
            self._live = live._replace(identity=f"{live.identity}:{digest(self._gate.identity)}")
        self._step = self._sampled = 0
        self._found: dict[int, dict[int, int | None]] = {}

    def __call__(self, drawn: Sequence[int]) -> Mapping[int, int | None]:
        """The rollouts of the next step, by their places among the rows that were drawn for it; None: left out."""
        if list(drawn) != self.order.step(self._step):
            raise TrainingError(
                f"step {self._step + 1} drew other rows than were planned, so its answers were not sampled: this is "
                "a fault of the trainer, please report it with your recipe"
            )
        if self._step >= self._sampled:
            self._sample()
        self._step += 1
        return self._found.pop(self._step - 1)

    def close(self) -> None:
        """Frees the scorer's workers. Safe to call twice."""
        self._runner.run(self._scorer.close())
        self._runner.close()

    def state(self) -> dict[str, Any]:
        """For a checkpoint: the answers that the next steps learn from are in it."""
        return {
            "step": self._step,
            "sampled": self._sampled,
            "found": [[step, list(found.items())] for step, found in self._found.items()],
            "own": self.own,
            "teachers": self.teachers,
            "counts": self.counts,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Takes back what `state` gave."""
        self._step, self._sampled, self.counts = state["step"], state["sampled"], Counter(state["counts"])
        self._found = {step: dict(found) for step, found in state["found"]}
        for rows, name in ((self.own, "own"), (self.teachers, "teachers")):
            rows[:] = [EncodedRow(*row) for row in state[name]]

    def record(self) -> dict[str, Any]:
        """As `training.json` has it: answers by what became of them, and their tokens."""
        names = ("answers", "learned_from", "tokens", "cut", "samplings", "respelled", "failed", *_LEFT_OUT)
        return {name: self.counts[name] for name in names}

    # -- before the training ------------------------------------------------------------------------------------

    def _task(self, row: SftRow) -> Task:
        """What is asked for a row; its reference is there for a scorer that needs it."""
        known = None if self._gate is None else self._gate.task(row.task_id, row.prompt)
        if self._gate is None:
            return Task(row.name, row.prompt, None, row.name)
        if known is None or (self._gate.needs_reference and known.reference is None):
            missing = "belongs to no task of this run" if known is None else "has no reference"
            raise RecipeError(
                f"{row.name} {missing}, so the scorer cannot judge the student's answers to it, as on_policy.keep: "
                f"{self._settings.keep} asks: set on_policy.keep: all, or train on rows of this run's tasks"
            )
        return replace(known, messages=row.prompt)

    def _check_room(self) -> None:
        """Nothing is truncated: not the prompts, and not the answers by less room than they were given."""
        most, sides = self._settings.sampling.max_tokens, [("student", self._encoded, self._live.longest)]
        if self._teacher is not None:
            sides.append(("teacher", self._teacher.rows, self._teacher.longest))
        for who, rows, limit in sides:
            for row in rows:
                prompt = _prompt(row)
                if len(prompt) + most > limit:
                    raise RecipeError(
                        f"{row.name}: its prompt has {len(prompt):,} tokens as the {who} reads it, with answers of "
                        f"{most:,} that is more than its limit of {limit:,}: lower on_policy.sampling.max_tokens"
                        + (" or raise student.max_length" if who == "student" else "")
                    )

    # -- sampling -----------------------------------------------------------------------------------------------

    def _sample(self) -> None:
        """Answers all that the next `refresh` steps need, with the student as it is now."""
        first = self._step
        self._sampled = min(first + self._settings.refresh, max(self.order.steps, first + 1))
        due = [each for step in range(first, self._sampled) for each in self._due(step)]
        self.own.clear()
        self.teachers.clear()
        self._found = {step: {} for step in range(first, self._sampled)}
        for number, block in enumerate(blocks(due, [self._rows[each.row].prompt for each in due])):
            answers = self._answers(block, f"{self._live.identity}:step {first}:block {number}")
            for each in block:
                self._found[each.step][each.place] = self._learned(each, answers.get(_id(each)))
        self.counts["answers"] += len(due)
        self.counts["samplings"] += 1

    def _due(self, step: int) -> list[Due]:
        drawn, share = self.order.first(step), self._settings.share
        rows = enumerate(self.order.step(step))
        return [Due(step, place, row) for place, row in rows if is_replaced(drawn + place, share)]

    def _answers(self, block: Sequence[Due], identity: str) -> dict[str, ScoredAttempt]:
        """Answers to the prompts of a block, by task."""
        from stillroom.sampling.teachers.transformers.live import live_teacher

        tasks, live = [replace(self._tasks[each.row], id=_id(each)) for each in block], self._live
        name, known = self._state(tasks, identity)
        together = 1 if known else len(tasks)
        with live_teacher(
            live.model, live.tokenizer, name=live.name, identity=name, concurrency=BLOCK, together=together
        ) as teacher:
            sampling, seed = self._settings.sampling.params(), self.order.seed
            return self._runner.run(
                ask(teacher, tasks, sampling, seed=seed, ledger=self._ledger, scorer=self._scorer)
            )

    def _state(self, tasks: Sequence[Task], identity: str) -> Named:
        """What to ask a block under. Of a block that was interrupted some answers are on record: it is asked again as
        a whole, under another name."""
        sampling, seed, failed = self._settings.sampling.params(), self.order.seed, self._ledger.failed_draws()
        for again in range(MOST_KILLS):
            name = identity if not again else f"{identity}:again {again}"
            held = lost = 0
            for task in tasks:
                key = request_key(task.messages, sampling, name, seed)
                scorer = scorer_key(self._scorer.identity, task)
                held += bool(self._ledger.find(key, sampling.max_tokens, task.id, scorer))
                lost += key in failed
            if held == len(tasks) or not held + lost:
                return Named(name, held > 0)
        raise TrainingError(f"the same answers were interrupted {MOST_KILLS} times: see what ends this training")

    # -- what becomes of an answer ------------------------------------------------------------------------------

    def _learned(self, due: Due, scored: ScoredAttempt | None) -> int | None:
        """The number of the rollout; None for one that is left out, which is counted."""
        row = self._encoded[due.row]
        if scored is None:
            self.counts["failed"] += 1
            return None
        found = answer_row(self._tasks[due.row], scored, self._live.tokenizer, self._special)
        answer = [] if found is None else found.input_ids[len(_prompt(found)) :]
        if (why := self._left_out(due, scored, answer)) is not None:
            self.counts[why] += 1
            return None
        self.counts["learned_from"] += 1
        self.counts["tokens"] += len(answer)
        self.counts["cut"] += scored.attempt.finish_reason != "stop"
        self.counts["respelled"] += len(answer) != scored.attempt.completion_tokens
        self.own.append(_with_answer(row, answer))
        if self._teacher is not None:
            self.teachers.append(_with_answer(self._teacher.rows[due.row], answer))
        return len(self.own) - 1

    def _left_out(self, due: Due, scored: ScoredAttempt, answer: Sequence[int]) -> str | None:
        """Why an answer is not learned from; None: it is."""
        if not answer:
            return "empty"
        if self._live.end_id in answer[:-1]:
            return "end_token_inside"
        sides = [(self._encoded[due.row], self._live.longest)]
        if self._teacher is not None:
            sides.append((self._teacher.rows[due.row], self._teacher.longest))
        if any(len(_prompt(row)) + len(answer) > limit for row, limit in sides):
            return "too_long"
        keep, state = self._settings.keep, scored.verdict.state
        return None if keep == "all" or state is State(keep) else f"not_kept_{state.value}"


_LEFT_OUT = (
    "empty",
    "end_token_inside",
    "too_long",
    *(f"not_kept_{state.value}" for state in State),
)


def blocks(due: Sequence[Due], prompts: Sequence[Messages], most: int = BLOCK) -> list[list[Due]]:
    """In blocks of at most `most`. `prompts`: of each; no block has one twice, since the ledger would take the second
    answer for the first."""
    found: list[list[Due]] = []
    inside: list[set[Messages]] = []
    for each, prompt in zip(due, prompts, strict=True):
        at = next((i for i, has in enumerate(inside) if len(has) < most and prompt not in has), len(found))
        if at == len(found):
            found.append([])
            inside.append(set())
        found[at].append(each)
        inside[at].add(prompt)
    return found


def _gate(settings: OnPolicy, gate: Gate | None) -> Gate:
    if gate is None:
        raise RecipeError(
            f"on_policy.keep is {settings.keep}, and there is no scorer that could judge the student's answers: set "
            "on_policy.keep: all, or train within a run of traces, whose scorer is asked"
        )
    return gate


def _id(due: Due) -> str:
    """What an answer is for; it also decides the seed of its draw."""
    return f"rollout/{due.step}/{due.place}"


def _prompt(row: EncodedRow) -> list[int]:
    return row.input_ids[: next(i for i, label in enumerate(row.labels) if label != IGNORED)]


def _with_answer(row: EncodedRow, answer: Sequence[int]) -> EncodedRow:
    """The row's prompt with another answer."""
    prompt = _prompt(row)
    return EncodedRow(row.name, prompt + list(answer), [IGNORED] * len(prompt) + list(answer))
