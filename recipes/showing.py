"""Shows what a run came to, whatever kind of recipe it was."""

from __future__ import annotations

from stillroom.recipes.calibration_runner import CalibrationResult
from stillroom.recipes.flow import Result
from stillroom.recipes.loop_runner import LoopResult
from stillroom.recipes.loop_show import show_loop
from stillroom.recipes.pilot import PilotResult
from stillroom.recipes.preference_report import show_calibration, show_preferences
from stillroom.recipes.preference_runner import PreferenceResult
from stillroom.recipes.progressive_runner import ProgressiveResult
from stillroom.recipes.progressive_show import show_stages
from stillroom.recipes.report import show_pilot, show_result
from stillroom.recipes.runner import RunResult


def show(result: Result) -> None:
    """Prints the tables of a result."""
    match result:
        case RunResult():
            show_result(result)
        case PilotResult():
            show_pilot(result)
        case PreferenceResult():
            show_preferences(result)
        case CalibrationResult():
            show_calibration(result)
        case LoopResult():
            show_loop(result.report)
        case ProgressiveResult():
            show_stages(result)
