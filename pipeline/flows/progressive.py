"""A progressive recipe: a chain of runs, in which the student of one stage teaches or begins a later one.

    name: steps
    stages:
      - {name: tutor, recipe: quickstart}
      - {name: pupil, recipe: quickstart, set: ["teacher.model=stage:tutor", "teacher.examples=[]"]}

Each stage is an ordinary run of traces in `stages/<name>`: a separate recipe, changed by `set`. Where a model stands,
`stage:NAME` is the student of an earlier stage, put in its place as soon as it is trained. Each stage is evaluated as
its recipe says; stages that hold out the same tasks are compared with one another as well. A chain that was killed
goes on where it was. Refuses, before anything is paid for, a stage that cannot be run at all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import Field, ValidationError, model_validator

from stillroom.common.printing import Terminal, columns, plain, terminal, wide
from stillroom.common.settings import Settings
from stillroom.errors import RecipeError
from stillroom.evaluation.comparisons import compare_all, corrected
from stillroom.evaluation.results import AFTER, Evaluation, Result, write_eval
from stillroom.pipeline.config.kinds import Loaded, RecipeBase, recipe_kinds
from stillroom.pipeline.config.load import load_recipe, shipped
from stillroom.pipeline.config.recipe import Recipe
from stillroom.pipeline.flows.chain import Chain
from stillroom.pipeline.flows.traces import FinishedRun, RunResult
from stillroom.pipeline.run.flow import Flow, FlowResult, flows
from stillroom.pipeline.run.folder import RunFolder, now
from stillroom.pipeline.run.progress import Display
from stillroom.pipeline.stages.plots import figures_of
from stillroom.pipeline.stages.train import require
from stillroom.report.evaluation_table import eval_table
from stillroom.traces.tasks import load_tasks

STAGE_PREFIX = "stage:"
"""Before the name of a stage: its student."""


class StageSettings(Settings):
    """One stage."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,39}$")]
    """Name of the stage; `stage:NAME` in a later one is its student."""
    recipe: str = Field(min_length=1)
    """Name of a shipped recipe, or a path relative to this recipe's folder."""
    set: tuple[str, ...] = ()
    """Changes to it, as after `--set`."""


@recipe_kinds.register(name="progressive")
class ProgressiveRecipe(RecipeBase):
    """A chain of stages, run in order."""

    marks: ClassVar[frozenset[str]] = frozenset({"stages"})

    seed: int | None = Field(default=None, ge=0, lt=2**31)
    """Seed of every stage; null: each its own."""
    stages: Annotated[tuple[StageSettings, ...], Field(min_length=1)]
    """The stages, in order."""

    @model_validator(mode="after")
    def _each_name_once(self) -> ProgressiveRecipe:
        names = [stage.name for stage in self.stages]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"two stages are called {name!r}: give each its own name")
        return self


@dataclass(frozen=True, slots=True)
class ProgressiveResult(FlowResult):
    """What a chain came to: the result of each stage, by name, and one evaluation of all; None where no stage asks
    for one."""

    folder: Path
    stages: dict[str, RunResult]
    evaluation: Evaluation | None = field(repr=False)

    def show(self, console: Terminal | None = None) -> None:
        console = wide(console or terminal())
        numbers = ("tasks", "attempts", "accepted", "rows")
        table = columns("stage", *numbers, right=numbers)
        for name, found in self.stages.items():
            counts = (found.tasks, found.attempts, found.accepted, found.rows)
            table.add_row(name, *(f"{n:,}" for n in counts))
        console.print(table)
        if self.evaluation is not None:
            console.print()
            console.print(eval_table(self.evaluation))
        console.print(plain(f"students in {self.folder}/stages/*/student"), soft_wrap=True)

    def figures(self) -> dict[str, Any]:
        return figures_of(self.evaluation)


