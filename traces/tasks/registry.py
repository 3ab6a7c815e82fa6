"""The `tasks:` part of a recipe: what every source has, which sources there are, and what is made of their rows.

    tasks: {source: jsonl, path: train.jsonl, prompt: question, reference: answer, reference_after: "####", test: 100}
    tasks: {source: hf, path: openai/gsm8k, name: main, split: train, test_split: test, reference_after: "####"}
    tasks: {source: reasoning_gym, family: chain_sum, params: {min_terms: 2, max_terms: 2}, limit: 200, test: 100}

An unknown key is refused. The reference is never guessed: where it stands at the end of a worked solution,
`reference_after` says after which marker (GSM8K: "####").

A new source is a module in this package with one registered class: its settings, and how its rows are read. What is
common to all (fields, ids, bad rows, the test split) is done by `load.py`.

    @sources.register
    class SheetTasks(CommonTasks):
        source: Literal["sheet"]
        path: Name

        def open(self, base: Path, seed: int) -> Source:
            return Source(sheet_rows(base / self.path), None)
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

from pydantic import Field, model_validator

from stillroom.common.records import AnswerType, Task
from stillroom.common.registry import Registry
from stillroom.common.settings import Settings
from stillroom.traces.tasks.layouts.base import FIELDS, layouts
from stillroom.traces.tasks.problems import Problem
from stillroom.traces.tasks.template import PROMPT, Template

Name = Annotated[str, Field(min_length=1)]


@dataclass(frozen=True, slots=True)
class Row:
    """One row as it was read. `source` says where it stands (`problems.jsonl:17`, counted from 1)."""

    source: str
    values: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A row that did not become a task, with its reason."""

    source: str
    reason: Problem
    detail: str


@dataclass(frozen=True, slots=True)
class TaskSet:
    """The tasks of a run.

    The training tasks are read one by one where they are looked at: there may be very many.
    `train` goes to the teacher, `test` and `validation` never do to be learned from; no prompt is in two of them.
    `left_out` has each row that became no task. `beyond_limit` counts good rows that `limit` (or `test`, for a
    separate test source) left unread. `notes` are remarks that a person should see, such as a limit larger than the
    file.
    """

    train: Sequence[Task]
    test: tuple[Task, ...]
    left_out: tuple[LeftOut, ...] = ()
    beyond_limit: int = 0
    notes: tuple[str, ...] = ()
    validation: tuple[Task, ...] = ()

    @property
    def held_out(self) -> tuple[Task, ...]:
        """What is in no training row: `test` and `validation`."""
        return (*self.test, *self.validation)


class Source(NamedTuple):
    """Training rows, and the rows of a separate test source (None: the split is drawn from the training rows).

    `generated`: rows are made as they are asked for, so as many are taken as give the wanted tasks, in their order.
    """

    train: Iterable[Row | LeftOut]
    test: Iterable[Row | LeftOut] | None
    generated: bool = False


