"""Stillroom distils what a large language model can do into a small one that its user owns.

Every command of the command line is a function here, of the same name and arguments:

    import stillroom
    result = stillroom.run("quickstart", set=["keep.per_task=2"])
    stillroom.check("answers.jsonl", out="verdicts.jsonl")

Importing this loads nothing heavy: each function brings in what it needs when it is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stillroom.version import __version__ as __version__

if TYPE_CHECKING:
    from stillroom.recipes.attempts import attempts as attempts
    from stillroom.recipes.evaluating import evaluate as eval  # noqa: F401 - not in __all__: it has a builtin's name
    from stillroom.recipes.linting import lint as lint
    from stillroom.recipes.running import run as run
    from stillroom.recipes.showing_pairs import calibrate_judge as calibrate_judge
    from stillroom.recipes.showing_pairs import pairs as pairs
    from stillroom.recipes.status import status as status
    from stillroom.traces.answers import check_file as check

_CALLS = {
    "run": ("stillroom.recipes.running", "run"),
    "status": ("stillroom.recipes.status", "status"),
    "attempts": ("stillroom.recipes.attempts", "attempts"),
    "eval": ("stillroom.recipes.evaluating", "evaluate"),
    "lint": ("stillroom.recipes.linting", "lint"),
    "pairs": ("stillroom.recipes.showing_pairs", "pairs"),
    "calibrate_judge": ("stillroom.recipes.showing_pairs", "calibrate_judge"),
    "check": ("stillroom.traces.answers", "check_file"),
}
__all__ = ["attempts", "calibrate_judge", "check", "lint", "pairs", "run", "status"]


def __getattr__(name: str) -> Any:
    if name not in _CALLS:
        raise AttributeError(f"module 'stillroom' has no attribute {name!r}")
    from importlib import import_module

    module, function = _CALLS[name]
    return getattr(import_module(module), function)
