"""A loop without a model: a chain whose runs follow a script, on real tasks, with real rows on disk.

chain = FakeChain([Scripted(right=0.25), Scripted(right=0.5), NothingLeft("…")])
list(rounds_of(loaded, chain, folder).run())
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, cast

from stillroom.common.records import (
    Attempt,
    FinishReason,
    Outcome,
    ScoredAttempt,
    State,
    StopReason,
    Task,
    Verdict,
)
from stillroom.evaluation.forgetting import Forgotten
from stillroom.evaluation.guard import GuardReport, RoundFacts
from stillroom.evaluation.results import Evaluation
from stillroom.pipeline.config.kinds import Loaded
from stillroom.pipeline.config.loop import LoopRecipe, RoundPlan
from stillroom.pipeline.config.recipe import Recipe
from stillroom.pipeline.flows.chain import Chain
from stillroom.pipeline.flows.loop.rounds import Round, Rounds, held_out
from stillroom.pipeline.flows.traces import FinishedRun, RunResult
from stillroom.pipeline.run.folder import RunContext, RunFolder
from stillroom.pipeline.run.progress import Display
from stillroom.pipeline.stages.evaluate import Evaluated
from stillroom.pipeline.stages.filter import distil
from stillroom.sampling.ledger import Ledger
from stillroom.traces.tasks import TaskSet, load_tasks

QUIET = Display(quiet=True)
RIGHT, WRONG = State.ACCEPTED, State.REJECTED
TASKS: dict[str, Any] = {"source": "jsonl", "path": "tasks.jsonl", "limit": 4, "test": 20}
TEACHER: dict[str, Any] = {"kind": "recorded", "path": "recording.jsonl", "prompt": "question"}
OTHER: dict[str, Any] = {"kind": "openai", "model": "other", "base_url": "http://localhost:1/v1"}


def write_tasks(folder: Path, count: int = 60, name: str = "tasks.jsonl", first: int = 0) -> Path:
    """Sums of two numbers; gives the file."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = [{"question": f"What is {i} + 5?", "answer": str(i + 5)} for i in range(first, first + count)]
    (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return folder / name


def loop_recipe(loop: dict[str, Any] | None = None, **changes: Any) -> LoopRecipe:
    """A loop of three rounds on those sums. `loop` is laid over its loop, `changes` replace the rest."""
    values: dict[str, Any] = {
        "name": "sums",
        "tasks": TASKS,
        "teacher": TEACHER,
        "filters": ["finished"],
        "student": {"model": "base"},
        "evaluate": {"baselines": []},
    }
    return LoopRecipe.model_validate(values | changes | {"loop": {"rounds": 3} | nested(loop or {})})


def nested(loop: dict[str, Any]) -> dict[str, Any]:
    """The settings of a loop, with `later` and `in_round` for what stands in its `overrides`."""
    names = {"later": "from_round_2", "in_round": "round"}
    overrides = {names[key]: value for key, value in loop.items() if key in names}
    rest = {key: value for key, value in loop.items() if key not in names}
    return rest | ({"overrides": overrides} if overrides else {})


class Held(list[Outcome]):
    """Outcomes as the distillation reads them."""

    @property
    def attempts(self) -> int:
        return sum(len(outcome.attempts) for outcome in self)

    @property
    def kept(self) -> int:
        return sum(len(outcome.kept) for outcome in self)


def answer(task: Task, state: State, text: str = "", finish: FinishReason = "stop", index: int = 0) -> ScoredAttempt:
    """A scored attempt at a task."""
    said = text or f"#### {task.reference if state is RIGHT else 'no'}"
    return ScoredAttempt(
        Attempt(task.id, index, said, None, finish, 10, 5, None, 0.5, "fake"), Verdict(state, "because")
    )


def outcome(task: Task, *answers: ScoredAttempt) -> Outcome:
    """A task that is done; all that is accepted is kept."""
    kept = tuple(a.attempt.index for a in answers if a.verdict.state is RIGHT)
    return Outcome(task, answers, kept, StopReason.SATISFIED if kept else StopReason.EXHAUSTED)


@dataclass(frozen=True)
class Scripted:
    """What a run comes to. `right`: share of the held-out tasks that its student gets right, the first of them;
    `before`, `teacher`: likewise, None where they are not measured. `first`: share of its tasks whose first attempt is
    accepted, the others' second is. `stops`: whether its student does. `validated`: as `right`, on the tasks of
    validation, before and after."""

    right: float = 0.5
    before: float | None = None
    teacher: float | None = None
    first: float = 0.5
    stops: bool = True
    says: str = ""
    validated: float = 0.5
    forgotten: dict[str, Forgotten] = field(default_factory=dict)


class Asked(NamedTuple):
    """A run that was asked for."""

    recipe: Recipe
    folder: Path
    tasks: TaskSet
    given: bool


class FakeChain:
    """In the place of a chain: each run does what the script says next. `asked`: all that were asked for."""

    def __init__(self, script: Iterable[Scripted | BaseException]) -> None:
        self.script, self.asked = list(script), list[Asked]()

    def run(self, loaded: Loaded[Recipe], folder: Path, *, given: TaskSet | None = None) -> FinishedRun:
        tasks = given or load_tasks(loaded.recipe.tasks, base=loaded.base, seed=loaded.recipe.seed)
        self.asked.append(Asked(loaded.recipe, folder, tasks, given is not None))
        said = self.script.pop(0)
        if isinstance(said, BaseException):
            raise said
        return finished(said, loaded, folder, tasks)


def finished(said: Scripted, loaded: Loaded[Recipe], folder: Path, tasks: TaskSet) -> FinishedRun:
    """A finished run."""
    run_folder = RunFolder(folder, loaded.recipe.name)
    outcomes = sampled(said, tasks.train, folder.name)
    earlier = [loaded.base / each for each in loaded.recipe.earlier]
    distilled = distil(loaded.recipe, tasks, cast(Any, outcomes), run_folder, "fake", earlier)
    shares = {"student_after": said.right, "student_before": said.before, "teacher": said.teacher}
    finish: FinishReason = "stop" if said.stops else "length"
    measured = {who: held(tasks.test, share, finish) for who, share in shares.items() if share is not None}
    seen = ("student_before", "student_after") if tasks.validation else ()
    validation = {who: held(tasks.validation, said.validated, finish) for who in seen}
    evaluated = Evaluated(Evaluation(results=()), measured, validation, said.forgotten)
    result = RunResult(folder, len(tasks.train), outcomes.attempts, distilled.kept, distilled.written)
    return FinishedRun(context_in(run_folder, loaded.base), loaded.recipe, tasks, distilled, result, evaluated)


def context_in(folder: RunFolder, base: Path) -> RunContext:
    """A context in which nothing is asked."""
    return RunContext(folder, cast(Ledger, None), QUIET, base, 0)


def sampled(said: Scripted, tasks: Sequence[Task], who: str) -> Held:
    """Two attempts at each task, of which one is right: the first or the second."""
    firsts, found = round(said.first * len(tasks)), Held()
    for place, task in enumerate(tasks):
        text = said.says or f"In round {who}: {task.messages[-1].content[8:-1]} is this.\n#### {task.reference}"
        states = (RIGHT, WRONG) if place < firsts else (WRONG, RIGHT)
        answers = [
            answer(task, state, text if state is RIGHT else f"In round {who}.\n#### {i}", index=i)
            for i, state in enumerate(states)
        ]
        found.append(outcome(task, *answers))
    return found


def held(test: Sequence[Task], share: float, finish: FinishReason = "stop") -> dict[str, ScoredAttempt]:
    """One answer to each held-out task; the first so many are right."""
    rights = round(share * len(test))
    return {t.id: answer(t, RIGHT if i < rights else WRONG, finish=finish) for i, t in enumerate(test)}


def loaded_in(folder: Path, recipe: LoopRecipe, tasks: int = 60) -> Loaded[LoopRecipe]:
    """The recipe, with its tasks in a folder."""
    write_tasks(folder, tasks)
    return Loaded(recipe, folder, folder / "recipe.yaml")


def rounds_of(loaded: Loaded[LoopRecipe], chain: FakeChain, display: Display = QUIET) -> Rounds:
    """The rounds of a loop in `run/` of the recipe's folder."""
    folder = RunFolder(loaded.base / "run", loaded.recipe.name)
    folder.note(seed=loaded.recipe.seed)
    return Rounds(loaded, folder, cast(Chain, chain), display, held_out(loaded.recipe, loaded.base))


def run_rounds(
    folder: Path, script: Iterable[Scripted | BaseException], loop: dict[str, Any] | None = None, **changes: Any
) -> tuple[list[Round], FakeChain, Loaded[LoopRecipe]]:
    """Runs a loop by its script."""
    loaded, chain = loaded_in(folder, loop_recipe(loop, **changes)), FakeChain(script)
    return list(rounds_of(loaded, chain).run()), chain, loaded


def done(
    number: int, *, right: float = 0.5, first: float = 0.0, level: int = 0, run: FinishedRun | None = None
) -> Round:
    """A round for planning the next one."""
    facts = RoundFacts(right={f"t{i}": float(i < right * 100) for i in range(100)})
    return Round(RoundPlan(number, level=level), run or student_of(number), facts, GuardReport(()), first)


def student_of(number: int) -> FinishedRun:
    """A run of which only the student is known: `/runs/rounds/<number>/student/…`."""

    @dataclass
    class Place:
        path: Path

    place: Any = Place(Path(f"/runs/rounds/{number}"))
    nothing: Any = None
    return FinishedRun(context_in(place, Path()), nothing, nothing, nothing, RunResult(Path(), 0, 0, 0, 0))
