"""Rehearsal: prompts of other kinds, answered by the base itself, on which the student is held to the base.

    student:
      method: distil
      objectives: [{kind: hard}]
      rehearse: {prompts: everyday, tasks: {letters: {source: reasoning_gym, family: letter_counting}}, n: 100}

Training on one kind of task pulls a model away from all others. Next to the rows of the task the student reads the
base's own answers to other prompts, and learns the base's whole distribution at each of their tokens (the forward KL
from the base), not only the tokens that were drawn. The base answers greedily, once, before the training; its answers
are in the run's ledger. Answers that are cut off count up to where they were cut.
"""

from __future__ import annotations

import asyncio
import json
import random
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import Field, field_validator, model_validator

from stillroom.common.hashing import digest
from stillroom.common.models.resolve import fingerprint
from stillroom.common.records import Message, SamplingParams, Task
from stillroom.common.settings import Settings
from stillroom.errors import InputError
from stillroom.sampling.ledger import Ledger
from stillroom.students.data.encode import EncodedRow, special_ids
from stillroom.students.data.rows import with_system
from stillroom.students.methods.registry import StudentSettings
from stillroom.students.whitebox.answers import answer_row, ask
from stillroom.traces.tasks import TaskSettings, load_tasks

Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,39}$")]


class Rehearse(Settings):
    """What the student shall keep, by examples."""

    prompts: Literal["everyday"] | None = "everyday"
    """Everyday prompts that come with Stillroom; null: none."""
    tasks: dict[Name, TaskSettings] = Field(default_factory=dict)
    """Tasks of other kinds, each under a name; their `train` prompts are rehearsed, references are not needed."""
    n: int = Field(default=100, ge=1)
    """Prompts in all, drawn in turns from each kind."""
    share: float = Field(default=0.5, gt=0, le=10)
    """Rehearsed rows for each row of the task."""
    weight: float = Field(default=1.0, gt=0)
    """How much the KL to the base counts on them; the objectives have their weights, too."""
    temperature: Annotated[float, Field(gt=0, le=100)] = 1.0
    """Of both distributions."""
    max_tokens: int = Field(default=48, ge=1)
    """Longest answer of the base, in tokens."""

    @property
    def files(self) -> tuple[str, ...]:
        """The local files of its tasks."""
        return tuple(path for tasks in self.tasks.values() for path in tasks.files)

    @field_validator("tasks", mode="before", json_schema_input_type=dict[Name, TaskSettings] | TaskSettings)
    @classmethod
    def _one_kind(cls, value: Any) -> Any:
        """`tasks: {source: …}` reads as well as a mapping of names."""
        return {"other": value} if isinstance(value, dict) and isinstance(value.get("source"), str) else value

    @model_validator(mode="after")
    def _something_to_rehearse(self) -> Rehearse:
        if self.prompts is None and not self.tasks:
            raise ValueError("nothing is named to rehearse: give prompts: everyday, or tasks")
        return self


class Rehearsed(NamedTuple):
    """`rows`: the base's answers in tokens. `by_kind`: how many of each kind. `cut`: those at the limit of tokens.
    `empty`: prompts left out, because the base said nothing."""

    rows: list[EncodedRow]
    by_kind: dict[str, int]
    cut: int
    empty: int

    def record(self) -> dict[str, Any]:
        """As `training.json` has it."""
        rows = digest([[row.input_ids, row.labels] for row in self.rows])
        return {"rows": len(self.rows), "by_kind": self.by_kind, "cut": self.cut, "empty": self.empty, "data": rows}


def everyday_prompts() -> list[str]:
    """The prompts that come with Stillroom."""
    lines = files("stillroom.students.whitebox").joinpath("everyday.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line)["prompt"] for line in lines]


def prompts_of(settings: Rehearse, base: Path, seed: int) -> list[tuple[str, Task]]:
    """Kind and task of each prompt, at most `n`: one of each kind after the other, as long as there are any."""
    kinds: dict[str, list[Task]] = {
        name: list(load_tasks(_unanswered(each), base=base, seed=seed).train) for name, each in settings.tasks.items()
    }
    if settings.prompts is not None:
        kinds["everyday"] = [
            Task(f"everyday/{i}", (Message("user", prompt),), None, "everyday")
            for i, prompt in enumerate(everyday_prompts())
        ]
    for name, tasks in kinds.items():
        random.Random(f"{seed}/{name}").shuffle(tasks)
    found: list[tuple[str, Task]] = []
    for place in range(max(map(len, kinds.values()))):
        found += [(name, tasks[place]) for name, tasks in kinds.items() if place < len(tasks)]
    return found[: settings.n]


def _unanswered(tasks: TaskSettings) -> TaskSettings:
    """The same, whether its rows have a reference or not."""
    return tasks.model_copy(update={"reference": None}) if "reference" in type(tasks).model_fields else tasks


def rehearse(
    settings: Rehearse, student: StudentSettings, model: Any, tokenizer: Any, base: Path, seed: int, ledger: Ledger
) -> Rehearsed:
    """Asks the base, which is `model` before its training, and gives its answers as rows. Raises what `load_tasks`
    does, and InputError where the base says nothing at all."""
    from stillroom.sampling.teachers.transformers.live import live_teacher

    asked = prompts_of(settings, base, seed)
    tasks = [
        Task(f"rehearsal/{kind}/{task.id}", with_system(task.messages, student.system), None, task.source)
        for kind, task in asked
    ]
    name = f"the base {student.model}"
    with live_teacher(model, tokenizer, name=name, identity=f"transformers:{fingerprint(student.model)}") as teacher:
        sampling = SamplingParams(temperature=0, max_tokens=settings.max_tokens)
        answers = asyncio.run(ask(teacher, tasks, sampling, seed=seed, ledger=ledger))
    special, rows, by_kind, cut = special_ids(tokenizer), [], dict.fromkeys((kind for kind, _ in asked), 0), 0
    for (kind, _), task in zip(asked, tasks, strict=True):
        scored = answers.get(task.id)
        row = None if scored is None else answer_row(task, scored, tokenizer, special)
        if row is None or scored is None:
            continue
        rows.append(row)
        by_kind[kind] += 1
        cut += scored.attempt.finish_reason != "stop"
    if not rows:
        raise InputError(f"{name} said nothing to {len(tasks)} prompts of rehearse: name others in rehearse.tasks")
    return Rehearsed(rows, by_kind, cut, len(tasks) - len(rows))
