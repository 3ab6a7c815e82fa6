"""Runs that hang together: each an ordinary run of traces in a folder of its own, all under one roof.

    with Chain(display, meter) as chain:
        first = chain.run(loaded, folder / "rounds" / "1")
        second = chain.run(loaded_second, folder / "rounds" / "2")
        first.run.distilled.outcomes         # the ledgers stay open until the chain ends

Every run resumes by itself, so a chain that was killed anywhere goes on where it was: what is done is found done.
What the runs ask is counted together, so that limits hold for the chain.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from stillroom.recipes.display import Display
from stillroom.recipes.distil import Distilled
from stillroom.recipes.folder import RunFolder
from stillroom.recipes.loading import Loaded
from stillroom.recipes.runner import Run, RunResult
from stillroom.recipes.schema import Recipe
from stillroom.recipes.students_stage import STUDENT, model_in
from stillroom.sampling.limits import Meter
from stillroom.sampling.writing import replaced
from stillroom.traces.tasks import TaskSet


@dataclass(frozen=True, slots=True)
class Link:
    """One finished run of a chain."""

    run: Run
    result: RunResult

    @property
    def folder(self) -> Path:
        """Its folder."""
        return self.run.folder.path

    @property
    def tasks(self) -> TaskSet:
        """Its tasks."""
        assert self.run.tasks is not None
        return self.run.tasks

    @property
    def distilled(self) -> Distilled:
        """Its rows."""
        assert self.run.distilled is not None
        return self.run.distilled

    @property
    def model(self) -> str:
        """The student that it trained, as a model's name. The path is absolute: other runs name it."""
        return model_in((self.folder / STUDENT).resolve())


BEFORE_FILE = Path("forgetting") / "student_before.json"


def hand_on(earlier: Sequence[Path], folder: Path) -> None:
    """What a run measured of the model before, laid where a later run would measure it again. The file names all that
    it depends on, so where anything differs it is measured anew."""
    known = next((path / BEFORE_FILE for path in earlier if (path / BEFORE_FILE).is_file()), None)
    if known is not None and not (folder / BEFORE_FILE).exists():
        with replaced(folder / BEFORE_FILE) as file:
            file.write(known.read_bytes())


class Chain:
    """Runs one after the other. `meter`: counts what all of them ask; None: each its own."""

    def __init__(self, display: Display, meter: Meter | None = None) -> None:
        self._display, self._meter = display, meter
        self._open = ExitStack()
        self._folders: list[Path] = []

    def __enter__(self) -> Self:
        return self

    def parts(self, folder: Path) -> list[str]:
        """The runs that were begun, by their places in the folder of the whole."""
        return [path.relative_to(folder).as_posix() for path in self._folders]

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def start(self, loaded: Loaded[Recipe], folder: Path, *, given: TaskSet | None = None) -> Run:
        """A run in its folder, not begun. `given`: tasks in the place of those that the recipe names.

        Raises RunFolderError or LedgerError where the folder is another's or in use."""
        run_folder = RunFolder(folder, loaded.recipe.name)
        ledger = self._open.enter_context(run_folder.opened(self._display))
        return Run(loaded, run_folder, ledger, self._display, given=given, meter=self._meter)

    def run(self, loaded: Loaded[Recipe], folder: Path, *, given: TaskSet | None = None) -> Link:
        """Runs it to its end, or goes on with it. Raises what a run does."""
        run, began = self.start(loaded, folder, given=given), time.monotonic()
        before = run.folder["started"], run.folder["finished"], run.folder["stages"]
        hand_on(self._folders, folder)
        self._folders.append(folder)
        result, took = run.execute(), time.monotonic() - began
        started, finished, stages = before
        if finished is None or run.folder["stages"] != stages:  # a call that found all done took no time of it
            run.folder.note(seconds=round(took, 1), resumed=started is not None)
        return Link(run, result)
