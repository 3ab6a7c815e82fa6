"""How recipes are run: a flow for each kind.

flow_of(loaded.recipe).run(loaded, folder, display)
"""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any, Generic, NamedTuple, Protocol

from pydantic import BaseModel

from stillroom.common.printing import Terminal, json_text, terminal
from stillroom.common.registry import Registry
from stillroom.errors import InputError
from stillroom.evaluation.results import Evaluation
from stillroom.pipeline.config.kinds import FLOWS, Loaded, R, RecipeBase, kind_name
from stillroom.pipeline.run.folder import RunFolder
from stillroom.pipeline.run.progress import Display
from stillroom.sampling.ledger import Ledger
from stillroom.students.lint.report import LintReport
from stillroom.traces.tasks import TaskSet


class FlowResult:
    """Base of what runs come to: a dataclass."""

    __slots__ = ()
    folder: Path

    def as_dict(self) -> dict[str, Any]:
        """Plain data, for JSON: its fields."""
        return {each.name: _plain(getattr(self, each.name)) for each in fields(self)}  # type: ignore[arg-type]

    def show(self, console: Terminal | None = None) -> None:
        """Prints it, on standard output unless a console is given: tables, for a kind that has some."""
        (console or terminal()).print(json_text(self.as_dict(), indent=2))

    def figures(self) -> dict[str, Any]:
        """Its plots by name, as figures of matplotlib, which a notebook shows. Raises MissingExtra without it."""
        return {}


def _plain(value: Any) -> Any:
    if isinstance(value, Evaluation):
        return value.model_dump(mode="json", exclude_none=True)
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    for method in ("as_dict", "_asdict"):
        if hasattr(value, method):
            return getattr(value, method)()
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, tuple):
        return [_plain(each) for each in value]
    return str(value) if isinstance(value, Path) else value


class Plan(Protocol):
    """What running a recipe now would cost."""

    def as_dict(self) -> dict[str, Any]:
        """Plain data, for JSON."""

    def show(self, console: Terminal) -> None:
        """Prints it."""


class Planned(NamedTuple):
    """A plan; None where there is none, and `why_not` says why."""

    plan: Plan | None
    why_not: str = ""


class Flow(Generic[R]):
    """How the recipes of a kind are run."""

    def run(self, loaded: Loaded[R], folder: RunFolder, display: Display) -> FlowResult:
        """Runs it, or goes on with it. Raises InputError before anything is paid for, RunError after."""
        raise NotImplementedError

    def allow_code(self, loaded: Loaded[R], folder: RunFolder, *, trust: bool) -> None:
        """Lets the code run that the recipe names, as `RunFolder.allow_code`; a kind that is made of other recipes
        looks at those, too."""
        folder.allow_code(loaded.recipe, loaded.base, trust=trust)

    def pilot(self, loaded: Loaded[R], folder: RunFolder, display: Display, count: int) -> FlowResult:
        """Samples `count` tasks, and forecasts the whole run. Raises InputError for a kind without a pilot."""
        raise InputError(f"--pilot forecasts recipes of traces; {loaded.recipe.name} is of another kind: drop it")

    def plan(self, loaded: Loaded[R], ledger: Ledger, facts: dict[str, Any]) -> Planned:
        """What running it now would cost, from the ledger alone. `facts`: of `run.json`."""
        return Planned(None, f"a recipe of kind {kind_name(loaded.recipe)} asks nobody by itself")

    def tasks(self, loaded: Loaded[R]) -> TaskSet | None:
        """Its tasks; None for a kind without tasks. Raises what loading them raises."""
        return None

    def lint(self, loaded: Loaded[R], folder: Path) -> LintReport:
        """The lint of the rows that a run has written into the folder. Raises MissingFile where there are none yet,
        InputError for a kind that trains nobody by itself."""
        raise InputError(
            f"{loaded.path} trains no student by itself, so there is nothing to lint: the runs that it is made of "
            "are linted before they train, and lint.html in the folder of each says what was found"
        )


flows: Registry[Flow[Any]] = Registry("flow", tag="kind", where=(FLOWS,))
"""How the recipes of each kind are run."""


def flow_of(recipe: RecipeBase) -> Flow[Any]:
    """How a recipe is run."""
    return flows[kind_name(recipe)]()
