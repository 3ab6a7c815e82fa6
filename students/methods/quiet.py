"""Training libraries, kept from writing on the user's terminal.

    with quiet_training():
        trainer.train()

Switches off the progress bars of transformers and datasets, and what these libraries log below an error: it is about
their inside, and nothing a user could act on. Python warnings still show; in the versions pinned there is none.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from stillroom.common.models.resolve import import_torch, quiet_transformers
from stillroom.errors import MissingExtra

LOGGERS = ("trl", "peft", "accelerate", "datasets")


@contextmanager
def quiet_training() -> Iterator[None]:
    """Raises MissingExtra if a part of the extra `train` is not installed."""
    try:
        import_torch()  # before peft loads it: its threads shall sleep while they wait
        import datasets
        import peft  # noqa: F401
        import trl  # noqa: F401
    except ImportError as error:
        raise MissingExtra("training a student", error.name or "trl", "train") from error
    with ExitStack() as stack:
        stack.enter_context(quiet_transformers())
        for name in LOGGERS:
            stack.callback(logging.getLogger(name).setLevel, logging.getLogger(name).level)
            logging.getLogger(name).setLevel(logging.ERROR)
        if not datasets.are_progress_bars_disabled():
            stack.callback(datasets.enable_progress_bars)
            datasets.disable_progress_bars()
        yield