@flows.register(name="progressive")
class Progressive(Flow[ProgressiveRecipe]):
    """Chains of recipes."""

    def run(self, loaded: Loaded[ProgressiveRecipe], folder: RunFolder, display: Display) -> ProgressiveResult:
        """All stages. Raises what a run does; RecipeError, before anything is paid for, for a stage that names a
        student that is not there by then."""
        folder.tell(display)
        stages, runs = loaded.recipe.stages, dict[str, FinishedRun]()
        _check(loaded)
        folder.begin(loaded, finished=None, parts=None)  # the parts are of other stages
        with Chain(display) as chain:
            for number, stage in enumerate(stages, 1):
                display.line(stage.name[:9], f"stage {number} of {len(stages)}: {stage.recipe}")
                students = {name: run.model for name, run in runs.items()}
                runs[stage.name] = chain.run(_load(loaded, stage, students), folder.path / "stages" / stage.name)
            evaluation = evaluate_stages(runs, loaded.recipe.seed or 0)
        if evaluation is not None:
            write_eval(evaluation, folder.path / "eval.json")
        folder.note(finished=now(), parts=chain.parts(folder.path))
        return ProgressiveResult(folder.path, {name: run.result for name, run in runs.items()}, evaluation)

    def allow_code(self, loaded: Loaded[ProgressiveRecipe], folder: RunFolder, *, trust: bool) -> None:
        """As `Flow.allow_code`, for the recipe of every stage."""
        students = {stage.name: f"(the student of stage {stage.name})" for stage in loaded.recipe.stages}
        for stage in loaded.recipe.stages:
            found = _load(loaded, stage, students)
            folder.allow_code(found.recipe, found.base, trust=trust)


def _check(loaded: Loaded[ProgressiveRecipe]) -> None:
    """Every stage is read, its tasks, its teacher and its student's model found, as far as can be before the first
    is run."""
    trained: dict[str, str] = {}
    for stage in loaded.recipe.stages:
        found = _load(loaded, stage, trained)
        recipe = found.recipe
        if recipe.student is not None and recipe.student.model not in trained.values():
            require(recipe.student, found.base, recipe.seed)
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
    found = {key: _placed(of, students, stage) for key, of in value.items()}
    model = value.get("model")
    if isinstance(model, str) and model.startswith(STAGE_PREFIX) and (name := model.removeprefix(STAGE_PREFIX)):
        if name not in students:
            before = ", ".join(students) or "none: it is the first, or those before it train nobody"
            raise RecipeError(f"stage {stage}: {model} is the student of no stage before it; those are {before}")
        found["model"] = students[name]
    return found


def evaluate_stages(runs: Mapping[str, FinishedRun], seed: int) -> Evaluation | None:
    """The results of all stages, `<stage>/<who>` each, and the comparisons within and between them; corrected for
    all. Students of different stages are compared where they answered the same held-out tasks."""
    own = {name: run.result.evaluation for name, run in runs.items() if run.result.evaluation is not None}
    if not own:
        return None
    comparisons = [
        c.model_copy(update={"a": f"{name}/{c.a}", "b": f"{name}/{c.b}"})
        for name, found in own.items()
        for c in found.comparisons
    ]
    answers = {f"{name}/{AFTER}": runs[name].answers(AFTER) for name in own}
    between = compare_all(answers, _pairs(runs, list(own)), seed=seed)
    return Evaluation(
        results=tuple(_of_stage(row, name) for name, found in own.items() for row in found.results),
        comparisons=corrected([*between, *comparisons]),
        notes=tuple(f"{name}: {note}" for name, found in own.items() for note in found.notes),
    )


def _pairs(runs: Mapping[str, FinishedRun], names: Sequence[str]) -> list[tuple[str, str]]:
    """Each stage against those before it, where both hold out the same tasks."""
    held_out = {name: [(t.id, t.messages, t.reference) for t in runs[name].tasks.test] for name in names}
    return [(f"{b}/{AFTER}", f"{a}/{AFTER}") for a, b in combinations(names, 2) if held_out[a] == held_out[b]]


def _of_stage(row: Result, stage: str) -> Result:
    against = (row.model_extra or {}).get("against")
    renamed = {"who": f"{stage}/{row.who}"} | ({"against": f"{stage}/{against}"} if against else {})
    return row.model_copy(update=renamed)
