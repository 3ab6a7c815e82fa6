"""Runs a progressive recipe: its stages one after the other, each an ordinary run of traces in `stages/<name>`.

What a stage asks of an earlier one, its student, is put in its place as soon as it is trained. Each stage is
evaluated as its recipe says; stages that hold out the same tasks are compared with one another as well. A chain
that was killed goes on where it was. Refuses, before anything is paid for, a stage that cannot be run at all.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from stillroom.common.printing import Terminal, columns, plain, terminal, wide
from stillroom.errors import RecipeError
from stillroom.evaluation.comparisons import compare_all, corrected
from stillroom.evaluation.results import AFTER, Comparison, Evaluation, Result, write_eval
from stillroom.pipeline.config.chain import STAGE_PREFIX, ProgressiveRecipe, StageSettings
from stillroom.pipeline.config.kinds import Loaded
from stillroom.pipeline.config.load import dump, load_recipe, shipped
from stillroom.pipeline.config.recipe import Recipe
from stillroom.pipeline.flows.chain import Chain
from stillroom.pipeline.flows.loop.rounds import answers_of
from stillroom.pipeline.flows.traces import FinishedRun, RunResult
from stillroom.pipeline.run.flow import Flow, FlowResult, flows
from stillroom.pipeline.run.folder import RunFolder, now, versions
from stillroom.pipeline.run.progress import Display
from stillroom.pipeline.stages import train as students_stage
from stillroom.pipeline.stages.plots import figures_of
from stillroom.traces.tasks import load_tasks

STAGES = "stages"


@dataclass(frozen=True, slots=True)
class ProgressiveResult(FlowResult):
    """What a chain came to: the result of each stage, by name, and one evaluation of all; None where no stage asks
    for one."""

    folder: Path
    stages: dict[str, RunResult]
    evaluation: Evaluation | None = field(repr=False)

    def as_dict(self) -> dict[str, Any]:
        evaluation = self.evaluation
        return {
            "folder": str(self.folder),
            "stages": {name: result.as_dict() for name, result in self.stages.items()},
            "evaluation": None if evaluation is None else evaluation.model_dump(mode="json", exclude_none=True),
        }

    def show(self, console: Terminal | None = None) -> None:
        console = wide(console or terminal())
        numbers = ("tasks", "attempts", "accepted", "rows")
        table = columns("stage", *numbers, right=numbers)
        for name, found in self.stages.items():
            counts = (found.tasks, found.attempts, found.accepted, found.rows)
            table.add_row(name, *(f"{n:,}" for n in counts))
        console.print(table)
        if self.evaluation is not None:
            from stillroom.report.evaluation_table import eval_table

            console.print()
            console.print(eval_table(self.evaluation))
        console.print(plain(f"students in {self.folder}/stages/*/student"), soft_wrap=True)

    def figures(self) -> dict[str, Any]:
        return figures_of(self.evaluation)


@flows.register(name="progressive")
class Progressive(Flow[ProgressiveRecipe]):
    """Chains of recipes."""

    def run(self, loaded: Loaded[ProgressiveRecipe], folder: RunFolder, display: Display) -> ProgressiveResult:
        folder.tell(display)
        return run_stages(loaded, folder, display)

    def allow_code(self, loaded: Loaded[ProgressiveRecipe], folder: RunFolder, *, trust: bool) -> None:
        """As `Flow.allow_code`, for the recipe of every stage."""
        students = {stage.name: f"(the student of stage {stage.name})" for stage in loaded.recipe.stages}
        for stage in loaded.recipe.stages:
            found = _load(loaded, stage, students)
            folder.allow_code(found.recipe, found.base, trust=trust)


def run_stages(loaded: Loaded[ProgressiveRecipe], folder: RunFolder, display: Display) -> ProgressiveResult:
    """All stages. Raises what a run does; RecipeError, before anything is paid for, for a stage that names a student
    that is not there by then."""
    stages, runs = loaded.recipe.stages, dict[str, FinishedRun]()
    _check(loaded)
    folder.note(started=folder["started"] or now(), finished=None, seed=loaded.recipe.seed, versions=versions())
    folder.note(parts=None)  # of other stages
    folder.write("recipe.yaml", dump(loaded.recipe))
    with Chain(display) as chain:
        for number, stage in enumerate(stages, 1):
            display.line(stage.name[:9], f"stage {number} of {len(stages)}: {stage.recipe}")
            students = {name: run.model for name, run in runs.items()}
            runs[stage.name] = chain.run(_load(loaded, stage, students), folder.path / STAGES / stage.name)
        evaluation = evaluate_stages(runs, loaded.recipe.seed or 0)
    if evaluation is not None:
        write_eval(evaluation, folder.path / "eval.json")
    folder.note(finished=now(), parts=chain.parts(folder.path))
    return ProgressiveResult(folder.path, {name: run.result for name, run in runs.items()}, evaluation)


def _check(loaded: Loaded[ProgressiveRecipe]) -> None:
    """Every stage is read, its tasks, its teacher and its student's model found, as far as can be before the first
    is run."""
    trained: dict[str, str] = {}
    for stage in loaded.recipe.stages:
        found = _load(loaded, stage, trained)
        recipe = found.recipe
        if recipe.student is not None and recipe.student.model not in trained.values():
            students_stage.require(recipe.student)
        if recipe.teacher.model not in trained.values():
            recipe.teacher.make(found.base)
        load_tasks(recipe.tasks, base=found.base, seed=recipe.seed)
        if recipe.student is not None:
            trained[stage.name] = f"(the student of stage {stage.name})"


def _load(loaded: Loaded[ProgressiveRecipe], stage: StageSettings, students: Mapping[str, str]) -> Loaded[Recipe]:
    """The recipe of a stage, the students of earlier ones in their places."""
    path = loaded.base / stage.recipe
    known = str(stage.recipe) in shipped() and not path.exists()
    seed = [] if loaded.recipe.seed is None else [f"seed={loaded.recipe.seed}"]
    try:
        found = load_recipe(stage.recipe if known else path, [*seed, *stage.set])
    except RecipeError as error:
        raise RecipeError(f"stage {stage.name}: {error}") from None
    values = _placed(found.recipe.model_dump(mode="json", by_alias=True), students, stage.name)
    values["name"] = f"{loaded.recipe.name}-{stage.name}"
    try:
        return Loaded(Recipe.model_validate(values), found.base, found.path)
    except ValidationError as error:  # of the name, which is longer than the recipe's own
        said = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise RecipeError(f"stage {stage.name} cannot be run: {said}") from None


def _placed(value: Any, students: Mapping[str, str], stage: str) -> Any:
    """`stage:NAME` in a `model` replaced by that student."""
    if not isinstance(value, dict):
        return value
    return {
        key: _student(of, students, stage) if key == "model" and isinstance(of, str) else _placed(of, students, stage)
        for key, of in value.items()
    }


def _student(model: str, students: Mapping[str, str], stage: str) -> str:
    named = re.fullmatch(rf"{STAGE_PREFIX}(.+)", model)
    if named is None:
        return model
    if named[1] not in students:
        before = ", ".join(students) or "none: it is the first, or those before it train nobody"
        raise RecipeError(f"stage {stage}: {model} is the student of no stage before it; those are {before}")
    return students[named[1]]


def evaluate_stages(runs: Mapping[str, FinishedRun], seed: int) -> Evaluation | None:
    """The results of all stages, `<stage>/<who>` each, and the comparisons within and between them; corrected for
    all. Students of different stages are compared where they answered the same held-out tasks."""
    own = {name: run.result.evaluation for name, run in runs.items() if run.result.evaluation is not None}
    if not own:
        return None
    comparisons = [_renamed(c, name) for name, found in own.items() for c in found.comparisons]
    answers = {f"{name}/{AFTER}": answers_of(runs[name], AFTER) for name in own}
    between = compare_all(answers, _pairs(runs, list(own)), seed=seed)
    return Evaluation(
        results=tuple(_of_stage(row, name) for name, found in own.items() for row in found.results),
        comparisons=corrected([*between, *comparisons]),
        notes=tuple(f"{name}: {note}" for name, found in own.items() for note in found.notes),
    )


def _pairs(runs: Mapping[str, FinishedRun], names: Sequence[str]) -> list[tuple[str, str]]:
    """Each stage against those before it, where both hold out the same tasks."""
    same = combinations(names, 2)
    return [(f"{b}/{AFTER}", f"{a}/{AFTER}") for a, b in same if _held_out(runs[a]) == _held_out(runs[b])]


def _held_out(run: FinishedRun) -> list[Any]:
    return [(task.id, task.messages, task.reference) for task in run.tasks.test]


def _of_stage(row: Result, stage: str) -> Result:
    against = (row.model_extra or {}).get("against")
    renamed = {"who": f"{stage}/{row.who}"} | ({"against": f"{stage}/{against}"} if against else {})
    return row.model_copy(update=renamed)


def _renamed(found: Comparison, stage: str) -> Comparison:
    return found.model_copy(update={"a": f"{stage}/{found.a}", "b": f"{stage}/{found.b}"})
