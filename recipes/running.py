"""`stillroom run` for every kind of recipe: traces, preferences, a loop, a chain, or a comparison of judges.

run("quickstart")                       # RunResult
run("writing_recorded")                 # PreferenceResult
run("llmbar_recorded")                  # CalibrationResult
run("self_distill")                     # LoopResult
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from stillroom.errors import InputError, RunFolderError
from stillroom.recipes.calibration_runner import CalibrationResult, run_calibration
from stillroom.recipes.context import opened
from stillroom.recipes.display import Display
from stillroom.recipes.folder import RunFolder, run_path
from stillroom.recipes.loading import Loaded, load_any
from stillroom.recipes.loop_runner import LoopResult, LoopRun
from stillroom.recipes.loop_schema import LoopRecipe
from stillroom.recipes.pilot import PilotResult
from stillroom.recipes.preference_runner import PreferenceResult, run_preferences
from stillroom.recipes.preference_schema import CalibrationRecipe, PreferenceRecipe
from stillroom.recipes.progressive_runner import ProgressiveResult, run_stages
from stillroom.recipes.progressive_schema import ProgressiveRecipe
from stillroom.recipes.runner import RunResult, pilot_traces, run_traces
from stillroom.recipes.schema import Recipe
from stillroom.sampling.run_async import off_the_loop

Result = RunResult | PilotResult | PreferenceResult | CalibrationResult | LoopResult | ProgressiveResult


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
    found, base, path = loaded
    if pilot is not None and (not isinstance(found, Recipe) or isinstance(found, LoopRecipe)):
        raise InputError(f"--pilot forecasts recipes of traces; {found.name} is of another kind: drop it")
    place = run_path(out, found.name)
    if isinstance(found, Recipe) and not isinstance(found, LoopRecipe) and (place / "rounds").is_dir():
        raise RunFolderError(f"{place} is the folder of a loop: give another folder with --out")
    folder = RunFolder(place, found.name)
    match found:
        case PreferenceRecipe():
            preferences = Loaded(found, base, path)
            with opened(folder, preferences, shown) as context:
                return run_preferences(context, preferences)
        case CalibrationRecipe():
            folder.tell(shown)
            return run_calibration(Loaded(found, base, path), folder, shown)
        case LoopRecipe():
            folder.tell(shown)
            return LoopRun(Loaded(found, base, path), folder, shown).execute()
        case ProgressiveRecipe():
            folder.tell(shown)
            return run_stages(Loaded(found, base, path), folder, shown)
        case Recipe():
            traces = Loaded(found, base, path)
            with opened(folder, traces, shown) as context:
                return run_traces(context, traces).result if pilot is None else pilot_traces(context, traces, pilot)
