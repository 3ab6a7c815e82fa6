"""Shows the shipped recipes, and what is to be done with a new one."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from stillroom.common.printing import terminal
from stillroom.pipeline.config.load import Summary


def show_recipes(found: Sequence[Summary]) -> None:
    """One line for each."""
    console = terminal()
    cut: Any = {"no_wrap": True, "overflow": "ellipsis"} if console.is_terminal else {"soft_wrap": True}
    names, kinds = (max(map(len, column)) for column in list(zip(*found, strict=True))[:2])
    for name, kind, description in found:
        console.print(f"{name:<{names}}  {kind:<{kinds}}  {description}", **cut)


def show_new(path: Path, missing: Sequence[str]) -> None:
    """Where it was written, and what has to be filled in."""
    say = terminal().print
    say(f"{path} written", soft_wrap=True)
    if missing:
        say(f"fill in (FILL_IN): {', '.join(missing)}", soft_wrap=True)
    say(f"then: stillroom run {shlex.quote(str(path))}", soft_wrap=True)
