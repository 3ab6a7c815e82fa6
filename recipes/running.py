"""`stillroom run` for every kind of recipe: traces, preferences, a loop, a chain, or a comparison of judges.

run("quickstart")                       # RunResult
run("writing_recorded")                 # PreferenceResult
run("llmbar_recorded")                  # CalibrationResult
run("self_distill")                     # LoopResult
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from stillroom.errors import InputError
from stillroom.recipes import runner
from stillroom.recipes.calibration_runner import CalibrationResult, run_calibration
from stillroom.recipes.display import Display
from stillroom.recipes.folder import RunFolder, run_path
from stillroom.recipes.loading import AnyRecipe, Loaded, load_any
from stillroom.recipes.loop_runner import LoopResult, LoopRun
from stillroom.recipes.loop_schema import LoopRecipe
from stillroom.recipes.pilot import PilotResult
from stillroom.recipes.preference_runner import PreferenceResult, PreferenceRun
from stillroom.recipes.preference_schema import CalibrationRecipe, PreferenceRecipe
from stillroom.recipes.progressive_runner import ProgressiveResult, run_stages
from stillroom.recipes.progressive_schema import ProgressiveRecipe
from stillroom.recipes.sampling_stage import off_the_loop

Result = runner.RunResult | PilotResult | PreferenceResult | CalibrationResult | LoopResult | ProgressiveResult


@off_the_loop
def run(
    recipe: str | Path,
    *,
    set: Sequence[str] = (),
    out: str | Path | None = None,
    pilot: int | None = None,
    display: Display | None = None,
) -> Result:
    """Runs a recipe, or goes on with it; what comes back depends on its kind.

    `recipe`: a path, or the name of a shipped recipe. `set`: overrides such as "keep.per_task=2". `out`: the run's
    folder, default `runs/<name>`. `pilot`: samples only so many tasks, and forecasts what all will take and bring
    (recipes of one run of traces only). Raises InputError before anything is paid for, RunError after.
    """
    loaded, shown = load_any(recipe, set), display or Display()
    match loaded.recipe:
        case PreferenceRecipe() as preferences:
            _no_pilot(pilot, loaded)
            return _preferences(Loaded(preferences, loaded.base, loaded.path), out, shown)
        case CalibrationRecipe() as calibration:
            _no_pilot(pilot, loaded)
            folder = RunFolder(run_path(out, calibration.name), calibration.name)
            folder.tell(shown)
            return run_calibration(Loaded(calibration, loaded.base, loaded.path), folder, shown)
        case LoopRecipe() as loop:
            _no_pilot(pilot, loaded)
            folder = RunFolder(run_path(out, loop.name), loop.name)
            folder.tell(shown)
            return LoopRun(Loaded(loop, loaded.base, loaded.path), folder, shown).execute()
        case ProgressiveRecipe() as progressive:
            _no_pilot(pilot, loaded)
            folder = RunFolder(run_path(out, progressive.name), progressive.name)
            folder.tell(shown)
            return run_stages(Loaded(progressive, loaded.base, loaded.path), folder, shown)
    if pilot is None:
        return runner.run(recipe, set=set, out=out, display=shown)
    return runner.run(recipe, set=set, out=out, pilot=pilot, display=shown)


def _preferences(loaded: Loaded[PreferenceRecipe], out: str | Path | None, display: Display) -> PreferenceResult:
    folder = RunFolder(run_path(out, loaded.recipe.name), loaded.recipe.name)
    with folder.opened(display) as ledger:
        return PreferenceRun(loaded, folder, ledger, display).execute()


def _no_pilot(pilot: int | None, loaded: Loaded[AnyRecipe]) -> None:
    if pilot is not None:
        raise InputError(f"--pilot forecasts recipes of traces; {loaded.recipe.name} is of another kind: drop it")
