"""`stillroom run` of a recipe of traces, with the type of what comes back."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from stillroom.pipeline.flows import run as running
from stillroom.pipeline.flows.traces import RunResult
from stillroom.pipeline.planning.forecast import PilotResult
from stillroom.pipeline.run.progress import Display


def run(
    recipe: str | Path,
    *,
    set: Sequence[str] = (),
    out: str | Path | None = None,
    display: Display | None = None,
    trust: bool = False,
) -> RunResult:
    """A whole run."""
    result = running.run(recipe, set=set, out=out, display=display, trust=trust)
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
