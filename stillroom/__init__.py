"""Stillroom distils what a large language model can do into a small one that its user owns.

What the command line does, these functions do, with the same arguments; a recipe may also be a plain dict:

    import stillroom
    result = stillroom.run("quickstart", set={"keep.per_task": 2})
    stillroom.check("answers.jsonl", out="verdicts.jsonl")

Importing this loads nothing heavy: each function brings in what it needs when it is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stillroom.version import __version__ as __version__

if TYPE_CHECKING:
    from stillroom.pipeline.flows.audit import audit as audit
    from stillroom.pipeline.flows.audit import calibrate as calibrate
    from stillroom.pipeline.flows.audit import calibrate_verifier as calibrate_verifier
    from stillroom.pipeline.flows.compare import compare as compare
    from stillroom.pipeline.flows.evaluate import evaluate as evaluate
    from stillroom.pipeline.flows.export import export as export
    from stillroom.pipeline.flows.run import lint as lint
    from stillroom.pipeline.flows.run import run as run
    from stillroom.pipeline.planning.status import attempts as attempts
    from stillroom.pipeline.planning.status import status as status
    from stillroom.traces.answers import check_file as check

_CALLS = {
    "run": ("stillroom.pipeline.flows.run", "run"),
    "status": ("stillroom.pipeline.planning.status", "status"),
    "attempts": ("stillroom.pipeline.planning.status", "attempts"),
    "export": ("stillroom.pipeline.flows.export", "export"),
    "evaluate": ("stillroom.pipeline.flows.evaluate", "evaluate"),
    "lint": ("stillroom.pipeline.flows.run", "lint"),
    "audit": ("stillroom.pipeline.flows.audit", "audit"),
    "calibrate": ("stillroom.pipeline.flows.audit", "calibrate"),
    "calibrate_verifier": ("stillroom.pipeline.flows.audit", "calibrate_verifier"),
    "compare": ("stillroom.pipeline.flows.compare", "compare"),
    "check": ("stillroom.traces.answers", "check_file"),
}
__all__ = [
    "attempts",
    "audit",
    "calibrate",
    "calibrate_verifier",
    "check",
    "compare",
    "evaluate",
    "export",
    "lint",
    "run",
    "status",
]


def __getattr__(name: str) -> Any:
    if name not in _CALLS:
        raise AttributeError(f"module 'stillroom' has no attribute {name!r}")
    from importlib import import_module

    module, function = _CALLS[name]
    return getattr(import_module(module), function)


def __dir__() -> list[str]:
    return sorted({*globals(), *_CALLS})