class CommonTasks(Settings):
    """What every source has. Fields of a row are named as in `metadata.expression`, `messages[-1].content`,
    `answers[0]`."""

    if TYPE_CHECKING:
        source: (
            str  # declared by every kind, since fields are written to recipe.yaml in the order of their declaration
        )

    layout: Name | None = None
    """How rows are laid out: `messages`, `sharegpt`, `prompt_messages`, `alpaca`, `gsm8k`, `math`, `numina`,
    `choices`, `choices_from_0`, `choices_from_1`, or `fields` for those named here; null: the fields, unless the rows
    are plainly of a layout."""
    prompt: Name = "question"
    """Field of a row that holds the prompt."""
    input: Name | None = None
    """Field whose text, if any, follows the prompt after a blank line, as in instruction data."""
    reference: Name | None = "answer"
    """Field that holds the gold answer; null: the tasks have no known answer."""
    reference_after: Name | None = None
    """Marker after which the answer stands in that field (GSM8K: `####`)."""
    answer_type: AnswerType | None = None
    """What the answers are; an answer of another type is not taken. null: anything; known data sets say it."""
    answer_type_field: Name | None = None
    """Field that holds the type of a row's answer, where rows differ; a row without one has `answer_type`."""
    id: Name | None = None
    """Field that holds an id; null: a hash of the prompt, so that adding or moving rows renames no task."""
    system: Name | None = None
    """System prompt of the task; teacher and student both see it."""
    template: str = "{prompt}"
    """Text around the prompt: `{prompt}` and any field of the row (`{meta.unit}`, `{choices[*]}`) are replaced;
    `{{unit}}` stands for `{unit}`."""
    skip: int = Field(default=0, ge=0)
    """Training tasks at the start that are left to another run."""
    limit: int | None = Field(default=None, ge=1)
    """Training tasks to take, after `skip`; null: all."""
    test: int | None = Field(default=None, ge=0)
    """Held-out tasks; null: none, or all of a separate test source."""
    validation: int = Field(default=0, ge=0)
    """Further held-out tasks for what a loop decides by (its guard, `teacher: best`), so that no accuracy is
    reported on tasks that decided anything."""
    shuffle: bool = False
    """Take training tasks in an order drawn from the seed, not in the file's."""
    seed: int | None = None
    """Seed of the split and the order; null: the run's."""
    bad_rows: Literal["refuse", "skip"] = "refuse"
    """Whether a row that cannot be used ends the run or is left out and counted."""

    @model_validator(mode="after")
    def _consistent(self) -> CommonTasks:
        if self.layout is not None and self.layout != FIELDS and self.layout not in layouts:
            raise ValueError(layouts.unknown(self.layout, {*layouts, FIELDS}, "layout"))
        self._check_template()
        if self.reference is None and self.reference_after is not None:
            raise ValueError("reference_after needs a reference field: name one, or leave reference_after out")
        if self.validation and self.test is None:
            raise ValueError("validation is held out in addition to test: say how many in test")
        return self

    def _check_template(self) -> None:
        """Raises ValueError for a template that leaves out what the recipe names, or shows the answer."""
        template = Template(self.template)
        if not template.names:
            raise ValueError("template has no {prompt}, nor another field: write {prompt} where the prompt belongs")
        own = self.reference
        if own is not None and any(name == own or name.startswith(f"{own}.") for name in template.fields):
            raise ValueError(
                f"template names {{{own}}}, the field of the reference: the answer would stand in the prompt; "
                f"for the word in braces write {{{{{own}}}}}"
            )
        named = self.prompt != type(self).model_fields["prompt"].default
        if PROMPT not in template.names and (named or self.input is not None):
            key = "prompt" if named else "input"
            raise ValueError(
                f"template has no {{prompt}}, so tasks.{key} is not used: write {{prompt}}, or leave it out"
            )

    @property
    def held_out(self) -> int | None:
        """Tasks that are held out, for test and validation; None: all of a test source, or none."""
        return None if self.test is None else self.test + self.validation

    @property
    def held_out_in_words(self) -> str:
        """As the recipe says it."""
        validation = f", `tasks.validation: {self.validation}`" if self.validation else ""
        return f"`tasks.test: {self.test or 0}`{validation}"

    @property
    def files(self) -> tuple[str, ...]:
        """The files that are read, as the recipe names them; their hashes go on record."""
        return ()

    @property
    def holds_out(self) -> bool:
        """Whether there will be held-out tasks: a number of them, or all of a separate test source."""
        return bool(self.test)

    def open(self, base: Path, seed: int) -> Source:
        """The rows; relative paths start at `base`. `seed`: the tasks' own, or the run's.

        Raises MissingFile, MissingExtra, RecipeError for settings that the source does not take, and InputError where
        a hub cannot be reached.
        """
        raise NotImplementedError

    def check_enough(self, held: int, train: int, drawn: int) -> None:
        """For a generated source: raises TaskError where `drawn` rows gave too few different tasks."""


sources: Registry[CommonTasks] = Registry(
    "task source",
    tag="source",
    where=("stillroom.traces.tasks",),
    bare=lambda value: {"source": "rows", "rows": value} if isinstance(value, list | tuple) else None,
)
"""Every source of tasks by its name in a recipe."""

TaskSettings = Annotated[CommonTasks, sources.field()]
"""The settings of any source, as the type of a recipe's field."""
