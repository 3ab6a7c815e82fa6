"""Training libraries, kept from writing on the user's terminal.

    with quiet_training():
        trainer.train()

Switches off the progress bars of datasets, the log lines of trl, peft and accelerate, and the warnings named below:
each is about the inside of these libraries and nothing a user could act on. Everything else still shows.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from stillroom.errors import MissingExtra
from stillroom.sampling.models import quiet_transformers

LOGGERS = ("trl", "peft", "accelerate", "datasets")

# (message, category): the start of what is warned about, and why it does not matter here.
HARMLESS: tuple[tuple[str, type[Warning]], ...] = ()


@contextmanager
def quiet_training() -> Iterator[None]:
    """Raises MissingExtra if a part of the extra `train` is not installed."""
    try:
        import datasets
        import peft  # noqa: F401
        import trl  # noqa: F401
    except ImportError as error:
        raise MissingExtra("training a student", error.name or "trl", "train") from error
    with ExitStack() as stack:
        stack.enter_context(quiet_transformers())
        stack.enter_context(warnings.catch_warnings())
        for message, category in HARMLESS:
            warnings.filterwarnings("ignore", message, category)
        for name in LOGGERS:
            stack.callback(logging.getLogger(name).setLevel, logging.getLogger(name).level)
            logging.getLogger(name).setLevel(logging.ERROR)
        if not datasets.are_progress_bars_disabled():
            stack.callback(datasets.enable_progress_bars)
            datasets.disable_progress_bars()
        yield
