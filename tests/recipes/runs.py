"""`stillroom run` of a recipe of traces, with the type of what comes back."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from stillroom.recipes import running
from stillroom.recipes.display import Display
from stillroom.recipes.pilot import PilotResult
from stillroom.recipes.runner import RunResult


def run(
    recipe: str | Path, *, set: Sequence[str] = (), out: str | Path | None = None, display: Display | None = None
) -> RunResult:
    """A whole run."""
    result = running.run(recipe, set=set, out=out, display=display)
    assert isinstance(result, RunResult)
    return result


def pilot(
    recipe: str | Path,
    count: int,
    *,
    set: Sequence[str] = (),
    out: str | Path | None = None,
    display: Display | None = None,
) -> PilotResult:
    """A pilot of so many tasks."""
    result = running.run(recipe, set=set, out=out, display=display, pilot=count)
    assert isinstance(result, PilotResult)
    return result
