"""The `tasks:` part of a recipe, one model for each source.

    tasks: {source: jsonl, path: train.jsonl, prompt: question, reference: answer, reference_after: "####", test: 100}
    tasks: {source: hf, path: openai/gsm8k, name: main, split: train, test_split: test, reference_after: "####"}
    tasks: {source: reasoning_gym, family: chain_sum, params: {min_terms: 2, max_terms: 2}, limit: 200, test: 100}

An unknown key is refused. The reference is never guessed: where it stands at the end of a worked solution,
`reference_after` says after which marker (GSM8K: "####").
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Name = Annotated[str, Field(min_length=1)]


class CommonTasks(BaseModel):
    """What every source has.

    `prompt`, `reference` and `id` name fields of a row; a dot goes into nested ones (`metadata.expression`). Without
    `id`, a task's id is a hash of its prompt, so that adding or moving rows renames none. `input`: a field whose
    text, where there is one, follows the prompt after a blank line, as in instruction data. `reference: null`: the
    tasks have no known answer. `system` belongs to the task: teacher and student both see it. In `template`,
    `{prompt}` stands for the row's prompt; any other brace is plain text, so `\\boxed{answer}` stays as it is.
    `limit`: training tasks (null: all), after the first `skip`, which are left to another run. `test`: held-out tasks
    (null: none, or all of a test source of its own). `validation`: so many more of them for the choices that a loop
    makes (its guard, `teacher: best`), so that no accuracy is reported on tasks that decided anything. `shuffle`:
    training tasks in an order drawn from the seed, not in the file's. `seed`: null for the run's.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    prompt: Name = "question"
    input: Name | None = None
    reference: Name | None = "answer"
    reference_after: Name | None = None
    id: Name | None = None
    system: Name | None = None
    template: str = "{prompt}"
    skip: int = Field(default=0, ge=0)
    limit: int | None = Field(default=None, ge=1)
    test: int | None = Field(default=None, ge=0)
    validation: int = Field(default=0, ge=0)
    shuffle: bool = False
    seed: int | None = None
    bad_rows: Literal["refuse", "skip"] = "refuse"

    @model_validator(mode="after")
    def _consistent(self) -> CommonTasks:
        if "{prompt}" not in self.template:
            raise ValueError("template has no {prompt}: write {prompt} where the row's prompt belongs")
        if self.reference is None and self.reference_after is not None:
            raise ValueError("reference_after needs a reference field: name one, or leave reference_after out")
        if self.validation and self.test is None:
            raise ValueError("validation is held out beside test: say how many in test")
        return self

    @property
    def held_out(self) -> int | None:
        """Tasks that are held out, for test and validation; None: all of a test source, or none."""
        return None if self.test is None else self.test + self.validation

    @property
    def held_out_in_words(self) -> str:
        """As the recipe says it."""
        validation = f", `tasks.validation: {self.validation}`" if self.validation else ""
        return f"`tasks.test: {self.test or 0}`{validation}"


class JsonlTasks(CommonTasks):
    """A JSON Lines file. `path` and `test_path` are relative to the recipe's folder."""

    source: Literal["jsonl"]
    path: Name
    test_path: Name | None = None


class HubTasks(CommonTasks):
    """A dataset by its hub name, or a local folder, parquet, csv or jsonl file that `datasets` reads."""

    source: Literal["hf"]
    path: Name
    name: Name | None = None
    split: Name = "train"
    test_split: Name | None = None


class GymTasks(CommonTasks):
    """A family of reasoning-gym with its parameters; tasks are generated, so there are as many as are asked for."""

    source: Literal["reasoning_gym"]
    family: Name
    params: dict[str, Any] = Field(default_factory=dict)
    limit: int = Field(default=500, ge=1)
    test: int = Field(default=100, ge=0)

    @model_validator(mode="after")
    def _own_params(self) -> GymTasks:
        taken = sorted({"seed", "size"} & self.params.keys())
        if taken:
            raise ValueError(f"params.{taken[0]} is set by Stillroom: use tasks.seed, tasks.limit and tasks.test")
        return self


TaskSettings = Annotated[JsonlTasks | HubTasks | GymTasks, Field(discriminator="source")]
