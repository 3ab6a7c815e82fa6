"""Shows what a run came to, whatever kind of recipe it was."""

from __future__ import annotations

from stillroom.cli.show_chain import show_stages
from stillroom.cli.show_preferences import show_calibration, show_preferences
from stillroom.cli.show_run import show_pilot, show_result
from stillroom.common.printing import json_text, terminal
from stillroom.pipeline.flows.calibration import CalibrationResult
from stillroom.pipeline.flows.loop.loop import LoopResult
from stillroom.pipeline.flows.preferences import PreferenceResult
from stillroom.pipeline.flows.progressive import ProgressiveResult
from stillroom.pipeline.flows.traces import RunResult
from stillroom.pipeline.planning.forecast import PilotResult
from stillroom.pipeline.run.flow import Result
from stillroom.report.loop_terminal import show_loop


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
        case _:  # a kind of recipe that has no tables
            terminal().print(json_text(result.as_dict(), indent=2), soft_wrap=True)
