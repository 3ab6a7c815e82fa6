"""Runs that belong together: each is an ordinary run of traces in its own folder, all below one folder.

    with Chain(display, meter) as chain:
        first = chain.run(loaded, folder / "rounds" / "1")
        second = chain.run(loaded_second, folder / "rounds" / "2")
        first.distilled.outcomes             # the ledgers stay open until the chain ends

Every run resumes by itself, so a chain that was killed anywhere goes on where it was: what is done is found done.
What the runs ask is counted together, so that limits hold for the chain.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from stillroom.common.files import replaced
from stillroom.pipeline.config.kinds import Loaded
from stillroom.pipeline.config.recipe import Recipe
from stillroom.pipeline.flows.traces import FinishedRun, run_traces
from stillroom.pipeline.run.folder import RunFolder, opened
from stillroom.pipeline.run.progress import Display
from stillroom.sampling.limits import Meter
from stillroom.traces.tasks import TaskSet

BEFORE_FILE = Path("forgetting") / "student_before.json"


def hand_on(earlier: Sequence[Path], folder: Path) -> None:
    """What a run measured of the model before, laid where a later run would measure it again. The file names all that
    it depends on, so where anything differs it is measured again."""
    known = next((path / BEFORE_FILE for path in earlier if (path / BEFORE_FILE).is_file()), None)
    if known is not None and not (folder / BEFORE_FILE).exists():
        with replaced(folder / BEFORE_FILE) as file:
            file.write(known.read_bytes())


class Chain(ExitStack):
    """Runs one after the other. `meter`: counts what all of them ask; None: each its own."""

    def __init__(self, display: Display, meter: Meter | None = None) -> None:
        super().__init__()
        self._display, self._meter = display, meter
        self._folders: list[Path] = []

    def parts(self, folder: Path) -> list[str]:
        """The runs that were begun, by their places in the folder of the whole."""
        return [path.relative_to(folder).as_posix() for path in self._folders]

    def run(self, loaded: Loaded[Recipe], folder: Path, *, given: TaskSet | None = None) -> FinishedRun:
        """Runs it to its end, or goes on with it. `given`: tasks in the place of those that the recipe names.

        Raises what a run does, RunFolderError or LedgerError where the folder is another's or in use."""
        run_folder, began = RunFolder(folder, loaded.recipe.name), time.monotonic()
        context = self.enter_context(opened(run_folder, loaded, self._display, self._meter))
        started, finished, stages = run_folder["started"], run_folder["finished"], run_folder["stages"]
        hand_on(self._folders, folder)
        self._folders.append(folder)
        found, took = run_traces(context, loaded, given=given), time.monotonic() - began
        if finished is None or run_folder["stages"] != stages:  # a call that found all done took no time of it
            run_folder.note(seconds=round(took, 1), resumed=started is not None)
        return found
