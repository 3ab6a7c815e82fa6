"""`student.report_to`: a training's losses in trackio, Weights & Biases, TensorBoard or MLflow, while it runs.

    student: {report_to: [tensorboard, trackio]}

By the callbacks of transformers, which read keys where their packages do: none is asked for or written here. The
project is named after the recipe, and the config holds the recipe as the run's folder has it, in which values of the
environment are names, key by key (`recipe.teacher.model`). TensorBoard's files are in the run's `tensorboard/`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, NamedTuple

from stillroom.common.secrets import named_in
from stillroom.errors import MissingExtra

Tracker = Literal["trackio", "wandb", "tensorboard", "mlflow"]
PROJECT_VARIABLES = ("WANDB_PROJECT", "MLFLOW_EXPERIMENT_NAME")
"""Where trackers look for the project's name besides the trainer's arguments."""


class Watched(NamedTuple):
    """What a run tells a tracker of a training. `project`, `name`: it is shown under; `config`: the recipe; `folder`:
    of the run."""

    project: str
    name: str
    config: Mapping[str, Any]
    folder: Path


def check_trackers(trackers: tuple[Tracker, ...]) -> None:
    """Raises MissingExtra for one that is not installed."""
    for name in trackers:
        found = find_spec(name)
        if found is None or found.origin is None:  # a folder of that name, such as wandb's own for its files
            raise MissingExtra(f"student.report_to: {name}", name, name)


@contextmanager
def reporting(trainer: Any, watched: Watched | None) -> Iterator[None]:
    """Gives the trainer's trackers, for the block, what the run knows of the training."""
    if watched is None or trainer.args.report_to in ([], ["none"], "none"):
        yield
        return
    args, plain = trainer.args, trainer.args.to_dict
    args.project, args.run_name = watched.project, watched.name
    args.to_dict = lambda: plain() | dict(flat(named_in(dict(watched.config)), "recipe"))
    for callback in trainer.callback_handler.callbacks:
        if type(callback).__name__ == "TensorBoardCallback" and callback.logging_dir is None:
            callback.logging_dir = str(watched.folder / "tensorboard" / watched.name)
    ours = [name for name in PROJECT_VARIABLES if name not in os.environ]
    os.environ.update(dict.fromkeys(ours, watched.project))
    try:
        with redirect_stdout(sys.stderr):  # they greet on standard output, which holds the result alone
            yield
    finally:
        for name in ours:
            os.environ.pop(name, None)


def flat(value: Any, name: str) -> Iterator[tuple[str, Any]]:
    """Every value of nested data with the keys that lead to it: MLflow drops longer ones."""
    items = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list) else None
    if items is None:
        yield name, value
        return
    for key, each in items:
        yield from flat(each, f"{name}.{key}")
