"""Loads torch and transformers when they are needed, without the noise and the busy waiting of their defaults.

with quiet_transformers() as transformers:
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from stillroom.common.text import first_line
from stillroom.errors import InputError, MissingExtra


@contextmanager
def quiet_transformers() -> Iterator[Any]:
    """The transformers module, with its warnings and progress bars off during the block.

    Raises MissingExtra where it is not installed, InputError where it cannot be imported.
    """
    try:
        import_torch()
        import transformers
    except ImportError as error:
        raise MissingExtra("a local model", error.name or "transformers", "train") from error
    try:
        transformers.AutoModelForCausalLM, transformers.LlamaConfig  # noqa: B018  (both are loaded when named)
    except (ImportError, RuntimeError) as error:
        cause = first_line(error.__cause__ or error)
        raise InputError(
            f"transformers cannot be imported here: {cause}. Packages built for another torch do this: uninstall "
            "torchvision, torchaudio and torchcodec, or install the builds that belong to your torch"
        ) from error
    logging = transformers.utils.logging
    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield transformers
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


def import_torch() -> Any:
    """The torch module, with worker threads that sleep while they wait for each other, where it is loaded here first.

    By default they spin. As soon as anything else runs on the machine (answer checkers do), two threads of a small
    model then wait for each other most of the time: measured on 2 busy cores, a run of 11 to 21 s took over 60.
    OMP_WAIT_POLICY in the environment overrides it. Processes that we start do not inherit it.
    """
    fresh = "torch" not in sys.modules and "OMP_WAIT_POLICY" not in os.environ
    if fresh:
        os.environ["OMP_WAIT_POLICY"] = "PASSIVE"  # read once, when the library is loaded
    try:
        import torch
    finally:
        if fresh:
            del os.environ["OMP_WAIT_POLICY"]
    return torch
